//! A peer that answers what a test tells it to, byte by byte.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

/// What is done with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes are written, head and all, and the connection is closed.
    Bytes(Vec<u8>),
    /// The connection stays open and silent.
    Silence,
}

/// A peer on a free port. Dropping it stops it.
pub(crate) struct Fake {
    pub(crate) url: Url,
    task: JoinHandle<()>,
}

impl Fake {
    /// Starts a peer that answers by path; a path that is not given is 404.
    pub(crate) async fn start<const N: usize>(answers: [(&'static str, Answer); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answers = Arc::new(BTreeMap::from(answers));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&answers)));
            }
        });
        Self { url, task }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut connection: TcpStream, answers: Arc<BTreeMap<&'static str, Answer>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = connection.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split([' ', '?']).nth(1).unwrap();
    match answers.get(path) {
        Some(Answer::Silence) => std::future::pending().await,
        Some(Answer::Bytes(bytes)) => {
            // The client may have had enough before the end.
            connection.write_all(bytes).await.ok();
            connection.shutdown().await.ok();
        }
        None => {
            connection.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.ok();
        }
    }
}

/// A 200 as both peers send it, with this `Date`.
pub(crate) fn dated(date: &str, body: &str) -> Answer {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    Answer::Bytes([head.as_bytes(), body.as_bytes()].concat())
}

/// A 200.
pub(crate) fn ok(body: &str) -> Answer {
    dated("Sun, 22 Nov 2026 00:03:45 GMT", body)
}

/// A client as the daemon builds its own.
pub(crate) fn http() -> reqwest::Client {
    // Some test was first.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}
