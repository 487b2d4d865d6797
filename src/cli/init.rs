//! `exitpool init`: a repository with a first desired state. Needs neither daemon nor tor.
//!
//! What is wished is asked for or said by options (`wish`, `dialogue`), written as a file (`document`), and committed by the
//! host's git (`repository`), signed where a key is named or made (`signing`). Everything that can be refused is refused
//! before anything is made; what was made is taken away again where it could not be committed.

mod dialogue;
mod document;
mod repository;
mod signing;
mod wish;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::daemon::socket;
use crate::desired::load::load;
use crate::error::Kind;
use crate::observe::Visitor;
use crate::observe::collect::sessions;

use super::arguments::{Format, Output};
use super::{Exit, Told, output};
use dialogue::Dialogue;
use repository::{FILE, Place};
use signing::{Signing, Trusted};
use wish::{Options, Wish};

/// Make a repository with a first desired state
///
/// What no option says is asked for on a terminal, and has its default elsewhere or with --yes. The nodes listen on this
/// host alone unless --socks-allow says who else may use them; SSH is left alone unless --ssh-allow is given, which has to
/// let everybody in who is logged in now. A directory that has a desired state already is refused. Prints the lines to
/// run next.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The repository: a directory that is made, or one without a pool.yaml, as an empty clone
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    signing: Signing,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

/// What was made, as JSON.
#[derive(Debug, Serialize)]
struct Document {
    directory: PathBuf,
    branch: String,
    commit: String,
    nodes: u16,
    signing_key: Option<PathBuf>,
    allowed_signers: Option<PathBuf>,
    next: [String; 3],
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let place = Place::find(&arguments.directory).await?;
    let mut signing = arguments.signing.clone();
    let asks = !arguments.yes && std::io::stdin().is_terminal();
    let options = match asks {
        true => Dialogue::new(std::io::stdin().lock(), output::question).complete(&arguments.options, &mut signing)?,
        false => arguments.options.clone(),
    };
    let wish = options.settle(&inside())?;
    let text = document::text(&wish);
    check(&text, &wish)?;
    let trusted = signing.prepare(&place, asks).await?;
    let commit = place.make(&text, trusted.as_ref(), &message(&wish)).await?;
    let document = Document::of(&place, &wish, trusted, commit).await?;
    match arguments.output.output {
        Format::Json => output::json(&document)?,
        Format::Text => document.tell(&wish),
    }
    Ok(Exit::Done)
}

/// Who uses SSH on this host now: this session, and those that the kernel's tables show.
fn inside() -> BTreeSet<Visitor> {
    let mut visitors = sessions(&Default::default());
    visitors.extend(socket::operator());
    visitors
}

/// Reads the text as a daemon does: what is warned about is told, and what is wrong was wished.
fn check(text: &str, wish: &Wish) -> anyhow::Result<()> {
    match load(FILE, text.as_bytes()) {
        Ok(loaded) => {
            output::diagnostics(&loaded.warnings, text);
            wish.remarks().iter().for_each(|remark| output::talk(&format!("note: {remark}")));
            Ok(())
        }
        Err(invalid) => {
            output::diagnostics(&invalid.diagnostics, text);
            let message = "this cannot be wished: say it in another way; nothing was made".to_owned();
            Err(Told { kind: Kind::Usage, message }.into())
        }
    }
}

fn message(wish: &Wish) -> String {
    format!("{}: a first desired state, {} nodes\n", wish.pool, wish.size)
}

impl Document {
    async fn of(place: &Place, wish: &Wish, trusted: Option<Trusted>, commit: String) -> anyhow::Result<Self> {
        let branch = place.branch().await.context("git does not name the branch")?;
        let next = next(place.directory(), &branch, wish, trusted.as_ref().map(|it| (it.file.as_path(), &*commit)));
        let (signing_key, allowed_signers) = trusted.map(|it| (it.key, it.file)).unzip();
        let directory = place.directory().to_owned();
        Ok(Self { directory, branch, commit, nodes: wish.size, signing_key, allowed_signers, next })
    }

    fn tell(&self, wish: &Wish) {
        let Self { directory, commit, nodes, .. } = self;
        let signed = if self.signing_key.is_some() { ", and signed" } else { "" };
        output::talk(&format!("{}: {nodes} nodes, committed as {commit}{signed}", directory.join(FILE).display()));
        if let Some(file) = &self.allowed_signers {
            output::talk(&format!("{}: whom the host is to believe; keep it out of the repository", file.display()));
        }
        let reach = if wish.is_for_this_host() { "from this host alone" } else { "from whom access.socks names" };
        output::talk(&format!("the nodes will be reached {reach}. Next, one of:\n"));
        let lines = NEXT.iter().zip(&self.next).map(|(what, line)| format!("# {what}\n{line}\n"));
        output::data(&lines.collect::<String>());
    }
}

/// What the lines to run next are for.
const NEXT: [&str; 3] =
    ["what it would do on this host; changes nothing", "the daemon, by hand", "or as a service, from a release"];

/// The lines to run next.
fn next(directory: &Path, branch: &str, wish: &Wish, trusted: Option<(&Path, &str)>) -> [String; 3] {
    let mut options = vec![("source", quoted(&directory.display().to_string()))];
    if branch != "main" {
        options.push(("branch", quoted(branch)));
    }
    if let Some((signers, commit)) = trusted {
        options.push(("allowed-signers", quoted(&signers.display().to_string())));
        options.push(("first-commit", commit.to_owned()));
    }
    let words = |options: &[(&str, String)]| -> String {
        options.iter().map(|(name, value)| format!(" --{name} {value}")).collect()
    };
    let look = words(&options);
    if !wish.panel.is_empty() {
        options.push(("listen", "0.0.0.0:8080".to_owned()));
    }
    let run = words(&options);
    let set = |(name, value): &(&str, String)| match *name {
        "source" => format!(" --source {value}"),
        name => format!(" --set EXITPOOL_{}={value}", name.replace('-', "_").to_uppercase()),
    };
    let service: String = options.iter().map(set).collect();
    [format!("exitpool plan{look}"), format!("exitpool run{run}"), format!("sh install.sh{service}")]
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/._-+:@,=".contains(it);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
