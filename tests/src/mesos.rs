//! Real Mesos masters and agents, started the way `mesos-master` and
//! `mesos-agent` are on a true cluster. Neither waits to be ready: a master is
//! ready when a quorum of them is, and an agent when a master has it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::process::Process;
use crate::reaper::MARKER;
use crate::run::Run;
use crate::wait::wait_for;
use crate::{http, layout};

/// After so long without a heartbeat ZooKeeper gives a master's or an agent's
/// session up: what a failover takes at most. Mesos's default is 10 s; shorter
/// than this and a busy two-core machine loses sessions that are alive.
const ZOOKEEPER_SESSION: &str = "--zk_session_timeout=5secs";

/// An election, a recovery of the registry from disk.
const ELECTED_WITHIN: Duration = Duration::from_secs(60);

/// What a master is started with.
#[derive(Debug, Clone)]
pub struct MasterOptions<'a> {
    /// `zk://…`, see [`crate::zookeeper::ZooKeeper::mesos_url`].
    pub zookeeper: &'a str,
    /// How many masters must agree on a write of the registry.
    pub quorum: usize,
    /// The file that `--whitelist` names.
    pub whitelist: &'a Path,
    /// Any further flags of mesos-master.
    pub flags: &'a [String],
}

/// A mesos-master.
#[derive(Debug)]
pub struct Master {
    /// Its process.
    pub process: Process,
    ip: Ipv4Addr,
    port: u16,
}

impl Master {
    /// Starts master number `number` (from 1), at the address that ends so.
    pub fn start(run: &Arc<Run>, number: u8, options: &MasterOptions<'_>) -> Result<Self> {
        let name = format!("master{number}");
        let (ip, port) = (run.ip(number), run.free_port(number)?);
        let mut command = Command::new(layout::installed_peer("mesos/bin/mesos-master")?);
        command
            .arg(format!("--ip={ip}"))
            .arg(format!("--port={port}"))
            .arg(format!("--hostname={ip}"))
            .arg(format!("--zk={}", options.zookeeper))
            .arg(format!("--quorum={}", options.quorum))
            .arg(format!("--work_dir={}", run.peer_folder(&name)?.join("work").display()))
            .arg(format!("--whitelist=file://{}", options.whitelist.display()))
            .args([ZOOKEEPER_SESSION, "--cluster=lab"])
            .args(options.flags);
        let process = Process::spawn(run, &name, command)?;
        Ok(Self { process, ip, port })
    }

    /// `http://IP:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `IP:PORT`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.ip, self.port)
    }

    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Whether it leads: the others redirect this request. The metric that says
    /// so as well is better left to the exporters, since Mesos answers only two
    /// requests for its metrics a second.
    pub fn leads(&self) -> Result<bool> {
        Ok(http::get_any(&format!("{}/master/slaves", self.url()))?.status == 200)
    }
}

/// Waits until exactly one of `masters` leads, and says which.
pub fn leader(masters: &[Master]) -> Result<usize> {
    wait_for("one leading master", ELECTED_WITHIN, || {
        // One that is down or frozen does not lead.
        let leading: Vec<usize> =
            (0..masters.len()).filter(|index| masters[*index].leads().unwrap_or(false)).collect();
        match leading[..] {
            [one] => Ok(one),
            _ => Err(format!("leading: {leading:?}")),
        }
    })
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentOptions<'a> {
    /// `zk://…`.
    pub zookeeper: &'a str,
    /// The hostname that it registers; it need not resolve.
    pub hostname: &'a str,
    /// `--attributes`, such as `rack:a`.
    pub attributes: &'a str,
    /// `--resources`, such as `cpus:4;mem:2048`.
    pub resources: &'a str,
    /// Any further flags of mesos-agent.
    pub flags: &'a [String],
}

/// A mesos-agent.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub process: Process,
    hostname: String,
    ip: Ipv4Addr,
    port: u16,
}

/// Added to an agent's number for the last octet of its address.
const AGENT_HOST_BASE: u8 = 10;

impl Agent {
    /// Starts agent number `number` (from 1), at the address that ends in 10 more.
    pub fn start(run: &Arc<Run>, number: u8, options: &AgentOptions<'_>) -> Result<Self> {
        let name = format!("agent{number}");
        let host = AGENT_HOST_BASE + number;
        let (ip, port) = (run.ip(host), run.free_port(host)?);
        let folder = run.peer_folder(&name)?;
        let program = layout::installed_peer("mesos/bin/mesos-agent")?;
        // Executors and tasks get this environment and no other. The mark lets
        // the reaper find them; they outlive their agent.
        let environment = json!({
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            MARKER: run.folder(),
        });
        let mut command = Command::new(program);
        command
            .arg(format!("--ip={ip}"))
            .arg(format!("--port={port}"))
            .arg(format!("--hostname={}", options.hostname))
            .arg(format!("--master={}", options.zookeeper))
            .arg(format!("--work_dir={}", folder.join("work").display()))
            .arg(format!("--runtime_dir={}", folder.join("runtime").display()))
            .arg(format!("--fetcher_cache_dir={}", folder.join("fetch").display()))
            .arg(format!("--launcher_dir={}", layout::installed_peer("mesos/libexec")?.display()))
            .arg(format!("--executor_environment_variables={environment}"))
            .arg(format!("--attributes={}", options.attributes))
            .arg(format!("--resources={}", options.resources))
            .args(["--launcher=posix", "--isolation=posix/cpu,posix/mem"])
            .args(["--no-hostname_lookup", "--no-systemd_enable_support", "--no-switch_user"])
            .arg(ZOOKEEPER_SESSION)
            .args(options.flags);
        let process = Process::spawn(run, &name, command)?;
        Ok(Self { process, hostname: options.hostname.to_owned(), ip, port })
    }

    /// The hostname that it registers.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// `http://IP:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.ip, self.port)
    }
}
