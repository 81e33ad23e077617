//! Who is taken out, and what stands in the way.
//!
//! Candidates are taken in the order in which their alerts began, so that a
//! budget goes to those who have been sick the longest.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    AlertKey, Block, Outlook, Round,
    returning::OffSince,
    sightings::{self, OfHost, Sighting, Sightings},
    watching::Begun,
};
use crate::{
    document::{Cause, HostDocument, Verdict, What},
    host::HostName,
    policy::Rule,
    time::{later, since},
};

/// A host that a rule would take out.
struct Candidate<'s, 'a> {
    host: &'s HostName,
    document: Cow<'a, HostDocument>,
    since: Timestamp,
    shown: &'s [Sighting<'a>],
}

/// How long an alert has fired for one rule, by the Alertmanager that counts most.
struct Firing<'a> {
    rule: &'a Rule,
    sighting: Sighting<'a>,
    fired: Duration,
    /// Why the time of this round does not count, if so.
    doubt: Option<String>,
}

impl Firing<'_> {
    /// Who counts as much and is believed shows that the count goes on.
    fn rank(&self) -> (Duration, bool) {
        (self.fired, self.doubt.is_none())
    }

    /// What is to be said while the rule wants its alert to fire for longer.
    fn too_short(&self, needed: Duration) -> impl Iterator<Item = Block> {
        let Self { sighting: Sighting { peer, alertname, .. }, fired, .. } = *self;
        let (alertname, rule) = (alertname.to_owned(), self.rule.name.clone());
        let not_counted = self.doubt.clone().map(|why| Block::NotCounted {
            alertname: alertname.clone(),
            peer: peer.to_owned(),
            why,
        });
        let short = Block::FiresTooShort { alertname, rule, fired, needed };
        [short].into_iter().chain(not_counted)
    }
}

impl<'a> Round<'a> {
    /// Takes out the candidates that pass every gate.
    pub(super) fn judge_leaving(&mut self, sightings: &Sightings<'a>) {
        let mut candidates = self.candidates(sightings);
        candidates.sort_by_key(|candidate| (candidate.since, candidate.host));
        let mut outlooks = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            let mut outlook = self.outlooks.remove(candidate.host).unwrap_or_default();
            let ready = self.ready(&candidate, &mut outlook);
            if let Some((rule, sighting)) = ready
                && self.passes_gates(&candidate, &mut outlook)
                && outlook.blocked_by.is_empty()
            {
                self.take_off(&candidate, rule, &sighting);
            }
            outlooks.push((candidate.host.clone(), outlook));
        }
        self.outlooks.append(&mut BTreeMap::from_iter(outlooks));
    }

    fn candidates<'s>(&self, sightings: &'s Sightings<'a>) -> Vec<Candidate<'s, 'a>> {
        let candidate = |OfHost { known, shown }: &'s OfHost<'a>| {
            let acted_upon = shown.iter().filter(|sighting| sighting.rule.is_some());
            let since = acted_upon.map(|sighting| sighting.alert.starts_at).min()?;
            let document = self.document_to_keep(known);
            let is_on = document.verdict() == Verdict::On;
            is_on.then_some(Candidate { host: &known.host, document, since, shown })
        };
        sightings.by_host.iter().filter_map(candidate).collect()
    }

    /// The first alert of the candidate that has fired for long enough, if no
    /// alert of it is suppressed.
    fn ready(
        &mut self,
        candidate: &Candidate<'_, 'a>,
        outlook: &mut Outlook,
    ) -> Option<(&'a Rule, Sighting<'a>)> {
        let mut ready = None;
        let mut short = Vec::new();
        outlook.blocked_by.extend(sightings::freezes(candidate.shown));
        for (alertname, alert) in sightings::by_alert(candidate.shown) {
            // Nor is its time under a silence counted.
            if alert.iter().any(Sighting::is_suppressed) {
                continue;
            }
            let key = AlertKey::of_host(candidate.host, alertname);
            let counts = self.count_firing(&key, alert);
            for firing in &counts {
                let needed = sightings::wanted_firing(firing.rule);
                if firing.fired >= needed {
                    ready = ready.or(Some((firing.rule, firing.sighting)));
                } else {
                    short.extend(firing.too_short(needed));
                }
            }
            let fired_for = counts.iter().map(|it| (it.rule.name.clone(), it.fired)).collect();
            self.memory.alerts.entry(key).or_default().fired_for = fired_for;
        }
        if ready.is_none() {
            outlook.blocked_by.extend(short);
        }
        ready
    }

    /// How long an alert has fired for each rule that acts upon it. Alerts of one name
    /// may have different rules: what fired for one has not fired for the other.
    fn count_firing(&self, key: &AlertKey, alert: &[Sighting<'a>]) -> Vec<Firing<'a>> {
        let former = self.former_memory.alerts.get(key);
        let mut counts: Vec<Firing<'a>> = Vec::new();
        for &sighting in alert {
            let Some(rule) = sighting.rule else { continue };
            let former = former.and_then(|it| it.fired_for.get(&rule.name)).copied();
            let firing = self.count_round(former, rule, sighting);
            match counts.iter_mut().find(|it| it.rule.name == rule.name) {
                Some(best) if best.rank() < firing.rank() => *best = firing,
                Some(_) => {}
                None => counts.push(firing),
            }
        }
        counts
    }

    /// Adds the time since the last round to an alert's count, unless the
    /// Alertmanager that shows it cannot be believed.
    fn count_round(
        &self,
        former: Option<Duration>,
        rule: &'a Rule,
        sighting: Sighting<'a>,
    ) -> Firing<'a> {
        let doubt = self.peers.get(sighting.peer).and_then(|it| it.believed().err());
        let last_round = self.former_memory.last_round.unwrap_or(self.now);
        let passed = self.now.uptime.saturating_sub(last_round.uptime);
        let fired = match former {
            Some(counted) if doubt.is_none() => counted + passed,
            counted => counted.unwrap_or_default(),
        };
        Firing { rule, sighting, fired, doubt }
    }

    /// Every gate is asked, so that a person sees all that stands in the way.
    fn passes_gates(&self, candidate: &Candidate<'_, 'a>, outlook: &mut Outlook) -> bool {
        let blocks_before = outlook.blocked_by.len();
        if let Err(reason) = &self.facts.mesos {
            outlook.block(Block::NoLeader(reason.clone()));
        }
        if !candidate.document.was_ever_listed() {
            outlook.block(Block::NeverListed);
        } else if !self.is_in_inventory(&candidate.document) {
            outlook.block(Block::NotInInventory);
        }
        if let Some((until, block)) = self.pause_block(false) {
            outlook.wait(until, block);
        }
        if let Some(since) = self.storm.since {
            outlook.block(self.storm.block(since));
        }
        for hold in self.holds.iter().filter(|hold| hold.blocks) {
            match hold.blocks_until {
                Some(until) => outlook.wait(until, hold.block()),
                None => outlook.block(hold.block()),
            }
        }
        self.ask_budget(candidate.host, &candidate.document, outlook);
        outlook.blocked_by.len() == blocks_before
    }

    fn ask_budget(&self, host: &HostName, document: &HostDocument, outlook: &mut Outlook) {
        let budget = self.stock.budget;
        // The candidate itself may be unreachable and thus counted already.
        let counted = self.is_in_inventory(document) && !self.is_reachable(host, document);
        let others_away = budget.away - usize::from(counted);
        if others_away + 1 > budget.limit {
            let (inventory, limit) = (budget.inventory, budget.limit);
            outlook.block(Block::Budget { away: others_away, inventory, limit });
        }
        for (attribute, value) in self.limited_groups(document) {
            let limit = self.policy.per_attribute.get(attribute).copied().unwrap_or(usize::MAX);
            let away = self.stock.away_with(attribute, value) - usize::from(counted);
            if away + 1 > limit {
                let (attribute, value) = (attribute.to_owned(), value.to_owned());
                outlook.block(Block::AttributeBudget { attribute, value, away, limit });
            }
        }
        self.ask_hourly_rate(outlook);
        if budget.on <= budget.floor {
            outlook.block(Block::MinHosts { on: budget.on, floor: budget.floor });
        }
    }

    fn ask_hourly_rate(&self, outlook: &mut Outlook) {
        let limit = self.policy.max_off_per_hour;
        let mut offs = self.automation.offs.clone();
        let Some(beyond) = offs.len().checked_sub(limit) else { return };
        offs.sort_unstable();
        let block = Block::HourlyRate { offs: offs.len(), limit };
        // Those beyond the limit free no place when their hour is over, but the next one
        // does; a limit of none has no place at all.
        match offs.get(beyond) {
            Some(&off) => {
                let left = super::HOUR.saturating_sub(self.age_of(Begun::Off, off));
                outlook.wait(later(self.now.wall, left), block);
            }
            None => outlook.block(block),
        }
    }

    fn take_off(&mut self, candidate: &Candidate<'_, 'a>, rule: &Rule, sighting: &Sighting<'_>) {
        let Candidate { host, ref document, .. } = *candidate;
        let evidence = sightings::evidence(self, sighting);
        let value = evidence.value.as_ref().map_or(String::new(), |value| format!(" = {value}"));
        let reason = format!("{}{value} fires at {}", evidence.alertname, sighting.peer);
        let mut record = self.record(What::Off, &reason);
        record.rule = Some(rule.name.clone());
        record.evidence = Some(evidence.clone());
        let (now, within) = (self.now.wall, self.policy.relapse.within);
        let cause = Cause::Alert { rule: rule.name.clone(), since: now, evidence };
        let edit = |document: &mut HostDocument| {
            document.causes.push(cause);
            document.taken_off.retain(|&off| since(off, now) < within);
            document.taken_off.push(now);
        };
        self.change(host, edit, Some(record));
        if let Some(change) = self.changes.get_mut(host) {
            change.rests_on_alert = true;
        }
        self.automation.offs.push(self.now.wall);
        let off = OffSince { said: Some(self.now.wall), seen: self.now.uptime };
        self.memory.off_since.insert(host.clone(), off);
        self.stock.budget.offs_last_hour += 1;
        self.stock.budget.on -= 1;
        if self.is_reachable(host, document) {
            self.stock.note_away(&self.limited_groups(document));
        }
    }
}
