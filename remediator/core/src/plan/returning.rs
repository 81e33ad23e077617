//! Who comes back: manual events that end, and hosts whose causes are gone.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    AlertKey, Block, Known, Outlook, Round,
    absence::Presence,
    sightings::{self, Sighting, Sightings, freezes, of_alert},
    watching::Begun,
};
use crate::{
    document::{Cause, Evidence, HostDocument, ListingState, ManualEvent, Verdict, What},
    host::HostName,
    policy::Action,
    time::later,
};

/// How long a host stays off at least whose rule a reload took away.
const MIN_OFF_OF_UNKNOWN_RULE: Duration = Duration::from_secs(300);

/// Since when a host has been off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffSince {
    /// As its document says: tells one stretch of time from the next.
    pub(super) said: Option<Timestamp>,
    /// When, by uptime, this process first saw it so.
    pub(super) seen: Duration,
}

impl<'a> Round<'a> {
    /// Judges every host that is not simply on.
    pub(super) fn judge_returning(&mut self, special: &[Known<'a>], sightings: &Sightings<'a>) {
        let judge = |known: &Known<'a>| {
            let shown = sightings.of_host(&known.host);
            let mut outlook = Outlook::default();
            self.note_causes(known, shown);
            self.expire_events(known, shown, &mut outlook);
            self.give_back(known, shown, &mut outlook);
            (known.host.clone(), outlook)
        };
        self.outlooks = special.iter().map(judge).collect();
    }

    /// On a host that is off already, an alert becomes a cause without gates.
    fn note_causes(&mut self, known: &Known<'a>, shown: &[Sighting<'_>]) {
        if self.document_of(known).verdict() == Verdict::On {
            return;
        }
        for (_, alert) in sightings::by_alert(shown) {
            // A silence reaches one Alertmanager before the other.
            if alert.iter().any(Sighting::is_suppressed) {
                continue;
            }
            for sighting in alert {
                self.note_cause(known, sighting);
            }
        }
    }

    fn note_cause(&mut self, known: &Known<'a>, sighting: &Sighting<'_>) {
        let Some(rule) = sighting.rule else { return };
        let is_it = |(name, _, evidence): (&str, Timestamp, &Evidence)| {
            name == rule.name && evidence.alertname == sighting.alertname
        };
        if self.document_of(known).alert_causes().any(is_it) {
            return;
        }
        let evidence = sightings::evidence(self, sighting);
        let mut record = self.record(What::Cause, "it fires, and the host is off already");
        record.rule = Some(rule.name.clone());
        record.evidence = Some(evidence.clone());
        let cause = Cause::Alert { rule: rule.name.clone(), since: self.now.wall, evidence };
        self.change(&known.host, |document| document.causes.push(cause), Some(record));
    }

    /// Ends manual events whose time is over. An `off` ends only on evidence if
    /// its end would put the host back, unless an older `on` of a person does.
    fn expire_events(&mut self, known: &Known<'a>, shown: &[Sighting<'_>], outlook: &mut Outlook) {
        let (host, mut document) = (&known.host, self.document_to_keep(known));
        while let Some(id) = self.expired_event(host, &document) {
            if self.now.uptime < self.policy.clear_for {
                let until = self.now.wall_at(self.policy.clear_for);
                return outlook.wait(until, Block::JustStarted(until));
            }
            let mut without = document.clone().into_owned();
            let Some(event) = without.remove_event(&id) else { return };
            let (before, after) = (document.verdict(), without.verdict());
            let by_automation = without.ruling_event().is_none();
            if (before, after) == (Verdict::Off, Verdict::On) && by_automation {
                outlook.blocked_by.extend(freezes(shown));
                outlook.blocked_by.extend(self.pause_block(true).map(|(_, block)| block));
                outlook.blocked_by.extend(self.unheard_peers());
                self.ask_for_evidence(host, &without, outlook);
                if !outlook.blocked_by.is_empty() {
                    return;
                }
            }
            let what = match (before, after) {
                (Verdict::Off, Verdict::On) => What::On,
                (Verdict::On, Verdict::Off) => What::Off,
                _ => What::Expired,
            };
            let reason =
                format!("manual {} of {} expired: {}", event.state, event.author, event.reason);
            let record = self.record(what, &reason);
            self.change(
                host,
                |it| {
                    it.remove_event(&id);
                },
                Some(record),
            );
            document = Cow::Owned(without);
        }
        if let Some((id, event)) = document.ruling_event() {
            let block = Block::Manual {
                verdict: event.state,
                author: event.author.clone(),
                reason: event.reason.clone(),
            };
            match self.time_left(host, id, event) {
                Some(left) => outlook.wait(later(self.now.wall, left), block),
                None => outlook.block(block),
            }
        }
    }

    /// Gives a host back when every one of its causes is gone and somebody says
    /// that it is well.
    fn give_back(&mut self, known: &Known<'a>, shown: &[Sighting<'_>], outlook: &mut Outlook) {
        let (host, document) = (&known.host, self.document_to_keep(known));
        if document.verdict() == Verdict::Off {
            // Since then a person may have put it on and off again.
            let said = document.off_since;
            let former = self.former_memory.off_since.get(host).filter(|it| it.said == said);
            let seen = former.map_or(self.now.uptime, |former| former.seen);
            self.memory.off_since.insert(host.clone(), OffSince { said, seen });
        }
        // The end of its causes will not put it back.
        if document.default == Verdict::Off && document.ruling_event().is_none() {
            outlook.block(Block::OffByDefault);
        }
        if document.causes.is_empty() {
            return;
        }
        let blocks_before = outlook.blocked_by.len();
        self.judge_causes(host, &document, shown, outlook);
        outlook.blocked_by.extend(freezes(shown));
        self.judge_quiet(host, shown, outlook);
        self.ask_for_evidence(host, &document, outlook);
        self.judge_min_off(host, &document, outlook);
        if let Some((until, block)) = self.pause_block(true) {
            outlook.wait(until, block);
        }
        if outlook.blocked_by.len() > blocks_before {
            return;
        }
        let names: BTreeSet<&str> =
            document.alert_causes().map(|(_, _, evidence)| evidence.alertname.as_str()).collect();
        let are = if names.len() == 1 { "is" } else { "are" };
        let names = Vec::from_iter(names).join(", ");
        let reason = format!("{names} {are} gone, and the host is well");
        let what = match document.ruling_event() {
            None if document.default == Verdict::On => What::On,
            _ => What::Cleared,
        };
        let mut record = self.record(what, &reason);
        record.rule = document.alert_causes().next().map(|(rule, _, _)| rule.to_owned());
        self.change(host, |document| document.causes.clear(), Some(record));
    }

    fn judge_causes(
        &mut self,
        host: &HostName,
        document: &HostDocument,
        shown: &[Sighting<'_>],
        outlook: &mut Outlook,
    ) {
        if document.is_imported() {
            outlook.block(Block::Imported);
        }
        for (_, since, evidence) in document.alert_causes() {
            let alertname = evidence.alertname.clone();
            let key = AlertKey::of_host(host, &alertname);
            match self.presence(&key, since, of_alert(shown, &alertname)) {
                Presence::Fires { peer } => outlook.block(Block::Fires { alertname, peer }),
                // Said once for all alerts of the host by the caller.
                Presence::Suppressed { .. } => {}
                Presence::Doubted(why) => outlook.block(Block::Doubt { alertname, why }),
                Presence::Gone { since } => {
                    let clear = since + self.policy.clear_for;
                    if self.now.uptime < clear {
                        let until = self.now.wall_at(clear);
                        outlook.wait(until, Block::ClearFor { alertname, until });
                    }
                }
            }
        }
    }

    /// An alert that was kept quiet is no cause. It must be gone for as long as one all the
    /// same, lest the end of a silence give a host back of which nobody knows more.
    fn judge_quiet(&mut self, host: &HostName, shown: &[Sighting<'_>], outlook: &mut Outlook) {
        if let Some(quiet) = shown.iter().find(|it| it.rule.is_some() && it.is_suppressed()) {
            let seen = (quiet.alertname.to_owned(), self.now.uptime);
            self.memory.kept_quiet.insert(host.clone(), seen);
            return;
        }
        let Some((alertname, seen)) = self.former_memory.kept_quiet.get(host).cloned() else {
            return;
        };
        let clear = seen + self.policy.clear_for;
        if self.now.uptime < clear {
            let until = self.now.wall_at(clear);
            outlook.wait(until, Block::ClearFor { alertname: alertname.clone(), until });
            self.memory.kept_quiet.insert(host.clone(), (alertname, seen));
        }
    }

    /// Wants a host that could take tasks, and somebody who says that it is well.
    fn ask_for_evidence(
        &mut self,
        host: &HostName,
        document: &HostDocument,
        outlook: &mut Outlook,
    ) {
        let lack = if let Err(reason) = &self.facts.mesos {
            Some(Block::NoLeader(reason.clone()))
        } else if document.listing.state != ListingState::Registered {
            Some(Block::NotRegistered)
        } else if self.inactive.contains(host.as_str()) {
            Some(Block::NotActive)
        } else {
            None
        };
        let says_well = self.says_well(host, document).err().map(Block::NoEvidence);
        outlook.blocked_by.extend(lack.into_iter().chain(says_well));
    }

    fn judge_min_off(&mut self, host: &HostName, document: &HostDocument, outlook: &mut Outlook) {
        let relapses = self.relapses(document);
        if self.is_given_up(document) {
            return outlook.block(Block::GaveUp { relapses });
        }
        let min_off = document.alert_causes().map(|(rule, _, _)| self.min_off(rule)).max();
        let min_off = min_off.map(|min_off| self.policy.relapse.min_off(min_off, relapses));
        let Some(off_since) = self.memory.off_since.get(host) else { return };
        let over = off_since.seen + min_off.unwrap_or_default();
        if self.now.uptime < over {
            let until = self.now.wall_at(over);
            outlook.wait(until, Block::MinOff(until));
        }
    }

    /// The id of the oldest manual event whose time is over. An older one goes
    /// first, so that it does not take over from a newer one that ends with it.
    fn expired_event(&mut self, host: &HostName, document: &HostDocument) -> Option<String> {
        let mut is_over = |id: &str, event: &ManualEvent| {
            self.time_left(host, id, event).is_some_and(|left| left.is_zero())
        };
        let expired = document.manual_events.iter().filter(|(id, event)| is_over(id, event));
        expired.min_by_key(|(id, event)| (event.time, *id)).map(|(id, _)| id.clone())
    }

    /// How long an event still has; `None`: until it is taken back.
    fn time_left(&mut self, host: &HostName, id: &str, event: &ManualEvent) -> Option<Duration> {
        let ttl = event.ttl?;
        let begun = Begun::Event(host.clone(), id.to_owned());
        Some(ttl.saturating_sub(self.age_of(begun, event.time)))
    }

    /// How often the host had to go off again, as of its last off: time alone does not
    /// end what a person has to.
    fn relapses(&self, document: &HostDocument) -> usize {
        let as_of = document.off_since.unwrap_or(self.now.wall);
        document.relapses(self.policy.relapse.within, as_of)
    }

    /// Whether it fell sick so often that it stays off until a person says otherwise.
    pub(super) fn is_given_up(&self, document: &HostDocument) -> bool {
        let relapses = self.relapses(document);
        relapses >= self.policy.relapse.give_up_after && document.alert_causes().next().is_some()
    }

    fn min_off(&self, rule: &str) -> Duration {
        match self.policy.rule_named(rule).map(|rule| &rule.action) {
            Some(Action::Off { min_off, .. }) => *min_off,
            _ => MIN_OFF_OF_UNKNOWN_RULE,
        }
    }
}
