//! What a case works with: the remediator, its real Alertmanagers, and the
//! peers that are played.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use satellite_tests::alertmanager::Alertmanager;
use satellite_tests::deployment::HostView;
use satellite_tests::http;
use satellite_tests::run::Run;
use satellite_tests::satellite::{Daemon, whitelist};
use satellite_tests::wait::wait_for;
use serde_json::json;

use crate::gate::{Delivery, Gate};
use crate::prometheus::Prometheus;
use crate::server::{Reply, Request, Server};

/// The cluster.
pub(crate) const HOSTS: [&str; 6] = ["h1.lab", "h2.lab", "h3.lab", "h4.lab", "h5.lab", "h6.lab"];

/// For anything that comes: far more than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Of the played peers, the last octets of their addresses.
const MASTER_HOST: u8 = 1;
const PROMETHEUS_HOST: u8 = 31;
const REMEDIATOR_HOST: u8 = 33;
const GATE_HOST: u8 = 34;

/// Every peer of one case.
pub(crate) struct Lab {
    pub(crate) remediator: Daemon,
    pub(crate) alertmanagers: Vec<Alertmanager>,
    pub(crate) prometheus: Prometheus,
    pub(crate) gate: Gate,
    _master: Server,
    whitelist: PathBuf,
    run: Arc<Run>,
}

/// How many Alertmanagers there are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alertmanagers {
    /// One, which leaves out what is over `max_alerts` (0: nothing).
    One { max_alerts: u32 },
    /// Two that gossip.
    Pair,
}

impl Lab {
    /// Starts everything, and returns once no source is blind.
    pub(crate) fn start(name: &str, alertmanagers: Alertmanagers) -> Result<Self> {
        let run = Run::start(name)?;
        let master = Server::start(run.ip(MASTER_HOST), answer_of_master)?;
        let prometheus = Prometheus::start(run.ip(PROMETHEUS_HOST), &HOSTS)?;
        let listen = format!("{}:{}", run.ip(REMEDIATOR_HOST), run.free_port(REMEDIATOR_HOST)?);
        let gate = Gate::start(run.ip(GATE_HOST), format!("http://{listen}/webhook"))?;
        let alertmanagers = match alertmanagers {
            Alertmanagers::One { max_alerts } => {
                let address = Alertmanager::free_address(&run)?;
                let config = alertmanager_config(&gate.url(), max_alerts);
                vec![Alertmanager::start(&run, &address, &config, &[])?]
            }
            Alertmanagers::Pair => {
                Alertmanager::start_pair(&run, &alertmanager_config(&gate.url(), 0))?.into()
            }
        };
        let urls: Vec<String> = alertmanagers.iter().map(|it| it.url().to_owned()).collect();
        prometheus.alerts_to(urls.clone());

        let folder = run.peer_folder("remediator")?;
        let whitelist = folder.join("whitelist");
        let config = json!({
            "listen": listen,
            "cluster": "lab",
            "store": { "embedded": { "path": folder.join("store") } },
            "mesos": { "masters": [master.url()] },
            "alertmanagers": urls,
            "prometheus": [prometheus.url()],
            "resend_delay": "2s",
            "reconcile_interval": "500ms",
            "whitelist": { "file": whitelist, "merge_interval": "100ms", "min_hosts": 1 },
            "policy": {
                // So that "after one round" is meant to the letter.
                "clear_for": "0s",
                "budget": { "max_off": { "count": 6, "share": "100%" }, "max_off_per_hour": 1000 },
                "storm": { "threshold": "100%", "within": "5m", "calm": "10m" },
                "rules": [{
                    "name": "host-check", "matchers": [r#"remediate="host""#],
                    "action": "off", "min_off": "0s", "rescind": false,
                }],
            },
        });
        let file = folder.join("remediator.yml");
        std::fs::write(&file, config.to_string()).context("write remediator.yml")?;
        let arguments = [format!("--config.file={}", file.display())];
        let remediator = Daemon::start(&run, "remediator", "satellite-remediator", &arguments)?;
        let lab =
            Self { remediator, alertmanagers, prometheus, gate, _master: master, whitelist, run };
        lab.wait_ready()?;
        lab.after_one_round(&[])?;
        Ok(lab)
    }

    /// The case went well: its folder goes.
    pub(crate) fn succeed(&self) {
        self.run.succeed();
    }

    /// The only Alertmanager, or the first of the pair.
    pub(crate) fn alertmanager(&self) -> &Alertmanager {
        &self.alertmanagers[0]
    }

    /// Waits until no source is blind.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        wait_for("the remediator to be ready", PATIENCE, || {
            http::get_text(&format!("{}/-/ready", self.remediator.url())).map(drop)
        })
    }

    /// Waits for one round that began after this call. Then, at once, these hosts
    /// and no others must be off; and the file must follow.
    pub(crate) fn after_one_round(&self, off: &[&str]) -> Result<()> {
        self.one_round()?;
        for host in HOSTS {
            let view = self.host(host)?;
            let right = if off.contains(&host) { "off" } else { "on" };
            ensure!(view.state == right, "{host} should be {right}: {}", view.explain);
        }
        let listed: Vec<&str> = HOSTS.into_iter().filter(|host| !off.contains(host)).collect();
        wait_for(&format!("the file to list {listed:?}"), PATIENCE, || {
            let file = whitelist(&self.whitelist)?;
            ensure!(file == listed, "it lists {file:?}");
            Ok(())
        })
    }

    /// The same after an alert has ended: one round sees that it has, and the next one that the
    /// rules were evaluated since.
    pub(crate) fn after_an_end(&self, off: &[&str]) -> Result<()> {
        self.one_round()?;
        self.after_one_round(off)
    }

    /// Waits for a round that began after this call.
    pub(crate) fn one_round(&self) -> Result<()> {
        let now = Timestamp::now();
        wait_for("a round", PATIENCE, || {
            let status = http::get(&format!("{}/api/v1/status", self.remediator.url()))?;
            let round = status["last_round"].as_str().context("there was none")?;
            let round: Timestamp = round.parse().context("read the round's time")?;
            ensure!(round > now, "the last was at {round}");
            Ok(())
        })
    }

    /// Waits until this many Alertmanagers show an alert of the host.
    pub(crate) fn wait_shown_by(&self, host: &str, count: usize) -> Result<()> {
        wait_for(&format!("{host} to be shown by {count}"), PATIENCE, || {
            let mut showing = 0;
            for alertmanager in &self.alertmanagers {
                let alerts = alertmanager.alerts()?;
                showing += usize::from(
                    alerts.iter().any(|it| it.labels.get("host").is_some_and(|of| of == host)),
                );
            }
            ensure!(showing == count, "it is shown by {showing}");
            Ok(())
        })
    }

    /// Waits for a delivery that is as wanted, and gives it.
    pub(crate) fn wait_delivery(
        &self,
        what: &str,
        wanted: impl Fn(&Delivery) -> bool,
    ) -> Result<Delivery> {
        wait_for(what, PATIENCE, || {
            let seen = self.gate.seen();
            let found = seen.iter().find(|delivery| wanted(delivery)).cloned();
            found.with_context(|| format!("{seen:?}"))
        })
    }

    /// What is said of a host.
    pub(crate) fn host(&self, host: &str) -> Result<HostView> {
        let answer = http::get(&format!("{}/api/v1/hosts/{host}", self.remediator.url()))?;
        serde_json::from_value(answer).with_context(|| format!("read what is said of {host}"))
    }

    /// Asserts how the host went since the beginning, also between two looks.
    pub(crate) fn went(&self, host: &str, way: &[&str]) -> Result<()> {
        let transitions = self.host(host)?.transitions;
        let went: Vec<&str> = transitions
            .iter()
            .map(|it| it.what.as_str())
            .filter(|what| ["on", "off"].contains(what))
            .collect();
        ensure!(went == way, "{host} went {went:?}");
        Ok(())
    }
}

/// One group, which waits 1 s, then 4 s between two deliveries.
fn alertmanager_config(webhook: &str, max_alerts: u32) -> String {
    json!({
        "route": {
            "receiver": "people",
            "routes": [{
                "receiver": "satellite.remediator", "matchers": [r#"remediate!="""#],
                "group_by": ["alertname"],
                "group_wait": "1s", "group_interval": "4s", "repeat_interval": "1h",
            }],
        },
        "receivers": [{ "name": "people" }, {
            "name": "satellite.remediator",
            "webhook_configs": [{ "url": webhook, "send_resolved": true, "max_alerts": max_alerts }],
        }],
    })
    .to_string()
}

/// A master that leads and has an agent on every host.
fn answer_of_master(request: &Request) -> Reply {
    let call = |name: &str| request.body.contains(name);
    let answer = if call("GET_MASTER") {
        json!({ "type": "GET_MASTER", "get_master": {
            "master_info": { "id": "m1", "hostname": "master1.lab", "version": "1.11.0" },
            "start_time": 1_795_297_000.5, "elected_time": 1_795_297_011.25,
        } })
    } else if call("GET_AGENTS") {
        let agents: Vec<_> = HOSTS
            .iter()
            .enumerate()
            .map(|(index, host)| {
                json!({
                    "agent_info": {
                        "id": { "value": format!("agent-of-{host}") }, "hostname": host,
                        "port": 5051, "attributes": [],
                    },
                    "active": true, "deactivated": false, "version": "1.11.0",
                    "pid": format!("slave(1)@10.0.0.{}:5051", index + 1),
                })
            })
            .collect();
        json!({ "type": "GET_AGENTS", "get_agents": { "agents": agents, "recovered_agents": [] } })
    } else {
        return (400, String::new());
    };
    (200, answer.to_string())
}
