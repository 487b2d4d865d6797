//! Whose commits are believed: a key that signs, and the host's file of those who may.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use jiff::Timestamp;

use crate::source::verify::Signers;
use crate::sys::{command, files};

use super::repository::{PUBLIC_FILE, Place};

/// Which key signs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signatures")]
pub struct Signing {
    /// Sign this commit, and those to come, with an SSH key; its public half is beside it, as KEY.pub
    #[arg(long, value_name = "KEY", conflicts_with = "new_key")]
    sign_with: Option<PathBuf>,
    /// Make an SSH key that signs, in this new file; on a terminal a passphrase is asked for
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,
    /// Where the host's list of signers is written: a new file, not in the repository [default: DIR.allowed_signers]
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
}

/// A key that signs, and who is to believe it.
#[derive(Debug)]
pub struct Trusted {
    /// What git is told to sign with.
    pub key: PathBuf,
    /// The host's list of signers.
    pub file: PathBuf,
}

impl Signing {
    /// Whether an option names a key.
    pub fn is_said(&self) -> bool {
        self.sign_with.is_some() || self.new_key.is_some()
    }

    /// Takes a file for a key that is there, or for one that is to be made.
    pub fn take(&mut self, file: Option<PathBuf>) {
        match file {
            Some(file) if file.exists() => self.sign_with = Some(file),
            other => self.new_key = other,
        }
    }

    /// Makes the key where one is to be made, and the list of signers with it; nothing where nothing is to be signed.
    pub async fn prepare(&self, place: &Place, asks: bool) -> anyhow::Result<Option<Trusted>> {
        if !self.is_said() {
            ensure!(self.allowed_signers.is_none(), "--allowed-signers needs --sign-with or --new-key");
            return Ok(None);
        }
        let file = self.allowed_signers.clone().unwrap_or_else(|| place.beside("allowed_signers"));
        let file = std::path::absolute(&file)?;
        ensure!(!file.exists(), "{} is there already: name another file with --allowed-signers", file.display());
        ensure!(!file.starts_with(place.directory()), "{} is in the repository that it protects", file.display());
        let signer = place.signer().await?;
        let key = match (&self.sign_with, &self.new_key) {
            (Some(key), _) => std::path::absolute(key)?,
            (None, Some(new)) => make(&std::path::absolute(new)?, &signer, asks).await?,
            (None, None) => return Ok(None),
        };
        let line = format!("{signer} namespaces=\"git\" {}\n", public_half(&key)?);
        files::make_new(&file, line.as_bytes(), PUBLIC_FILE)
            .with_context(|| format!("cannot make {}", file.display()))?;
        if let Err(error) = Signers::read(&file, Timestamp::now()) {
            // It was ours a moment ago.
            let _ = files::remove(&file);
            return Err(anyhow::Error::new(error).context(format!("{} cannot sign for a daemon", key.display())));
        }
        Ok(Some(Trusted { key, file }))
    }
}

/// Makes a key in a file that is not there yet; its passphrase is between the operator and ssh-keygen.
async fn make(file: &Path, signer: &str, asks: bool) -> anyhow::Result<PathBuf> {
    ensure!(!file.exists(), "{} is there already: sign with it by --sign-with, or name a new file", file.display());
    let name = file.to_str().with_context(|| format!("the path {} is not UTF-8", file.display()))?;
    let mut arguments = vec!["-q", "-t", "ed25519", "-C", signer, "-f", name];
    if !asks {
        arguments.extend(["-N", ""]);
    }
    let ended = command::at_terminal("ssh-keygen", &arguments).await.context("is openssh-client installed?")?;
    ensure!(ended.success(), "ssh-keygen has made no key ({ended})");
    Ok(file.to_owned())
}

/// The key itself, as OpenSSH writes it in one line.
fn public_half(key: &Path) -> anyhow::Result<String> {
    let is_public = key.extension().is_some_and(|it| it == "pub");
    let file = if is_public { key.to_owned() } else { PathBuf::from(format!("{}.pub", key.display())) };
    let advice = || {
        let (key, file) = (key.display(), file.display());
        format!("cannot read {file}: make it with `ssh-keygen -y -f {key} >{file}`")
    };
    let text = fs::read_to_string(&file).with_context(advice)?;
    let words: Vec<&str> = text.split_whitespace().take(2).collect();
    ensure!(words.len() == 2, "{} is no public key of OpenSSH's", file.display());
    Ok(words.join(" "))
}
