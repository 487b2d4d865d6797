//! Why a fetch failed, as far as git and ssh say: a closed list, with what to do.
//!
//! What git says is partly what the remote says. It is shortened, and freed of control characters and of passwords.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::super::location::Location;
use super::proxy::ProxyError;
use crate::error::{Classify, Kind, Retry};
use crate::sys::command::CommandError;

/// The most of what git said that is shown.
const MOST_SHOWN: usize = 400;
/// The number of SIGXFSZ, on every architecture of Linux but MIPS.
const FILE_TOO_LARGE: i32 = 25;

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It took too long.
    #[error("fetching `{location}` took longer than {} s and was ended; is it reachable from here?", .deadline.as_secs_f32())]
    Deadline {
        /// Where.
        location: Location,
        /// How long it may take.
        deadline: Duration,
    },
    /// The host is another one than expected.
    #[error(
        "`{location}` offers the host key {offered}, and {}; \
         if the host has a new key, put it beside the old one into the file of `--known-hosts`",
        expectation(expected)
    )]
    HostKey {
        /// Where.
        location: Location,
        /// The offered key's type and fingerprint.
        offered: String,
        /// The pinned ones.
        expected: Vec<String>,
    },
    /// Our credentials were refused.
    #[error("`{location}` does not let us in; check the deploy key (`--identity`) or the token in the URL: {said}")]
    Credentials {
        /// Where.
        location: Location,
        /// What git said.
        said: String,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of `{location}` is not trusted; name its authority by GIT_SSL_CAINFO: {said}")]
    Certificate {
        /// Where.
        location: Location,
        /// What git said.
        said: String,
    },
    /// The server sends us elsewhere.
    #[error(
        "`{location}` redirects elsewhere, which is not followed; give the place it has moved to as `--source`: {said}"
    )]
    Redirected {
        /// Where.
        location: Location,
        /// What git said.
        said: String,
    },
    /// The repository does not have the branch.
    #[error("`{location}` has no branch `{branch}`; push it, or check `--branch`")]
    BranchMissing {
        /// Where.
        location: Location,
        /// The branch.
        branch: String,
    },
    /// There is more than is taken.
    #[error(
        "`{location}` sends more than {limit} bytes, and was thrown away; raise `--fetch-limit`, or use a smaller repository"
    )]
    TooLarge {
        /// Where.
        location: Location,
        /// How much is taken.
        limit: u64,
    },
    /// A proxy was asked for that would not be used.
    #[error("ALL_PROXY is set, and does not reach `{location}`, since git:// has no proxy: use https:// or ssh://")]
    NoProxy {
        /// Where.
        location: Location,
    },
    /// A proxy was asked for that ssh cannot use.
    #[error("cannot reach `{location}` through a proxy; for any other, set GIT_SSH_COMMAND with a ProxyCommand")]
    Proxy {
        /// Where.
        location: Location,
        /// Why.
        source: ProxyError,
    },
    /// The clone's directory cannot be used.
    #[error("the clone `{}` cannot be kept; check the state directory's owner and free space", directory.display())]
    Storage {
        /// The clone.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The disk is full.
    #[error("fetching `{location}` found no space left; free some in the state directory: {said}")]
    NoSpace {
        /// Where.
        location: Location,
        /// What git said.
        said: String,
    },
    /// git could not be run.
    #[error("cannot fetch `{location}`; are git, and timeout, setpriv and prlimit, installed?")]
    Command {
        /// Where.
        location: Location,
        /// Why.
        source: CommandError,
    },
    /// Anything else.
    #[error("cannot fetch `{location}`: {said}")]
    Git {
        /// Where.
        location: Location,
        /// What git said.
        said: String,
    },
}

impl FetchError {
    /// Understands what git said.
    pub(super) fn told(location: &Location, branch: &str, limit: u64, stderr: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        let said = shown(stderr, location.secrets());
        let location = location.clone();
        if has(&["couldn't find remote ref"]) {
            Self::BranchMissing { location, branch: branch.to_owned() }
        } else if has(&["No space left on device", "Disk quota exceeded"]) {
            Self::NoSpace { location, said }
        } else if has(&["File too large", "signal 25", "exceeds maximum allowed size"]) {
            Self::TooLarge { location, limit }
        } else if has(&["certificate", "SSL", "TLS"]) {
            Self::Certificate { location, said }
        } else if has(&["URL returned error: 30", "redirection", "Redirect"]) {
            Self::Redirected { location, said }
        } else if has(&[
            "Authentication failed",
            "Permission denied",
            "terminal prompts disabled",
            "error: 401",
            "error: 403",
        ]) {
            Self::Credentials { location, said }
        } else {
            Self::Git { location, said }
        }
    }

    /// Whether another clone would be no better.
    pub(super) fn is_about_storage(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::NoSpace { .. } | Self::TooLarge { .. })
    }
}

impl Classify for FetchError {
    fn kind(&self) -> Kind {
        match self {
            Self::Deadline { .. } => Kind::Timeout,
            Self::Storage { .. } | Self::NoSpace { .. } | Self::Command { .. } => Kind::Host,
            Self::Proxy { .. } | Self::NoProxy { .. } => Kind::Usage,
            _ => Kind::Source,
        }
    }

    fn retry(&self) -> Retry {
        Retry::Later
    }
}

fn expectation(expected: &[String]) -> String {
    match expected {
        [] => "no key of that host is pinned".to_owned(),
        keys => format!("only {} is expected", keys.join(" or ")),
    }
}

/// Whether ssh did not accept the host's key.
pub fn is_about_host_key(stderr: &str) -> bool {
    stderr.contains("Host key verification failed")
}

/// The key that ssh was offered, from its debugging output.
pub fn offered_key(stderr: &str) -> String {
    let line = stderr.lines().find_map(|line| line.split_once("Server host key: ").map(|(_, key)| key.trim()));
    line.map_or_else(|| "of an unknown kind".to_owned(), |key| plain(key).chars().take(100).collect())
}

/// The keys that `ssh-keygen -l -F` lists: `host TYPE FINGERPRINT` behind each comment.
pub fn fingerprints(listed: &str) -> Vec<String> {
    let lines = listed.lines().filter(|line| !line.starts_with('#'));
    let keys = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("SHA256:")));
    keys.map(str::to_owned).collect()
}

/// Whether the process wrote a file that was too large.
pub fn was_too_large(status: ExitStatus) -> bool {
    status.signal() == Some(FILE_TOO_LARGE)
}

/// The last lines of what git said, in one line.
fn shown(stderr: &str, secret: Option<&str>) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("debug1:"));
    let advice = ["Please make sure you have the correct access rights", "and the repository exists."];
    let told: Vec<&str> = lines.filter(|line| !advice.contains(line) && !is_talk_of_ssh(line)).collect();
    let text = plain(&told[told.len().saturating_sub(4)..].join("; "));
    let text = secret.map_or_else(|| text.clone(), |secret| text.replace(secret, "…"));
    if text.is_empty() { "git gave no reason".to_owned() } else { text.chars().take(MOST_SHOWN).collect() }
}

/// What ssh says at its debugging level without marking it so.
fn is_talk_of_ssh(line: &str) -> bool {
    ["OpenSSH_", "Transferred:", "Bytes per second:", "Authenticated to"].iter().any(|start| line.starts_with(start))
}

fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stderr: &str) -> FetchError {
        let location = Location::parse("https://user:word@git.example.org/pool.git").unwrap().unwrap();
        FetchError::told(&location, "main", 10, stderr)
    }

    #[test]
    fn what_git_says_is_understood() {
        let missing = told("fatal: couldn't find remote ref refs/heads/main");
        assert!(matches!(missing, FetchError::BranchMissing { .. }));
        let full = told("fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output");
        assert!(matches!(full, FetchError::NoSpace { .. }) && full.is_about_storage());
        assert!(matches!(told("error: index-pack died of signal 25"), FetchError::TooLarge { .. }));
        assert!(matches!(told("fatal: Authentication failed for 'https://x'"), FetchError::Credentials { .. }));
        assert!(matches!(told("fatal: unable to access 'x': SSL certificate problem"), FetchError::Certificate { .. }));
        assert!(matches!(told("The requested URL returned error: 302"), FetchError::Redirected { .. }));
    }

    #[test]
    fn no_password_and_no_control_character_is_repeated() {
        let text = told("debug1: secret\nremote: \u{1b}[31mred\nfatal: 'https://user:word@git.example.org' is bad")
            .to_string();
        assert!(text.ends_with(": remote:  [31mred; fatal: 'https://…@git.example.org' is bad"), "{text}");
        assert!(told(&"x".repeat(5_000)).to_string().chars().count() < 500);
    }

    #[test]
    fn fingerprints_of_pinned_keys_are_found() {
        let listed =
            "# Host [127.0.0.1]:22 found: line 1 \n[127.0.0.1]:22 ED25519 SHA256:abc\n# Host x\nx RSA SHA256:def\n";
        assert_eq!(fingerprints(listed), ["SHA256:abc", "SHA256:def"]);
    }
}
