//! What a person's command does to a document.
//!
//! Commands bypass automation's gates: a person may do what automation may not.
//! The one thing checked is that the whitelist keeps its floor.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    document::{
        AcceptedClock, Automation, HostDocument, MAX_MANUAL_EVENTS, ManualEvent, Record, Verdict,
        What,
    },
    host::HostName,
    plan::records,
    policy::Policy,
    time::{earlier, since},
    whitelist::in_inventory,
};

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The floor would be broken.
    #[error(
        "this would leave {left} hosts on, fewer than whitelist.min_hosts, which is {floor} now; \
         put other hosts back first, or repeat with force"
    )]
    BelowFloor {
        /// How many would be left on.
        left: usize,
        /// How many must be.
        floor: usize,
    },
    /// A host has only so many events.
    #[error("the host has {MAX_MANUAL_EVENTS} manual events already; delete some first")]
    TooManyEvents,
    /// There is nothing of that id.
    #[error("the host has no manual event of that id")]
    NoSuchEvent,
}

/// Between two events of which it is not known better when they were said.
const MOMENT: Duration = Duration::from_micros(1);

/// Adds or replaces a manual event, which is the newest then. An `on` sets aside
/// every cause: what still fires when it ends must pass the gates again.
///
/// # Errors
/// [`Refusal::TooManyEvents`].
pub fn say(document: &mut HostDocument, id: &str, event: ManualEvent) -> Result<Record, Refusal> {
    let replaces = document.manual_events.contains_key(id);
    if !replaces && document.manual_events.len() >= MAX_MANUAL_EVENTS {
        return Err(Refusal::TooManyEvents);
    }
    let before = document.verdict();
    put_before(document, event.time);
    if event.state == Verdict::On {
        document.causes.clear();
        document.taken_off.clear();
    }
    let (time, by, reason) = (event.time, event.author.clone(), event.reason.clone());
    let until = event.expires_at().map_or(String::new(), |until| format!(", until {until:.0}"));
    let reason = format!("manual {}{until}: {reason}", event.state);
    document.manual_events.insert(id.to_owned(), event);
    Ok(finish(document, before, time, by, reason))
}

/// What was said before was not said later than now: a clock that was set back
/// must not let it decide over what is said now.
pub(crate) fn put_before(document: &mut HostDocument, now: Timestamp) {
    let events = document.manual_events.iter_mut();
    let mut ahead: Vec<_> = events.filter(|(_, event)| event.time >= now).collect();
    ahead.sort_by(|(a, x), (b, y)| (y.time, b).cmp(&(x.time, a)));
    let mut time = now;
    for (_, event) in ahead {
        time = earlier(time, MOMENT);
        // It ends when it was said to end.
        event.ttl = event.ttl.map(|ttl| ttl.saturating_add(since(time, event.time)));
        event.time = time;
    }
}

/// Takes a manual event back. What held the host before then decides at once,
/// since a person ended it.
///
/// # Errors
/// [`Refusal::NoSuchEvent`].
pub fn take_back(
    document: &mut HostDocument,
    id: &str,
    author: &str,
    now: Timestamp,
) -> Result<Record, Refusal> {
    let before = document.verdict();
    let event = document.remove_event(id).ok_or(Refusal::NoSuchEvent)?;
    let reason = format!("manual {} of {} taken back: {}", event.state, event.author, event.reason);
    Ok(finish(document, before, now, author.to_owned(), reason))
}

fn finish(
    document: &mut HostDocument,
    before: Verdict,
    time: Timestamp,
    by: String,
    reason: String,
) -> Record {
    let what = match (before, document.verdict()) {
        (Verdict::On, Verdict::Off) => What::Off,
        (Verdict::Off, Verdict::On) => What::On,
        _ => What::Said,
    };
    let record = Record { time, what, by, rule: None, reason, evidence: None, version: None };
    document.note_transition(before, &record);
    record
}

/// Lets automation go on: ends a pause and a storm, and accepts the clock as it is.
/// Who was sick by now makes no storm any more.
pub fn resume(
    automation: &mut Automation,
    hosts: &BTreeMap<HostName, HostDocument>,
    now: Timestamp,
) {
    automation.pause = None;
    automation.storm_since = None;
    // All that is ahead, also what was excused before: one word is enough.
    let ahead = records(hosts, automation).max().filter(|&newest| newest > now);
    automation.accepted_clock = ahead.map(|ahead| AcceptedClock { at: now, ahead });
    automation.storm_dismissed = Some(now);
}

/// Refuses what turns hosts off, where too few would be left. `changed` gives the new document
/// of a host that is to have one. A host that no master lists any more costs nobody a host.
///
/// # Errors
/// [`Refusal::BelowFloor`].
pub fn keep_floor<'a>(
    hosts: &'a BTreeMap<HostName, HostDocument>,
    changed: impl Fn(&HostName) -> Option<&'a HostDocument>,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), Refusal> {
    let (mut inventory, mut left, mut turns_off) = (0, 0, false);
    for (host, document) in hosts.iter().filter(|(_, it)| in_inventory(it, policy, now)) {
        let after = changed(host).unwrap_or(document).verdict();
        inventory += 1;
        left += usize::from(after == Verdict::On);
        turns_off |= after == Verdict::Off && document.verdict() == Verdict::On;
    }
    let floor = policy.min_hosts.floor(inventory);
    if turns_off && left < floor { Err(Refusal::BelowFloor { left, floor }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Cause;

    #[test]
    fn a_clock_that_shows_what_the_newest_record_says_needs_no_acceptance() {
        let mut automation = Automation::default();
        let hosts =
            BTreeMap::from([("h1".parse().unwrap(), HostDocument::new(Verdict::On, at(0)))]);
        resume(&mut automation, &hosts, at(0));
        assert!(automation.accepted_clock.is_none());
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn event(state: Verdict, seconds: i64) -> ManualEvent {
        let ttl = Some(Duration::from_secs(3600));
        ManualEvent { state, reason: "r".into(), author: "ops".into(), time: at(seconds), ttl }
    }

    #[test]
    fn a_manual_on_ends_imported_and_sets_causes_aside() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        document.causes.push(Cause::Imported { since: at(0) });
        let record = say(&mut document, "a", event(Verdict::On, 1)).unwrap();
        assert_eq!((record.what, document.verdict()), (What::On, Verdict::On));
        let record = take_back(&mut document, "a", "ops", at(2)).unwrap();
        assert_eq!((record.what, document.verdict()), (What::Said, Verdict::On));
    }

    #[test]
    fn an_off_that_a_person_ends_gives_the_host_back_at_once() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        say(&mut document, "a", event(Verdict::Off, 1)).unwrap();
        assert_eq!(document.off_since, Some(at(1)));
        let record = take_back(&mut document, "a", "ops", at(2)).unwrap();
        assert_eq!((record.what, document.verdict()), (What::On, Verdict::On));
        assert_eq!((document.off_since, document.transitions.len()), (None, 2));
    }

    #[test]
    fn what_a_command_did_is_recorded_as_what_it_did() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        let mut did =
            |id, state, seconds| say(&mut document, id, event(state, seconds)).unwrap().what;
        assert_eq!(did("a", Verdict::On, 1), What::Said);
        assert_eq!(did("b", Verdict::Off, 2), What::Off);
        assert_eq!(did("c", Verdict::Off, 3), What::Said);
        assert_eq!(did("c", Verdict::On, 4), What::On);
        let record = take_back(&mut document, "c", "eve", at(5)).unwrap();
        assert_eq!((record.what, record.by.as_str()), (What::Off, "eve"), "b decides again");
        assert_eq!(take_back(&mut document, "c", "eve", at(6)), Err(Refusal::NoSuchEvent));
    }

    #[test]
    fn what_is_said_last_decides_also_when_the_clock_was_set_back() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        say(&mut document, "z", event(Verdict::On, 600)).unwrap();
        say(&mut document, "y", event(Verdict::Off, 601)).unwrap();
        for (id, state) in [("a", Verdict::Off), ("a", Verdict::On), ("b", Verdict::Off)] {
            say(&mut document, id, event(state, 1)).unwrap();
            let stored = HostDocument::decode(&document.encode()).unwrap();
            assert_eq!((document.verdict(), stored.verdict()), (state, state));
        }
        assert_eq!(document.manual_events["b"].time, at(1), "its ttl counts from now");
        for id in ["b", "a"] {
            take_back(&mut document, id, "ops", at(2)).unwrap();
        }
        assert_eq!(document.ruling_event().unwrap().0, "y", "their own order is kept");
    }

    #[test]
    fn i6_what_was_said_ends_when_it_was_to_end_also_when_the_clock_was_set_back() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        say(&mut document, "off", event(Verdict::Off, 14_400)).unwrap();
        // The clock is hours behind for a moment, and more than one thing is said in it.
        for id in ["x", "y"] {
            say(&mut document, id, event(Verdict::On, 600)).unwrap();
        }
        let stored = HostDocument::decode(&document.encode()).unwrap();
        let ends = stored.manual_events.iter().map(|(id, it)| (id.as_str(), it.expires_at()));
        let (earlier, later) = (Some(at(600 + 3600)), Some(at(14_400 + 3600)));
        assert_eq!(ends.collect::<Vec<_>>(), [("off", later), ("x", earlier), ("y", earlier)]);
        assert_eq!(stored, document);
    }

    #[test]
    fn a_host_takes_only_so_many_events_but_any_may_be_replaced() {
        let mut document = HostDocument::new(Verdict::On, at(0));
        for number in 0..MAX_MANUAL_EVENTS {
            say(&mut document, &number.to_string(), event(Verdict::Off, 1)).unwrap();
        }
        let refused = say(&mut document, "more", event(Verdict::Off, 1));
        assert_eq!(refused, Err(Refusal::TooManyEvents));
        assert!(say(&mut document, "0", event(Verdict::On, 2)).is_ok());
    }
}
