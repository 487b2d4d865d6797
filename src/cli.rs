//! The command line: one file per verb. Data goes to standard output, talk to standard error.
//!
//! This is the only room that prints, and the only one that knows exit codes.

pub mod arguments;
pub mod demo;
pub mod documents;
pub mod output;
pub mod reference;

mod accept_rewrite;
mod alerts;
mod apply;
mod audit;
mod backup;
mod completions;
mod confirm;
mod diff;
mod doctor;
mod down;
mod drift;
mod events;
mod firewall_helper;
mod git;
mod guard_early;
mod guard_trial;
mod healthcheck;
mod history;
mod init;
mod log_level;
mod look;
mod man;
mod nodes;
mod passwd;
mod plan;
mod proxy_connect;
mod reconcile;
mod restore;
mod resume;
mod rollback;
mod rotate;
mod run;
mod scale;
mod schema;
mod snapshot;
mod status;
mod suspend;
mod testnet_echo;
mod token;
mod trace;
mod unlock;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Kind, chain};

pub use arguments::{Format, Host, SourceArguments};
pub use reference::reference;

/// Keeps a Linux host's pool of Tor SOCKS5 proxies as a YAML file in Git says it should be
#[derive(Debug, Parser)]
#[command(
    name = "exitpool",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    // A wrapper script's flags can be said again behind it: the last one counts.
    args_override_self = true
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// What can be asked of the program.
#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Arguments),
    Run(run::Arguments),
    Validate(validate::Arguments),
    Plan(plan::Arguments),
    Diff(diff::Arguments),
    Drift(drift::Arguments),
    Apply(apply::Arguments),
    Reconcile(reconcile::Arguments),
    Confirm(confirm::Arguments),
    Suspend(suspend::Arguments),
    Resume(resume::Arguments),
    Rollback(rollback::Arguments),
    Rotate(rotate::Arguments),
    Unlock(unlock::Arguments),
    History(history::Arguments),
    Trace(trace::Arguments),
    AcceptRewrite(accept_rewrite::Arguments),
    Status(status::Arguments),
    Nodes(nodes::Arguments),
    #[command(visible_alias = "alert")]
    Alerts(alerts::Arguments),
    Events(events::Arguments),
    Audit(audit::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    LogLevel(log_level::Arguments),
    Down(down::Arguments),
    Scale(scale::Arguments),
    Snapshot(snapshot::Arguments),
    Token(token::Arguments),
    Passwd(passwd::Arguments),
    Doctor(doctor::Arguments),
    Healthcheck(healthcheck::Arguments),
    FirewallHelper(firewall_helper::Arguments),
    GuardEarly(guard_early::Arguments),
    Schema(schema::Arguments),
    Demo(demo::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    #[command(hide = true)]
    GuardTrial(guard_trial::Arguments),
    #[command(hide = true)]
    ProxyConnect(proxy_connect::Arguments),
    #[command(hide = true)]
    TestnetEcho(testnet_echo::Arguments),
}

/// How a verb ends: the codes of `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; for `diff` and `drift`: none.
    Done,
    /// For `diff` and `drift`: some.
    Differs,
    /// For `plan --detailed-exitcode`: changes.
    Changes,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Differs => Self::from(1),
            Exit::Changes => Self::from(2),
        }
    }
}

/// Which verbs say by their exit code that they could not tell.
const COULD_NOT_TELL: u8 = 2;
const FAILED: u8 = 1;
/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;
/// `EX_CONFIG` of sysexits.h.
const INVALID: u8 = 78;

/// How many threads work beside the main one, on which the daemon passes. Each keeps memory of its own.
const WORKERS: usize = 1;
/// How many threads may block at once: what they do is short, and waits for none of the others.
const BLOCKING_THREADS: usize = 4;

/// Parses the arguments, does what they say, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let compares = matches!(cli.verb, Verb::Diff(_) | Verb::Drift(_));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.enable_all().worker_threads(WORKERS).max_blocking_threads(BLOCKING_THREADS).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::talk(&format!("error: cannot start: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    match runtime.block_on(cli.verb.run()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::talk(&format!("error: {}", chain(error.as_ref())));
            ExitCode::from(code(&error, compares))
        }
    }
}

/// The exit code of an error.
fn code(error: &anyhow::Error, compares: bool) -> u8 {
    let kind = error.downcast_ref::<Told>().map(|told| told.kind);
    match kind {
        Some(Kind::Usage) => USAGE,
        _ if compares => COULD_NOT_TELL,
        Some(Kind::Desired) => INVALID,
        _ => FAILED,
    }
}

/// An error whose details were told already, with the kind that decides the exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Told {
    /// The kind.
    pub kind: Kind,
    /// A last sentence.
    pub message: String,
}

impl Verb {
    async fn run(self) -> anyhow::Result<Exit> {
        match self {
            Self::Init(arguments) => init::run(&arguments).await,
            Self::Run(arguments) => run::run(arguments).await,
            Self::Validate(arguments) => validate::run(&arguments),
            Self::Plan(arguments) => plan::run(&arguments).await,
            Self::Diff(arguments) => diff::run(&arguments).await,
            Self::Drift(arguments) => drift::run(&arguments).await,
            Self::Apply(arguments) => apply::run(&arguments).await,
            Self::Reconcile(arguments) => reconcile::run(&arguments).await,
            Self::Confirm(arguments) => confirm::run(&arguments).await,
            Self::Suspend(arguments) => suspend::run(&arguments).await,
            Self::Resume(arguments) => resume::run(&arguments).await,
            Self::Rollback(arguments) => rollback::run(&arguments).await,
            Self::Rotate(arguments) => rotate::run(&arguments).await,
            Self::Unlock(arguments) => unlock::run(&arguments).await,
            Self::History(arguments) => history::run(&arguments),
            Self::Trace(arguments) => trace::run(&arguments),
            Self::AcceptRewrite(arguments) => accept_rewrite::run(&arguments).await,
            Self::Status(arguments) => status::run(&arguments).await,
            Self::Nodes(arguments) => nodes::run(&arguments).await,
            Self::Alerts(arguments) => alerts::run(&arguments).await,
            Self::Events(arguments) => events::run(&arguments).await,
            Self::Audit(arguments) => audit::run(&arguments).await,
            Self::Backup(arguments) => backup::run(&arguments),
            Self::Restore(arguments) => restore::run(&arguments),
            Self::LogLevel(arguments) => log_level::run(&arguments).await,
            Self::Down(arguments) => down::run(&arguments).await,
            Self::Scale(arguments) => scale::run(&arguments).await,
            Self::Snapshot(arguments) => snapshot::run(&arguments).await,
            Self::Token(arguments) => token::run(&arguments),
            Self::Passwd(arguments) => passwd::run(&arguments),
            Self::Doctor(arguments) => doctor::run(&arguments).await,
            Self::Healthcheck(arguments) => healthcheck::run(&arguments).await,
            Self::Schema(arguments) => schema::run(&arguments),
            Self::Demo(arguments) => demo::run(arguments).await,
            Self::Completions(arguments) => completions::run(&arguments),
            Self::Man(arguments) => man::run(&arguments),
            Self::FirewallHelper(arguments) => firewall_helper::run(&arguments).await,
            Self::GuardEarly(arguments) => guard_early::run(&arguments).await,
            Self::GuardTrial(arguments) => guard_trial::run(&arguments).await,
            Self::ProxyConnect(arguments) => proxy_connect::run(&arguments).await,
            Self::TestnetEcho(arguments) => testnet_echo::run(&arguments).await,
        }
    }
}
