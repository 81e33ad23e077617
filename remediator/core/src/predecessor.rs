//! What Two Sigma's Satellite kept of a host, read so that it can be continued, and what of
//! our documents it reads.
//!
//! Its second generation kept one JSON document per host: what people said
//! (`manual-events`), what follows from that (`manual-flag`), and what its recipes said
//! (`managed-flag`; `managed-events` only told why). A host was listed by its manual flag,
//! else by its managed flag, else not at all: nothing was on by itself. The facts are from
//! the source of its last version.
//!
//! What is needed is read strictly, and the error says what is wrong where; whatever else
//! there is (metrics, tags, attributes) is passed over. Its managed events are not
//! continued: alerts come anew, from Alertmanager. Whatever has to be left out or made to
//! fit is said, and never changes whether the host is listed.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    document::{
        Cause, HostDocument, MAX_AUTHOR_LENGTH, MAX_EVENT_ID_LENGTH, MAX_MANUAL_EVENTS,
        MAX_REASON_LENGTH, ManualEvent, Verdict,
    },
    explain::explain_cause,
    manual,
};

/// What ZooKeeper took of one node by default, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;
/// Who said what has no author: the predecessor kept none.
pub const AUTHOR: &str = "predecessor";

/// The reason of an event that has none.
const NO_REASON: &str = "without a reason";
/// The event that stands for a manual flag which no event explains.
const FLAG_EVENT: &str = "manual-flag";
/// How many characters of what somebody else has written are shown in an error.
const MAX_SHOWN: usize = 64;
/// How much of what was left out of one document is told, since it may have thousands of
/// events.
const MAX_TOLD: usize = 8;

/// A host as the predecessor had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited {
    /// What its recipes said; `None`: nothing yet.
    managed: Option<Verdict>,
    /// What people said, by event id; the newest is what its manual flag says.
    events: BTreeMap<String, ManualEvent>,
    /// What is not continued, or not as it was, and why.
    left_out: LeftOut,
}

/// Why a document is none of the predecessor's.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A node that somebody made and did not fill.
    #[error("it is empty")]
    Empty,
    /// Larger than ZooKeeper took.
    #[error("it has {0} bytes, which is more than {MAX_DOCUMENT_BYTES}")]
    TooLarge(usize),
    /// Not JSON at all.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but not an object.
    #[error("it is {0}, and not an object with managed-flag, manual-flag and manual-events")]
    NotADocument(String),
    /// Something that is needed is missing, or is something else.
    #[error("{key} {found}, and should be {wanted}")]
    Key {
        /// What, as people would look for it.
        key: String,
        /// What is there.
        found: String,
        /// What should be.
        wanted: &'static str,
    },
}

/// What is not continued of a document: the first of it in words, and how much more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LeftOut {
    told: Vec<String>,
    more: usize,
}

impl LeftOut {
    fn say(&mut self, what: String) {
        if self.told.len() < MAX_TOLD { self.told.push(what) } else { self.more += 1 }
    }
}

impl Inherited {
    /// Reads a document of the predecessor's.
    ///
    /// # Errors
    /// [`Unreadable`], which names the key.
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes.len() {
            0 => return Err(Unreadable::Empty),
            size if size > MAX_DOCUMENT_BYTES => return Err(Unreadable::TooLarge(size)),
            _ => {}
        }
        let document: Value = serde_json::from_slice(bytes).map_err(Unreadable::NotJson)?;
        let Value::Object(document) = &document else {
            return Err(Unreadable::NotADocument(shown(&document)));
        };
        let (managed, manual) = (flag(document, "managed-flag")?, flag(document, "manual-flag")?);
        let mut inherited = Self { managed, events: BTreeMap::new(), left_out: LeftOut::default() };
        let key = "manual-events";
        match document.get(key) {
            Some(Value::Null) => {}
            Some(Value::Object(events)) => inherited.take_events(events)?,
            found => return Err(wrong(key, found, "an object of events by id")),
        }
        inherited.agree_with(manual);
        inherited.keep_the_newest();
        Ok(inherited)
    }

    /// Whether the predecessor listed the host.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.ruling_event().map_or_else(|| self.managed_verdict(), |(_, event)| event.state)
    }

    /// What the host is without what people said: what nothing said to be on was off.
    #[must_use]
    pub fn managed_verdict(&self) -> Verdict {
        self.managed.unwrap_or(Verdict::Off)
    }

    /// What people said, by event id.
    #[must_use]
    pub fn events(&self) -> &BTreeMap<String, ManualEvent> {
        &self.events
    }

    /// What of the document is not continued, or not as it was, in words.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let more = (self.left_out.more > 0).then(|| format!("and {} more", self.left_out.more));
        self.left_out.told.iter().cloned().chain(more).collect()
    }

    /// The same without events that are over by now: the predecessor looked for them once a
    /// minute, while it ran.
    #[must_use]
    pub fn without_what_is_over(mut self, now: Timestamp) -> Self {
        let is_over = |event: &ManualEvent| event.expires_at().is_some_and(|end| now > end);
        let (over, events): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.events.into_iter().partition(|(_, event)| is_over(event));
        self.events = events;
        for (id, event) in over {
            self.left_out.say(format!("event {id:?} ({}) has run out", event.state));
        }
        self
    }

    /// Why the predecessor had the host on or off, in words.
    #[must_use]
    pub fn why(&self) -> String {
        match (self.ruling_event(), self.managed) {
            (Some((id, event)), _) => format!("manual event {id:?} says {}", event.state),
            (None, Some(verdict)) => format!("managed-flag {verdict}"),
            (None, None) => "neither flag was set".to_owned(),
        }
    }

    /// Makes a new document of what was kept: as many hosts are listed after as before.
    pub(crate) fn put_into(&self, document: &mut HostDocument, now: Timestamp) {
        document.manual_events.extend(self.events.clone());
        // Its clock may have been ahead of ours, or still be.
        manual::put_before(document, now);
        // A person's on ends that for good, here as everywhere. One that had an end did not, there.
        let is_on = self.ruling_event().is_some_and(|(_, event)| event.is_on_for_good());
        if self.managed_verdict() == Verdict::Off && !is_on {
            document.causes.push(Cause::Imported { since: now });
        }
    }

    fn ruling_event(&self) -> Option<(&str, &ManualEvent)> {
        let newest = self.events.iter().max_by_key(|(id, event)| (event.time, *id));
        newest.map(|(id, event)| (id.as_str(), event))
    }

    fn take_events(&mut self, events: &Map<String, Value>) -> Result<(), Unreadable> {
        let mut numbers = BTreeMap::new();
        for (id, event) in events {
            let name = format!("event {id:?} of manual-events");
            let Value::Object(event) = event else {
                return Err(wrong(&name, Some(event), "an object"));
            };
            let Some(state) = event.get("state").and_then(Value::as_str) else {
                let key = format!("state of {name}");
                return Err(wrong(&key, event.get("state"), "ok, critical, warn or expired"));
            };
            let state = match state {
                "ok" => Verdict::On,
                "critical" => Verdict::Off,
                neither => {
                    let neither = cut(neither, MAX_SHOWN);
                    self.left_out.say(format!("event {id:?} says {neither}: neither on nor off"));
                    continue;
                }
            };
            let event = read_event(&name, state, event, &mut self.left_out)?;
            let fitting = fitting_id(id, &self.events, &mut numbers);
            if fitting != *id {
                self.left_out.say(format!("event {id:?} is called {fitting:?} here"));
            }
            self.events.insert(fitting, event);
        }
        Ok(())
    }

    /// Leaves out the newest events up to the one that the flag was made of: it was made of
    /// some that are not continued, too, and of equal times in no order. What they had
    /// superseded would rule for ever, though nobody wanted that any more.
    fn agree_with(&mut self, manual: Option<Verdict>) {
        let was = manual.map_or("null".to_owned(), |flag| flag.to_string());
        for id in self.newest_first() {
            if manual == Some(self.events[&id].state) {
                return;
            }
            self.events.remove(&id);
            self.left_out.say(format!("event {id:?} did not count: manual-flag was {was}"));
        }
        let Some(state) = manual else { return };
        // Nothing but the flag says it.
        let reason = format!("manual-flag {state}, without an event");
        self.left_out.say(reason.clone());
        let (author, time) = (AUTHOR.to_owned(), Timestamp::UNIX_EPOCH);
        let event = ManualEvent { state, reason, author, time, ttl: None };
        self.events.insert(FLAG_EVENT.to_owned(), event);
    }

    fn keep_the_newest(&mut self) {
        for id in self.newest_first().into_iter().skip(MAX_MANUAL_EVENTS) {
            self.events.remove(&id);
            self.left_out.say(format!("event {id:?} is older than {MAX_MANUAL_EVENTS} others"));
        }
    }

    fn newest_first(&self) -> Vec<String> {
        let mut events: Vec<_> = self.events.iter().map(|(id, event)| (event.time, id)).collect();
        events.sort_unstable_by(|a, b| b.cmp(a));
        events.into_iter().map(|(_, id)| id.clone()).collect()
    }
}

/// Whether these bytes are an object without the key that all of our documents have.
#[must_use]
pub fn lacks_schema(bytes: &[u8]) -> bool {
    let document = serde_json::from_slice::<BTreeMap<String, serde::de::IgnoredAny>>(bytes);
    document.is_ok_and(|document| !document.contains_key("schema"))
}

fn flag(document: &Map<String, Value>, key: &str) -> Result<Option<Verdict>, Unreadable> {
    match document.get(key) {
        Some(Value::Null) => Ok(None),
        Some(Value::String(flag)) if flag == "on" => Ok(Some(Verdict::On)),
        Some(Value::String(flag)) if flag == "off" => Ok(Some(Verdict::Off)),
        found => Err(wrong(key, found, "\"on\", \"off\" or null")),
    }
}

fn read_event(
    name: &str,
    state: Verdict,
    event: &Map<String, Value>,
    left_out: &mut LeftOut,
) -> Result<ManualEvent, Unreadable> {
    let time = event.get("time").and_then(Value::as_f64).and_then(instant);
    let Some(time) = time else {
        let key = format!("time of {name}");
        return Err(wrong(&key, event.get("time"), "seconds since 1970"));
    };
    let ttl = match event.get("ttl") {
        None | Some(Value::Null) => None,
        found => {
            let ttl = found.and_then(Value::as_f64).map(Duration::try_from_secs_f64);
            let key = || format!("ttl of {name}");
            Some(
                ttl.and_then(Result::ok)
                    .ok_or_else(|| wrong(&key(), found, "seconds from 0 on"))?,
            )
        }
    };
    let mut fit = |key: &str, limit: usize, none: &str| {
        let said = event.get(key).and_then(Value::as_str).unwrap_or_default();
        let fitting = cut(said, limit);
        if fitting != said {
            left_out.say(format!("{key} of {name} is cut to one line of {limit} characters"));
        }
        if fitting.trim().is_empty() { none.to_owned() } else { fitting }
    };
    let reason = fit("description", MAX_REASON_LENGTH, NO_REASON);
    // Ours have one.
    let author = fit("author", MAX_AUTHOR_LENGTH, AUTHOR);
    Ok(ManualEvent { state, reason, author, time, ttl })
}

/// Seconds since 1970, also with fractions: what expired by itself has them.
pub(crate) fn instant(seconds: f64) -> Option<Timestamp> {
    let time = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(time.round(jiff::Unit::Microsecond).ok()?).ok()
}

/// The text on one line, and no longer than so many characters.
fn cut(text: &str, limit: usize) -> String {
    let plain = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    plain.take(limit).collect()
}

/// The id as ours may be, unlike any that is taken: the predecessor's could be anything.
/// `numbers` has the last number that was given to each id that is taken.
fn fitting_id(
    id: &str,
    taken: &BTreeMap<String, ManualEvent>,
    numbers: &mut BTreeMap<String, usize>,
) -> String {
    let plain = |it: char| if it.is_ascii_graphic() || it == ' ' { it } else { '?' };
    let fitting: String = id.chars().map(plain).take(MAX_EVENT_ID_LENGTH).collect();
    let fitting = if fitting.is_empty() { "?".to_owned() } else { fitting };
    let mut candidate = fitting.clone();
    while taken.contains_key(&candidate) {
        let number = numbers.entry(fitting.clone()).or_insert(1);
        *number += 1;
        let number = format!("~{number}");
        let room = MAX_EVENT_ID_LENGTH - number.len();
        candidate = fitting.chars().take(room).collect::<String>() + &number;
    }
    candidate
}

fn wrong(key: &str, found: Option<&Value>, wanted: &'static str) -> Unreadable {
    let found = found.map_or("is missing".to_owned(), |found| format!("is {}", shown(found)));
    Unreadable::Key { key: key.to_owned(), found, wanted }
}

/// A value as it is shown in an error: short, whatever it is.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => cut(&other.to_string(), MAX_SHOWN),
    }
}

/// Why automation holds a host off, as the predecessor kept it: under `managed-events`, by
/// the name of the service. It told why, and decided nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManagedEvent {
    /// The rule and the alert, or `imported`.
    pub service: String,
    /// Always `critical`.
    pub state: &'static str,
    /// Since when, in seconds since 1970.
    pub time: f64,
    /// The same in words.
    pub description: String,
}

/// What holds a host off, in the predecessor's words.
#[must_use]
pub fn managed_events(causes: &[Cause]) -> BTreeMap<String, ManagedEvent> {
    let events = causes.iter().map(|cause| {
        let (service, since) = match cause {
            // A host has one cause of each rule and alert name.
            Cause::Alert { rule, since, evidence } => {
                (format!("{rule}/{}", evidence.alertname), since)
            }
            Cause::Imported { since } => ("imported".to_owned(), since),
        };
        let time = since.as_duration().as_secs_f64();
        let description = explain_cause(cause);
        (service.clone(), ManagedEvent { service, state: "critical", time, description })
    });
    events.collect()
}

#[cfg(test)]
mod tests;
