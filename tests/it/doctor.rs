//! `exitpool doctor` on a host of its own, with each trouble and without it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;
use tempfile::TempDir;

use crate::netns::Netns;

const POOL: &str = "version: 1\npools: [{name: eu, size: 2, listen: 0.0.0.0, socks_port: 30000}]\naccess: {socks: [198.51.100.0/24]}\nfirewall: {driver: nftables}\n";
/// What a host in order says that it does not need to look at.
const NEEDLESS: [&str; 2] = ["git", "ssh"];

/// A host in order: a network namespace, a desired state, and directories.
struct Host {
    netns: Netns,
    directory: TempDir,
}

/// What the doctor said.
#[derive(Debug)]
struct Said {
    code: i32,
    checks: BTreeMap<String, (String, String)>,
}

impl Host {
    fn new() -> Option<Self> {
        let host = Self { netns: Netns::new()?, directory: tempfile::tempdir().unwrap() };
        host.netns.sh("echo 40000-40099 > /proc/sys/net/ipv4/ip_local_reserved_ports");
        host.write("pool.yaml", POOL);
        host.write("geoip", "16777216,16777471,AU\n");
        host.script("tor", "echo 'Tor version 0.4.9.11.'");
        fs::create_dir(host.directory.path().join("state")).unwrap();
        Some(host)
    }

    fn at(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn script(&self, name: &str, body: &str) {
        self.write(name, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Asks the doctor, with options that come last, on what `before` leaves: the start of a shell's command.
    fn asked(&self, before: &str, options: &str) -> Said {
        let (program, here) = (cargo_bin("exitpool").display().to_string(), self.directory.path().display());
        let script = format!(
            "cd {here}; unset EXITPOOL_SOURCE; {before} {program} doctor -o json --source {here}/pool.yaml \
             --state-dir {here}/state --runtime-dir {here}/run --tor {here}/tor --geoip {here}/geoip --geoip6 {here}/geoip {options}"
        );
        let ran = self.netns.try_sh(&script);
        let json: Value = serde_json::from_slice(&ran.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)));
        let schema: Value = serde_json::from_str(include_str!("../../schema/doctor.v1.schema.json")).unwrap();
        assert!(jsonschema::is_valid(&schema, &json), "{json}");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
        let check = |it: &Value| {
            (text(it, "name"), (text(it, "verdict"), format!("{}; {}", text(it, "message"), text(it, "advice"))))
        };
        let checks = json["checks"].as_array().unwrap().iter().map(check).collect();
        Said { code: ran.status.code().unwrap(), checks }
    }

    fn healthy(&self) -> Said {
        self.asked("", "")
    }
}

impl Said {
    /// Sees that one check has this verdict and says these words, and that no other is worse than usual.
    #[track_caller]
    fn only(&self, name: &str, verdict: &str, words: &[&str]) {
        let (found, message) = &self.checks[name];
        assert_eq!(found, verdict, "{self:#?}");
        words.iter().for_each(|words| assert!(message.contains(words), "{message}"));
        let others: Vec<_> =
            self.checks.iter().filter(|(other, (verdict, _))| *other != name && verdict != "ok").collect();
        assert!(
            others.iter().all(|(other, (verdict, _))| verdict == "skipped" && NEEDLESS.contains(&other.as_str())),
            "{others:#?}"
        );
        assert_eq!(self.code, i32::from(verdict == "failed"), "{self:#?}");
    }

    #[track_caller]
    fn has(&self, name: &str, verdict: &str, words: &str) {
        let (found, message) = &self.checks[name];
        assert!(found == verdict && message.contains(words), "{self:#?}");
    }
}

#[test]
fn a_host_in_order_gives_no_alarm() {
    let Some(host) = Host::new() else { return };
    host.healthy().only("ports", "ok", &["no other program"]);
    let names = "clock, default deny, desired state, disk space, firewall driver, forwarded ports, geoip, git, local ports, nftables, ports, rights, rules of others, runtime directory, ssh, state directory, tor";
    assert_eq!(host.healthy().checks.into_keys().collect::<Vec<_>>().join(", "), names);
    // Rules of others that are no trouble.
    host.netns.sh("nft add table inet a
         nft add chain inet a in '{ type filter hook input priority 0; policy accept; }'
         nft add chain inet a out '{ type filter hook output priority 0; policy drop; }'
         nft add chain inet a pre '{ type nat hook prerouting priority dstnat; }'
         nft add rule inet a pre tcp dport '{ 80, 20000-29999 }' dnat ip to 172.17.0.2");
    let _elsewhere = host.netns.run(|| TcpListener::bind("127.0.0.1:30002").unwrap());
    host.healthy().only("default deny", "ok", &[]);
    let text = host.netns.sh(&format!(
        "cd {}; {} doctor --source pool.yaml --state-dir state --runtime-dir run --tor ./tor --geoip geoip --geoip6 geoip",
        host.directory.path().display(),
        cargo_bin("exitpool").display()
    ));
    assert!(text.starts_with("ok       desired state: pool.yaml is valid: 2 nodes\n"), "{text}");
    assert!(text.contains("\nskipped  ssh: the source is not reached by SSH\n"), "{text}");
}

#[test]
fn what_the_desired_state_lacks_is_said() {
    let Some(host) = Host::new() else { return };
    host.write("pool.yaml", "version: 1\npools: [{name: EU, size: 1, socks_port: 1}]\n");
    let invalid = host.healthy();
    invalid.has("desired state", "failed", "pool.yaml:2:16: pools[0].name: `EU` is not a pool name");
    assert_eq!(invalid.code, 1);
    host.asked("", "--source git@git.example.org:pool.git").has(
        "desired state",
        "skipped",
        "none on this host was named",
    );
    host.asked("", "--source nowhere.yaml").has("desired state", "failed", "does not exist");
}

#[test]
fn missing_rights_and_namespaces_are_said() {
    let Some(host) = Host::new() else { return };
    let without = |capability: &str| host.asked(&format!("setpriv --bounding-set -{capability}"), "");
    let no_firewall = without("net_admin");
    no_firewall.has("rights", "failed", "no CAP_NET_ADMIN");
    no_firewall.has("firewall driver", "failed", "may not touch the firewall");
    assert_eq!(no_firewall.code, 1);
    let no_namespace = without("sys_admin");
    no_namespace.has("nftables", "skipped", "no network namespace can be made here: ");
    assert_eq!(no_namespace.code, 0, "{no_namespace:#?}");
}

#[test]
fn an_nft_that_crashes_or_knows_too_little_is_said() {
    let Some(host) = Host::new() else { return };
    fs::create_dir(host.directory.path().join("bin")).unwrap();
    host.script("bin/nft", "[ \"$1 $2\" != 'list ruleset' ] || kill -SEGV $$; exec /usr/sbin/nft \"$@\"");
    let crashed = host.asked(&format!("PATH={}:$PATH", host.at("bin")), "");
    crashed.only("rules of others", "failed", &["nft crashes", "the same version"]);
    host.script(
        "bin/nft",
        "[ \"$*\" != '-j -f -' ] || { echo 'Error: no such expression' >&2; exit 1; }; exec /usr/sbin/nft \"$@\"",
    );
    let poor = host.asked(&format!("PATH={}:$PATH", host.at("bin")), "");
    poor.only("nftables", "failed", &["cannot be made: Error: no such expression", "nft_fib_inet"]);
}

#[test]
fn programs_and_files_of_others_that_are_missing_or_too_old_are_said() {
    let Some(host) = Host::new() else { return };
    host.asked("", "--tor /nonexistent/tor").only("tor", "failed", &["/nonexistent/tor", "install tor"]);
    host.script("tor", "echo 'Tor version 0.4.7.16.'");
    host.healthy().only("tor", "failed", &["0.4.7.16", "0.4.8"]);
    host.script("tor", "echo 'Tor version 0.4.8.0.'");
    host.asked("", "--geoip /nonexistent/geoip").only("geoip", "failed", &["/nonexistent/geoip", "tor-geoipdb"]);
    fs::create_dir(host.directory.path().join("bin")).unwrap();
    host.script("bin/git", "echo git version 2.20.1");
    host.script("bin/ssh", "echo 'no ssh here' >&2; exit 1");
    let remote = "--source git@git.example.org:pool.git";
    let old = host.asked(&format!("PATH={}:$PATH", host.at("bin")), remote);
    old.has("git", "failed", "git version 2.20.1 is too old");
    old.has("ssh", "failed", "no ssh here");
    let new = host.asked("", remote);
    new.has("git", "ok", "git version 2.");
    new.has("ssh", "ok", "OpenSSH");
}

#[test]
fn ports_that_others_have_or_may_take_are_said() {
    let Some(host) = Host::new() else { return };
    let stranger = host.netns.run(|| TcpListener::bind("127.0.0.1:30001").unwrap());
    let pid = std::process::id();
    host.healthy().only("ports", "failed", &["0.0.0.0:30001", &format!("pid {pid}")]);
    drop(stranger);
    host.netns.sh("echo 0 > /proc/sys/net/ipv4/ip_local_reserved_ports");
    host.netns.sh("echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range");
    host.healthy().only("local ports", "warning", &["40000-40099", "ip_local_reserved_ports = "]);
    host.netns.sh("echo 50000 60999 > /proc/sys/net/ipv4/ip_local_port_range");
    host.healthy().only("local ports", "ok", &[]);
}

#[test]
fn rules_of_others_that_take_our_packets_are_said() {
    let Some(host) = Host::new() else { return };
    host.netns.sh(
        "nft add table inet theirs; nft add chain inet theirs in '{ type filter hook input priority 0; policy drop; }'",
    );
    host.healthy().only("default deny", "warning", &["inet theirs in", "allow TCP ports 30000-30001"]);
    host.netns.sh("nft delete table inet theirs; nft add table ip nat
         nft add chain ip nat pre '{ type nat hook prerouting priority dstnat; }'
         nft add rule ip nat pre tcp dport '{ 80, 30001-30005 }' dnat to 172.17.0.2");
    host.healthy().only("forwarded ports", "failed", &["30001-30005", "dnat to 172.17.0.2", "on another one"]);
    host.netns.sh("nft delete table ip nat; iptables-nft -P INPUT DROP");
    host.healthy().only("default deny", "warning", &["ip filter INPUT"]);
    host.netns.sh("iptables-nft -P INPUT ACCEPT; iptables-nft -t nat -A PREROUTING -p tcp --dport 40001 -j DNAT --to-destination 172.17.0.2:80");
    host.healthy().only("forwarded ports", "failed", &["40001"]);
}

#[test]
fn directories_that_cannot_be_used_are_said() {
    let Some(host) = Host::new() else { return };
    let state = host.at("state");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    host.healthy().only("state directory", "failed", &["others may write", "mode 777", "chmod 750"]);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o750)).unwrap();
    host.asked("", "--runtime-dir pool.yaml").has("runtime directory", "failed", "no directory");
    let small = |mib: u32| {
        format!("unshare --mount sh -ec 'mount -t tmpfs -o size={mib}m,mode=750 tmpfs {state}; exec \"$@\"' sh")
    };
    host.asked(&small(16), "").only("disk space", "failed", &["16 MiB are free", "2 nodes take up to 128 MiB"]);
    host.asked(&small(100), "").only("disk space", "warning", &["100 MiB are free"]);
    host.asked(&small(200), "").only("disk space", "ok", &[]);
}
