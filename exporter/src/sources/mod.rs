//! Where the numbers come from: one request to Mesos each, and what came of it.
//!
//! A source fetches, decodes and maps. It never retries (the next scrape does), never
//! follows a redirect (the numbers must be this process's own), and keeps no number: only
//! who the agent is and who owns its containers, see [`agent`].
//!
//! Scrapes that want the same share what is made of an answer; those that want different
//! things share the answer.

pub(crate) mod agent;
mod flight;
pub(crate) mod master;
mod pace;

use std::{
    borrow::Cow,
    future::Future,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use satellite_mesos::{
    ClientError, shown,
    wire::{ParseError, snapshot::Snapshot, snapshot::parse_snapshot},
};
use satellite_toolkit::exposition::Family;
use url::Url;

use crate::{catalogue::Component, families, scrape::Wanted};

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
    /// It is still under way, and this scrape could not wait for it any longer.
    #[error("{url} had not answered after {waited:?}")]
    Late { url: String, waited: Duration },
    /// It was asked a moment ago and has not answered, and is not asked again so soon.
    #[error("{url} has not been read yet")]
    NotRead { url: String },
    #[error(
        "reading the answer of {url} failed in a way that was not foreseen; please report this"
    )]
    Panicked { url: String },
}

/// What one source has to say in one scrape: series, once all is done.
#[derive(Clone, Debug)]
pub(crate) struct Outcome<T = Arc<[Family]>> {
    /// The value of the label `source`.
    pub(crate) source: &'static str,
    pub(crate) url: String,
    /// How long it took, from the request to its series; `None` if it did not have to be
    /// asked.
    pub(crate) duration: Option<Duration>,
    pub(crate) result: Result<T, Arc<SourceError>>,
}

impl<T> Outcome<T> {
    fn map<U>(self, of: impl FnOnce(T) -> U) -> Outcome<U> {
        self.map_result(|result| result.map(of))
    }

    fn map_result<U>(
        self,
        of: impl FnOnce(Result<T, Arc<SourceError>>) -> Result<U, Arc<SourceError>>,
    ) -> Outcome<U> {
        let Self { source, url, duration, result } = self;
        Outcome { source, url, duration, result: of(result) }
    }
}

/// An answer of Mesos, as it came.
#[derive(Debug)]
struct Fetched {
    url: Url,
    asked: Instant,
    took: Duration,
    body: Result<Bytes, Arc<SourceError>>,
}

impl Fetched {
    /// Awaits an answer and measures it. Waiting for one's turn to ask is no part of that.
    async fn measure(url: Url, answer: impl Future<Output = Result<Bytes, ClientError>>) -> Self {
        let asked = Instant::now();
        let body = answer.await.map_err(|error| Arc::new(error.into()));
        Self { url, asked, took: asked.elapsed(), body }
    }

    /// What this source makes of the answer.
    fn outcome<T, E: Into<Arc<SourceError>>>(
        &self,
        source: &'static str,
        read: impl FnOnce(&Url, &Bytes) -> Result<T, E>,
    ) -> Outcome<T> {
        let started = Instant::now();
        let read = |body| read(&self.url, body).map_err(E::into);
        let result = self.body.as_ref().map_err(Arc::clone).and_then(read);
        let duration = Some(self.took + started.elapsed());
        Outcome { source, url: shown(&self.url), duration, result }
    }
}

/// One request, or a few that belong together, that a scrape has joined.
pub(crate) struct Joined {
    /// The sources that it will tell of, as far as is known before it has ended.
    sources: Vec<&'static str>,
    url: String,
    flight: flight::Flight<Vec<Outcome>>,
}

impl Joined {
    /// What came of it; where that takes longer than `patience`, that its sources are late.
    pub(crate) async fn outcomes(self, patience: Duration) -> Vec<Outcome> {
        let Self { sources, url, flight } = self;
        if let Ok(outcomes) = tokio::time::timeout(patience, flight).await {
            return outcomes.to_vec();
        }
        let late = || SourceError::Late { url: url.clone(), waited: patience };
        all_failed(&sources, &url, Some(patience), late)
    }
}

/// The work of a flight. A panic in it costs its sources, not those who wait for it.
fn guarded(
    sources: Vec<&'static str>,
    url: String,
    work: impl Future<Output = Vec<Outcome>> + Send + 'static,
) -> BoxFuture<'static, Arc<Vec<Outcome>>> {
    let work = AssertUnwindSafe(work).catch_unwind();
    let panicked = move |_| {
        let error = || SourceError::Panicked { url: url.clone() };
        all_failed(&sources, &url, None, error)
    };
    work.map(|ended| Arc::new(ended.unwrap_or_else(panicked))).boxed()
}

fn all_failed(
    sources: &[&'static str],
    url: &str,
    duration: Option<Duration>,
    error: impl Fn() -> SourceError,
) -> Vec<Outcome> {
    let failed = |source: &&'static str| {
        let result = Err(Arc::new(error()));
        Outcome { source, url: url.to_owned(), duration, result }
    };
    sources.iter().map(failed).collect()
}

/// The series of a master's or an agent's snapshot. `note` sees it, too.
fn snapshot(
    url: &Url,
    body: &Bytes,
    (component, wanted): (Component, Wanted),
    note: impl Fn(&Snapshot<'_>),
) -> Result<Arc<[Family]>, SourceError> {
    let mapped = decode(url, body, |body| {
        let snapshot = parse_snapshot(body)?;
        note(&snapshot);
        let is_one = !snapshot.pairs.is_empty();
        Ok(is_one.then(|| families::snapshot(component, &snapshot, wanted)))
    });
    mapped?.map(Arc::from).ok_or_else(|| rubbish(url, "numbers"))
}

/// Decodes in place: a scrape is all there is to do, and the largest document that is
/// usual, the summary of a cluster of 10 000 agents, takes some 50 ms.
///
/// Mesos writes the names that users gave as it got them, also where they are no UTF-8:
/// then what is none is replaced, and the document is read all the same.
fn decode<T>(
    url: &Url,
    body: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, ParseError>,
) -> Result<T, SourceError> {
    let decoded = decode(body).or_else(|error| match String::from_utf8_lossy(body) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(text) => decode(text.as_bytes()),
    });
    decoded.map_err(|source| SourceError::Decode { url: shown(url), source })
}

/// An error for a document that lacks what makes it the right one, such as `{}`.
fn rubbish(url: &Url, lacking: &'static str) -> SourceError {
    SourceError::Rubbish { url: shown(url), lacking }
}
