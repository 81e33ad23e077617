//! The remediator's process, as a test starts, asks and ends it.

use std::{
    path::Path,
    process::{ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::{Method, header::HeaderMap};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Far more than anything here takes, even on a busy machine; reached only when
/// something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(15);

/// Looks until there is something to find; else fails with what was last seen.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "it never came; last: {seen}"),
        }
        sleep(POLL).await;
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Asserts that it is an error in the one shape that errors have, and gives
    /// its message.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        let body = self.json();
        let code = body["code"].as_str().unwrap();
        assert!(!code.is_empty() && !code.contains(' '), "{self:?}");
        let message = body["message"].as_str().unwrap();
        assert!(!message.is_empty(), "{self:?}");
        message.to_owned()
    }
}

/// A command that starts the remediator, with nothing of our environment but the
/// path, and with a proxy that nobody inside the cluster may be asked through.
pub(crate) fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_satellite-remediator"));
    command.arg(format!("--config.file={}", config.display()));
    command.env_clear().env("PATH", env!("PATH")).stdin(Stdio::null()).kill_on_drop(true);
    command.env("http_proxy", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
    command
}

/// Runs it to its end.
pub(crate) async fn run_to_end(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.expect("it did not end").unwrap()
}

/// Its exit code and the lines that it wrote to stderr.
pub(crate) fn code_and_lines(output: &Output) -> (Option<i32>, Vec<String>) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    (output.status.code(), text.lines().map(str::to_owned).collect())
}

/// A running remediator; killed when it is dropped.
pub(crate) struct Remediator {
    child: Child,
    url: String,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

impl Remediator {
    /// Starts it and waits until it listens.
    pub(crate) async fn start(config: &Path) -> Self {
        Self::run(command(config)).await
    }

    /// Starts it so that a write beyond a limit of file sizes fails, as on a full
    /// disk, and does not end it.
    pub(crate) async fn start_ignoring_file_sizes(config: &Path) -> Self {
        let direct = command(config);
        let direct = direct.as_std();
        let mut command = Command::new("sh");
        command.args(["-c", r#"trap '' XFSZ; exec "$@""#, "sh"]);
        command.arg(direct.get_program()).args(direct.get_args());
        command.env_clear().env("PATH", env!("PATH")).stdin(Stdio::null()).kill_on_drop(true);
        Self::run(command).await
    }

    /// Starts it on a disk that hangs while the file `switch` is there.
    pub(crate) async fn start_on_hanging_disk(config: &Path, switch: &Path) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/hanging_disk.c");
        let library = switch.with_extension("so");
        let mut compiler = Command::new("cc");
        compiler.args(["-D_GNU_SOURCE", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(compiler.status().await.unwrap().success());
        let mut command = command(config);
        command.env("LD_PRELOAD", library).env("HANGS_WHILE", switch);
        Self::run(command).await
    }

    async fn run(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("it ended: {:?}", log.lock().unwrap()));
                log.lock().unwrap().push(line.clone());
                if line.contains(r#"msg="Listening""#) {
                    let address = line.split(' ').find_map(|field| field.strip_prefix("address="));
                    return format!("http://{}", address.unwrap());
                }
            }
        };
        let url = timeout(PATIENCE, listening).await.expect("it never listened");
        let rest = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                rest.lock().unwrap().push(line);
            }
        });
        // Nothing here speaks TLS, but the client insists on a provider.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { child, url, log, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A request that a test adds to.
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        answer(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// `POST` with a body.
    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request("POST", path).body(body)).await
    }

    /// A manual event: `said` is its JSON.
    pub(crate) async fn put(&self, path: &str, said: &Value) -> Answer {
        self.send(self.request("PUT", path).json(said)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// One host, as the API shows it.
    pub(crate) async fn host(&self, host: &str) -> Value {
        let answer = self.get(&format!("/api/v1/hosts/{host}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) async fn status(&self) -> Value {
        self.get("/api/v1/status").await.json()
    }

    /// The records of the journal, newest first.
    pub(crate) async fn journal(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/journal{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["records"].as_array().unwrap().clone()
    }

    /// The records of the journal, newest first, once they have what is looked for: what a
    /// round or a merge does is seen before it is on record.
    pub(crate) async fn journalled(
        &self,
        query: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let mut records = Vec::new();
        eventually(async || {
            records = self.journal(query).await;
            if records.iter().any(&is_wanted) { Ok(()) } else { Err(format!("{records:?}")) }
        })
        .await;
        records
    }

    /// The value of a series, written with its labels as the exposition has it.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    pub(crate) async fn wait_for_metric(&self, series: &str, value: f64) {
        eventually(async || match self.metric(series).await {
            Some(found) if found.to_bits() == value.to_bits() => Ok(()),
            found => Err(format!("{series} {found:?}")),
        })
        .await;
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        eventually(async || {
            let answer = self.get("/-/ready").await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }

    /// Waits until it is not ready for a reason that contains `text`, and gives it.
    pub(crate) async fn not_ready(&self, text: &str) -> String {
        eventually(async || {
            let answer = self.get("/-/ready").await;
            let said = answer.status == 503 && answer.text.contains(text);
            if said { Ok(answer.text) } else { Err(format!("{answer:?}")) }
        })
        .await
    }

    /// Waits until it has made so many more rounds.
    pub(crate) async fn rounds(&self, count: usize) {
        let mut last = self.status().await["last_round"].clone();
        for _ in 0..count {
            last = eventually(async || {
                let round = self.status().await["last_round"].clone();
                if round == last { Err(format!("still {round}")) } else { Ok(round) }
            })
            .await;
        }
    }

    /// Waits until the host is `on` or `off`.
    pub(crate) async fn wait_for_host(&self, host: &str, state: &str) {
        eventually(async || {
            let answer = self.get(&format!("/api/v1/hosts/{host}")).await;
            let right = answer.status == 200 && answer.json()["state"] == state;
            if right { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }

    /// Waits until a line of the log contains `text`, and gives it.
    pub(crate) async fn wait_for_log(&self, text: &str) -> String {
        eventually(async || {
            let log = self.log();
            log.iter().find(|line| line.contains(text)).cloned().ok_or_else(|| log.join("\n"))
        })
        .await
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("it did not end").unwrap()
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Sends a request; an error where there is no whole answer.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, text: response.text().await? })
}
