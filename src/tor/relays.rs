//! The relays of the consensus, and which exits a wish allows. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::options::ExitNodes;
use crate::desired::{Country, ExitPolicy, Fingerprint};

/// The relays that can be exits, from one consensus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Relays {
    /// When the consensus became valid, as written in it; tells one consensus from the next.
    pub valid_after: String,
    /// How fast a guard relay lets one client begin circuits; `None` where the consensus does not limit that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_limits: Option<CircuitLimits>,
    /// The exits, by identity.
    exits: BTreeMap<Fingerprint, Exit>,
    /// What was chosen among them before.
    #[serde(skip)]
    chosen: Chosen,
}

/// The exits that were chosen for a few wishes: a pure function's answers, which are worth keeping, since a consensus is
/// chosen from each pass.
#[derive(Debug, Default)]
struct Chosen(Mutex<Vec<(Wish, Option<ExitNodes>)>>);

/// What exits are chosen by.
type Wish = (BTreeSet<Country>, ExitPolicy);

/// How many wishes are remembered: more than pools have on a host, as a rule.
const MOST_WISHES: usize = 64;

/// A relay that can be an exit: it has the flags `Exit`, `Running` and `Valid`, and not `BadExit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exit {
    /// Its address in the consensus, which can differ from the one that sites see.
    pub address: IpAddr,
    /// The country of that address in the GeoIP file; `None` where the file doesn't know.
    pub country: Option<Country>,
    /// Its weight in the consensus, in kilobytes a second.
    pub bandwidth: u64,
}

/// How often a tor begins a circuit to learn how long that takes, at the most.
const LEARNS_EVERY_SECONDS: u32 = 10;

/// How fast a guard relay lets one client begin circuits, before it refuses all of them for an hour or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitLimits {
    /// A client with fewer connections than this is not limited (`DoSCircuitCreationMinConnections`).
    pub connections: u32,
    /// So many circuits at once (`DoSCircuitCreationBurst`).
    pub burst: u32,
    /// And so many more each second (`DoSCircuitCreationRate`).
    pub rate: u32,
}

impl CircuitLimits {
    /// Reads the line `params` of a consensus; `None` where it does not switch the limit on. What it leaves out is tor's
    /// default (`DoSCircuitCreation…` in tor's manual).
    pub fn parse(consensus: &str) -> Option<Self> {
        let line = consensus.lines().find_map(|line| line.strip_prefix("params "))?;
        let params: BTreeMap<&str, u32> = line
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .filter_map(|(key, it)| Some((key, it.parse().ok()?)))
            .collect();
        let param =
            |name: &str, default| params.get(format!("DoSCircuitCreation{name}").as_str()).copied().unwrap_or(default);
        (param("Enabled", 0) == 1).then(|| Self {
            connections: param("MinConnections", 3),
            burst: param("Burst", 90).max(1),
            rate: param("Rate", 3).max(1),
        })
    }

    /// Within this a client may begin as many circuits as at once, for ever.
    pub fn window(self) -> Duration {
        Duration::from_secs(u64::from(self.burst.div_ceil(self.rate)))
    }

    /// How many circuits a host may begin by itself in that time at a guard relay that so many of its tors use.
    ///
    /// A fifth is left to what consumers do. And a tor that has not learnt yet how long circuits take to build begins one
    /// every ten seconds by itself (`cbttestfreq` in tor's path-spec, 2.4.2).
    pub fn share(self, tors: u32) -> u32 {
        let window = u32::try_from(self.window().as_secs()).unwrap_or(u32::MAX);
        let learning = tors.saturating_mul(window / LEARNS_EVERY_SECONDS);
        (self.burst - self.burst / 5).saturating_sub(learning)
    }
}

/// An exit as `GETINFO ns/all` lists it, before its country is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its identity.
    pub fingerprint: Fingerprint,
    /// Its IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, where it has one.
    pub ipv6: Option<Ipv6Addr>,
    /// Its weight, in kilobytes a second.
    pub bandwidth: u64,
}

/// Reads the exits of `GETINFO ns/all`: those with `Exit`, `Running` and `Valid`, and without `BadExit`.
///
/// The format is that of the consensus' router entries (dir-spec): a line `r` begins a relay, and `a`, `s` and `w` say
/// more of it. A relay whose `r` line cannot be read is left out.
pub fn parse(ns_all: &str) -> Vec<Listed> {
    let mut exits = Vec::new();
    let mut current: Option<Listed> = None;
    let mut can_exit = false;
    for line in ns_all.lines() {
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (keyword, &mut current) {
            ("r", _) => {
                exits.extend(current.take().filter(|_| can_exit));
                current = router(rest);
                can_exit = false;
            }
            ("a", Some(relay)) => {
                relay.ipv6 = relay.ipv6.or_else(|| rest.parse::<SocketAddrV6>().ok().map(|found| *found.ip()));
            }
            ("s", _) => can_exit = has_exit_flags(rest),
            ("w", Some(relay)) => relay.bandwidth = weight(rest),
            _ => {}
        }
    }
    exits.extend(current.filter(|_| can_exit));
    exits
}

/// Reads `nickname identity digest date time address orport dirport`.
fn router(line: &str) -> Option<Listed> {
    let fields: Vec<&str> = line.split(' ').collect();
    let identity = STANDARD_NO_PAD.decode(fields.get(1)?).ok()?;
    let fingerprint = Fingerprint::from_bytes(identity.try_into().ok()?);
    // From the end, since some flavours of the consensus leave the digest out.
    let ipv4 = fields.get(fields.len().checked_sub(3)?)?.parse().ok()?;
    Some(Listed { fingerprint, ipv4, ipv6: None, bandwidth: 0 })
}

fn has_exit_flags(line: &str) -> bool {
    let has = |wanted: &str| line.split(' ').any(|flag| flag == wanted);
    has("Exit") && has("Running") && has("Valid") && !has("BadExit")
}

fn weight(line: &str) -> u64 {
    line.split(' ').find_map(|field| field.strip_prefix("Bandwidth=")?.parse().ok()).unwrap_or_default()
}

impl Relays {
    /// Puts the exits of a consensus together with their countries: that of the IPv4 address, or of the IPv6 one where
    /// the first is not known.
    pub fn assemble(valid_after: String, listed: Vec<Listed>, countries: &BTreeMap<IpAddr, Country>) -> Self {
        let exit = |listed: Listed| {
            let address = IpAddr::V4(listed.ipv4);
            let second = || countries.get(&IpAddr::V6(listed.ipv6?)).copied();
            let country = countries.get(&address).copied().or_else(second);
            (listed.fingerprint, Exit { address, country, bandwidth: listed.bandwidth })
        };
        Self::new(valid_after, listed.into_iter().map(exit).collect())
    }

    /// The exits of the consensus of a time.
    pub fn new(valid_after: String, exits: BTreeMap<Fingerprint, Exit>) -> Self {
        Self { valid_after, circuit_limits: None, exits, chosen: Chosen::default() }
    }

    /// The exits, by identity.
    pub fn exits(&self) -> &BTreeMap<Fingerprint, Exit> {
        &self.exits
    }

    /// The exits, to be changed: what was chosen among them before is forgotten.
    pub fn exits_mut(&mut self) -> &mut BTreeMap<Fingerprint, Exit> {
        self.chosen = Chosen::default();
        &mut self.exits
    }

    /// The exits that a wish allows, as the option that names them; `None` where there are none.
    pub fn exit_nodes(&self, countries: &BTreeSet<Country>, policy: &ExitPolicy) -> Option<ExitNodes> {
        let mut chosen = self.chosen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |(wish, _): &&(Wish, Option<ExitNodes>)| wish.0 == *countries && wish.1 == *policy;
        if let Some((_, exits)) = chosen.iter().find(is_same) {
            return exits.clone();
        }
        let exits = ExitNodes::of(self.choose(countries, policy));
        if chosen.len() < MOST_WISHES {
            chosen.push(((countries.clone(), policy.clone()), exits.clone()));
        }
        exits
    }

    /// Lists the exits that a wish allows; no countries means any.
    pub fn choose(&self, countries: &BTreeSet<Country>, policy: &ExitPolicy) -> BTreeSet<Fingerprint> {
        let fits = |(fingerprint, exit): &(&Fingerprint, &Exit)| exit.fits(fingerprint, countries, policy);
        self.exits.iter().filter(fits).map(|(found, _)| *found).collect()
    }
}

/// A copy begins without.
impl Clone for Chosen {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What was asked for before is no part of a consensus.
impl PartialEq for Chosen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Chosen {}

impl Exit {
    /// Whether a wish allows it; no countries means any.
    pub fn fits(&self, fingerprint: &Fingerprint, countries: &BTreeSet<Country>, policy: &ExitPolicy) -> bool {
        (countries.is_empty() || self.country.is_some_and(|country| countries.contains(&country)))
            && (policy.pin.is_empty() || policy.pin.contains(fingerprint))
            && !policy.exclude.contains(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS_ALL: &str = "\
r alpha AAECAwQFBgcICQoLDA0ODxAREhM AAAAAAAAAAAAAAAAAAAAAAAAAAA 2038-01-01 00:00:00 192.0.2.1 9001 0
a [2001:db8::1]:9001
s Exit Fast Running Valid
w Bandwidth=4200
r bad AQECAwQFBgcICQoLDA0ODxAREhM AAAAAAAAAAAAAAAAAAAAAAAAAAA 2038-01-01 00:00:00 192.0.2.2 9001 0
s BadExit Exit Running Valid
w Bandwidth=1
r middle AgECAwQFBgcICQoLDA0ODxAREhM AAAAAAAAAAAAAAAAAAAAAAAAAAA 2038-01-01 00:00:00 192.0.2.3 9001 0
s Fast Running Valid
r broken
a [2001:db8::9]:9001
s Exit Running Valid
r short AwECAwQFBgcICQoLDA0ODxAREhM 2038-01-01 00:00:00 192.0.2.4 9001 0
s Exit Running Valid
w Bandwidth=7 Unmeasured=1
";

    #[test]
    fn only_good_exits_are_listed() {
        let exits = parse(NS_ALL);
        let addresses: Vec<_> = exits.iter().map(|exit| exit.ipv4.to_string()).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.4"]);
        assert_eq!(exits[0].fingerprint.to_string(), "000102030405060708090A0B0C0D0E0F10111213");
        assert_eq!((exits[0].ipv6, exits[0].bandwidth), (Some("2001:db8::1".parse().unwrap()), 4200));
        assert_eq!((exits[1].ipv6, exits[1].bandwidth), (None, 7));
    }

    #[test]
    fn the_country_is_that_of_the_first_address_that_has_one() {
        let country = |code: &str| code.parse::<Country>().unwrap();
        let of = |known: &[(&str, &str)]| {
            let known = known.iter().map(|(address, code)| (address.parse().unwrap(), country(code))).collect();
            let relays = Relays::assemble(String::new(), parse(NS_ALL), &known);
            relays.exits().values().next().unwrap().country
        };
        assert_eq!(of(&[("192.0.2.1", "de"), ("2001:db8::1", "fr")]), Some(country("de")));
        assert_eq!(of(&[("2001:db8::1", "fr")]), Some(country("fr")));
        assert_eq!(of(&[]), None);
    }
}
