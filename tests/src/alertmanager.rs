//! Alertmanager, Debian's.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use crate::process::Process;
use crate::run::Run;
use crate::{http, layout};

/// The last octet of its address.
const HOST: u8 = 32;

/// It has next to nothing to read.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running Alertmanager, a cluster of one.
#[derive(Debug)]
pub struct Alertmanager {
    /// Its process.
    pub process: Process,
    url: String,
}

/// An alert as the API's version 2 tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct Alert {
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is suppressed, and by what.
    pub status: AlertStatus,
}

/// An alert's place in Alertmanager's pipeline.
#[derive(Debug, Clone, Deserialize)]
pub struct AlertStatus {
    /// `active`, `suppressed` or `unprocessed`.
    pub state: String,
}

impl Alertmanager {
    /// An address that is free for it in this run, `IP:PORT`: others must know it
    /// before it starts.
    pub fn free_address(run: &Run) -> Result<String> {
        Ok(format!("{}:{}", run.ip(HOST), run.free_port(HOST)?))
    }

    /// Starts it at `address` on `config` (the text of `alertmanager.yml`) and
    /// returns once it is ready. `flags` are further flags.
    pub fn start(run: &Arc<Run>, address: &str, config: &str, flags: &[&str]) -> Result<Self> {
        let folder = run.peer_folder("alertmanager")?;
        std::fs::write(folder.join("alertmanager.yml"), config)
            .context("write alertmanager.yml")?;
        let mut command = Command::new(layout::debian("/usr/bin/prometheus-alertmanager")?);
        command
            .args(["--config.file=alertmanager.yml", "--storage.path=data"])
            .args(["--cluster.listen-address=", "--log.level=debug"])
            .arg(format!("--web.listen-address={address}"))
            .args(flags);
        let process = Process::spawn(run, "alertmanager", command)?;
        let mut alertmanager = Self { process, url: format!("http://{address}") };
        alertmanager.wait_ready()?;
        Ok(alertmanager)
    }

    /// Starts it again, after a stop or a kill, on the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.process.start()?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let url = format!("{}/-/ready", self.url);
        self.process.wait_until("Alertmanager to be ready", READY_WITHIN, |_| {
            http::get_text(&url).map(drop)
        })
    }

    /// `http://IP:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The alerts that it holds.
    pub fn alerts(&self) -> Result<Vec<Alert>> {
        let answer = http::get(&format!("{}/api/v2/alerts", self.url))?;
        serde_json::from_value(answer).context("read the alerts")
    }

    /// Hands it an alert as Prometheus does, which ends at `ends_at` unless it
    /// comes again.
    pub fn post_alert(&self, labels: &BTreeMap<String, String>, ends_at: Timestamp) -> Result<()> {
        let alerts = json!([{ "labels": labels, "endsAt": ends_at.to_string() }]);
        http::post(&format!("{}/api/v2/alerts", self.url), &alerts).map(drop)
    }

    /// Silences, for an hour, the alerts whose label `name` is `value`. The id
    /// of the silence.
    pub fn silence(&self, name: &str, value: &str, comment: &str) -> Result<String> {
        let now = Timestamp::now();
        let silence = json!({
            "matchers": [{ "name": name, "value": value, "isRegex": false, "isEqual": true }],
            "startsAt": now.to_string(),
            "endsAt": (now + SignedDuration::from_hours(1)).to_string(),
            "createdBy": "satellite-tests",
            "comment": comment,
        });
        let answer = http::post(&format!("{}/api/v2/silences", self.url), &silence)?;
        let answer: serde_json::Value = serde_json::from_str(&answer).context("read the answer")?;
        Ok(answer["silenceID"].as_str().context("the answer has no silenceID")?.to_owned())
    }

    /// Ends a silence.
    pub fn end_silence(&self, id: &str) -> Result<()> {
        http::delete(&format!("{}/api/v2/silence/{id}", self.url)).map(drop)
    }
}
