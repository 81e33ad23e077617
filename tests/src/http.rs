//! A blocking HTTP client for the peers: JSON in, JSON out, short timeouts, no
//! redirects (a Mesos follower's redirect is an answer worth seeing), no proxy.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::blocking::{Client, Response};
use reqwest::redirect::Policy;
use serde_json::Value;

/// Every peer is on the loopback and answers in milliseconds; one that does not
/// is frozen or gone.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The one client of this process.
pub fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // A second installation is refused and changes nothing: somebody in this
        // process has chosen a provider, and any will do for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::builder()
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .expect("a client without TLS roots or proxies has nothing that can fail")
    })
}

/// `GET url`, which must answer 200 with JSON.
pub fn get(url: &str) -> Result<Value> {
    json(client().get(url).send().with_context(|| format!("GET {url}"))?)
}

/// `GET url`, which must answer 2xx with text.
pub fn get_text(url: &str) -> Result<String> {
    success(client().get(url).send().with_context(|| format!("GET {url}"))?)
}

/// `POST url` with a JSON body; any 2xx. The answer's text.
pub fn post(url: &str, body: &Value) -> Result<String> {
    success(client().post(url).json(body).send().with_context(|| format!("POST {url}"))?)
}

/// `DELETE url`; any 2xx. The answer's text.
pub fn delete(url: &str) -> Result<String> {
    success(client().delete(url).send().with_context(|| format!("DELETE {url}"))?)
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

/// `GET url`; an error only if there is no answer.
pub fn get_any(url: &str) -> Result<Answer> {
    let response = client().get(url).send().with_context(|| format!("GET {url}"))?;
    let status = response.status().as_u16();
    let body = response.text().with_context(|| format!("read the answer of {url}"))?;
    Ok(Answer { status, body })
}

fn success(response: Response) -> Result<String> {
    let (status, url) = (response.status(), response.url().clone());
    let text = response.text().with_context(|| format!("read the answer of {url}"))?;
    if !status.is_success() {
        bail!("{url} answered {status}: {}", text.trim());
    }
    Ok(text)
}

fn json(response: Response) -> Result<Value> {
    let url = response.url().clone();
    let text = success(response)?;
    serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON: {text:.200}"))
}
