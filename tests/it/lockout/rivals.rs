//! Who changed the guard: said in every place where a difference is said, and never made up.

use std::process::{Child, Command, Stdio};

use exitpool::daemon::socket::Report;

use super::host::{Host, condition, is};
use super::{document, in_sync};
use crate::firewall::lab::{Kind, Lab};

fn healing(how: &str, driver: &str) -> String {
    document("allow_lockout: false") + &format!("firewall: {{driver: {driver}}}\nreconcile: {{self_heal: {how}}}\n")
}

/// Runs a command of somebody else's on the host; says under which process id.
fn somebody_runs(host: &Host, command: &str) -> u32 {
    host.lab.host.sh(&format!("echo $$; exec {command}")).trim().parse().unwrap()
}

fn drifted(report: &Report) -> bool {
    is(report, "FirewallInSync", "False", "DriftDetected")
}

fn over_http(host: &Host, path: &str) -> String {
    host.lab.host.sh(&format!("curl --silent --show-error --fail --max-time 10 http://127.0.0.1:8080{path}"))
}

#[test]
fn who_changed_the_guard_is_said_everywhere() {
    let Some(mut host) = Host::start(Kind::Nftables, &healing("report", "nftables")) else { return };
    let pid = somebody_runs(&host, "nft insert rule inet exitpool guard tcp dport 30000 accept");
    let report = host.sees("the difference", drifted);
    let by = format!("changed by nft (pid {pid}) at ");
    for kind in ["FirewallInSync", "Drifted"] {
        let message = condition(&report, kind).2;
        assert!(message.contains("\"tcp dport 30000 accept\" is not ours") && message.contains(&by), "{message}");
    }
    assert_eq!(report.status["firewall"]["changed_by"]["pid"], pid);
    let told = host.verb("status", &[]);
    assert!(told.contains(&by), "{told}");
    let drift: serde_json::Value = serde_json::from_str(&over_http(&host, "/api/v1/drift")).unwrap();
    assert_eq!(drift["items"][0]["changed_by"]["name"], "nft", "{drift}");
    assert!(drift["items"][0]["since"].is_string(), "{drift}");
    let page = over_http(&host, "/");
    assert!(page.contains(&format!("Changed last by <b>nft (pid {pid})</b>")), "{page}");
    let told = host.verb("drift", &[]);
    assert!(told.contains("seen since 2") && told.contains(&by), "{told}");

    // What is not ours is nobody's change of ours, and a later change is the later one's.
    somebody_runs(&host, "nft add table inet others");
    let later = somebody_runs(&host, "nft delete table inet exitpool");
    let report = host.sees("the later change", |report| report.status["firewall"]["changed_by"]["pid"] == later);
    assert!(drifted(&report));

    // Once it is put right, whoever did it stands in the events and in the audit trail.
    host.wish(&healing("on", "nftables"));
    host.sees("the guard as it was", in_sync);
    let by = format!("changed by nft (pid {later}) at ");
    let events = over_http(&host, "/api/v1/events");
    assert!(events.contains(&format!("(drift, {by}")), "{events}");
    let trail = exitpool::audit::list(&host.at("state/audit.sqlite"), 10).unwrap();
    assert!(trail.iter().any(|entry| entry.record.cause.starts_with(&format!("drift, {by}"))), "{trail:#?}");
    let repaired = over_http(&host, "/api/v1/drift");
    assert!(repaired.contains(&format!("\"pid\":{later}")), "{repaired}");
}

/// The kernel tells of rules that iptables makes of nftables, and of no set.
#[test]
fn whom_the_kernel_does_not_name_is_not_made_up() {
    let Some(mut host) = Host::start(Kind::IptablesNft, &healing("report", "iptables")) else { return };
    if !host.lab.host.sh("iptables --version").contains("nf_tables") {
        return crate::support::skip("this host's iptables is the legacy one");
    }
    somebody_runs(&host, "ipset flush exitpool-panel4");
    let report = host.sees("the difference", drifted);
    let message = condition(&report, "FirewallInSync").2;
    assert!(message.ends_with("; by whom it was changed is not known"), "{message}");
    assert!(report.status["firewall"]["changed_by"].is_null());
    assert!(host.verb("drift", &[]).contains("by whom it was changed is not known"));

    let pid = somebody_runs(&host, "iptables-nft -t mangle -F EXITPOOL");
    let by = format!("changed by iptables-nft (pid {pid}) at ");
    host.sees("the later change", |report| condition(report, "FirewallInSync").2.contains(&by));
}

/// A program that does not give up.
struct Rival(Child);

impl Rival {
    fn of(host: &Host, script: &str) -> Self {
        let netns = format!("--net=/proc/{}/ns/net", host.lab.host.pid());
        let mut command = Command::new("nsenter");
        command.args([&netns, "sh", "-c", script]).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_repair_that_another_program_undoes_waits_and_says_with_whom() {
    let Some(mut host) = Host::start(Kind::Nftables, &healing("on", "nftables")) else { return };
    assert_eq!(host.metric("exitpool_contested_resources{kind=\"guard\"}"), 0.0);
    let rival = Rival::of(&host, "while sleep 0.02; do nft delete table inet exitpool; done");
    let fights = |report: &Report| condition(report, "FirewallInSync").2.contains(" keeps changing it: ");
    let report = host.sees("a repair that waits", |report| drifted(report) && fights(report));
    let message = condition(&report, "FirewallInSync").2;
    let (_, behind) = message.split_once("; nft (pid ").expect(&message);
    assert!(behind.contains(") keeps changing it: firewall guard was repaired "), "{message}");
    assert!(behind.contains(" times in ") && behind.contains("; the next repair is at 2"), "{message}");
    assert!(condition(&report, "Drifted").2.contains("keeps changing it"));
    host.waits_for("the metric", || host.metric("exitpool_contested_resources{kind=\"guard\"}") == 1.0);
    let drift: serde_json::Value = serde_json::from_str(&over_http(&host, "/api/v1/drift")).unwrap();
    let contested = |item: &serde_json::Value| item["fight"]["repairs"].as_u64().is_some_and(|repairs| repairs > 8);
    assert!(drift["items"].as_array().unwrap().iter().all(contested), "{drift}");
    drop(rival);
    host.sees("the guard, in peace", in_sync);
    assert_eq!(host.metric("exitpool_contested_resources{kind=\"guard\"}"), 0.0);
}

/// What was read to find the difference serves to mend it, as long as nobody changes anything in between.
#[test]
fn a_repair_reads_the_guard_once_to_find_it_changed_and_once_to_see_it_whole() {
    let Some(mut host) = Lab::new(Kind::Nftables).and_then(Host::prepare) else { return };
    std::fs::create_dir(host.at("tools")).unwrap();
    let calls = host.at("calls").display().to_string();
    host.script("tools/nft", &format!("echo \"$*\" >>{calls}; exec /usr/sbin/nft \"$@\""));
    let tools = host.at("tools").display().to_string();
    host.within = Some(host.script("with-tools", &format!("PATH={tools}:$PATH; export PATH; exec \"$@\"")));
    host.comes_up(&healing("on", "nftables"));
    let whole = host.lab.everything();
    std::fs::write(&calls, "").unwrap();
    somebody_runs(&host, "/usr/sbin/nft insert rule inet exitpool guard tcp dport 30000 accept");
    let mended = |report: &Report| in_sync(report) && report.status["firewall"]["changed_by"]["name"] == "nft";
    host.sees("the guard, mended", mended);
    assert_eq!(host.lab.everything(), whole);
    let (look, change) = ("-j list table inet exitpool", "-j -f -");
    let made = std::fs::read_to_string(&calls).unwrap();
    assert_eq!(made.lines().collect::<Vec<_>>(), [look, change, look]);
}
