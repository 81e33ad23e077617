//! What Alertmanager delivers: the webhook payload, version 4.
//!
//! Alertmanager adds fields without another version, so unknown ones are ignored
//! and those that are newer or only of use to people may be missing. What the
//! version promises is required: half a delivery is refused, not guessed at.
//!
//! The state of the group is not read. It is `firing` while any of its alerts
//! fires, and each alert has a state of its own.

use jiff::Timestamp;
use satellite_core::matcher::Labels;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{super::excerpt, cut_to_milliseconds};

/// The one version that there is.
const VERSION: &str = "4";

/// How much of a stranger's text a refusal repeats, in characters.
const REFUSAL_LIMIT: usize = 200;

/// One delivery: the alerts of a group as they were when it was made, which may
/// be minutes ago. It is put on record as it is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Delivery {
    /// Alertmanager's name for the receiver, escaped as a regular expression.
    pub(crate) receiver: String,
    /// The group; opaque.
    pub(crate) group_key: String,
    /// How many alerts were left out because of `max_alerts`.
    pub(crate) truncated: u64,
    /// What is in it.
    pub(crate) alerts: Vec<DeliveredAlert>,
}

/// One alert of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeliveredAlert {
    /// How it was.
    pub(crate) status: Status,
    /// All labels, `alertname` among them.
    pub(crate) labels: Labels,
    /// Since when it fires, cut to milliseconds as the API gives it.
    pub(crate) starts_at: Option<Timestamp>,
    /// Alertmanager's hash of all labels.
    pub(crate) fingerprint: Option<String>,
}

/// Why a body is no delivery. Alertmanager does not repeat what is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// It is not what version 4 has.
    #[error("the body is no Alertmanager webhook payload: {reason}, at {at}")]
    Unreadable {
        /// The key; `.` where it is no JSON at all.
        at: String,
        /// What is wrong there.
        reason: String,
    },
    /// It is of a version that is not known.
    #[error("the payload is of version {found:?}, and only version \"4\" is understood")]
    Version {
        /// The version it says.
        found: String,
    },
}

/// Whether a delivered alert fired, or had ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It fired.
    Firing,
    /// It had ended.
    Resolved,
}

#[derive(Deserialize)]
struct Head {
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    version: String,
    #[serde(default)]
    receiver: String,
    #[serde(default)]
    group_key: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<PayloadAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayloadAlert {
    status: Status,
    labels: Labels,
    starts_at: Option<Timestamp>,
    fingerprint: Option<String>,
}

/// Reads a request's body.
///
/// # Errors
/// [`Rejection`], whose text may be answered and logged as it is.
pub(crate) fn parse(body: &[u8]) -> Result<Delivery, Rejection> {
    let payload: Payload = match serde_json::from_slice(body) {
        Ok(payload) => payload,
        // Read again to find out what is wrong. First the version, since another one
        // may differ in everything else.
        Err(_) => {
            check_version(&read::<Head>(body)?.version)?;
            read(body)?
        }
    };
    check_version(&payload.version)?;
    Ok(Delivery {
        receiver: payload.receiver,
        group_key: payload.group_key,
        truncated: payload.truncated_alerts,
        alerts: payload.alerts.into_iter().map(delivered).collect(),
    })
}

fn check_version(version: &str) -> Result<(), Rejection> {
    if version == VERSION {
        return Ok(());
    }
    Err(Rejection::Version { found: excerpt(version, REFUSAL_LIMIT) })
}

/// Reads the body such that an error says where it is.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Rejection> {
    let unreadable = |at: String, error: &serde_json::Error| Rejection::Unreadable {
        at: excerpt(&at, REFUSAL_LIMIT),
        reason: excerpt(&error.to_string(), REFUSAL_LIMIT),
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| unreadable(error.path().to_string(), error.inner()))?;
    json.end().map_err(|error| unreadable("its end".into(), &error))?;
    Ok(value)
}

fn delivered(alert: PayloadAlert) -> DeliveredAlert {
    DeliveredAlert {
        status: alert.status,
        labels: alert.labels,
        // Go writes an instant that is not set as the year 1.
        starts_at: alert
            .starts_at
            .filter(|instant| *instant > Timestamp::UNIX_EPOCH)
            .map(cut_to_milliseconds),
        fingerprint: alert.fingerprint,
    }
}

#[cfg(test)]
mod tests;
