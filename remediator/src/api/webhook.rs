//! `POST /webhook`: what Alertmanager delivers.
//!
//! A delivery is a hint and no fact: it may be late, repeated or out of order.
//! It is put on record, durably, and wakes the loop, which reads the alerts as
//! they are now. Nothing is decided here.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest as _, Request, State},
};
use http::StatusCode;
use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tracing::{debug, warn};

use super::{App, MAX_BODY_BYTES, error::ApiError};
use crate::{
    journal::Entry,
    sources::alertmanager::webhook::{Delivery, Status, parse},
};

/// Bytes of deliveries that are taken in at once: four of the largest, or thousands of the
/// usual ones. Until one is on disk it needs about eight times its size, so that this is
/// 256 MiB. One more is refused before it has arrived, and its sender tries again.
pub(super) const ARRIVING_BYTES: usize = 4 * MAX_BODY_BYTES;
/// A larger body would keep a thread of the runtime, and whatever else waits for it, for
/// about a millisecond or more: it is read on another one.
const LARGE: usize = 64 * 1024;
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

/// Takes a delivery, and counts what became of it.
pub(super) async fn take(State(app): State<App>, request: Request) -> Result<StatusCode, ApiError> {
    let outcome = take_in(&app, request).await;
    let deliveries = app.deliveries();
    let count = match &outcome {
        Ok(()) => &deliveries.accepted,
        Err(ApiError::Later(_) | ApiError::Journal(_)) => &deliveries.deferred,
        Err(refusal) => {
            let reason = refusal.to_string();
            warn!(reason, "Refused a delivery; Alertmanager does not repeat it");
            &deliveries.rejected
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
    outcome.map(|()| StatusCode::OK)
}

async fn take_in(app: &App, request: Request) -> Result<(), ApiError> {
    let place = place_for(app, request.body())?;
    let body = Bytes::from_request(request, &()).await?;
    let now = app.clock.now().wall;
    let (is_large, read) = (body.len() > LARGE, move || {
        let delivery = parse(&body).map_err(|rejection| ApiError::Bad(rejection.to_string()))?;
        let entry = Entry::new(now, "delivery", &delivery);
        // Its place goes with it: it is read to its end also for a sender that has left.
        Ok::<_, ApiError>((delivery, entry, place))
    });
    let (delivery, entry, _place) = if is_large {
        let cut_short = |_| ApiError::Later("reading the delivery was cut short".into());
        tokio::task::spawn_blocking(read).await.map_err(cut_short)??
    } else {
        read()?
    };
    app.journal.take(&entry).await.map_err(ApiError::Journal)?;
    if delivery.truncated > 0 {
        app.deliveries().truncated.fetch_add(1, Ordering::Relaxed);
        warn!(alerts = delivery.truncated, "Alertmanager left alerts out: set max_alerts to 0");
    }
    note_unmatched(app, &delivery, now);
    debug!(alerts = delivery.alerts.len(), receiver = delivery.receiver, "Took a delivery");
    app.wake.notify_one();
    Ok(())
}

/// A place for a body that has not arrived, as large as it says it will be, or may be.
fn place_for(app: &App, body: &Body) -> Result<OwnedSemaphorePermit, ApiError> {
    let bytes = body.size_hint().upper().map_or(Ok(MAX_BODY_BYTES), usize::try_from);
    let too_large = || ApiError::TooLarge(MAX_BODY_BYTES);
    let bytes = bytes.ok().filter(|it| *it <= MAX_BODY_BYTES).ok_or_else(too_large)?;
    let bytes = u32::try_from(bytes).map_err(|_| too_large())?;
    let place = Arc::clone(app.room()).try_acquire_many_owned(bytes);
    place.map_err(|_| ApiError::Later("too many deliveries arrive at once".into()))
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
