//! tor: rendering what it is told (pure), its processes, its control sockets, its relays.
//!
//! - [`layout`], [`torrc`] and [`options`] say where an instance is and what it should be told, as values; they do no I/O.
//! - [`relays`] knows the consensus, and which exits a wish allows; [`geoip`] knows where they stand.
//! - [`driver`], behind [`Tor`], starts, adopts, asks, tells and stops real processes. `process` and `files` are its hands
//!   on the host, `control` speaks to the control sockets, `program` knows the tor that is installed.
//!
//! What to do is decided elsewhere, in `plan`.

mod cache;
pub mod control;
pub mod driver;
mod files;
pub mod geoip;
pub mod layout;
pub mod news;
pub mod options;
mod process;
pub mod program;
pub mod relays;
pub mod torrc;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::desired::InstanceName;
use crate::error::{Classify, Kind};
use crate::observe::{Instance, Observation, TorProgram};
use options::OptionChange;
use relays::Relays;

/// What the tor driver sees in one look.
#[derive(Debug, Clone, Default)]
pub struct TorObservation {
    /// The instances of ours, by name.
    pub instances: BTreeMap<InstanceName, Instance>,
    /// The relays, from a bootstrapped instance.
    pub relays: Observation<Arc<Relays>>,
    /// The tor program.
    pub program: Observation<TorProgram>,
}

/// Speaks to the tor processes that are ours.
#[async_trait]
pub trait Tor: Send + Sync {
    /// Looks at every instance of ours: directory, process, control socket.
    ///
    /// A driver that hears of what happens may give what it saw before of an instance that nothing has happened to,
    /// until it is told to [forget](Self::forget).
    async fn observe(&self) -> TorObservation;

    /// Forgets what was seen, so that the next look reads everything: not all that happens can be heard of.
    fn forget(&self);

    /// Starts an instance: its directories, its torrc checked by tor itself, its process, until its control socket
    /// answers. A process of an earlier start is never left beside it.
    async fn start(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError>;

    /// Sets options of a running instance at once, all or none.
    async fn set_options(&self, name: &InstanceName, changes: &[OptionChange]) -> Result<(), TorError>;

    /// Closes the SOCKS ports of a running instance; the connections that it has go on.
    async fn close(&self, name: &InstanceName) -> Result<(), TorError> {
        self.set_options(name, &[OptionChange::closing()]).await
    }

    /// Lets a running instance leave the network and join it again: its circuits and connections end.
    async fn reconnect(&self, name: &InstanceName) -> Result<(), TorError>;

    /// Starts an instance without the directory cache that it had, and without a copy of another one's, which may be as old:
    /// it downloads everything. Its guards and keys stay.
    async fn start_afresh(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError>;

    /// Has new connections of a running instance use new circuits: NEWNYM, and what is idle from before is closed. A circuit
    /// that carries a stream in whatever state is never closed.
    ///
    /// tor puts it off where the last time was less than 10 s ago, and says so by saying nothing. That is not waited for:
    /// what is observed then is [`Asked`](crate::observe::RenewalStage::Asked), and once it is `Said` this has to be called
    /// again, to close what is idle.
    async fn new_circuits(&self, name: &InstanceName) -> Result<(), TorError>;

    /// Writes the torrc of an instance, after tor itself has checked it; the process is left alone.
    async fn write_torrc(&self, name: &InstanceName, torrc: &str) -> Result<(), TorError>;

    /// Stops the process, gently at first, and waits until it is gone; its directories stay.
    async fn stop(&self, name: &InstanceName) -> Result<(), TorError>;

    /// Stops the process and removes its directories.
    async fn destroy(&self, name: &InstanceName) -> Result<(), TorError>;

    /// Keeps house: cuts what has grown too long. Called by whoever reconciles, never by who only looks.
    async fn tend(&self);

    /// Waits until an instance has something new to say: an event of its control socket, or its death.
    async fn changed(&self);
}

/// Why the tor driver could not do something.
#[derive(Debug, thiserror::Error)]
pub enum TorError {
    /// The tor program is missing or unusable.
    #[error("cannot run {path}: install tor {minimum} or newer, or say where it is with --tor")]
    Program {
        /// Where it was looked for.
        path: String,
        /// The oldest version that will do.
        minimum: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tor program is too old.
    #[error("{path} is tor {version}, and {minimum} is the oldest that will do: install a newer one")]
    TooOld {
        /// Where it stands.
        path: String,
        /// Its version.
        version: String,
        /// The oldest version that will do.
        minimum: &'static str,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// tor refused a torrc before it was used.
    #[error("tor refuses the torrc of {instance}: {reason}")]
    Torrc {
        /// The instance.
        instance: InstanceName,
        /// tor's own words.
        reason: String,
    },
    /// The process ended while it was waited for.
    #[error("tor of {instance} ended at its start: {reason}")]
    Died {
        /// The instance.
        instance: InstanceName,
        /// The last warnings of its log.
        reason: String,
    },
    /// The control socket refused a command.
    #[error("tor of {instance} refused {command}: {reply}")]
    Refused {
        /// The instance.
        instance: InstanceName,
        /// The command's first word.
        command: &'static str,
        /// tor's own words, with their code.
        reply: String,
    },
    /// The control socket cannot be used.
    #[error("cannot speak to tor of {instance}: {reason}")]
    Control {
        /// The instance.
        instance: InstanceName,
        /// What went wrong.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("tor of {instance} did not {action} within {seconds} s")]
    Deadline {
        /// The instance.
        instance: InstanceName,
        /// What was waited for.
        action: &'static str,
        /// The deadline.
        seconds: u64,
    },
}

impl Classify for TorError {
    fn kind(&self) -> Kind {
        match self {
            Self::Program { .. } | Self::TooOld { .. } | Self::File { .. } => Kind::Host,
            Self::Torrc { .. } => Kind::Desired,
            Self::Deadline { .. } => Kind::Timeout,
            Self::Died { .. } | Self::Refused { .. } | Self::Control { .. } => Kind::Tor,
        }
    }
}
