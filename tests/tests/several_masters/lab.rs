//! What the cases share, and what they ask of it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::Deployment;
use satellite_tests::run::Run;
use satellite_tests::satellite::Daemon;
use satellite_tests::wait::{holds_for, wait_for};
use satellite_tests::{cases, http, layout};
use serde_json::json;

/// What a file may take after whatever happened.
pub(crate) const ALIKE_WITHIN: Duration = Duration::from_secs(15);
/// A session of 5 s has to run out, and the next in the election has to notice.
pub(crate) const LEADS_WITHIN: Duration = Duration::from_secs(30);
/// A check, a scrape, a rule, Alertmanager, a round.
pub(crate) const OFF_WITHIN: Duration = Duration::from_secs(60);
/// Several rounds, merges, and reads of the file by the masters.
pub(crate) const LONG_ENOUGH: Duration = Duration::from_secs(6);
/// A session of 5 s, an election, a recovery of the registry, the agents' return.
pub(crate) const FAILED_OVER: Duration = Duration::from_secs(60);
/// Whoever gives a command does not wait for longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// How many servers of ZooKeeper there are; one if nothing is said.
const ZOOKEEPERS: &str = "SATELLITE_ZOOKEEPERS";

/// What the cases share.
pub(crate) struct Lab {
    // Dropped in this order.
    pub(crate) deployment: Deployment,
    pub(crate) cluster: Cluster,
    pub(crate) run: Arc<Run>,
    /// The host that is off.
    pub(crate) sick: String,
    /// What was told when the cluster came up.
    pub(crate) told: Vec<String>,
}

impl cases::Lab for Lab {
    fn start() -> Result<Self> {
        layout::build_programs()?;
        let run = Run::start("several-masters")?;
        let mut told = Vec::new();
        let cluster = Cluster::start_apart(&run, zookeepers()?, |step| told.push(step.to_owned()))?;
        let deployment = Deployment::start(&run, &cluster, |_| ())?;
        cluster.begin_work()?;
        let sick = cluster.hosts()[0].clone();
        deployment.make_sick(&sick)?;
        let lab = Self { deployment, cluster, run, sick, told };
        lab.wait_alike(OFF_WITHIN)?;
        Ok(lab)
    }

    fn succeed(&self) {
        self.run.succeed();
    }
}

/// How many servers of ZooKeeper are asked for.
pub(crate) fn zookeepers() -> Result<u8> {
    let asked = std::env::var_os(ZOOKEEPERS);
    let Some(asked) = asked else { return Ok(1) };
    let servers =
        asked.to_str().and_then(|asked| asked.parse().ok()).filter(|servers| *servers > 0);
    servers.with_context(|| format!("{ZOOKEEPERS} is no number of servers: {}", asked.display()))
}

impl Lab {
    /// The hosts that are not sick.
    pub(crate) fn listed(&self) -> Vec<String> {
        self.cluster.hosts().into_iter().filter(|host| *host != self.sick).collect()
    }

    /// Whether the file of this master has exactly these hosts, to the byte.
    pub(crate) fn lists(&self, index: usize, hosts: &[String]) -> Result<()> {
        let file = &self.cluster.whitelists()[index];
        let found = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let wanted: String = hosts.iter().flat_map(|host| [host.as_str(), "\n"]).collect();
        ensure!(found == wanted, "{} has {found:?}", file.display());
        Ok(())
    }

    /// Whether every file has exactly these hosts.
    pub(crate) fn list_everywhere(&self, hosts: &[String]) -> Result<()> {
        (0..self.cluster.whitelists().len()).try_for_each(|index| self.lists(index, hosts))
    }

    /// Whether every file has all hosts but the sick one.
    pub(crate) fn alike(&self) -> Result<()> {
        self.list_everywhere(&self.listed())
    }

    /// Waits until every file has all hosts but the sick one.
    pub(crate) fn wait_alike(&self, within: Duration) -> Result<()> {
        wait_for("every file without the sick host", within, || self.alike())
    }

    /// Looks on: no file changes, and the sick host alone is not offered.
    pub(crate) fn stays(&self) -> Result<()> {
        holds_for("every file without the sick host", LONG_ENOUGH, || self.alike())?;
        self.cluster.expect_not_offered(&self.sick, LONG_ENOUGH)?;
        self.alike()
    }

    /// The index of the remediator that leads, once exactly one does.
    pub(crate) fn leader(&self) -> Result<usize> {
        self.leader_among(|_| true)
    }

    /// The same, where this one can no longer be it.
    pub(crate) fn leader_but(&self, old: usize) -> Result<usize> {
        self.leader_among(|index| index != old)
    }

    fn leader_among(&self, may: impl Fn(usize) -> bool) -> Result<usize> {
        wait_for("one leading remediator", LEADS_WITHIN, || {
            let all = self.deployment.remediators.iter().enumerate();
            let leading: Vec<usize> = all
                .filter(|(index, remediator)| may(*index) && leads(remediator).unwrap_or(false))
                .map(|(index, _)| index)
                .collect();
            match leading[..] {
                [one] => Ok(one),
                _ => Err(format!("leading: {leading:?}")),
            }
        })
    }

    /// How many remediators have led at some time since then, as Prometheus has seen it.
    pub(crate) fn leaders_since(&self, start: Instant) -> Result<usize> {
        let seconds = start.elapsed().as_secs();
        let query = format!("max_over_time(satellite_leader[{seconds}s]) == 1");
        Ok(self.deployment.prometheus.query(&query)?.len())
    }

    /// Whether no two remediators have led at once since then, as Prometheus has seen it.
    pub(crate) fn one_led_at_a_time(&self, start: Instant) -> Result<()> {
        let seconds = start.elapsed().as_secs();
        let query = format!("max_over_time(sum(satellite_leader)[{seconds}s:1s]) > 1");
        let several = self.deployment.prometheus.query(&query)?;
        ensure!(several.is_empty(), "several have led at once");
        Ok(())
    }

    /// How often each host went off or on so far.
    pub(crate) fn changes(&self) -> Result<BTreeMap<String, usize>> {
        let count = |host: String| -> Result<(String, usize)> {
            let transitions = self.deployment.host(&host)?.transitions;
            let changes = transitions.iter().filter(|it| it.what == "off" || it.what == "on");
            Ok((host, changes.count()))
        };
        self.cluster.hosts().into_iter().map(count).collect()
    }

    /// Starts the masters that have ended, as a supervisor does: one ends by itself that
    /// can no longer know whether it leads.
    pub(crate) fn start_ended_masters(&mut self) -> Result<()> {
        for master in &mut self.cluster.masters {
            if master.process.check_running().is_err() {
                master.process.stop()?;
                master.process.start()?;
            }
        }
        Ok(())
    }
}

/// Whether it believes that it leads.
pub(crate) fn leads(remediator: &Daemon) -> Result<bool> {
    let metrics = http::get_text(&format!("{}/metrics", remediator.url()))?;
    Ok(metrics.lines().any(|line| line == "satellite_leader 1"))
}

/// Waits until it says that the store is away, and why, and that it does not lead.
pub(crate) fn wait_without_store(remediator: &Daemon) -> Result<()> {
    wait_for("it to say that the store is away", ALIKE_WITHIN, || {
        let ready = remediator.get("/-/ready")?;
        ensure!(ready.status == 503 && ready.body.contains("store"), "{}", ready.body);
        ensure!(!leads(remediator)?, "it leads without ZooKeeper");
        Ok(())
    })
}

/// Says that the host is on, which it is; how that is answered.
pub(crate) fn say_on(remediator: &Daemon, host: &str) -> Result<u16> {
    let url = format!("{}/api/v1/hosts/{host}/events/said", remediator.url());
    let said = json!({"state": "on", "reason": "a look"});
    let request = http::client().put(url).timeout(ANSWERED_WITHIN).json(&said);
    Ok(request.send().context("speak to a remediator")?.status().as_u16())
}
