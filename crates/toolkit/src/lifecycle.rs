//! The endpoints by which a supervisor and an operator steer a daemon:
//! `GET /-/healthy`, `GET /-/ready`, `POST /-/reload`.
//!
//! A reload asked for by SIGHUP and one asked for over HTTP go through the same queue
//! to the same handler, one at a time. The handler belongs to the daemon: it swaps in
//! a whole valid configuration or leaves the old one in force and says why.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    future::Future,
    io,
    sync::{Arc, RwLock, atomic::AtomicU64},
};

use axum::{
    Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Reloads that may wait behind the one that runs. Each reads the same file, so a
/// longer queue would only repeat work; further callers wait for a place.
const RELOAD_QUEUE: usize = 1;

/// Why a daemon cannot do its work yet, by name. Ready when nothing is left.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    reasons: Arc<RwLock<BTreeMap<String, String>>>,
}

impl Readiness {
    /// Not ready for these reasons, each a part's name and what it waits for.
    pub fn new<const N: usize>(reasons: [(&str, &str); N]) -> Self {
        let readiness = Self::default();
        for (part, reason) in reasons {
            readiness.set(part, Some(reason.to_owned()));
        }
        readiness
    }

    /// Says why `part` is not ready, or with `None` that it is.
    pub fn set(&self, part: &str, reason: Option<String>) {
        let mut reasons = self.reasons.write().expect("no holder of this lock panics");
        match reason {
            Some(reason) => reasons.insert(part.to_owned(), reason),
            None => reasons.remove(part),
        };
    }

    /// `part: reason` for every part that is not ready, sorted. Empty when ready.
    pub fn reasons(&self) -> Vec<String> {
        let reasons = self.reasons.read().expect("no holder of this lock panics");
        reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }
}

/// Asks for a reload; made by [`reload`].
#[derive(Clone, Debug)]
pub struct Reload {
    requests: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

impl Reload {
    /// Reloads and waits for the outcome. The error says why the old configuration
    /// is still in force.
    pub async fn run(&self) -> Result<(), String> {
        let gone = |_| "the daemon is ending".to_owned();
        let (reply, outcome) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| gone(()))?;
        outcome.await.map_err(|_| gone(()))?
    }
}

/// Carries out what [`Reload`] and SIGHUP ask for; made by [`reload`].
#[derive(Debug)]
pub struct Reloader {
    requests: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
    hangup: Signal,
    successful: Gauge,
    succeeded_at: Gauge<f64, AtomicU64>,
}

/// Prepares reloading: from here on SIGHUP no longer ends the process, and `registry`
/// has `satellite_config_last_reload_successful` and
/// `satellite_config_last_reload_success_timestamp_seconds`, which count the start as
/// the first reload. `now` is the time of that start. Needs a tokio runtime.
pub fn reload(registry: &mut Registry, now: Timestamp) -> io::Result<(Reload, Reloader)> {
    let hangup = signal(SignalKind::hangup())?;
    let successful = Gauge::default();
    let succeeded_at = Gauge::<f64, AtomicU64>::default();
    registry.register(
        "satellite_config_last_reload_successful",
        "Whether the last attempt to load the configuration succeeded",
        successful.clone(),
    );
    registry.register(
        "satellite_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was loaded, in seconds since 1970",
        succeeded_at.clone(),
    );
    let (sender, requests) = mpsc::channel(RELOAD_QUEUE);
    let reloader = Reloader { requests, hangup, successful, succeeded_at };
    reloader.note(true, now);
    Ok((Reload { requests: sender }, reloader))
}

impl Reloader {
    /// Calls `load` for every request and every SIGHUP, one at a time, until `token` is
    /// cancelled. `load` swaps the configuration, or leaves it and gives the reason.
    pub async fn run<F, L>(mut self, token: CancellationToken, mut load: L)
    where
        L: FnMut() -> F + Send,
        F: Future<Output = Result<(), String>> + Send,
    {
        loop {
            let reply = tokio::select! {
                () = token.cancelled() => return,
                _ = self.hangup.recv() => None,
                // Without any handle left this arm rests, and SIGHUP still works.
                Some(reply) = self.requests.recv() => Some(reply),
            };
            let outcome = load().await;
            self.note(outcome.is_ok(), Timestamp::now());
            match &outcome {
                Ok(()) => info!("Reloaded the configuration"),
                Err(reason) => {
                    error!(reason, "Kept the old configuration: the new one was not taken");
                }
            }
            if let Some(reply) = reply {
                // A caller that left has read the outcome in the log or nowhere.
                reply.send(outcome).ok();
            }
        }
    }

    fn note(&self, successful: bool, now: Timestamp) {
        self.successful.set(successful.into());
        if successful {
            self.succeeded_at.set(now.as_duration().as_secs_f64());
        }
    }
}

/// The routes below `/-/`.
pub fn routes(readiness: Readiness, reload: Reload) -> Router {
    let reload = move || {
        let reload = reload.clone();
        async move { reload_response(reload.run().await) }
    };
    Router::new()
        .route("/-/healthy", get(async || "OK\n"))
        .route("/-/ready", get(async move || ready_response(&readiness)))
        .route("/-/reload", post(reload.clone()).put(reload))
}

fn ready_response(readiness: &Readiness) -> Response {
    let reasons = readiness.reasons();
    if reasons.is_empty() {
        return "Ready\n".into_response();
    }
    let mut body = String::new();
    for reason in reasons {
        writeln!(body, "{reason}").expect("writing to a string does not fail");
    }
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

fn reload_response(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => {
            let body = format!("failed to reload config: {reason}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use prometheus_client::encoding::text::encode;
    use tower::ServiceExt as _;

    async fn call(router: Router, method: &str, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_tells_each_reason_until_none_is_left() {
        let readiness = Readiness::new([("store", "not loaded yet"), ("merge", "none done yet")]);
        let (reload, _reloader) = reload(&mut Registry::default(), Timestamp::UNIX_EPOCH).unwrap();
        let router = routes(readiness.clone(), reload);
        let (status, body) = call(router.clone(), "GET", "/-/ready").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "merge: none done yet\nstore: not loaded yet\n");
        readiness.set("store", None);
        readiness.set("merge", None);
        assert_eq!(call(router.clone(), "GET", "/-/ready").await.0, StatusCode::OK);
        assert_eq!(call(router, "GET", "/-/healthy").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn the_reloader_ends_with_its_token_also_when_nobody_can_ask_any_more() {
        let (reload, reloader) = reload(&mut Registry::default(), Timestamp::UNIX_EPOCH).unwrap();
        let token = CancellationToken::new();
        let mut run = tokio::spawn(reloader.run(token.clone(), async || Ok(())));
        drop(reload);
        let short = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(short, &mut run).await.is_err(), "it ended by itself");
        token.cancel();
        tokio::time::timeout(crate::shutdown::GRACE, run).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_failed_reload_is_500_with_the_reason_and_is_seen_in_the_metrics() {
        let mut registry = Registry::default();
        let (reload, reloader) = reload(&mut registry, Timestamp::UNIX_EPOCH).unwrap();
        let token = CancellationToken::new();
        let mut outcomes = [Err("x.yml:3:1: bad".to_owned()), Ok(())].into_iter();
        let task = tokio::spawn(reloader.run(token.clone(), move || {
            let outcome = outcomes.next().unwrap();
            async move { outcome }
        }));
        let router = routes(Readiness::default(), reload);
        let metrics = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };

        let (status, body) = call(router.clone(), "POST", "/-/reload").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body, "failed to reload config: x.yml:3:1: bad\n");
        assert!(metrics().contains("satellite_config_last_reload_successful 0\n"));
        assert!(metrics().contains("satellite_config_last_reload_success_timestamp_seconds 0.0\n"));

        assert_eq!(call(router.clone(), "PUT", "/-/reload").await.0, StatusCode::OK);
        assert!(metrics().contains("satellite_config_last_reload_successful 1\n"));

        assert_eq!(
            call(router.clone(), "GET", "/-/reload").await.0,
            StatusCode::METHOD_NOT_ALLOWED
        );
        token.cancel();
        task.await.unwrap();
        assert_eq!(
            call(router, "POST", "/-/reload").await.1,
            "failed to reload config: the daemon is ending\n"
        );
    }
}
