//! Prometheus: what it scrapes, and what its rules say.
//!
//! Two questions, side by side: an instant query for the last scrape of every
//! exporter, and the alerting rules with what is pending or firing of them.
//!
//! Whether a scrape succeeded and when it was come from one query, not from one
//! for each. Between two queries a scrape may end, and then "up" would be that of
//! the old scrape and the instant that of the new one: evidence for a recovery
//! that nobody has seen. Prometheus evaluates one query at one instant on one
//! view of its data.
//!
//! Any doubt about the whole (an error, a warning that data is missing) is no
//! answer. Made for Prometheus 2.42 and 3.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, SignedDurationRound, Timestamp, Unit};
use satellite_core::{
    facts::{ActiveAlert, AlertingRule, Prometheus, Scrapes},
    matcher::Labels,
    policy::is_remediated,
};
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;

use super::{DEADLINE, Endpoint, LookError, MIB, Response};

/// A target takes 0.3 kB, with many labels 1 kB: 50 000 of those make 50 MB.
const QUERY: Endpoint = Endpoint { path: "/api/v1/query", limit: 64 * MIB };

/// An active alert takes 0.5 kB, with wordy annotations 2 kB: 50 000 of those
/// make 100 MB.
const RULES: Endpoint = Endpoint { path: "/api/v1/rules", limit: 128 * MIB };

/// How much of a rule's last error is kept, in characters. It repeats whole
/// label sets.
const FAILURE_LIMIT: usize = 300;

/// A client of one Prometheus.
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

    /// The last scrapes of the exporters, by the label `host_label` (a valid label
    /// name), every alerting rule, and the alerts that name a host or may be acted
    /// upon.
    ///
    /// # Errors
    /// Why there is no answer, as one short line without the URL.
    pub(crate) async fn look(&self, host_label: &str) -> Result<Prometheus, String> {
        super::look_within(self.deadline, async {
            let query = scrapes_query(host_label);
            let (scrapes, rules) = tokio::try_join!(
                super::get(&self.http, &self.url, QUERY, Some(("query", &query))),
                super::get(&self.http, &self.url, RULES, Some(("type", "alert"))),
            )?;
            let host_label = host_label.to_owned();
            super::read_apart(RULES.path, move || read(&scrapes, &rules, &host_label)).await
        })
        .await
    }
}

/// For each target the instant of its last scrape in seconds, negative if the
/// scrape failed; and besides one element without labels, which makes even an
/// answer without targets tell the instant at which it was evaluated.
fn scrapes_query(host_label: &str) -> String {
    let up = format!(r#"up{{job="satellite-exporter",{host_label}!=""}}"#);
    format!("timestamp({up}) * (2 * {up} - 1) or vector(0)")
}

/// What every answer of Prometheus's API is wrapped in.
#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    data: Option<T>,
    error: Option<String>,
    /// Something that belongs to the answer could not be had.
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: Labels,
    /// The instant of the evaluation in seconds, and the value.
    value: (f64, String),
}

#[derive(Deserialize)]
struct RuleGroups {
    groups: Vec<RuleGroup>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleGroup {
    /// When its last complete evaluation began.
    last_evaluation: Timestamp,
    /// In seconds.
    interval: f64,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    alerts: Vec<RuleAlert>,
    /// `ok`, `err`, or `unknown`: not evaluated yet.
    health: String,
    #[serde(default)]
    last_error: String,
    last_evaluation: Timestamp,
}

#[derive(Deserialize)]
struct RuleAlert {
    labels: Labels,
    /// `pending` or `firing`.
    state: String,
    value: String,
}

fn read(scrapes: &Response, rules: &Response, host_label: &str) -> Result<Prometheus, LookError> {
    let vector: Vector = open(QUERY.path, scrapes)?;
    let groups: RuleGroups = open(RULES.path, rules)?;
    let (now, up) = scrapes_of(&vector, host_label)
        .map_err(|reason| LookError::Unusable { path: QUERY.path, reason })?;
    let mut answer = Prometheus { now, up, rules: Vec::new(), active: Vec::new() };
    for group in groups.groups {
        let evaluated_at = group.last_evaluation;
        let interval = Duration::try_from_secs_f64(group.interval).unwrap_or(Duration::MAX);
        for rule in group.rules.into_iter().filter(|rule| rule.kind == "alerting") {
            answer.rules.push(alerting_rule(&rule, evaluated_at, interval));
            let concerns =
                |it: &RuleAlert| is_remediated(&it.labels) || it.labels.contains_key(host_label);
            answer.active.extend(rule.alerts.into_iter().filter(concerns).map(active));
        }
    }
    Ok(answer)
}

fn open<T: DeserializeOwned>(path: &'static str, response: &Response) -> Result<T, LookError> {
    let envelope: Envelope<T> = super::parse(path, &response.body)?;
    let unusable = |reason| Err(LookError::Unusable { path, reason });
    if envelope.status != "success" {
        let error = envelope.error.unwrap_or_else(|| "no reason given".into());
        return unusable(format!("answered {}: {error}", envelope.status));
    }
    if !envelope.warnings.is_empty() {
        return unusable(format!("answered with warnings: {}", envelope.warnings.join("; ")));
    }
    envelope.data.map_or_else(|| unusable("answered without data".into()), Ok)
}

type ByHost = BTreeMap<String, Scrapes>;

fn scrapes_of(vector: &Vector, host_label: &str) -> Result<(Timestamp, ByHost), String> {
    let (mut now, mut up) = (None, ByHost::new());
    for Sample { metric, value: (evaluated_at, value) } in &vector.result {
        let unreadable = |what: &str| format!("{what} of {metric:?} is not a time");
        let Some(host) = metric.get(host_label) else {
            now = Some(instant(*evaluated_at).ok_or_else(|| unreadable("the instant"))?);
            continue;
        };
        let value: f64 = value.parse().map_err(|_| unreadable("the value"))?;
        let at = instant(value.abs()).ok_or_else(|| unreadable("the value"))?;
        let scrape = Scrapes::one(value > 0.0, at);
        up.entry(host.clone()).and_modify(|it| *it = it.and(scrape)).or_insert(scrape);
    }
    now.map(|now| (now, up)).ok_or_else(|| "the answer lacks what was asked for besides up".into())
}

/// Seconds since the epoch. Prometheus counts milliseconds, and writes them as a
/// decimal fraction that a float holds only nearly: rounding gives them back.
fn instant(seconds: f64) -> Option<Timestamp> {
    let since_epoch = SignedDuration::try_from_secs_f64(seconds).ok()?;
    let to_milliseconds = SignedDurationRound::new().smallest(Unit::Millisecond);
    Timestamp::from_duration(since_epoch.round(to_milliseconds).ok()?).ok()
}

/// A rule counts as evaluated since the earlier of two instants. Its own is when
/// its turn came, which in a slow group is long after the instant whose data the
/// whole group works on; and Prometheus reads it after the alerts, so it may be
/// newer than those. The group's is when all of that began.
fn alerting_rule(rule: &Rule, group_evaluated_at: Timestamp, interval: Duration) -> AlertingRule {
    let failure = match rule.health.as_str() {
        "ok" | "unknown" => None,
        _ if rule.last_error.is_empty() => Some(format!("its health is {}", rule.health)),
        _ => Some(super::excerpt(&rule.last_error, FAILURE_LIMIT)),
    };
    let evaluated_at = rule.last_evaluation.min(group_evaluated_at);
    AlertingRule {
        name: rule.name.clone(),
        labels: rule.labels.clone(),
        failure,
        // Go writes an instant that is not set as the year 1.
        evaluated_at: Some(evaluated_at)
            .filter(|instant| *instant > Timestamp::UNIX_EPOCH && rule.health != "unknown"),
        interval,
    }
}

fn active(alert: RuleAlert) -> ActiveAlert {
    ActiveAlert {
        firing: alert.state == "firing",
        labels: alert.labels,
        value: plain(&alert.value),
    }
}

/// Prometheus writes `0e+00` and `9.5e-01`; people read `0` and `0.95`.
fn plain(value: &str) -> String {
    value.parse::<f64>().map_or_else(|_| value.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests;
