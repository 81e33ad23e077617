//! Alertmanager: what it shows, and what it delivers.
//!
//! [`Client::look`] asks its API, version 2; this is what decisions rest on.
//! [`webhook`] reads what it delivers of its own accord, which only wakes the
//! loop. Both take Alertmanager 0.25 and what came since; only this module knows
//! their JSON.

pub(crate) mod webhook;

use std::time::Duration;

use jiff::Timestamp;
use satellite_core::{
    facts::{Alert, Alertmanager, Suppression},
    matcher::Labels,
};
use serde::Deserialize;
use url::Url;

use super::{DEADLINE, Endpoint, LookError, MIB, Response};

/// It repeats Alertmanager's whole configuration: a few kB, of large sites
/// some 100 kB.
const STATUS: Endpoint = Endpoint { path: "/api/v2/status", limit: 8 * MIB };

/// Without parameters it lists silenced and inhibited alerts, too. An alert takes
/// 0.6 kB, with wordy annotations 2 kB: 50 000 of those make 100 MB.
const ALERTS: Endpoint = Endpoint { path: "/api/v2/alerts", limit: 128 * MIB };

/// A client of one Alertmanager.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
    deadline: Duration,
}

impl Client {
    /// `http` must not follow redirects.
    pub(crate) fn new(http: reqwest::Client, url: Url) -> Self {
        Self { http, url, deadline: DEADLINE }
    }

    /// How it is, and every alert that it holds.
    ///
    /// # Errors
    /// Why there is no answer, as one short line without the URL.
    pub(crate) async fn look(&self) -> Result<Alertmanager, String> {
        super::look_within(self.deadline, async {
            let (status, alerts) = tokio::try_join!(
                super::get(&self.http, &self.url, STATUS, None),
                super::get(&self.http, &self.url, ALERTS, None),
            )?;
            super::read_apart(ALERTS.path, move || read(&status, &alerts)).await
        })
        .await
    }
}

#[derive(Deserialize)]
struct StatusAnswer {
    cluster: Cluster,
    /// In spite of its name the instant at which it was started.
    uptime: Timestamp,
}

#[derive(Deserialize)]
struct Cluster {
    /// `ready`, `settling` or `disabled`.
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertAnswer {
    fingerprint: String,
    labels: Labels,
    starts_at: Timestamp,
    ends_at: Timestamp,
    updated_at: Timestamp,
    status: AlertStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertStatus {
    /// `active`, `suppressed`, or `unprocessed`: not yet routed.
    state: String,
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
    /// Newer than 0.25: the time intervals that mute its route.
    #[serde(default)]
    muted_by: Vec<String>,
}

fn read(status: &Response, alerts: &Response) -> Result<Alertmanager, LookError> {
    // Its age by its own clock: ours may differ.
    let now = status.date.ok_or_else(|| LookError::Unusable {
        path: STATUS.path,
        reason: "the answer has no readable Date header".into(),
    })?;
    let status: StatusAnswer = super::parse(STATUS.path, &status.body)?;
    let alerts: Vec<AlertAnswer> = super::parse(ALERTS.path, &alerts.body)?;
    Ok(Alertmanager {
        now,
        uptime: Duration::try_from(now.duration_since(status.uptime)).unwrap_or(Duration::ZERO),
        // A state that is not known is no reason to believe it.
        settled: matches!(status.cluster.status.as_str(), "ready" | "disabled"),
        alerts: alerts.into_iter().map(alert).collect(),
    })
}

fn alert(answer: AlertAnswer) -> Alert {
    Alert {
        fingerprint: answer.fingerprint,
        labels: answer.labels,
        starts_at: cut_to_milliseconds(answer.starts_at),
        ends_at: cut_to_milliseconds(answer.ends_at),
        updated_at: cut_to_milliseconds(answer.updated_at),
        suppression: suppression(answer.status),
    }
}

/// A person's silence counts before what else keeps an alert quiet.
fn suppression(status: AlertStatus) -> Option<Suppression> {
    if !status.silenced_by.is_empty() {
        return Some(Suppression::Silenced(status.silenced_by));
    }
    if !status.inhibited_by.is_empty() {
        let by = status.inhibited_by.join(", ");
        return Some(Suppression::Other(format!("inhibited by {by}")));
    }
    if !status.muted_by.is_empty() {
        return Some(Suppression::Other(format!("muted by {}", status.muted_by.join(", "))));
    }
    match status.state.as_str() {
        "active" | "unprocessed" => None,
        "suppressed" => Some(Suppression::Other("suppressed".into())),
        // What is not understood freezes its host and nothing else.
        state => Some(Suppression::Other(format!("in the unknown state {state:?}"))),
    }
}

/// The API gives milliseconds, the webhook may give nanoseconds: compare alike.
fn cut_to_milliseconds(instant: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(instant.as_millisecond())
        .expect("an instant without its microseconds is as representable as with them")
}

#[cfg(test)]
mod tests;
