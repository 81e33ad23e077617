//! Prometheus, Debian's.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::process::Process;
use crate::run::Run;
use crate::{http, layout};

/// The last octet of its address.
const HOST: u8 = 31;

/// It reads its database and its rules first.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// Its process.
    pub process: Process,
    url: String,
}

/// One series of an instant query's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its labels, `__name__` included.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// An alert as `/api/v1/alerts` tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct ActiveAlert {
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: String,
}

impl Prometheus {
    /// An address that is free for it in this run, `IP:PORT`: others must know it
    /// before it starts.
    pub fn free_address(run: &Run) -> Result<String> {
        Ok(format!("{}:{}", run.ip(HOST), run.free_port(HOST)?))
    }

    /// Starts it at `address` on `config` (the text of `prometheus.yml`) with
    /// `rules` (path beside `prometheus.yml`, and text, of each rule file), and
    /// returns once it is ready. `flags` are further flags.
    pub fn start(
        run: &Arc<Run>,
        address: &str,
        config: &str,
        rules: &[(String, String)],
        flags: &[&str],
    ) -> Result<Self> {
        let folder = run.peer_folder("prometheus")?;
        std::fs::write(folder.join("prometheus.yml"), config).context("write prometheus.yml")?;
        for (name, text) in rules {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).context("make the rules' folder")?;
            }
            std::fs::write(path, text).with_context(|| format!("write {name}"))?;
        }
        let mut command = Command::new(layout::debian("/usr/bin/prometheus")?);
        command
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-lifecycle")
            .args(flags);
        let process = Process::spawn(run, "prometheus", command)?;
        let mut prometheus = Self { process, url: format!("http://{address}") };
        prometheus.wait_ready()?;
        Ok(prometheus)
    }

    /// Starts it again, after a stop or a kill, on the same data.
    pub fn restart(&mut self) -> Result<()> {
        self.process.start()?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let url = format!("{}/-/ready", self.url);
        self.process
            .wait_until("Prometheus to be ready", READY_WITHIN, |_| http::get_text(&url).map(drop))
    }

    /// `http://IP:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Has it read its files again; an error if it refuses them.
    pub fn reload(&self) -> Result<()> {
        http::post(&format!("{}/-/reload", self.url), &Value::Null).map(drop)
    }

    /// The answer of an instant query that gives a vector.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/api/v1/query", self.url),
            [("query", expression)],
        )
        .context("make the query's URL")?;
        let answer = http::get(url.as_str())?;
        let result = answer["data"]["result"].as_array().context("the query gave no vector")?;
        result.iter().map(|series| sample(series).context("read a sample")).collect()
    }

    /// The alerts that are pending or firing.
    pub fn alerts(&self) -> Result<Vec<ActiveAlert>> {
        let mut answer = http::get(&format!("{}/api/v1/alerts", self.url))?;
        serde_json::from_value(answer["data"]["alerts"].take()).context("read the alerts")
    }

    /// The state of the alert `name` whose label `label` has this value, if it is
    /// active: `pending` or `firing`.
    pub fn alert_state(&self, name: &str, label: &str, value: &str) -> Result<Option<String>> {
        let of = |alert: &ActiveAlert, key: &str| alert.labels.get(key).cloned();
        let wanted = (Some(name.to_owned()), Some(value.to_owned()));
        let mut alerts = self.alerts()?.into_iter();
        Ok(alerts.find(|a| (of(a, "alertname"), of(a, label)) == wanted).map(|a| a.state))
    }

    /// The active targets, as `/api/v1/targets` tells them.
    pub fn targets(&self) -> Result<Vec<Value>> {
        let mut answer = http::get(&format!("{}/api/v1/targets?state=active", self.url))?;
        serde_json::from_value(answer["data"]["activeTargets"].take()).context("read the targets")
    }
}

fn sample(series: &Value) -> Result<Sample> {
    let labels = serde_json::from_value(series["metric"].clone()).context("read the labels")?;
    let value = series["value"][1].as_str().context("a sample without value")?;
    Ok(Sample { labels, value: value.parse().context("read the value")? })
}
