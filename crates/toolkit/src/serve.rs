//! An HTTP listener that a careless or hostile client cannot exhaust.
//!
//! Built on hyper's connection rather than on `axum::serve`, which sets no timer: there,
//! half a request head keeps a connection for ever. Every [`Limits`] field bounds one
//! thing that a client could otherwise hold without end.
//!
//! HTTP/1.1 is all that is spoken, plain or within TLS. Whether there is TLS, who may ask
//! and which headers are added is said by [`Web`], which is looked at anew for every
//! connection and every request. A handshake is a part of its connection: it counts against
//! [`Limits::connections`], and nobody else waits for it.

mod write_deadline;

use std::{any::Any, convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit},
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};
use tracing::{debug, error, info, warn};

use self::write_deadline::WriteDeadline;
use crate::{
    browser, shutdown,
    web::{self, Web},
};

/// How long to pause when the process has no file descriptor left for a connection.
/// Without a pause the loop would spin; what waits is kept by the kernel.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What one listener grants its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For TLS to be agreed upon once there is a connection. 5 s: it is three messages.
    pub handshake_timeout: Duration,
    /// For a request's whole head to arrive; also how long a kept connection may idle.
    /// 20 s, so that a scrape every 15 s keeps its connection.
    pub header_timeout: Duration,
    /// Bytes of a request head; more is answered 431. 32 KiB.
    pub header_bytes: usize,
    /// Header lines of a request; more is answered 431. 100.
    pub headers: usize,
    /// Bytes of a request body; more is answered 413. 1 MiB.
    pub body_bytes: usize,
    /// For a request's body to arrive and its answer to be made; then 503, which
    /// senders such as Alertmanager take as a reason to try again. 60 s.
    pub request_timeout: Duration,
    /// For a client to take the next bytes of its answer; then it is cut off. 30 s.
    pub write_timeout: Duration,
    /// Connections at a time. Further ones wait in the kernel's backlog. 512, far above
    /// what any number of Prometheus and Alertmanager peers opens.
    pub connections: usize,
    /// For requests in flight to be answered once the daemon is to end; a second less
    /// than [`shutdown::GRACE`], so that they are not what exceeds it.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(20),
            header_bytes: 32 * 1024,
            headers: 100,
            body_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connections: 512,
            drain_timeout: shutdown::GRACE - Duration::from_secs(1),
        }
    }
}

/// What the listener counts about itself.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    connections: Gauge,
    saturated: Counter,
    panics: Counter,
}

impl ServerMetrics {
    /// Registers `satellite_http_connections`, `satellite_http_connections_saturated_total`
    /// and `satellite_http_panics_total`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "satellite_http_connections",
            "Open connections to this daemon",
            metrics.connections.clone(),
        );
        registry.register(
            "satellite_http_connections_saturated",
            "Times the limit of open connections was reached, so that new ones had to wait",
            metrics.saturated.clone(),
        );
        registry.register(
            "satellite_http_panics",
            "Requests whose handler panicked and that were answered 500",
            metrics.panics.clone(),
        );
        metrics
    }
}

/// An address to listen on that is not `HOST:PORT`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no colon before a port.
    #[error("{0:?} is not HOST:PORT or :PORT")]
    Shape(String),
    /// What follows the last colon is not 0 to 65535.
    #[error("{0:?} has no port between 0 and 65535")]
    Port(String),
}

/// Splits `HOST:PORT`, `[IPv6]:PORT` or `:PORT`; the last is every address of the
/// machine and has the host `[::]`. Does not resolve the host.
pub fn split_address(address: &str) -> Result<(&str, u16), AddressError> {
    let shape = || AddressError::Shape(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(shape)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if !bracketed && host.contains([':', '/', '[', ']', ' ']) {
        return Err(shape());
    }
    let port = port.parse().map_err(|_| AddressError::Port(address.to_owned()))?;
    Ok((if host.is_empty() { "[::]" } else { host }, port))
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The system refused: in use, not ours, not permitted.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address as it was asked for.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Binds `HOST:PORT`, or `:PORT` for every address of the machine; port 0 picks a free one.
pub async fn bind(address: &str) -> Result<TcpListener, BindError> {
    let (host, port) = split_address(address)?;
    let bound = match TcpListener::bind(format!("{host}:{port}")).await {
        // A kernel without IPv6 still has every IPv4 address. Where the port is taken or
        // forbidden, IPv4 alone would be half of what was asked for.
        Err(error) if address.starts_with(':') && !is_final(&error) => {
            TcpListener::bind(("0.0.0.0", port)).await
        }
        bound => bound,
    };
    bound.map_err(|source| BindError::Bind { address: address.to_owned(), source })
}

fn is_final(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

/// Serves `router` until `token` is cancelled, then finishes the requests in flight
/// within [`Limits::drain_timeout`] and returns. Logs `msg="Listening"` with the address.
///
/// The handlers find the client's address as `ConnectInfo<SocketAddr>`, and where `web` has
/// users, who asks as [`web::User`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    metrics: &ServerMetrics,
    web: Web,
    token: CancellationToken,
) -> io::Result<()> {
    let router = guard(router, &limits, metrics, &web);
    let server = Server { router, http: http1_builder(&limits), web: web.clone(), limits, token };
    tokio::select! {
        served = accept(listener, server, metrics) => served,
        never = web.keep_current() => match never {},
    }
}

/// What every connection is served with.
#[derive(Clone)]
struct Server {
    router: Router,
    http: http1::Builder,
    web: Web,
    limits: Limits,
    token: CancellationToken,
}

async fn accept(listener: TcpListener, server: Server, metrics: &ServerMetrics) -> io::Result<()> {
    let limits = &server.limits;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    info!(address = %listener.local_addr()?, "Listening");
    loop {
        let accepted = tokio::select! {
            () = server.token.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {
                metrics.connections.set(gauge_value(connections.len()));
                continue;
            }
            accepted = listener.accept(), if connections.len() < limits.connections => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_the_clients_fault(&error) => continue,
            Err(error) => {
                warn!(%error, "Cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        connections.spawn(server.clone().converse(stream, peer, graceful.watcher()));
        metrics.connections.set(gauge_value(connections.len()));
        if connections.len() == limits.connections {
            metrics.saturated.inc();
            warn!(limit = limits.connections, "All connections are taken: new ones wait");
        }
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        warn!(connections = connections.len(), "Cut connections whose requests did not end");
    }
    // What is left in the set is cut as it drops.
    Ok(())
}

impl Server {
    /// One connection, from the handshake, if there is one, to its end.
    async fn converse(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Small answers leave at once; a failure to ask for it costs only latency.
        stream.set_nodelay(true).ok();
        let stream = WriteDeadline::new(stream, self.limits.write_timeout);
        let Some(tls) = self.web.tls() else { return self.answer_all(stream, peer, watcher).await };
        let agreed = tokio::select! {
            // Nobody has asked anything yet.
            () = self.token.cancelled() => return,
            agreed = self.shake_hands(stream, tls) => agreed,
        };
        match agreed {
            Ok(stream) => self.answer_all(stream, peer, watcher).await,
            Err(error) => {
                self.web.note_failed_handshake();
                debug!(%peer, %error, "TLS was not agreed upon");
            }
        }
    }

    async fn shake_hands(
        &self,
        stream: WriteDeadline,
        tls: Arc<ServerConfig>,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        let handshake = TlsAcceptor::from(tls).accept(stream);
        tokio::time::timeout(self.limits.handshake_timeout, handshake).await?
    }

    async fn answer_all(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        watcher: Watcher,
    ) {
        let Self { router, http, .. } = self;
        let service = service_fn(move |request| answer(router.clone(), peer, request));
        let connection = http.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            debug!(%peer, %error, "Connection ended early");
        }
    }
}

/// An error answer in the shape every endpoint has: `{"code", "message"}`.
pub fn json_error(status: StatusCode, message: &str) -> Response {
    let code = status.canonical_reason().unwrap_or("error").to_lowercase().replace(' ', "_");
    let body = serde_json::json!({ "code": code, "message": message });
    (status, axum::Json(body)).into_response()
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes)
        .max_headers(limits.headers);
    http
}

/// Puts the limits that concern whole requests around `router`, the innermost first.
fn guard(router: Router, limits: &Limits, metrics: &ServerMetrics, web: &Web) -> Router {
    let panics = metrics.panics.clone();
    let (body_bytes, request_timeout) = (limits.body_bytes, limits.request_timeout);
    router
        // For every extractor that reads a body. The handler sees what is too large, and
        // can say so in its own way.
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(axum::middleware::from_fn(browser::refuse_other_sites))
        .layer(CatchPanicLayer::custom(move |panic| panicked(panic, &panics)))
        .layer(axum::middleware::from_fn_with_state(web.clone(), web::admit))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, request_timeout))
        .layer(axum::middleware::map_response(move |response: Response| {
            std::future::ready(explain(response, body_bytes, request_timeout))
        }))
        .layer(axum::middleware::map_response_with_state(web.clone(), web::add_headers))
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

/// Gives the plain answers of layers and routers the shape that every error has.
fn explain(mut response: Response, body_bytes: usize, request_timeout: Duration) -> Response {
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_json = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/json"));
    let message = match (status, content_type.is_some()) {
        (StatusCode::PAYLOAD_TOO_LARGE, _) if !is_json => {
            format!("the body is larger than {body_bytes} bytes")
        }
        (StatusCode::SERVICE_UNAVAILABLE, false) => format!(
            "there was no answer within {request_timeout:?}; what was asked for may still be \
             carried out: look before you ask again"
        ),
        (StatusCode::METHOD_NOT_ALLOWED, false) => {
            "this path takes other methods: the header Allow names them".to_owned()
        }
        _ => return response,
    };
    let mut explained = json_error(status, &message);
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        explained.headers_mut().insert(header::ALLOW, allow);
    }
    explained
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that CatchPanicLayer calls")]
fn panicked(panic: Box<dyn Any + Send>, panics: &Counter) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    panics.inc();
    error!(panic = said, "A request handler panicked; please report this");
    json_error(StatusCode::INTERNAL_SERVER_ERROR, "internal error; the log has more")
}

/// The client went away between its connect and our accept.
fn is_the_clients_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_prometheus_reads_them() {
        assert_eq!(split_address(":9105"), Ok(("[::]", 9105)));
        assert_eq!(split_address("127.0.0.1:0"), Ok(("127.0.0.1", 0)));
        assert_eq!(split_address("[::1]:9105"), Ok(("[::1]", 9105)));
        assert_eq!(split_address("node-1:9105"), Ok(("node-1", 9105)));
        for bad in ["", "9105", "::1:9105", "http://a:9105", "a:", "a:x", "a:65536"] {
            assert!(split_address(bad).is_err(), "{bad:?}");
        }
    }
}
