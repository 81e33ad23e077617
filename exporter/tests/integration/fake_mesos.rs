//! A Mesos process that answers each path as a test tells it to, also wrongly.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::exporter::PATIENCE;

/// How a path is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// 200 with this body.
    Json(String),
    /// 200 with this body, whatever it is.
    Bytes(Vec<u8>),
    /// Another status, with this body.
    Status(u16, String),
    /// 307 to this address.
    Redirect(String),
    /// 200, and the connection breaks off in the middle of this body.
    Truncated(String),
    /// Nothing, for ever.
    Hang,
}

/// By path.
type Answers = Arc<Mutex<HashMap<String, Answer>>>;
/// The `Authorization` that a request must have to be answered by anything but 401.
type Wanted = Arc<Mutex<Option<String>>>;

/// Runs until it is dropped. A path without an answer is 404.
pub(crate) struct FakeMesos {
    pub(crate) address: SocketAddr,
    answers: Answers,
    wanted: Wanted,
    asked: watch::Receiver<Vec<String>>,
    task: JoinHandle<()>,
}

impl Drop for FakeMesos {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeMesos {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, wanted) = (Answers::default(), Wanted::default());
        let shared = (Arc::clone(&answers), Arc::clone(&wanted));
        let (told, asked) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone(), told.clone()));
            }
        });
        Self { address, answers, wanted, asked, task }
    }

    /// A master that answers as the recorded leader did.
    pub(crate) async fn leader() -> Self {
        let fake = Self::start().await;
        fake.record("/metrics/snapshot", "leader_metrics_snapshot");
        fake.record("/version", "leader_version");
        fake.record("/flags", "leader_flags");
        fake.record("/state-summary", "leader_state_summary");
        fake.record("/roles", "leader_roles");
        fake
    }

    /// A master that answers as the recorded follower did. What only a leader knows it
    /// redirects to `leader`.
    pub(crate) async fn follower(leader: SocketAddr) -> Self {
        let fake = Self::start().await;
        fake.record("/metrics/snapshot", "follower_metrics_snapshot");
        fake.record("/version", "follower_version");
        fake.record("/flags", "follower_flags");
        for path in ["state-summary", "roles"] {
            let to = format!("//{leader}/master/{path}");
            fake.answer(&format!("/{path}"), Answer::Redirect(to));
        }
        fake
    }

    /// An agent that answers as the recorded one did.
    pub(crate) async fn agent() -> Self {
        let fake = Self::start().await;
        fake.record("/metrics/snapshot", "agent_metrics_snapshot");
        fake.record("/api/v1", "agent_v1_get_containers");
        fake.record("/containers", "agent_containers");
        fake.record("/monitor/statistics", "agent_monitor_statistics");
        fake.record("/state", "agent_state");
        fake
    }

    /// Another agent, whose containers only `/containers` was asked for.
    pub(crate) async fn agent_with_cgroups() -> Self {
        let fake = Self::start().await;
        fake.record("/metrics/snapshot", "cgroups_agent_metrics_snapshot");
        fake.record("/containers", "cgroups_agent_containers");
        fake.record("/state", "cgroups_agent_state");
        fake
    }

    /// From now on `path` is answered as the recorded process did.
    pub(crate) fn record(&self, path: &str, file: &str) {
        self.answer(path, Answer::Json(fixture(file)));
    }

    /// From now on `path` is answered so.
    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// From now on only requests with this `Authorization` are let in.
    pub(crate) fn want(&self, authorization: &str) {
        *self.wanted.lock().unwrap() = Some(authorization.to_owned());
    }

    /// How often somebody has asked for `path`.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.asked.borrow().iter().filter(|asked| *asked == path).count()
    }

    /// Waits until somebody has asked for `path`.
    pub(crate) async fn wait_for_request(&self, path: &str) {
        let mut asked = self.asked.clone();
        let seen = asked.wait_for(|paths| paths.iter().any(|asked| asked == path));
        timeout(PATIENCE, seen).await.expect("nobody asked for it").unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A recorded answer of a real Mesos 1.11.0.
pub(crate) fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()
}

async fn serve(
    mut stream: TcpStream,
    (answers, wanted): (Answers, Wanted),
    told: watch::Sender<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    // A body that was not read would break the connection off before the answer is there.
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    let path = head.split(' ').nth(1).unwrap();
    told.send_modify(|paths| paths.push(path.to_owned()));
    let sent = head.lines().find_map(|line| line.strip_prefix("authorization: "));
    let answer = match &*wanted.lock().unwrap() {
        Some(wanted) if sent != Some(wanted) => Answer::Status(401, String::new()),
        _ => {
            let answer = answers.lock().unwrap().get(path).cloned();
            answer.unwrap_or(Answer::Status(404, String::new()))
        }
    };
    let response = match answer {
        Answer::Json(body) => respond("200 OK", "", body.len(), &body),
        Answer::Bytes(body) => {
            let head = respond("200 OK", "", body.len(), "");
            stream.write_all(&[head.as_bytes(), &body].concat()).await.ok();
            return;
        }
        Answer::Status(status, body) => respond(&format!("{status} X"), "", body.len(), &body),
        Answer::Redirect(to) => respond("307 X", &format!("Location: {to}\r\n"), 0, ""),
        Answer::Truncated(body) => respond("200 OK", "", body.len(), &body[..body.len() / 2]),
        Answer::Hang => return std::future::pending().await,
    };
    // The exporter may have gone away, which is its own affair.
    stream.write_all(response.as_bytes()).await.ok();
}

fn respond(status: &str, headers: &str, length: usize, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         {headers}Connection: close\r\n\r\n{body}"
    )
}
