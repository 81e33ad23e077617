//! The configuration files that are shipped in `alerts/`, as the tests run them.
//!
//! Each is read from where it is shipped and changed only where it must be: the
//! addresses are the run's, and every time is shorter. A file that no longer
//! has what is to be changed is an error, so the tests cannot drift from what is
//! shipped.

use std::path::Path;

use anyhow::{Context, Result};
use serde_yaml::Value;

use crate::{layout, rules};

/// What the durations of the rules and of Alertmanager's grouping are divided by.
/// A quarter of an hour becomes 15 s.
pub const SPEEDUP: u32 = 60;

/// The interval of scrapes, rule evaluations, discovery, rounds, merges.
pub const INTERVAL: &str = "1s";

/// Prometheus's `--rules.alert.resend-delay`, which the remediator must know.
pub const RESEND_DELAY: &str = "2s";

/// How long an alert must be gone to be believed gone.
pub const CLEAR_FOR: &str = "2s";

/// How long a host stays off at least.
pub const MIN_OFF: &str = "3s";

/// How close together hosts fall sick in a storm, and how long it has to be calm
/// afterwards. Sped up like the rules.
const STORM_WITHIN: &str = "5s";
const STORM_CALM: &str = "10s";

/// The addresses of everything that the files name.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Of the masters, as URLs.
    pub masters: Vec<String>,
    /// Of Prometheus, `IP:PORT`.
    pub prometheus: String,
    /// Of Alertmanager, `IP:PORT`.
    pub alertmanager: String,
    /// Of the remediators, `IP:PORT` each.
    pub remediators: Vec<String>,
    /// The port of every exporter.
    pub exporter_port: u16,
}

/// The rule files, sped up: their paths beside `prometheus.yml`, and their text.
pub fn rule_files() -> Result<Vec<(String, String)>> {
    let folder = shipped("rules");
    let mut files = Vec::new();
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("list the rules")?.path();
        let text = read(&path)?;
        let faster = rules::sped_up(&text, SPEEDUP)
            .with_context(|| format!("speed up {}", path.display()))?;
        let name = path.file_name().context("a rule file has a name")?;
        files.push((format!("rules/{}", name.to_string_lossy()), faster));
    }
    Ok(files)
}

/// `prometheus.yml`.
pub fn prometheus(addresses: &Addresses) -> Result<String> {
    let mut file = File::open("prometheus.yml")?;
    for interval in ["scrape_interval", "scrape_timeout", "evaluation_interval"] {
        file.set(&["global", interval], INTERVAL)?;
    }
    let alertmanager = ["alerting", "alertmanagers", "0", "static_configs", "0", "targets", "0"];
    file.set(&alertmanager, addresses.alertmanager.as_str())?;
    let exporters = job(file.at(&["scrape_configs"])?, "satellite-exporter")?;
    let discovery = ["scrape_configs", &exporters, "http_sd_configs"];
    file.set_in(&[&discovery[..], &["0"]].concat(), "refresh_interval", INTERVAL)?;
    for_each(file.at(&discovery)?, &addresses.remediators, |entry, remediator| {
        entry["url"] = format!("http://{remediator}/sd/exporters").into();
    })?;
    let remediator = job(file.at(&["scrape_configs"])?, "satellite-remediator")?;
    let targets = ["scrape_configs", &remediator, "static_configs", "0", "targets"];
    file.set(&targets, addresses.remediators.clone())?;
    file.text()
}

/// `alertmanager.yml`.
pub fn alertmanager(addresses: &Addresses) -> Result<String> {
    let mut file = File::open("alertmanager.yml")?;
    rules::speed_up_keys(
        file.at(&["route"])?,
        &["group_wait", "group_interval", "repeat_interval"],
        SPEEDUP,
    )?;
    let receivers = file.at(&["receivers"])?.as_sequence().context("receivers are a list")?;
    let receiver = receivers
        .iter()
        .position(|receiver| receiver["name"] == "satellite-remediator")
        .context("alertmanager.yml has a receiver satellite-remediator")?
        .to_string();
    let webhooks = file.at(&["receivers", &receiver, "webhook_configs"])?;
    for_each(webhooks, &addresses.remediators, |entry, remediator| {
        entry["url"] = format!("http://{remediator}/webhook").into();
    })?;
    file.text()
}

/// Where a remediator keeps its documents, and its journal.
#[derive(Debug, Clone, Copy)]
pub enum Store<'a> {
    /// Here, with its journal.
    Embedded(&'a Path),
    /// At these servers, its journal here.
    ZooKeeper(&'a [String], &'a Path),
}

/// `remediator.yml` of the remediator at this place in the list, with its store and the
/// whitelist that its masters read. One host may be off at a time.
pub fn remediator(
    addresses: &Addresses,
    index: usize,
    store: Store<'_>,
    whitelist: &Path,
) -> Result<String> {
    let mut file = File::open("remediator.yml")?;
    file.set(&["listen"], addresses.remediators[index].as_str())?;
    file.set(&["cluster"], "lab")?;
    // All three masters read this machine's one file.
    file.set(&["store", "embedded", "single_writer"], true)?;
    match store {
        Store::Embedded(path) => {
            file.set(&["store", "embedded", "path"], path.display().to_string())?;
        }
        Store::ZooKeeper(servers, path) => {
            let text = format!(
                "zookeeper: {{ servers: {servers:?}, session_timeout: 5s, journal_path: {} }}",
                path.display()
            );
            let store: Value = serde_yaml::from_str(&text).context("write the store")?;
            file.set(&["store"], store)?;
        }
    }
    file.set(&["mesos", "masters"], addresses.masters.clone())?;
    file.set(&["alertmanagers", "0"], format!("http://{}", addresses.alertmanager))?;
    file.set(&["prometheus", "0"], format!("http://{}", addresses.prometheus))?;
    file.set(&["resend_delay"], RESEND_DELAY)?;
    file.set(&["reconcile_interval"], INTERVAL)?;
    file.set(&["exporter_port"], addresses.exporter_port)?;
    file.set(&["whitelist", "file"], whitelist.display().to_string())?;
    file.set(&["whitelist", "merge_interval"], INTERVAL)?;
    file.set(&["policy", "clear_for"], CLEAR_FOR)?;
    file.set(&["policy", "budget", "max_off", "count"], 1)?;
    // 20 % of four hosts would be none.
    file.set(&["policy", "budget", "max_off", "share"], "100%")?;
    // The tests take hosts off more often in an hour than a cluster should.
    file.set(&["policy", "budget", "max_off_per_hour"], 1000)?;
    file.set(&["policy", "rules", "0", "min_off"], MIN_OFF)?;
    // Nor would a host that fell sick as often as theirs be given back.
    file.set(&["policy", "relapse", "double_up_to"], MIN_OFF)?;
    file.set(&["policy", "relapse", "give_up_after"], 1000)?;
    // A storm's times are sped up as the rules' are.
    file.set(&["policy", "storm", "within"], STORM_WITHIN)?;
    file.set(&["policy", "storm", "calm"], STORM_CALM)?;
    file.text()
}

/// Makes a list of one entry one of an entry for each of `these`.
fn for_each(list: &mut Value, these: &[String], set: impl Fn(&mut Value, &str)) -> Result<()> {
    let first = list.get(0).context("the list has an entry")?.clone();
    let entry = |one: &String| {
        let mut entry = first.clone();
        set(&mut entry, one);
        entry
    };
    *list = Value::Sequence(these.iter().map(entry).collect());
    Ok(())
}

/// The place of a scrape job in the list, as a step of a path.
fn job(scrape_configs: &Value, name: &str) -> Result<String> {
    let jobs = scrape_configs.as_sequence().context("scrape_configs are a list")?;
    let index = jobs.iter().position(|job| job["job_name"] == name);
    Ok(index.with_context(|| format!("prometheus.yml has no job {name}"))?.to_string())
}

fn shipped(name: &str) -> std::path::PathBuf {
    layout::workspace().join("alerts").join(name)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// A shipped YAML file under change.
struct File {
    name: &'static str,
    root: Value,
}

impl File {
    fn open(name: &'static str) -> Result<Self> {
        let text = read(&shipped(name))?;
        let root = serde_yaml::from_str(&text).with_context(|| format!("read {name}"))?;
        Ok(Self { name, root })
    }

    /// What lies at a path of keys and list positions.
    fn at(&mut self, path: &[&str]) -> Result<&mut Value> {
        let name = self.name;
        path.iter().try_fold(&mut self.root, |value, step| {
            let next = match step.parse::<usize>() {
                Ok(index) => value.get_mut(index),
                Err(_) => value.get_mut(*step),
            };
            next.with_context(|| format!("{name} has no {} (at {step})", path.join(".")))
        })
    }

    fn set(&mut self, path: &[&str], value: impl Into<Value>) -> Result<()> {
        *self.at(path)? = value.into();
        Ok(())
    }

    fn set_in(&mut self, path: &[&str], key: &str, value: impl Into<Value>) -> Result<()> {
        let path: Vec<&str> = path.iter().copied().chain([key]).collect();
        self.set(&path, value)
    }

    fn text(&self) -> Result<String> {
        serde_yaml::to_string(&self.root).with_context(|| format!("write {}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses {
            masters: vec!["http://127.64.0.1:5050".to_owned(), "http://127.64.0.2:5050".to_owned()],
            prometheus: "127.64.0.31:9090".to_owned(),
            alertmanager: "127.64.0.32:9093".to_owned(),
            remediators: vec!["127.64.0.33:5001".to_owned()],
            exporter_port: 9105,
        }
    }

    #[test]
    fn no_shipped_address_is_left_in_a_file_that_a_test_runs() {
        let files = [
            prometheus(&addresses()).unwrap(),
            alertmanager(&addresses()).unwrap(),
            remediator(
                &addresses(),
                0,
                Store::Embedded(Path::new("/state")),
                Path::new("/whitelist"),
            )
            .unwrap(),
        ];
        for file in files {
            assert!(!file.contains("127.0.0.1") && !file.contains("/var/lib"), "{file}");
        }
    }

    #[test]
    fn every_shipped_rule_file_can_be_sped_up() {
        let files = rule_files().unwrap();
        assert!(files.iter().any(|(_, text)| text.contains("HostCheckFailed")));
        for (name, text) in files {
            assert!(!text.contains("15m"), "{name} has a long window left:\n{text}");
        }
    }
}
