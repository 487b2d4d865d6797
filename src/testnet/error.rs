//! Why a private network could not be started or removed.

use std::path::PathBuf;

use crate::error::{Classify, Kind, Retry};

/// Why a private network could not be started or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller is not root.
    #[error("a private Tor network needs network namespaces, and only root can make them: run this as root")]
    NotRoot,
    /// A program is missing.
    #[error("cannot find `{program}`: install the package `{package}` (Debian's name)")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The system makes no namespaces.
    #[error(
        "this system does not let root make network namespaces: {said}\n\
         In a container, give it CAP_SYS_ADMIN and CAP_NET_ADMIN (`docker run --privileged`); else use a virtual machine"
    )]
    Namespaces {
        /// What `ip` said.
        said: String,
    },
    /// The prefix cannot be part of an interface's name.
    #[error("`{0}` cannot name networks: use one to six lower-case letters and digits, a letter first")]
    Prefix(String),
    /// There are no exits, or too many.
    #[error("{total} exits were asked for: a private network has 1 to {most}")]
    Exits {
        /// How many were asked for.
        total: usize,
        /// How many can be.
        most: usize,
    },
    /// A number of addresses that a network does not have.
    #[error("{wanted} client addresses were asked for: there can be 1 to {most}")]
    Addresses {
        /// How many were asked for.
        wanted: u8,
        /// How many can be.
        most: u8,
    },
    /// The directory is in use.
    #[error("{} is not empty: a private network needs a directory of its own, which it removes in the end", .0.display())]
    Directory(PathBuf),
    /// Every range for the link to the host is in use.
    #[error("no free range for the link: the host has addresses or routes in every /24 of 198.18.0.0/15")]
    NoRange,
    /// A file cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program cannot be run.
    #[error("cannot run `{command}`")]
    Run {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Command {
        /// The command.
        command: String,
        /// What it said.
        said: String,
    },
    /// What a program said or wrote was not understood.
    #[error("cannot understand {what}: {text}")]
    Unreadable {
        /// Where it stands.
        what: String,
        /// The text.
        text: String,
    },
    /// A process of the network ended.
    #[error("{name} ended while the network was starting; the end of its log:\n{log}")]
    Ended {
        /// The relay, or the echo server.
        name: String,
        /// The last lines of its log.
        log: String,
    },
    /// Something did not happen in time.
    #[error(
        "the private network did not {stage} within {seconds} s: still missing {} of {of} ({}); the end of {name}'s log:\n{log}",
        missing.len(), missing.join(", ")
    )]
    Deadline {
        /// What was waited for.
        stage: &'static str,
        /// The deadline.
        seconds: u64,
        /// Who has not done it.
        missing: Vec<String>,
        /// Out of how many.
        of: usize,
        /// Whose log is shown.
        name: String,
        /// The last lines of it.
        log: String,
    },
    /// Work on the side did not come to its end.
    #[error("the work on a private network was interrupted; what it has left is removed by the next sweep")]
    Interrupted(#[source] tokio::task::JoinError),
    /// Processes that would not go away.
    #[error(
        "processes in the namespace {namespace} survive SIGKILL: {processes}; look at them with `ip netns pids {namespace}`"
    )]
    Survivors {
        /// The namespace.
        namespace: String,
        /// Their ids.
        processes: String,
    },
}

impl Error {
    /// Wraps an error of a file.
    pub(super) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Prefix(_) | Self::Exits { .. } | Self::Addresses { .. } => Kind::Usage,
            Self::Deadline { .. } => Kind::Timeout,
            Self::Ended { .. } => Kind::Tor,
            _ => Kind::Host,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Deadline { .. } | Self::Survivors { .. } => Retry::Later,
            _ => Retry::Never,
        }
    }
}
