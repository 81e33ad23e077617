//! What is asked in each round: Mesos, Alertmanager and Prometheus, over HTTP.
//!
//! One look at a source is all or nothing. Its requests run side by side under
//! one deadline, and if one of them fails, or one alert in an answer cannot be
//! read, there is no answer but the reason: half a list of alerts would look as
//! if the other half had ended.
//!
//! Nothing here retries, remembers or decides; the next round looks again. A
//! redirect is never an answer, for it leads to somebody whom nobody configured:
//! the `reqwest::Client` that is handed in must not follow any.

pub(crate) mod alertmanager;
mod mesos;
mod prometheus;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use reqwest::header::DATE;
use satellite_core::facts::{Alertmanager, Answer, Mesos, Prometheus};
use satellite_toolkit::exit::{chain, one_line};
use serde::de::DeserializeOwned;
use url::Url;

/// How long one look may take, all of its requests together. The largest answers
/// below take a healthy source a second or two, and a round must not wait long
/// for a dead one.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who can be asked. Each answer is all or nothing, and comes within a time limit.
pub(crate) trait Sources: Send + Sync {
    /// What one Alertmanager holds.
    fn alertmanager<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Answer<Alertmanager>>;

    /// What one Prometheus scrapes of the exporters, by `host_label`, and what its
    /// rules say.
    fn prometheus<'a>(
        &'a self,
        url: &'a Url,
        host_label: &'a str,
    ) -> BoxFuture<'a, Answer<Prometheus>>;

    /// Which of the masters leads, and which agents it lists.
    fn mesos<'a>(&'a self, masters: &'a [Url]) -> BoxFuture<'a, Answer<Mesos>>;
}

/// The sources as they are to be had over the network.
pub(crate) struct Network {
    /// Follows no redirects.
    pub(crate) http: reqwest::Client,
    /// For the masters.
    pub(crate) mesos: satellite_mesos::Client,
}

impl Sources for Network {
    fn alertmanager<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Answer<Alertmanager>> {
        let client = alertmanager::Client::new(self.http.clone(), url.clone());
        async move { client.look().await }.boxed()
    }

    fn prometheus<'a>(
        &'a self,
        url: &'a Url,
        host_label: &'a str,
    ) -> BoxFuture<'a, Answer<Prometheus>> {
        let client = prometheus::Client::new(self.http.clone(), url.clone());
        async move { client.look(host_label).await }.boxed()
    }

    fn mesos<'a>(&'a self, masters: &'a [Url]) -> BoxFuture<'a, Answer<Mesos>> {
        async move { mesos::look(&self.mesos, masters).await.map_err(|error| chain(&error)) }
            .boxed()
    }
}

/// How much of an error answer is read: enough for every message of Alertmanager
/// and Prometheus.
const ERROR_BODY_LIMIT: usize = 300;

/// How long a reason may be, in characters: it is logged, shown and compared.
const REASON_LIMIT: usize = 600;

const MIB: usize = 1024 * 1024;

/// Why a look brought no answer. The server is not named: whoever keeps the
/// reason keeps it beside the server's URL.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("no whole answer within {0:?}")]
    Deadline(Duration),
    #[error("{path}: the request failed")]
    Request {
        path: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("{path}: answered {status}: {body}")]
    Status { path: &'static str, status: u16, body: String },
    #[error(
        "{path}: answered {status}, a redirect, and none is followed; configure where it leads"
    )]
    Redirect { path: &'static str, status: u16 },
    #[error("{path}: the answer is larger than {limit} bytes")]
    TooLarge { path: &'static str, limit: usize },
    #[error("{path}: the answer is not readable at {at}")]
    Unreadable {
        path: &'static str,
        /// The key, such as `[3].endsAt`; `.` where it is no JSON at all.
        at: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path}: {reason}")]
    Unusable { path: &'static str, reason: String },
    #[error("{path}: reading the answer was broken off")]
    BrokenOff { path: &'static str },
}

/// One endpoint: what is asked, and how large its answer may be.
#[derive(Debug, Clone, Copy)]
struct Endpoint {
    path: &'static str,
    limit: usize,
}

/// A whole answer with status 200.
struct Response {
    /// The server's clock, cut to seconds.
    date: Option<Timestamp>,
    body: Bytes,
}

/// Runs a look to its end or to the deadline.
async fn look_within<T>(
    deadline: Duration,
    look: impl Future<Output = Result<T, LookError>>,
) -> Result<T, String> {
    let result = tokio::time::timeout(deadline, look).await;
    let result = result.unwrap_or(Err(LookError::Deadline(deadline)));
    result.map_err(|error| excerpt(&chain(&error), REASON_LIMIT))
}

/// `GET base/path?name=value`.
async fn get(
    http: &reqwest::Client,
    base: &Url,
    endpoint: Endpoint,
    query: Option<(&str, &str)>,
) -> Result<Response, LookError> {
    let Endpoint { path, limit } = endpoint;
    let failed = |source: reqwest::Error| LookError::Request { path, source: source.without_url() };
    let url = url_of(base, path, query);
    let mut response = http.get(url).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    if response.status().is_redirection() {
        return Err(LookError::Redirect { path, status });
    }
    if status != 200 {
        let body = error_body(&mut response).await;
        return Err(LookError::Status { path, status, body });
    }
    let date = response.headers().get(DATE).and_then(|date| http_date(date.to_str().ok()?));
    let too_large = || LookError::TooLarge { path, limit };
    let announced = usize::try_from(response.content_length().unwrap_or(0));
    let announced = announced.ok().filter(|length| *length <= limit).ok_or_else(too_large)?;
    let mut body = BytesMut::with_capacity(announced);
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { date, body: body.freeze() })
}

/// A source's address as people write it: without the slash that a URL adds.
pub(crate) fn shown(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// The base may have a path of its own, with or without a final slash.
fn url_of(base: &Url, path: &str, query: Option<(&str, &str)>) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    if let Some((name, value)) = query {
        url.query_pairs_mut().append_pair(name, value);
    }
    url
}

/// The status is the news; a body that breaks off says no less than what came of it.
async fn error_body(response: &mut reqwest::Response) -> String {
    let mut body = BytesMut::new();
    while body.len() < ERROR_BODY_LIMIT {
        let Ok(Some(chunk)) = response.chunk().await else { break };
        body.extend_from_slice(&chunk);
    }
    body.truncate(ERROR_BODY_LIMIT);
    excerpt(&String::from_utf8_lossy(&body), ERROR_BODY_LIMIT)
}

/// What a stranger sent, as it may be shown: short, printable, on one line.
fn excerpt(text: &str, limit: usize) -> String {
    one_line(&text.trim().chars().take(limit).collect::<String>())
}

/// The `Date` header, as RFC 9110 has every server with a clock send it.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp())
}

/// Reads an answer on a thread that may be busy for long: the largest take a
/// good part of a second.
async fn read_apart<T: Send + 'static>(
    path: &'static str,
    read: impl FnOnce() -> Result<T, LookError> + Send + 'static,
) -> Result<T, LookError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or(Err(LookError::BrokenOff { path }))
}

/// The JSON of an answer. Unknown fields are ignored, missing ones are named.
fn parse<T: DeserializeOwned>(path: &'static str, body: &[u8]) -> Result<T, LookError> {
    serde_json::from_slice(body).map_err(|source| {
        // Keeping track of the place costs time, so it is done only for its sake.
        let mut json = serde_json::Deserializer::from_slice(body);
        let again: Result<T, _> = serde_path_to_error::deserialize(&mut json);
        let at = again.err().map_or_else(|| "its end".into(), |error| error.path().to_string());
        LookError::Unreadable { path, at, source }
    })
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
