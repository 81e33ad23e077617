//! What makes automation rest as a whole: a person's pause, and a clock that
//! was set back.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    Block, HOUR, HoldStatus, Memory, Outlook, Plan, Round,
    sightings::{self, Sightings},
    watching::Begun,
};
use crate::{
    document::{Automation, HostDocument, Verdict},
    host::HostName,
    time::{later, since},
};

/// Clocks are corrected by a little all the time.
pub(super) const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

impl<'a> Round<'a> {
    /// Whether the wall clock shows less than the documents have seen, and what that is.
    pub(super) fn clock_was_set_back(&self) -> Option<Timestamp> {
        let accepted = self.automation.accepted_clock;
        let counts = |it: &Timestamp| accepted.is_none_or(|accepted| !accepted.excuses(*it));
        let latest = records(self.hosts, &self.automation).filter(counts).max()?;
        (latest > later(self.now.wall, CLOCK_TOLERANCE)).then_some(latest)
    }

    /// A round that only tells: no duration that is counted by the wall clock means
    /// anything, so that nothing is done.
    pub(super) fn rest(mut self, latest: Timestamp) -> Plan {
        let now = self.now.wall;
        let reason = format!(
            "it is {now:.0}, and the store has a record of {latest:.0}; if the clock is right now, \
             `satctl resume` says so"
        );
        self.blind("clock".into(), reason);
        let sightings = sightings::sort(&self);
        self.tell_of_rest(latest, &sightings);
        let holds = self.automation.holds.iter().cloned();
        let note = "automation rests, since the clock was set back";
        let held = holds.map(|hold| HoldStatus {
            hold,
            blocks: true,
            note: note.into(),
            blocks_until: None,
        });
        self.holds = held.collect();
        self.storm.since = self.automation.storm_since;
        let special = self.take_stock();
        self.count_special(&special);
        // What was watched so far is as old as it is: this round has judged nothing.
        self.memory = Memory {
            last_round: self.memory.last_round,
            begun: std::mem::take(&mut self.memory.begun),
            ..self.former_memory.clone().into_owned()
        };
        self.finish(sightings)
    }

    /// Tells every host that is off, or has an alert, what it waits for.
    fn tell_of_rest(&mut self, latest: Timestamp, sightings: &Sightings<'a>) {
        let off = self.hosts.iter().filter(|(_, it)| it.verdict() == Verdict::Off);
        let off = off.map(|(host, _)| host.clone());
        let accused = sightings.by_host.iter();
        let accused = accused.filter(|it| it.shown.iter().any(|sighting| sighting.rule.is_some()));
        let hosts = off.chain(accused.map(|it| it.known.host.clone()));
        let outlook = |host| {
            let blocked_by = vec![Block::ClockSetBack(latest)];
            (host, Outlook { blocked_by, next: Some(latest) })
        };
        self.outlooks = hosts.map(outlook).collect();
    }

    /// Ends a pause whose time is over. Like anything that a person said it does not
    /// end shortly after a start.
    pub(super) fn end_pause(&mut self) {
        let Some(pause) = self.automation.pause.clone() else { return };
        let age = self.age_of(Begun::Pause, pause.since);
        let left = since(pause.since, pause.until).saturating_sub(age);
        let left = left.max(self.policy.clear_for.saturating_sub(self.now.uptime));
        if left.is_zero() {
            self.notes.push(format!("the pause by {} is over: {}", pause.by, pause.reason));
            self.automation.pause = None;
        }
        self.pause_ends = later(self.now.wall, left);
    }

    /// Forgets who went off more than an hour ago, and an accepted clock that has caught
    /// up with all that was ahead of it.
    pub(super) fn forget_what_is_over(&mut self) {
        self.automation.accepted_clock.take_if(|accepted| accepted.ahead < self.now.wall);
        let offs = std::mem::take(&mut self.automation.offs);
        self.automation.offs =
            offs.into_iter().filter(|&off| self.age_of(Begun::Off, off) < HOUR).collect();
    }

    /// What a pause says to taking a host off, or, with `all`, to giving it back.
    pub(super) fn pause_block(&self, giving_back: bool) -> Option<(Timestamp, Block)> {
        let pause = self.automation.pause.as_ref().filter(|pause| pause.all || !giving_back)?;
        let (by, until, reason) = (pause.by.clone(), self.pause_ends, pause.reason.clone());
        Some((until, Block::Paused { by, until, reason }))
    }
}

/// The instants that the documents speak of as past, the newest among them.
pub(crate) fn records<'a>(
    hosts: &'a BTreeMap<HostName, HostDocument>,
    automation: &'a Automation,
) -> impl Iterator<Item = Timestamp> + 'a {
    hosts.values().flat_map(HostDocument::instants).chain(automation.instants())
}
