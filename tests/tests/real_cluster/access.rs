//! A Mesos that wants credentials, beside the cluster and with no part in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use satellite_tests::http;
use satellite_tests::layout;
use satellite_tests::mesos::{Agent, AgentOptions, Master, MasterOptions};
use satellite_tests::satellite::Daemon;
use satellite_tests::wait::wait_for;
use serde_json::{Value, json};

use crate::Lab;

/// The numbers of its master and agent, which the cluster does not use.
const MASTER: u8 = 9;
const AGENT: u8 = 9;

/// An election, a recovery of the registry, a registration.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// The files are looked at every second, and Mesos answers two requests for its
/// metrics a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

const PRINCIPAL: &str = "satellite";
const SECRET: &str = "let-me-in";

/// What an exporter asks of one node with a master and an agent.
const SOURCES: [&str; 5] = ["master", "master_info", "agent", "containers", "agent_state"];

/// A master and its agent that let in one principal.
struct Guarded {
    // The agent is dropped first.
    agent: Agent,
    master: Master,
}

impl Guarded {
    fn start(lab: &Lab, folder: &Path) -> Result<Self> {
        let known = folder.join("known.json");
        let credentials = json!({"credentials": [{"principal": PRINCIPAL, "secret": SECRET}]});
        fs::write(&known, credentials.to_string()).context("write what Mesos knows")?;
        // A cluster of its own, on the same ZooKeeper.
        let zookeeper = format!("zk://{}/guarded", lab.cluster.zookeeper.address());
        let flags = [
            "--authenticate_http_readonly".to_owned(),
            "--authenticate_http_readwrite".to_owned(),
            format!("--credentials={}", known.display()),
        ];
        let whitelist = lab.cluster.whitelist();
        let options = MasterOptions { zookeeper: &zookeeper, quorum: 1, whitelist, flags: &flags };
        let master = Master::start(&lab.run, MASTER, &options)?;
        let flags = [
            "--authenticate_http_readonly".to_owned(),
            "--authenticate_http_readwrite".to_owned(),
            format!("--http_credentials={}", known.display()),
        ];
        let options = AgentOptions {
            zookeeper: &zookeeper,
            hostname: "guarded.lab",
            attributes: "rack:guarded",
            resources: "cpus:1;mem:64",
            flags: &flags,
        };
        let agent = Agent::start(&lab.run, AGENT, &options)?;
        Ok(Self { agent, master })
    }
}

/// The file of credentials of Satellite's own.
struct Credentials(PathBuf);

impl Credentials {
    /// Replaces it in one step.
    fn write(&self, secret: &str) -> Result<()> {
        let new = self.0.with_extension("new");
        let text = json!({"principal": PRINCIPAL, "secret": secret}).to_string();
        fs::write(&new, text).context("write credentials")?;
        fs::rename(new, &self.0).context("put credentials in place")
    }
}

/// Waits until exactly `expected` of the exporter's sources are up.
fn wait_up(exporter: &Daemon, expected: &[&str], within: Duration) -> Result<()> {
    wait_for(&format!("the sources that are up to be {expected:?}"), within, || {
        let metrics = http::get_text(&format!("{}/metrics", exporter.url()))?;
        let is_up = |source: &&str| {
            let line = format!("satellite_source_up{{source=\"{source}\"}} 1");
            metrics.lines().any(|it| it == line)
        };
        let up: Vec<&str> = SOURCES.into_iter().filter(is_up).collect();
        ensure!(up == expected, "up: {up:?}");
        Ok(())
    })
}

fn start_remediator(lab: &Lab, folder: &Path, master: &Master) -> Result<Daemon> {
    let file = folder.join("remediator.yml");
    // Nobody listens where the other sources are said to be: this is of Mesos alone.
    let nobody = format!("http://{}:1", lab.run.ip(MASTER));
    let config = json!({
        "listen": "127.0.0.1:0",
        "store": {"embedded": {"path": folder.join("state")}},
        "mesos": {"masters": [master.url()], "credentials_file": "credentials.json"},
        "alertmanagers": [nobody],
        "prometheus": [nobody],
        "reconcile_interval": "1s",
        "whitelist": {"file": folder.join("hosts")},
    });
    fs::write(&file, config.to_string()).context("write remediator.yml")?;
    let arguments = [format!("--config.file={}", file.display())];
    Daemon::start(&lab.run, "remediator-guarded", "satellite-remediator", &arguments)
}

/// Waits until the remediator is, or is not, blind for Mesos.
fn wait_blind(remediator: &Daemon, is_blind: bool) -> Result<()> {
    wait_for(&format!("Mesos to be blind: {is_blind}"), NOTICED_WITHIN, || {
        let status = http::get(&format!("{}/api/v1/status", remediator.url()))?;
        let sources = status["sources"].as_array().context("no sources")?;
        let mesos = sources.iter().find(|it| it["source"] == "mesos");
        let blind = mesos.map(|it| &it["blind"]);
        ensure!(blind == Some(&Value::Bool(is_blind)), "{mesos:?}");
        Ok(())
    })
}

pub(crate) fn credentials(lab: &mut Lab) -> Result<()> {
    layout::build_programs()?;
    let folder = lab.run.peer_folder("guarded")?;
    let guarded = Guarded::start(lab, &folder)?;
    let credentials = Credentials(folder.join("credentials.json"));
    credentials.write(SECRET)?;
    let arguments = [
        format!("--mesos.master={}", guarded.master.url()),
        format!("--mesos.agent={}", guarded.agent.url()),
        format!("--mesos.credentials-file={}", credentials.0.display()),
        "--web.listen-address=127.0.0.1:0".to_owned(),
    ];
    let exporter = Daemon::start(&lab.run, "exporter-guarded", "satellite-exporter", &arguments)?;
    wait_up(&exporter, &SOURCES, UP_WITHIN)?;
    let remediator = start_remediator(lab, &folder, &guarded.master)?;
    wait_blind(&remediator, false)?;

    credentials.write("not-this")?;
    wait_up(&exporter, &[], NOTICED_WITHIN)?;
    wait_blind(&remediator, true)?;

    credentials.write(SECRET)?;
    wait_up(&exporter, &SOURCES, NOTICED_WITHIN)?;
    wait_blind(&remediator, false)?;
    for daemon in [&exporter, &remediator] {
        let output = daemon.process.output()?;
        ensure!(!output.contains(SECRET) && !output.contains("not-this"), "a secret is logged");
    }
    Ok(())
}
