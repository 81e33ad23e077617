//! What the exporter answers over HTTP.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use satellite_toolkit::{
    exposition::{Exposition, Format, compression},
    process,
};
use tokio::{sync::Semaphore, time};
use url::form_urlencoded;

use crate::{
    catalogue::Naming,
    checks::Checks,
    groups::Group,
    page,
    scrape::{Scraper, Wanted, deadline},
};

/// Scrapes that gather at a time; further ones wait. What they have gathered they hold
/// until it is sent, for which the listener's limits stand.
const CONCURRENT_SCRAPES: usize = 16;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) scraper: Arc<Scraper>,
    pub(crate) checks: Arc<Checks>,
    /// The exporter's own metrics.
    pub(crate) own: Registry,
    /// How long Mesos may take.
    pub(crate) timeout: Duration,
    pub(crate) telemetry_path: String,
    /// What a scrape brings that does not ask for less, or by other names.
    pub(crate) wanted: Wanted,
    /// As many as there may be scrapes at a time; see [`App::turns`].
    pub(crate) turns: Semaphore,
}

impl App {
    /// What [`App::turns`] starts with.
    pub(crate) fn all_turns() -> Semaphore {
        Semaphore::new(CONCURRENT_SCRAPES)
    }
}

/// The page and the metrics; the lifecycle endpoints are the toolkit's.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route(&app.telemetry_path, get(metrics).layer(compression()))
        .route("/", get(page::index))
        .with_state(app)
}

async fn metrics(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let wanted = match app.wanted.asked(&query.unwrap_or_default()) {
        Ok(wanted) => wanted,
        // To answer with other series than were asked for would look like lost ones.
        Err(message) => return (StatusCode::BAD_REQUEST, format!("{message}\n")).into_response(),
    };
    let started = Instant::now();
    let deadline = deadline(&headers, app.timeout);
    // Mesos keeps at least half of the time: a source without any would look down.
    let Ok(Ok(_turn)) = time::timeout(deadline / 2, app.turns.acquire()).await else {
        let message = format!("{CONCURRENT_SCRAPES} scrapes are under way already\n");
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let waited = whole_milliseconds(started.elapsed());
    let gathered = app.scraper.scrape(wanted, deadline.saturating_sub(waited)).await;
    let mut exposition = Exposition::new(Format::negotiate(&headers)).registry(&app.own);
    for families in gathered {
        exposition = exposition.families(families);
    }
    if wanted.groups.has(Group::Checks) {
        exposition = exposition.families(app.checks.families());
    }
    exposition.families(process::families(env!("CARGO_PKG_VERSION"))).into_response()
}

impl Wanted {
    /// What a scrape's query makes of it. The error is for whoever asked.
    fn asked(self, query: &str) -> Result<Self, String> {
        let mut naming = self.naming;
        for (_, value) in form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "names")
        {
            naming = match &*value {
                "native" => Naming::Native,
                "mesos_exporter" => Naming::MesosExporter,
                _ => return Err("names must be native or mesos_exporter".into()),
            };
        }
        Ok(Self { groups: self.groups.narrowed(query)?, naming })
    }
}

/// Without what is finer: errors tell the time that Mesos had, and 2s reads better than
/// 1.999986362s.
fn whole_milliseconds(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000_000))
}
