//! What the exporter answers over HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use satellite_toolkit::exposition::{Families, Format, compression, render, response};
use serde::Deserialize;
use tokio::{sync::Semaphore, time};

use crate::{
    checks::Checks,
    page,
    scrape::{Scraper, deadline},
};

/// Scrapes that ask Mesos at a time; further ones wait. Each makes Mesos build its answers
/// and holds them until they are decoded, while two Prometheus and a person make three.
const CONCURRENT_SCRAPES: usize = 8;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) scraper: Scraper,
    pub(crate) checks: Arc<Checks>,
    /// The exporter's own metrics.
    pub(crate) own: Registry,
    /// How long Mesos may take.
    pub(crate) timeout: Duration,
    pub(crate) telemetry_path: String,
    turns: Semaphore,
}

impl App {
    pub(crate) fn new(
        scraper: Scraper,
        checks: Arc<Checks>,
        own: Registry,
        timeout: Duration,
        telemetry_path: String,
    ) -> Self {
        let turns = Semaphore::new(CONCURRENT_SCRAPES);
        Self { scraper, checks, own, timeout, telemetry_path, turns }
    }
}

/// The page and the metrics; the lifecycle endpoints are the toolkit's.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route(&app.telemetry_path, get(metrics).layer(compression()))
        .route("/", get(page::index))
        .with_state(app)
}

#[derive(Debug, Deserialize)]
struct Parameters {
    /// Which names the metrics have.
    names: Option<String>,
}

async fn metrics(
    State(app): State<Arc<App>>,
    Query(Parameters { names }): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    if let Some(names) = names.filter(|names| names != "native") {
        // To answer with other names than were asked for would look like lost series.
        let message = if names == "mesos_exporter" {
            "names=mesos_exporter is not yet in force\n"
        } else {
            "names must be native\n"
        };
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    let started = Instant::now();
    let deadline = deadline(&headers, app.timeout);
    // Mesos keeps at least half of the time: a source without any would look down.
    let Ok(Ok(_turn)) = time::timeout(deadline / 2, app.turns.acquire()).await else {
        let message = format!("{CONCURRENT_SCRAPES} scrapes are under way already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let waited = whole_milliseconds(started.elapsed());
    let mut families = app.scraper.scrape(deadline.saturating_sub(waited)).await;
    families.extend(app.checks.families());
    let gathered = Families(families).into_registry();
    let format = Format::negotiate(&headers);
    response(format, render(&[&gathered, &app.own], format))
}

/// Without what is finer: errors tell the time that Mesos had, and 2s reads better than
/// 1.999986362s.
fn whole_milliseconds(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000))
}
