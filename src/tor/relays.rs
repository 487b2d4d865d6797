//! The relays of the consensus, and which exits a wish allows. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::desired::{Country, ExitPolicy, Fingerprint};

/// The relays that can be exits, from one consensus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relays {
    /// When the consensus became valid, as written in it; tells one consensus from the next.
    pub valid_after: String,
    /// The exits, by identity.
    pub exits: BTreeMap<Fingerprint, Exit>,
}

/// A relay that can be an exit: it has the flags `Exit`, `Running` and `Valid`, and not `BadExit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its address in the consensus, which can differ from the one that sites see.
    pub address: IpAddr,
    /// The country of that address in the GeoIP file; `None` where the file doesn't know.
    pub country: Option<Country>,
    /// Its weight in the consensus, in kilobytes a second.
    pub bandwidth: u64,
}

impl Relays {
    /// Lists the exits that a wish allows; no countries means any.
    pub fn choose(&self, countries: &BTreeSet<Country>, policy: &ExitPolicy) -> BTreeSet<Fingerprint> {
        let wanted = |fingerprint: &Fingerprint, exit: &Exit| {
            (countries.is_empty() || exit.country.is_some_and(|country| countries.contains(&country)))
                && (policy.pin.is_empty() || policy.pin.contains(fingerprint))
                && !policy.exclude.contains(fingerprint)
        };
        self.exits.iter().filter(|(fingerprint, exit)| wanted(fingerprint, exit)).map(|(found, _)| *found).collect()
    }
}
