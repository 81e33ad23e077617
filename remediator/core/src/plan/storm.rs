//! Storms: when many hosts fall sick together, the trouble is probably not
//! theirs, and taking them off would make a failing network, a bad rule or a
//! dead exporter release into an outage.
//!
//! A host falls sick when a rule's alert begins to fire for it, or when every
//! Prometheus that scrapes it cannot, whichever comes first: a cut-off rack is
//! noticed at its first failed scrape, before any alert has fired.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Block, Known, Round,
    sightings::{OfHost, Sighting, Sightings},
};
use crate::{
    document::Verdict,
    facts::{Prometheus, Scrape},
    host::HostName,
    time::since,
};

/// A storm is over only below this part of its threshold.
const STILL_SICK_DIVISOR: usize = 2;

/// Who falls sick together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StormStatus {
    /// Since when nothing is taken off for it; `None`: there is no storm.
    pub since: Option<Timestamp>,
    /// Who fell sick within `storm.within`, or since the storm began.
    pub fell_sick: BTreeSet<HostName>,
    /// Who is sick now, of those who fell sick while they were on.
    pub still_sick: usize,
    /// How many make a storm.
    pub threshold: usize,
    /// Hosts there are.
    pub inventory: usize,
    /// How many of them share an attribute's value, by attribute and value,
    /// where at least two do.
    pub shared: BTreeMap<(String, String), usize>,
    /// When it is over if nobody else falls sick.
    pub calm_at: Option<Timestamp>,
}

/// A person's word that a storm is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dismissed {
    /// When it was said, by the wall clock: tells one word from the next.
    said: Timestamp,
    /// When, by uptime, this process first saw it; `None`: it was said before this
    /// process was there.
    seen: Option<Duration>,
}

impl StormStatus {
    pub(super) fn block(&self) -> Block {
        let (sick, inventory) = (self.fell_sick.len().max(self.still_sick), self.inventory);
        Block::Storm { sick, inventory, threshold: self.threshold }
    }
}

impl<'a> Round<'a> {
    /// Begins or ends a storm.
    pub(super) fn judge_storm(&mut self, sightings: &Sightings<'a>) {
        self.note_sick(sightings);
        let inventory = self.stock.budget.inventory;
        let policy = self.policy.storm;
        let threshold = policy.hosts(inventory);
        let fell_sick: BTreeSet<HostName> = self.memory.fell_sick.keys().cloned().collect();
        let still_sick = self.memory.sick.len();
        let was_storm = self.automation.storm_since.is_some();
        // After a restart nobody is known to have fallen sick: then calm begins anew.
        let last = self.memory.fell_sick.values().max().copied();
        let calm_at = last.unwrap_or(Duration::ZERO) + policy.calm;
        let is_calm = self.now.uptime >= calm_at && still_sick * STILL_SICK_DIVISOR < threshold;
        if !was_storm && fell_sick.len() >= threshold {
            self.automation.storm_since = Some(self.now.wall);
            self.notes.push(format!(
                "storm begins: {} of {inventory} hosts fell sick together",
                fell_sick.len()
            ));
        } else if was_storm && is_calm {
            self.automation.storm_since = None;
            self.notes.push(format!("storm is over: {still_sick} hosts are still sick"));
        }
        self.storm = StormStatus {
            since: self.automation.storm_since,
            shared: self.shared_attributes(&fell_sick),
            calm_at: self.automation.storm_since.map(|_| self.now.wall_at(calm_at)),
            fell_sick,
            still_sick,
            threshold,
            inventory,
        };
    }

    /// Keeps who is sick, and who fell sick lately.
    fn note_sick(&mut self, sightings: &Sightings<'a>) {
        self.memory.fell_sick = self.former_memory.fell_sick.clone();
        let by_alert = sightings.by_host.iter().filter_map(|OfHost { known, shown }| {
            let shown = shown.iter().filter(|it| it.rule.is_some() && !it.is_suppressed());
            // By the clock of who shows it: ours may be wrong by hours.
            let ago = |it: &Sighting<'_>| since(it.alert.starts_at, it.seen);
            let ago = shown.map(ago).max()?;
            let counts = self.counts_as_sick(&known.host, Some(known), ago);
            counts.then(|| known.host.clone())
        });
        self.memory.sick = by_alert.collect();
        for host in self.silent_hosts() {
            let known = self.known(host.as_str());
            if !self.memory.sick.contains(&host)
                && self.counts_as_sick(&host, known.as_ref(), Duration::ZERO)
            {
                self.memory.sick.insert(host);
            }
        }
        let in_storm = self.automation.storm_since.is_some();
        let dismissed = self.note_dismissal();
        let (within, now) = (self.policy.storm.within, self.now.uptime);
        self.memory.fell_sick.retain(|_, fell| {
            let ago = now.saturating_sub(*fell);
            // While it lasts, a storm keeps all who took part, to be told.
            (in_storm || ago < within) && dismissed.is_none_or(|dismissed| ago < dismissed)
        });
    }

    /// Remembers when a person said that automation should go on, and returns how
    /// long ago that was, as far as this process has seen it: after a restart a
    /// storm is judged anew.
    pub(super) fn note_dismissal(&mut self) -> Option<Duration> {
        let said = self.automation.storm_dismissed?;
        let former = self.former_memory.dismissed.filter(|former| former.said == said);
        let seen = former.map_or_else(
            || {
                // It was said since the last round, whatever the clock says.
                let passed = self.now.uptime.saturating_sub(self.former_memory.last_round?);
                Some(self.now.uptime - since(said, self.now.wall).min(passed))
            },
            |former| former.seen,
        );
        self.memory.dismissed = Some(Dismissed { said, seen });
        seen.map(|seen| self.now.uptime.saturating_sub(seen))
    }

    /// Whether a host counts that is sick, and notes how long ago it fell so as far
    /// as its alerts tell. One that was off before takes no part: nothing would be
    /// done to it.
    fn counts_as_sick(
        &mut self,
        host: &HostName,
        known: Option<&Known<'a>>,
        ago: Duration,
    ) -> bool {
        let was_sick = self.former_memory.sick.contains(host);
        let document = known.map(|known| self.document_of(known));
        let could_go = document.is_some_and(|document| {
            document.verdict() == Verdict::On && self.is_in_inventory(document)
        });
        // What began long before this process did is no news.
        if !was_sick && could_go && ago < self.policy.storm.within {
            let fell = self.now.uptime.saturating_sub(ago);
            self.memory.fell_sick.insert(host.clone(), fell);
        }
        was_sick || could_go
    }

    /// Hosts that no Prometheus can scrape although one tries.
    fn silent_hosts(&self) -> Vec<HostName> {
        let answers = self.facts.prometheus.values().filter_map(|answer| answer.as_ref().ok());
        let all_fail = |scrapes: &Vec<Scrape>| scrapes.iter().all(|scrape| !scrape.up);
        let silent = answers.clone().flat_map(|answer| &answer.up).filter(|(host, scrapes)| {
            let elsewhere = |it: &Prometheus| it.up.get(*host).is_none_or(all_fail);
            !scrapes.is_empty() && all_fail(scrapes) && answers.clone().all(elsewhere)
        });
        silent.filter_map(|(host, _)| host.parse().ok()).collect()
    }

    fn shared_attributes(&self, hosts: &BTreeSet<HostName>) -> BTreeMap<(String, String), usize> {
        let mut shared = BTreeMap::new();
        for document in hosts.iter().filter_map(|host| self.document(host.as_str())) {
            let pairs = document.agents.iter().flat_map(|agent| &agent.attributes);
            let pairs: BTreeSet<_> =
                pairs.map(|(name, value)| (name.clone(), value.clone())).collect();
            for pair in pairs {
                *shared.entry(pair).or_insert(0) += 1;
            }
        }
        shared.retain(|_, count| *count > 1);
        shared
    }
}
