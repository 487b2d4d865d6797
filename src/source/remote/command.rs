//! How git is called: with an environment of its own, within limits, and with every door closed that is not needed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::super::location::{Location, Scheme};
use super::super::settings::Transport;
use super::FetchError;
use crate::sys::command::program_path;

/// The name that the remote has in the clone; its location is handed over in the environment alone.
pub const REMOTE: &str = "exitpool";
/// The most memory that a process of a fetch may have for data, in bytes.
const MAX_DATA_BYTES: u64 = 1 << 30;
/// How long after its deadline a fetch ends by itself, when the daemon that should have ended it is gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// What an operator can set for git and ssh, and is handed on.
const HANDED_ON: [&str; 13] = [
    "HOME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TZ",
];

/// What a call of git depends on.
pub struct Invocation<'a> {
    pub location: &'a Location,
    pub transport: &'a Transport,
    pub directory: &'a Path,
    pub deadline: Duration,
}

impl Invocation<'_> {
    /// Makes the command. `timeout` ends what a killed daemon leaves behind, `setpriv` takes away what only the daemon
    /// may, and `prlimit` bounds memory and files.
    pub fn command(&self, arguments: &[String]) -> Result<Command, FetchError> {
        let mut command = Command::new("timeout");
        let orphaned = (self.deadline + ORPHAN_GRACE).as_secs();
        command
            .args(["--signal=KILL", &orphaned.to_string()])
            .args(["setpriv", "--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"])
            .args(["prlimit", "--core=0"])
            .arg(format!("--fsize={}", self.transport.max_bytes))
            .arg(format!("--data={MAX_DATA_BYTES}"))
            .arg("git")
            .args(arguments)
            .current_dir(self.directory)
            .env_clear()
            .envs(HANDED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("PATH", program_path())
            .env("LC_ALL", "C")
            .env("GIT_DIR", self.directory)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "false")
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_ALLOW_PROTOCOL", self.protocol())
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.ssh());
        let configuration = self.configuration()?;
        command.env("GIT_CONFIG_COUNT", configuration.len().to_string());
        for (at, (key, value)) in configuration.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        Ok(command)
    }

    fn protocol(&self) -> &'static str {
        match self.location.scheme() {
            Scheme::Https => "https",
            Scheme::Ssh => "ssh",
            Scheme::Git => "git",
        }
    }

    fn configuration(&self) -> Result<Vec<(&'static str, OsString)>, FetchError> {
        let mut all: Vec<(&str, OsString)> = vec![
            ("remote.exitpool.url", self.location.secret().into()),
            ("core.hooksPath", "/dev/null".into()),
            ("credential.helper", "".into()),
            ("http.followRedirects", "false".into()),
            ("http.sslVerify", "true".into()),
            ("transfer.fsckObjects", "true".into()),
            ("transfer.bundleURI", "false".into()),
            // One pack for each fetch, so that the limit on a file's size is one on the fetch.
            ("fetch.unpackLimit", "1".into()),
            ("fetch.recurseSubmodules", "false".into()),
            ("gc.auto", "0".into()),
            ("maintenance.auto", "false".into()),
            ("pack.threads", "1".into()),
            ("protocol.version", "2".into()),
        ];
        if let Some(proxy) = all_proxy() {
            match self.location.scheme() {
                Scheme::Https => all.push(("http.proxy", proxy)),
                Scheme::Ssh if std::env::var_os("GIT_SSH_COMMAND").is_some() => {}
                Scheme::Ssh | Scheme::Git => return Err(FetchError::Proxy { location: self.location.clone() }),
            }
        }
        Ok(all)
    }

    /// The operator's ssh, where one is named, with what we insist on behind it. The first word on an option counts.
    fn ssh(&self) -> String {
        let mut ssh = std::env::var("GIT_SSH_COMMAND").unwrap_or_else(|_| "ssh".to_owned());
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "ControlMaster=no",
            "ControlPath=none",
            "ClearAllForwardings=yes",
            "ForwardAgent=no",
            "PermitLocalCommand=no",
            // It names the host key that is offered.
            "LogLevel=DEBUG1",
        ] {
            let _ = write!(ssh, " -o {option}");
        }
        if let Some(identity) = &self.transport.identity {
            let identity = quoted(&identity.display().to_string());
            let _ = write!(ssh, " -o IdentitiesOnly=yes -o IdentityAgent=none -i {identity}");
        }
        if let Some(known_hosts) = &self.transport.known_hosts {
            let file = quoted(&format!("UserKnownHostsFile=\"{}\"", known_hosts.display()));
            let _ = write!(ssh, " -o GlobalKnownHostsFile=/dev/null -o {file}");
        }
        ssh
    }
}

fn all_proxy() -> Option<OsString> {
    ["ALL_PROXY", "all_proxy"].iter().find_map(std::env::var_os).filter(|proxy| !proxy.is_empty())
}

/// Quotes a word for the shell that git hands its ssh command to.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        let word = "/a b/it's $(id)";
        let echoed = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output();
        assert_eq!(echoed.unwrap().stdout, word.as_bytes());
    }
}
