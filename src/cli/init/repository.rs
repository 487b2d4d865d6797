//! The repository: where it is, what is put there, and its first commit, by the host's git.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use git2::Oid;

use crate::desired::schema;
use crate::source::settings::{SourceSettings, Trust};
use crate::source::verify::Keys;
use crate::source::{Source, SourceSpec};
use crate::sys::{files, host, users};

use super::super::git::Git;
use super::signing::Trusted;

/// The desired state's name, where a daemon looks for it.
pub const FILE: &str = "pool.yaml";
/// The schema's, beside it: for editors.
pub const SCHEMA: &str = "desired-state.v1.schema.json";
/// What others may read.
pub const PUBLIC_FILE: u32 = 0o644;

/// A directory that has no desired state yet.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    git: Git,
}

impl Place {
    /// Looks at a directory, which may be missing; refuses one in which something would be lost.
    pub async fn find(directory: &Path) -> anyhow::Result<Self> {
        let directory = std::path::absolute(directory)?.components().collect::<PathBuf>();
        let directory = directory.canonicalize().unwrap_or(directory);
        for name in [FILE, SCHEMA] {
            let file = directory.join(name);
            ensure!(!file.exists(), "{} is there already, and stays as it is: name another directory", file.display());
        }
        let is_bare = directory.join("HEAD").exists() && directory.join("objects").exists();
        ensure!(!is_bare, "{0} is a bare repository: clone it, and run this in the clone", directory.display());
        let git = Git::at(&directory)?;
        Git::at(Path::new("/"))?.answer(&["--version"]).await.context("git is needed: install it")?;
        Ok(Self { directory, git })
    }

    /// The directory, in full.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A file beside the directory, of the same name with an extension.
    pub fn beside(&self, extension: &str) -> PathBuf {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        self.directory.with_file_name(format!("{name}.{extension}"))
    }

    /// Who commits: as git is set up here, or else whoever runs this on this host.
    pub async fn signer(&self) -> anyhow::Result<String> {
        let root = Git::at(Path::new("/"))?;
        let git = if self.is_repository() { &self.git } else { &root };
        let set = git.ask(&["config", "user.email"]).await?;
        let email = String::from_utf8_lossy(&set.stdout).trim().to_owned();
        // Blanks and commas would end the name in a list of signers.
        let is_name = !email.is_empty() && !email.contains([' ', ',', '"', '*', '?', '!']);
        Ok(if is_name { email } else { format!("{}@{}", user(), host::name()) })
    }

    /// Which branch has the commit.
    pub async fn branch(&self) -> anyhow::Result<String> {
        self.git.answer(&["symbolic-ref", "--short", "HEAD"]).await
    }

    /// Makes the repository where there is none, the files and the commit, and gives the commit's id. Where there can be no
    /// commit, the files are gone again.
    pub async fn make(&self, text: &str, trusted: Option<&Trusted>, message: &str) -> anyhow::Result<String> {
        let shown = self.directory.display();
        let mut made = Made(trusted.map(|it| it.file.clone()).into_iter().collect());
        files::make_directory(&self.directory).with_context(|| format!("cannot make {shown}"))?;
        if !self.is_repository() {
            self.git.answer(&["init", "--quiet", "--initial-branch=main"]).await?;
        }
        self.configure(trusted).await?;
        let schema = format!("{}\n", serde_json::to_string_pretty(&schema::schema())?);
        for (name, content) in [(SCHEMA, schema.as_str()), (FILE, text)] {
            let file = self.directory.join(name);
            files::make_new(&file, content.as_bytes(), PUBLIC_FILE)
                .with_context(|| format!("cannot make {}", file.display()))?;
            made.0.push(file);
        }
        if let Err(error) = self.commit(message).await {
            let _ = self.git.ask(&["rm", "--quiet", "--cached", "--ignore-unmatch", "--", SCHEMA, FILE]).await;
            return Err(error.context("there is no commit, so the files are gone again"));
        }
        made.0.clear();
        let commit = self.git.head().await?;
        if let Some(trusted) = trusted {
            self.verify(trusted, &commit).await?;
        }
        Ok(commit)
    }

    fn is_repository(&self) -> bool {
        self.directory.join(".git").exists()
    }

    /// Tells git who commits, where nobody has, and which key signs.
    async fn configure(&self, trusted: Option<&Trusted>) -> anyhow::Result<()> {
        let mut wished = Vec::new();
        let email = self.git.ask(&["config", "user.email"]).await?;
        if email.stdout.is_empty() {
            wished.push(("user.name", user()));
            wished.push(("user.email", self.signer().await?));
        }
        if let Some(Trusted { key, file }) = trusted {
            wished.push(("gpg.format", "ssh".to_owned()));
            wished.push(("user.signingkey", key.display().to_string()));
            wished.push(("commit.gpgsign", "true".to_owned()));
            wished.push(("gpg.ssh.allowedSignersFile", file.display().to_string()));
        }
        for (name, value) in wished {
            self.git.answer(&["config", name, &value]).await?;
        }
        Ok(())
    }

    async fn commit(&self, message: &str) -> anyhow::Result<()> {
        self.git.answer(&["add", "--", SCHEMA, FILE]).await?;
        let commit = ["commit", "--quiet", "--only", "--message", message, "--", SCHEMA, FILE];
        let ended = self.git.at_terminal(&commit).await?;
        ensure!(ended.success(), "git has not committed it ({ended})");
        Ok(())
    }

    /// Judges the commit as a daemon will that is told of it.
    async fn verify(&self, trusted: &Trusted, commit: &str) -> anyhow::Result<()> {
        let place = self.directory.to_str().context("the path is not UTF-8")?;
        let settings = SourceSettings {
            trust: Some(Trust {
                allowed_signers: trusted.file.clone(),
                first_commit: Some(Oid::from_str(commit)?),
                keys: Keys::Any,
                min_signers: 1,
            }),
            // It is only read, and a memory that is not there is empty.
            ..SourceSettings::of(
                SourceSpec::from_options(place, &self.branch().await?, FILE)?,
                self.directory.join(".git/exitpool"),
            )
        };
        let Err(error) = Source::with(settings).candidate() else { return Ok(()) };
        bail!("the commit was made, and a daemon would not believe it: {}", crate::error::chain(&error));
    }
}

/// Whoever runs this.
fn user() -> String {
    users::name_of(rustix::process::geteuid().as_raw()).replace(' ', "")
}

/// Files that go again where what they are for has failed.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for file in &self.0 {
            // What cannot be removed is seen by the next try, which refuses to write over it.
            let _ = files::remove(file);
        }
    }
}
