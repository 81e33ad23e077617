//! What makes automation rest as a whole: a person's pause, and a clock that
//! was set back.

use std::time::Duration;

use super::{Block, HoldStatus, Outlook, Round};
use crate::{
    document::{HostDocument, Verdict},
    host::HostName,
    time::later,
};

/// Clocks are corrected by a little all the time.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

impl Round<'_> {
    /// Whether the wall clock shows less than the documents have seen. Then no
    /// duration that is counted by it means anything, so that nothing is done.
    pub(super) fn clock_was_set_back(&mut self) -> bool {
        let of_hosts = self.hosts.values().map(HostDocument::latest);
        let latest = of_hosts.chain(self.automation.latest()).max();
        let Some(latest) = latest.filter(|&it| it > later(self.now.wall, CLOCK_TOLERANCE)) else {
            return false;
        };
        let now = self.now.wall;
        let reason = format!("it is {now:.0}, and the store has a record of {latest:.0}");
        self.blind("clock".into(), reason);
        let off = self.hosts.iter().filter(|(_, it)| it.verdict() == Verdict::Off);
        let off: Vec<HostName> = off.map(|(host, _)| host.clone()).collect();
        for host in off {
            let blocked_by = vec![Block::ClockSetBack(latest)];
            self.outlooks.insert(host, Outlook { blocked_by, next: Some(latest) });
        }
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
        // What was watched so far stays, and the time of this round does not count.
        let last_round = self.memory.last_round;
        self.memory = self.former_memory.clone();
        self.memory.last_round = last_round;
        // People are heard all the same.
        self.note_dismissal();
        true
    }

    /// Ends a pause whose time is over.
    pub(super) fn end_pause(&mut self) {
        if let Some(pause) = self.automation.pause.take_if(|pause| pause.until <= self.now.wall) {
            self.notes.push(format!("the pause by {} is over: {}", pause.by, pause.reason));
        }
    }

    /// What a pause says to taking a host off, or, with `all`, to giving it back.
    pub(super) fn pause_block(&self, giving_back: bool) -> Option<(jiff::Timestamp, Block)> {
        let pause = self.automation.pause.as_ref().filter(|pause| pause.all || !giving_back)?;
        let (by, until, reason) = (pause.by.clone(), pause.until, pause.reason.clone());
        Some((until, Block::Paused { by, until, reason }))
    }
}
