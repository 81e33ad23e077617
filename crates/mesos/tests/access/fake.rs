//! Peers over real sockets that remember what they were sent, and the files of an operator.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Uri, header::AUTHORIZATION},
    response::Response,
    serve::Listener,
};
use satellite_mesos::{
    AccessOptions, Client, ClientBuildError, ClientError, ClientOptions, TlsOptions, limits,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

/// Long enough for a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// A key that is for tests alone and opens nothing.
pub(crate) const RSA_PKCS8: &str = include_str!("../keys/test-only-rsa.pkcs8.pem");
/// The same in its older form.
pub(crate) const RSA_PKCS1: &str = include_str!("../keys/test-only-rsa.pkcs1.pem");
/// Another for tests alone.
pub(crate) const EC_PKCS8: &str = include_str!("../keys/test-only-ec.pkcs8.pem");
/// The same in its older form.
pub(crate) const EC_SEC1: &str = include_str!("../keys/test-only-ec.sec1.pem");

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: Bytes,
}

/// A peer that answers by a function.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Peer {
    pub(crate) async fn start(
        answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve("http", listener, answer)
    }

    pub(crate) fn serve<L>(
        scheme: &str,
        listener: L,
        answer: impl Fn(&Seen) -> Response + Clone + Send + Sync + 'static,
    ) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug + std::fmt::Display,
    {
        let url = Url::parse(&format!("{scheme}://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = Arc::clone(&seen);
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let authorization =
                headers.get(AUTHORIZATION).map(|it| it.to_str().unwrap().to_owned());
            let request = Seen { path: uri.path().to_owned(), authorization, body };
            all.lock().unwrap().push(request.clone());
            answer(&request)
        };
        let app = Router::new().fallback(handler);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Every `Authorization` it was sent, of requests that had one.
    pub(crate) fn authorizations(&self) -> Vec<String> {
        self.seen().into_iter().filter_map(|request| request.authorization).collect()
    }
}

/// A folder with the files of an operator.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file in one step.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (path, new) = (self.path(name), self.path("new"));
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// A client with the credentials that `text` has.
    pub(crate) fn client(&self, text: &str) -> Client {
        client(self.write("credentials", text), TlsOptions::default())
    }
}

pub(crate) fn client(credentials_file: impl Into<Option<PathBuf>>, tls: TlsOptions) -> Client {
    Client::new(&options(credentials_file.into(), tls)).unwrap()
}

pub(crate) fn options(credentials_file: Option<PathBuf>, tls: TlsOptions) -> ClientOptions {
    // A second test of this process finds it installed already.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let mut options = ClientOptions::default();
    options.access = AccessOptions { credentials_file, tls };
    options
}

/// Everything that is wrong with the files of `options`.
pub(crate) fn problems(options: &ClientOptions) -> Vec<String> {
    match Client::new(options).unwrap_err() {
        ClientBuildError::Files(problems) => problems.iter().map(ToString::to_string).collect(),
        error => panic!("{error}"),
    }
}

pub(crate) async fn get(client: &Client, url: &Url) -> Result<Bytes, ClientError> {
    client.get(url, PATIENT, limits::SMALL).await
}

/// An error with all of its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Sets the clock of the client forward, and lets it run on.
pub(crate) async fn advance(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// Past the next look at the files.
pub(crate) const NEXT_LOOK: Duration = Duration::from_secs(1);
