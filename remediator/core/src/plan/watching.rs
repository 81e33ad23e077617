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
    time::{Now, later, since},
};

/// An alert lives for four resend delays. Between rounds that are further apart than
/// this one may have come and run out unseen; the fourth is for clocks that differ.
const UNSEEN_RESENDS: u32 = 3;

/// Clocks that are further apart are not just a little off.
const WRONG_CLOCK: Duration = Duration::from_secs(30);

/// How far apart rounds may be of which the later one relies on what the earlier one saw.
#[must_use]
pub fn longest_gap(policy: &Policy) -> Duration {
    MAX_SCRAPE_AGE.min(policy.resend_delay.saturating_mul(UNSEEN_RESENDS))
}

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

/// How much time has passed at the most: the monotonic clock stands still while the machine
/// is suspended, and the other one may be set.
pub(super) fn passed(from: Now, to: Now) -> Duration {
    to.uptime.saturating_sub(from.uptime).max(since(from.wall, to.wall))
}

/// No wait is longer than a century, and none is cut that anybody could see the end of.
fn signed(duration: Duration) -> SignedDuration {
    const CENTURY: SignedDuration = SignedDuration::from_hours(876_600);
    CENTURY.min(duration.try_into().unwrap_or(SignedDuration::MAX))
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
    /// That of a process that begins now, and has seen nothing.
    #[must_use]
    pub fn beginning(now: Now) -> Self {
        Self { began: Some(now), ..Self::default() }
    }

    /// What of it a round may rely on, and since when that has been watched.
    pub(super) fn to_rely_on(&self, policy: &Policy, now: Now) -> (Cow<'_, Self>, Watch) {
        let longest = longest_gap(policy);
        match self.watch.filter(|watch| passed(watch.last, now) <= longest) {
            Some(watch) => (Cow::Borrowed(self), Watch { last: now, ..watch }),
            None => (Cow::Owned(self.interrupted()), Watch { since: now.uptime, last: now }),
        }
    }

    /// What is left of it when time went by that nobody watched.
    fn interrupted(&self) -> Self {
        let holds = self.alerts.iter();
        let holds =
            holds.filter_map(|(key, it)| Some((key.clone(), Watched::held(it.held_since?))));
        // What a Prometheus has said before it comes into sight again is no evidence.
        Self { alerts: holds.collect(), prometheus_back: BTreeMap::new(), ..self.clone() }
    }
}

impl Round<'_> {
    /// Puts on the monotonic clock when all began that the documents tell of and that a
    /// time will end. Done in every round, so that a jump of the wall clock finds it there.
    pub(super) fn note_begun(&mut self) {
        let automation = self.former_automation;
        let single = [
            (Begun::Pause, automation.pause.as_ref().map(|pause| pause.since)),
            (Begun::Storm, automation.storm_since),
            (Begun::Dismissal, automation.storm_dismissed),
        ];
        let single = single.into_iter().filter_map(|(what, said)| Some((what, said?)));
        let offs = automation.offs.iter().map(|&off| (Begun::Off, off));
        let of_hosts = self.hosts.iter().flat_map(|(host, document)| {
            let ending = document.manual_events.iter().filter(|(_, event)| event.ttl.is_some());
            let events =
                ending.map(|(id, event)| (Begun::Event(host.clone(), id.clone()), event.time));
            let Listing { state, since } = document.listing;
            let is_unlisted = state == ListingState::Unlisted;
            events.chain(is_unlisted.then(|| (Begun::Unlisted(host.clone()), since)))
        });
        let began = |key: (Begun, Timestamp)| {
            let age = match self.former_memory.begun.get(&key) {
                Some(&Some(began)) => return (key, Some(began)),
                Some(None) => self.age_of_before(&key.0, key.1),
                None => self.first_age(&key.0, key.1),
            };
            (key, age.map(|age| Moment::ago(age, self.now)))
        };
        self.memory.begun = single.chain(offs).chain(of_hosts).map(began).collect();
    }

    /// How long ago, by the monotonic clock, something began of which a document says
    /// when, by the wall clock; zero where that was in this round, or nobody can tell yet.
    pub(super) fn age_of(&self, what: Begun, said: Timestamp) -> Duration {
        let began = self.memory.begun.get(&(what, said)).copied().flatten();
        began.map_or(Duration::ZERO, |began| began.age(self.now))
    }

    /// How long ago, at the most, a person said that a storm is over; `None`: nobody can
    /// tell yet. Who falls sick while the machine is suspended does so by other clocks.
    pub(super) fn age_of_dismissal(&self, said: Timestamp) -> Option<Duration> {
        let began = self.memory.begun.get(&(Begun::Dismissal, said)).copied().flatten()?;
        Some(began.age(self.now).max(since(said, self.now.wall)))
    }

    /// The age of what no round has seen yet; `None`: nobody can tell yet. Where it has
    /// begun since the last round and the clock has jumped meanwhile, a wait becomes rather
    /// too long, and a storm is rather not dismissed.
    fn first_age(&self, what: &Begun, said: Timestamp) -> Option<Duration> {
        let Some(last) = self.former_memory.last_round else {
            let is_word = matches!(what, Begun::Event(..) | Begun::Pause);
            let began = self.former_memory.began.filter(|it| is_word && said >= it.wall);
            return match began {
                Some(began) if self.has_jumped_since(began) => Some(Duration::ZERO),
                _ => self.age_of_before(what, said),
            };
        };
        let passed = self.now.uptime.saturating_sub(last.uptime);
        Some(match what {
            _ if !self.has_jumped_since(last) => since(said, self.now.wall),
            Begun::Dismissal => passed,
            _ => Duration::ZERO,
        })
    }

    fn has_jumped_since(&self, then: Now) -> bool {
        let passed = self.now.uptime.saturating_sub(then.uptime);
        let by_wall = self.now.wall.duration_since(then.wall);
        (by_wall - signed(passed)).unsigned_abs() > CLOCK_TOLERANCE
    }

    /// The age of what began before this process; `None`: nobody can tell yet. Our clock may
    /// have been set while no process was there to see it, and nothing younger be on record:
    /// where hosts could go for it that should not, the Alertmanagers' clocks are asked, too.
    fn age_of_before(&self, what: &Begun, said: Timestamp) -> Option<Duration> {
        let answers = self.facts.alertmanagers.values().filter_map(|answer| answer.as_ref().ok());
        let clocks = answers.map(|answer| answer.now);
        let by_ours = since(said, self.now.wall);
        match what {
            Begun::Off => clocks.map(|clock| since(said, clock)).min().map(|age| age.min(by_ours)),
            Begun::Dismissal => {
                // What lies ahead of a clock is of one that was wrong.
                let is_ahead = |clock| said > later(clock, WRONG_CLOCK);
                let age = |clock| if is_ahead(clock) { Duration::MAX } else { since(said, clock) };
                clocks.map(age).max().map(|greatest| greatest.max(age(self.now.wall)))
            }
            _ => Some(by_ours),
        }
    }
}
