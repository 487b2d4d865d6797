//! The adapter for firewalld, with the real one: it runs on a copy of its directory, on a bus of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use exitpool::firewall::Firewall;
use exitpool::firewall::firewalld::Front;
use exitpool::firewall::front::Fronted;
use exitpool::firewall::model::Guard;
use exitpool::firewall::nftables::Nftables;
use exitpool::observe::{Observation, ObservedGuard};

use super::bus::FirewalldHost;
use super::lab::{FRIEND, Guarded, HOST, Kind, Lab, PATIENCE, connects, exact, guard, is_refused};
use super::matrix;
use super::nftables;
use super::tamper::named_and_mended;
use crate::support::place_program;

const SSH: u16 = 22;
const NODE: u16 = 30_000;
/// A port that nobody has opened in firewalld.
const OTHER: u16 = 9000;

/// A host on which firewalld is in force; its default zone lets SSH in.
struct Host {
    // Before the lab: its processes live there.
    firewalld: FirewalldHost,
    lab: Lab,
}

impl Host {
    fn new() -> Option<Self> {
        let lab = Lab::new(Kind::Nftables)?;
        Some(Self { firewalld: FirewalldHost::start(&lab)?, lab })
    }

    fn refusal(&self) -> String {
        let error = self.lab.host.block_on(async || self.driver().await.apply(&guard()).await).unwrap_err();
        error.to_string()
    }

    fn cmd(&self, arguments: &str) -> String {
        self.firewalld.cmd(&self.lab, arguments)
    }

    /// The ruleset, without what only says how often it was used.
    fn ruleset(&self) -> String {
        self.lab.host.sh("nft --stateless list ruleset")
    }
}

impl Guarded for Host {
    fn lab(&self) -> &Lab {
        &self.lab
    }

    async fn driver(&self) -> Box<dyn Firewall> {
        let front = Front::at(&self.firewalld.address(), self.firewalld.policies());
        Box::new(Fronted::new(Arc::new(Nftables::new()), front))
    }

    fn tamper(&self, script: &str) {
        self.lab.host.sh(&format!("{} sh -ec '{}'", self.firewalld.within(), script.replace('\'', "'\\''")));
    }

    fn reloads(&self) -> Vec<String> {
        ["--reload", "--complete-reload"].map(|option| format!("firewall-cmd {option}")).to_vec()
    }
}

#[test]
fn firewalld_lets_pass_whom_the_guard_lets_pass() {
    let Some(host) = Host::new() else { return };
    let (files, ruleset) = (host.firewalld.files(), host.ruleset());
    let _listeners = host.lab.listen(&[SSH, NODE, OTHER]);
    host.lab.apply(&guard());
    host.lab.client.block_on(async || {
        connects(FRIEND[0], HOST[0], SSH).await;
        is_refused(FRIEND[0], HOST[0], NODE).await;
    });
    host.apply(&guard());
    host.lab.client.block_on(async || {
        connects(FRIEND[0], HOST[0], NODE).await;
        is_refused(FRIEND[0], HOST[0], OTHER).await;
    });
    host.remove();
    assert_eq!(host.firewalld.files(), files);
    assert_eq!(host.ruleset(), ruleset);
    assert_eq!(host.observe(&guard()), Observation::Absent);
}

#[test]
fn a_reload_opens_and_closes_nothing() {
    let Some(host) = Host::new() else { return };
    matrix::holds_through_reloads(&host);
}

#[test]
fn nmap_agrees() {
    let Some(host) = Host::new() else { return };
    matrix::is_what_nmap_sees(&host);
}

#[test]
fn what_is_done_to_the_guard_behind_it_is_named_and_mended() {
    let Some(host) = Host::new() else { return };
    named_and_mended(&host, nftables::TAMPERINGS);
    host.tamper("nft flush ruleset");
    assert_eq!(host.observe(&guard()), Observation::Absent);
    host.apply(&guard());
}

#[test]
fn what_is_done_to_our_policy_is_named_and_mended() {
    let Some(host) = Host::new() else { return };
    host.apply(&guard());
    let rule = r#"rule priority="-200" port port="30000-30004" protocol="tcp" accept"#;
    let pre = "nft flush chain inet firewalld filter_IN_policy_exitpool_pre";
    let tamperings = [
        (
            format!("firewall-cmd --policy exitpool --remove-rich-rule '{rule}'"),
            format!("firewalld, running: policy exitpool: rich_rules: {rule} is missing"),
        ),
        (
            format!("firewall-cmd --permanent --policy exitpool --remove-rich-rule '{rule}'"),
            format!("firewalld, permanent: policy exitpool: rich_rules: {rule} is missing"),
        ),
        (
            "firewall-cmd --policy exitpool --add-service ftp".into(),
            "firewalld, running: policy exitpool: services: ftp should not be there".into(),
        ),
        (
            "firewall-cmd --permanent --policy exitpool --set-priority -5".into(),
            "firewalld, permanent: policy exitpool: priority: -5 should not be there".into(),
        ),
        (
            "firewall-cmd --permanent --policy exitpool --set-target DROP".into(),
            "firewalld, permanent: policy exitpool: target: DROP should not be there".into(),
        ),
        (
            "firewall-cmd --permanent --delete-policy exitpool".into(),
            "firewalld, permanent: policy exitpool is missing".into(),
        ),
        (
            "firewall-cmd --permanent --delete-policy exitpool; firewall-cmd --reload".into(),
            "firewalld, running: policy exitpool is missing".into(),
        ),
        (pre.into(), "kernel: allow 8080/tcp is not in force".into()),
        (
            format!("{pre}; nft add rule inet firewalld filter_IN_policy_exitpool_pre tcp dport 1-65535 accept"),
            "kernel: chain filter_IN_policy_exitpool_pre: allow 1-65535/tcp should not be there".into(),
        ),
        (
            "nft insert rule inet firewalld filter_IN_policy_exitpool_deny tcp dport 30000 drop".into(),
            "kernel: chain filter_IN_policy_exitpool_deny: rule".into(),
        ),
        (
            "nft flush chain inet firewalld filter_IN_policy_exitpool".into(),
            "kernel: allow 30099/tcp is not in force".into(),
        ),
        ("nft flush chain inet firewalld filter_INPUT".into(), "kernel: allow 30000-30004/tcp is not in force".into()),
        (
            "nft add table inet firewalld '{ flags dormant; }'".into(),
            "kernel: firewalld's table is dormant: none of its rules is in force".into(),
        ),
        ("nft delete table inet firewalld".into(), "kernel: firewalld's table is missing".into()),
        (
            "nft flush chain inet exitpool panel".into(),
            "chain panel: rule 1 \"ip saddr @panel4 return\" is missing".into(),
        ),
    ];
    for (script, said) in tamperings {
        let script: String = script;
        host.tamper(&script);
        let Observation::Present(ObservedGuard::Altered(differences)) = host.observe(&guard()) else {
            panic!("{script}: {:?}", host.observe(&guard()));
        };
        let said: String = said;
        assert!(differences.iter().any(|it| it.starts_with(&said)), "{script}: {differences:#?}");
        host.apply(&guard());
    }
}

/// An operator's own objects stay as they are, and so does what is in force without being permanent, where ours can be
/// changed without a reload.
#[test]
fn what_is_not_ours_is_neither_seen_nor_touched() {
    let Some(host) = Host::new() else { return };
    host.cmd("--permanent --new-policy mine");
    host.cmd("--permanent --policy mine --add-ingress-zone ANY");
    host.cmd("--permanent --policy mine --add-egress-zone HOST");
    host.cmd("--permanent --add-port 5555/tcp");
    host.cmd("--reload");
    let files = host.firewalld.files();
    host.apply(&guard());
    host.cmd("--add-port 6666/tcp");
    host.cmd("--permanent --add-port 7777/tcp");
    host.lab.host.sh("nft reset counters; nft add table inet others; nft add rule inet firewalld filter_IN_public_allow tcp dport 4444 accept");
    assert_eq!(host.observe(&guard()), exact(&guard()), "none of it is ours");
    let before = host.ruleset();
    host.put(&guard());
    assert_eq!(host.ruleset(), before, "what is right is not touched");
    host.apply(&Guard { panel_port: Some(8081), ..guard() });
    assert!(host.cmd("--list-ports").contains("6666/tcp"), "firewalld had no need to reload");
    host.cmd("--permanent --remove-port 7777/tcp");
    host.remove();
    assert_eq!(host.firewalld.files(), with_backups(&host, &files), "the operator's files");
    assert!(host.cmd("--permanent --get-policies").contains("mine"));
}

/// What firewalld itself keeps of the operator's own changes meanwhile is no business of ours.
fn with_backups(host: &Host, files: &str) -> String {
    let zone = host.firewalld.configuration().join("zones/public.xml.old");
    let kept = fs::read_to_string(zone).unwrap();
    let old = files.split("== ").find(|part| part.starts_with("./zones/public.xml.old")).unwrap_or_default();
    let new = format!("./zones/public.xml.old\n{kept}");
    if old.is_empty() { format!("{files}== {new}") } else { files.replace(old, &new) }
}

#[test]
fn a_policy_of_that_name_that_is_not_ours_is_an_error() {
    let Some(host) = Host::new() else { return };
    host.cmd("--permanent --new-policy exitpool");
    let files = host.firewalld.files();
    let said = "firewalld has an `exitpool` that exitpool did not make: rename or delete it";
    assert!(host.observe(&guard()).unknown().is_some_and(|why| why.contains(said)));
    assert!(host.refusal().contains(said));
    host.cmd("--reload");
    assert!(host.refusal().contains(said));
    host.remove();
    assert_eq!(host.firewalld.files(), files);
}

/// A firewalld that cannot load its files lets nobody in: it is not made to.
#[test]
fn an_error_in_its_files_is_told_and_nothing_is_reloaded() {
    let Some(host) = Host::new() else { return };
    fs::write(host.firewalld.configuration().join("zones/public.xml"), "<zone><bad/></zone>").unwrap();
    let before = host.ruleset();
    let refusal = host.refusal();
    assert!(refusal.starts_with("firewalld refused: PARSE_ERROR"), "{refusal}");
    host.lab.remove();
    assert_eq!(host.ruleset(), before);
}

#[test]
fn rules_that_are_not_written_with_nftables_are_refused() {
    let Some(mut host) = Host::new() else { return };
    host.firewalld.stop_firewalld(&host.lab);
    let settings = host.firewalld.configuration().join("firewalld.conf");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text.replace("FirewallBackend=nftables", "FirewallBackend=iptables")).unwrap();
    host.firewalld.start_firewalld(&host.lab);
    let observed = host.observe(&guard());
    assert!(observed.unknown().is_some_and(|why| why.contains("set FirewallBackend=nftables")), "{observed:?}");
}

/// The guard closes whatever becomes of firewalld, and `down` finds the policy in its files.
#[test]
fn a_firewalld_that_is_not_running_is_told() {
    let Some(mut host) = Host::new() else { return };
    host.apply(&guard());
    host.firewalld.stop_firewalld(&host.lab);
    let said = "firewalld is not running: start it, or choose another firewall.driver";
    let Observation::Present(ObservedGuard::Altered(differences)) = host.observe(&guard()) else { panic!() };
    assert_eq!(differences, [said]);
    host.lab.host.sh("nft delete table inet exitpool");
    assert_eq!(host.refusal(), said);
    assert_eq!(host.lab.observe(&guard()), exact(&guard()));
    host.firewalld.start_firewalld(&host.lab);
    assert_eq!(host.observe(&guard()), exact(&guard()));
    host.firewalld.stop_firewalld(&host.lab);
    host.remove();
    assert!(!host.firewalld.files().contains("exitpool"));
    assert_eq!(host.observe(&guard()), Observation::Absent);
}

#[test]
fn without_a_bus_it_says_what_to_do() {
    let Some(lab) = Lab::new(Kind::Nftables) else { return };
    let front = Front::at("unix:path=/nonexistent/bus", "/nonexistent".into());
    let driver = async || Fronted::new(Arc::new(Nftables::new()), front).observe(&guard()).await;
    let observed = lab.host.block_on(driver);
    assert!(observed.unknown().is_some_and(|why| why.contains("cannot reach the system bus")), "{observed:?}");
}

/// Runs the program as an operator would, where firewalld is.
struct Program {
    directory: tempfile::TempDir,
}

impl Program {
    fn new(driver: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pool = format!(
            "version: 1\npools: [{{name: eu, size: 1, socks_port: 30000, listen: 0.0.0.0}}]\nfirewall: {{driver: {driver}}}\n"
        );
        fs::write(directory.path().join("pool.yaml"), pool).unwrap();
        fs::write(directory.path().join("empty.yaml"), "version: 1\nallow_empty: true\npools: []\n").unwrap();
        // The test's own directory may be closed to others.
        place_program(&directory.path().join("exitpool"));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Self { directory }
    }

    /// What the daemon says of the driver that it has chosen, up to there.
    fn chooses(&self, host: &Host, before: &str) -> String {
        let mut daemon = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", host.lab.host.pid()))
            .args(["sh", "-ec"])
            .arg(format!(
                "cd {}; exec {} {before} ./exitpool run --source empty.yaml --listen 127.0.0.1:0 \
                 --state-dir state --runtime-dir runtime --log-format json",
                self.directory.path().display(),
                host.firewalld.within()
            ))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        for line in BufReader::new(daemon.stderr.take().unwrap()).lines() {
            said.push_str(&line.unwrap());
            if said.contains("firewall driver chosen") {
                break;
            }
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        said
    }

    /// What it says on both streams.
    fn run(&self, host: &Host, before: &str, arguments: &str) -> String {
        let output = host.lab.host.try_sh(&format!(
            "cd {}; {} {before} ./exitpool {arguments} --state-dir state --runtime-dir runtime",
            self.directory.path().display(),
            host.firewalld.within(),
        ));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

#[test]
fn without_root_it_says_what_to_do() {
    let Some(host) = Host::new() else { return };
    let as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups \
        --bounding-set -all,+net_admin --inh-caps +net_admin --ambient-caps +net_admin";
    let said = Program::new("firewalld").run(&host, as_nobody, "plan --source pool.yaml");
    assert!(said.contains("firewalld obeys root alone"), "{said}");
    let said = Program::new("auto").chooses(&host, as_nobody);
    assert!(said.contains("firewalld is in force and cannot be told"), "{said}");
    assert!(said.contains("\"driver\":\"nftables\""), "{said}");
}

#[test]
fn auto_is_firewalld_where_it_is_in_force_and_down_takes_it_out() {
    let Some(mut host) = Host::new() else { return };
    let before = host.firewalld.files();
    let said = Program::new("auto").chooses(&host, "");
    assert!(said.contains("\"driver\":\"firewalld\""), "{said}");
    host.remove();
    host.apply(&guard());
    let said = Program::new("nftables").run(&host, "", "plan --source pool.yaml");
    assert!(said.contains("what we put into firewalld still stands, from an earlier choice"), "{said}");
    for is_running in [true, false] {
        host.apply(&guard());
        if !is_running {
            host.firewalld.stop_firewalld(&host.lab);
        }
        let said = Program::new("none").run(&host, "", "down");
        assert_eq!(host.firewalld.files(), before, "{said}");
        assert_eq!(host.lab.observe(&guard()), Observation::Absent, "{said}");
    }
}

/// A bus can be reached from every network namespace, and the firewall of another one is not this one's.
#[test]
fn a_firewalld_of_another_network_namespace_is_left_alone() {
    let Some(host) = Host::new() else { return };
    host.apply(&guard());
    let files = host.firewalld.files();
    let said = "firewalld is running in another network namespace than exitpool: choose another firewall.driver";
    let refused = host.lab.client.block_on(async || host.driver().await.apply(&guard()).await).unwrap_err();
    assert_eq!(refused.to_string(), said);
    host.lab.client.block_on(async || host.driver().await.remove().await).unwrap();
    assert_eq!(host.firewalld.files(), files);
    assert_eq!(host.observe(&guard()), exact(&guard()));
}

/// Files alone are changed: the kernel has nothing to tell.
#[test]
fn a_change_of_the_permanent_policy_is_heard() {
    let Some(host) = Host::new() else { return };
    host.apply(&guard());
    host.lab.host.block_on(async || {
        let driver = host.driver().await;
        assert_eq!(driver.observe(&guard()).await, exact(&guard()));
        let _ = tokio::time::timeout(std::time::Duration::from_millis(300), driver.changed()).await;
        let script =
            format!("{} firewall-cmd --permanent --policy exitpool --add-service ftp", host.firewalld.within());
        let change = tokio::process::Command::new("sh").args(["-c", &script]).output();
        let (changed, heard) = tokio::join!(change, tokio::time::timeout(PATIENCE, driver.changed()));
        assert!(changed.unwrap().status.success());
        heard.expect("the change is heard");
    });
}
