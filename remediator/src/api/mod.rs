//! Everything that is asked over HTTP.
//!
//! Handlers read what the last round and the documents say. Only commands
//! change anything, and only through the ledger; a delivery from Alertmanager
//! is put on record and wakes the loop, nothing more.

mod command;
mod discovery;
mod error;
mod events;
mod forget;
mod hosts;
mod import;
mod metrics;
mod page;
mod predecessor;
mod record;
mod rest;
mod status;
mod webhook;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::Next,
    response::Response,
    routing::{get, post, put},
};
use http::StatusCode;
use prometheus_client::registry::Registry;
use satellite_config::Config;
use satellite_toolkit::{exposition, serve::json_error};
use tokio::sync::{Notify, Semaphore, watch};

use crate::{
    clock::Clock, journal::Journal, ledger::Ledger, merge::FileStatus, reconcile::Report,
    store::Standing,
};
use webhook::Deliveries;

/// The largest body that is taken: what Alertmanager may deliver at once, some 5 000
/// alerts of 1.6 kB.
pub(crate) const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// The largest body of a command: the longest reason, in whatever way it is escaped, and
/// what clients may send beside it.
const MAX_COMMAND_BYTES: usize = 64 * 1024;

/// What the handlers are given.
pub(crate) struct Parts {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) journal: Journal,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) report: watch::Receiver<Arc<Report>>,
    pub(crate) file: watch::Receiver<FileStatus>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) registry: Registry,
    pub(crate) clock: Clock,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

struct Shared {
    parts: Parts,
    deliveries: Deliveries,
    /// The bytes of deliveries that may still arrive.
    room: Arc<Semaphore>,
    /// Those who may still begin to read the journal.
    readers: Arc<Semaphore>,
    /// Whoever may import.
    importers: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            deliveries: Deliveries::default(),
            room: Arc::new(Semaphore::new(webhook::ARRIVING_BYTES)),
            readers: Arc::new(Semaphore::new(record::READERS)),
            importers: Arc::new(Semaphore::new(1)),
        }))
    }

    fn room(&self) -> &Arc<Semaphore> {
        &self.0.room
    }

    fn importers(&self) -> &Arc<Semaphore> {
        &self.0.importers
    }

    fn readers(&self) -> &Arc<Semaphore> {
        &self.0.readers
    }

    fn deliveries(&self) -> &Deliveries {
        &self.0.deliveries
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    fn report(&self) -> Arc<Report> {
        Arc::clone(&self.report.borrow())
    }

    /// Whether this remediator leads, as far as it knows.
    fn leads(&self) -> bool {
        *self.ledger.standing().borrow() == Standing::Leads
    }

    /// Why this remediator decides nothing, where it does not lead.
    fn deferral(&self) -> Option<String> {
        match &*self.ledger.standing().borrow() {
            Standing::Leads => None,
            Standing::Follows { leader: Some(leader) } => {
                Some(format!("another remediator leads, {leader}: it knows more"))
            }
            Standing::Follows { leader: None } | Standing::Away(_) => {
                Some("no remediator leads, as far as is known here".into())
            }
        }
    }

    /// Why what is decided does not get into the store, if so.
    fn store_failure(&self) -> Option<String> {
        self.ledger.absence().or_else(|| self.report().failure.clone())
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// Before the store was read nothing can be said of any host, and nothing be done.
async fn refuse_unread(State(app): State<App>, request: Request, next: Next) -> Response {
    if app.ledger.is_read() {
        return next.run(request).await;
    }
    let reason = app.ledger.absence().unwrap_or_else(|| "it is being read".into());
    let message = format!("the store was not read yet, since this remediator started: {reason}");
    json_error(StatusCode::SERVICE_UNAVAILABLE, &message)
}

/// Every route but the lifecycle's.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(commands())
        .merge(import::route())
        .route("/", get(page::show))
        .route("/webhook", post(webhook::take))
        .route("/api/v1/hosts", get(hosts::list))
        .route("/api/v1/status", get(status::show))
        .route("/api/v1/journal", get(record::show))
        .route("/sd/exporters", get(discovery::exporters))
        .layer(axum::middleware::from_fn_with_state(app.clone(), refuse_unread))
        .route("/metrics", get(metrics::show))
        .fallback(async || json_error(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            let message = "this path takes other methods: the header Allow names them";
            json_error(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(exposition::compression())
        .with_state(app)
}

/// What people say. Nobody sends a large body there.
fn commands() -> Router<App> {
    Router::new()
        .route("/api/v1/hosts/{host}", get(hosts::show).delete(forget::delete))
        .route("/api/v1/hosts/{host}/events/{id}", put(events::put).delete(events::delete))
        .route("/api/v1/pause", post(rest::pause))
        .route("/api/v1/resume", post(rest::resume))
        .merge(predecessor::routes())
        .layer(DefaultBodyLimit::max(MAX_COMMAND_BYTES))
}
