//! TLS: who gets in, what is cut off, and how it ends.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response, routing::get};
use bytes::Bytes;
use rcgen::SanType;
use rustls::ClientConfig;
use satellite_toolkit::serve::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::listener::{PATIENCE, PLAIN, TLS, World, read_all, router};

const MUTUAL: &str = "tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
";

#[tokio::test]
async fn a_request_is_answered_over_tls() {
    let world = World::new(TLS);
    let listener = world.start_usual().await;
    let answer = listener.ask(&world.client(), PLAIN).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("nobody"), "{answer}");
}

#[tokio::test]
async fn of_http_versions_only_the_one_that_is_spoken_is_agreed_upon() {
    let world = World::new(TLS);
    let listener = world.start_usual().await;
    let offering = |protocols: &[&[u8]]| {
        let mut client = ClientConfig::clone(&world.client());
        client.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        Arc::new(client)
    };
    let stream = listener.shake_hands(&offering(&[b"h2", b"http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    listener.shake_hands(&offering(&[b"h2"])).await.unwrap_err();
}

#[tokio::test]
async fn what_is_not_tls_is_cut_off_and_counted_and_the_next_is_served() {
    let world = World::new(TLS);
    let listener = world.start_usual().await;
    for garbage in [PLAIN.as_bytes(), &[0; 100], b"\x16\x03\x01\xff\xff", &[0xff; 20_000]] {
        let mut stream = listener.connect().await;
        stream.write_all(garbage).await.ok();
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().ok();
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    listener.wait_for_metric("satellite_web_tls_handshake_failures_total 4").await;
    assert!(listener.ask(&world.client(), PLAIN).await.unwrap().ends_with("nobody"));
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_demanded_is_refused() {
    let world = World::new(MUTUAL);
    let listener = world.start_usual().await;
    let known = world.authority.client(vec![]);
    let stranger = crate::certificates::Authority::new().client(vec![]);
    // A server's certificate is no client's, whoever signed it.
    let server = world.authority.server();
    assert!(listener.ask(&world.client_with(&known), PLAIN).await.unwrap().ends_with("nobody"));
    for client in [world.client(), world.client_with(&stranger), world.client_with(&server)] {
        listener.ask(&client, PLAIN).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_demanded_is_verified_if_it_is_shown() {
    let world =
        World::new(&MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"));
    let listener = world.start_usual().await;
    let known = world.authority.client(vec![]);
    for client in [world.client(), world.client_with(&known)] {
        assert!(listener.ask(&client, PLAIN).await.unwrap().ends_with("nobody"));
    }
    let stranger = crate::certificates::Authority::new().client(vec![]);
    listener.ask(&world.client_with(&stranger), PLAIN).await.unwrap_err();
}

#[tokio::test]
async fn only_a_client_that_has_one_of_the_names_gets_in() {
    let names = "[a.example.com, 10.0.0.1, 'fd00:0::1', ops@example.com, 'spiffe://x/y']";
    let world = World::new(&format!("{MUTUAL}  client_allowed_sans: {names}\n"));
    let listener = world.start_usual().await;
    let ask = async |names: Vec<SanType>| {
        let client = world.client_with(&world.authority.client(names));
        listener.ask(&client, PLAIN).await
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());
    let address = |address: &str| SanType::IpAddress(address.parse().unwrap());
    for names in [
        vec![dns("a.example.com")],
        vec![dns("other"), address("10.0.0.1")],
        vec![address("fd00::1")],
        vec![mail("ops@example.com")],
        vec![uri("spiffe://x/y")],
    ] {
        assert!(ask(names.clone()).await.unwrap().ends_with("nobody"), "{names:?}");
    }
    for names in [
        vec![],
        vec![dns("b.example.com")],
        vec![dns("*.example.com")],
        vec![address("10.0.0.2")],
        vec![mail("eve@example.com"), uri("spiffe://x/y/z")],
    ] {
        assert!(ask(names.clone()).await.is_err(), "{names:?}");
    }
}

#[tokio::test]
async fn a_version_that_is_not_allowed_is_refused() {
    let world = World::new(&TLS.replace(" }", ", min_version: TLS13 }"));
    let listener = world.start_usual().await;
    assert!(listener.ask(&world.client(), PLAIN).await.is_ok());
    let old = world.client_of_versions(&[&rustls::version::TLS12]);
    listener.shake_hands(&old).await.unwrap_err();
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_cut_off() {
    let world = World::new(TLS);
    let limits = Limits { handshake_timeout: Duration::from_millis(100), ..Limits::default() };
    let listener = world.start(router(), limits).await;
    for beginning in [&b""[..], b"\x16\x03\x01\x01\x00\x01"] {
        let mut stream = listener.connect().await;
        stream.write_all(beginning).await.unwrap();
        assert_eq!(read_all(&mut stream).await.unwrap_or_default(), "");
    }
    listener.wait_for_metric("satellite_web_tls_handshake_failures_total 2").await;
}

#[tokio::test]
async fn nobody_waits_for_a_handshake_of_another_unless_all_connections_are_taken() {
    let world = World::new(TLS);
    let limits = Limits { handshake_timeout: 2 * PATIENCE, connections: 2, ..Limits::default() };
    let listener = world.start(router(), limits).await;
    let first = listener.connect().await;
    assert!(listener.ask(&world.client(), PLAIN).await.is_ok());
    let _second = listener.connect().await;
    listener.wait_for_metric("satellite_http_connections 2").await;
    let client = world.client();
    let third = listener.ask(&client, PLAIN);
    tokio::pin!(third);
    let waiting = timeout(Duration::from_millis(200), &mut third).await;
    assert!(waiting.is_err(), "the third connection was served at once");
    drop(first);
    assert!(third.await.unwrap().ends_with("nobody"));
}

#[tokio::test]
async fn a_kept_connection_that_idles_is_closed() {
    let world = World::new(TLS);
    let limits = Limits { header_timeout: Duration::from_millis(100), ..Limits::default() };
    let listener = world.start(router(), limits).await;
    let kept = PLAIN.replace("Connection: close\r\n", "");
    // One that was answered, and one that never says anything.
    for (request, answer) in [(kept.as_str(), "nobody"), ("", "")] {
        let mut stream = listener.shake_hands(&world.client()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        // It is cut without the good-bye that TLS has.
        timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("never closed").ok();
        assert!(String::from_utf8(bytes).unwrap().ends_with(answer));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let endless = Router::new().route("/", get(async || Response::new(Body::new(Endless))));
    let world = World::new(TLS);
    let limits = Limits { write_timeout: Duration::from_millis(100), ..Limits::default() };
    let listener = world.start(endless, limits).await;
    let mut stream = listener.shake_hands(&world.client()).await.unwrap();
    stream.write_all(PLAIN.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1]).await.unwrap();
    // The stream is still held here.
    listener.wait_for_metric("satellite_http_connections 0").await;
    drop(stream);
}

/// A body without an end.
struct Endless;

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        const CHUNK: &[u8] = &[b'x'; 64 * 1024];
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(CHUNK)))))
    }
}

#[tokio::test]
async fn an_end_lets_requests_in_flight_finish() {
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
    let world = World::new(TLS);
    let listener = world.start(slow, Limits::default()).await;
    let mut stream = listener.shake_hands(&world.client()).await.unwrap();
    stream.write_all(PLAIN.as_bytes()).await.unwrap();
    timeout(PATIENCE, has_entered.recv()).await.unwrap().unwrap();
    listener.token.cancel();
    let refused = async {
        while TcpStream::connect(listener.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("new connections are still taken");
    assert!(!listener.task.is_finished());
    release.cancel();
    assert!(read_all(&mut stream).await.unwrap().ends_with("finished"));
    timeout(PATIENCE, listener.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_end_waits_neither_for_a_handshake_nor_for_a_connection_that_idles() {
    let world = World::new(TLS);
    let limits = Limits {
        handshake_timeout: 2 * PATIENCE,
        header_timeout: 2 * PATIENCE,
        drain_timeout: 2 * PATIENCE,
        ..Limits::default()
    };
    let listener = world.start(router(), limits).await;
    let _silent = listener.connect().await;
    let mut kept = listener.shake_hands(&world.client()).await.unwrap();
    kept.write_all(PLAIN.replace("Connection: close\r\n", "").as_bytes()).await.unwrap();
    let mut first = [0; 1];
    kept.read_exact(&mut first).await.unwrap();
    listener.wait_for_metric("satellite_http_connections 2").await;
    listener.token.cancel();
    timeout(PATIENCE, listener.task).await.unwrap().unwrap().unwrap();
}
