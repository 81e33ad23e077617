//! A small HTTP server: a thread for each connection, a connection for each
//! request. It plays the peers that the lab does not run for real.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;

/// The longest body that is read: the lab's deliveries are a few kilobytes.
const BODY_LIMIT: u64 = 1 << 20;

/// Whoever connects and says nothing is let go, so that no thread is left.
const SILENCE: Duration = Duration::from_secs(10);

/// What was asked.
pub(crate) struct Request {
    /// Without its query.
    pub(crate) path: String,
    pub(crate) body: String,
}

/// A status, and a body that is JSON.
pub(crate) type Reply = (u16, String);

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// Answers until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(
        ip: Ipv4Addr,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((ip, 0)).with_context(|| format!("listen on {ip}"))?;
        let address = listener.local_addr().context("ask for the port")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let answer: Arc<Answer> = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), answer) = (stream, Arc::clone(&answer)) else { continue };
                // Whoever asked may have gone away, which is its own affair.
                std::thread::spawn(move || exchange(&stream, &*answer).ok());
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It waits for a connection: this is the last one.
        let connected = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| connected) {
            thread.join().ok();
        }
    }
}

fn exchange(stream: &TcpStream, answer: &Answer) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).context("a request line")?;
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    ensure!(length <= BODY_LIMIT, "a body of {length} bytes");
    let mut body = String::new();
    (&mut reader).take(length).read_to_string(&mut body)?;
    let (status, body) = answer(&Request { path, body });
    let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
