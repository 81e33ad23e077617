//! The decision: facts, documents, a policy and the time in; a [`Plan`] out.
//!
//! One call is one round. It decides from levels, never from edges: what fires
//! *now*, what is scraped *now*, what the leading master lists *now*. Missing a
//! round, or being told twice, changes nothing.
//!
//! The steps of [`plan`] are the modules, in this order: [`rest`] (whether there
//! is to be any deciding), [`inventory`] (who is there; at the
//! first start also [`inheriting`], what the predecessor has left), [`retiring`] (who is no
//! more), [`stock`] (how many there are, and who is not simply on), [`sightings`]
//! (which alerts are whose), [`absence`] (what is believed to be gone), [`holds`] and
//! [`storm`] (what stops everything), [`returning`] (who comes back, on whose
//! [`evidence`]), [`leaving`] (who is taken out, and what stands in the way).
//!
//! What only this process can know, such as how long it has watched something,
//! is [`Memory`]: handed in, handed back, lost at a restart. Losing it makes
//! every wait begin again, which errs to the side of doing nothing.

mod absence;
mod evidence;
mod holds;
mod inheriting;
mod inventory;
mod leaving;
mod rest;
mod retiring;
mod returning;
mod sightings;
mod stock;
mod storm;
#[cfg(test)]
mod tests;
mod watching;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    document::{Automation, HostDocument, Record, Verdict},
    facts::Facts,
    host::HostName,
    policy::Policy,
    predecessor::Inherited,
    time::Now,
};
use absence::AlertKey;
pub use holds::HoldStatus;
pub(crate) use rest::records;
pub use storm::StormStatus;
pub use watching::longest_gap;

/// How far back the hourly rate looks.
const HOUR: Duration = Duration::from_secs(3600);

/// What is remembered: the documents as the store has them.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Every host's document.
    pub hosts: &'a BTreeMap<HostName, HostDocument>,
    /// Automation's own document.
    pub automation: &'a Automation,
    /// What the predecessor has left in the store, by host: nothing once the store is begun.
    pub inherited: &'a BTreeMap<HostName, Inherited>,
}

/// What this process knows from having watched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Since when somebody may have said something that no round has seen yet.
    began: Option<Now>,
    /// When the last round was.
    last_round: Option<Now>,
    /// The rounds since which everything below has been watched without a break.
    watch: Option<watching::Watch>,
    /// When it began, by this process's clock, what the documents tell of by another;
    /// `None`: it began before this process, and no clock but ours has been seen since.
    begun: BTreeMap<(watching::Begun, Timestamp), Option<watching::Moment>>,
    /// Since when each source has been blind.
    blind_since: BTreeMap<String, Timestamp>,
    /// What was watched of each alert that shows or whose absence matters.
    alerts: BTreeMap<AlertKey, absence::Watched>,
    /// When each Prometheus answered again after being away, by its own clock.
    prometheus_back: BTreeMap<String, Timestamp>,
    /// When the first good scrape of the present run of them was seen, by host and
    /// Prometheus.
    well_since: BTreeMap<HostName, BTreeMap<String, Timestamp>>,
    /// The alert of a host that is off that was kept quiet, and when by uptime it was last
    /// seen so.
    kept_quiet: BTreeMap<HostName, (String, Duration)>,
    /// Since when, by uptime, this process has seen a host off.
    off_since: BTreeMap<HostName, returning::OffSince>,
    /// Who falls sick.
    storm: storm::Seen,
}

/// What is to be done, complete: an executor has nothing left to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The documents to write, with what to put on record.
    pub changes: BTreeMap<HostName, Change>,
    /// Automation's own document, if it is to be written.
    pub automation: Option<Automation>,
    /// Hosts whose document is to be removed.
    pub retired: BTreeMap<HostName, Record>,
    /// What automation did that concerns no single host, in words.
    pub notes: Vec<String>,
    /// What to hand to the next round.
    pub memory: Memory,
    /// What is to be said of each host that is not simply on.
    pub outlooks: BTreeMap<HostName, Outlook>,
    /// Sources that cannot be believed.
    pub blind: Vec<Blindness>,
    /// The holds there are.
    pub holds: Vec<HoldStatus>,
    /// The storm, and who takes part in it.
    pub storm: StormStatus,
    /// The budget after this plan; what comes back by it still counts as away.
    pub budget: Budget,
    /// Alerts that a rule acts upon and that name no host of the inventory.
    pub unmatched: BTreeSet<Unmatched>,
    /// Names that agents registered with and that cannot stand in a whitelist.
    pub unlistable: BTreeSet<String>,
}

impl Plan {
    /// Whether it takes any host out: then the alerts are read once more first.
    #[must_use]
    pub fn takes_off(&self) -> bool {
        self.changes.values().any(|change| change.rests_on_alert)
    }
}

/// One document to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The new document.
    pub document: HostDocument,
    /// What was done, for the journal; none for mere bookkeeping.
    pub records: Vec<Record>,
    /// Whether it takes the host off because an alert fires.
    pub rests_on_alert: bool,
}

/// What is to be said of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outlook {
    /// What stands between the host and its next change.
    pub blocked_by: Vec<Block>,
    /// When a wait of the host ends; `None`: it waits for no time, only for facts.
    pub next: Option<Timestamp>,
}

impl Outlook {
    fn block(&mut self, block: Block) {
        self.blocked_by.push(block);
    }

    fn wait(&mut self, until: Timestamp, block: Block) {
        self.next = Some(self.next.map_or(until, |next| next.min(until)));
        self.block(block);
    }
}

/// One thing that stands in the way of a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Block {
    /// A person said so.
    #[error("manual {verdict} by {author}: {reason}")]
    Manual {
        /// What was said.
        verdict: Verdict,
        /// By whom.
        author: String,
        /// Why.
        reason: String,
    },
    /// Nobody knows which hosts there are.
    #[error("no leading master: {0}")]
    NoLeader(String),
    /// No master has had the host for long.
    #[error(
        "the leading master does not list this host, and no master has for whitelist.retire_after"
    )]
    NotInInventory,
    /// Nobody has ever seen it: a name out of an old file, or mistyped.
    #[error("no leading master has ever listed an agent of this name")]
    NeverListed,
    /// The rule wants the alert to fire for longer.
    #[error("{alertname} has fired for {} of the {} that rule {rule} wants", crate::time::brief(*fired), crate::time::brief(*needed))]
    FiresTooShort {
        /// The alert.
        alertname: String,
        /// The rule.
        rule: String,
        /// Counted so far.
        fired: Duration,
        /// Wanted.
        needed: Duration,
    },
    /// It fires, but who shows it cannot be believed.
    #[error("how long {alertname} fires is not counted: {peer} {why}")]
    NotCounted {
        /// The alert.
        alertname: String,
        /// The Alertmanager.
        peer: String,
        /// What is missing.
        why: String,
    },
    /// A person or another alert keeps it quiet: the host is left as it is.
    #[error("{alertname} is {why} at {peer}: the host stays as it is until that ends")]
    Suppressed {
        /// The alert.
        alertname: String,
        /// Silenced, inhibited or muted, and by what.
        why: String,
        /// The Alertmanager.
        peer: String,
    },
    /// The cluster is in trouble.
    #[error("hold by {alertname} (rule {rule}), so that nothing is taken off: {note}")]
    Hold {
        /// The alert.
        alertname: String,
        /// The rule.
        rule: String,
        /// Why it holds now: it need not fire any more.
        note: String,
    },
    /// A person has paused automation.
    #[error("paused by {by} until {until:.0}: {reason}")]
    Paused {
        /// Who.
        by: String,
        /// Until when.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// The clock shows less than the documents have seen.
    #[error(
        "the clock was set back; automation rests until it is {0:.0} again, or until \
         `satctl resume` says that it is right"
    )]
    ClockSetBack(Timestamp),
    /// Many hosts fall sick together.
    #[error(
        "storm since {since:.0}: hosts fell sick together, and {sick} of {inventory} are sick; \
         nothing is taken off until fewer than {enough} are and nobody has fallen sick for \
         policy.storm.calm{}, or `satctl resume`",
        if *unseen { ", which nobody can tell while a source is blind" } else { "" }
    )]
    Storm {
        /// Since when.
        since: Timestamp,
        /// How many are sick now, as far as is seen.
        sick: usize,
        /// Hosts there are.
        inventory: usize,
        /// How many must not be sick any more.
        enough: usize,
        /// Whether not everything is seen.
        unseen: bool,
    },
    /// Too many of its kind are away.
    #[error(
        "budget: {away} hosts with {attribute} = {value} are away already and \
         policy.budget.per_attribute allows {limit}"
    )]
    AttributeBudget {
        /// The attribute.
        attribute: String,
        /// The value that they share.
        value: String,
        /// How many of them are away.
        away: usize,
        /// How many may be.
        limit: usize,
    },
    /// It fell sick again and again.
    #[error(
        "it was taken off again {relapses} times within policy.relapse.within and stays off \
         until a person says otherwise: `satctl on`"
    )]
    GaveUp {
        /// How often.
        relapses: usize,
    },
    /// Too many are away.
    #[error(
        "budget: {away} of {inventory} hosts are away already and policy.budget.max_off allows {limit}"
    )]
    Budget {
        /// Hosts that are off, unreachable or inactive.
        away: usize,
        /// Hosts there are.
        inventory: usize,
        /// Hosts that may be away.
        limit: usize,
    },
    /// Too many went within the hour.
    #[error(
        "budget: {offs} hosts were taken off within the last hour and \
         policy.budget.max_off_per_hour allows {limit}"
    )]
    HourlyRate {
        /// Hosts that went; more than may go where a reload has lowered the limit.
        offs: usize,
        /// Hosts that may go in an hour.
        limit: usize,
    },
    /// Too few would be left.
    #[error("floor: {on} hosts are on and whitelist.min_hosts wants {floor} to stay")]
    MinHosts {
        /// Hosts that are on.
        on: usize,
        /// Hosts that must be.
        floor: usize,
    },
    /// It was there before this store.
    #[error(
        "it was not in the whitelist when Satellite began, or in what was imported: `satctl on` \
         lists it"
    )]
    Imported,
    /// It is new, and new hosts start off.
    #[error("new hosts wait for a person here (whitelist.new_hosts): `satctl on` lists it")]
    OffByDefault,
    /// The alert that took it off is still there.
    #[error("{alertname} fires at {peer}")]
    Fires {
        /// The alert.
        alertname: String,
        /// The Alertmanager.
        peer: String,
    },
    /// It is not there, but that proves nothing.
    #[error("{alertname} is not shown any more, but its end is not believed: {why}")]
    Doubt {
        /// The alert.
        alertname: String,
        /// What is missing.
        why: String,
    },
    /// Nobody knows what an Alertmanager would say of it.
    #[error("{peer} {why}: it may have an alert of this host")]
    Unheard {
        /// The Alertmanager.
        peer: String,
        /// What is missing.
        why: String,
    },
    /// It has not been gone for long enough.
    #[error("{alertname} must stay gone for policy.clear_for, until {until:.0}")]
    ClearFor {
        /// The alert.
        alertname: String,
        /// When it will have been.
        until: Timestamp,
    },
    /// No Prometheus says that the host is well.
    #[error("no Prometheus says that it is well: {0}")]
    NoEvidence(String),
    /// It cannot take tasks anyway.
    #[error("its agent is not registered with the leading master")]
    NotRegistered,
    /// The master does not offer it.
    #[error("its agent is not active at the leading master")]
    NotActive,
    /// It has not been off for long enough.
    #[error("it stays off for min_off, until {0:.0}")]
    MinOff(Timestamp),
    /// Right after a start nothing expires.
    #[error("the manual event has expired; nothing expires until {0:.0}, shortly after the start")]
    JustStarted(Timestamp),
}

/// A source that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blindness {
    /// Which: `mesos`, `alertmanager/URL`, `prometheus/URL`, `watchdog/{…}`, `whitelist`.
    pub source: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// How many hosts may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Hosts there are.
    pub inventory: usize,
    /// Hosts that may be away.
    pub limit: usize,
    /// Hosts that are off, unreachable or inactive, for whatever reason.
    pub away: usize,
    /// Hosts that automation took off within the last hour.
    pub offs_last_hour: usize,
    /// Hosts that are on.
    pub on: usize,
    /// Hosts that must be.
    pub floor: usize,
}

impl Budget {
    /// How many more hosts may go now.
    #[must_use]
    pub fn remaining(&self, policy: &Policy) -> usize {
        self.limit
            .saturating_sub(self.away)
            .min(policy.max_off_per_hour.saturating_sub(self.offs_last_hour))
            .min(self.on.saturating_sub(self.floor))
    }
}

/// An alert that a rule acts upon and that names no host of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmatched {
    /// The alert's name.
    pub alertname: String,
    /// What its host label says; empty where it has none.
    pub host: String,
    /// A host whose name differs in case or domain only.
    pub near_miss: Option<HostName>,
}

/// Decides one round.
#[must_use]
pub fn plan(facts: &Facts, state: State<'_>, policy: &Policy, memory: &Memory, now: Now) -> Plan {
    let mut round = Round::new(facts, state, policy, memory, now);
    round.name_blind_alertmanagers();
    round.judge_prometheus();
    round.note_begun();
    // Before a store is begun nobody could say that the clock is right.
    if round.is_begun()
        && let Some(latest) = round.clock_was_set_back()
    {
        return round.rest(latest);
    }
    round.memory.watch = Some(round.watch);
    round.end_pause();
    round.forget_what_is_over();
    round.take_inventory();
    if !round.is_begun() {
        // Whatever were written now would make a store that nobody has begun.
        let sightings = sightings::sort(&round);
        return round.finish(sightings);
    }
    round.retire_hosts();
    let special = round.take_stock();
    let sightings = sightings::sort(&round);
    round.remember_alerts(&special, &sightings);
    round.judge_holds(&sightings);
    round.judge_storm(&special, &sightings);
    round.judge_returning(&special, &sightings);
    round.count_special(&special);
    round.judge_leaving(&sightings);
    round.finish(sightings)
}

/// A host that was looked for and found: to look for it once more among very many
/// takes longer than most of what is done with it.
#[derive(Clone)]
struct Known<'a> {
    host: HostName,
    /// Its document in the store; the round may have changed it, or made the first.
    stored: Option<&'a HostDocument>,
}

/// The working state of one round.
struct Round<'a> {
    facts: &'a Facts,
    policy: &'a Policy,
    now: Now,
    hosts: &'a BTreeMap<HostName, HostDocument>,
    inherited: &'a BTreeMap<HostName, Inherited>,
    changes: BTreeMap<HostName, Change>,
    former_automation: &'a Automation,
    automation: Automation,
    /// What may be relied upon of what was remembered.
    former_memory: Cow<'a, Memory>,
    watch: watching::Watch,
    memory: Memory,
    outlooks: BTreeMap<HostName, Outlook>,
    blind: BTreeMap<String, String>,
    retired: BTreeMap<HostName, Record>,
    notes: Vec<String>,
    /// When the pause ends, if there is one.
    pause_ends: Timestamp,
    holds: Vec<HoldStatus>,
    storm: StormStatus,
    stock: stock::Stock,
    /// What each Alertmanager's silence is worth.
    peers: BTreeMap<&'a str, absence::Peer>,
    /// Documents of hosts that the leading master does not list.
    unlisted: Vec<(&'a HostName, &'a HostDocument)>,
    /// Hosts that the leading master lists but does not offer.
    inactive: BTreeSet<&'a str>,
    /// What each Prometheus that answers has to say.
    witnesses: BTreeMap<&'a str, evidence::Witness<'a>>,
    unlistable: BTreeSet<String>,
}

impl<'a> Round<'a> {
    fn is_begun(&self) -> bool {
        self.automation.first_start.is_some()
    }

    fn new(
        facts: &'a Facts,
        state: State<'a>,
        policy: &'a Policy,
        memory: &'a Memory,
        now: Now,
    ) -> Self {
        let (former_memory, watch) = memory.to_rely_on(policy, now);
        let answers = facts.alertmanagers.iter();
        let peers = answers.map(|(url, it)| (url.as_str(), absence::Peer::look(it, policy, now)));
        Self {
            facts,
            policy,
            now,
            hosts: state.hosts,
            inherited: state.inherited,
            changes: BTreeMap::new(),
            former_automation: state.automation,
            automation: state.automation.clone(),
            former_memory,
            watch,
            memory: Memory { last_round: Some(now), ..Memory::default() },
            outlooks: BTreeMap::new(),
            blind: BTreeMap::new(),
            retired: BTreeMap::new(),
            notes: Vec::new(),
            pause_ends: now.wall,
            holds: Vec::new(),
            storm: StormStatus::default(),
            stock: stock::Stock::default(),
            peers: peers.collect(),
            unlisted: Vec::new(),
            inactive: BTreeSet::new(),
            witnesses: BTreeMap::new(),
            unlistable: BTreeSet::new(),
        }
    }

    /// The host of that name, if there is one in this round so far.
    fn known(&self, host: &str) -> Option<Known<'a>> {
        let stored = self.hosts.get_key_value(host).filter(|_| !self.retired.contains_key(host));
        if let Some((host, stored)) = stored {
            return Some(Known { host: host.clone(), stored: Some(stored) });
        }
        let (host, _) = self.changes.get_key_value(host)?;
        Some(Known { host: host.clone(), stored: None })
    }

    /// A host's document as this round has it so far.
    fn document(&self, host: &str) -> Option<&HostDocument> {
        let changed = self.changes.get(host).map(|change| &change.document);
        changed.or_else(|| self.hosts.get(host).filter(|_| !self.retired.contains_key(host)))
    }

    /// The same of a host that is known.
    fn document_of(&self, known: &Known<'a>) -> &HostDocument {
        let changed = self.changes.get(&known.host).map(|change| &change.document);
        changed.or(known.stored).expect("a host is known by its document")
    }

    /// The same, to be kept while this round goes on: a copy only where the round
    /// has changed it.
    fn document_to_keep(&self, known: &Known<'a>) -> Cow<'a, HostDocument> {
        match (self.changes.get(&known.host), known.stored) {
            (None, Some(stored)) => Cow::Borrowed(stored),
            _ => Cow::Owned(self.document_of(known).clone()),
        }
    }

    /// Every document as this round has it so far.
    fn documents(&self) -> impl Iterator<Item = (&HostName, &HostDocument)> {
        let gone =
            |host: &HostName| self.changes.contains_key(host) || self.retired.contains_key(host);
        let known = self.hosts.iter().filter(move |(host, _)| !gone(host));
        known.chain(self.changes.iter().map(|(host, change)| (host, &change.document)))
    }

    /// Changes a host's document and puts `record` down; the transition, if it
    /// is one, goes into the document as well.
    fn change(
        &mut self,
        host: &HostName,
        edit: impl FnOnce(&mut HostDocument),
        record: Option<Record>,
    ) {
        let change = self.changes.entry(host.clone()).or_insert_with(|| Change {
            document: self
                .hosts
                .get(host)
                .cloned()
                .unwrap_or_else(|| HostDocument::new(Verdict::On, self.now.wall)),
            records: Vec::new(),
            rests_on_alert: false,
        });
        let before = change.document.verdict();
        edit(&mut change.document);
        if let Some(record) = record {
            change.document.note_transition(before, &record);
            change.records.push(record);
        }
    }

    fn blind(&mut self, source: String, reason: String) {
        self.blind.entry(source).or_insert(reason);
    }

    fn finish(mut self, sightings: sightings::Sightings<'_>) -> Plan {
        let blind = std::mem::take(&mut self.blind)
            .into_iter()
            .map(|(source, reason)| {
                let known = self.former_memory.blind_since.get(&source);
                let since = known.copied().unwrap_or(self.now.wall);
                self.memory.blind_since.insert(source.clone(), since);
                Blindness { source, reason, since }
            })
            .collect();
        let unchanged = self.automation == *self.former_automation;
        Plan {
            changes: self.changes,
            automation: (!unchanged).then_some(self.automation),
            retired: self.retired,
            notes: self.notes,
            memory: self.memory,
            outlooks: self.outlooks,
            blind,
            holds: self.holds,
            storm: self.storm,
            budget: self.stock.budget,
            unmatched: sightings.unmatched,
            unlistable: self.unlistable,
        }
    }
}
