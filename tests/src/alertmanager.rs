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

/// Added to the number of a pair's member for the last octet of its address.
const MEMBER_HOST_BASE: u8 = 40;

/// How long a member of a pair waits for the one before it to have delivered
/// (15 s by default), and for its peers before it begins. Short, so that two
/// members do meet at the receiver while a test looks.
const MEMBER_FLAGS: [&str; 2] = ["--cluster.peer-timeout=1s", "--cluster.settle-timeout=2s"];

/// It has next to nothing to read.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running Alertmanager, a cluster of one or a member of a pair.
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
    /// A digest of the labels.
    pub fingerprint: String,
    /// Since when it fires, to the millisecond.
    #[serde(rename = "startsAt")]
    pub starts_at: Timestamp,
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
        let flags: Vec<String> = ["--cluster.listen-address="]
            .iter()
            .chain(flags)
            .map(|flag| (*flag).to_owned())
            .collect();
        let mut alertmanager = Self::spawn(run, "alertmanager", address, config, &flags)?;
        alertmanager.wait_ready()?;
        Ok(alertmanager)
    }

    /// Starts two that gossip with each other, on one `config`, and returns once
    /// both are ready.
    pub fn start_pair(run: &Arc<Run>, config: &str) -> Result<[Self; 2]> {
        let gossip = |number: u8| -> Result<String> {
            let host = MEMBER_HOST_BASE + number;
            Ok(format!("{}:{}", run.ip(host), run.free_port(host)?))
        };
        let (first, second) = (gossip(1)?, gossip(2)?);
        let member = |number: u8, own: &str, other: &str| -> Result<Self> {
            let host = MEMBER_HOST_BASE + number;
            let address = format!("{}:{}", run.ip(host), run.free_port(host)?);
            let mut flags = MEMBER_FLAGS.map(str::to_owned).to_vec();
            flags.push(format!("--cluster.listen-address={own}"));
            flags.push(format!("--cluster.peer={other}"));
            // Deliveries tell by it which of the two they are from.
            flags.push(format!("--web.external-url=http://{address}"));
            Self::spawn(run, &format!("alertmanager{number}"), &address, config, &flags)
        };
        let mut pair = [member(1, &first, &second)?, member(2, &second, &first)?];
        for member in &mut pair {
            member.wait_ready()?;
        }
        Ok(pair)
    }

    fn spawn(
        run: &Arc<Run>,
        name: &str,
        address: &str,
        config: &str,
        flags: &[String],
    ) -> Result<Self> {
        let folder = run.peer_folder(name)?;
        std::fs::write(folder.join("alertmanager.yml"), config)
            .context("write alertmanager.yml")?;
        let mut command = Command::new(layout::debian("/usr/bin/prometheus-alertmanager")?);
        command
            .args(["--config.file=alertmanager.yml", "--storage.path=data", "--log.level=debug"])
            .arg(format!("--web.listen-address={address}"))
            .args(flags);
        let process = Process::spawn(run, name, command)?;
        Ok(Self { process, url: format!("http://{address}") })
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
