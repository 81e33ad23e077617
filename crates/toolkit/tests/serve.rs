//! The listener against clients over real sockets: careless, hostile, and merely many.

#![expect(clippy::unwrap_used, reason = "a test and its helpers fail by panicking")]

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use satellite_toolkit::{
    serve::{Limits, ServerMetrics, bind, serve},
    web::Web,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    token: CancellationToken,
    registry: Registry,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(router: Router, limits: Limits) -> Server {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let mut registry = Registry::default();
    let metrics = ServerMetrics::register(&mut registry);
    let ending = token.clone();
    let serving =
        async move { serve(listener, router, limits, &metrics, Web::default(), ending).await };
    let task = tokio::spawn(serving);
    Server { address, token, registry, task }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes or answers with `Connection: close`.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_all(&mut stream).await
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after an early refusal keeps what came before it.
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server never closed").ok();
    String::from_utf8(bytes).unwrap()
}

fn router() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/echo", post(async |body: String| body))
        .route("/panic", get(async || if true { panic!("boom") } else { "" }))
        .route("/never", get(std::future::pending::<()>))
}

fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn half_a_request_head_is_cut_after_the_header_timeout() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(router(), limits).await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n").await;
    assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
}

#[tokio::test]
async fn a_kept_connection_that_idles_is_closed() {
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(router(), limits).await;
    let answer = server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_or_has_too_many_lines_is_431() {
    let server = start(router(), Limits::default()).await;
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200));
    for request in [large, many] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_in_the_shape_of_every_error() {
    let limits = Limits { body_bytes: 10, ..Limits::default() };
    let server = start(router(), limits).await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let announced = format!("{head}Content-Length: 11\r\n\r\n01234567890");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n");
    for request in [announced, chunked] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(r#""message":"the body is larger than 10 bytes""#), "{answer}");
        assert!(answer.contains(r#""code":"payload_too_large""#), "{answer}");
    }
    let fits = format!("{head}Content-Length: 10\r\n\r\n0123456789");
    assert!(server.exchange(fits.as_bytes()).await.ends_with("0123456789"));
}

#[tokio::test]
async fn a_web_page_of_another_site_may_ask_and_not_command() {
    let server = start(router(), Limits::default()).await;
    let send = async |method: &str, path: &str, header: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n");
        server.exchange(format!("{head}{header}Content-Length: 0\r\n\r\n").as_bytes()).await
    };
    for header in ["Origin: http://evil\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        let answer = send("POST", "/echo", header).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{header}{answer}");
        assert!(answer.contains(r#""code":"forbidden""#), "{answer}");
        assert!(send("GET", "/", header).await.ends_with("hello"));
    }
    for header in ["", "Origin: http://x:1\r\nSec-Fetch-Site: same-origin\r\n"] {
        assert!(send("POST", "/echo", header).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_answered_503() {
    let limits = Limits { request_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(router(), limits).await;
    let answer =
        server.exchange(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains(
            r#"{"code":"service_unavailable","message":"there was no answer within 100ms;"#
        ),
        "{answer}"
    );
}

#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_said_in_the_shape_of_every_error() {
    let server = start(router(), Limits::default()).await;
    let answer = server.exchange(&get_request("/echo")).await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: POST\r\n"), "{answer}");
    assert!(answer.contains(r#"{"code":"method_not_allowed","message":"#), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let (ended, mut has_ended) = mpsc::channel::<()>(1);
    let large = Router::new().route(
        "/",
        get(async move || {
            let body = axum::body::Body::new(Held { bytes: 64 << 20, _ended: ended.clone() });
            axum::response::Response::new(body)
        }),
    );
    let limits = Limits { write_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(large, limits).await;
    let mut stream = server.connect().await;
    stream.write_all(&get_request("/")).await.unwrap();
    server.token.cancel();
    // Only a cut connection lets the listener end before its drain timeout.
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap().unwrap();
    assert!(has_ended.recv().await.is_none());
}

/// A body of many bytes that lets its maker see when it is dropped.
struct Held {
    bytes: usize,
    _ended: mpsc::Sender<()>,
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        const CHUNK: &[u8] = &[b'x'; 64 * 1024];
        let left = self.bytes.checked_sub(CHUNK.len());
        std::task::Poll::Ready(left.map(|left| {
            self.bytes = left;
            Ok(http_body::Frame::data(bytes::Bytes::from_static(CHUNK)))
        }))
    }
}

#[tokio::test]
async fn a_panic_is_500_and_counted_and_the_next_request_is_served() {
    let server = start(router(), Limits::default()).await;
    let answer = server.exchange(&get_request("/panic")).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(!answer.contains("boom"), "{answer}");
    assert!(server.metrics().contains("satellite_http_panics_total 1\n"));
    assert!(server.exchange(&get_request("/")).await.ends_with("hello"));
}

#[tokio::test]
async fn connections_over_the_cap_wait_until_one_is_free() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = start(router(), limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        // An answered request proves that the connection has been accepted.
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 1];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
        held.push(stream);
    }
    let mut third = server.connect().await;
    third.write_all(&get_request("/")).await.unwrap();
    let mut byte = [0; 1];
    let waiting = timeout(Duration::from_millis(200), third.read(&mut byte)).await;
    assert!(waiting.is_err(), "the third connection was served at once");
    assert!(server.metrics().contains("satellite_http_connections_saturated_total 1\n"));
    held.pop();
    assert!(read_all(&mut third).await.ends_with("hello"));
}

#[tokio::test]
async fn an_end_lets_requests_in_flight_finish_and_takes_no_new_ones() {
    let (entered, mut has_entered) = mpsc::channel(1);
    let release = CancellationToken::new();
    let released = release.clone();
    let slow = Router::new().route(
        "/",
        get(async move || {
            entered.send(()).await.unwrap();
            released.cancelled().await;
            "finished"
        }),
    );
    let server = start(slow, Limits::default()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(PATIENCE, has_entered.recv()).await.unwrap().unwrap();
    server.token.cancel();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("new connections are still taken");
    assert!(!server.task.is_finished());
    release.cancel();
    assert!(read_all(&mut stream).await.ends_with("finished"));
    timeout(PATIENCE, server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_end_cuts_requests_that_outlast_the_drain() {
    let limits = Limits { drain_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(router(), limits).await;
    let mut stream = server.connect().await;
    stream.write_all(&get_request("/never")).await.unwrap();
    server.token.cancel();
    timeout(PATIENCE, server.task).await.unwrap().unwrap().unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let listener = bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let error = bind(&address).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}

#[tokio::test]
async fn an_exposition_is_compressed_only_for_those_who_ask() {
    use satellite_toolkit::exposition::{Exposition, Family, Format, Kind, Labels, compression};
    let mut family = Family::new("a", "A", Kind::Gauge);
    (0..1000).for_each(|at| family.push(Labels::new([("at", at.to_string())]), 1.0));
    let families: std::sync::Arc<[Family]> = vec![family].into();
    let metrics = Router::new()
        .route(
            "/metrics",
            get(async move || {
                Exposition::new(Format::Text).families(families.clone()).into_response()
            }),
        )
        .layer(compression());
    let server = start(metrics, Limits::default()).await;
    let plain = server.exchange(&get_request("/metrics")).await;
    assert!(
        plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{plain}"
    );
    assert!(plain.contains("vary: accept"), "{plain}");
    let mut stream = server.connect().await;
    let request =
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let head = String::from_utf8_lossy(&answer);
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("vary: accept-encoding"), "{head}");
    assert!(answer.len() < plain.len() / 2, "{} of {}", answer.len(), plain.len());
}
