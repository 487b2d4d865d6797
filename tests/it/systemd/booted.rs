//! What each unit does under a systemd: a Debian is booted in namespaces of its own, without a network. Its tors find no Tor
//! network, so no node is ever ready; everything else is as on a host.

use super::machine::Host;
use crate::roots::Root;

/// A pool whose guard covers one port, in the whitelist's words.
fn pool(allow: &str, firewall: &str) -> String {
    format!(
        "version: 1
pools: [{{name: eu, size: 1, listen: 0.0.0.0, socks_port: 30000}}]
access: {{socks: [{allow}], ssh: {{allow: [203.0.113.1]}}}}
firewall: {{{firewall}}}
alerts: {{channels: [{{name: hook, webhook: {{url: \"http://127.0.0.1:9099/\", secret: {{credential: hook-secret}}}}}}]}}
"
    )
}

const LIST: &str = "198.51.100.0/24";

#[test]
fn the_units_do_under_a_systemd_what_their_readme_says() {
    let Some(root) = Root::overlay("sysd") else { return };
    let headings = ["Installing", "Before the network is up", "Where ufw, firewalld or iptables-legacy is in force"];
    let Some(mut host) = Host::boot(&root, &headings) else { return };
    host.wishes(&pool(LIST, "driver: nftables"));
    host.drops_in("source", "Environment=EXITPOOL_SOURCE=/srv/pool.yaml");

    it_starts_with_few_rights_in_its_slice(&host);
    the_page_is_served_at_the_socket_of_the_service_manager(&host);
    a_credential_is_read(&host);
    a_reload_is_a_pass(&host);
    tors_live_on_while_the_daemon_is_restarted_or_stopped(&host);
    a_daemon_that_hangs_is_started_again(&host);
    the_helper_does_what_only_root_may(&host);
    a_change_on_trial_is_taken_back_by_a_unit_of_its_own(&host);
    the_guard_stands_before_the_network_is_up(&mut host);
    a_damaged_state_does_not_hold_the_boot_up(&mut host);
}

fn it_starts_with_few_rights_in_its_slice(host: &Host<'_>) {
    assert_eq!(host.shows("ActiveState", "exitpool-firewall-helper.service"), "inactive", "nobody has asked yet");
    host.sh("systemctl start exitpool");
    let said = host.shows("StatusText", "exitpool");
    assert!(said.starts_with("0 of 1 nodes ready at file@sha256:"), "{said}");
    assert!(host.guard().contains("30000"), "{}", host.journal());
    assert_eq!(host.shows("ControlGroup", "exitpool"), "/exitpool.slice/exitpool.service");

    let rights = |pid: &str| {
        host.sh(&format!("sed -n 's/^CapEff:\\t0*/may /p; s/^NoNewPrivs:\\t/no more /p' /proc/{pid}/status"))
    };
    let daemon = host.shows("MainPID", "exitpool");
    assert_eq!(rights(&daemon), "may 1000\nno more 1", "the capability of number 12 is CAP_NET_ADMIN");
    let [tor] = host.tors()[..] else { panic!("one tor is started: {}", host.journal()) };
    assert_eq!(rights(&tor.to_string()), "may \nno more 1");
    assert_eq!(host.sh(&format!("stat --format=%U /proc/{daemon} /proc/{tor}")), "exitpool\nexitpool");
}

fn the_page_is_served_at_the_socket_of_the_service_manager(host: &Host<'_>) {
    host.sh("install -m 644 /opt/exitpool/systemd/exitpool.socket /usr/lib/systemd/system/; systemctl daemon-reload");
    host.drops_in("page", "Environment=EXITPOOL_LISTEN=unix:/run/exitpool-page.sock");
    host.sh("systemctl stop exitpool; systemctl enable --quiet --now exitpool.socket");
    assert_eq!(host.sh("stat --format='%F %U %a' /run/exitpool-page.sock"), "socket exitpool 660");
    // Who asks first waits until the daemon has started.
    let asked = "curl --silent --show-error --max-time 120 --write-out '%{http_code}' --output /dev/null \
                 --unix-socket /run/exitpool-page.sock http://pool/healthz";
    assert_eq!(host.sh(asked), "200", "{}", host.journal());
    host.waits_for("systemctl --quiet is-active exitpool");
    let inode = || host.sh("stat --format=%i /run/exitpool-page.sock");
    let before = inode();
    host.restarts();
    assert_eq!((inode(), host.sh(asked)), (before, "200".to_owned()), "it is the same socket");
}

/// Takes one request, and keeps its head and its body.
const HOOK: &str = r#"use IO::Socket::INET;
my $door = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1:9099", ReuseAddr => 1) or die;
my $caller = $door->accept;
my $head = "";
while (<$caller>) { last if /^\r?\n$/; $head .= $_; }
my ($length) = $head =~ /content-length: (\d+)/i;
read $caller, my $body, $length;
print $caller "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
for (["head", $head], ["body", $body]) { open my $file, ">", "/run/hook.$_->[0]"; print $file $_->[1]; }
"#;

/// What the README says of secrets: here the one that is encrypted on disk as well.
fn a_credential_is_read(host: &Host<'_>) {
    let without = host.machine.sh("exitpool alerts test hook");
    assert!(without.code == Some(1) && without.stderr.contains("there is no credential `hook-secret`"), "{without:?}");

    host.sh("install -d -m 700 /etc/exitpool
         printf %s 's3cret' | systemd-creds encrypt --name=hook-secret - /etc/exitpool/hook-secret.cred");
    assert!(!host.holds("grep s3cret /etc/exitpool/hook-secret.cred"));
    host.drops_in("secret", "LoadCredentialEncrypted=hook-secret:/etc/exitpool/hook-secret.cred");
    host.writes("/opt/hook.pl", HOOK);
    host.restarts();
    host.sh("systemd-run --quiet --unit=hook perl /opt/hook.pl");
    host.waits_for("ss -ltn | grep -q :9099");
    host.sh("exitpool alerts test hook");
    host.waits_for("! systemctl --quiet is-active hook");
    let signed = "timestamp=$(sed -n 's/\\r//; s/^exitpool-timestamp: //Ip' /run/hook.head)
        printf '%s.%s' \"$timestamp\" \"$(cat /run/hook.body)\" | openssl dgst -sha256 -hmac s3cret | sed 's/.* //'";
    let signature = host.sh(signed);
    let head = host.sh("cat /run/hook.head");
    assert!(head.contains(&format!("exitpool-signature: v1={signature}")), "{head}");
}

fn a_reload_is_a_pass(host: &Host<'_>) {
    let (daemon, tors) = (host.shows("MainPID", "exitpool"), host.tors());
    host.sh("nft delete table inet exitpool; systemctl reload exitpool");
    assert!(host.guard().contains("30000"), "{}", host.journal());
    let journal = host.journal();
    assert!(journal.contains("left     node eu-0: "), "what `systemctl reload` runs says what is left: {journal}");

    // By the signal, the unit is reloading until the pass has ended.
    let changed = || host.shows("StateChangeTimestampMonotonic", "exitpool");
    let before = changed();
    host.sh("systemctl kill --signal=HUP --kill-who=main exitpool");
    host.waits_for(&format!(
        "[ \"$(systemctl show --value --property=StateChangeTimestampMonotonic exitpool)\" != {before} ]"
    ));
    host.waits_for("[ \"$(systemctl show --value --property=ActiveState exitpool)\" = active ]");
    assert_eq!((host.shows("MainPID", "exitpool"), host.tors()), (daemon, tors));
}

fn tors_live_on_while_the_daemon_is_restarted_or_stopped(host: &Host<'_>) {
    let (tors, guard) = (host.tors(), host.guard());
    assert_eq!(tors.len(), 1);
    host.restarts();
    assert_eq!(host.tors(), tors);
    host.sh("systemctl stop exitpool");
    assert_eq!(host.shows("ActiveState", "exitpool"), "inactive");
    assert!(host.holds(&format!("kill -0 {}", tors[0])));
    assert_eq!(host.guard(), guard);
    host.restarts();
    assert_eq!(host.tors(), tors);
}

fn a_daemon_that_hangs_is_started_again(host: &Host<'_>) {
    host.drops_in("watchdog", "WatchdogSec=8s");
    host.restarts();
    let (daemon, tors) = (host.shows("MainPID", "exitpool"), host.tors());
    host.sh(&format!("kill -STOP {daemon}"));
    host.waits_for("[ \"$(systemctl show --value --property=NRestarts exitpool)\" = 1 ]");
    host.waits_for("systemctl --quiet is-active exitpool");
    assert_ne!(host.shows("MainPID", "exitpool"), daemon);
    assert_eq!(host.tors(), tors);
    assert!(host.journal().contains("Watchdog timeout"), "{}", host.journal());
    host.drops_in("watchdog", "");
    host.restarts();
}

fn the_helper_does_what_only_root_may(host: &Host<'_>) {
    for tool in ["iptables", "ip6tables"] {
        host.sh(&format!("update-alternatives --quiet --set {tool} /usr/sbin/{tool}-legacy"));
    }
    host.wishes(&pool(LIST, "driver: iptables"));
    host.waits_for("iptables-legacy -t mangle -S EXITPOOL | grep -q EXITPOOL-SOCKS");
    host.waits_for("! nft list table inet exitpool");
    assert_eq!(host.shows("ActiveState", "exitpool-firewall-helper.service"), "active");
    let helper = host.shows("MainPID", "exitpool-firewall-helper.service");
    let rights = host.sh(&format!("sed -n 's/^CapEff:\\t0*//p' /proc/{helper}/status"));
    assert_eq!(rights, "3000", "CAP_NET_ADMIN and CAP_NET_RAW");

    host.wishes(&pool(LIST, "driver: nftables"));
    host.waits_for("nft list table inet exitpool");
    host.waits_for("! iptables-legacy -t mangle -S EXITPOOL");
}

/// Only root may start units, so this daemon is root; it has a pool without nodes.
fn a_change_on_trial_is_taken_back_by_a_unit_of_its_own(host: &Host<'_>) {
    let document = |allow: &str, terms: &str| {
        format!(
            "version: 1\nallow_empty: true\naccess: {{socks: [{allow}], ssh: {{allow: [{allow}]}}}}\nfirewall: {{driver: nftables, {terms}}}\n"
        )
    };
    host.sh("systemctl stop exitpool; nft delete table inet exitpool");
    host.writes("/srv/as-root.yaml", &document(LIST, "confirm_within: 5s"));
    host.sh(
        "systemd-run --quiet --unit=pool-as-root --property=Type=notify /usr/bin/exitpool run --source /srv/as-root.yaml \
         --state-dir /var/lib/pool-as-root --runtime-dir /run/pool-as-root --listen 127.0.0.1:8081",
    );
    host.waits_for("nft list table inet exitpool | grep -q 198.51.100.0/24");
    let no_trial = "[ -z \"$(systemctl list-units --plain --no-legend 'exitpool-guard-trial-*')\" ]";
    host.waits_for(no_trial);

    host.writes("/srv/as-root.yaml", &document("192.0.2.0/24", "confirm: manual, confirm_within: 10s"));
    host.waits_for("nft list table inet exitpool | grep -q 192.0.2.0/24");
    let unit = host.sh("systemctl list-units --plain --no-legend 'exitpool-guard-trial-*' | cut -d ' ' -f 1");
    assert_eq!(host.shows("ControlGroup", &unit), format!("/system.slice/{unit}"), "{}", host.journal());
    host.sh("systemctl kill --kill-who=all --signal=KILL pool-as-root");
    host.waits_for("nft list table inet exitpool | grep -q 198.51.100.0/24");
    host.waits_for(no_trial);
    host.sh("nft delete table inet exitpool");
    host.restarts();
}

/// With a firewall of the host's that empties the kernel's rules when it is loaded, and a daemon that is not started.
fn the_guard_stands_before_the_network_is_up(host: &mut Host<'_>) {
    assert!(host.sh("head -n 3 /etc/nftables.conf").contains("flush ruleset"));
    host.sh("systemctl enable --quiet nftables");
    let guard = host.guard();
    host.machine.reboot();
    assert_eq!(host.shows("ActiveState", "exitpool"), "inactive");
    assert_eq!(host.shows("Result", "exitpool-guard"), "success", "{}", host.journal());
    assert_eq!(host.guard(), guard, "{}", host.journal());
    let when = |property: &str, unit: &str| host.shows(property, unit).parse::<u64>().unwrap();
    let ended = when("ExecMainExitTimestampMonotonic", "exitpool-guard");
    assert!(0 < ended && ended <= when("ActiveEnterTimestampMonotonic", "network-pre.target"));
    assert!(
        when("ActiveEnterTimestampMonotonic", "nftables") <= when("ExecMainStartTimestampMonotonic", "exitpool-guard")
    );
}

fn a_damaged_state_does_not_hold_the_boot_up(host: &mut Host<'_>) {
    host.sh("for name in accepted.yaml applied.json; do echo torn > /var/lib/exitpool/$name; done");
    host.machine.reboot();
    assert_eq!(host.shows("Result", "exitpool-guard"), "exit-code");
    assert_eq!(host.shows("ActiveState", "network-pre.target"), "active");
    assert_eq!(host.guard(), "");
    let said = host.sh("journalctl --no-pager --unit=exitpool-guard");
    assert!(said.contains("no guard stands: cannot understand /var/lib/exitpool/accepted.yaml"), "{said}");
    host.sh("systemctl start exitpool");
    assert!(host.guard().contains("30000"), "{}", host.journal());
}
