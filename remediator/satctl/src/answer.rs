//! What the remediator answers, as far as it is shown to people. Whatever else is in an answer is
//! left alone: a newer remediator may say more.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// `GET /api/v1/hosts`.
#[derive(Debug, Deserialize)]
pub(crate) struct Hosts {
    pub(crate) hosts: Vec<Host>,
}

/// One host.
#[derive(Debug, Deserialize)]
pub(crate) struct Host {
    pub(crate) host: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) causes: Vec<Cause>,
    #[serde(default)]
    pub(crate) blocked_by: Vec<Value>,
    #[serde(default)]
    pub(crate) explain: String,
    #[serde(default)]
    pub(crate) events: Vec<Event>,
    #[serde(default)]
    pub(crate) transitions: Vec<Transition>,
}

/// Why it is off, or, for a manual cause, on.
#[derive(Debug, Deserialize)]
pub(crate) struct Cause {
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) rule: Option<String>,
    #[serde(default)]
    pub(crate) since: Option<Timestamp>,
    #[serde(default)]
    pub(crate) until: Option<Timestamp>,
}

/// What a person said, still valid.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) author: String,
    pub(crate) time: Timestamp,
}

/// A change from on to off or back.
#[derive(Debug, Deserialize)]
pub(crate) struct Transition {
    pub(crate) time: Timestamp,
}

/// `GET /api/v1/journal`.
#[derive(Debug, Deserialize)]
pub(crate) struct Journal {
    pub(crate) records: Vec<serde_json::Map<String, Value>>,
}

impl Host {
    /// The manual event that decides: the newest; of equal times the larger id.
    pub(crate) fn ruling_event(&self) -> Option<&Event> {
        self.events.iter().max_by_key(|event| event.order())
    }

    /// Since when it is as it is, where the answer tells.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let changed = self.transitions.iter().map(|transition| transition.time).max();
        changed.or_else(|| self.causes.iter().filter_map(|cause| cause.since).min())
    }
}

impl Event {
    /// Later events overrule earlier ones.
    pub(crate) fn order(&self) -> (Timestamp, &str) {
        (self.time, &self.id)
    }
}
