//! The age file around a backup: for whom it is sealed, and what opens it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::{Decryptor, Encryptor, Identity, Recipient};

use super::BackupError;

/// How every age file begins.
const MAGIC: &[u8] = b"age-encryption.org/";

/// For whom a backup is sealed.
pub enum Envelope {
    /// Anybody reads it.
    Open,
    /// Whoever has one of these keys.
    Recipients(Vec<Box<dyn Recipient + Send>>),
    /// Whoever knows the passphrase.
    Passphrase(SecretString),
}

impl Envelope {
    /// Reads recipients: `age1…`, or a public key of SSH.
    pub fn to(recipients: &[String], files: &[PathBuf]) -> Result<Self, BackupError> {
        let mut all = Vec::new();
        for text in recipients {
            all.push(recipient(text).ok_or_else(|| none(text))?);
        }
        for path in files {
            let read = fs::read_to_string(path);
            let text = read.map_err(|source| BackupError::Read { path: path.clone(), source })?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            for line in lines {
                all.push(recipient(line).ok_or_else(|| none(line))?);
            }
        }
        match all.is_empty() && (!recipients.is_empty() || !files.is_empty()) {
            true => Err(BackupError::Key("the file of recipients names nobody".to_owned())),
            false if all.is_empty() => Ok(Self::Open),
            false => Ok(Self::Recipients(all)),
        }
    }

    /// Reads a passphrase: the first line of a file.
    pub fn passphrase(path: &Path) -> Result<Self, BackupError> {
        Ok(Self::Passphrase(read_passphrase(path)?))
    }

    /// Whether anybody reads it.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Writes through it.
    pub fn write(&self, to: &mut dyn Write, pack: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let sealing = match self {
            Self::Open => {
                pack(to)?;
                return to.flush();
            }
            Self::Recipients(all) => Encryptor::with_recipients(all.iter().map(|one| one.as_ref() as &dyn Recipient))
                .map_err(io::Error::other)?,
            Self::Passphrase(passphrase) => Encryptor::with_user_passphrase(passphrase.clone()),
        };
        let mut sealed = sealing.wrap_output(to)?;
        pack(&mut sealed)?;
        sealed.finish()?.flush()
    }
}

fn recipient(text: &str) -> Option<Box<dyn Recipient + Send>> {
    let ours = text.parse::<age::x25519::Recipient>().map(|key| Box::new(key) as Box<dyn Recipient + Send>);
    ours.ok().or_else(|| Some(Box::new(text.parse::<age::ssh::Recipient>().ok()?)))
}

fn none(text: &str) -> BackupError {
    let shown: String = text.chars().take(20).collect();
    BackupError::Key(format!(
        "`{}…` is no recipient: write `age1…` as `age-keygen` prints it, or a public key of SSH (ssh-ed25519, ssh-rsa)",
        shown.escape_debug()
    ))
}

fn read_passphrase(path: &Path) -> Result<SecretString, BackupError> {
    let read = fs::read_to_string(path).map_err(|source| BackupError::Read { path: path.to_owned(), source })?;
    match read.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(SecretString::from(line.to_owned())),
        None => Err(BackupError::Key(format!("there is no passphrase in the first line of {}", path.display()))),
    }
}

/// What opens sealed backups.
#[derive(Default)]
pub struct Opener(Vec<Box<dyn Identity>>);

impl Opener {
    /// Reads keys: of age, or a private key of SSH without a passphrase; and passphrases.
    pub fn of(identities: &[PathBuf], passphrase: Option<&Path>) -> Result<Self, BackupError> {
        let mut all: Vec<Box<dyn Identity>> = Vec::new();
        for path in identities {
            let bytes = fs::read(path).map_err(|source| BackupError::Read { path: path.clone(), source })?;
            let refuse = |why: &str| BackupError::Key(format!("{} {why}", path.display()));
            if bytes.starts_with(b"-----BEGIN") {
                let key = age::ssh::Identity::from_buffer(&bytes[..], None).map_err(|_| refuse("is no key of SSH"))?;
                if !matches!(key, age::ssh::Identity::Unencrypted(_)) {
                    return Err(refuse(
                        "has a passphrase, or is of a kind that age does not take: use `age -d`, and give its output",
                    ));
                }
                all.push(Box::new(key));
                continue;
            }
            let read =
                age::IdentityFile::from_buffer(&bytes[..]).map_err(|error| refuse(&format!("is no key: {error}")))?;
            let keys = read.into_identities().map_err(|error| refuse(&format!("cannot be used: {error}")))?;
            all.extend(keys.into_iter().map(|key| key as Box<dyn Identity>));
        }
        if let Some(path) = passphrase {
            all.push(Box::new(age::scrypt::Identity::new(read_passphrase(path)?)));
        }
        Ok(Self(all))
    }

    /// Opens what may be sealed; says whether it was.
    pub fn open(&self, from: impl Read + 'static) -> Result<(Box<dyn BufRead>, bool), BackupError> {
        let mut from: Box<dyn BufRead> = Box::new(BufReader::new(from));
        let is_sealed = from.fill_buf().map_err(unreadable)?.starts_with(MAGIC);
        if !is_sealed {
            return Ok((from, false));
        }
        let decryptor = Decryptor::new_buffered(from).map_err(|error| match error {
            age::DecryptError::Io(error) => unreadable(error),
            error => BackupError::Changed(error.to_string()),
        })?;
        if self.0.is_empty() {
            return Err(BackupError::Encrypted);
        }
        let opened = decryptor.decrypt(self.0.iter().map(AsRef::as_ref)).map_err(|error| match error {
            age::DecryptError::Io(error) => unreadable(error),
            age::DecryptError::InvalidMac => BackupError::Changed("its header is not what was written".to_owned()),
            age::DecryptError::NoMatchingKeys => {
                BackupError::Undecryptable("it is for other keys than those".to_owned())
            }
            age::DecryptError::KeyDecryptionFailed | age::DecryptError::DecryptionFailed => {
                BackupError::Undecryptable("that is not its passphrase or key".to_owned())
            }
            error => BackupError::Undecryptable(error.to_string()),
        })?;
        Ok((Box::new(BufReader::new(opened)), true))
    }
}

/// What an error means that comes out of the layers of a backup.
pub fn unreadable(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated(error.to_string()),
        _ => BackupError::Changed(error.to_string()),
    }
}
