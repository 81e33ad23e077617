//! One scrape: every source side by side, under one deadline.
//!
//! A source that fails costs its own series and says so; the scrape itself succeeds, so
//! that Prometheus knows that the exporter lives and what it cannot see.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use axum::http::HeaderMap;
use futures::future::join_all;
use satellite_mesos::Client;
use satellite_toolkit::{
    exit::chain,
    exposition::{Family, Kind, Labels},
};
use tracing::{info, warn};
use url::Url;

use crate::{
    catalogue::Naming,
    groups::{Group, Groups},
    sources::{
        Outcome,
        agent::{Agent, Rules},
        master::Master,
    },
};

/// In which Prometheus says how long it will wait, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// What is kept back of that time for rendering, compressing and sending.
const MARGIN: Duration = Duration::from_millis(500);

/// What a scrape is to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) groups: Groups,
    pub(crate) naming: Naming,
}

impl Wanted {
    /// What of it is in `groups`; `None` if there is nothing.
    pub(crate) fn of(self, groups: &[Group]) -> Option<Self> {
        let groups = self.groups.of(groups);
        (!groups.is_empty()).then_some(Self { groups, ..self })
    }
}

/// The sources that are enabled, and how each did last.
#[derive(Debug)]
pub(crate) struct Scraper {
    master: Option<Arc<Master>>,
    agent: Option<Arc<Agent>>,
    /// Replaced by a reload.
    rules: RwLock<Arc<Rules>>,
    last: Mutex<HashMap<&'static str, Status>>,
}

/// How a source did, for the page and for telling a change from more of the same.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) source: &'static str,
    pub(crate) url: String,
    /// How long it took; `None` if it did not have to be asked.
    pub(crate) duration: Option<Duration>,
    /// Why it is down; `None` when it is up.
    pub(crate) error: Option<String>,
}

impl Scraper {
    /// Asks the processes at these addresses, each answer of which may take `timeout`.
    pub(crate) fn new(
        client: &Client,
        master: Option<Url>,
        agent: Option<Url>,
        timeout: Duration,
    ) -> Self {
        let master = master.map(|base| Arc::new(Master::new(client.clone(), base, timeout)));
        let agent = agent.map(|base| Arc::new(Agent::new(client.clone(), base, timeout)));
        Self { master, agent, rules: RwLock::default(), last: Mutex::default() }
    }

    /// From now on labels and attributes are chosen by `rules`.
    pub(crate) fn apply(&self, rules: Rules) {
        *self.rules.write().expect("no holder of this lock panics") = Arc::new(rules);
    }

    /// Gathers what is wanted of every source, and how each did. Those that have not
    /// answered after `patience` are down in this scrape.
    pub(crate) async fn scrape(&self, wanted: Wanted, patience: Duration) -> Vec<Arc<[Family]>> {
        let rules = Arc::clone(&self.rules.read().expect("no holder of this lock panics"));
        let of_master =
            self.master.iter().flat_map(|it| it.gather(wanted, &rules.agent_attributes));
        let of_agent = self.agent.iter().flat_map(|it| it.gather(wanted, &rules, patience));
        let joined: Vec<_> = of_master.chain(of_agent).map(|it| it.outcomes(patience)).collect();
        let mut outcomes = join_all(joined).await.concat();
        if let Some(agent) = &self.agent {
            agent.take_back(&mut outcomes);
        }
        let mut families = vec![health(&outcomes)];
        for outcome in outcomes {
            self.note(&outcome);
            families.extend(outcome.result);
        }
        families
    }

    /// Every enabled source as it was last seen, by name; `None` before the first scrape.
    pub(crate) fn last(&self) -> Option<Vec<Status>> {
        let last = self.last.lock().expect("no holder of this lock panics");
        let mut all: Vec<_> = last.values().cloned().collect();
        all.sort_by_key(|status| status.source);
        (!all.is_empty()).then_some(all)
    }

    /// The addresses that are asked.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&'static str, &Url)> {
        let master = self.master.iter().map(|master| ("master", master.base()));
        master.chain(self.agent.iter().map(|agent| ("agent", agent.base())))
    }

    /// Remembers how a source did and logs when that changes: a Mesos that is away for a
    /// night makes two lines, not one per scrape.
    fn note(&self, outcome: &Outcome) {
        let Outcome { source, url, duration, result } = outcome;
        let error = result.as_ref().err().map(|error| chain(error));
        let status = Status { source, url: url.clone(), duration: *duration, error };
        let mut last = self.last.lock().expect("no holder of this lock panics");
        let was_up = last.get(source).is_none_or(|earlier| earlier.error.is_none());
        match &status.error {
            Some(error) if was_up => warn!(source, error, "Source is down"),
            None if !was_up => info!(source, "Source is up again"),
            _ => {}
        }
        last.insert(source, status);
    }
}

/// The series that say how the sources did.
fn health(outcomes: &[Outcome]) -> Arc<[Family]> {
    let mut up = Family::new(
        "satellite_source_up",
        "Whether this source answered the scrape and could be read.",
        Kind::Gauge,
    );
    let mut took = Family::new(
        "satellite_source_duration_seconds",
        "How long this source took in this scrape; absent if it did not have to be asked.",
        Kind::Gauge,
    );
    for Outcome { source, duration, result, .. } in outcomes {
        let labels = Labels::new([("source", source)]);
        up.push(labels.clone(), if result.is_ok() { 1.0 } else { 0.0 });
        took.samples.extend(duration.map(|duration| (labels, duration.as_secs_f64())));
    }
    [up, took].into()
}

/// How long the sources may take: the configured timeout, or what Prometheus still waits
/// less a margin, whichever is shorter. So a Mesos that hangs shows as a source that is
/// down, and not as a scrape that failed.
pub(crate) fn deadline(headers: &HeaderMap, configured: Duration) -> Duration {
    let asked = headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let Some(asked) = asked else { return configured };
    // Of a timeout so short that the margin would eat it, half is left.
    configured.min(asked.saturating_sub(MARGIN).max(asked / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_the_shorter_of_what_is_configured_and_what_prometheus_waits() {
        let configured = Duration::from_secs(10);
        let cases = [
            (Some("10"), 9.5),
            (Some("5.0"), 4.5),
            (Some("60"), 10.0),
            (Some("0.6"), 0.3),
            (Some("0"), 10.0),
            (Some("-1"), 10.0),
            (Some("NaN"), 10.0),
            (Some("inf"), 10.0),
            (Some("soon"), 10.0),
            (None, 10.0),
        ];
        for (header, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(SCRAPE_TIMEOUT, value.parse().unwrap());
            }
            let found = deadline(&headers, configured).as_secs_f64();
            assert!((found - expected).abs() < 1e-9, "{header:?}: {found}");
        }
    }
}
