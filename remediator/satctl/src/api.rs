//! The remediator's HTTP API: one request, one bounded answer, one precise error.
//!
//! Redirects are not followed and proxies from the environment are not used: the token or password
//! goes to the address that was given, and nowhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::args::Access;

/// Who gives the command, where no credentials say so. The remediator marks such a name as
/// unverified, and reads it on loopback only.
const USER_HEADER: HeaderName = HeaderName::from_static("x-satellite-user");

/// The largest answer that is read, in bytes. A host with 20 transitions is about 8 kB, so that
/// this is the list of 16 000 hosts.
const ANSWER_LIMIT: usize = 128 * 1024 * 1024;

/// The largest token or password that is sent, in bytes.
const SECRET_LIMIT: usize = 4096;

/// Why a request brought nothing usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// What is needed to speak to the remediator cannot be had from its file.
    #[error("cannot read the {what} file {}", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    /// The file's content is no such secret. It is not repeated: it may be another one.
    #[error("{} does not hold a {what} alone on its first line", path.display())]
    NotASecret { what: &'static str, path: PathBuf },
    /// The file has no certificate, or one that cannot be used.
    #[error("{} does not hold {what} in PEM", path.display())]
    NotPem { what: &'static str, path: PathBuf, source: Option<reqwest::Error> },
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
    /// Name and password, where they are what authenticates.
    user: Option<(String, String)>,
    timeout: Duration,
}

/// What the remediator answered, all of it.
pub(crate) struct Answer {
    url: String,
    /// The body as it came.
    pub(crate) body: Bytes,
}

impl Api {
    /// Without credentials, `login` is told as the author of commands.
    pub(crate) fn new(
        base: Url,
        access: &Access,
        login: Option<String>,
        timeout: Duration,
    ) -> Result<Self, ApiError> {
        let mut headers = HeaderMap::new();
        let mut user = None;
        if let Some(path) = &access.token_file {
            headers.insert(AUTHORIZATION, bearer(path)?);
        } else if let (Some(name), Some(path)) = (&access.user, &access.password_file) {
            user = Some((name.clone(), password(path)?));
        } else if let Some(login) = login.and_then(|login| HeaderValue::try_from(login).ok()) {
            headers.insert(USER_HEADER, login);
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("satctl/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(timeout);
        let http = trusting(http, access)?.build().map_err(ApiError::Build)?;
        Ok(Self { http, base, user, timeout })
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

    /// `POST` of what is imported.
    pub(crate) async fn import(
        &self,
        body: &impl Serialize,
        dry_run: bool,
        force: bool,
    ) -> Result<Answer, ApiError> {
        let mut url = forced(self.url(&["import"]), force);
        if dry_run {
            url.query_pairs_mut().append_pair("dry_run", "true");
        }
        self.exchange(self.http.request(Method::POST, url.clone()).json(body), url).await
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
        let request = match &self.user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
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

/// Has the client trust, and show, what the files hold.
fn trusting(http: ClientBuilder, access: &Access) -> Result<ClientBuilder, ApiError> {
    let mut http = http;
    if let Some(path) = &access.ca_file {
        let what = "a certificate";
        let found = Certificate::from_pem_bundle(&read("CA", path)?);
        let no_pem = |source| ApiError::NotPem { what, path: path.clone(), source };
        let found = found.map_err(|error| no_pem(Some(error)))?;
        if found.is_empty() {
            return Err(no_pem(None));
        }
        http = http.tls_certs_only(found);
    }
    if let Some(path) = &access.cert_file {
        let what = "a certificate and its key";
        let no_pem = |error| ApiError::NotPem { what, path: path.clone(), source: Some(error) };
        http = http.identity(Identity::from_pem(&read("certificate", path)?).map_err(no_pem)?);
    }
    Ok(http)
}

/// The header with the token of a file. The token is never shown, not even in part.
fn bearer(path: &Path) -> Result<HeaderValue, ApiError> {
    let what = "token";
    let content = read(what, path)?;
    let not_a_token = || ApiError::NotASecret { what, path: path.to_owned() };
    let token = content.trim_ascii();
    let plain = token.iter().all(u8::is_ascii_graphic);
    if token.is_empty() || token.len() > SECRET_LIMIT || !plain {
        return Err(not_a_token());
    }
    let header = [b"Bearer ", token].concat();
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| not_a_token())?;
    header.set_sensitive(true);
    Ok(header)
}

/// The password of a file, which unlike a token may begin or end with a space.
fn password(path: &Path) -> Result<String, ApiError> {
    let what = "password";
    let not_a_password = || ApiError::NotASecret { what, path: path.to_owned() };
    let content = String::from_utf8(read(what, path)?).map_err(|_| not_a_password())?;
    let password = content.strip_suffix('\n').unwrap_or(&content);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() || password.len() > SECRET_LIMIT || password.contains(char::is_control) {
        return Err(not_a_password());
    }
    Ok(password.to_owned())
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ApiError> {
    std::fs::read(path).map_err(|source| ApiError::File { what, path: path.to_owned(), source })
}
