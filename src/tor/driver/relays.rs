//! The relays of the newest consensus, read once for all instances.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::super::cache;
use super::super::relays::{CircuitLimits, Relays, parse};
use super::{Session, TorDriver};
use crate::error::chain;
use crate::observe::Observation;

/// The longest that a tor may take to list its relays: some three megabytes.
const PATIENCE: Duration = Duration::from_secs(15);

/// The relays that were read last.
#[derive(Debug, Default)]
pub(super) struct Known(Option<Arc<Relays>>);

/// Reads the relays where some instance has a newer consensus than the one that is known.
///
/// Without a bootstrapped instance there are none: an old consensus is no news.
pub(super) async fn observe(driver: &TorDriver, consensuses: Vec<(Arc<Session>, String)>) -> Observation<Arc<Relays>> {
    let newest = consensuses.into_iter().max_by(|(_, left), (_, right)| left.cmp(right));
    let Some((session, valid_after)) = newest else { return Observation::Absent };
    let mut known = driver.relays.lock().await;
    // An older one comes when the instance that had the newest is gone: what is known is better.
    let is_new = known.0.as_ref().is_none_or(|relays| relays.valid_after < valid_after);
    if is_new {
        match read(driver, &session, valid_after).await {
            Ok(relays) => known.0 = Some(Arc::new(relays)),
            Err(why) if known.0.is_none() => return Observation::Unknown(why),
            Err(why) => tracing::warn!(why, "the relays of the new consensus cannot be read; the old ones are used"),
        }
    }
    known.0.clone().map_or(Observation::Absent, Observation::Present)
}

async fn read(driver: &TorDriver, session: &Session, valid_after: String) -> Result<Relays, String> {
    let reply = session.control.ask("GETINFO ns/all".to_owned(), PATIENCE).await.map_err(|error| error.to_string())?;
    if !reply.is_ok() {
        return Err(format!("tor refused GETINFO ns/all: {}", reply.words()));
    }
    let listed = parse(reply.lines.iter().find_map(|line| line.data.as_deref()).unwrap_or_default());
    drop(reply);
    let ipv4: BTreeSet<IpAddr> = listed.iter().map(|exit| IpAddr::V4(exit.ipv4)).collect();
    let mut countries = find(driver, ipv4).await?;
    let unplaced = listed.iter().filter(|exit| !countries.contains_key(&IpAddr::V4(exit.ipv4)));
    let ipv6 = unplaced.filter_map(|exit| exit.ipv6.map(IpAddr::V6)).collect();
    countries.extend(find(driver, ipv6).await?);
    let mut relays = Relays::assemble(valid_after, listed, &countries);
    relays.circuit_limits = circuit_limits(driver, session);
    Ok(relays)
}

/// How fast guard relays let one client begin circuits: no question over the control socket answers that, so it is read
/// from the instance's copy of the consensus.
fn circuit_limits(driver: &TorDriver, session: &Session) -> Option<CircuitLimits> {
    let sessions = driver.sessions();
    let is_this = |held: &Arc<Session>| held.watched.process == session.watched.process;
    let (name, _) = sessions.iter().find(|(_, held)| is_this(held))?;
    cache::circuit_limits(&driver.paths(name).state)
}

/// Finds the countries of addresses without holding up the runtime.
async fn find(
    driver: &TorDriver,
    addresses: BTreeSet<IpAddr>,
) -> Result<std::collections::BTreeMap<IpAddr, crate::desired::Country>, String> {
    let files = driver.geoip.clone();
    let found = tokio::task::spawn_blocking(move || files.countries(&addresses)).await;
    found.map_err(|ended| ended.to_string())?.map_err(|error| chain(&error))
}
