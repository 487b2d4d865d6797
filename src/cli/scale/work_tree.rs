//! A file in the operator's own Git work tree: whether it is as committed, and a commit of it alone.
//!
//! The host's `git` does it, with the operator's settings, hooks and keys. Nothing here reads what the file says.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::sys::command::{self, Output};

/// The longest that git may take to look at one file.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// A file that git knows and that has no changes.
#[derive(Debug)]
pub struct WorkTree {
    directory: String,
    name: String,
}

impl WorkTree {
    /// Finds the work tree of a file, by its whole path; refuses one that git does not know, or that has changes.
    pub async fn of(file: &Path) -> anyhow::Result<Self> {
        let part = |part: Option<&str>| part.map(str::to_owned);
        let parts = part(file.parent().and_then(Path::to_str)).zip(part(file.file_name().and_then(|it| it.to_str())));
        let (directory, name) = parts.with_context(|| format!("the path {} is not UTF-8", file.display()))?;
        let tree = Self { directory, name };
        let shown = file.display();
        let inside = tree.git(&["rev-parse", "--is-inside-work-tree"]).await?;
        ensure!(
            inside.status.success() && inside.stdout.starts_with(b"true"),
            "{shown} is in no Git work tree, so it cannot be committed; leave --commit away ({})",
            inside.stderr
        );
        let known = tree.git(&["ls-files", "--error-unmatch", "--", &tree.name]).await?;
        ensure!(known.status.success(), "git does not know {shown} yet: add it and commit it first");
        let changes = tree.git(&["status", "--porcelain", "--", &tree.name]).await?;
        ensure!(changes.status.success(), "git cannot say whether {shown} has changes: {}", changes.stderr);
        ensure!(
            changes.stdout.is_empty(),
            "{shown} has other changes that are not committed: commit them, or take them back, first"
        );
        Ok(tree)
    }

    /// Commits the file, and nothing else that is changed or staged.
    pub async fn commit(&self, message: &str) -> anyhow::Result<()> {
        let commit = ["commit", "--quiet", "--only", "--message", message, "--", &self.name];
        let ended = command::at_terminal("git", &self.arguments(&commit)).await?;
        ensure!(ended.success(), "git has not committed it ({ended})");
        Ok(())
    }

    /// The id of the newest commit.
    pub async fn head(&self) -> anyhow::Result<String> {
        let head = self.git(&["rev-parse", "HEAD"]).await?;
        ensure!(head.status.success(), "git does not name its newest commit: {}", head.stderr);
        Ok(String::from_utf8_lossy(&head.stdout).trim().to_owned())
    }

    /// Pushes the branch where git is set up to push it.
    pub async fn push(&self) -> anyhow::Result<()> {
        let ended = command::at_terminal("git", &self.arguments(&["push", "--quiet"])).await?;
        if !ended.success() {
            bail!("committed, and not pushed: git push failed ({ended}); push it yourself");
        }
        Ok(())
    }

    async fn git(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        Ok(command::run("git", &self.arguments(arguments), b"", LOOK_PATIENCE).await?)
    }

    /// No name of a file is a pattern.
    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--literal-pathspecs", "-C", &self.directory], arguments].concat()
    }
}
