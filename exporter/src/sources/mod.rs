//! Where the numbers come from: one request to Mesos each, and what came of it.
//!
//! A source fetches, decodes and maps; it never retries (the next scrape does), never
//! follows a redirect (the numbers must be this master's own) and keeps nothing but the
//! names of containers, see [`agent`].

pub(crate) mod agent;
pub(crate) mod master;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use bytes::Bytes;
use satellite_mesos::{
    Client, ClientError, limits, shown,
    wire::{ParseError, snapshot::parse_snapshot},
};
use satellite_toolkit::exposition::Family;
use url::Url;

use crate::{catalogue::Component, families};

/// Why a source brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Fetch(#[from] ClientError),
    #[error("the answer of {url} cannot be read")]
    Decode {
        url: String,
        #[source]
        source: ParseError,
    },
    /// It is the right kind of document, but not the one that was asked for.
    #[error("the answer of {url} has no {lacking}")]
    Rubbish { url: String, lacking: &'static str },
    #[error("decoding the answer of {url} failed")]
    Panicked {
        url: String,
        #[source]
        source: tokio::task::JoinError,
    },
}

/// What one source has to say in one scrape.
#[derive(Debug)]
pub(crate) struct Outcome<T = Vec<Family>> {
    /// The value of the label `source`.
    pub(crate) source: &'static str,
    pub(crate) url: String,
    pub(crate) duration: Duration,
    pub(crate) result: Result<T, SourceError>,
}

impl<T> Outcome<T> {
    /// Awaits a source and measures it.
    async fn measure(
        source: &'static str,
        url: &Url,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Self {
        let started = Instant::now();
        let result = work.await;
        Self { source, url: shown(url), duration: started.elapsed(), result }
    }

    /// Goes on with what a success brought, on the same clock.
    async fn and_then<U>(self, next: impl AsyncFnOnce(T) -> Result<U, SourceError>) -> Outcome<U> {
        let Self { source, url, duration, result } = self;
        let started = Instant::now();
        let result = match result {
            Ok(value) => next(value).await,
            Err(error) => Err(error),
        };
        Outcome { source, url, duration: duration + started.elapsed(), result }
    }
}

/// The snapshot of a master or an agent: both answer it alike.
async fn snapshot(
    client: &Client,
    url: &Url,
    component: Component,
    timeout: Duration,
) -> Result<Vec<Family>, SourceError> {
    let body = client.get(url, timeout, limits::SNAPSHOT).await?;
    let mapped = decode(url, body, move |body| {
        let snapshot = parse_snapshot(body)?;
        Ok((!snapshot.pairs.is_empty()).then(|| families::snapshot(component, &snapshot)))
    });
    mapped.await?.ok_or_else(|| rubbish(url, "numbers"))
}

/// Decodes on a thread that may block: a large `/state` takes a tenth of a second, and
/// other requests are served meanwhile.
async fn decode<T, F>(url: &Url, body: Bytes, decode: F) -> Result<T, SourceError>
where
    T: Send + 'static,
    F: FnOnce(&[u8]) -> Result<T, ParseError> + Send + 'static,
{
    match tokio::task::spawn_blocking(move || decode(&body)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(SourceError::Decode { url: shown(url), source }),
        Err(source) => Err(SourceError::Panicked { url: shown(url), source }),
    }
}

/// An error for a document that lacks what makes it the right one, such as `{}`.
fn rubbish(url: &Url, lacking: &'static str) -> SourceError {
    SourceError::Rubbish { url: shown(url), lacking }
}
