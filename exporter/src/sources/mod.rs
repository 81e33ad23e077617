//! Where the numbers come from: one request to Mesos each, and what came of it.
//!
//! A source fetches, decodes and maps; it never retries (the next scrape does), never
//! follows a redirect (the numbers must be this master's own) and keeps nothing but the
//! names of containers, see [`agent`].

pub(crate) mod agent;
mod flight;
pub(crate) mod master;
mod pace;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use satellite_mesos::{
    Client, ClientError, limits, shown,
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
    /// How long it took; `None` if it did not have to be asked.
    pub(crate) duration: Option<Duration>,
    pub(crate) result: Result<T, Arc<SourceError>>,
}

impl<T> Outcome<T> {
    /// Awaits a source and measures it. Waiting for one's turn to ask is no part of that.
    async fn measure(
        source: &'static str,
        url: &Url,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Self {
        let started = Instant::now();
        let result = work.await.map_err(Arc::new);
        Self { source, url: shown(url), duration: Some(started.elapsed()), result }
    }

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

/// One request, or a few that belong together, that a scrape has joined.
pub(crate) struct Joined {
    /// The sources that it will tell of, as far as is known before it has ended.
    sources: &'static [&'static str],
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
        let late = |source: &&'static str| Outcome {
            source,
            url: url.clone(),
            duration: Some(patience),
            result: Err(Arc::new(SourceError::Late { url: url.clone(), waited: patience })),
        };
        sources.iter().map(late).collect()
    }
}

/// The snapshot of a master or an agent: both answer it alike. `note` sees it, too.
async fn snapshot(
    client: &Client,
    url: &Url,
    timeout: Duration,
    (component, wanted): (Component, Wanted),
    note: impl FnOnce(&Snapshot<'_>),
) -> Result<Arc<[Family]>, SourceError> {
    let body = client.get(url, timeout, limits::SNAPSHOT).await?;
    let mapped = decode(url, &body, |body| {
        let snapshot = parse_snapshot(body)?;
        note(&snapshot);
        let is_one = !snapshot.pairs.is_empty();
        Ok(is_one.then(|| families::snapshot(component, &snapshot, wanted)))
    });
    mapped?.map(Arc::from).ok_or_else(|| rubbish(url, "numbers"))
}

/// Decodes in place: a scrape is all there is to do, and the largest document that is
/// known takes some 50 ms. A panic costs this source, not those who wait for it.
fn decode<T>(
    url: &Url,
    body: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, ParseError>,
) -> Result<T, SourceError> {
    match catch_unwind(AssertUnwindSafe(|| decode(body))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(SourceError::Decode { url: shown(url), source }),
        Err(_) => Err(SourceError::Panicked { url: shown(url) }),
    }
}

/// An error for a document that lacks what makes it the right one, such as `{}`.
fn rubbish(url: &Url, lacking: &'static str) -> SourceError {
    SourceError::Rubbish { url: shown(url), lacking }
}
