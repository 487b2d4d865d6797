//! The programs that the private network is built with, and running one to its end.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Error;

/// Where programs of the administrator are, also when `PATH` does not say so.
const MORE_PLACES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The programs, by where they are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The relays.
    pub tor: PathBuf,
    /// Makes the keys that authorities vote with.
    pub tor_gencert: PathBuf,
    /// Makes namespaces, links and addresses.
    pub ip: PathBuf,
}

impl Programs {
    /// Finds them, or says which package is missing.
    pub fn find() -> Result<Self, Error> {
        Ok(Self { tor: find("tor", "tor")?, tor_gencert: find("tor-gencert", "tor")?, ip: find("ip", "iproute2")? })
    }

    /// Makes a command that runs inside a network namespace; its process id is the program's own.
    pub fn inside(&self, namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(&self.ip);
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }
}

/// Looks for a program in `PATH` and where administrators have theirs.
pub fn find(program: &'static str, package: &'static str) -> Result<PathBuf, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(MORE_PLACES.map(PathBuf::from))
        .map(|place| place.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or(Error::Missing { program, package })
}

/// Runs a command to its end with this input, and returns what it writes to stdout.
pub async fn run(command: &mut Command, input: &str) -> Result<String, Error> {
    let output = output(command, input).await.map_err(|source| Error::Run { command: shown(command), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).trim().to_owned()).join(" ");
    Err(Error::Command { command: shown(command), said: format!("{} ({})", said.trim(), output.status) })
}

/// Does blocking work where it holds nothing up.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::Interrupted)?
}

/// Runs a command and collects what it writes.
async fn output(command: &mut Command, input: &str) -> std::io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why by itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

/// Writes a command as a person would type it.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_the_package_to_install() {
        let error = find("no-such-program", "some-package").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot find `no-such-program`: install the package `some-package` (Debian's name)"
        );
    }

    #[tokio::test]
    async fn a_failing_command_is_shown_with_what_it_said() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line; echo \"no $line\" >&2; exit 3"]);
        let error = run(&mut command, "luck\n").await.unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.ends_with("no luck (exit status: 3)"), "{error}");
    }
}
