//! How git is called: with an environment of its own, within limits, and with every door closed that is not needed.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::super::location::{Location, Scheme};
use super::super::settings::Transport;
use super::FetchError;
use super::proxy::{self, ProxyError, Socks};
use crate::sys::command::{CommandError, program_path};

/// The name that the remote has in the clone; its location is handed over in the environment alone.
pub const REMOTE: &str = "exitpool";
/// The most memory that a process of a fetch may have for data, in bytes.
const MAX_DATA_BYTES: u64 = 1 << 30;
/// How long after its deadline a fetch ends by itself, when the daemon that should have ended it is gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);
/// What names the ssh that git runs.
const SSH_COMMAND: &str = "GIT_SSH_COMMAND";
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
            .envs(HANDED_ON.iter().chain(&proxy::VARIABLES).filter_map(|name| Some((name, std::env::var_os(name)?))))
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
            .env(SSH_COMMAND, self.ssh()?);
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
        if let Some(proxy) = proxy::named() {
            match self.location.scheme() {
                Scheme::Https => all.push(("http.proxy", proxy)),
                Scheme::Ssh => {}
                Scheme::Git => return Err(FetchError::NoProxy { location: self.location.clone() }),
            }
        }
        Ok(all)
    }

    /// The way of ssh through a proxy; an operator's own ssh finds its way by itself.
    fn proxy_command(&self) -> Result<Option<String>, FetchError> {
        let is_ours = self.location.scheme() == Scheme::Ssh && std::env::var_os(SSH_COMMAND).is_none();
        if !is_ours {
            return Ok(None);
        }
        match Socks::of_this_environment() {
            Ok(_) => {}
            Err(ProxyError::None) => return Ok(None),
            Err(source) => return Err(FetchError::Proxy { location: self.location.clone(), source }),
        }
        let unknown = |source| CommandError::Start { program: "exitpool".to_owned(), source };
        let failed = |source| FetchError::Command { location: self.location.clone(), source: unknown(source) };
        let program = std::env::current_exe().map_err(failed)?;
        // A word of the shell of git's, and within it one of the shell of ssh's, which reads `%` as well.
        let program = quoted(&program.display().to_string().replace('%', "%%"));
        Ok(Some(quoted(&format!("ProxyCommand={program} proxy-connect %h %p"))))
    }

    /// The operator's ssh, where one is named, with what we insist on behind it. The first word on an option counts.
    fn ssh(&self) -> Result<String, FetchError> {
        let mut ssh = std::env::var(SSH_COMMAND).unwrap_or_else(|_| "ssh".to_owned());
        if let Some(proxy) = self.proxy_command()? {
            let _ = write!(ssh, " -o {proxy}");
        }
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
        Ok(ssh)
    }
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
