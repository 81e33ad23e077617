//! Being let in: credentials, and TLS.
//!
//! Mesos itself knows principals and secrets (`--authenticate_http_readonly`); DC/OS puts
//! tokens in their place, and whoever has a module or a proxy of their own mostly a bearer
//! token. All of it comes from one file, whose fields say which it is ([`credentials`]);
//! TLS has files of its own ([`tls`]). Both are read again when they change ([`files`]).
//!
//! Credentials go where a caller sends a request, which is to configured addresses only:
//! no redirect is followed, with or without them, and no answer becomes an address. A
//! request for which there are none is not sent. No error, log line or `Debug` has any.

mod account;
mod authorization;
mod credentials;
mod files;
mod session;
mod tls;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use reqwest::{ClientBuilder, RequestBuilder, header::AUTHORIZATION};
use tracing::warn;
use url::{Host, Url};

pub use account::LoginError;
pub use tls::{IdentityFiles, TlsOptions};

use self::{
    account::Token,
    authorization::Authorization,
    credentials::Credentials,
    files::{Reading, Watched, problem},
};
use crate::client::{ClientBuildError, shown};

/// How Mesos is to be got into. All files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessOptions {
    /// The credentials, in JSON or YAML; none are sent without it. Its fields are `principal`
    /// and `secret`, or one of `bearer_token`, `bearer_token_file`, `dcos_token` and
    /// `dcos_token_file`, or those of a DC/OS service account's secret: `uid`, `private_key`,
    /// `login_endpoint` and `scheme`.
    pub credentials_file: Option<PathBuf>,
    /// TLS, of Mesos's and of a login's.
    pub tls: TlsOptions,
}

/// Why there are no credentials for a request.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The last login failed: just now, or so lately that there is no other yet. Both read
    /// the same, for whoever tells a change from more of the same.
    #[error("logging in at {endpoint} failed")]
    Login {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: Arc<LoginError>,
    },
    /// The login took longer than the request had. It goes on, and serves the next.
    #[error("logging in took longer than the request had")]
    Pending,
}

/// What opens the doors of Mesos.
#[derive(Debug)]
pub(crate) struct Access {
    http: Http,
    credentials: Option<Watched<Arc<Credentials>>>,
    skips_verification: bool,
}

#[derive(Debug)]
enum Http {
    Fixed(reqwest::Client),
    /// With TLS from files.
    Watched(Watched<reqwest::Client>),
}

/// What one request carries: nothing, or credentials.
#[derive(Debug)]
pub(crate) struct Pass {
    authorization: Option<Authorization>,
    login: Option<Login>,
}

/// Where the credentials are the token of a login.
#[derive(Debug)]
struct Login {
    /// Of an account.
    credentials: Arc<Credentials>,
    token: Arc<Token>,
}

impl Access {
    /// Reads every file, on this thread. `builder` makes an HTTP client but for its TLS.
    pub(crate) fn new(
        options: &AccessOptions,
        builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
    ) -> Result<Self, ClientBuildError> {
        let AccessOptions { credentials_file, tls } = options.clone();
        let skips_verification = tls.insecure_skip_verify;
        let credentials = credentials_file.map(|path| {
            Watched::new(move |reading: &mut Reading| {
                Credentials::read(&path, reading).map(Arc::new)
            })
        });
        let http = http(tls, builder);
        match (http, credentials.transpose()) {
            (Ok(http), Ok(credentials)) => Ok(Self { http, credentials, skips_verification }),
            (Err(ClientBuildError::Files(mut problems)), Err(others)) => {
                problems.extend(others);
                Err(ClientBuildError::Files(problems))
            }
            (Err(error), _) => Err(error),
            (Ok(_), Err(problems)) => Err(ClientBuildError::Files(problems)),
        }
    }

    /// The HTTP client, by the TLS files as they are now.
    pub(crate) async fn http(&self) -> reqwest::Client {
        match &self.http {
            Http::Fixed(http) => http.clone(),
            Http::Watched(http) => http.get().await,
        }
    }

    /// What a request is to carry, by the credentials as they are now.
    pub(crate) async fn pass(&self, http: &reqwest::Client) -> Result<Pass, AccessError> {
        let Some(credentials) = &self.credentials else {
            return Ok(Pass { authorization: None, login: None });
        };
        let credentials = credentials.get().await;
        match &*credentials {
            Credentials::Fixed(authorization) => {
                Ok(Pass { authorization: Some(authorization.clone()), login: None })
            }
            Credentials::Account(session) => {
                let token = session.token(http).await?;
                Ok(Pass::by_login(credentials, token))
            }
        }
    }

    /// Says once what an operator should know of how credentials travel to `targets`.
    pub(crate) async fn warn_of_exposure(&self, targets: &[Url]) {
        if self.skips_verification {
            warn!(
                "TLS certificates are not verified: anybody in between can be Mesos and read the credentials"
            );
        }
        let Some(credentials) = &self.credentials else { return };
        let mut exposed: Vec<_> = targets.iter().filter(|url| is_exposed(url)).map(shown).collect();
        if let Credentials::Account(session) = &*credentials.get().await {
            let endpoint = Some(session.account().endpoint()).filter(|url| is_exposed(url));
            exposed.extend(endpoint.map(shown));
        }
        if !exposed.is_empty() {
            let targets = exposed.join(", ");
            warn!(
                targets,
                "Credentials go over plain http to another machine: whoever listens has them"
            );
        }
    }
}

fn http(
    tls: TlsOptions,
    builder: impl Fn() -> ClientBuilder + Send + Sync + 'static,
) -> Result<Http, ClientBuildError> {
    if !tls.has_files() {
        let builder =
            tls.apply(builder(), &mut Reading::default()).map_err(ClientBuildError::Files)?;
        return builder.build().map(Http::Fixed).map_err(ClientBuildError::Http);
    }
    let build = move |reading: &mut Reading| {
        let builder = tls.apply(builder(), reading)?;
        builder.build().map_err(|error| {
            let say = format!("cannot be used for TLS: {error}");
            vec![problem(tls.a_file(), say)]
        })
    };
    Watched::new(build).map(Http::Watched).map_err(ClientBuildError::Files)
}

impl Pass {
    fn by_login(credentials: Arc<Credentials>, token: Arc<Token>) -> Self {
        let authorization = Some(token.authorization.clone());
        Self { authorization, login: Some(Login { credentials, token }) }
    }

    /// The request with its credentials.
    pub(crate) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization.header()),
            None => request,
        }
    }

    /// What to carry instead after Mesos has refused this; `None` where its refusal stands.
    pub(crate) async fn instead(
        &self,
        http: &reqwest::Client,
    ) -> Result<Option<Self>, AccessError> {
        let Some(Login { credentials, token }) = &self.login else { return Ok(None) };
        let Credentials::Account(session) = &**credentials else { return Ok(None) };
        let token = session.instead_of(token, http).await?;
        Ok(token.map(|token| Self::by_login(Arc::clone(credentials), token)))
    }

    /// What a peer sent, whole or cut off, without the credentials, should the peer repeat
    /// them. To be called before anything else is cut off it.
    pub(crate) fn hidden_in(&self, sent: &[u8]) -> String {
        let text = String::from_utf8_lossy(sent);
        match &self.authorization {
            Some(authorization) => authorization.hidden_in(&text),
            None => text.into_owned(),
        }
    }
}

/// Whether what goes there can be read on its way.
fn is_exposed(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_to_another_machine_is_exposed() {
        let is_exposed = |url: &str| is_exposed(&Url::parse(url).unwrap());
        for url in ["http://10.0.0.1:5050", "http://leader.mesos/", "http://[2001:db8::1]:5050"] {
            assert!(is_exposed(url), "{url}");
        }
        for url in [
            "https://10.0.0.1:5050",
            "http://127.0.2.21:5051",
            "http://localhost:5050",
            "http://[::1]:5050",
            "http://[::ffff:127.0.0.1]:5050",
        ] {
            assert!(!is_exposed(url), "{url}");
        }
    }
}
