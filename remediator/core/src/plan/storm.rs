//! Storms: when many hosts fall sick together, the trouble is probably not
//! theirs, and taking them off would make a failing network, a bad rule or a
//! dead exporter release into an outage.
//!
//! A host falls sick when a rule's alert begins to fire for it, or when every
//! Prometheus that scrapes it cannot, whichever comes first: a cut-off rack is
//! noticed at its first failed scrape, before any alert has fired. Together are those
//! whose alerts say so, also where nobody looked at the time: a remediator that was
//! down, or cut off as well, sees it when it looks again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Block, Known, Round,
    sightings::{OfHost, Sighting, Sightings},
    watching::{Begun, Moment, longest_gap, passed},
};
use crate::{
    document::{HostDocument, Verdict},
    facts::Prometheus,
    host::HostName,
    time::{Now, later, since},
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
    /// When it is over at the earliest: if nobody else falls sick, and most are well.
    pub calm_at: Option<Timestamp>,
    /// Whether not everything is seen that may fall sick: then it does not end.
    pub unseen: bool,
}

/// What this process knows of who falls sick.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    /// Who is sick, or fell so lately.
    sick: BTreeMap<HostName, Sickness>,
    /// When, by uptime, a round last could not see all that may fall sick.
    unseen: Option<Duration>,
    /// Whether any Prometheus has said yet whom it cannot scrape.
    has_scrapes: bool,
}

/// One host that is sick, or was lately.
#[derive(Debug, Clone, PartialEq)]
struct Sickness {
    /// When it fell sick; `None`: it was silent already when this process first looked, or
    /// looked again.
    fell: Option<Moment>,
    /// When the alert by which it is sick began, as the alert says.
    begun: Option<Timestamp>,
    /// When it was last seen to be sick.
    seen: Now,
    /// Whether it is only that nobody can scrape it.
    is_silence: bool,
    /// Whether it still is.
    lasts: bool,
    /// Whether it takes part in the storm that there is.
    in_storm: bool,
    /// Whether it took part in one that is over: it makes no other.
    is_spent: bool,
}

impl StormStatus {
    pub(super) fn block(&self, since: Timestamp) -> Block {
        Block::Storm {
            since,
            sick: self.still_sick,
            inventory: self.inventory,
            enough: self.threshold.div_ceil(STILL_SICK_DIVISOR),
            unseen: self.unseen,
        }
    }
}

impl<'a> Round<'a> {
    /// Begins or ends a storm.
    pub(super) fn judge_storm(&mut self, special: &[Known<'a>], sightings: &Sightings<'a>) {
        self.note_sick(special, sightings);
        let unseen = self.note_sight();
        let inventory = self.stock.budget.inventory;
        let threshold = self.policy.storm.hosts(inventory);
        let still_sick = self.memory.storm.sick.values().filter(|it| it.lasts).count();
        let calm_in = self.calm_in();
        let is_calm = calm_in.is_zero() && still_sick * STILL_SICK_DIVISOR < threshold;
        let dismissed = self.automation.storm_dismissed;
        let dismissed = dismissed.and_then(|said| self.age_of_dismissal(said));
        let dismissed = dismissed.map(|age| Moment::ago(age, self.now));
        let mut began_it = BTreeSet::new();
        if self.automation.storm_since.is_none() {
            began_it = self.fell_together(dismissed);
            if began_it.len() >= threshold {
                self.automation.storm_since = Some(self.now.wall);
                let count = began_it.len();
                let note = format!("storm begins: {count} of {inventory} hosts fell sick together");
                self.notes.push(note);
            }
        } else if is_calm {
            self.automation.storm_since = None;
            self.notes.push(format!("storm is over: {still_sick} hosts are still sick"));
        }
        self.note_members(&began_it);
        let fell_sick = self.lately_sick();
        let calm_at = later(self.now.wall, calm_in);
        self.storm = StormStatus {
            since: self.automation.storm_since,
            shared: self.shared_attributes(&fell_sick),
            calm_at: self.automation.storm_since.map(|_| calm_at),
            fell_sick,
            still_sick,
            threshold,
            inventory,
            unseen,
        };
    }

    /// Keeps who is sick, and who fell so lately.
    fn note_sick(&mut self, special: &[Known<'a>], sightings: &Sightings<'a>) {
        let mut sick = BTreeMap::new();
        for OfHost { known, shown } in &sightings.by_host {
            if let Some(sickness) = self.sick_by_alert(known, shown) {
                sick.insert(known.host.clone(), sickness);
            }
        }
        for host in self.silent_hosts() {
            let known = self.known(host.as_str()).filter(|_| !sick.contains_key(&host));
            let shown = sightings.of_host(&host);
            if let Some(sickness) = known.and_then(|known| self.sick_by_silence(&known, shown)) {
                sick.insert(host, sickness);
            }
        }
        for (host, former) in self.sick_no_more() {
            sick.entry(host).or_insert(former);
        }
        if self.is_first_look() {
            for (host, sickness) in self.went_off_before(special) {
                sick.entry(host).or_insert(sickness);
            }
        }
        self.memory.storm.sick = sick;
    }

    /// What is known of a host that has an alert, if it takes part: one that was off
    /// before for other reasons does not, since nothing would be done to it.
    fn sick_by_alert(&self, known: &Known<'a>, shown: &[Sighting<'a>]) -> Option<Sickness> {
        let shown = shown.iter().filter(|it| it.rule.is_some() && !it.is_suppressed());
        // By the clock of who shows it: ours may be wrong by hours.
        let age = shown.clone().map(|it| since(it.alert.starts_at, it.seen)).max()?;
        let begun = shown.map(|it| it.alert.starts_at).min();
        let fell = Moment::ago(age, self.now);
        let former = self.was_sick(&known.host);
        let same = former.filter(|it| self.is_the_same(it, begun));
        let document = self.document_of(known);
        let is_concerned = document.verdict() == Verdict::On || is_off_by_alert(document);
        let takes_part = former.is_some() || (is_concerned && self.is_in_inventory(document));
        takes_part.then(|| Sickness {
            fell: same.and_then(|same| same.fell).map_or(Some(fell), |it| Some(it.min(fell))),
            begun,
            seen: self.now,
            is_silence: false,
            lasts: true,
            in_storm: former.is_some_and(|former| former.in_storm),
            is_spent: same.is_some_and(|same| same.is_spent),
        })
    }

    /// What is known of a host that no Prometheus can scrape, if it takes part. One
    /// whose alert a person has silenced does not: somebody knows of it.
    fn sick_by_silence(&self, known: &Known<'a>, shown: &[Sighting<'a>]) -> Option<Sickness> {
        let former = self.was_sick(&known.host);
        let same = former.filter(|it| self.is_the_same(it, None));
        let takes_part = former.is_some() || self.could_go(known);
        let is_known_of = shown.iter().any(Sighting::is_suppressed);
        (takes_part && !is_known_of).then(|| Sickness {
            fell: match same {
                Some(same) => same.fell,
                // Since when it has been silent was for another process to see, or nobody.
                None if former.is_some() || !self.former_memory.storm.has_scrapes => None,
                None => Some(Moment::ago(Duration::ZERO, self.now)),
            },
            begun: same.and_then(|same| same.begun),
            seen: self.now,
            is_silence: true,
            lasts: true,
            in_storm: former.is_some_and(|former| former.in_storm),
            is_spent: same.is_some_and(|same| same.is_spent),
        })
    }

    /// Whether a host that was sick is so still, and not for another time. Where not every
    /// round has seen it, the alert tells, if it has one, by when it began.
    fn is_the_same(&self, former: &Sickness, begun: Option<Timestamp>) -> bool {
        let is_near = passed(former.seen, self.now) <= longest_gap(self.policy);
        let is_next = self.former_memory.last_round == Some(former.seen);
        let Some(begun) = begun else { return is_near };
        let is_that_alert = former.begun.is_some_and(|former| begun <= former);
        is_that_alert || (is_near && (is_next || former.is_silence))
    }

    /// Those of the last round who are not seen to be sick any more; they stay so while not
    /// all is seen that would tell.
    fn sick_no_more(&self) -> Vec<(HostName, Sickness)> {
        let within = self.policy.storm.within;
        let fell_lately = |it: &Sickness| it.fell.is_some_and(|it| it.age(self.now) < within);
        let former = self.former_memory.storm.sick.iter().map(|(host, former)| {
            let is_unseen = if former.is_silence { self.is_unscraped() } else { self.is_unheard() };
            let lasts = former.lasts && is_unseen;
            (host.clone(), Sickness { lasts, ..former.clone() })
        });
        let kept = |it: &Sickness| it.lasts || fell_lately(it) || it.in_storm;
        former.filter(|(_, it)| kept(it)).collect()
    }

    /// Who an earlier process took off, and when that fell sick.
    fn went_off_before(&self, special: &[Known<'a>]) -> Vec<(HostName, Sickness)> {
        let fell = |known: &Known<'a>| {
            let document = self.document_of(known);
            let begun = document.alert_causes().map(|(_, _, evidence)| evidence.starts_at).min()?;
            let fell = Some(Moment::ago(since(begun, self.now.wall), self.now));
            let sickness = Sickness {
                fell,
                begun: None,
                seen: self.now,
                is_silence: false,
                lasts: false,
                in_storm: false,
                is_spent: false,
            };
            is_off_by_alert(document).then(|| (known.host.clone(), sickness))
        };
        special.iter().filter_map(fell).collect()
    }

    /// Whether this process has not judged anything yet.
    fn is_first_look(&self) -> bool {
        self.former_memory.watch.is_none()
    }

    fn was_sick(&self, host: &HostName) -> Option<&Sickness> {
        self.former_memory.storm.sick.get(host).filter(|former| former.lasts)
    }

    fn could_go(&self, known: &Known<'a>) -> bool {
        let document = self.document_of(known);
        document.verdict() == Verdict::On && self.is_in_inventory(document)
    }

    /// Whether not everything is seen that may fall sick, which keeps a storm going: it
    /// may well be what cuts the way to those who would tell.
    fn note_sight(&mut self) -> bool {
        let former = &self.former_memory.storm;
        let unseen = self.is_unscraped() || self.is_unheard();
        self.memory.storm.unseen = if unseen { Some(self.now.uptime) } else { former.unseen };
        self.memory.storm.has_scrapes = former.has_scrapes || !self.witnesses.is_empty();
        unseen
    }

    /// Whether some host may be silent unseen.
    fn is_unscraped(&self) -> bool {
        self.witnesses.len() < self.facts.prometheus.len()
    }

    /// Whether some alert may fire unseen.
    fn is_unheard(&self) -> bool {
        self.peers.values().any(|peer| peer.believed().is_err())
    }

    /// How long nobody may fall sick any more before it is calm.
    fn calm_in(&self) -> Duration {
        let seen = &self.memory.storm;
        let last = seen.sick.values().filter_map(|it| it.fell).max();
        let quiet = last.map_or(Duration::MAX, |last| last.age(self.now));
        let seen_since = seen.unseen.unwrap_or_default().max(self.watch.since);
        let seen_for = self.now.uptime.saturating_sub(seen_since);
        self.policy.storm.calm.saturating_sub(quiet.min(seen_for))
    }

    /// The most hosts that fell sick within `storm.within` of each other, whenever that
    /// was. Those of a storm that is over are left out, and those that were sick when a
    /// person said that automation should go on.
    fn fell_together(&self, dismissed: Option<Moment>) -> BTreeSet<HostName> {
        let counts = |fell: &Moment| dismissed.is_none_or(|dismissed| *fell > dismissed);
        let sick = self.memory.storm.sick.iter().filter(|(_, it)| !it.is_spent);
        let falls = sick.filter_map(|(host, it)| Some((it.fell.filter(counts)?, host)));
        let mut falls: Vec<(Moment, &HostName)> = falls.collect();
        falls.sort();
        let (mut begin, mut most) = (0, 0..0);
        for end in 0..falls.len() {
            while falls[end].0.after(falls[begin].0) >= self.policy.storm.within {
                begin += 1;
            }
            if end + 1 - begin > most.len() {
                most = begin..end + 1;
            }
        }
        falls[most].iter().map(|(_, host)| (*host).clone()).collect()
    }

    /// Who takes part in the storm, if there is one: those who began it, and whoever is
    /// sick or falls so while it lasts. Once it is over they make no other.
    fn note_members(&mut self, began_it: &BTreeSet<HostName>) {
        let since = self.automation.storm_since;
        let age = since.map(|since| self.age_of(Begun::Storm, since));
        let is_first = self.is_first_look();
        for (host, sickness) in &mut self.memory.storm.sick {
            let Some(age) = age else {
                sickness.is_spent |= std::mem::take(&mut sickness.in_storm);
                continue;
            };
            let fell_since = sickness.fell.is_some_and(|fell| fell.age(self.now) <= age);
            let joins = fell_since || began_it.contains(host) || (is_first && sickness.lasts);
            sickness.in_storm |= joins && !sickness.is_spent;
        }
    }

    /// Who takes part in the storm, or would if it were one.
    fn lately_sick(&self) -> BTreeSet<HostName> {
        let is_storm = self.automation.storm_since.is_some();
        let within = self.policy.storm.within;
        let lately = |it: &Sickness| it.fell.is_some_and(|it| it.age(self.now) < within);
        let sick = self.memory.storm.sick.iter();
        let lately = sick.filter(|(_, it)| if is_storm { it.in_storm } else { lately(it) });
        lately.map(|(host, _)| host.clone()).collect()
    }

    /// Hosts that no Prometheus can scrape although one tries.
    fn silent_hosts(&self) -> Vec<HostName> {
        let answers = self.facts.prometheus.values().filter_map(|answer| answer.as_ref().ok());
        let silent = answers.clone().flat_map(|answer| &answer.up).filter(|(host, scrapes)| {
            let elsewhere = |it: &Prometheus| it.up.get(*host).is_none_or(|it| !it.any_up);
            !scrapes.any_up && answers.clone().all(elsewhere)
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

/// Whether it is off because of alerts, and not because somebody said so.
fn is_off_by_alert(document: &HostDocument) -> bool {
    document.ruling_event().is_none() && document.alert_causes().next().is_some()
}
