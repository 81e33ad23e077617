//! Who is taken out, and what stands in the way.
//!
//! Candidates are taken in the order in which their alerts began, so that a
//! budget goes to those who have been sick the longest.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    AlertKey, Block, Outlook, Round, Subject,
    sightings::{self, Sighting, Sightings},
};
use crate::{
    document::{Cause, HostDocument, Verdict, What},
    host::HostName,
    policy::{Action, Rule},
    time::{later, since},
};

/// A host that a rule would take out.
struct Candidate<'a> {
    host: HostName,
    since: Timestamp,
    alerts: Vec<(AlertKey, &'a Rule, Sighting<'a>)>,
}

impl<'a> Round<'a> {
    /// Takes out the candidates that pass every gate.
    pub(super) fn judge_leaving(&mut self, sightings: &Sightings<'a>) {
        let mut candidates = self.candidates(sightings);
        candidates.sort_by(|a, b| (a.since, &a.host).cmp(&(b.since, &b.host)));
        for candidate in candidates {
            let mut outlook = self.outlooks.remove(&candidate.host).unwrap_or_default();
            let ready = self.ready(&candidate, sightings, &mut outlook);
            if let Some((rule, sighting)) = ready
                && self.passes_gates(&candidate.host, &mut outlook)
                && outlook.blocked_by.is_empty()
            {
                self.take_off(&candidate.host, rule, &sighting);
            }
            self.outlooks.insert(candidate.host, outlook);
        }
    }

    fn candidates(&self, sightings: &Sightings<'a>) -> Vec<Candidate<'a>> {
        let mut candidates: BTreeMap<&HostName, Candidate<'a>> = BTreeMap::new();
        for (key, sightings) in &sightings.by_key {
            let Subject::Host(host) = &key.subject else { continue };
            let on = self.document(host.as_str()).is_some_and(|it| it.verdict() == Verdict::On);
            for sighting in sightings.iter().filter(|_| on) {
                let Some(rule) = sighting.rule else { continue };
                let since = sighting.alert.starts_at;
                let candidate = candidates.entry(host).or_insert_with(|| Candidate {
                    host: host.clone(),
                    since,
                    alerts: Vec::new(),
                });
                candidate.since = candidate.since.min(since);
                candidate.alerts.push((key.clone(), rule, *sighting));
            }
        }
        candidates.into_values().collect()
    }

    /// The first alert of the candidate that has fired for long enough, if no
    /// alert of it is suppressed.
    fn ready(
        &mut self,
        candidate: &Candidate<'a>,
        sightings: &Sightings<'a>,
        outlook: &mut Outlook,
    ) -> Option<(&'a Rule, Sighting<'a>)> {
        let mut ready = None;
        let mut short = Vec::new();
        outlook.blocked_by.extend(sightings.freezes(&candidate.host));
        for (key, rule, sighting) in &candidate.alerts {
            // Nor is its time under a silence counted.
            if sightings.of(key).iter().any(Sighting::is_suppressed) {
                continue;
            }
            let needed = sightings::wanted_firing(self.policy, &rule.name);
            let fired = self.count_firing(key, sighting);
            if fired >= needed {
                ready = ready.or(Some((*rule, *sighting)));
            } else {
                let (alertname, rule) = (key.alertname.clone(), rule.name.clone());
                short.push(Block::FiresTooShort { alertname, rule, fired, needed });
            }
        }
        if ready.is_none() {
            short.dedup();
            outlook.blocked_by.extend(short);
        }
        ready
    }

    /// Adds the time since the last round to an alert's count, unless the
    /// Alertmanager that shows it cannot be believed.
    fn count_firing(&mut self, key: &AlertKey, sighting: &Sighting<'_>) -> Duration {
        let believed = self.peers.get(sighting.peer).is_some_and(|it| it.believed().is_ok());
        let last_round = self.former_memory.last_round.unwrap_or(self.now.uptime);
        let passed = self.now.uptime.saturating_sub(last_round);
        let fired = match self.former_memory.fired_for.get(key) {
            Some(&counted) if believed => counted + passed,
            counted => counted.copied().unwrap_or_default(),
        };
        let best = self.memory.fired_for.entry(key.clone()).or_insert(fired);
        *best = fired.max(*best);
        *best
    }

    /// Every gate is asked, so that a person sees all that stands in the way.
    fn passes_gates(&self, host: &HostName, outlook: &mut Outlook) -> bool {
        let blocks_before = outlook.blocked_by.len();
        if let Err(reason) = &self.facts.mesos {
            outlook.block(Block::NoLeader(reason.clone()));
        }
        let Some(document) = self.document(host.as_str()) else { return false };
        if !self.is_in_inventory(document) {
            outlook.block(Block::NotInInventory);
        }
        if let Some((until, block)) = self.pause_block(false) {
            outlook.wait(until, block);
        }
        if self.storm.since.is_some() {
            outlook.block(self.storm.block());
        }
        for hold in self.holds.iter().filter(|hold| hold.blocks) {
            match hold.blocks_until {
                Some(until) => outlook.wait(until, hold.block()),
                None => outlook.block(hold.block()),
            }
        }
        self.ask_budget(host, document, outlook);
        outlook.blocked_by.len() == blocks_before
    }

    fn ask_budget(&self, host: &HostName, document: &HostDocument, outlook: &mut Outlook) {
        let budget = self.budget;
        // The candidate itself may be unreachable and thus counted already.
        let counted = self.is_in_inventory(document) && !self.is_reachable(host, document);
        let others_away = budget.away - usize::from(counted);
        if others_away + 1 > budget.limit {
            let (inventory, limit) = (budget.inventory, budget.limit);
            outlook.block(Block::Budget { away: others_away, inventory, limit });
        }
        for (attribute, value) in self.limited_groups(document) {
            let limit = self.policy.per_attribute.get(&attribute).copied().unwrap_or(usize::MAX);
            let group = (attribute, value);
            let away = self.away_by_attribute.get(&group).copied().unwrap_or(0);
            let away = away - usize::from(counted);
            if away + 1 > limit {
                let (attribute, value) = group;
                outlook.block(Block::AttributeBudget { attribute, value, away, limit });
            }
        }
        let limit = self.policy.max_off_per_hour;
        if budget.offs_last_hour >= limit {
            let oldest = self.automation.offs.iter().min();
            let until = oldest.map(|&oldest| later(oldest, super::HOUR));
            match until {
                Some(until) => outlook.wait(until, Block::HourlyRate { limit }),
                None => outlook.block(Block::HourlyRate { limit }),
            }
        }
        if budget.on <= budget.floor {
            outlook.block(Block::MinHosts { on: budget.on, floor: budget.floor });
        }
    }

    fn take_off(&mut self, host: &HostName, rule: &Rule, sighting: &Sighting<'_>) {
        let Action::Off { .. } = rule.action else { return };
        let evidence = sightings::evidence(self, sighting);
        let value = evidence.value.as_ref().map_or(String::new(), |value| format!(" = {value}"));
        let reason = format!("{}{value} fires at {}", evidence.alertname, sighting.peer);
        let mut record = self.record(What::Off, &reason);
        record.rule = Some(rule.name.clone());
        record.evidence = Some(evidence.clone());
        let document = self.document(host.as_str());
        let reachable = document.is_some_and(|document| self.is_reachable(host, document));
        let groups = document.map(|document| self.limited_groups(document)).unwrap_or_default();
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
        self.memory.off_since.insert(host.clone(), self.now.uptime);
        self.budget.offs_last_hour += 1;
        self.budget.on -= 1;
        if reachable {
            self.budget.away += 1;
            for group in groups {
                *self.away_by_attribute.entry(group).or_insert(0) += 1;
            }
        }
    }
}
