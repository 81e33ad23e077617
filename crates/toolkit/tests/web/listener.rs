//! A listener with a web configuration, and clients that speak to it.

use std::{fs, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    http::{HeaderMap, header},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prometheus_client::{encoding::text::encode, registry::Registry};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};
use satellite_toolkit::{
    serve::{Limits, ServerMetrics, bind, serve},
    web::{User, Web},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::certificates::{Authority, Identity};

/// Far more than anything here takes; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

pub(crate) const TLS: &str = "tls_server_config: { cert_file: server.pem, key_file: server.key }\n";

/// A folder with a web configuration, an authority and a server's certificate.
pub(crate) struct World {
    folder: TempDir,
    pub(crate) authority: Authority,
    pub(crate) server: Identity,
}

impl World {
    pub(crate) fn new(web: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let server = authority.server();
        server.write(folder.path());
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let world = Self { folder, authority, server };
        world.configure(web);
        world
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Puts a file in the place of the former one.
    pub(crate) fn configure(&self, web: &str) {
        let new = self.folder.path().join("web.yml.new");
        fs::write(&new, web).unwrap();
        fs::rename(new, self.folder.path().join("web.yml")).unwrap();
    }

    pub(crate) async fn start(&self, router: Router, limits: Limits) -> Listener {
        let web = Web::load(&self.folder.path().join("web.yml"));
        let web = web.unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut registry = Registry::default();
        let metrics = ServerMetrics::register(&mut registry);
        web.register(&mut registry);
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let token = CancellationToken::new();
        let ending = token.clone();
        let task =
            tokio::spawn(
                async move { serve(listener, router, limits, &metrics, web, ending).await },
            );
        Listener { address, token, registry, task }
    }

    pub(crate) async fn start_usual(&self) -> Listener {
        self.start(router(), Limits::default()).await
    }

    /// A client that trusts the authority and shows no certificate.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        let builder = trusting(&self.authority, rustls::ALL_VERSIONS);
        Arc::new(builder.with_no_client_auth())
    }

    /// A client that speaks only these versions.
    pub(crate) fn client_of_versions(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        Arc::new(trusting(&self.authority, versions).with_no_client_auth())
    }

    /// A client that shows a certificate.
    pub(crate) fn client_with(&self, identity: &Identity) -> Arc<ClientConfig> {
        let builder = trusting(&self.authority, rustls::ALL_VERSIONS);
        let chain = vec![identity.der()];
        Arc::new(builder.with_client_auth_cert(chain, identity.key_der()).unwrap())
    }
}

fn trusting(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots)
}

/// Says who asks, and what of the credentials a handler sees.
pub(crate) fn router() -> Router {
    let who = async |user: Option<Extension<User>>, headers: HeaderMap| {
        assert!(!headers.contains_key(header::AUTHORIZATION) || user.is_none());
        user.map_or("nobody".to_owned(), |Extension(user)| user.name().to_owned())
    };
    Router::new().route("/", get(who)).route("/never", get(std::future::pending::<()>))
}

pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) token: CancellationToken,
    registry: Registry,
    pub(crate) task: JoinHandle<io::Result<()>>,
}

impl Listener {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn shake_hands(
        &self,
        client: &Arc<ClientConfig>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        timeout(PATIENCE, connector.connect(name, self.connect().await)).await?
    }

    /// A request on a connection of its own, and the whole answer; an error where TLS is
    /// refused, which with TLS 1.3 shows only at the first byte read.
    pub(crate) async fn ask(
        &self,
        client: &Arc<ClientConfig>,
        request: &str,
    ) -> io::Result<String> {
        let mut stream = self.shake_hands(client).await?;
        stream.write_all(request.as_bytes()).await?;
        read_all(&mut stream).await
    }

    /// The same without TLS.
    pub(crate) async fn ask_plainly(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await.unwrap()
    }

    /// The certificate that a new connection is shown.
    pub(crate) async fn certificate(&self, client: &Arc<ClientConfig>) -> CertificateDer<'static> {
        let stream = self.shake_hands(client).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    /// Waits until the exposition has a line.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        eventually(async || self.metrics().lines().any(|found| found == line)).await;
    }
}

/// Looks until it is so.
pub(crate) async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(POLL).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it never came");
}

pub(crate) async fn read_all(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<String> {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes));
    read.await.expect("the listener never closed")?;
    Ok(String::from_utf8(bytes).unwrap())
}

pub(crate) const PLAIN: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A request with the credentials `name:password`.
pub(crate) fn request_by(credentials: &str) -> String {
    let credentials = STANDARD.encode(credentials);
    format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Basic \
         {credentials}\r\n\r\n"
    )
}

/// `basic_auth_users` with these names; the password of `x` is `x's`.
pub(crate) fn users(names: &[&str]) -> String {
    let user = |name: &&str| {
        let hash = bcrypt::hash(format!("{name}'s"), 4).unwrap();
        format!("  {name}: {hash}\n")
    };
    let users: String = names.iter().map(user).collect();
    format!("basic_auth_users:\n{users}")
}
