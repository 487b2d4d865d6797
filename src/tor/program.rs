//! The tor program: where it is, which version it has, and what it says of a torrc.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::Mutex;

use super::files::warnings_of;
use super::{InstanceName, TorError};
use crate::observe::TorProgram;

/// The oldest version that will do: older ones refuse `ConfluxEnabled`, which every torrc of ours sets.
pub const MINIMUM: &str = "0.4.8";

/// The longest that `tor --version` and `tor --verify-config` may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A tor program, whose version is asked again when its file changes.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    known: Mutex<Option<(Identity, String)>>,
}

/// What tells one file from another that replaced it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    inode: u64,
    device: u64,
    changed: (i64, i64),
}

impl Program {
    /// Takes a path, or a name that is looked for in `PATH`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::new(None) }
    }

    /// Finds the program and its version, and refuses one that is too old.
    pub async fn find(&self) -> Result<TorProgram, TorError> {
        let identity = self.identity().map_err(|source| self.unusable(source))?;
        let mut known = self.known.lock().await;
        let version = match known.as_ref().filter(|(same, _)| *same == identity) {
            Some((_, version)) => version.clone(),
            None => self.ask_version(&identity.path).await?,
        };
        let path = identity.path.display().to_string();
        *known = Some((identity, version.clone()));
        if numbers(&version) < numbers(MINIMUM) {
            return Err(TorError::TooOld { path, version, minimum: MINIMUM });
        }
        Ok(TorProgram { path, version })
    }

    /// The names under which its processes appear.
    pub fn names(&self) -> Vec<String> {
        let given = self.path.clone();
        let real = self.identity().and_then(|identity| fs::canonicalize(identity.path));
        let files = std::iter::once(given).chain(real.ok());
        files.filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned())).collect()
    }

    /// Asks tor itself whether it would take a torrc.
    pub async fn verify(&self, instance: &InstanceName, torrc: &Path, defaults: &Path) -> Result<(), TorError> {
        let program = self.identity().map_err(|source| self.unusable(source))?.path;
        let mut command = Command::new(program);
        command.arg("--verify-config").arg("--defaults-torrc").arg(defaults).arg("-f").arg(torrc);
        let output = run(&mut command).await.map_err(|source| self.unusable(source))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Err(TorError::Torrc { instance: instance.clone(), reason: warnings_of(&text) })
    }

    async fn ask_version(&self, path: &Path) -> Result<String, TorError> {
        let output = run(Command::new(path).arg("--version")).await.map_err(|source| self.unusable(source))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().find_map(|line| line.strip_prefix("Tor version ")).unwrap_or_default();
        let version = version.split(' ').next().unwrap_or_default().trim_end_matches('.');
        if output.status.success() && !numbers(version).is_empty() {
            return Ok(version.to_owned());
        }
        Err(self.unusable(io::Error::new(io::ErrorKind::InvalidData, "`--version` does not say `Tor version …`")))
    }

    /// Looks for the file, as a shell would.
    fn identity(&self) -> io::Result<Identity> {
        let candidates: Vec<PathBuf> = match self.path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => {
                let paths = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&paths).map(|directory| directory.join(&self.path)).collect()
            }
            _ => vec![self.path.clone()],
        };
        let found = candidates
            .iter()
            .find_map(|path| fs::metadata(path).ok().filter(|found| found.is_file()).map(|found| (path, found)));
        let (path, found) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let changed = (found.mtime(), found.mtime_nsec());
        Ok(Identity { path: path.clone(), inode: found.ino(), device: found.dev(), changed })
    }

    fn unusable(&self, source: io::Error) -> TorError {
        TorError::Program { path: self.path.display().to_string(), minimum: MINIMUM, source }
    }
}

/// Runs a short command to its end, which is killed when it takes too long.
async fn run(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).env_clear().envs(path_variable()).kill_on_drop(true);
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it did not end in time");
    tokio::time::timeout(PATIENCE, command.output()).await.map_err(|_| late())?
}

/// The one variable that tor is given: nothing else of our environment is its business.
pub fn path_variable() -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os("PATH").map(|path| ("PATH", path))
}

/// Reads the numbers of a version such as `0.4.9.11-rc`.
pub fn numbers(version: &str) -> Vec<u32> {
    let release = version.split('-').next().unwrap_or_default();
    release.split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(numbers("0.4.7.16") < numbers(MINIMUM));
        assert!(numbers("0.4.10.1-alpha") > numbers(MINIMUM));
        assert!(numbers("0.4.8.0") >= numbers(MINIMUM));
        assert!(numbers("unknown").is_empty());
    }
}
