//! A framework that runs tasks and sees offers: `peers/framework.py`.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::process::Process;
use crate::run::Run;
use crate::wait::wait_for;
use crate::{http, layout};

/// The last octet of the address of its control port.
const HOST: u8 = 22;

/// A Python start, an election that may still go on, one allocation round.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(60);

/// From the request through the next offer to the first update.
const TASK_WITHIN: Duration = Duration::from_secs(60);

/// A task to launch. Its id is its name.
#[derive(Debug, Clone, Serialize)]
pub struct Task {
    /// Its name and id, unique in the framework.
    pub name: String,
    /// The hostname of the agent that it must run on; any if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What `/bin/sh -c` gets.
    pub cmd: String,
    /// CPUs; the executor takes 0.1 besides.
    pub cpus: f64,
    /// Memory in MiB; the executor takes 32 besides.
    pub mem: f64,
}

impl Task {
    /// A small task that sleeps on `host` for longer than any test.
    pub fn sleeper(name: &str, host: &str) -> Self {
        Self {
            name: name.to_owned(),
            host: Some(host.to_owned()),
            cmd: "sleep 100000".to_owned(),
            cpus: 0.1,
            mem: 32.0,
        }
    }
}

/// The offers that the framework has got for one host.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Offers {
    /// How many, since the framework's start.
    pub count: u64,
    /// When the newest came, in Unix seconds.
    pub last: f64,
}

/// What the framework knows.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// Whether its subscription stands.
    pub subscribed: bool,
    /// Tasks for which no offer has fitted yet.
    pub queued: Vec<String>,
    /// Tasks that were launched, by id.
    pub tasks: BTreeMap<String, TaskStatus>,
}

/// What the framework knows of a task.
#[derive(Debug, Deserialize)]
pub struct TaskStatus {
    /// `TASK_RUNNING` and the like; `LAUNCHED` until the first update.
    pub state: String,
}

/// A running framework.
#[derive(Debug)]
pub struct Framework {
    /// Its process.
    pub process: Process,
    control: String,
}

impl Framework {
    /// Starts the framework `name` and returns once it is subscribed. `flags` are
    /// further flags of `framework.py`.
    pub fn start(run: &Arc<Run>, name: &str, masters: &[String], flags: &[&str]) -> Result<Self> {
        let control = format!("{}:{}", run.ip(HOST), run.free_port(HOST)?);
        let mut command = Command::new(layout::debian("/usr/bin/python3")?);
        command
            .arg(layout::peer_source("framework.py"))
            .args(["--name", name, "--masters", &masters.join(","), "--control", &control])
            .arg("--executor")
            .arg(layout::installed_peer("mesos/libexec/mesos-executor")?)
            .args(flags);
        let process = Process::spawn(run, &format!("framework-{name}"), command)?;
        let mut framework = Self { process, control: format!("http://{control}") };
        framework.wait_subscribed()?;
        Ok(framework)
    }

    /// Waits until its subscription stands (again).
    pub fn wait_subscribed(&mut self) -> Result<()> {
        let url = format!("{}/status", self.control);
        self.process.wait_until("the framework's subscription", SUBSCRIBED_WITHIN, |_| {
            let status: Status = serde_json::from_value(http::get(&url)?)?;
            anyhow::ensure!(status.subscribed, "no master has taken it");
            Ok(())
        })
    }

    /// What it knows now.
    pub fn status(&self) -> Result<Status> {
        let answer = http::get(&format!("{}/status", self.control))?;
        serde_json::from_value(answer).context("read the framework's status")
    }

    /// The offers that it has got, by host. A host that it was never offered is
    /// not there.
    pub fn offers(&self) -> Result<BTreeMap<String, Offers>> {
        let answer = http::get(&format!("{}/offers", self.control))?;
        serde_json::from_value(answer).context("read the framework's offers")
    }

    /// How many offers it has got for `host`.
    pub fn offers_of(&self, host: &str) -> Result<Offers> {
        Ok(self.offers()?.remove(host).unwrap_or_default())
    }

    /// Queues a task for the next offer that fits.
    pub fn launch(&self, task: &Task) -> Result<()> {
        let task = serde_json::to_value(task).context("write a task")?;
        http::post(&format!("{}/launch", self.control), &task).map(drop)
    }

    /// Queues a group of tasks for the next offer of `host`: each has a container of
    /// its own, nested in that of their executor, whose id is `name`.
    pub fn launch_group(&self, name: &str, host: &str, tasks: &[Task]) -> Result<()> {
        let group = json!({ "name": name, "host": host, "tasks": tasks });
        http::post(&format!("{}/launch-group", self.control), &group).map(drop)
    }

    /// Asks for the end of a task.
    pub fn kill(&self, task: &str) -> Result<()> {
        http::post(&format!("{}/kill", self.control), &json!({ "id": task })).map(drop)
    }

    /// Has the master lose `count` tasks: launches them on an offer that does not
    /// exist, as a framework does that comes too late. It must have run a task.
    pub fn lose(&self, count: usize) -> Result<()> {
        http::post(&format!("{}/lose", self.control), &json!({ "count": count })).map(drop)
    }

    /// Waits until a task is in `state`.
    pub fn wait_task(&self, task: &str, state: &str) -> Result<()> {
        wait_for(&format!("the task {task} to be {state}"), TASK_WITHIN, || {
            let status = self.status()?;
            let seen = status.tasks.get(task).map_or("queued", |task| &task.state);
            anyhow::ensure!(seen == state, "it is {seen}");
            Ok(())
        })
    }

    /// Ends the framework and all its tasks.
    pub fn teardown(&mut self) -> Result<()> {
        http::post(&format!("{}/teardown", self.control), &json!({}))?;
        self.process.stop()
    }
}
