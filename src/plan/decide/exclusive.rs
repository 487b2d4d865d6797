//! Exits that a node has for itself: `exits.distinct` and `exits.avoid_shared_subnet`.
//!
//! Every instance of such a pool is given one exit. One and not a few, so that what is wished can be read off what runs,
//! and holds for every circuit that is built meanwhile; what it costs is that a node whose exit fails serves nobody until
//! another exit is chosen.
//!
//! # Scope
//!
//! The whole host: two nodes never leave from one address where the pools of both wish for exits of their own, and never
//! from one subnet where both wish for that, by the longer of the two prefixes.
//!
//! # Guarantees
//!
//! - Who runs with an exit that fits keeps it. Others draw one, in proportion to its weight in the consensus: weighted
//!   rendezvous hashing over the instance's name, its turn and the exit, so that the same is drawn each time.
//! - An exit that another instance still runs with is given to nobody in this plan, save where all wait for each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{BlockReason, Deciding, InstanceName, Wish, desired};
use crate::desired::{Fingerprint, PoolName};
use crate::observe::{Instance, Observed};
use crate::plan::draw::draw;
use crate::tor::options::ExitNodes;
use crate::tor::relays::{Exit, Relays};

/// What an instance is given that wants an exit for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lot {
    /// This exit.
    Exit(ExitNodes),
    /// One that another instance still runs with, in a moment.
    Later,
    /// None: there are too few.
    Nothing(BlockReason),
}

/// An instance that wants an exit for itself.
struct Claim<'a> {
    instance: &'a desired::Instance,
    /// Two exits whose addresses agree in so many bits are one.
    prefix: u8,
    /// The exit that it runs with.
    holds: Option<Fingerprint>,
}

/// The exits on their way to those who want one for themselves.
struct Sharing<'a> {
    wish: &'a Wish<'a>,
    relays: &'a Relays,
    /// What is given away.
    given: Given,
    /// What is still run with by those who get another one, or go.
    leaving: Vec<(InstanceName, IpAddr, u8)>,
    /// Why the instances of a pool that got none did not.
    lacks: BTreeMap<PoolName, BlockReason>,
}

impl Deciding<'_> {
    /// Gives the running instances that want exits for themselves one each.
    pub(super) fn share_out(&mut self) {
        let Some(relays) = self.observed.relays.present() else { return };
        let claims: Vec<Claim<'_>> =
            self.wanted.values().filter_map(|instance| Claim::of(instance, self.observed)).collect();
        if claims.is_empty() {
            return;
        }
        let given = Given::new(claims.iter().map(|claim| claim.prefix).collect());
        let mut sharing = Sharing { wish: self.wish, relays, given, leaving: Vec::new(), lacks: BTreeMap::new() };
        let (keeping, mut others): (Vec<_>, Vec<_>) = claims.into_iter().partition(|claim| sharing.keep(claim));
        self.own = keeping.iter().filter_map(|claim| Some((claim.instance.name.clone(), own(claim.holds?)?))).collect();
        sharing.leaving = leaving(&others, self.wanted, self.observed, relays);
        // Who has the fewest to choose from goes first.
        others.sort_by_cached_key(|claim| sharing.fitting(claim).count());
        let mut lots: Vec<Lot> = others.iter().map(|claim| sharing.draw(claim)).collect();
        // Where all wait for each other, or for one that finds nothing better than what it has, nobody would ever move: they
        // draw as if all had moved.
        let moves = |(lot, claim): (&Lot, &Claim<'_>)| {
            matches!(lot, Lot::Exit(_)) && claim.holds.and_then(own).as_ref() != Some(lot)
        };
        if !lots.iter().zip(&others).any(moves) {
            sharing.leaving.clear();
            for (lot, claim) in lots.iter_mut().zip(&others).filter(|(lot, _)| **lot == Lot::Later) {
                *lot = sharing.draw(claim);
            }
        }
        let names = others.iter().map(|claim| claim.instance.name.clone());
        self.own.extend(names.zip(lots));
    }
}

impl<'a> Claim<'a> {
    /// What an instance claims; `None` where it wants no exit for itself, or cannot use one yet.
    fn of(instance: &'a desired::Instance, observed: &Observed) -> Option<Self> {
        let prefix = instance.exits.own_prefix()?;
        let seen = observed.instances.get(&instance.name)?;
        let control = seen.control.present()?;
        let is_up = control.bootstrap.is_done() || control.listens_for(instance);
        is_up.then(|| Claim { instance, prefix, holds: held(seen) })
    }
}

/// The one exit that an instance is told to use, where it is one.
fn held(seen: &Instance) -> Option<Fingerprint> {
    seen.control.present()?.only_exit()
}

fn own(exit: Fingerprint) -> Option<Lot> {
    ExitNodes::of(BTreeSet::from([exit])).map(Lot::Exit)
}

/// The exits that instances still run with which are to get another one, or which nobody wants any more.
fn leaving(
    others: &[Claim<'_>],
    wanted: &BTreeMap<InstanceName, desired::Instance>,
    observed: &Observed,
    relays: &Relays,
) -> Vec<(InstanceName, IpAddr, u8)> {
    let address = |exit: &Fingerprint| relays.exits().get(exit).map(|exit| exit.address);
    let moving = others.iter().filter_map(|claim| {
        let address = address(&claim.holds?)?;
        Some((claim.instance.name.clone(), address, claim.prefix))
    });
    let unwanted = observed.instances.iter().filter(|(name, _)| !wanted.contains_key(*name));
    let going = unwanted.filter_map(|(name, seen)| Some((name.clone(), address(&held(seen)?)?, WHOLE)));
    moving.chain(going).collect()
}

impl Sharing<'_> {
    /// Lets an instance keep the exit that it runs with, where it fits and is nobody else's.
    fn keep(&mut self, claim: &Claim<'_>) -> bool {
        let exit = claim.holds.and_then(|exit| Some((exit, self.relays.exits().get(&exit)?)));
        let Some((fingerprint, exit)) = exit else { return false };
        let keeps = self.fits(claim, &fingerprint, exit)
            && !self.avoids(claim, &fingerprint)
            && self.given.has_room(exit.address, claim.prefix);
        if keeps {
            self.given.give(claim, exit.address);
        }
        keeps
    }

    fn fits(&self, claim: &Claim<'_>, fingerprint: &Fingerprint, exit: &Exit) -> bool {
        exit.fits(fingerprint, &claim.instance.countries, &claim.instance.exits)
    }

    fn avoids(&self, claim: &Claim<'_>, exit: &Fingerprint) -> bool {
        self.wish.mandate.avoid.get(&claim.instance.name).is_some_and(|avoided| avoided.contains(exit))
    }

    /// The exits that fit what an instance wishes, whoever has them.
    fn fitting<'b>(&'b self, claim: &'b Claim<'b>) -> impl Iterator<Item = (&'b Fingerprint, &'b Exit)> {
        self.relays.exits().iter().filter(|(fingerprint, exit)| self.fits(claim, fingerprint, exit))
    }

    /// Draws an exit that is free; one that has to be left alone only where there is no other.
    fn draw(&mut self, claim: &Claim<'_>) -> Lot {
        let free: Vec<(&Fingerprint, &Exit)> =
            self.fitting(claim).filter(|(_, exit)| self.given.has_room(exit.address, claim.prefix)).collect();
        if free.is_empty() {
            return Lot::Nothing(self.lack(claim));
        }
        let now = free.iter().filter(|(_, exit)| !self.is_leaving(claim, exit)).copied();
        let (avoided, better): (Vec<_>, Vec<_>) = now.partition(|(fingerprint, _)| self.avoids(claim, fingerprint));
        let drawn = self.best(claim, &better).or_else(|| self.best(claim, &avoided));
        let Some((fingerprint, exit)) = drawn else { return Lot::Later };
        let (fingerprint, address) = (*fingerprint, exit.address);
        self.given.give(claim, address);
        own(fingerprint).unwrap_or(Lot::Later)
    }

    /// Whether another instance still runs with an exit, or with one that is the same to both.
    fn is_leaving(&self, claim: &Claim<'_>, exit: &Exit) -> bool {
        self.leaving.iter().any(|(name, address, prefix)| {
            *name != claim.instance.name && agree(*address, exit.address, claim.prefix.max(*prefix))
        })
    }

    /// The exit that wins the draw: each lot is divided by its exit's weight, and the smallest one wins.
    fn best<'b>(
        &self,
        claim: &Claim<'_>,
        exits: &[(&'b Fingerprint, &'b Exit)],
    ) -> Option<(&'b Fingerprint, &'b Exit)> {
        let name = claim.instance.name.to_string();
        let turn = self.wish.mandate.turns.get(&claim.instance.name).copied().unwrap_or_default();
        let lot = |(fingerprint, exit): &(&Fingerprint, &Exit)| {
            let drawn = draw(&[name.as_bytes(), &turn.to_be_bytes(), fingerprint.as_bytes()]);
            -drawn.ln() / weight(exit)
        };
        exits.iter().copied().min_by(|left, right| lot(left).total_cmp(&lot(right)))
    }

    /// Says with numbers why an instance gets no exit.
    fn lack(&mut self, claim: &Claim<'_>) -> BlockReason {
        let pool = &claim.instance.pool;
        if let Some(known) = self.lacks.get(pool) {
            return known.clone();
        }
        let countries: Vec<_> = claim.instance.countries.iter().copied().collect();
        let places: BTreeMap<u128, IpAddr> =
            self.fitting(claim).map(|(_, exit)| (masked(exit.address, claim.prefix), exit.address)).collect();
        let elsewhere = places.values().filter(|address| self.given.is_elsewhere(pool, **address, claim.prefix));
        let reason = if places.is_empty() {
            BlockReason::NoExits { countries }
        } else {
            BlockReason::TooFewExits {
                pool: pool.clone(),
                wished: self.wish.desired.pool(pool).map_or(0, |pool| usize::from(pool.size)),
                subnet: claim.instance.exits.avoid_shared_subnet,
                exist: places.len(),
                elsewhere: elsewhere.count(),
                countries,
            }
        };
        self.lacks.insert(pool.clone(), reason.clone());
        reason
    }
}

/// A relay's weight in the draw; one that was never measured is not shut out.
fn weight(exit: &Exit) -> f64 {
    // The weights of a consensus are far below the integers that a float cannot hold.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let weight = exit.bandwidth.max(1) as f64;
    weight
}

/// The prefix of one address.
const WHOLE: u8 = 32;

/// What is given away, ordered so that a look-up does not go through all of it.
struct Given {
    /// The prefixes that any instance wishes for.
    prefixes: BTreeSet<u8>,
    /// For each address that was given by a wish with a prefix: that prefix, a longer or equal one that another wish may
    /// have, and the address as far as that goes; with the pools.
    places: BTreeMap<(u8, u8, u128), BTreeSet<PoolName>>,
}

impl Given {
    fn new(prefixes: BTreeSet<u8>) -> Self {
        Self { prefixes, places: BTreeMap::new() }
    }

    fn give(&mut self, claim: &Claim<'_>, address: IpAddr) {
        for other in &self.prefixes {
            let common = claim.prefix.max(*other);
            let place = (claim.prefix, common, masked(address, common));
            self.places.entry(place).or_default().insert(claim.instance.pool.clone());
        }
    }

    /// The pools that were given an address that is the same for a wish with this prefix.
    fn pools(&self, address: IpAddr, prefix: u8) -> impl Iterator<Item = &PoolName> {
        let place = move |other: &u8| {
            let common = prefix.max(*other);
            self.places.get(&(*other, common, masked(address, common)))
        };
        self.prefixes.iter().filter_map(place).flatten()
    }

    fn has_room(&self, address: IpAddr, prefix: u8) -> bool {
        self.pools(address, prefix).next().is_none()
    }

    fn is_elsewhere(&self, pool: &PoolName, address: IpAddr, prefix: u8) -> bool {
        self.pools(address, prefix).any(|other| other != pool)
    }
}

fn agree(left: IpAddr, right: IpAddr, prefix: u8) -> bool {
    masked(left, prefix) == masked(right, prefix)
}

/// An address as far as a prefix goes. Of IPv6 the whole address counts: an IPv4 prefix says nothing of it.
fn masked(address: IpAddr, prefix: u8) -> u128 {
    match address {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(u32::from(WHOLE.saturating_sub(prefix))).unwrap_or_default();
            u128::from(address.to_bits() & kept)
        }
        // An address of the first 32 bits alone is nobody's.
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests;
