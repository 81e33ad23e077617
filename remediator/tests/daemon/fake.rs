//! An HTTP server that answers as a test tells it to, also wrongly.
//!
//! It closes each connection after its answer, so that a server that goes away
//! is away at once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What was asked.
pub(crate) struct Request {
    /// With its query.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
}

/// What is answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Where a redirect leads.
    pub(crate) location: Option<String>,
}

impl Reply {
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self { status: 200, body: body.to_string(), location: None }
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, body: body.into(), location: None }
    }
}

/// How a server is today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    Well,
    /// Nobody listens: connections are refused.
    Away,
    /// It takes the question and never answers.
    Hangs,
    /// 500.
    Broken,
    /// 200 and a page, as a captive proxy would.
    Page,
    /// It answers; but what is asked of this path is answered as it was when it was
    /// asked, and not before the mood is set again, to whatever.
    Holds(&'static str),
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// Runs until it is dropped.
pub(crate) struct Fake {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    held: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, moods) = watch::channel(Mood::Well);
        let held = Arc::<AtomicUsize>::default();
        let exchange = Exchange { moods, answer: Arc::new(answer), held: Arc::clone(&held) };
        let task = tokio::spawn(serve(listener, address, exchange));
        Self { address, mood, held, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// How many answers it has held back so far, given since or not.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// A loopback address for each server, so that nobody takes its port while it is
/// away.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

async fn serve(listener: TcpListener, address: SocketAddr, mut exchange: Exchange) {
    let mut listener = Some(listener);
    loop {
        let mood = *exchange.moods.borrow_and_update();
        if mood == Mood::Away {
            listener = None;
            if exchange.moods.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.unwrap());
        }
        let Some(open) = &listener else { continue };
        tokio::select! {
            changed = exchange.moods.changed() => if changed.is_err() { return },
            Ok((stream, _)) = open.accept() => {
                tokio::spawn(exchange.clone().run(stream));
            }
        }
    }
}

/// One question, one answer.
#[derive(Clone)]
struct Exchange {
    moods: watch::Receiver<Mood>,
    answer: Arc<Answer>,
    held: Arc<AtomicUsize>,
}

impl Exchange {
    async fn run(mut self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream).await else { return };
        let mood = *self.moods.borrow_and_update();
        let reply = match mood {
            Mood::Holds(path) if request.path == path => {
                let reply = (self.answer)(&request);
                self.held.fetch_add(1, Ordering::Relaxed);
                self.moods.changed().await.ok();
                reply
            }
            Mood::Well | Mood::Holds(_) => (self.answer)(&request),
            Mood::Away => return,
            Mood::Hangs => return hang(stream, self.moods).await,
            Mood::Broken => Reply::text(500, "something broke\n"),
            Mood::Page => Reply::text(200, "<!doctype html><title>Please log in</title>"),
        };
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let location = reply.location.map_or(String::new(), |it| format!("Location: {it}\r\n"));
        let (status, length, body) = (reply.status, reply.body.len(), reply.body);
        let response = format!(
            "HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: application/json\r\n{location}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        // Whoever asked may have gone away, which is its own affair.
        stream.write_all(response.as_bytes()).await.ok();
    }
}

/// Keeps the connection open until the mood changes.
async fn hang(_stream: TcpStream, mut moods: watch::Receiver<Mood>) {
    moods.wait_for(|mood| *mood != Mood::Hangs).await.ok();
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let header = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let length = header("content-length").and_then(|length| length.parse().ok());
    let authorization = header("authorization");
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { path, authorization, body: String::from_utf8(body).ok()? })
}
