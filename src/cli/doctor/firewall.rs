//! The firewall: whether a guard of ours can stand here, and what others' rules would do to our ports.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::geteuid;

use super::super::documents::CheckDocument;
use super::Facts;
use crate::desired::DriverChoice;
use crate::error::chain;
use crate::firewall::model::{Guard, Ports};
use crate::firewall::{nftables, select};
use crate::observe::Observation;
use crate::sys::command;

/// A listing of many rules takes a second at most.
const DEADLINE: Duration = Duration::from_secs(20);

pub async fn checks(facts: &Facts<'_>) -> Vec<CheckDocument> {
    let guard = Guard::of(facts.desired, facts.host.listen.panel_port());
    let mut checks = vec![kernel(facts.desired.firewall.driver, &guard).await, driver(facts).await];
    match rules().await {
        Ok(rules) => {
            checks.push(CheckDocument::ok(RULES, "nft can read the rules of this host"));
            checks.push(default_deny(facts.desired.firewall.driver, &guard, &rules).await);
            checks.push(forwarded(&guard, &rules));
        }
        Err(check) => checks.push(check),
    }
    checks
}

const RULES: &str = "rules of others";

/// Puts our table into a network namespace that ends with the tool.
async fn kernel(choice: DriverChoice, guard: &Guard) -> CheckDocument {
    const NAME: &str = "nftables";
    if matches!(choice, DriverChoice::None | DriverChoice::Iptables) {
        return CheckDocument::skipped(NAME, &format!("firewall.driver is {}", choice.name()));
    }
    let namespace = if geteuid().is_root() { "--net" } else { "-Urn" };
    // The first command says whether there can be namespaces at all.
    let script = "echo made; exec nft -j -f -";
    let table = nftables::installation(guard);
    let arguments = [namespace, "sh", "-c", script];
    match command::run("unshare", &arguments, table.as_bytes(), DEADLINE).await {
        Ok(output) if !output.stdout.starts_with(b"made") => {
            CheckDocument::skipped(NAME, &format!("no network namespace can be made here: {}", output.stderr))
        }
        Ok(output) if output.status.success() => {
            CheckDocument::ok(NAME, "nft and the kernel know all that the guard needs")
        }
        Ok(output) => {
            let first = output.stderr.lines().next().unwrap_or("it said nothing");
            let advice = "install nftables 0.9.8 or newer, or load the kernel's modules nf_tables, nft_ct, nft_fib_inet and nft_limit";
            CheckDocument::failed(NAME, &format!("the guard's table cannot be made: {first}"), advice)
        }
        Err(error) => {
            CheckDocument::skipped(NAME, &format!("no network namespace can be made here: {}", chain(&error)))
        }
    }
}

/// Whether the driver that is wished for can be had, and can read its guard.
async fn driver(facts: &Facts<'_>) -> CheckDocument {
    const NAME: &str = "firewall driver";
    let choice = facts.desired.firewall.driver;
    let driver = match select(choice).await {
        Ok(driver) => driver,
        Err(error) => {
            return CheckDocument::failed(NAME, &chain(&error), "see docs/firewall.md for what each driver needs");
        }
    };
    match &facts.look.observed.guard {
        Observation::Unknown(why) => {
            CheckDocument::failed(NAME, why, "until it can be read, no node opens beyond loopback")
        }
        Observation::Present(_) | Observation::Absent if choice == DriverChoice::None => {
            CheckDocument::warning(NAME, "firewall.driver is none", "guard the ports yourself: nobody else does")
        }
        Observation::Present(_) => CheckDocument::ok(NAME, &format!("{} has a guard here", driver.name())),
        Observation::Absent => CheckDocument::ok(NAME, &format!("{} can be had; there is no guard yet", driver.name())),
    }
}

/// All rules of this host as nft writes them.
async fn rules() -> Result<String, CheckDocument> {
    match command::run("nft", &["list", "ruleset"], b"", DEADLINE).await {
        Err(error) => Err(CheckDocument::skipped(RULES, &chain(&error))),
        Ok(output) if output.status.signal().is_some() => {
            let advice =
                "something here, often a container, has put its rules in with a newer nft: give both the same version";
            Err(CheckDocument::failed(RULES, &format!("nft crashes on reading them ({})", output.status), advice))
        }
        Ok(output) if !output.status.success() || complains(&output.stderr) => {
            Err(CheckDocument::skipped(RULES, &format!("nft cannot read them: {}", output.stderr)))
        }
        Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// Whether nft says more than that a table is iptables'; without rights it may go on, and list nothing.
fn complains(stderr: &str) -> bool {
    stderr.lines().any(|line| !line.starts_with("# Warning: "))
}

/// Whether another firewall drops by default what our guard lets pass.
async fn default_deny(choice: DriverChoice, guard: &Guard, rules: &str) -> CheckDocument {
    const NAME: &str = "default deny";
    let has_firewalld =
        command::run("firewall-cmd", &["--state"], b"", DEADLINE).await.is_ok_and(|output| output.status.success());
    let has_ufw = rules.contains("chain ufw-user-input ");
    let told_by_us = has_ufw && geteuid().is_root() && matches!(choice, DriverChoice::Auto | DriverChoice::Ufw);
    let mut denying: Vec<String> = dropping_chains(rules);
    if told_by_us {
        denying.retain(|chain| !chain.ends_with("filter INPUT"));
    }
    denying.extend(has_firewalld.then(|| "firewalld".to_owned()));
    let ours = opened(guard);
    match (denying.is_empty(), told_by_us) {
        (true, true) => CheckDocument::ok(NAME, "ufw is in force, and gets entries of ours"),
        (true, false) => CheckDocument::ok(NAME, "no other firewall drops by default what comes in"),
        _ if ours.is_empty() => CheckDocument::ok(NAME, "no port of ours is to be reached from elsewhere"),
        _ => {
            let message = format!("dropped by default: {} would drop whitelisted clients as well", denying.join(", "));
            let advice =
                format!("allow TCP ports {} there, unless it does so already: see docs/firewall.md", ours.join(", "));
            CheckDocument::warning(NAME, &message, &advice)
        }
    }
}

/// The chains that see what comes in and drop it unless a rule says otherwise, as `family table chain`.
fn dropping_chains(rules: &str) -> Vec<String> {
    let (mut table, mut chain, mut found) = (String::new(), String::new(), Vec::new());
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            name.trim_end_matches(" {").clone_into(&mut table);
        } else if let Some(name) = line.strip_prefix("chain ") {
            name.trim_end_matches(" {").clone_into(&mut chain);
        } else if line.starts_with("type filter hook input ") && line.contains("policy drop") {
            found.push(format!("{table} {chain}"));
        }
    }
    found
}

fn opened(guard: &Guard) -> Vec<String> {
    guard.reached_ports().map(|ports| ports.to_string()).collect()
}

/// Whether somebody sends what comes to our ports to another place.
fn forwarded(guard: &Guard, rules: &str) -> CheckDocument {
    const NAME: &str = "forwarded ports";
    let ours: Vec<Ports> = guard.reached_ports().chain(guard.control_ports).collect();
    let meets = |theirs: &Ports| ours.iter().any(|it| it.first <= theirs.last && theirs.first <= it.last);
    let redirecting = rules.lines().map(str::trim).filter(|line| line.contains(" dnat ") || line.contains(" redirect"));
    let found: Vec<&str> = redirecting.filter(|line| destinations(line).iter().any(meets)).collect();
    if found.is_empty() {
        return CheckDocument::ok(NAME, "no rule sends our ports to another place");
    }
    let advice = "publish that container, or forward that port, on another one";
    CheckDocument::failed(NAME, &format!("our ports are sent elsewhere by `{}`", found.join("`, `")), advice)
}

/// The destination ports that a rule names: `dport 80`, `dport 80-90` or `dport { 80, 90-99 }`.
fn destinations(rule: &str) -> Vec<Ports> {
    let Some((_, behind)) = rule.split_once("dport ") else { return Vec::new() };
    let named = match behind.strip_prefix('{') {
        Some(set) => set.split('}').next().unwrap_or_default(),
        None => behind.split(' ').next().unwrap_or_default(),
    };
    named.split(',').filter_map(|text| Ports::parse(text.trim(), '-')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_in_each_way_of_writing_them() {
        let texts = |rule: &str| destinations(rule).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts("iif \"eth0\" tcp dport 30000 dnat ip to 172.17.0.2:80"), ["30000"]);
        assert_eq!(texts("tcp dport { 80, 30000-30009 } redirect to :9"), ["80", "30000-30009"]);
        assert_eq!(texts("tcp dport @ports dnat to 10.0.0.1"), [""; 0]);
        assert_eq!(texts("dnat to 10.0.0.1"), [""; 0]);
    }
}
