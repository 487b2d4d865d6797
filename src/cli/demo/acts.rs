//! The three things to try, done by the demo itself: each says what it did and what it saw.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::socket::Report;

use super::stage::{Stage, finished, kill_pid};
use super::{DOCUMENT, output};

/// How long the pool may take to follow.
const FOLLOW: Duration = Duration::from_secs(90);

/// The nodes of a report.
pub(super) fn nodes(report: &Report) -> Vec<Value> {
    report.nodes["nodes"].as_array().cloned().unwrap_or_default()
}

/// How many of them are ready.
pub(super) fn ready(report: &Report) -> usize {
    nodes(report).iter().filter(|node| node["state"] == "ready").count()
}

/// Plays all acts.
pub(super) async fn all(stage: &mut Stage) -> anyhow::Result<()> {
    requests_leave_from_the_right_countries(stage).await?;
    a_commit_is_followed(stage).await?;
    a_killed_tor_comes_back(stage).await?;
    a_flushed_firewall_comes_back(stage).await
}

async fn requests_leave_from_the_right_countries(stage: &mut Stage) -> anyhow::Result<()> {
    let report = stage.report().await.context("the daemon does not answer")?;
    for node in nodes(&report) {
        let name = node["name"].as_str().unwrap_or_default();
        let socks: SocketAddr = node["socks"].as_str().unwrap_or_default().parse().context("a node without address")?;
        let reachable = SocketAddr::new(stage.panel().ip(), socks.port());
        let seen = stage.ask_through(reachable).await?;
        let exit = stage.network().exits().iter().find(|exit| exit.address == seen);
        let country =
            exit.map(|exit| exit.country.to_string()).context("a request left from no exit of the network")?;
        ensure!(
            node["countries"].as_array().is_some_and(|wished| wished.contains(&Value::from(country.clone()))),
            "a request through {name} left from {country}, which it does not wish"
        );
        output::data(&format!("a request through {name} left from {seen} in {country}"));
    }
    Ok(())
}

async fn a_commit_is_followed(stage: &mut Stage) -> anyhow::Result<()> {
    let begun = Instant::now();
    stage.commit(&DOCUMENT.replace("size: 4", "size: 6"), "Two more").await?;
    stage.wait_for("eight ready nodes", FOLLOW, |report| report.converged && ready(report) == 8).await?;
    output::data(&format!("a commit of two more nodes: all eight are ready after {}", seconds(begun)));
    Ok(())
}

async fn a_killed_tor_comes_back(stage: &mut Stage) -> anyhow::Result<()> {
    let report = stage.report().await.context("the daemon does not answer")?;
    let first = nodes(&report).first().cloned().unwrap_or_default();
    let (name, killed) = (first["name"].clone(), first["instance"]["pid"].as_u64());
    let Some(pid) = killed.and_then(|pid| u32::try_from(pid).ok()) else {
        bail!("{name} has no process");
    };
    let begun = Instant::now();
    kill_pid(pid, Signal::KILL).context("cannot kill a tor")?;
    let back = |report: &Report| {
        let pid =
            nodes(report).iter().find(|node| node["name"] == name).and_then(|node| node["instance"]["pid"].as_u64());
        report.converged && pid.is_some() && pid != killed
    };
    stage.wait_for("a new tor", FOLLOW, back).await?;
    output::data(&format!("tor of {} was killed: ready again after {}", name.as_str().unwrap_or("?"), seconds(begun)));
    Ok(())
}

async fn a_flushed_firewall_comes_back(stage: &mut Stage) -> anyhow::Result<()> {
    let begun = Instant::now();
    finished(stage.network().command("nft").args(["flush", "ruleset"]), "nft").await?;
    let mut list = stage.network().command("nft");
    list.args(["list", "table", "inet", "exitpool"]);
    let deadline = Instant::now() + FOLLOW;
    while finished(&mut list, "nft").await.is_err() {
        ensure!(Instant::now() < deadline, "the firewall guard did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = seconds(begun);
    stage.wait_for("a converged host", FOLLOW, |report| report.converged).await?;
    output::data(&format!("the firewall was flushed: the guard stands again after {took}"));
    Ok(())
}

fn seconds(begun: Instant) -> String {
    format!("{:.1} s", begun.elapsed().as_secs_f32())
}
