//! The exporter's process, as a test starts and asks it.

use std::{
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Far more than anything here takes; reached only when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running exporter; killed when it is dropped.
pub(crate) struct Exporter {
    pub(crate) child: Child,
    /// `http://HOST:PORT`, from the line that it logs once it listens.
    pub(crate) url: String,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

/// A command that starts the exporter, with nothing of our environment but the path.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_satellite-exporter"));
    command.args(flags).env_clear().env("PATH", env!("PATH")).stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

/// Runs the exporter to its end.
pub(crate) async fn run_to_end(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.expect("it did not end").unwrap()
}

impl Exporter {
    /// Starts it on a free port and waits until it listens.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let mut child = command(flags)
            .arg("--web.listen-address=127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it ended before it listened");
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

    /// `GET path`: the status and the body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "X-Unused", "").await
    }

    /// `GET path` with one header.
    pub(crate) async fn get_with(&self, path: &str, header: &str, value: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.url)).header(header, value);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn post(&self, path: &str) -> (u16, String) {
        let response = self.client.post(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A scrape that must succeed.
    pub(crate) async fn metrics(&self) -> String {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Scrapes until the exposition has this line.
    pub(crate) async fn wait_for_metric(&self, line: &str) {
        let wait = async {
            while !self.metrics().await.lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {line}"));
    }

    /// Waits until a line of the log contains `text`, and returns it.
    pub(crate) async fn wait_for_log(&self, text: &str) -> String {
        let wait = async {
            loop {
                let found = self.log.lock().unwrap().iter().find(|l| l.contains(text)).cloned();
                if let Some(line) = found {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("never logged: {text}\n{}", self.log().join("\n")))
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }
}
