//! Whether a token that is believed may have what it asks for: one table, from top to bottom.
//!
//! Its owner may be told why not, since a trusted key has signed it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::address::holds;
use super::token::Claims;
use super::{Attempt, ExportFormat};
use crate::desired::exports::{Exports, Quota};
use crate::desired::{PoolName, exports};

/// How far the clock of the issuer may be ahead of ours. An expiry is exact: it errs on the safe side by itself.
pub const SKEW: SignedDuration = SignedDuration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// When.
    pub now: Timestamp,
    /// From where.
    pub address: IpAddr,
    /// In which format.
    pub format: ExportFormat,
    /// Of which pools; empty means of all that may be had.
    pub pools: &'a [PoolName],
}

/// What may be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// Of which pools; never empty.
    pub pools: BTreeSet<PoolName>,
    /// How many nodes at most.
    pub limit: Option<usize>,
    /// How many lists the grant gives in a time.
    pub quota: Option<Quota>,
}

/// Why it may not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is revoked.
    #[error("this token is revoked")]
    Revoked,
    /// It has expired.
    #[error("this token has expired at {0}")]
    Expired(Timestamp),
    /// It is not valid yet.
    #[error("this token is not valid before {0}")]
    NotYetValid(Timestamp),
    /// There is no such grant.
    #[error("there is no grant `{0}`")]
    NoGrant(String),
    /// It is valid for longer than its grant allows.
    #[error("this token is valid for longer than the {} s that its grant allows", .0.as_secs())]
    TooLong(Duration),
    /// It may not be used from there.
    #[error("this token may not be used from {0}")]
    WrongAddress(IpAddr),
    /// It is not for this format.
    #[error("this token is not for the format `{}`", .0.word())]
    Format(ExportFormat),
    /// It is not for this pool.
    #[error("this token is not for the pool `{0}`")]
    Pool(PoolName),
    /// Token and grant have no pool in common.
    #[error("this token and its grant have no pool in common")]
    NoPool,
}

impl Refusal {
    /// The refusal as the result of an attempt.
    pub fn attempt(&self) -> Attempt {
        match self {
            Self::Revoked => Attempt::Revoked,
            Self::Expired(_) => Attempt::Expired,
            Self::NotYetValid(_) => Attempt::NotYetValid,
            Self::NoGrant(_) => Attempt::NoGrant,
            Self::TooLong(_) => Attempt::TooLong,
            Self::WrongAddress(_) => Attempt::WrongAddress,
            Self::Format(_) | Self::Pool(_) | Self::NoPool => Attempt::NotGranted,
        }
    }
}

/// Says what a token may have, or the first reason why not.
pub fn judge(exports: &Exports, claims: &Claims, asked: &Asked<'_>) -> Result<Permit, Refusal> {
    if exports.revoked.contains(&claims.jti) {
        return Err(Refusal::Revoked);
    }
    is_valid_at(claims, asked.now)?;
    let grant = exports.grants.get(&claims.grant).ok_or_else(|| Refusal::NoGrant(claims.grant.clone()))?;
    if !lasts_at_most(claims, grant.max_ttl) {
        return Err(Refusal::TooLong(grant.max_ttl));
    }
    let may_come = |networks: &mut dyn Iterator<Item = &ipnet::IpNet>| {
        let mut networks = networks.peekable();
        networks.peek().is_none() || holds(networks, asked.address)
    };
    if !may_come(&mut claims.bind.iter()) || !may_come(&mut grant.allow.iter()) {
        return Err(Refusal::WrongAddress(asked.address));
    }
    let is_bound_to_others = !claims.formats.is_empty() && !claims.formats.contains(&asked.format);
    if is_bound_to_others || !grant.formats.contains(&asked.format) {
        return Err(Refusal::Format(asked.format));
    }
    Ok(Permit { pools: pools(grant, claims, asked.pools)?, limit: grant.limit, quota: grant.quota })
}

/// Whether a token is valid at a time.
pub fn is_valid_at(claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
    if now >= claims.exp {
        return Err(Refusal::Expired(claims.exp));
    }
    let starts = claims.nbf.max(claims.iat);
    if starts.duration_since(now) > SKEW {
        return Err(Refusal::NotYetValid(starts));
    }
    Ok(())
}

fn lasts_at_most(claims: &Claims, longest: Duration) -> bool {
    let longest = SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX);
    claims.exp.duration_since(claims.nbf) <= longest
}

/// The pools that grant and token have in common, and of them those that are asked for.
fn pools(grant: &exports::Grant, claims: &Claims, asked: &[PoolName]) -> Result<BTreeSet<PoolName>, Refusal> {
    let is_bound = |pool: &PoolName| claims.pools.is_empty() || claims.pools.contains(pool);
    let common: BTreeSet<PoolName> = grant.pools.iter().filter(|pool| is_bound(pool)).cloned().collect();
    if let Some(other) = asked.iter().find(|pool| !common.contains(pool)) {
        return Err(Refusal::Pool(other.clone()));
    }
    match asked {
        [] if common.is_empty() => Err(Refusal::NoPool),
        [] => Ok(common),
        some => Ok(some.iter().cloned().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::exports::Grant;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-01T{text}Z").parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<PoolName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn exports() -> Exports {
        let grant = Grant {
            pools: names(&["eu", "us"]).into_iter().collect(),
            formats: [ExportFormat::Txt, ExportFormat::Json].into(),
            allow: ["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()].into(),
            max_ttl: Duration::from_secs(3600),
            limit: Some(5),
            quota: None,
        };
        Exports {
            grants: [("crawler".to_owned(), grant)].into(),
            revoked: ["gone".to_owned()].into(),
            ..Exports::default()
        }
    }

    fn claims() -> Claims {
        Claims {
            aud: Default::default(),
            jti: "one".to_owned(),
            grant: "crawler".to_owned(),
            iat: at("12:00:00"),
            nbf: at("12:00:00"),
            exp: at("13:00:00"),
            bind: Vec::new(),
            formats: Vec::new(),
            pools: Vec::new(),
        }
    }

    fn asked<'a>() -> Asked<'a> {
        let address = "203.0.113.9".parse().unwrap();
        Asked { now: at("12:30:00"), address, format: ExportFormat::Txt, pools: &[] }
    }

    fn refused(bend: impl FnOnce(&mut Exports, &mut Claims, &mut Asked<'_>)) -> Option<Attempt> {
        let (mut exports, mut claims, mut asked) = (exports(), claims(), asked());
        bend(&mut exports, &mut claims, &mut asked);
        judge(&exports, &claims, &asked).err().map(|refusal| refusal.attempt())
    }

    #[test]
    fn a_good_token_gets_what_its_grant_gives() {
        let permit = judge(&exports(), &claims(), &asked()).unwrap();
        assert_eq!(permit.pools.into_iter().collect::<Vec<_>>(), names(&["eu", "us"]));
        assert_eq!((permit.limit, permit.quota), (Some(5), None));
    }

    #[test]
    fn each_reason_refuses_by_itself() {
        let from = |address: &str| address.parse::<IpAddr>().unwrap();
        type Bend = Box<dyn Fn(&mut Exports, &mut Claims, &mut Asked<'_>)>;
        let table: Vec<(Bend, Attempt)> = vec![
            (Box::new(|_, claims, _| claims.jti = "gone".to_owned()), Attempt::Revoked),
            (Box::new(|_, _, asked| asked.now = at("13:00:00")), Attempt::Expired),
            (Box::new(|_, _, asked| asked.now = at("11:58:59")), Attempt::NotYetValid),
            (Box::new(|_, claims, _| claims.iat = at("12:31:01")), Attempt::NotYetValid),
            (Box::new(|exports, _, _| exports.grants.clear()), Attempt::NoGrant),
            (Box::new(|_, claims, _| claims.exp = at("13:00:01")), Attempt::TooLong),
            (Box::new(move |_, _, asked| asked.address = from("198.51.100.7")), Attempt::WrongAddress),
            (Box::new(move |_, _, asked| asked.address = from("2001:db9::1")), Attempt::WrongAddress),
            (Box::new(|_, claims, _| claims.bind = vec!["203.0.113.8/32".parse().unwrap()]), Attempt::WrongAddress),
            (Box::new(|_, _, asked| asked.format = ExportFormat::Csv), Attempt::NotGranted),
            (Box::new(|_, claims, _| claims.formats = vec![ExportFormat::Json]), Attempt::NotGranted),
            (Box::new(|_, claims, _| claims.pools = names(&["asia"])), Attempt::NotGranted),
        ];
        for (number, (bend, expected)) in table.into_iter().enumerate() {
            assert_eq!(refused(bend), Some(expected), "row {number}");
        }
        let other = names(&["asia"]);
        let one = Asked { pools: &other, ..asked() };
        assert_eq!(judge(&exports(), &claims(), &one), Err(Refusal::Pool(other[0].clone())));
        let bound = Claims { pools: names(&["eu"]), ..claims() };
        let us = names(&["us"]);
        assert_eq!(judge(&exports(), &bound, &Asked { pools: &us, ..asked() }), Err(Refusal::Pool(us[0].clone())));
    }

    #[test]
    fn what_is_close_enough_is_good() {
        type Bend = Box<dyn Fn(&mut Exports, &mut Claims, &mut Asked<'_>)>;
        let table: Vec<Bend> = vec![
            Box::new(|_, _, asked| asked.now = at("12:59:59")),
            Box::new(|_, _, asked| asked.now = at("11:59:00")),
            Box::new(|_, _, asked| asked.address = "::ffff:203.0.113.9".parse().unwrap()),
            Box::new(|_, _, asked| asked.address = "2001:db8:7::1".parse().unwrap()),
            Box::new(|_, claims, _| claims.bind = vec!["::ffff:203.0.113.0/120".parse().unwrap()]),
            Box::new(|exports, _, asked| {
                exports.grants.get_mut("crawler").unwrap().allow.clear();
                asked.address = "198.51.100.7".parse().unwrap();
            }),
            // Valid for an hour from tomorrow on is valid for an hour.
            Box::new(|_, claims, asked| {
                claims.nbf = "2026-03-02T12:00:00Z".parse().unwrap();
                claims.exp = "2026-03-02T13:00:00Z".parse().unwrap();
                asked.now = claims.nbf;
            }),
        ];
        for (number, bend) in table.into_iter().enumerate() {
            assert_eq!(refused(bend), None, "row {number}");
        }
    }
}
