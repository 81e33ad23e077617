//! What this process knows of time, beside what the clocks show now.
//!
//! Two things go wrong with time. A process may be stopped for minutes, by a disk
//! that hangs, a machine that is suspended, or a clock by which nothing could be
//! judged: what it had watched before says little of what happened meanwhile. And the
//! wall clock, by which documents tell when something began, may jump: so each such
//! instant is put on the monotonic clock when it is first seen, and stays there.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{Memory, Round, absence::Watched, evidence::MAX_SCRAPE_AGE, rest::CLOCK_TOLERANCE};
use crate::{
    document::{Listing, ListingState},
    host::HostName,
    policy::Policy,
    time::{Now, since},
};

/// An alert lives for four resend delays. Between rounds that are further apart than
/// this one may have come and run out unseen; the fourth is for clocks that differ.
const UNSEEN_RESENDS: u32 = 3;

/// An unbroken row of rounds that could judge what they saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    /// When, by uptime, it began.
    pub(super) since: Duration,
    /// The last of the rounds.
    last: Now,
}

/// A point on the monotonic clock of this process; it may lie before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(SignedDuration);

impl Moment {
    /// The moment so long ago.
    pub(super) fn ago(age: Duration, now: Now) -> Self {
        Self(signed(now.uptime) - signed(age))
    }

    /// How long ago it was.
    pub(super) fn age(self, now: Now) -> Duration {
        Duration::try_from(signed(now.uptime) - self.0).unwrap_or(Duration::ZERO)
    }

    /// How long after another, earlier one it was.
    pub(super) fn after(self, earlier: Self) -> Duration {
        Duration::try_from(self.0 - earlier.0).unwrap_or(Duration::ZERO)
    }
}

/// No wait is longer than a century, and none is cut that anybody could see the end of.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::from_secs(100 * 366 * 86_400)
        .min(duration.try_into().unwrap_or(SignedDuration::MAX))
}

/// What a document says has begun at some instant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Begun {
    /// Automation took a host off.
    Off,
    /// A person paused automation.
    Pause,
    /// Many hosts fell sick together.
    Storm,
    /// A person said that a storm is over.
    Dismissal,
    /// A person said something of a host; with the event's id.
    Event(HostName, String),
    /// The leading master lists a host no more.
    Unlisted(HostName),
}

impl Memory {
    /// What of it a round may rely on, and since when that has been watched.
    pub(super) fn to_rely_on(&self, policy: &Policy, now: Now) -> (Cow<'_, Self>, Watch) {
        let longest = MAX_SCRAPE_AGE.min(policy.resend_delay * UNSEEN_RESENDS);
        let is_unbroken = |watch: &Watch| {
            let last = watch.last;
            // The monotonic clock stands still while the machine is suspended.
            let passed = now.uptime.saturating_sub(last.uptime).max(since(last.wall, now.wall));
            passed <= longest
        };
        match self.watch.filter(is_unbroken) {
            Some(watch) => (Cow::Borrowed(self), Watch { last: now, ..watch }),
            None => (Cow::Owned(self.interrupted()), Watch { since: now.uptime, last: now }),
        }
    }

    /// What is left of it when time went by that nobody watched.
    fn interrupted(&self) -> Self {
        let holds = self.alerts.iter();
        let holds =
            holds.filter_map(|(key, it)| Some((key.clone(), Watched::held(it.held_since?))));
        Self {
            alerts: holds.collect(),
            prometheus_back: BTreeMap::new(),
            well_since: BTreeMap::new(),
            ..self.clone()
        }
    }
}

impl Round<'_> {
    /// How long ago, by the monotonic clock, something began of which a document says
    /// when, by the wall clock.
    pub(super) fn age_of(&mut self, what: Begun, said: Timestamp) -> Duration {
        let key = (what, said);
        let former = self.former_memory.begun.get(&key).copied();
        let began = former.unwrap_or_else(|| Moment::ago(self.first_age(&key.0, said), self.now));
        self.memory.begun.insert(key, began);
        began.age(self.now)
    }
    /// Keeps of what was seen to begin what the documents still tell of, also where they
    /// were not asked in this round.
    pub(super) fn keep_begun(&mut self) {
        let former = self.former_memory.begun.iter();
        let kept = former.filter(|((what, said), _)| self.tells_of(what, *said));
        let mut begun: BTreeMap<_, _> = kept.map(|(key, began)| (key.clone(), *began)).collect();
        begun.append(&mut self.memory.begun);
        self.memory.begun = begun;
    }

    fn tells_of(&self, what: &Begun, said: Timestamp) -> bool {
        let automation = self.former_automation;
        match what {
            Begun::Off => automation.offs.contains(&said),
            Begun::Pause => automation.pause.as_ref().is_some_and(|pause| pause.since == said),
            Begun::Storm => automation.storm_since == Some(said),
            Begun::Dismissal => automation.storm_dismissed == Some(said),
            Begun::Event(host, id) => self.hosts.get(host).is_some_and(|document| {
                document.manual_events.get(id).is_some_and(|event| event.time == said)
            }),
            Begun::Unlisted(host) => self.hosts.get(host).is_some_and(|document| {
                document.listing == Listing { state: ListingState::Unlisted, since: said }
            }),
        }
    }

    /// The age of what no round has seen yet. It has begun since the last one, whatever
    /// the clock says; where that says something else, a wait is rather too long, and a
    /// storm rather not dismissed.
    fn first_age(&self, what: &Begun, said: Timestamp) -> Duration {
        let by_clock = since(said, self.now.wall);
        let Some(last) = self.former_memory.last_round else { return by_clock };
        let passed = self.now.uptime.saturating_sub(last);
        match what {
            _ if by_clock <= passed + CLOCK_TOLERANCE => by_clock,
            Begun::Dismissal => passed,
            _ => Duration::ZERO,
        }
    }
}
