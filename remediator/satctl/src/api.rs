//! The remediator's HTTP API: one request, one bounded answer, one precise error.
//!
//! Redirects are not followed and proxies from the environment are not used: the token goes to the
//! address that was given, and nowhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

/// Who gives the command, where no credentials say so. The remediator marks such a name as
/// unverified, and reads it on loopback only.
const USER_HEADER: HeaderName = HeaderName::from_static("x-satellite-user");

/// The largest answer that is read, in bytes. A host with 20 transitions is about 8 kB, so that
/// this is the list of 16 000 hosts.
const ANSWER_LIMIT: usize = 128 * 1024 * 1024;

/// The largest token file that is read, in bytes.
const TOKEN_LIMIT: usize = 4096;

/// Why a request brought nothing usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The token cannot be had from its file.
    #[error("cannot read the token file {}", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
    /// The file's content is no token. It is not repeated: it may be another secret.
    #[error("{} does not hold a token alone on its first line", path.display())]
    NotAToken { path: PathBuf },
    /// TLS or the resolver could not be set up.
    #[error("cannot set up the HTTP client")]
    Build(#[source] reqwest::Error),
    /// No connection, or it broke.
    #[error("cannot reach the remediator at {url}")]
    Unreachable { url: String, source: reqwest::Error },
    /// No whole answer in time.
    #[error("the remediator at {url} did not answer within {}", satellite_config::write_duration(*timeout))]
    Timeout { url: String, timeout: Duration },
    /// The remediator said no.
    #[error("{message} ({status})")]
    Refused { status: StatusCode, message: String },
    /// The answer is too large to be one of a remediator.
    #[error("the answer of {url} is larger than {ANSWER_LIMIT} bytes")]
    TooLarge { url: String },
    /// The answer is not what a remediator says.
    #[error("the answer of {url} cannot be read; is a remediator listening there?")]
    Unreadable { url: String, source: serde_json::Error },
}

/// Where the remediator is and how to speak to it.
pub(crate) struct Api {
    http: reqwest::Client,
    base: Url,
    timeout: Duration,
}

/// What the remediator answered, all of it.
pub(crate) struct Answer {
    url: String,
    /// The body as it came.
    pub(crate) body: Bytes,
}

impl Api {
    /// Without a token, `user` is told as the author of commands.
    pub(crate) fn new(
        base: Url,
        token_file: Option<&Path>,
        user: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(path) = token_file {
            headers.insert(AUTHORIZATION, bearer(path)?);
        } else if let Some(user) = user.and_then(|user| HeaderValue::from_str(user).ok()) {
            headers.insert(USER_HEADER, user);
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("satctl/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout)
            .build()
            .map_err(ApiError::Build)?;
        Ok(Self { http, base, timeout })
    }

    /// `GET`, with query parameters.
    pub(crate) async fn get(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answer, ApiError> {
        let mut url = self.url(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.exchange(self.http.request(Method::GET, url.clone()), url).await
    }

    /// `PUT` with a JSON body.
    pub(crate) async fn put(
        &self,
        path: &[&str],
        force: bool,
        body: &serde_json::Value,
    ) -> Result<Answer, ApiError> {
        let url = forced(self.url(path), force);
        self.exchange(self.http.request(Method::PUT, url.clone()).json(body), url).await
    }

    /// `POST`, with a JSON body if there is anything to say.
    pub(crate) async fn post(
        &self,
        path: &[&str],
        body: Option<&serde_json::Value>,
    ) -> Result<Answer, ApiError> {
        let url = self.url(path);
        let request = self.http.request(Method::POST, url.clone());
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.exchange(request, url).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &[&str], force: bool) -> Result<Answer, ApiError> {
        let url = forced(self.url(path), force);
        self.exchange(self.http.request(Method::DELETE, url.clone()), url).await
    }

    /// Each segment is percent-encoded, so that no name can change the path.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.path_segments_mut()
            .expect("http and https URLs have a path")
            .pop_if_empty()
            .extend(["api", "v1"])
            .extend(path);
        url
    }

    async fn exchange(&self, request: RequestBuilder, url: Url) -> Result<Answer, ApiError> {
        let url = shown(url);
        let failed = |source: reqwest::Error| {
            // Its own text would repeat the URL, with a password in it.
            let source = source.without_url();
            if source.is_timeout() {
                ApiError::Timeout { url: url.clone(), timeout: self.timeout }
            } else {
                ApiError::Unreachable { url: url.clone(), source }
            }
        };
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(ApiError::TooLarge { url });
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(Answer { url, body: body.freeze() });
        }
        let message = serde_json::from_slice(&body)
            .map(|Refusal { message }| message)
            .unwrap_or_else(|_| format!("{url} does not answer as a remediator does"));
        Err(ApiError::Refused { status, message })
    }
}

impl Answer {
    /// Reads the body as what it should be.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body)
            .map_err(|source| ApiError::Unreadable { url: self.url.clone(), source })
    }
}

/// The remediator's error answer.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// A URL without user and password.
fn shown(mut url: Url) -> String {
    // These fail only for URLs that cannot have credentials.
    if url.set_username("").and_then(|()| url.set_password(None)).is_err() {
        debug_assert!(url.password().is_none(), "a URL with a password can lose it");
    }
    url.into()
}

fn forced(mut url: Url, force: bool) -> Url {
    if force {
        url.query_pairs_mut().append_pair("force", "true");
    }
    url
}

/// The header with the token of a file. The token is never shown, not even in part.
fn bearer(path: &Path) -> Result<HeaderValue, ApiError> {
    let content = std::fs::read(path)
        .map_err(|source| ApiError::TokenFile { path: path.to_owned(), source })?;
    let not_a_token = || ApiError::NotAToken { path: path.to_owned() };
    let token = content.trim_ascii();
    let plain = token.iter().all(u8::is_ascii_graphic);
    if token.is_empty() || token.len() > TOKEN_LIMIT || !plain {
        return Err(not_a_token());
    }
    let header = [b"Bearer ", token].concat();
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| not_a_token())?;
    header.set_sensitive(true);
    Ok(header)
}
