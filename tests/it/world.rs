//! Hand-made worlds, for tests of the status and of what shows it.
//!
//! The including module brings the crate's modules into its scope: this file serves the unit tests and the
//! integration tests alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::desired::exports::Grant;
use super::desired::{Access, Country, Desired, Fingerprint, InstanceName, Pool, PoolName, Revision};
use super::export::ExportFormat;
use super::export::key::SecretKey;
use super::export::token::{self, Claims};
use super::firewall::model::Guard;
use super::health::{Finding, Incident, Probes};
use super::observe::{
    Bootstrap, Control, Instance, Observation, Observed, ObservedExit, ObservedGuard, Process, TorProgram,
};
use super::plan::Plan;
use super::rotation::Rotations;
use super::status::{self, AuditTrail, Failures, Fights, Inputs, Pass, PassResult, SourceState, Status, Suspension};
use super::tor::options::digest::TorrcDigest;
use super::tor::relays::{Exit, Relays};

/// Everything that a status is made from, owned, to be bent as a test likes.
#[derive(Debug, Clone)]
pub struct World {
    pub now: Timestamp,
    pub source: SourceState,
    pub desired: Option<Desired>,
    pub observed: Observed,
    pub plan: Plan,
    pub failures: Failures,
    pub fights: Fights,
    pub findings: BTreeMap<InstanceName, Finding>,
    pub incident: Option<Incident>,
    pub probes: Probes,
    pub driver: &'static str,
    pub page_in_the_clear: bool,
    pub server_addresses: Vec<IpAddr>,
    pub suspended: Option<Suspension>,
    pub suspended_pools: BTreeMap<PoolName, Suspension>,
    pub rotations: Rotations,
    pub alerts: Arc<[status::Alert]>,
    pub audit: AuditTrail,
    pub pass: Option<Pass>,
}

/// The time at which every world begins.
pub fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A revision made of one digit.
pub fn revision(digit: char) -> Revision {
    Revision::of_commit("main", &digit.to_string().repeat(40)).unwrap()
}

impl World {
    /// A healthy host with a grant `crawler` for some of its pools, and a token `one` for all that it gives, good for ten
    /// minutes.
    pub fn exporting(nodes: u16, pools: &[&str]) -> (Self, String) {
        let mut world = Self::healthy(nodes);
        let key = SecretKey::from_seed(&[7; 32]);
        let grant = Grant {
            pools: pools.iter().map(|pool| pool.parse().unwrap()).collect(),
            formats: ExportFormat::ALL.into(),
            allow: Default::default(),
            max_ttl: Duration::from_secs(3600),
            limit: None,
            quota: None,
        };
        let exports = &mut world.desired.as_mut().unwrap().exports;
        exports.trusted_keys = vec![key.public().to_string().parse().unwrap()];
        exports.grants.insert("crawler".to_owned(), grant);
        let claims = Claims {
            aud: Default::default(),
            jti: "one".to_owned(),
            grant: "crawler".to_owned(),
            iat: noon(),
            nbf: noon(),
            exp: noon() + Duration::from_secs(600),
            bind: Vec::new(),
            formats: Vec::new(),
            pools: Vec::new(),
        };
        (world, token::issue(&key, &claims).unwrap())
    }

    /// A host that matches its file: a pool `eu` with two thirds of the nodes, and a pool `us` with the rest.
    pub fn healthy(nodes: u16) -> Self {
        let us = nodes / 3;
        let pools: Vec<Pool> = [("eu", nodes - us, 30_000, &["de", "nl", "fr"][..]), ("us", us, 31_000, &["us"])]
            .into_iter()
            .filter(|(_, size, ..)| *size > 0)
            .map(|(name, size, port, countries)| pool(name, size, port, countries))
            .collect();
        let access = Access {
            socks: networks(&["203.0.113.0/24", "2001:db8::/32"]).into(),
            panel: networks(&["127.0.0.0/8"]),
            ..Access::default()
        };
        let desired = Desired { pools, access, ..Desired::default() };
        let source = SourceState {
            accepted: Some(revision('a')),
            offered: Some(revision('a')),
            last_success: Some(noon()),
            ..SourceState::default()
        };
        Self {
            now: noon(),
            source,
            observed: observed(&desired),
            desired: Some(desired),
            plan: Plan::default(),
            failures: Failures::new(),
            fights: Fights::new(),
            findings: BTreeMap::new(),
            incident: None,
            probes: BTreeMap::new(),
            driver: "nftables",
            page_in_the_clear: false,
            server_addresses: vec!["192.0.2.10".parse().unwrap(), "2001:db8:1::10".parse().unwrap()],
            suspended: None,
            suspended_pools: BTreeMap::new(),
            rotations: Rotations::default(),
            alerts: Default::default(),
            audit: AuditTrail::default(),
            pass: Some(pass_at(noon())),
        }
    }

    /// A daemon whose source has given nothing yet.
    pub fn without_revision() -> Self {
        Self {
            source: SourceState::default(),
            desired: None,
            observed: Observed::default(),
            pass: None,
            ..Self::healthy(0)
        }
    }

    /// The status of a first pass.
    pub fn status(&self) -> Status {
        status::of(&self.inputs(None))
    }

    /// The status of a pass after another.
    pub fn status_after(&self, previous: &Status) -> Status {
        status::of(&self.inputs(Some(previous)))
    }

    /// Lets time pass, and another pass with it.
    pub fn later(&self, seconds: i64) -> Self {
        let now = self.now + SignedDuration::from_secs(seconds);
        let pass = self.pass.as_ref().map(|_| pass_at(now));
        Self { now, pass, ..self.clone() }
    }

    /// The observed instance of a node, to be bent.
    pub fn instance(&mut self, name: &str) -> &mut Instance {
        self.observed.instances.get_mut(&name.parse::<InstanceName>().unwrap()).unwrap()
    }

    /// What the control socket of a node's instance says, to be bent.
    pub fn control(&mut self, name: &str) -> &mut Control {
        match &mut self.instance(name).control {
            Observation::Present(control) => Arc::make_mut(control),
            _ => panic!("{name} says nothing"),
        }
    }

    fn inputs<'a>(&'a self, previous: Option<&'a Status>) -> Inputs<'a> {
        Inputs {
            now: self.now,
            previous,
            source: &self.source,
            desired: self.desired.as_ref(),
            applied: self.source.accepted.as_ref(),
            observed: &self.observed,
            plan: &self.plan,
            failures: &self.failures,
            fights: &self.fights,
            findings: &self.findings,
            incident: self.incident.as_ref(),
            probes: &self.probes,
            driver: self.driver,
            page_in_the_clear: self.page_in_the_clear,
            server_addresses: &self.server_addresses,
            suspended: self.suspended.as_ref(),
            suspended_pools: &self.suspended_pools,
            rollbacks: Default::default(),
            alerts: &self.alerts,
            rotations: &self.rotations,
            audit: &self.audit,
            lockouts: &[],
            pass: self.pass.as_ref(),
        }
    }
}

fn pass_at(started: Timestamp) -> Pass {
    Pass {
        started,
        duration: Duration::from_millis(120),
        result: PassResult::Success,
        applied: Vec::new(),
        guard_author: None,
    }
}

fn networks(texts: &[&str]) -> BTreeSet<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn pool(name: &str, size: u16, socks_port: u16, countries: &[&str]) -> Pool {
    Pool {
        name: name.parse().unwrap(),
        size,
        countries: Arc::new(countries.iter().map(|code| code.parse().unwrap()).collect()),
        listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        socks_port,
        rotate_every: None,
        nodes_per_instance: NonZeroU16::MIN,
        exits: <_>::default(),
        torrc: <_>::default(),
    }
}

fn observed(desired: &Desired) -> Observed {
    let mut world = Observed {
        guard: Observation::Present(ObservedGuard::Exact(Guard::of(desired, Some(8080)))),
        tor: Observation::Present(TorProgram { path: "/usr/bin/tor".to_owned(), version: "0.4.9.11".to_owned() }),
        ..Observed::default()
    };
    let mut relays = Relays::new("2026-03-01 12:00:00".to_owned(), BTreeMap::new());
    for (number, instance) in (0_u16..).zip(desired.instances()) {
        let fingerprint = fingerprint(number);
        relays.exits_mut().insert(fingerprint, exit(number, instance.countries.iter().next().copied()));
        let listeners = instance.nodes.iter().map(|node| node.socks).collect();
        world.instances.insert(instance.name, running(number, fingerprint, listeners));
    }
    world.relays = Observation::Present(Arc::new(relays));
    world
}

fn fingerprint(number: u16) -> Fingerprint {
    let mut bytes = [0xAB; 20];
    bytes[18..].copy_from_slice(&number.to_be_bytes());
    Fingerprint::from_bytes(bytes)
}

fn exit(number: u16, country: Option<Country>) -> Exit {
    let [high, low] = number.to_be_bytes();
    Exit { address: IpAddr::V4(Ipv4Addr::new(198, 51, 100 + high, low)), country, bandwidth: 9000 }
}

fn running(number: u16, fingerprint: Fingerprint, socks_listeners: BTreeSet<SocketAddr>) -> Instance {
    Instance {
        torrc: Observation::Present(TorrcDigest::of("SocksPort 0\n")),
        process: Observation::Present(Process { pid: 4000 + u32::from(number), started: 77 }),
        control: Observation::Present(Arc::new(Control {
            version: "0.4.9.11".to_owned(),
            bootstrap: Bootstrap { progress: 100, summary: "Done".to_owned(), warning: None, ..Bootstrap::default() },
            circuit_established: true,
            network_live: Some(true),
            socks_listeners,
            exit: Some(ObservedExit { fingerprint, confirmed: true }),
            latency_ms: Some(180 + 7 * u32::from(number % 40)),
            ..Control::default()
        })),
        ..Instance::default()
    }
}
