//! git in a directory of the operator's: the host's program, with the operator's settings, hooks and keys.

use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::sys::command::{self, Output};

/// The longest that git may take to look at one file.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// git, as it is called in one directory.
#[derive(Debug)]
pub struct Git {
    directory: String,
}

impl Git {
    /// Says where git is to work; nothing is looked at yet.
    pub fn at(directory: &Path) -> anyhow::Result<Self> {
        let text = directory.to_str().with_context(|| format!("the path {} is not UTF-8", directory.display()))?;
        Ok(Self { directory: text.to_owned() })
    }

    /// Runs git, and tells how it ended and what it said.
    pub async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(command::run("git", &self.arguments(arguments), b"", LOOK_PATIENCE).await?)
    }

    /// Runs git, which has to succeed, and gives what it said.
    pub async fn answer(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.ask(arguments).await?;
        ensure!(output.status.success(), "git {} failed: {}", arguments.join(" "), output.stderr);
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs git, which may ask the person at the terminal.
    pub async fn at_terminal(&self, arguments: &[&str]) -> anyhow::Result<ExitStatus> {
        Ok(command::at_terminal("git", &self.arguments(arguments)).await?)
    }

    /// The id of the newest commit.
    pub async fn head(&self) -> anyhow::Result<String> {
        self.answer(&["rev-parse", "HEAD"]).await.context("git does not name its newest commit")
    }

    /// No name of a file is a pattern.
    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--literal-pathspecs", "-C", &self.directory], arguments].concat()
    }
}
