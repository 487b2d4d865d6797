//! A file in the operator's own Git work tree: whether it is as committed, and a commit of it alone.
//!
//! Nothing here reads what the file says.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::super::git::Git;

/// A file that git knows and that has no changes.
#[derive(Debug)]
pub struct WorkTree {
    git: Git,
    name: String,
}

impl WorkTree {
    /// Finds the work tree of a file, by its whole path; refuses one that git does not know, or that has changes.
    pub async fn of(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let parts = file.parent().zip(file.file_name().and_then(|name| name.to_str()));
        let (directory, name) = parts.with_context(|| format!("the path {shown} is not UTF-8"))?;
        let tree = Self { git: Git::at(directory)?, name: name.to_owned() };
        let inside = tree.git.ask(&["rev-parse", "--is-inside-work-tree"]).await?;
        ensure!(
            inside.status.success() && inside.stdout.starts_with(b"true"),
            "{shown} is in no Git work tree, so it cannot be committed; leave --commit away ({})",
            inside.stderr
        );
        let known = tree.git.ask(&["ls-files", "--error-unmatch", "--", &tree.name]).await?;
        ensure!(known.status.success(), "git does not know {shown} yet: add it and commit it first");
        let changes = tree.git.ask(&["status", "--porcelain", "--", &tree.name]).await?;
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
        let ended = self.git.at_terminal(&commit).await?;
        ensure!(ended.success(), "git has not committed it ({ended})");
        Ok(())
    }

    /// The id of the newest commit.
    pub async fn head(&self) -> anyhow::Result<String> {
        self.git.head().await
    }

    /// Pushes the branch where git is set up to push it.
    pub async fn push(&self) -> anyhow::Result<()> {
        let ended = self.git.at_terminal(&["push", "--quiet"]).await?;
        if !ended.success() {
            bail!("committed, and not pushed: git push failed ({ended}); push it yourself");
        }
        Ok(())
    }
}
