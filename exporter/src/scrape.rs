//! One scrape: every source side by side, under one deadline.
//!
//! A source that fails costs its own series and says so; the scrape itself succeeds, so
//! that Prometheus knows that the exporter lives and what it cannot see.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use axum::http::HeaderMap;
use satellite_mesos::Client;
use satellite_toolkit::{
    exit::chain,
    exposition::{Family, Kind, Labels},
};
use tracing::{info, warn};
use url::Url;

use crate::{
    families::merge,
    sources::{Outcome, agent::Agent, master},
};

/// In which Prometheus says how long it will wait, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// What is kept back of that time for rendering, compressing and sending.
const MARGIN: Duration = Duration::from_millis(500);

/// The sources that are enabled, and how each did last.
#[derive(Debug)]
pub(crate) struct Scraper {
    client: Client,
    master: Option<Url>,
    agent: Option<Agent>,
    last: Mutex<HashMap<&'static str, Status>>,
}

/// How a source did, for the page and for telling a change from more of the same.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) source: &'static str,
    pub(crate) url: String,
    pub(crate) duration: Duration,
    /// Why it is down; `None` when it is up.
    pub(crate) error: Option<String>,
}

impl Scraper {
    pub(crate) fn new(client: Client, master: Option<Url>, agent: Option<Url>) -> Self {
        Self { client, master, agent: agent.map(Agent::new), last: Mutex::default() }
    }

    /// Gathers every source within `timeout`, and how each did.
    pub(crate) async fn scrape(&self, timeout: Duration) -> Vec<Family> {
        let (of_master, of_agent) = futures::join!(
            async {
                match &self.master {
                    Some(base) => master::gather(&self.client, base, timeout).await.into(),
                    None => Vec::new(),
                }
            },
            async {
                match &self.agent {
                    Some(agent) => agent.gather(&self.client, timeout).await.into(),
                    None => Vec::new(),
                }
            },
        );
        let mut up = Family::new(
            "satellite_source_up",
            "Whether this source answered the scrape and could be read.",
            Kind::Gauge,
        );
        let mut duration = Family::new(
            "satellite_source_duration_seconds",
            "How long this source took in this scrape.",
            Kind::Gauge,
        );
        let mut families = Vec::new();
        for outcome in of_master.into_iter().chain(of_agent) {
            let labels = Labels::new([("source", outcome.source)]);
            up.push(labels.clone(), if outcome.result.is_ok() { 1.0 } else { 0.0 });
            duration.push(labels, outcome.duration.as_secs_f64());
            self.note(&outcome);
            families.extend(outcome.result.unwrap_or_default());
        }
        merge(families.into_iter().chain([up, duration]))
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
        let master = self.master.as_ref().map(|url| ("master", url));
        master.into_iter().chain(self.agent.as_ref().map(|agent| ("agent", agent.base())))
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
