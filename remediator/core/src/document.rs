//! What is remembered: one document per host, and one for automation itself.
//!
//! The documents are JSON, a superset of what the predecessor kept in ZooKeeper
//! (`managed-events`, `manual-events`, `managed-flag`, `manual-flag`). Keys of a
//! document that are not known here are kept as they are, so that what another
//! version put beside them survives a step back. Within events, causes and records
//! they are not, and a kind of cause that is not known makes the document unreadable,
//! which the start says: versions follow each other on a store and do not share it.
//! The predecessor, too, can go on from them, but not beside us: what it has written,
//! [`HostDocument::decode`] knows and refuses.
//!
//! A verdict follows from the document alone, never from the time of day:
//! every instance that reads the same document lists the same hosts.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use jiff::Timestamp;
use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    matcher::Labels,
    policy::NewHosts,
    predecessor::{self, ManagedEvent, managed_events},
};

/// The version of the layout below.
const SCHEMA: u32 = 1;
/// How many transitions a document keeps; the journal keeps them all.
pub const MAX_TRANSITIONS: usize = 20;
/// How many manual events a host may have. People make these by hand, and every
/// one of them is in every answer.
pub const MAX_MANUAL_EVENTS: usize = 32;
/// How many characters a reason may have: it is a sentence, shown in tables.
pub const MAX_REASON_LENGTH: usize = 1000;
/// How many characters the name of who said something may have, with what is added to one
/// that nobody has verified.
pub const MAX_AUTHOR_LENGTH: usize = 80;
/// How many characters, of ASCII, the id of a manual event may have: long enough for any
/// that is generated.
pub const MAX_EVENT_ID_LENGTH: usize = 128;

/// Whether a host is in the whitelist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Mesos may offer it.
    On,
    /// Mesos may not.
    Off,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// All that is remembered of one host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HostDocument {
    schema: u32,
    /// What people said of it, by event id.
    #[serde(default)]
    pub manual_events: BTreeMap<String, ManualEvent>,
    /// Why automation holds it off; empty: it does not.
    #[serde(default)]
    pub causes: Vec<Cause>,
    /// What it is where nobody and nothing says otherwise.
    pub default: Verdict,
    /// Since when it has been off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_since: Option<Timestamp>,
    /// When automation took it off, within `relapse.within`. A manual `on`
    /// empties this: the person knows better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_off: Vec<Timestamp>,
    /// Whether people spoke of it before any leading master listed it. What new hosts
    /// get, it gets when it comes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) awaits_enrolment: bool,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// Whether the leading master lists it.
    pub listing: Listing,
    /// Its agents as last listed, by id.
    #[serde(default)]
    pub agents: Vec<AgentRecord>,
    /// Its last transitions, oldest first.
    #[serde(default)]
    pub transitions: Vec<Record>,
    /// The predecessor's view of why automation holds it off, derived.
    #[serde(default, deserialize_with = "passed_over")]
    managed_events: BTreeMap<String, ManagedEvent>,
    /// The predecessor's view of what automation says, derived.
    managed_flag: Option<Verdict>,
    /// The predecessor's view of what people say, derived.
    manual_flag: Option<Verdict>,
    /// Keys of other versions, kept as they are.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl HostDocument {
    /// A host that was never seen before.
    #[must_use]
    pub fn new(default: Verdict, now: Timestamp) -> Self {
        Self {
            schema: SCHEMA,
            manual_events: BTreeMap::new(),
            causes: Vec::new(),
            default,
            off_since: (default == Verdict::Off).then_some(now),
            taken_off: Vec::new(),
            awaits_enrolment: false,
            first_seen: now,
            listing: Listing { state: ListingState::Unlisted, since: now },
            agents: Vec::new(),
            transitions: Vec::new(),
            managed_events: BTreeMap::new(),
            managed_flag: None,
            manual_flag: None,
            other: Map::new(),
        }
    }

    /// A host that only a person has named: it may come, or be a name mistyped.
    #[must_use]
    pub fn named(new_hosts: NewHosts, now: Timestamp) -> Self {
        Self { awaits_enrolment: true, ..Self::new(new_hosts.verdict(), now) }
    }

    /// Whether the host is on: the newest manual event decides; else any cause
    /// holds it off; else its default.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.ruling_event().map_or_else(|| self.automatic_verdict(), |(_, event)| event.state)
    }

    /// What it would be without any manual event.
    #[must_use]
    pub fn automatic_verdict(&self) -> Verdict {
        if self.causes.is_empty() { self.default } else { Verdict::Off }
    }

    /// The alerts that hold the host off: rule, since when, and the alert as it was.
    pub fn alert_causes(&self) -> impl Iterator<Item = (&str, Timestamp, &Evidence)> {
        self.causes.iter().filter_map(|cause| match cause {
            Cause::Alert { rule, since, evidence } => Some((rule.as_str(), *since, evidence)),
            Cause::Imported { .. } => None,
        })
    }

    /// How often automation had to take the host off again within `within` of
    /// `now`: every off but the first.
    #[must_use]
    pub fn relapses(&self, within: Duration, now: Timestamp) -> usize {
        let recent = self.taken_off.iter().filter(|&&off| crate::time::since(off, now) < within);
        recent.count().saturating_sub(1)
    }

    /// Instants that the document speaks of as past, the newest among them: a clock
    /// that shows less has been set back.
    pub fn instants(&self) -> impl Iterator<Item = Timestamp> {
        let events = self.manual_events.values().map(|event| event.time);
        let told = events.chain(self.transitions.last().map(|record| record.time));
        told.chain([self.first_seen, self.listing.since])
    }

    /// Whether a leading master has ever listed an agent of this name.
    #[must_use]
    pub fn was_ever_listed(&self) -> bool {
        // The agents stay as they were last listed.
        self.listing.state != ListingState::Unlisted || !self.agents.is_empty()
    }

    /// Whether a person wants it on, whatever else holds it off.
    pub(crate) fn is_said_on(&self) -> bool {
        self.ruling_event().is_some_and(|(_, event)| event.state == Verdict::On)
    }

    /// Whether somebody had taken the host out before this store was begun.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.causes.iter().any(|cause| matches!(cause, Cause::Imported { .. }))
    }

    /// The manual event that decides, with its id: the newest; of equal times
    /// the larger id.
    #[must_use]
    pub fn ruling_event(&self) -> Option<(&str, &ManualEvent)> {
        let newest = self.manual_events.iter().max_by_key(|(id, event)| (event.time, *id));
        newest.map(|(id, event)| (id.as_str(), event))
    }

    /// Takes a manual event away. Where an older `on` decides then, it sets causes
    /// aside as it did when it was said: they passed no gate.
    pub(crate) fn remove_event(&mut self, id: &str) -> Option<ManualEvent> {
        let event = self.manual_events.remove(id)?;
        if self.is_said_on() {
            self.causes.clear();
        }
        Some(event)
    }

    /// Appends a transition and keeps `off_since` in step with it.
    pub(crate) fn note_transition(&mut self, before: Verdict, record: &Record) {
        let after = self.verdict();
        if before == after {
            return;
        }
        self.off_since = (after == Verdict::Off).then_some(record.time);
        self.transitions.push(record.clone());
        let excess = self.transitions.len().saturating_sub(MAX_TRANSITIONS);
        self.transitions.drain(..excess);
    }

    /// The document as it will be stored in that version, which is where its new
    /// transitions say that they led to.
    #[must_use]
    pub fn in_version(&self, version: u64) -> Self {
        let mut document = self.clone();
        for transition in &mut document.transitions {
            transition.version.get_or_insert(version);
        }
        document
    }

    /// The document as it is stored.
    ///
    /// # Panics
    /// Never: every part of it has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut document = self.clone();
        document.managed_events = managed_events(&self.causes);
        document.managed_flag = Some(self.automatic_verdict());
        document.manual_flag = self.ruling_event().map(|(_, event)| event.state);
        serde_json::to_vec(&document).expect("a document holds only text keys and finite numbers")
    }

    /// Reads a stored document.
    ///
    /// # Errors
    /// What is wrong with it and where; [`Undecodable::Foreign`] where another program than
    /// ours has written it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let mut document: Self = match serde_json::from_slice(bytes) {
            Ok(document) => document,
            Err(_) if predecessor::lacks_schema(bytes) => {
                return Err(Undecodable::Foreign("it has no schema".into()));
            }
            Err(error) => return Err(Undecodable::Unreadable(error)),
        };
        document.refuse_what_is_not_ours()?;
        // Derived at each write; in memory they would only make equal documents differ.
        document.managed_flag = None;
        document.manual_flag = None;
        Ok(document)
    }

    /// The predecessor keeps the keys that it does not know, but writes flags and events of
    /// its own beside them.
    fn refuse_what_is_not_ours(&self) -> Result<(), Undecodable> {
        let derived = [
            ("managed-flag", self.managed_flag, Some(self.automatic_verdict())),
            ("manual-flag", self.manual_flag, self.ruling_event().map(|(_, event)| event.state)),
        ];
        for (key, found, derived) in derived {
            if let Some(found) = found.filter(|_| found != derived) {
                let why = format!("{key} is {found}, which does not follow from the rest of it");
                return Err(Undecodable::Foreign(why));
            }
        }
        let nobodys = self.manual_events.iter().find(|(_, event)| event.author.is_empty());
        match nobodys {
            Some((id, _)) => Err(Undecodable::Foreign(format!("event {id:?} has no author"))),
            None => Ok(()),
        }
    }
}

/// Why a stored document cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// It is not what any version of ours writes.
    #[error(transparent)]
    Unreadable(serde_json::Error),
    /// It is what the predecessor writes, and why that is known.
    #[error("{0}")]
    Foreign(String),
}

/// What is derived anew at each write is not read.
fn passed_over<'de, D>(deserializer: D) -> Result<BTreeMap<String, ManagedEvent>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| BTreeMap::new())
}

/// What a person said of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StoredEvent", from = "StoredEvent")]
pub struct ManualEvent {
    /// What it says.
    pub state: Verdict,
    /// Why, in the person's words.
    pub reason: String,
    /// Who.
    pub author: String,
    /// When, to the microsecond.
    pub time: Timestamp,
    /// For how long; `None`: until it is taken back.
    pub ttl: Option<Duration>,
}

impl ManualEvent {
    /// When it ends by itself.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.ttl.map(|ttl| crate::time::later(self.time, ttl))
    }

    /// Whether it says `on`, and never ends by itself.
    pub(crate) fn is_on_for_good(&self) -> bool {
        self.state == Verdict::On && self.ttl.is_none()
    }
}

/// [`ManualEvent`] in the predecessor's words: states `ok` and `critical`,
/// seconds since the epoch, seconds of life.
#[derive(Serialize, Deserialize)]
struct StoredEvent {
    state: StoredState,
    #[serde(default)]
    description: String,
    #[serde(default)]
    author: String,
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredState {
    Ok,
    Critical,
}

impl From<ManualEvent> for StoredEvent {
    fn from(event: ManualEvent) -> Self {
        Self {
            state: match event.state {
                Verdict::On => StoredState::Ok,
                Verdict::Off => StoredState::Critical,
            },
            description: event.reason,
            author: event.author,
            time: event.time.as_duration().as_secs_f64(),
            ttl: event.ttl.map(|ttl| ttl.as_secs_f64()),
        }
    }
}

impl From<StoredEvent> for ManualEvent {
    fn from(stored: StoredEvent) -> Self {
        let time = predecessor::instant(stored.time).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            state: match stored.state {
                StoredState::Ok => Verdict::On,
                StoredState::Critical => Verdict::Off,
            },
            reason: stored.description,
            author: stored.author,
            time,
            ttl: stored.ttl.and_then(|ttl| Duration::try_from_secs_f64(ttl).ok()),
        }
    }
}

/// Why automation holds a host off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Cause {
    /// An alert that a rule acts upon.
    Alert {
        /// The rule.
        rule: String,
        /// Since when it has been a cause.
        since: Timestamp,
        /// The alert as it was then.
        evidence: Evidence,
    },
    /// The host was out of the whitelist when this store was begun, or out of one that a
    /// person has imported: somebody had taken it out on purpose.
    Imported {
        /// Since when it has been a cause.
        since: Timestamp,
    },
}

/// The alert that moved a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evidence {
    /// The alert's name.
    pub alertname: String,
    /// All its labels.
    pub labels: Labels,
    /// Since when it fired.
    pub starts_at: Timestamp,
    /// Alertmanager's hash of the labels.
    pub fingerprint: String,
    /// The value of its expression, where a Prometheus said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The Alertmanager that showed it.
    pub seen_at: String,
}

/// Whether the leading master lists a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// How.
    pub state: ListingState,
    /// Since when.
    pub since: Timestamp,
}

/// How the leading master lists a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListingState {
    /// An agent of that name is registered.
    Registered,
    /// The master knows it from the registry and waits for it.
    Recovered,
    /// Not at all: unreachable, gone, or never there. Never "healthy".
    Unlisted,
}

/// An agent as last listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Its id.
    pub id: String,
    /// The address of its `pid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// Its attributes, as text.
    #[serde(default, skip_serializing_if = "LiteMap::is_empty")]
    pub attributes: LiteMap<String, String>,
}

/// One thing that was done to a host, for the document and the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub time: Timestamp,
    /// What.
    pub what: What,
    /// Who: `automation`, or the author of a command.
    pub by: String,
    /// By which rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, in words.
    pub reason: String,
    /// On what evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The version of the document that came of it, known once it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What was done to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It entered the store.
    Enrolled,
    /// It was put back into the whitelist.
    On,
    /// It was taken out of the whitelist.
    Off,
    /// A host that was off got one more cause.
    Cause,
    /// The causes of a host are gone; a person or its default keeps it off.
    Cleared,
    /// A person said something of it that did not change its verdict.
    Said,
    /// A manual event ended by its ttl and that did not change the verdict.
    Expired,
    /// It left the store.
    Retired,
}

/// Who does what no person asked for.
pub const AUTOMATION: &str = "automation";

/// What automation remembers that belongs to no host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Automation {
    schema: u32,
    /// How this store was begun; `None`: not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_start: Option<FirstStart>,
    /// The alerts that hold everything on.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// When automation took hosts off within the last hour.
    #[serde(default)]
    pub offs: Vec<Timestamp>,
    /// What a person has paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// Since when many hosts have been falling sick together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm_since: Option<Timestamp>,
    /// When a person last said that automation should go on: who fell sick
    /// before that makes no storm any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm_dismissed: Option<Timestamp>,
    /// The clock that a person has accepted, although records lie ahead of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_clock: Option<AcceptedClock>,
    /// Keys of other versions, kept as they are.
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Automation {
    /// Instants that the document speaks of as past, the newest among them.
    pub fn instants(&self) -> impl Iterator<Item = Timestamp> {
        let began = self.first_start.as_ref().map(|it| it.at);
        let paused = self.pause.as_ref().map(|it| it.since);
        let held = self.holds.iter().map(|it| it.since);
        let storm = [self.storm_since, self.storm_dismissed];
        let single = [began, paused].into_iter().chain(storm).flatten();
        single.chain(held).chain(self.offs.iter().copied())
    }
}

impl Default for Automation {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            first_start: None,
            holds: Vec::new(),
            offs: Vec::new(),
            pause: None,
            storm_since: None,
            storm_dismissed: None,
            accepted_clock: None,
            other: Map::new(),
        }
    }
}

/// A person's word that the clock is right, and what lies ahead of it was written by
/// one that was wrong. Until it has caught up with that, a clock that is set back once
/// more may not be noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AcceptedClock {
    /// When it was said, by that clock.
    pub at: Timestamp,
    /// The newest record then.
    pub ahead: Timestamp,
}

impl AcceptedClock {
    /// Whether a record of this instant says nothing of the clock.
    #[must_use]
    pub fn excuses(&self, instant: Timestamp) -> bool {
        self.at < instant && instant <= self.ahead
    }
}

/// How a store was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FirstStart {
    /// When.
    pub at: Timestamp,
    /// Whether a whitelist file was there, or what the predecessor had left in the store.
    /// Where one was, a registered host that neither has was taken out on purpose.
    pub had_file: bool,
    /// Until when a host first seen is judged by that file; set when a leading
    /// master first answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopt_until: Option<Timestamp>,
}

/// A person's word that automation should rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Whether nothing is given back either.
    pub all: bool,
    /// Since when.
    pub since: Timestamp,
    /// Until when. A pause always ends: a forgotten one would be a remediator
    /// that is not there.
    pub until: Timestamp,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// An alert that holds everything on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The rule.
    pub rule: String,
    /// The alert's name.
    pub alertname: String,
    /// Since when.
    pub since: Timestamp,
    /// The labels of the alert that began it.
    pub labels: Labels,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn event(state: Verdict, seconds: i64) -> ManualEvent {
        ManualEvent {
            state,
            reason: "disk swap".into(),
            author: "ops".into(),
            time: at(seconds),
            ttl: None,
        }
    }

    #[test]
    fn the_newest_manual_event_decides_and_of_equal_times_the_larger_id() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        document.manual_events.insert("a".into(), event(Verdict::Off, 1));
        assert_eq!(document.verdict(), Verdict::Off);
        document.manual_events.insert("b".into(), event(Verdict::On, 2));
        assert_eq!(document.verdict(), Verdict::On);
        document.manual_events.insert("c".into(), event(Verdict::Off, 2));
        assert_eq!(document.verdict(), Verdict::Off);
    }

    #[test]
    fn i8_without_a_manual_event_a_host_is_on_only_without_causes() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        document.causes.push(Cause::Imported { since: at(0) });
        assert_eq!(document.verdict(), Verdict::Off);
        document.manual_events.insert("a".into(), event(Verdict::On, 1));
        assert_eq!(document.verdict(), Verdict::On);
    }

    #[test]
    fn a_document_survives_storing_with_the_keys_it_does_not_know() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        document.manual_events.insert(
            "a".into(),
            ManualEvent { ttl: Some(Duration::from_secs(90)), ..event(Verdict::Off, 1) },
        );
        document.other.insert("of-tomorrow".into(), serde_json::json!({"disk": {"metric": 3}}));
        let bytes = document.encode();
        let stored: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(stored["manual-flag"], "off");
        assert_eq!(stored["managed-flag"], "on");
        assert_eq!(stored["manual-events"]["a"]["state"], "critical");
        assert_eq!(stored["manual-events"]["a"]["ttl"], 90.0);
        assert_eq!(stored["of-tomorrow"]["disk"]["metric"], 3);
        assert_eq!(HostDocument::decode(&bytes).unwrap(), document);
    }

    #[test]
    fn only_the_last_transitions_are_kept() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        for seconds in 0..50 {
            let before = document.verdict();
            document.default = if before == Verdict::On { Verdict::Off } else { Verdict::On };
            let record = Record {
                time: at(seconds),
                what: What::Off,
                by: AUTOMATION.into(),
                rule: None,
                reason: "test".into(),
                evidence: None,
                version: None,
            };
            document.note_transition(before, &record);
        }
        assert_eq!(document.transitions.len(), MAX_TRANSITIONS);
        assert_eq!(document.transitions.last().unwrap().time, at(49));
    }
}
