//! HTTP to Mesos: one request, one bounded answer, one precise error.
//!
//! Redirects are never followed. A master that does not lead answers `307` to whomever it believes
//! leads, which after a crash is a dead host for as long as the ZooKeeper session lives; and a
//! redirect would carry credentials to a host that nobody configured. The caller asks every
//! configured master itself instead, see [`find_leader`](crate::find_leader).
//!
//! Proxies from the environment are ignored: Mesos is inside, and a node's `http_proxy`, meant for
//! package downloads, must not swallow the scrape of `127.0.0.1`. Compression is not asked for:
//! the Mesos process would pay for it with the CPU that its actors need.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{RequestBuilder, Response, StatusCode};
use satellite_yaml::Problem;
use serde::Serialize;
use tokio::time::{Instant, timeout};
use url::Url;

use crate::access::{Access, AccessError, AccessOptions, Pass};
use crate::wire::ParseError;

/// What this program calls itself in the `User-Agent` header.
const USER_AGENT: &str = concat!("satellite/", env!("CARGO_PKG_VERSION"));

/// How much of an error answer is kept: enough for every message of Mesos's own, little enough for
/// a log line.
const ERROR_BODY_LIMIT: usize = 200;

/// How large an answer may be, per endpoint, in bytes.
///
/// The sizes they are derived from were measured on Mesos 1.11.0. Each leaves at least a factor of
/// five above a large cluster, and keeps a rubbish answer from eating the machine.
pub mod limits {
    const MIB: usize = 1024 * 1024;

    /// `/version`, `/flags`, `GET_MASTER`: a few kilobytes each.
    pub const SMALL: usize = MIB;
    /// `/metrics/snapshot`: about 100 bytes a key and 60 keys a framework, so that 2 500 frameworks
    /// make 15 MB. A common master has 350 kB.
    pub const SNAPSHOT: usize = 16 * MIB;
    /// `/containers`: 1 kB a container, 5 kB with network statistics; 6 000 containers on one agent.
    pub const CONTAINERS: usize = 32 * MIB;
    /// The agent's `/state`: 2 kB a task, and it keeps 150 finished executors per framework, each
    /// with up to 200 finished tasks: two busy frameworks of that kind make 120 MB.
    pub const AGENT_STATE: usize = 128 * MIB;
    /// `GET_AGENTS`: 2 kB an agent, more with reservations; 50 000 agents make 100 MB.
    pub const AGENTS: usize = 128 * MIB;
    /// `/state-summary`: 1.4 kB an agent, more with reservations for many roles; 50 000 agents make
    /// 70 MB.
    pub const STATE_SUMMARY: usize = 128 * MIB;
    /// `/roles`: 0.7 kB a role and the ids of its frameworks.
    pub const ROLES: usize = 16 * MIB;
}

/// How the client behaves. [`Default`] is right for a Mesos that wants no credentials.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// How long a TCP (and TLS) connection may take to stand. Bounded apart from the whole request,
    /// so that a dead host is told from a slow one.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept for the next request.
    pub keep_alive: Duration,
    /// Credentials and TLS.
    pub access: AccessOptions,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            // One lost SYN is sent again after 1 s, a second after 3 s: 2 s forgives one.
            connect_timeout: Duration::from_secs(2),
            // Above the usual scrape and reconcile interval of 15 s, so that a connection is reused.
            keep_alive: Duration::from_secs(90),
            access: AccessOptions::default(),
        }
    }
}

/// Why a [`Client`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientBuildError {
    /// `main` has not installed one.
    #[error("no TLS crypto provider is installed in this process")]
    NoCryptoProvider,
    /// Files of credentials or TLS cannot be used; every problem of all of them.
    #[error("{}", Lines(.0))]
    Files(Vec<Problem>),
    /// TLS or the resolver could not be set up.
    #[error("setting up the HTTP client")]
    Http(#[source] reqwest::Error),
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if position == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// Why a request to Mesos brought nothing usable. Display names the URL without its credentials.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request was not sent, since there are no credentials for it.
    #[error("no credentials for {url}")]
    Access {
        /// What was to be asked.
        url: String,
        /// Why there are none.
        #[source]
        source: AccessError,
    },
    /// Nobody listens there, the name does not resolve, or TLS failed.
    #[error("connecting to {url}")]
    Connect {
        /// What was asked.
        url: String,
        /// The cause, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// No whole answer in time.
    #[error("{url} did not answer within {timeout:?}")]
    Timeout {
        /// What was asked.
        url: String,
        /// How long was waited for the connection, or for the whole answer.
        timeout: Duration,
    },
    /// The connection broke while it was in use.
    #[error("talking to {url}")]
    Exchange {
        /// What was asked.
        url: String,
        /// The cause, without the URL.
        #[source]
        source: reqwest::Error,
    },
    /// A 3xx: in Mesos, "I do not lead".
    #[error("{url} redirects ({status}) to {}", to.as_deref().unwrap_or("nowhere"))]
    Redirected {
        /// What was asked.
        url: String,
        /// The status code.
        status: u16,
        /// The `Location` header, escaped. Mesos leaves out its scheme: `//10.0.0.1:5050/state`.
        to: Option<String>,
    },
    /// A status that is neither 2xx nor 3xx.
    #[error("{url} answered {status}: {body}")]
    Status {
        /// What was asked.
        url: String,
        /// The status code.
        status: u16,
        /// The first bytes of the body, trimmed and escaped.
        body: String,
    },
    /// The body went over its limit and was not read to its end.
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The body is not what the endpoint answers.
    #[error("the answer of {url} cannot be read")]
    Unparsable {
        /// What was asked.
        url: String,
        /// What was expected, and where it went wrong.
        #[source]
        source: ParseError,
    },
    /// The call could not be written as JSON: a mistake in this program.
    #[error("encoding the call to {url}")]
    Encode {
        /// What was to be asked.
        url: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// An HTTP client for masters and agents. Cloning it is cheap and shares its connections,
/// and the token of its credentials.
#[derive(Debug, Clone)]
pub struct Client {
    access: Arc<Access>,
    connect_timeout: Duration,
}

impl Client {
    /// Makes a client. The files of `options.access` are read on this thread.
    ///
    /// TLS is rustls without a built-in provider, so that the whole process has exactly one: a
    /// daemon's `main` first calls `rustls::crypto::ring::default_provider().install_default()`,
    /// and so does a test. Without it this returns [`ClientBuildError::NoCryptoProvider`].
    pub fn new(options: &ClientOptions) -> Result<Self, ClientBuildError> {
        let ClientOptions { connect_timeout, keep_alive, ref access } = *options;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ClientBuildError::NoCryptoProvider);
        }
        let builder = move || {
            reqwest::Client::builder()
                .user_agent(USER_AGENT)
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .no_gzip()
                .connect_timeout(connect_timeout)
                .pool_idle_timeout(keep_alive)
        };
        let access = Arc::new(Access::new(access, builder)?);
        Ok(Self { access, connect_timeout })
    }

    /// Says in the log what an operator should know of how credentials travel: over plain
    /// http to one of `targets` or to a login on another machine, or by TLS that is not
    /// verified. A daemon calls it once, at its start.
    pub async fn warn_of_exposure(&self, targets: &[Url]) {
        self.access.warn_of_exposure(targets).await;
    }

    /// `GET url`: the whole body of a 2xx, of at most `limit` bytes, within `timeout`.
    pub async fn get(
        &self,
        url: &Url,
        timeout: Duration,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        self.exchange(url, |http| http.get(url.clone()), timeout, limit).await
    }

    /// `POST <base>/api/v1` with an operator call: the whole body of a 2xx, of at most `limit`
    /// bytes, within `timeout`. `base` is a master's or agent's address, with or without a path.
    pub async fn post_operator(
        &self,
        base: &Url,
        call: &impl Serialize,
        timeout: Duration,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        let url = endpoint(base, "api/v1");
        let body = serde_json::to_vec(call)
            .map_err(|source| ClientError::Encode { url: shown(&url), source })?;
        let body = Bytes::from(body);
        // Mesos refuses a call without the content type (400), and answers protobuf to whoever
        // does not say what it accepts on some versions.
        let request = |http: &reqwest::Client| {
            http.post(url.clone())
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .body(body.clone())
        };
        self.exchange(&url, request, timeout, limit).await
    }

    async fn exchange(
        &self,
        url: &Url,
        request: impl Fn(&reqwest::Client) -> RequestBuilder,
        timeout: Duration,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        // One clock over credentials, connecting, waiting and reading: a peer that drips bytes
        // is cut off too.
        let clock = Clock { began: Instant::now(), timeout };
        let http = self.access.http().await;
        let mut pass = clock.admit(url, self.access.pass(&http)).await?;
        let mut response = self.send(url, pass.apply(request(&http)), clock).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(other) = clock.admit(url, pass.instead(&http)).await?
        {
            // Once only: what is refused with a new token is refused.
            pass = other;
            response = self.send(url, pass.apply(request(&http)), clock).await?;
        }
        clock.bound(url, self.judge(url, response, &pass, limit)).await
    }

    async fn send(
        &self,
        url: &Url,
        request: RequestBuilder,
        clock: Clock,
    ) -> Result<Response, ClientError> {
        let sent = async { request.send().await.map_err(|source| self.failed(url, source)) };
        clock.bound(url, sent).await
    }

    async fn judge(
        &self,
        url: &Url,
        mut response: Response,
        pass: &Pass,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION);
            let to = to.map(|to| escaped(pass.hidden_in(to.as_bytes()).as_bytes()));
            return Err(ClientError::Redirected { url: shown(url), status: status.as_u16(), to });
        }
        if !status.is_success() {
            let mut body = BytesMut::new();
            // The status is the news; a body that breaks off says no less than what came of it.
            while let Ok(Some(chunk)) = response.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() >= ERROR_BODY_LIMIT {
                    break;
                }
            }
            let body = escaped(pass.hidden_in(&body).as_bytes());
            return Err(ClientError::Status { url: shown(url), status: status.as_u16(), body });
        }
        self.body(url, response, limit).await
    }

    async fn body(
        &self,
        url: &Url,
        mut response: Response,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        let too_large = || ClientError::TooLarge { url: shown(url), limit };
        let announced = response.content_length().unwrap_or(0);
        let announced = usize::try_from(announced).map_err(|_| too_large())?;
        if announced > limit {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|source| self.failed(url, source))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn failed(&self, url: &Url, source: reqwest::Error) -> ClientError {
        // reqwest's own text repeats the URL, with the password in it.
        let source = source.without_url();
        let url = shown(url);
        if source.is_timeout() {
            ClientError::Timeout { url, timeout: self.connect_timeout }
        } else if source.is_connect() || source.is_builder() {
            ClientError::Connect { url, source }
        } else {
            ClientError::Exchange { url, source }
        }
    }
}

/// How long one request may still take.
#[derive(Debug, Clone, Copy)]
struct Clock {
    began: Instant,
    timeout: Duration,
}

impl Clock {
    fn left(self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }

    /// A part of the exchange with Mesos.
    async fn bound<T>(
        self,
        url: &Url,
        part: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match timeout(self.left(), part).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ClientError::Timeout { url: shown(url), timeout: self.timeout }),
        }
    }

    /// The getting of credentials, for which Mesos is not to be blamed.
    async fn admit<T>(
        self,
        url: &Url,
        part: impl Future<Output = Result<T, AccessError>>,
    ) -> Result<T, ClientError> {
        let result = timeout(self.left(), part).await.unwrap_or(Err(AccessError::Pending));
        result.map_err(|source| ClientError::Access { url: shown(url), source })
    }
}

/// The URL of `path` (`metrics/snapshot`) below `base`, which may itself carry a path
/// (`http://gateway/mesos`) with or without a final slash. A query or fragment of `base` is
/// dropped. A `base` that has no path at all (`data:…`) comes back as it is; no request to it can
/// succeed.
pub fn endpoint(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_query(None);
    url.set_fragment(None);
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/').filter(|segment| !segment.is_empty()));
    }
    url
}

/// A URL as it may be shown in an error or a log: without user and password.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs that cannot have credentials.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        debug_assert!(url.password().is_none(), "a URL with a password can lose it");
    }
    url.into()
}

/// What a stranger sent, as it may be shown: short, printable, on one line.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(ERROR_BODY_LIMIT)];
    let text = String::from_utf8_lossy(start);
    let mut line = String::with_capacity(text.len());
    for c in text.trim().chars() {
        // Only what could break the line or the terminal is escaped; quotes and umlauts stay.
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn an_endpoint_keeps_the_path_prefix_of_its_base() {
        for (base, expected) in [
            ("http://h:5050", "http://h:5050/metrics/snapshot"),
            ("http://h:5050/", "http://h:5050/metrics/snapshot"),
            ("http://gate/mesos", "http://gate/mesos/metrics/snapshot"),
            ("http://gate/mesos/", "http://gate/mesos/metrics/snapshot"),
            ("http://gate/mesos?x=1#y", "http://gate/mesos/metrics/snapshot"),
        ] {
            assert_eq!(endpoint(&url(base), "metrics/snapshot").as_str(), expected);
            assert_eq!(endpoint(&url(base), "/metrics/snapshot").as_str(), expected);
        }
        assert_eq!(
            endpoint(&url("http://h"), "slave(1)/state").as_str(),
            "http://h/slave(1)/state"
        );
    }

    #[test]
    fn a_shown_url_has_no_credentials() {
        assert_eq!(shown(&url("http://me:secret@h:5050/state")), "http://h:5050/state");
    }

    #[test]
    fn what_a_stranger_sent_is_shown_on_one_short_line() {
        assert_eq!(
            escaped(b" No leader\nelected\x1b[31m\xff\n"),
            "No leader\\nelected\\u{1b}[31m\u{fffd}"
        );
        assert_eq!(escaped(&[b'x'; 1000]).len(), ERROR_BODY_LIMIT);
    }
}
