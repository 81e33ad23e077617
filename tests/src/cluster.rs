//! A whole Mesos cluster: ZooKeeper, three masters that read one whitelist file or
//! each its own, four agents in four racks, and a framework with a task on every host.
//!
//! Masters that read one file find it there, with every host. Those that have one each
//! begin as on empty machines: there is no file, and `satctl guard-whitelist` goes before
//! them, as documented.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::framework::{Framework, Offers, Task};
use crate::mesos::{self, Agent, AgentOptions, Master, MasterOptions};
use crate::run::Run;
use crate::satellite::{satctl, whitelist};
use crate::wait::{holds_for, wait_for};
use crate::zookeeper::ZooKeeper;

const MASTERS: u8 = 3;
const QUORUM: usize = 2;
const AGENTS: u8 = 4;

/// The last octet of an address at which nobody listens.
const NOBODY: u8 = 99;

/// How long a guard of a whitelist asks for a list: what is not there does not come.
const GUARD_WAITS: &str = "1s";

/// What each agent offers.
const AGENT_RESOURCES: &str = "cpus:4;mem:2048;disk:4096;ports:[31000-32000]";

/// An agent that is gone is called unreachable after 5 s instead of 75 s. Less,
/// and a busy two-core machine loses agents that are alive.
const MASTER_FLAGS: [&str; 2] = ["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=5"];

/// How long an agent that was started again waits for its executors, instead of
/// 2 s: they try every second, and on a busy machine that may be too late.
const EXECUTORS_BACK: &str = "--executor_reregistration_timeout=5secs";

/// The framework declines an offer for one second and the allocator runs every
/// second, so a host that Mesos offers is seen every two or three.
const NO_OFFERS_SECONDS: f64 = 4.0;

/// Registration, one whitelist read (5 s), one allocation round (1 s).
const OFFERS_WITHIN: Duration = Duration::from_secs(60);

/// A running cluster.
///
/// The fields are dropped in this order, so agents end before masters and
/// masters before ZooKeeper.
#[derive(Debug)]
pub struct Cluster {
    /// The framework `lab`, with the task `task-HOST` on every host.
    pub framework: Framework,
    /// `node1.lab` to `node4.lab`, in the racks `a` to `d`.
    pub agents: Vec<Agent>,
    /// Three.
    pub masters: Vec<Master>,
    /// Where the masters elect their leader.
    pub zookeeper: ZooKeeper,
    /// Of the masters, in their order.
    whitelists: Vec<PathBuf>,
}

impl Cluster {
    /// Brings everything up, telling `progress` of each step, and returns once
    /// the framework has been offered every host and runs a task on each.
    ///
    /// The whitelist file exists and lists every host: a master that finds no
    /// file accepts every host until there is one.
    pub fn start(run: &Arc<Run>, mut progress: impl FnMut(&str)) -> Result<Self> {
        let whitelist = run.peer_folder("whitelist")?.join("hosts");
        write_whitelist(&whitelist, &host_names())?;
        let whitelists = vec![whitelist; usize::from(MASTERS)];
        let zookeeper = ZooKeeper::start(run)?;
        let cluster = Self::start_on(run, zookeeper, whitelists, &mut progress)?;
        cluster.begin_work()?;
        progress(&format!("{AGENTS} hosts are offered, and a task runs on each"));
        Ok(cluster)
    }

    /// Brings up so many servers of ZooKeeper, and masters on empty machines: no whitelist
    /// file is there, and no remediator to be asked for a list. What each guard of a file
    /// says is told to `progress`, too. No host is offered until somebody writes the files;
    /// then [`begin_work`](Self::begin_work).
    pub fn start_apart(
        run: &Arc<Run>,
        zookeepers: u8,
        mut progress: impl FnMut(&str),
    ) -> Result<Self> {
        let folder = run.peer_folder("whitelist")?;
        let whitelists: Vec<PathBuf> =
            (1..=MASTERS).map(|number| folder.join(format!("hosts-{number}"))).collect();
        let nobody = format!("http://{}:{}", run.ip(NOBODY), run.free_port(NOBODY)?);
        for whitelist in &whitelists {
            progress(guard(whitelist, &nobody)?.trim_end());
        }
        let zookeeper = ZooKeeper::start_ensemble(run, zookeepers)?;
        Self::start_on(run, zookeeper, whitelists, &mut progress)
    }

    fn start_on(
        run: &Arc<Run>,
        zookeeper: ZooKeeper,
        whitelists: Vec<PathBuf>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        progress(&format!("ZooKeeper answers at {}", zookeeper.address()));

        let url = zookeeper.mesos_url();
        let flags = MASTER_FLAGS.map(str::to_owned);
        let start_master = |(number, whitelist): (u8, &PathBuf)| {
            let options =
                MasterOptions { zookeeper: &url, quorum: QUORUM, whitelist, flags: &flags };
            Master::start(run, number, &options)
        };
        let masters: Vec<Master> =
            (1..=MASTERS).zip(&whitelists).map(start_master).collect::<Result<_>>()?;
        let agents: Vec<Agent> = (1..=AGENTS)
            .zip(host_names())
            .map(|(number, name)| start_agent(run, &url, number, &name))
            .collect::<Result<_>>()?;
        let leader = mesos::leader(&masters)?;
        progress(&format!("{MASTERS} masters, {} leads", masters[leader].address()));

        let addresses: Vec<String> = masters.iter().map(Master::address).collect();
        let framework = Framework::start(run, "lab", &addresses, &["--checkpoint"])?;
        Ok(Self { framework, agents, masters, zookeeper, whitelists })
    }

    /// Waits until the framework is offered every host, and runs a task on each.
    pub fn begin_work(&self) -> Result<()> {
        self.wait_offered(&self.hosts(), OFFERS_WITHIN)?;
        self.start_tasks()
    }

    fn start_tasks(&self) -> Result<()> {
        for host in self.hosts() {
            self.framework.launch(&Task::sleeper(&format!("task-{host}"), &host))?;
        }
        for host in self.hosts() {
            self.framework.wait_task(&format!("task-{host}"), "TASK_RUNNING")?;
        }
        Ok(())
    }

    /// The hostnames of the agents.
    pub fn hosts(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.hostname().to_owned()).collect()
    }

    /// The file that the first master reads, and all others if they share one.
    pub fn whitelist(&self) -> &Path {
        &self.whitelists[0]
    }

    /// Every file that masters read, each once.
    pub fn whitelists(&self) -> &[PathBuf] {
        if self.whitelists[0] == self.whitelists[1] {
            &self.whitelists[..1]
        } else {
            &self.whitelists
        }
    }

    /// Puts exactly `hosts` into the whitelist, whole or not at all. For tests
    /// without a remediator, which otherwise is the only writer.
    pub fn write_whitelist(&self, hosts: &[String]) -> Result<()> {
        write_whitelist(self.whitelist(), hosts)
    }

    /// Waits until each of `hosts` is offered anew, counted from now.
    pub fn wait_offered(&self, hosts: &[String], within: Duration) -> Result<()> {
        let before = self.framework.offers()?;
        wait_for(&format!("new offers of {hosts:?}"), within, || {
            let now = self.framework.offers()?;
            let count = |offers: &BTreeMap<String, Offers>, host| {
                offers.get(host).map_or(0, |offers: &Offers| offers.count)
            };
            let missing: Vec<_> =
                hosts.iter().filter(|host| count(&now, *host) == count(&before, *host)).collect();
            ensure!(missing.is_empty(), "none yet of {missing:?}");
            Ok(())
        })
    }

    /// If `host` is no longer offered, for how many seconds the others have been
    /// without it: so long that each was offered several times.
    pub fn not_offered(&self, host: &str) -> Result<Option<f64>> {
        let offers = self.framework.offers()?;
        let last = offers.get(host).map_or(0.0, |offers| offers.last);
        let newest = offers.values().map(|offers| offers.last).fold(0.0, f64::max);
        let silence = newest - last;
        Ok((silence > NO_OFFERS_SECONDS).then_some(silence))
    }

    /// Waits until `host` is no longer offered.
    pub fn wait_not_offered(&self, host: &str, within: Duration) -> Result<()> {
        wait_for(&format!("the end of offers of {host}"), within, || {
            self.not_offered(host)?.map(drop).context("it is still offered")
        })
    }

    /// Looks on for `during`: `host` is not offered, and every other host that is
    /// listed in the whitelist is.
    pub fn expect_not_offered(&self, host: &str, during: Duration) -> Result<()> {
        let before = self.framework.offers_of(host)?;
        let listed: Vec<String> =
            whitelist(self.whitelist())?.into_iter().filter(|name| name != host).collect();
        self.wait_offered(&listed, OFFERS_WITHIN)?;
        holds_for(&format!("the absence of offers of {host}"), during, || -> Result<()> {
            let now = self.framework.offers_of(host)?;
            ensure!(now == before, "{} new offers", now.count - before.count);
            Ok(())
        })?;
        self.wait_offered(&listed, OFFERS_WITHIN)
    }

    /// The index of the master that leads, once there is one.
    pub fn leader(&self) -> Result<usize> {
        mesos::leader(&self.masters)
    }
}

/// What goes before each master: sees that there is a file, by the list of the remediator
/// at `url`, or by one of nobody. Returns what it says.
pub fn guard(whitelist: &Path, url: &str) -> Result<String> {
    let file = whitelist.to_str().context("the file's path is text")?;
    satctl(url, &["guard-whitelist", file, "--bootstrap", "--wait", GUARD_WAITS])
}

fn host_names() -> Vec<String> {
    (1..=AGENTS).map(|n| format!("node{n}.lab")).collect()
}

fn start_agent(run: &Arc<Run>, zookeeper: &str, number: u8, hostname: &str) -> Result<Agent> {
    let rack = char::from(b'a' + number - 1);
    let attributes = format!("rack:{rack}");
    Agent::start(
        run,
        number,
        &AgentOptions {
            zookeeper,
            hostname,
            attributes: &attributes,
            resources: AGENT_RESOURCES,
            flags: &[EXECUTORS_BACK.to_owned()],
        },
    )
}

fn write_whitelist(file: &Path, hosts: &[String]) -> Result<()> {
    let mut text = hosts.join("\n");
    text.push('\n');
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, text).with_context(|| format!("write {}", fresh.display()))?;
    std::fs::rename(&fresh, file).with_context(|| format!("replace {}", file.display()))
}
