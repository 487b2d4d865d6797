//! From relays that run to a network that clients can use: registration, one vote, its spreading.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::config::{AuthorityLine, BANDWIDTHS, Ballot, RelayTorrc, bandwidths};
use super::layout::{Layout, Member, Role};
use super::relays::{Relay, fingerprint, log_tail, reject, write_torrc};
use super::{Error, Progress};

/// How often the relays' files are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How much later than promised a consensus may come before another vote is called.
const GRACE: Duration = Duration::from_secs(2);

/// A network whose relays are running.
pub struct Running<'a, P> {
    /// Everyone, as laid out.
    pub layout: &'a Layout,
    /// The lines by which the network is found.
    pub authorities: &'a [AuthorityLine],
    /// The network's directory.
    pub directory: &'a Path,
    /// Everyone, as processes.
    pub relays: &'a mut [Relay],
    /// By when all has to be done.
    pub deadline: Instant,
    /// The deadline, as it was given.
    pub patience: Duration,
    /// Who wants to know how far it is.
    pub progress: &'a P,
}

/// Something that is waited for.
struct Stage {
    /// What the network does in it.
    does: &'static str,
    /// How many relays have to do it.
    of: usize,
    /// By when.
    deadline: Instant,
}

impl<P: Fn(Progress)> Running<'_, P> {
    /// Waits for registration, has a vote held, and waits until the guards serve what was voted.
    pub async fn agree(&mut self) -> Result<(), Error> {
        let authorities = self.register().await?;
        self.vote(self.layout.members.len(), |layout| unlisted(&authorities, layout)).await?;
        // Relays have put their next download off for up to half a minute; a reload makes them ask at once.
        for relay in self.relays.iter().filter(|relay| relay.member.role != Role::Authority) {
            relay.reload().map_err(Error::file("reload", &relay.data))?;
        }
        self.served().await
    }

    /// Waits until every authority knows every relay, and measures these; gives the directories of the authorities.
    async fn register(&mut self) -> Result<Vec<PathBuf>, Error> {
        let authorities = data_of(self.relays, |member| member.role == Role::Authority);
        let (deadline, of) = (self.deadline, self.layout.members.len());
        let stage = Stage { does: "register its relays", of, deadline };
        let told = |registered| Progress::Registered { registered, of };
        self.wait(stage, |layout| unregistered(&authorities, layout), told).await?;
        self.measure()?;
        Ok(authorities)
    }

    /// Has a vote held without a relay that has left, and with the one that has come in its place, where one has.
    pub async fn leave_out(&mut self, gone: &str, fingerprint: &str, come: Option<&str>) -> Result<(), Error> {
        for authority in self.relays.iter().filter(|relay| relay.member.role == Role::Authority) {
            reject(authority, fingerprint)?;
        }
        let authorities = match come {
            Some(_) => self.register().await?,
            None => data_of(self.relays, |member| member.role == Role::Authority),
        };
        let missing = |layout: &Layout| {
            let mut missing = still_listing(&authorities, gone);
            missing.extend(unlisted(&authorities, layout).into_iter().filter(|name| come == Some(name)));
            missing
        };
        // Every authority, and the one that has come.
        self.vote(authorities.len() + 1, missing).await
    }

    /// Waits until the guards serve what was voted.
    pub async fn served(&mut self) -> Result<(), Error> {
        let guards = data_of(self.relays, |member| member.role == Role::Guard);
        let stage = Stage { does: "spread its consensus", of: guards.len(), deadline: self.deadline };
        let told = |serving| Progress::Spread { serving, of: guards.len() };
        self.wait(stage, |layout| not_served(&guards, layout), told).await
    }

    /// Writes the relays' bandwidths down for the authorities.
    fn measure(&self) -> Result<(), Error> {
        let identity = |relay: &Relay| fingerprint(&relay.data, &relay.member.nickname);
        let fingerprints: Vec<_> = self.relays.iter().map(identity).collect::<Result<_, _>>()?;
        let path = self.directory.join(BANDWIDTHS);
        fs::write(&path, bandwidths(now(), &fingerprints)).map_err(Error::file("write", path))
    }

    /// Calls votes until nothing is missing from what was voted.
    async fn vote(&mut self, of: usize, missing: impl Fn(&Layout) -> BTreeSet<String>) -> Result<(), Error> {
        for attempt in 0.. {
            let ballot = Ballot::at_once(now(), attempt);
            self.call(ballot)?;
            let patience = Instant::now() + Duration::from_secs(ballot.seconds()) + GRACE;
            let listed = |listed| Progress::Consensus { listed, of };
            let stage = Stage { does: "agree on a consensus", of, deadline: patience.min(self.deadline) };
            match self.wait(stage, &missing, listed).await {
                Err(Error::Deadline { .. }) if Instant::now() < self.deadline => {}
                other => return other,
            }
        }
        Ok(())
    }

    /// Moves the authorities' vote.
    fn call(&self, ballot: Ballot) -> Result<(), Error> {
        let Self { layout, authorities, directory, .. } = self;
        for relay in self.relays.iter().filter(|relay| relay.member.role == Role::Authority) {
            write_torrc(&RelayTorrc { member: &relay.member, layout, authorities, directory, ballot })?;
            relay.reload().map_err(Error::file("reload", &relay.data))?;
        }
        Ok(())
    }

    /// Waits until nobody is missing any more.
    async fn wait(
        &mut self,
        stage: Stage,
        missing: impl Fn(&Layout) -> BTreeSet<String>,
        progress: impl Fn(usize) -> Progress,
    ) -> Result<(), Error> {
        let Stage { does, of, deadline } = stage;
        let mut told = None;
        loop {
            let missing = missing(self.layout);
            let done = of - missing.len();
            if told.replace(done) != Some(done) {
                (self.progress)(progress(done));
            }
            let Some(first) = missing.first() else { return Ok(()) };
            if let Some(ended) = self.relays.iter_mut().find_map(|relay| relay.has_ended().then_some(&relay.member)) {
                let log = log_tail(self.directory, &ended.nickname);
                return Err(Error::Ended { name: ended.nickname.clone(), log });
            }
            if Instant::now() > deadline {
                let (name, log) = (first.clone(), log_tail(self.directory, first));
                let (seconds, missing) = (self.patience.as_secs(), missing.into_iter().collect());
                return Err(Error::Deadline { stage: does, seconds, missing, of, name, log });
            }
            sleep(POLL).await;
        }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

/// The data directories of some of the relays.
fn data_of(relays: &[Relay], wanted: impl Fn(&Member) -> bool) -> Vec<PathBuf> {
    relays.iter().filter(|relay| wanted(&relay.member)).map(|relay| relay.data.clone()).collect()
}

/// Names the relays whose descriptor some authority does not have.
fn unregistered(authorities: &[PathBuf], layout: &Layout) -> BTreeSet<String> {
    let have: Vec<_> =
        authorities.iter().map(|data| words_after("router ", &read(data, "cached-descriptors"))).collect();
    let all_have = |member: &Member| have.iter().all(|have| have.contains(&member.nickname));
    nicknames(layout.members.iter().filter(|member| !all_have(member)))
}

/// Names the relays that some authority's consensus does not list, or not with the flags that they need.
fn unlisted(authorities: &[PathBuf], layout: &Layout) -> BTreeSet<String> {
    let lists: Vec<_> = authorities.iter().map(|data| flags(&read(data, "cached-microdesc-consensus"))).collect();
    let useful = |member: &Member| lists.iter().all(|list| has_flags(list, member));
    nicknames(layout.members.iter().filter(|member| !useful(member)))
}

/// Names the guards that cannot yet tell a client about every relay.
fn not_served(guards: &[PathBuf], layout: &Layout) -> BTreeSet<String> {
    let serves = |data: &PathBuf| {
        let list = flags(&read(data, "cached-microdesc-consensus"));
        let described = read(data, "cached-microdescs").lines().filter(|line| *line == "onion-key").count();
        described >= layout.members.len() && layout.members.iter().all(|member| has_flags(&list, member))
    };
    guards.iter().filter(|data| !serves(data)).map(|data| name_of(data)).collect()
}

/// Names those whose consensus still lists a relay.
fn still_listing(data: &[PathBuf], gone: &str) -> BTreeSet<String> {
    let lists = |data: &&PathBuf| flags(&read(data, "cached-microdesc-consensus")).contains_key(gone);
    data.iter().filter(lists).map(|data| name_of(data)).collect()
}

/// The nickname of the relay that has this data directory.
fn name_of(data: &Path) -> String {
    data.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether a consensus lists a member as what it is there for.
fn has_flags(list: &BTreeMap<String, BTreeSet<String>>, member: &Member) -> bool {
    list.get(&member.nickname).is_some_and(|flags| member.role.flags().iter().all(|flag| flags.contains(*flag)))
}

/// Reads the relays and their flags out of a consensus: a line `r <nickname> …`, and after it `s <flag> …`.
fn flags(consensus: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut list = BTreeMap::new();
    let mut relay = None;
    for line in consensus.lines() {
        match line.split_once(' ') {
            Some(("r", rest)) => relay = rest.split(' ').next(),
            Some(("s", flags)) => {
                let flags = flags.split(' ').map(str::to_owned).collect();
                list.extend(relay.take().map(|relay| (relay.to_owned(), flags)));
            }
            _ => {}
        }
    }
    list
}

/// Collects the first words after a keyword.
fn words_after(keyword: &str, text: &str) -> BTreeSet<String> {
    let rests = text.lines().filter_map(|line| line.strip_prefix(keyword));
    rests.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
}

/// Reads a cache of tor's together with its journal; what is not there yet is empty.
fn read(data: &Path, cache: &str) -> String {
    let files = [cache.to_owned(), format!("{cache}.new")];
    // A cache may hold bytes that are no text, such as a relay's contact.
    files
        .iter()
        .map(|file| fs::read(data.join(file)).unwrap_or_default())
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .collect()
}

/// The nicknames of members.
fn nicknames<'a>(members: impl Iterator<Item = &'a Member>) -> BTreeSet<String> {
    members.map(|member| member.nickname.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSENSUS: &str = "network-status-version 3 microdesc\nr guard1 AAAA 2026-01-01 00:00:00 10.2.1.1 9001 0\n\
        m digest\ns Fast Guard Running Stable V2Dir Valid\nw Bandwidth=0\nr de1 BBBB 2026-01-01 00:00:00 10.16.1.1 9001 0\n\
        s Exit Fast Valid\ndirectory-footer\n";

    #[test]
    fn a_relay_without_its_flags_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let data = vec![directory.path().to_owned()];
        let layout = Layout::new(&[("de".parse().unwrap(), 1)].into()).unwrap();
        let everyone = nicknames(layout.members.iter());
        assert_eq!(unlisted(&data, &layout), everyone);
        fs::write(directory.path().join("cached-microdesc-consensus"), CONSENSUS).unwrap();
        assert!(unlisted(&data, &layout).contains("de1"), "not running");
        assert!(!unlisted(&data, &layout).contains("guard1"));
        let running = CONSENSUS.replace("Exit Fast", "Exit Fast Running Stable");
        fs::write(directory.path().join("cached-microdesc-consensus"), running).unwrap();
        assert!(!unlisted(&data, &layout).contains("de1"));
    }

    #[test]
    fn descriptors_count_from_the_cache_and_its_journal() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(&[("de".parse().unwrap(), 2)].into()).unwrap();
        fs::write(directory.path().join("cached-descriptors"), "@source\nrouter de1 10.16.1.1 9001 0 0\n").unwrap();
        fs::write(directory.path().join("cached-descriptors.new"), b"router de2 10.16.2.1\ncontact \xff\n").unwrap();
        let missing = unregistered(&[directory.path().to_owned()], &layout);
        assert!(!missing.contains("de1") && !missing.contains("de2"));
        assert_eq!(missing.len(), layout.members.len() - 2);
    }
}
