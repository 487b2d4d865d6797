//! The engine: from what is found, and the time, to what people are told. Pure.
//!
//! # The life of an incident
//!
//! What is found is *pending* until it has lasted as long as its rule says; then it *fires*, and people are told once,
//! and again each `repeat_every`. When it is not found any more it has to stay away for a while (see [`calm`]), and
//! then people are told that it is over. What comes back within that while has never been away; what comes back often
//! has to stay away longer each time, so that something that flaps is one incident.
//!
//! What nobody knows stands still: it is neither found nor away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::board::{AlertDocument, State};
use super::notice::Happened;
use super::rules::{Finding, Found, Judgement};
use super::{Now, RuleName, Severity};
use crate::desired::Alerts;
use crate::desired::names::hex;

/// The shortest and the longest time that something has to stay away the first time, whatever its rule says.
const SHORTEST_CALM: Duration = Duration::from_secs(10);
const LONGEST_FIRST_CALM: Duration = Duration::from_secs(300);
/// The longest time that something has to stay away that flaps.
const LONGEST_CALM: Duration = Duration::from_secs(1800);
/// How long it is remembered that something has flapped.
const MEMORY: Duration = Duration::from_secs(3600);

/// What is known of all incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    known: BTreeMap<Key, Known>,
}

/// What makes an incident this one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rule: RuleName,
    about: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    finding: Finding,
    lasting: Duration,
    phase: Phase,
    /// How often it has fired lately.
    raised: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// It is found, and does not last long enough yet.
    Pending { since: Duration },
    /// It fires.
    Firing(Firing),
    /// It is over, and remembered.
    Over { since: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Firing {
    incident: String,
    /// When it was first found, since the boot and by the clock of the day.
    since: Duration,
    began: Timestamp,
    /// When people were told last; `None` while a silence keeps it back.
    told: Option<Duration>,
    /// The number of the next message.
    next: u32,
    /// Since when it is not found any more.
    away: Option<Duration>,
}

/// Something that people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// What has happened.
    pub happened: Happened,
    /// The incident.
    pub incident: String,
    /// Which of its messages this is, from 0.
    pub sequence: u32,
    /// The rule.
    pub rule: RuleName,
    /// What was found.
    pub finding: Finding,
    /// When it began.
    pub began: Timestamp,
}

/// A firing incident, as it is kept over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    incident: String,
    rule: RuleName,
    about: String,
    severity: Severity,
    summary: String,
    details: Vec<String>,
    mark: String,
    lasting: Duration,
    since: Duration,
    began: Timestamp,
    told: Option<Duration>,
    next: u32,
    raised: u32,
}

/// Whether the host was booted since something was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// It is the same boot: times since then go on.
    Same,
    /// It is another one: times begin anew.
    Another,
}

impl Engine {
    /// Takes up the incidents that fired when the last daemon ended.
    pub fn recall(kept: Vec<Kept>, boot: Boot, now: Now) -> Self {
        let known = kept.into_iter().map(|kept| kept.recalled(boot, now)).collect();
        Self { known }
    }

    /// The incidents that fire, to be kept.
    pub fn kept(&self) -> Vec<Kept> {
        self.known.iter().filter_map(|(key, known)| Kept::of(key, known)).collect()
    }

    /// Takes in what the rules have found, and says what people are told.
    pub fn step(&mut self, judgements: &[Judgement], alerts: &Alerts, now: Now) -> Vec<Transition> {
        let mut told = self.forget_rules(judgements);
        for Judgement { rule, lasting, found } in judgements {
            let Found::Findings(findings) = found else { continue };
            let mut here = BTreeSet::new();
            for finding in findings {
                let key = Key { rule: *rule, about: finding.about.clone() };
                self.find(&key, finding, *lasting, now);
                here.insert(key);
            }
            let of_rule = self.known.iter_mut().filter(|(key, _)| key.rule == *rule);
            for (key, known) in of_rule {
                if !here.contains(key) {
                    known.miss(now);
                }
                told.extend(known.end(key, now));
            }
        }
        self.known.retain(|_, known| !known.is_forgotten(now));
        for (key, known) in &mut self.known {
            let is_silenced = alerts.is_silenced(key.rule, &key.about, now.of_day);
            if !is_silenced {
                told.extend(known.tell(key, alerts.repeat_every, now));
            }
        }
        told
    }

    /// When something follows from time alone, since the boot.
    pub fn next(&self, alerts: &Alerts) -> Option<Duration> {
        self.known.values().map(|known| known.next(alerts.repeat_every)).min()
    }

    /// What is pending, firing and silenced; the most important ones first.
    pub fn shown(&self, alerts: &Alerts, now: Now) -> Vec<AlertDocument> {
        let mut shown: Vec<_> = self.known.iter().filter_map(|(key, known)| known.shown(key, alerts, now)).collect();
        shown.sort_by(|one, other| (one.state, other.severity).cmp(&(other.state, one.severity)));
        shown
    }

    /// Ends what no rule looks at any more.
    fn forget_rules(&mut self, judgements: &[Judgement]) -> Vec<Transition> {
        let is_judged = |key: &Key| judgements.iter().any(|judgement| judgement.rule == key.rule);
        let gone: Vec<Key> = self.known.keys().filter(|key| !is_judged(key)).cloned().collect();
        let ended = |key: Key| self.known.remove(&key)?.resolved(&key);
        gone.into_iter().filter_map(ended).collect()
    }

    fn find(&mut self, key: &Key, finding: &Finding, lasting: Duration, now: Now) {
        let since = now.since_boot;
        let known = self.known.entry(key.clone()).or_insert_with(|| Known {
            finding: finding.clone(),
            lasting,
            phase: Phase::Pending { since },
            raised: 0,
        });
        let is_same = known.finding.mark == finding.mark;
        match &mut known.phase {
            Phase::Firing(firing) if !is_same => {
                firing.away.get_or_insert(since);
                return;
            }
            Phase::Firing(firing) => firing.away = None,
            Phase::Pending { since: before } if !is_same => *before = since,
            Phase::Pending { .. } => {}
            Phase::Over { .. } => known.phase = Phase::Pending { since },
        }
        (known.finding, known.lasting) = (finding.clone(), lasting);
        known.raise(key, now);
    }
}

impl Known {
    /// Lets it fire, where it has lasted long enough.
    fn raise(&mut self, key: &Key, now: Now) {
        let Phase::Pending { since } = self.phase else { return };
        if now.since_boot.saturating_sub(since) < self.lasting {
            return;
        }
        self.raised += 1;
        self.phase = Phase::Firing(Firing {
            incident: incident(key, now),
            since,
            began: now.ago(since),
            told: None,
            next: 0,
            away: None,
        });
    }

    /// It is not found.
    fn miss(&mut self, now: Now) {
        match &mut self.phase {
            Phase::Pending { .. } => self.phase = Phase::Over { since: now.since_boot },
            Phase::Firing(firing) => _ = firing.away.get_or_insert(now.since_boot),
            Phase::Over { .. } => {}
        }
    }

    /// Ends it, where it has stayed away long enough.
    fn end(&mut self, key: &Key, now: Now) -> Option<Transition> {
        let Phase::Firing(Firing { away: Some(away), .. }) = self.phase else { return None };
        if now.since_boot.saturating_sub(away) < calm(self.lasting, self.raised) {
            return None;
        }
        let resolved = self.resolved(key);
        self.phase = Phase::Over { since: now.since_boot };
        resolved
    }

    /// That it is over, where people know of it.
    fn resolved(&self, key: &Key) -> Option<Transition> {
        let Phase::Firing(firing) = &self.phase else { return None };
        firing.told.map(|_| firing.transition(Happened::Resolved, key, &self.finding))
    }

    /// Tells people that it fires, where they do not know or have not heard of it for long.
    fn tell(&mut self, key: &Key, repeat_every: Duration, now: Now) -> Option<Transition> {
        let Phase::Firing(firing) = &mut self.phase else { return None };
        let happened = match firing.told {
            _ if firing.away.is_some() => return None,
            None => Happened::Raised,
            Some(told) if now.since_boot.saturating_sub(told) >= repeat_every => Happened::Repeated,
            Some(_) => return None,
        };
        let transition = firing.transition(happened, key, &self.finding);
        firing.told = Some(now.since_boot);
        firing.next += 1;
        Some(transition)
    }

    /// Nothing is left to remember: it never fired, or that was long ago.
    fn is_forgotten(&self, now: Now) -> bool {
        let Phase::Over { since } = self.phase else { return false };
        self.raised == 0 || now.since_boot.saturating_sub(since) >= MEMORY
    }

    fn next(&self, repeat_every: Duration) -> Duration {
        match &self.phase {
            Phase::Pending { since } => *since + self.lasting,
            Phase::Firing(Firing { away: Some(away), .. }) => *away + calm(self.lasting, self.raised),
            Phase::Firing(firing) => firing.told.map_or(Duration::MAX, |told| told.saturating_add(repeat_every)),
            Phase::Over { since } => *since + MEMORY,
        }
    }

    fn shown(&self, key: &Key, alerts: &Alerts, now: Now) -> Option<AlertDocument> {
        let is_silenced = alerts.is_silenced(key.rule, &key.about, now.of_day);
        let (state, since, incident) = match &self.phase {
            Phase::Over { .. } => return None,
            Phase::Pending { since } => (State::Pending, now.ago(*since), None),
            Phase::Firing(firing) if is_silenced => (State::Silenced, firing.began, Some(firing.incident.clone())),
            Phase::Firing(firing) => (State::Firing, firing.began, Some(firing.incident.clone())),
        };
        // The source is always as old as it is: only once that is too old, somebody wants to know.
        if state == State::Pending && !self.finding.mark.is_empty() && key.rule == RuleName::SourceStale {
            return None;
        }
        Some(AlertDocument {
            state,
            severity: self.finding.severity,
            rule: key.rule,
            about: key.about.clone(),
            summary: self.finding.summary.clone(),
            details: self.finding.details.clone(),
            since: format!("{since:.0}"),
            incident,
        })
    }
}

impl Transition {
    /// Whether it is about a channel, which then is not told of it.
    pub fn is_about_channel(&self, channel: &str) -> bool {
        self.rule == RuleName::ChannelFailing && self.finding.about == channel
    }
}

impl Firing {
    fn transition(&self, happened: Happened, key: &Key, finding: &Finding) -> Transition {
        Transition {
            happened,
            incident: self.incident.clone(),
            sequence: self.next,
            rule: key.rule,
            finding: finding.clone(),
            began: self.began,
        }
    }
}

impl Kept {
    fn of(key: &Key, known: &Known) -> Option<Self> {
        let Phase::Firing(firing) = &known.phase else { return None };
        Some(Self {
            incident: firing.incident.clone(),
            rule: key.rule,
            about: key.about.clone(),
            severity: known.finding.severity,
            summary: known.finding.summary.clone(),
            details: known.finding.details.clone(),
            mark: known.finding.mark.clone(),
            lasting: known.lasting,
            since: firing.since,
            began: firing.began,
            told: firing.told,
            next: firing.next,
            raised: known.raised,
        })
    }

    /// What changes with each message of it, and with nothing else.
    pub fn key(&self) -> (&str, u32) {
        (&self.incident, self.next)
    }

    fn recalled(self, boot: Boot, now: Now) -> (Key, Known) {
        let moment = |before: Duration| match boot {
            Boot::Same => before,
            Boot::Another => now.since_boot,
        };
        let firing = Firing {
            incident: self.incident,
            since: moment(self.since),
            began: self.began,
            told: self.told.map(moment),
            next: self.next,
            away: None,
        };
        let finding = Finding {
            about: self.about.clone(),
            severity: self.severity,
            summary: self.summary,
            details: self.details,
            mark: self.mark,
        };
        let known = Known { finding, lasting: self.lasting, phase: Phase::Firing(firing), raised: self.raised };
        (Key { rule: self.rule, about: self.about }, known)
    }
}

/// How long something has to stay away until it is over: as long as it had to last, within bounds, and twice as long for
/// each time that it has come back lately.
pub fn calm(lasting: Duration, raised: u32) -> Duration {
    let first = lasting.clamp(SHORTEST_CALM, LONGEST_FIRST_CALM);
    first.saturating_mul(1 << raised.saturating_sub(1).min(16)).min(LONGEST_CALM)
}

/// The id of an incident: another one for each.
fn incident(key: &Key, now: Now) -> String {
    let Key { rule, about } = key;
    let said = format!("{}\n{about}\n{}\n{}", rule.word(), now.of_day, now.since_boot.as_nanos());
    hex(&Sha256::digest(said.as_bytes())[..8])
}

#[cfg(test)]
mod tests;
