//! Export: the lists of nodes that consumers download, the tokens that let them, and what keeps both in bounds.
//!
//! Pure: no I/O and no clock. What happens is handed in as values, and what has to be written down is handed on to a
//! [`Ledger`]. The HTTP routes in `status` ask here; the verb `token` makes and reads tokens here.
//!
//! - [`paseto`] is the protocol alone (v4.public), [`key`] its keys, [`token`] what exitpool says in a token.
//! - [`believed`] keeps what verified tokens say, so that none is verified anew at each request.
//! - [`judge`] decides whether a believed token may have what it asks for, and from where.
//! - [`query`] reads what is asked for, [`list`] chooses the nodes and writes them in a format.
//! - [`address`] says who asks; [`desk`] holds what has to be remembered between two requests.

pub mod address;
pub mod believed;
pub mod desk;
pub mod judge;
pub mod key;
pub mod list;
pub mod paseto;
pub mod query;
pub mod token;
pub mod wire;

use std::net::IpAddr;

use jiff::Timestamp;

pub use crate::desired::exports::ExportFormat;
use crate::desired::{PoolName, Revision};
pub use desk::Desk;

/// A list that was downloaded, for the record. The token itself is nowhere in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// When.
    pub at: Timestamp,
    /// The revision in force.
    pub revision: Option<Revision>,
    /// The token's id.
    pub token: String,
    /// The grant.
    pub grant: String,
    /// From where.
    pub address: IpAddr,
    /// In which format.
    pub format: ExportFormat,
    /// Of which pools.
    pub pools: Vec<PoolName>,
    /// How many nodes were in it.
    pub nodes: usize,
}

/// Where downloads are written down.
pub trait Ledger: Send + Sync + std::fmt::Debug {
    /// Writes one down. It neither fails nor waits.
    fn record(&self, download: Download);
}

/// What became of a request for a list; a closed set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// The list was handed out.
    Accepted,
    /// No token was shown.
    Missing,
    /// What was shown is no token that a trusted key has signed.
    Invalid,
    /// It is not valid any more.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is valid for longer than its grant allows.
    TooLong,
    /// `exports.revoked` has it.
    Revoked,
    /// There is no such grant.
    NoGrant,
    /// It may not be used from this address.
    WrongAddress,
    /// It is good, and not for this format or pool.
    NotGranted,
    /// It is good, and what was asked with it cannot be answered.
    Unanswered,
    /// The quota of its grant is used up.
    QuotaUsed,
    /// Too many requests, or too many refused ones, came from this address: the token was not looked at.
    Limited,
}

impl Attempt {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Missing,
        Self::Invalid,
        Self::Expired,
        Self::NotYetValid,
        Self::TooLong,
        Self::Revoked,
        Self::NoGrant,
        Self::WrongAddress,
        Self::NotGranted,
        Self::Unanswered,
        Self::QuotaUsed,
        Self::Limited,
    ];

    /// Whether it is held against whoever asked: a token was shown, and it was not good.
    pub fn is_held_against(self) -> bool {
        matches!(
            self,
            Self::Invalid
                | Self::Expired
                | Self::NotYetValid
                | Self::TooLong
                | Self::Revoked
                | Self::NoGrant
                | Self::WrongAddress
        )
    }

    /// The result as a metric label, and as the reason in an answer.
    pub fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::TooLong => "too_long",
            Self::Revoked => "revoked",
            Self::NoGrant => "no_grant",
            Self::WrongAddress => "wrong_address",
            Self::NotGranted => "not_granted",
            Self::Unanswered => "unanswered",
            Self::QuotaUsed => "quota_used",
            Self::Limited => "limited",
        }
    }
}
