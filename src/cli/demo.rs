//! `exitpool demo`: the whole thing on a private Tor network of its own, on this machine alone.

mod acts;
pub mod stage;

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::daemon::socket::Report;
use crate::testnet::{Peer, Progress, Spec, Testnet};

use super::{Exit, output};
use stage::{Stage, unique_directory};

/// The desired state that the demo begins with.
const DOCUMENT: &str = include_str!("demo/pool.yaml");
/// What the names of the demo's namespaces and links begin with.
const PREFIX: &str = "xdemo";
/// How long the first nodes may take.
const FIRST_NODES: Duration = Duration::from_secs(120);

/// Show the whole thing on a private Tor network, on this machine alone
///
/// Starts a Tor network in a network namespace, a Git repository with a desired state, and the real daemon between
/// them, with real tor processes and a real firewall inside the namespace. Needs root. Ctrl-C tidies everything up.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Do the three things to try by itself, say what it saw, and end
    #[arg(long)]
    once: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    Testnet::check()?;
    for name in Testnet::sweep(PREFIX).await? {
        output::talk(&format!("removed what an earlier demo has left: {name}"));
    }
    // From here on Ctrl-C and SIGTERM end the play and not the program, so that everything is tidied up.
    let mut terminate = signal(SignalKind::terminate())?;
    let played = tokio::select! {
        played = play(arguments.once) => played,
        _ = tokio::signal::ctrl_c() => interrupted(),
        _ = terminate.recv() => interrupted(),
    };
    // A play that was cut short has dropped its stage, which ends every process and removes every trace.
    output::talk("everything of the demo is gone from this machine");
    played.map(|()| Exit::Done)
}

fn interrupted() -> anyhow::Result<()> {
    output::talk("\ninterrupted");
    Ok(())
}

async fn play(once: bool) -> anyhow::Result<()> {
    let mut stage = set().await?;
    let played = perform(&mut stage, once).await;
    stage.strike().await?;
    played
}

async fn set() -> anyhow::Result<Stage> {
    let bar = bar();
    let spec = Spec::usual(PREFIX, Peer::Host { addresses: 1 });
    let tell = |progress: Progress| show(&bar, &format!("Tor network: {progress}"));
    let stage = Stage::set(spec, &unique_directory("exitpool-demo"), DOCUMENT, tell).await?;
    bar.finish_and_clear();
    Ok(stage)
}

async fn perform(stage: &mut Stage, once: bool) -> anyhow::Result<()> {
    stage.start_daemon()?;
    let bar = bar();
    let ready = |report: &Report| {
        show(&bar, &format!("pool: {} of {} nodes are ready", acts::ready(report), acts::nodes(report).len()));
        report.converged
    };
    let report = stage.wait_for("six ready nodes", FIRST_NODES, ready).await?;
    bar.finish_and_clear();
    if once {
        return acts::all(stage).await;
    }
    output::data(&invitation(stage, &report));
    // The surrounding select ends this wait.
    std::future::pending::<()>().await;
    Ok(())
}

/// What a visitor reads once the pool is up.
fn invitation(stage: &Stage, report: &Report) -> String {
    let panel = stage.panel();
    let first = acts::nodes(report).first().map(|node| node["socks"].clone()).unwrap_or_default();
    let port = first.as_str().and_then(|socks| socks.rsplit_once(':')).map_or("30000", |(_, port)| port);
    let (repository, namespace) = (stage.repository().display().to_string(), stage.network().netns());
    format!(
        "
The pool is up: {} nodes on a Tor network of its own.

  status page   http://{panel}/
  a request     curl --socks5-hostname {}:{port} http://{}/

Three things to try, with the page open:

  commit a new size
    sed -i 's/size: 4/size: 6/' {repository}/pool.yaml
    git -C {repository} -c user.name=me -c user.email=me@example.org commit -qam 'two more'

  kill a tor
    kill -9 $(cat {}/instances/eu-0/pid)

  flush the firewall (the namespace's, not this host's)
    ip netns exec {namespace} nft flush ruleset

The daemon's log: {}
Ctrl-C ends the demo and removes everything of it.",
        acts::nodes(report).len(),
        panel.ip(),
        stage.network().echo(),
        stage.runtime_dir().display(),
        stage.log().display(),
    )
}

/// A spinner on a terminal; nothing is drawn elsewhere.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Moves the spinner on; where there is none, says each new sentence once.
fn show(bar: &ProgressBar, sentence: &str) {
    if bar.is_hidden() && bar.message() != sentence {
        output::talk(sentence);
    }
    bar.set_message(sentence.to_owned());
}
