//! `POST /webhook`: what Alertmanager delivers.
//!
//! A delivery is a hint and no fact: it may be late, repeated or out of order.
//! It is put on record, durably, and wakes the loop, which reads the alerts as
//! they are now. Nothing is decided here.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{body::Bytes, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use tracing::{debug, warn};

use super::{App, error::ApiError};
use crate::{
    journal::Entry,
    sources::alertmanager::webhook::{Delivery, Status, parse},
};

/// How long a delivered alert without a host of ours is counted: longer than
/// Alertmanager usually waits before it delivers it again.
const UNMATCHED_FOR: Duration = Duration::from_secs(15 * 60);
/// How many of them are kept.
const MAX_UNMATCHED: usize = 1000;
/// How much of each text is kept, in bytes: more than any host name has.
const MAX_UNMATCHED_TEXT: usize = 300;

/// What is counted of deliveries.
#[derive(Default)]
pub(super) struct Deliveries {
    pub(super) accepted: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) deferred: AtomicU64,
    pub(super) truncated: AtomicU64,
    /// By alert name and what the host label says: when it was last delivered.
    unmatched: Mutex<BTreeMap<(String, String), Timestamp>>,
}

impl Deliveries {
    /// Delivered alerts that name no host of ours, by alert name and host label.
    pub(super) fn unmatched(&self, now: Timestamp) -> Vec<(String, String)> {
        let mut unmatched = self.unmatched.lock().expect("no holder of this lock panics");
        let oldest = satellite_core::time::earlier(now, UNMATCHED_FOR);
        unmatched.retain(|_, delivered| *delivered > oldest);
        unmatched.keys().cloned().collect()
    }

    /// Notes that an alert without a host of ours fired at an instant, or, with
    /// `None`, that it has ended.
    fn note_unmatched(&self, alertname: &str, host: &str, fires: Option<Timestamp>) {
        let mut unmatched = self.unmatched.lock().expect("no holder of this lock panics");
        let key = (cut(alertname), cut(host));
        match fires {
            None => drop(unmatched.remove(&key)),
            Some(now) if unmatched.len() < MAX_UNMATCHED || unmatched.contains_key(&key) => {
                unmatched.insert(key, now);
            }
            Some(_) => {}
        }
    }
}

/// Takes a delivery.
pub(super) async fn take(State(app): State<App>, body: Bytes) -> Result<StatusCode, ApiError> {
    let delivery = parse(&body).map_err(|rejection| {
        app.deliveries().rejected.fetch_add(1, Ordering::Relaxed);
        let reason = rejection.to_string();
        warn!(reason, "Refused a delivery; Alertmanager does not repeat it");
        ApiError::Bad(reason)
    })?;
    let now = app.clock.now().wall;
    if let Err(error) = app.journal.take(&Entry::new(now, "delivery", &delivery)).await {
        app.deliveries().deferred.fetch_add(1, Ordering::Relaxed);
        return Err(ApiError::Journal(error));
    }
    app.deliveries().accepted.fetch_add(1, Ordering::Relaxed);
    if delivery.truncated > 0 {
        app.deliveries().truncated.fetch_add(1, Ordering::Relaxed);
        warn!(alerts = delivery.truncated, "Alertmanager left alerts out: set max_alerts to 0");
    }
    note_unmatched(&app, &delivery, now);
    debug!(alerts = delivery.alerts.len(), receiver = delivery.receiver, "Took a delivery");
    app.wake.notify_one();
    Ok(StatusCode::OK)
}

fn note_unmatched(app: &App, delivery: &Delivery, now: Timestamp) {
    let config = app.config();
    let documents = app.ledger.read();
    for alert in &delivery.alerts {
        if let Some(host) = config.policy.accused(&alert.labels)
            && !documents.hosts.contains_key(host)
        {
            let alertname = alert.labels.get("alertname").map_or("", String::as_str);
            let fires = alert.status == Status::Firing;
            app.deliveries().note_unmatched(alertname, host, fires.then_some(now));
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_UNMATCHED_TEXT)].to_owned()
}
