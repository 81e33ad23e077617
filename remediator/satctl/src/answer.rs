//! What the remediator answers, as far as it is shown to people. Whatever else is in an answer is
//! left alone: a newer remediator may say more.

use jiff::Timestamp;
use satellite_core::HostName;
use serde::Deserialize;
use serde_json::Value;

/// `GET /api/v1/hosts`.
#[derive(Debug, Deserialize)]
pub(crate) struct Hosts {
    pub(crate) hosts: Vec<Host>,
}

/// `GET /api/v1/hosts` again, where nothing but the names is wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct HostNames {
    pub(crate) hosts: Vec<NamedHost>,
}

/// A host's name.
#[derive(Debug, Deserialize)]
pub(crate) struct NamedHost {
    pub(crate) host: HostName,
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
    pub(crate) listing: Option<Listing>,
    #[serde(default)]
    pub(crate) agents: Vec<Value>,
    #[serde(default)]
    pub(crate) transitions: Vec<Transition>,
}

/// Whether the leading master lists its agent.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    pub(crate) state: String,
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

/// `GET /api/v1/status`.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) cluster: String,
    /// Why the remediator decides nothing, where it does not.
    #[serde(default)]
    pub(crate) deferral: Option<String>,
    pub(crate) mesos_leader: Option<String>,
    pub(crate) sources: Vec<Source>,
    pub(crate) hosts: Counts,
    pub(crate) budget: Budget,
    pub(crate) holds: Vec<Hold>,
    pub(crate) storm: Option<Storm>,
    pub(crate) pause: Option<Pause>,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) given_up: Vec<String>,
    #[serde(default)]
    pub(crate) manual: Vec<Manual>,
    #[serde(default)]
    pub(crate) unmatched: Vec<Unmatched>,
    #[serde(default)]
    pub(crate) unlistable: Vec<String>,
    pub(crate) whitelist: Whitelist,
    pub(crate) last_round: Option<Timestamp>,
    #[serde(default)]
    pub(crate) overdue: bool,
    pub(crate) failure: Option<String>,
}

/// A host that is as a person has said.
#[derive(Debug, Deserialize)]
pub(crate) struct Manual {
    pub(crate) host: String,
    pub(crate) state: String,
}

/// Where facts come from.
#[derive(Debug, Deserialize)]
pub(crate) struct Source {
    pub(crate) source: String,
    pub(crate) blind: bool,
    pub(crate) reason: Option<String>,
    pub(crate) since: Option<Timestamp>,
}

/// How many hosts are how.
#[derive(Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) on: usize,
    pub(crate) off: usize,
}

/// How many hosts may be away.
#[derive(Debug, Deserialize)]
pub(crate) struct Budget {
    pub(crate) inventory: usize,
    pub(crate) limit: usize,
    pub(crate) away: usize,
    pub(crate) remaining: usize,
    pub(crate) offs_last_hour: usize,
    pub(crate) max_off_per_hour: usize,
}

/// An alert about the whole cluster.
#[derive(Debug, Deserialize)]
pub(crate) struct Hold {
    pub(crate) rule: String,
    pub(crate) alertname: String,
    pub(crate) since: Timestamp,
    pub(crate) blocks: bool,
    pub(crate) blocks_until: Option<Timestamp>,
    pub(crate) note: String,
}

/// Many hosts fall sick together.
#[derive(Debug, Deserialize)]
pub(crate) struct Storm {
    pub(crate) since: Timestamp,
    pub(crate) fell_sick: Vec<String>,
    pub(crate) still_sick: usize,
    pub(crate) threshold: usize,
    pub(crate) calm_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) unseen: bool,
    pub(crate) shared: Vec<Shared>,
}

/// What several hosts of a storm have in common.
#[derive(Debug, Deserialize)]
pub(crate) struct Shared {
    pub(crate) attribute: String,
    pub(crate) value: String,
    pub(crate) hosts: usize,
}

/// A person lets automation rest.
#[derive(Debug, Deserialize)]
pub(crate) struct Pause {
    pub(crate) all: bool,
    pub(crate) until: Timestamp,
    pub(crate) by: String,
    pub(crate) reason: String,
}

/// An alert that names no host there is.
#[derive(Debug, Deserialize)]
pub(crate) struct Unmatched {
    pub(crate) alertname: String,
    pub(crate) host: String,
    pub(crate) near_miss: Option<String>,
}

/// The file that the masters read.
#[derive(Debug, Deserialize)]
pub(crate) struct Whitelist {
    pub(crate) file: String,
    /// SHA-256 of its content, in hex; empty before the first merge.
    #[serde(default)]
    pub(crate) hash: String,
    pub(crate) hosts: usize,
    pub(crate) merged_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) kept: Vec<String>,
    pub(crate) failure: Option<String>,
}

/// `DELETE /api/v1/hosts/{host}`.
#[derive(Debug, Deserialize)]
pub(crate) struct Forgotten {
    pub(crate) host: String,
}

/// `POST /api/v1/import`.
#[derive(Debug, Deserialize)]
pub(crate) struct Imported {
    pub(crate) dry_run: bool,
    pub(crate) added: Vec<AddedHost>,
    pub(crate) turned_on: Vec<String>,
    pub(crate) turned_off: Vec<String>,
    pub(crate) amended: Vec<String>,
    pub(crate) events: Vec<AddedEvent>,
    pub(crate) unchanged: usize,
    pub(crate) unnamed: usize,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A host that was not known.
#[derive(Debug, Deserialize)]
pub(crate) struct AddedHost {
    pub(crate) host: String,
    pub(crate) state: String,
}

/// A manual event that was brought along.
#[derive(Debug, Deserialize)]
pub(crate) struct AddedEvent {
    pub(crate) host: String,
    pub(crate) id: String,
    pub(crate) state: String,
}

/// Something that was not taken, or not as it was.
#[derive(Debug, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) host: String,
    pub(crate) what: String,
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
