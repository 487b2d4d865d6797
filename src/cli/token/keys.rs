//! `token keygen` and `token public`.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::export::key::SecretKey;
use crate::sys::{files, random};

use super::super::{Exit, output};

/// The longest file that is read as a key.
const MAX_KEY_BYTES: u64 = 256;

/// Make a key that signs tokens
///
/// Writes FILE, which nobody else may read, and FILE.pub; files that are there are left alone. Prints the public key, as
/// it stands in `exports.trusted_keys`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where the secret key goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Print the public key of a secret one, as it stands in exports.trusted_keys
#[derive(Debug, Args)]
pub struct Public {
    /// The secret key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn generate(arguments: &Keygen) -> anyhow::Result<Exit> {
    let secret_file = &arguments.out;
    let public_file = beside(secret_file);
    if let Some(there) = [secret_file, &public_file].into_iter().find(|file| file.symlink_metadata().is_ok()) {
        bail!("{} is there already: choose another file, or move it away", there.display());
    }
    let key = SecretKey::from_seed(&random::bytes().context("the kernel has no random bytes")?);
    let public = key.public().to_string();
    write(secret_file, &key.reveal(), 0o600)?;
    if let Err(error) = write(&public_file, &public, 0o644) {
        files::remove(secret_file).with_context(|| format!("cannot remove {} again", secret_file.display()))?;
        return Err(error);
    }
    output::data(&public);
    output::talk(&format!("{} signs tokens: keep it, and show it to nobody", secret_file.display()));
    Ok(Exit::Done)
}

pub(super) fn public(arguments: &Public) -> anyhow::Result<Exit> {
    output::data(&read(&arguments.key)?.public().to_string());
    Ok(Exit::Done)
}

/// `FILE.pub`.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn write(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    files::make_new(file, format!("{text}\n").as_bytes(), mode)
        .with_context(|| format!("cannot make {}", file.display()))
}

/// Reads a secret key; refuses one that others can read, as ssh does.
pub(super) fn read(path: &Path) -> anyhow::Result<SecretKey> {
    let cannot = || format!("cannot read the key {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let mode = file.metadata().with_context(cannot)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{} can be read by others (mode {mode:04o}): `chmod 600` it, and make a new key if they did",
            path.display()
        );
    }
    let mut text = String::new();
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).with_context(cannot)?;
    text.trim_end().parse().with_context(|| format!("cannot use {}", path.display()))
}
