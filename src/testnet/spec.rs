//! What a private network shall be like, and how far it is on its way up. Values only.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::desired::Country;

/// The exits of a network unless it is said otherwise.
const USUAL_EXITS: [(&str, u8); 4] = [("us", 3), ("de", 3), ("nl", 2), ("fr", 1)];
/// How long a network may take to come up: ten times what it takes on two idle cores.
const USUAL_DEADLINE: Duration = Duration::from_secs(120);

/// What a private network shall be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// What the names of its namespaces and links begin with: one to six lower-case letters and digits.
    pub prefix: String,
    /// How many exits there are in each country.
    pub exits: BTreeMap<Country, u8>,
    /// Where clients are.
    pub peer: Peer,
    /// What the authorities vote for beside relays, as in `DoSCircuitCreationBurst=60`; tor's manual has it as `ConsensusParams`.
    pub consensus_params: Vec<String>,
    /// How long it may take until clients can use it.
    pub deadline: Duration,
}

/// Where the clients of the pool are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// On this host, outside of all namespaces: what people see who try the demo.
    Host {
        /// How many addresses they have.
        addresses: u8,
    },
    /// In a namespace of their own: what tests want.
    Namespace {
        /// How many addresses they have.
        addresses: u8,
    },
}

/// How far a network is on its way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Authorities have their keys.
    Keys {
        /// How many.
        made: usize,
        /// Out of how many.
        of: usize,
    },
    /// Relays were started.
    Started {
        /// How many.
        started: usize,
        /// Out of how many.
        of: usize,
    },
    /// Relays are known to every authority.
    Registered {
        /// How many.
        registered: usize,
        /// Out of how many.
        of: usize,
    },
    /// Relays are in the consensus.
    Consensus {
        /// How many.
        listed: usize,
        /// Out of how many.
        of: usize,
    },
    /// Guards have the consensus and can hand it to clients.
    Spread {
        /// How many.
        serving: usize,
        /// Out of how many.
        of: usize,
    },
    /// Clients can use the network.
    Ready,
}

impl Spec {
    /// Takes the usual exits and deadline: us 3, de 3, nl 2, fr 1; two minutes.
    pub fn usual(prefix: &str, peer: Peer) -> Self {
        let exits = USUAL_EXITS.iter().filter_map(|(code, count)| Some((code.parse().ok()?, *count))).collect();
        Self { prefix: prefix.to_owned(), exits, peer, consensus_params: Vec::new(), deadline: USUAL_DEADLINE }
    }
}

impl Peer {
    /// How many addresses clients have.
    pub(super) fn addresses(self) -> u8 {
        match self {
            Self::Host { addresses } | Self::Namespace { addresses } => addresses,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { made, of } => write!(f, "{made} of {of} authorities have their keys"),
            Self::Started { started, of } => write!(f, "{started} of {of} relays are started"),
            Self::Registered { registered, of } => write!(f, "{registered} of {of} relays are registered"),
            Self::Consensus { listed, of } => write!(f, "{listed} of {of} relays are in the consensus"),
            Self::Spread { serving, of } => write!(f, "{serving} of {of} guards have the consensus"),
            Self::Ready => write!(f, "the private Tor network is ready"),
        }
    }
}
