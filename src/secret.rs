//! Reading a secret where the file says it is, when it is needed: it is kept nowhere, and shown nowhere.

use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use crate::desired::secret::Secret;

/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A secret. It cannot be printed.
pub struct Revealed(String);

/// Why a secret cannot be read; it says where it should be, and nothing of what is there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The daemon has no credentials.
    #[error("there is no credential `{0}`: the daemon was not started with `LoadCredential=` (no ${CREDENTIALS})")]
    NoCredentials(String),
    /// The file cannot be read.
    #[error("cannot read the secret {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The variable is not set.
    #[error("the environment variable {0}, which is to hold a secret, is not set")]
    NotSet(String),
    /// There is nothing in it.
    #[error("the secret {0} is empty")]
    Empty(String),
}

impl Revealed {
    /// Reads a secret, without the line's end behind it.
    pub fn read(secret: &Secret) -> Result<Self, SecretError> {
        let (text, place) = match secret {
            Secret::Credential(name) => {
                let directory = env::var_os(CREDENTIALS).ok_or_else(|| SecretError::NoCredentials(name.0.clone()))?;
                let path = Path::new(&directory).join(&name.0);
                (of_file(&path)?, path.display().to_string())
            }
            Secret::File(path) => (of_file(&path.0)?, path.0.display().to_string()),
            Secret::Env(name) => {
                (env::var(&name.0).map_err(|_| SecretError::NotSet(name.0.clone()))?, format!("${}", name.0))
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() { Err(SecretError::Empty(place)) } else { Ok(Self(text.to_owned())) }
    }

    /// The secret itself, for whoever sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn of_file(path: &Path) -> Result<String, SecretError> {
    fs::read_to_string(path).map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::values::SecretPath;

    #[test]
    fn a_secret_is_read_without_its_line_end_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let secret = Secret::File(SecretPath(path.clone()));
        assert!(Revealed::read(&secret).unwrap_err().to_string().contains("cannot read the secret"));
        fs::write(&path, "\n").unwrap();
        assert!(Revealed::read(&secret).unwrap_err().to_string().ends_with("is empty"));
        fs::write(&path, "12:ab \r\n").unwrap();
        let read = Revealed::read(&secret).unwrap();
        assert_eq!(read.reveal(), "12:ab ");
        assert!(!format!("{read:?}").contains("12:ab"));
    }

    #[test]
    fn what_is_missing_is_said_by_name() {
        let missing = |secret: Secret| Revealed::read(&secret).unwrap_err().to_string();
        let variable = missing(Secret::Env("EXITPOOL_TEST_NO_SUCH_SECRET".parse().unwrap()));
        assert!(variable.contains("EXITPOOL_TEST_NO_SUCH_SECRET"), "{variable}");
        let credential = missing(Secret::Credential("smtp-password".parse().unwrap()));
        assert!(credential.contains("smtp-password"), "{credential}");
    }
}
