//! The file that says who may ask: TLS, client certificates, users, headers.
//!
//! It has the format that exporters of the Prometheus ecosystem share, web.yml of
//! exporter-toolkit, whose documentation (docs/web-configuration.md there) is the source of
//! every key, default and accepted value here. Where it and this daemon differ, the reason is
//! with the code that refuses: [`tls`] (what rustls does not speak), [`clients`]
//! (certificates that nobody verifies), [`reading`] (a file that is empty, or has too much).
//!
//! [`Web`] is what a daemon holds: the settings in force. [`crate::serve::serve`] asks it for
//! TLS with each connection and for users with each request, and has it look at the files
//! about once a second, so that certificates rotate and users change without a restart.
//! No request waits for a disk.
//!
//! A file that becomes invalid closes no door and opens none: the last good settings stay in
//! force, the log says why, and `satellite_web_config_last_reload_successful` is 0.
//! exporter-toolkit fails every request then, which for a daemon that others steer by would
//! be an outage by typing error. Nor is a change taken that would add or take away a kind of
//! protection (`reading::Protection`): a file that is cut off while it is written may lack its last
//! lines and be valid, and must not let everybody in. Such a change needs a restart.

mod clients;
mod headers;
mod rate;
mod raw;
mod reading;
mod tls;
mod users;

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustls::ServerConfig;
use satellite_yaml::Problem;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::{debug, error, info};

pub use self::users::User;
use self::{
    reading::{Reading, Seen, Settings},
    users::Refusal,
};
use crate::serve::json_error;

/// How often the files are looked at: often enough for a person who waits for a change, and
/// a handful of `stat` calls each time.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a client without credentials is asked for.
const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"satellite\", charset=\"UTF-8\"");

/// When a client that met a full queue may ask again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The web configuration in force. Without a file ([`Web::default`]) everything is plain
/// HTTP and everybody may ask.
#[derive(Clone, Debug, Default)]
pub struct Web(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    file: Option<PathBuf>,
    /// The files that the last reading looked at, and how they were.
    seen: Mutex<Vec<Seen>>,
    current: watch::Sender<Arc<Settings>>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Metrics {
    successful: Gauge,
    failed_handshakes: Counter,
    refused: Counter,
}

impl Web {
    /// Reads the file and all that it names. Each problem has its line.
    ///
    /// # Errors
    /// Every problem of the file; nothing of it is in force then.
    pub fn load(file: &Path) -> Result<Self, Vec<Problem>> {
        let Reading { outcome, seen } = reading::read(file);
        let metrics = Metrics::default();
        metrics.successful.set(1);
        Ok(Self(Arc::new(Shared {
            file: Some(file.to_owned()),
            seen: Mutex::new(seen),
            current: watch::Sender::new(Arc::new(outcome?)),
            metrics,
        })))
    }

    /// Registers `satellite_web_config_last_reload_successful`,
    /// `satellite_web_tls_handshake_failures_total` and
    /// `satellite_web_requests_refused_total`, where there is a file.
    pub fn register(&self, registry: &mut Registry) {
        if self.0.file.is_none() {
            return;
        }
        let Metrics { successful, failed_handshakes, refused } = &self.0.metrics;
        registry.register(
            "satellite_web_config_last_reload_successful",
            "Whether the last attempt to read the web configuration and its certificates succeeded",
            successful.clone(),
        );
        registry.register(
            "satellite_web_tls_handshake_failures",
            "Connections that ended before TLS was agreed upon",
            failed_handshakes.clone(),
        );
        registry.register(
            "satellite_web_requests_refused",
            "Requests without valid credentials, or too many at once",
            refused.clone(),
        );
    }

    /// Whether every request comes from a user that the file names. Does not change.
    pub fn has_users(&self) -> bool {
        self.current().protection.users
    }

    /// Whether connections are encrypted. Does not change.
    pub fn has_tls(&self) -> bool {
        self.current().protection.tls
    }

    /// The TLS that a new connection speaks, if any.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.current().tls.clone()
    }

    /// Counts a connection that ended before TLS was agreed upon.
    pub(crate) fn note_failed_handshake(&self) {
        self.0.metrics.failed_handshakes.inc();
    }

    /// Looks at the files for as long as it is polled.
    pub(crate) async fn keep_current(&self) -> Infallible {
        let Some(file) = &self.0.file else { return std::future::pending().await };
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (file, seen) = (file.clone(), self.seen().clone());
            // On a thread that may block: the files may lie on a disk that is slow or gone.
            let looked = tokio::task::spawn_blocking(move || {
                reading::have_changed(&seen).then(|| reading::read(&file))
            });
            match looked.await {
                Ok(Some(reading)) => self.take(reading),
                Ok(None) => {}
                Err(error) => error!(%error, "Cannot look at the web configuration"),
            }
        }
    }

    /// Puts what was read in force, if it is valid and protects as the former did.
    fn take(&self, Reading { outcome, seen }: Reading) {
        *self.seen() = seen;
        let former = self.current().protection;
        let taken = outcome.map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            lines.join("; ")
        });
        let taken = taken.and_then(|fresh| match fresh.protection.differs_from(former) {
            None => Ok(fresh),
            Some(what) => Err(format!("{what} cannot be turned on or off without a restart")),
        });
        self.0.metrics.successful.set(taken.is_ok().into());
        match taken {
            Ok(fresh) => {
                self.0.current.send_replace(Arc::new(fresh));
                info!("Read the web configuration again");
            }
            Err(reason) => {
                error!(reason, "Kept the old web configuration: the new one was not taken");
            }
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Vec<Seen>> {
        self.0.seen.lock().expect("no holder of this lock panics")
    }

    fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.0.current.borrow())
    }
}

/// Lets a request in, with its [`User`] among its extensions where there are users; or
/// answers it. The password goes no further than this.
pub(crate) async fn admit(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let settings = web.current();
    if settings.rate.as_ref().is_some_and(|rate| !rate.admits(Instant::now())) {
        web.0.metrics.refused.inc();
        let why = "more requests than rate_limit of the web configuration allows; ask later";
        return json_error(StatusCode::TOO_MANY_REQUESTS, why);
    }
    let Some(users) = &settings.users else { return next.run(request).await };
    match users.recognise(request.headers()).await {
        Ok(user) => {
            request.headers_mut().remove(header::AUTHORIZATION);
            request.extensions_mut().insert(user);
            next.run(request).await
        }
        Err(refusal) => {
            web.0.metrics.refused.inc();
            // Without the name: people type their password in its place.
            debug!(?refusal, "Refused a request");
            refused(refusal)
        }
    }
}

/// Adds the headers of the file to an answer, whoever made it.
pub(crate) async fn add_headers(State(web): State<Web>, mut response: Response) -> Response {
    for (name, value) in &web.current().headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unknown => {
            let why = "give the name and the password of a user of this daemon";
            let mut response = json_error(StatusCode::UNAUTHORIZED, why);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
            response
        }
        Refusal::Busy => {
            let why = "too many passwords wait to be checked; ask again";
            let mut response = json_error(StatusCode::SERVICE_UNAVAILABLE, why);
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            response
        }
    }
}
