//! All of Satellite, running beside a cluster as on a true one: an exporter on
//! every node, Prometheus with the shipped rules, Alertmanager, the remediator.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

use crate::alertmanager::Alertmanager;
use crate::cluster::Cluster;
use crate::prometheus::Prometheus;
use crate::run::Run;
use crate::satellite::Daemon;
use crate::shipped::{self, Addresses, Store};
use crate::wait::wait_for;
use crate::way::Way;
use crate::{address, http};

/// The last octet of the first remediator's address.
const REMEDIATOR_HOST: u8 = 33;

/// Discovery, a scrape, a rule evaluation, a warm Alertmanager, a first round:
/// each takes seconds at the tests' intervals.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The host check of the tests: well, as long as a file is absent.
const CHECK: &str = "sickness";

/// How much of the journal is read: all that a test can have caused.
const JOURNAL_LIMIT: usize = 1000;

/// Everything of Satellite that runs, and what it runs on.
#[derive(Debug)]
pub struct Deployment {
    /// One, or one for each whitelist of the masters'.
    pub remediators: Vec<Daemon>,
    /// By which each of several remediators reaches ZooKeeper; none of a single one.
    pub ways: Vec<Way>,
    /// Prometheus, with the shipped rules sped up.
    pub prometheus: Prometheus,
    /// One Alertmanager.
    pub alertmanager: Alertmanager,
    /// One per agent, in the agents' order, then one per master.
    pub exporters: Vec<Daemon>,
    sickness: PathBuf,
}

impl Deployment {
    /// Starts everything beside `cluster`, telling `progress` of each step, and
    /// returns once every exporter is scraped and the remediator is ready.
    pub fn start(
        run: &Arc<Run>,
        cluster: &Cluster,
        mut progress: impl FnMut(&str),
    ) -> Result<Self> {
        let sickness = run.peer_folder("sickness")?;
        let (exporters, exporter_port) = start_exporters(run, cluster, &sickness)?;
        progress(&format!(
            "{} exporters, one per node, all on port {exporter_port}",
            exporters.len()
        ));

        let addresses = Addresses {
            masters: cluster.masters.iter().map(crate::mesos::Master::url).collect(),
            prometheus: Prometheus::free_address(run)?,
            alertmanager: Alertmanager::free_address(run)?,
            remediators: (REMEDIATOR_HOST..)
                .zip(cluster.whitelists())
                .map(|(host, _)| Ok(format!("{}:{}", run.ip(host), run.free_port(host)?)))
                .collect::<Result<_>>()?,
            exporter_port,
        };
        let alertmanager = Alertmanager::start(
            run,
            &addresses.alertmanager,
            &shipped::alertmanager(&addresses)?,
            &[],
        )?;
        progress(&format!("Alertmanager at {}", alertmanager.url()));
        let prometheus = Prometheus::start(
            run,
            &addresses.prometheus,
            &shipped::prometheus(&addresses)?,
            &shipped::rule_files()?,
            &prometheus_flags(),
        )?;
        progress(&format!("Prometheus at {}", prometheus.url()));
        let (remediators, ways) = start_remediators(run, cluster, &addresses)?;
        for remediator in &remediators {
            progress(&format!("remediator at {}", remediator.url()));
        }

        let deployment = Self { remediators, ways, prometheus, alertmanager, exporters, sickness };
        deployment.wait_scraped()?;
        progress("Prometheus found every exporter through the remediator and scrapes it");
        deployment.wait_ready()?;
        progress(
            "the remediator is ready: it sees Mesos, Prometheus, Alertmanager, and no source is blind",
        );
        Ok(deployment)
    }

    /// Waits until Prometheus scrapes every exporter.
    pub fn wait_scraped(&self) -> Result<()> {
        let expected = self.exporters.len();
        wait_for("every exporter to be scraped", READY_WITHIN, || {
            let up = self.prometheus.query(r#"up{job="satellite-exporter"} == 1"#)?.len();
            ensure!(up == expected, "{up} of {expected} are up");
            Ok(())
        })
    }

    /// Waits until each remediator is ready, which means that no source is blind.
    pub fn wait_ready(&self) -> Result<()> {
        for remediator in &self.remediators {
            wait_for("the remediator to be ready", READY_WITHIN, || {
                http::get_text(&format!("{}/-/ready", remediator.url())).map(drop)
            })?;
        }
        Ok(())
    }

    /// The file whose presence makes the check of `host` fail.
    pub fn sickness(&self, host: &str) -> PathBuf {
        self.sickness.join(host)
    }

    /// Makes the check of `host` fail from its next run on.
    pub fn make_sick(&self, host: &str) -> Result<()> {
        std::fs::write(self.sickness(host), "").context("make a host sick")
    }

    /// Makes the check of `host` succeed again. A healthy host stays so.
    pub fn heal(&self, host: &str) -> Result<()> {
        match std::fs::remove_file(self.sickness(host)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("heal a host")
            }
            _ => Ok(()),
        }
    }

    /// Whether the check of `host` is well, as Prometheus has last scraped it. Not
    /// asked of the exporter, which asks its Mesos at every scrape: Mesos answers
    /// only two requests for its metrics a second, and delays the others.
    pub fn check_ok(&self, host: &str) -> Result<bool> {
        let query = format!(r#"satellite_check_ok{{check="{CHECK}", host="{host}"}}"#);
        let samples = self.prometheus.query(&query)?;
        let sample = samples.first().context("the check has no series")?;
        Ok(sample.value > 0.0)
    }

    /// An answer of the first remediator's API: `path` begins after `/api/v1/`.
    pub fn api(&self, path: &str) -> Result<Value> {
        http::get(&format!("{}/api/v1/{path}", self.remediators[0].url()))
    }

    /// The journal's records from `since` on, newest first.
    pub fn journal(&self, since: Timestamp) -> Result<Vec<Value>> {
        let mut answer = self.api(&format!("journal?since={since}&limit={JOURNAL_LIMIT}"))?;
        serde_json::from_value(answer["records"].take()).context("read the journal")
    }

    /// Whether a firing alert of this name has come by webhook from `since` on,
    /// as the journal has it.
    pub fn has_delivery(&self, alert: &str, since: Timestamp) -> Result<bool> {
        let is_it = |a: &Value| a["status"] == "firing" && a["labels"]["alertname"] == alert;
        let records = self.journal(since)?;
        let deliveries = records.iter().filter(|record| record["kind"] == "delivery");
        Ok(deliveries.filter_map(|record| record["alerts"].as_array()).flatten().any(is_it))
    }

    /// What the remediator says of a host.
    pub fn host(&self, host: &str) -> Result<HostView> {
        let answer = self.api(&format!("hosts/{host}"))?;
        serde_json::from_value(answer).with_context(|| format!("read what is said of {host}"))
    }
}

/// What the tests read of `GET /api/v1/hosts/{host}`.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct HostView {
    /// `on` or `off`.
    pub state: String,
    /// Why it is off.
    pub causes: Vec<Cause>,
    /// What keeps a change from happening.
    pub blocked_by: Vec<Value>,
    /// The whole story in words.
    pub explain: String,
    /// What was done to it, oldest first.
    pub transitions: Vec<Transition>,
}

/// One thing that was done to a host.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Transition {
    /// When.
    pub time: Timestamp,
    /// `on`, `off`, and what changes neither.
    pub what: String,
}

/// Why a host is off.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct Cause {
    /// `alert`, `manual`, `imported`.
    pub kind: String,
    /// The policy's rule, of an alert.
    pub rule: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The relation of these times to the rules' is kept: Prometheus's defaults are
/// 10 m and 1 h.
fn prometheus_flags() -> [&'static str; 3] {
    const { assert!(shipped::SPEEDUP == 60) };
    [
        "--rules.alert.resend-delay=2s",
        "--rules.alert.for-grace-period=10s",
        "--rules.alert.for-outage-tolerance=60s",
    ]
}

/// One exporter on each node, all on one port number as on a true cluster.
fn start_exporters(
    run: &Arc<Run>,
    cluster: &Cluster,
    sickness: &Path,
) -> Result<(Vec<Daemon>, u16)> {
    let agents = cluster.agents.iter().map(crate::mesos::Agent::ip);
    let nodes: Vec<Ipv4Addr> =
        agents.chain(cluster.masters.iter().map(crate::mesos::Master::ip)).collect();
    let port = address::common_free_port(&nodes)?;
    let mut exporters = Vec::new();
    for (index, agent) in cluster.agents.iter().enumerate() {
        let name = format!("exporter-agent{}", index + 1);
        let config = run.peer_folder(&name)?.join("exporter.yml");
        let checks = serde_json::json!({ "checks": [{
            "name": CHECK,
            "command": ["test", "!", "-e", sickness.join(agent.hostname())],
            "interval": shipped::INTERVAL,
            "timeout": shipped::INTERVAL,
        }]});
        std::fs::write(&config, checks.to_string()).context("write exporter.yml")?;
        let arguments = [
            format!("--mesos.agent={}", agent.url()),
            format!("--web.listen-address={}:{port}", agent.ip()),
            format!("--config.file={}", config.display()),
        ];
        exporters.push(Daemon::start(run, &name, "satellite-exporter", &arguments)?);
    }
    for (index, master) in cluster.masters.iter().enumerate() {
        let name = format!("exporter-master{}", index + 1);
        let arguments = [
            format!("--mesos.master={}", master.url()),
            format!("--web.listen-address={}:{port}", master.ip()),
        ];
        exporters.push(Daemon::start(run, &name, "satellite-exporter", &arguments)?);
    }
    Ok((exporters, port))
}

/// One with a store of its own, or several on the cluster's ZooKeeper.
fn start_remediators(
    run: &Arc<Run>,
    cluster: &Cluster,
    addresses: &Addresses,
) -> Result<(Vec<Daemon>, Vec<Way>)> {
    let (mut remediators, mut ways) = (Vec::new(), Vec::new());
    let is_alone = cluster.whitelists().len() == 1;
    for (index, whitelist) in cluster.whitelists().iter().enumerate() {
        let name =
            if is_alone { "remediator".to_owned() } else { format!("remediator{}", index + 1) };
        let folder = run.peer_folder(&name)?;
        let state = folder.join("state");
        let config = if is_alone {
            shipped::remediator(addresses, index, Store::Embedded(&state), whitelist)?
        } else {
            let from = addresses.remediators[index].parse::<SocketAddrV4>();
            let way = Way::to(&cluster.zookeeper.addresses(), *from.context("its address")?.ip())?;
            let store = Store::ZooKeeper(way.addresses(), &state);
            let config = shipped::remediator(addresses, index, store, whitelist)?;
            ways.push(way);
            config
        };
        let file = folder.join("remediator.yml");
        std::fs::write(&file, config).context("write remediator.yml")?;
        let arguments = [format!("--config.file={}", file.display())];
        remediators.push(Daemon::start(run, &name, "satellite-remediator", &arguments)?);
    }
    Ok((remediators, ways))
}
