//! What a document means: its types turned into those that `plan` reads. Nothing is checked here.

use std::num::NonZeroU16;
use std::sync::Arc;

use ipnet::IpNet;

use super::document::{
    self, AccessDocument, Document, ExitsDocument, FirewallDocument, HealthDocument, NewCommitsWord, PoolDocument,
    PruneWord, ReconcileDocument, SelfHealWord,
};
use super::exports::{Grant, Quota, canonical};
use super::values::Peer;
use super::whitelist::Whitelists;
use super::{
    Access, AccessLines, Alerts, AuditPolicy, Desired, ExitPolicy, Exports, FirewallPolicy, HealthPolicy, Lockout,
    NewCommits, Pool, Probe, Prune, RateLimit, ReconcilePolicy, SelfHeal, SshAccess,
};

/// Says what a valid document means, whose whitelists mean these networks.
pub fn of(document: &Document, whitelists: Whitelists) -> Desired {
    Desired {
        pools: document.pools.iter().map(pool).collect(),
        access: access(&document.access, whitelists),
        firewall: firewall(&document.firewall),
        reconcile: reconcile(&document.reconcile),
        health: health(&document.health),
        exports: exports(&document.exports),
        alerts: Arc::new(Alerts::of(&document.alerts)),
        audit: AuditPolicy::of(&document.audit),
    }
}

fn pool(pool: &PoolDocument) -> Pool {
    let shared_by = u16::try_from(pool.nodes_per_instance.0).ok().and_then(NonZeroU16::new);
    Pool {
        name: pool.name.clone(),
        size: pool.size,
        countries: Arc::new(pool.countries.iter().copied().collect()),
        listen: pool.listen.0,
        socks_port: pool.socks_port.0,
        rotate_every: pool.rotate_every.map(|period| period.0),
        nodes_per_instance: shared_by.unwrap_or(NonZeroU16::MAX),
        exits: Arc::new(exits(&pool.exits)),
        torrc: Arc::new(pool.torrc.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()),
    }
}

fn exits(exits: &ExitsDocument) -> ExitPolicy {
    ExitPolicy {
        distinct: exits.distinct,
        avoid_shared_subnet: exits.avoid_shared_subnet,
        pin: exits.pin.iter().copied().collect(),
        exclude: exits.exclude.iter().copied().collect(),
    }
}

fn access(document: &AccessDocument, whitelists: Whitelists) -> Access {
    let Whitelists { socks, panel, ssh } = whitelists;
    let ports = document.ssh.iter().flat_map(|ssh| &ssh.ports).map(|port| port.0).collect();
    Access {
        socks: Arc::new(socks),
        panel,
        ssh: ssh.map(|allow| SshAccess { ports, allow }),
        lockout: if document.allow_lockout { Lockout::Allowed } else { Lockout::Held },
        rate_limit: limits(document),
        trusted_proxies: document.trusted_proxies.iter().map(plain).collect(),
        sign_in: document.sign_in.as_ref().map(super::sign_in::of),
        lines: AccessLines::default(),
    }
}

fn firewall(firewall: &FirewallDocument) -> FirewallPolicy {
    FirewallPolicy {
        driver: firewall.driver,
        control_ports: firewall.control_ports.0.clone(),
        icmp_per_second: firewall.icmp_rate.0,
        confirm_within: firewall.confirm_within.0,
        confirm: firewall.confirm,
    }
}

fn health(health: &HealthDocument) -> HealthPolicy {
    let probe = health.probe.as_ref().map(|probe| Probe {
        url: probe.url.0.to_string(),
        every: probe.every.0,
        timeout: probe.timeout.0,
        ca_file: probe.ca_file.as_ref().map(|path| path.0.clone()),
    });
    HealthPolicy { restart_after: health.restart_after.0, probe }
}

fn reconcile(reconcile: &ReconcileDocument) -> ReconcilePolicy {
    ReconcilePolicy {
        new_commits: match reconcile.new_commits {
            NewCommitsWord::Auto => NewCommits::Auto,
            NewCommitsWord::Manual => NewCommits::Manual,
        },
        prune: match reconcile.prune {
            PruneWord::On => Prune::On,
            PruneWord::Confirm => Prune::Confirm,
        },
        self_heal: match reconcile.self_heal {
            SelfHealWord::On => SelfHeal::On,
            SelfHealWord::Report => SelfHeal::Report,
        },
        resync_every: reconcile.resync_every.0,
        max_unavailable_percent: reconcile.max_unavailable.0,
        max_delete_percent: reconcile.max_delete.0,
        drain_for: reconcile.drain_for.0,
    }
}

/// A password can be guessed, so it is never without a limit.
fn limits(document: &AccessDocument) -> Option<RateLimit> {
    let usual = || document.sign_in.as_ref().map(|_| rate_limit(&document::RateLimit::default()));
    document.rate_limit.as_ref().map(rate_limit).or_else(usual)
}

fn rate_limit(limit: &document::RateLimit) -> RateLimit {
    RateLimit {
        per_minute: limit.per_minute.0,
        failed_per_minute: limit.failed_per_minute.0,
        lockout_after: limit.lockout_after.0,
        lockout_for: limit.lockout_for.0,
    }
}

fn exports(exports: &document::Exports) -> Exports {
    Exports {
        advertise: exports.advertise.as_ref().map(|host| host.0.clone()),
        trusted_keys: exports.trusted_keys.clone(),
        grants: exports.grants.iter().map(|it| (it.name.0.clone(), grant(it))).collect(),
        revoked: exports.revoked.iter().map(|id| id.0.clone()).collect(),
    }
}

fn grant(grant: &document::Grant) -> Grant {
    Grant {
        pools: grant.pools.iter().cloned().collect(),
        formats: grant.formats.iter().copied().collect(),
        allow: grant.allow.iter().map(plain).collect(),
        max_ttl: grant.max_ttl.0,
        limit: grant.limit.map(|limit| usize::try_from(limit.0).unwrap_or(usize::MAX)),
        quota: grant.quota.as_ref().map(|quota| Quota { downloads: quota.downloads.0, per: quota.per.0 }),
    }
}

fn plain(peer: &Peer) -> IpNet {
    canonical(peer.network())
}
