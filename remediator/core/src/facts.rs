//! What was seen in one round, source by source.
//!
//! Each source either answered or did not, and says why: there is no way to
//! write down "no alerts" for an Alertmanager that was not reached.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use jiff::Timestamp;
use litemap::LiteMap;

use crate::{host::HostName, matcher::Labels};

/// An answer, or why there is none.
pub type Answer<T> = Result<T, String>;

/// All that one round looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Every configured Alertmanager, by its URL.
    pub alertmanagers: BTreeMap<String, Answer<Alertmanager>>,
    /// Every configured Prometheus, by its URL.
    pub prometheus: BTreeMap<String, Answer<Prometheus>>,
    /// The leading master and its agents.
    pub mesos: Answer<Mesos>,
    /// The whitelist that was found, and that every master has: only until the store is
    /// begun.
    pub found_file: Answer<FoundFile>,
}

/// One Alertmanager: `GET /api/v2/status` and `GET /api/v2/alerts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Alertmanager {
    /// Its own clock when it answered, cut to seconds. All its instants are by
    /// this clock, which may differ from ours.
    pub now: Timestamp,
    /// How long it has run when it answered.
    pub uptime: Duration,
    /// Whether it has joined its peers, or has none.
    pub settled: bool,
    /// Every alert it holds that has not ended, suppressed ones too.
    pub alerts: Vec<Alert>,
}

/// One alert as an Alertmanager holds it. Instants are cut to milliseconds, as
/// the API gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Alertmanager's hash of all labels.
    pub fingerprint: String,
    /// All labels, `alertname` among them.
    pub labels: Labels,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When it ends by itself unless it is sent again.
    pub ends_at: Timestamp,
    /// When it was last sent.
    pub updated_at: Timestamp,
    /// Why nobody is told of it, if so.
    pub suppression: Option<Suppression>,
}

impl Alert {
    /// The alert's name; empty where the label is missing.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

/// Why an Alertmanager keeps an alert to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suppression {
    /// By a person: the ids of the silences.
    Silenced(Vec<String>),
    /// By another alert, or by a time interval of the route.
    Other(String),
}

/// One Prometheus: instant queries for `up` and `GET /api/v1/rules`.
#[derive(Debug, Clone, PartialEq)]
pub struct Prometheus {
    /// Its own clock when it answered.
    pub now: Timestamp,
    /// The scrapes of `job="satellite-exporter"`, by the label `host`.
    pub up: BTreeMap<String, Scrapes>,
    /// All of its alerting rules.
    pub rules: Vec<AlertingRule>,
    /// What is pending or firing of alerts that name a host or carry a `remediate`
    /// label.
    pub active: Vec<ActiveAlert>,
}

/// The last scrapes of one host's targets; there is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrapes {
    /// Whether any of them succeeded.
    pub any_up: bool,
    /// Whether all of them did.
    pub all_up: bool,
    /// When the oldest of them was, by that Prometheus's clock.
    pub oldest: Timestamp,
}

impl Scrapes {
    /// Those of a host that has one target.
    #[must_use]
    pub fn one(up: bool, at: Timestamp) -> Self {
        Self { any_up: up, all_up: up, oldest: at }
    }

    /// Those of more targets of the host.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            any_up: self.any_up || other.any_up,
            all_up: self.all_up && other.all_up,
            oldest: self.oldest.min(other.oldest),
        }
    }
}

/// One alerting rule of a Prometheus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertingRule {
    /// The name of its alerts.
    pub name: String,
    /// The labels that it adds to them, templates as they are written.
    pub labels: Labels,
    /// Whether its last evaluation failed, and why.
    pub failure: Option<String>,
    /// When it was last evaluated; `None`: not yet.
    pub evaluated_at: Option<Timestamp>,
    /// How often it is to be evaluated.
    pub interval: Duration,
}

/// An alert that a Prometheus itself holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveAlert {
    /// All labels, `alertname` among them.
    pub labels: Labels,
    /// Whether it fires, or waits for its `for`.
    pub firing: bool,
    /// The value of its expression, as people write it.
    pub value: String,
}

/// The leading master's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesos {
    /// Its URL.
    pub leader: String,
    /// Agents that are registered with it.
    pub registered: Vec<Agent>,
    /// Agents that it knows from the registry and that have not come back yet.
    pub recovered: Vec<Agent>,
}

/// One agent as the leading master lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The agent's id.
    pub id: String,
    /// The name it registered with, verbatim.
    pub hostname: String,
    /// The address of its `pid`; recovered agents have none.
    pub ip: Option<IpAddr>,
    /// Its attributes, as text.
    pub attributes: LiteMap<String, String>,
    /// Whether the master may offer its resources.
    pub active: bool,
    /// Whether a person or an automaton took it out by a Mesos call. No decision rests on
    /// it yet: whoever deactivated it, `active` is false. It will tell what has to be
    /// reactivated once Satellite withdraws offers itself.
    pub deactivated: bool,
}

/// The whitelist file at the first start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundFile {
    /// There is none, or only the placeholder.
    Missing,
    /// The names it lists.
    Lists(Vec<HostName>),
}
