//! The exporters' series follow what happens in Mesos, as Prometheus has them.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::Deployment;
use satellite_tests::framework::{Framework, Task};
use satellite_tests::http;
use satellite_tests::mesos::{Agent, Master};
use satellite_tests::prometheus::{Prometheus, Sample};
use satellite_tests::wait::wait_for;

use crate::Lab;
use crate::remediation::{Parts, parts, recover};

/// From Mesos through the exporter into Prometheus, each every second; the names
/// of a new container are asked for every 5 s.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

/// An agent is unreachable after 5 s without an answer; back, it waits for its
/// executors first. An election takes a session of 5 s and more.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How often the followers' exporters must have asked their masters for the
/// cluster, for the leader to have been asked, too, if redirects were followed.
const ASKED: usize = 3;

/// Some of what Mesos measures of a container without cgroups.
const MEASURED: [&str; 4] = [
    "mesos_container_cpus_soft_limit",
    "mesos_container_cpus_user_time_seconds_total",
    "mesos_container_mem_limit_bytes",
    "mesos_container_mem_rss_bytes",
];

/// Of the master that leads.
fn of_leader(series: &str) -> String {
    format!("sum({series} and on (instance) mesos_master_elected == 1)")
}

/// A figure and what it was, for those that begin with their first task.
struct Figure {
    query: String,
    before: f64,
}

impl Figure {
    /// What Prometheus has of it now.
    fn read(prometheus: &Prometheus, query: impl Into<String>) -> Result<Self> {
        let query = query.into();
        let before =
            wait_for(&format!("a value of {query}"), SEEN_WITHIN, || value(prometheus, &query))?;
        Ok(Self { query, before })
    }

    /// The same of a counter that is absent at 0.
    fn read_or_zero(prometheus: &Prometheus, series: &str) -> Result<Self> {
        let sum = of_leader(series);
        // Zero only where a leading master was asked.
        Self::read(prometheus, format!("{sum} or sum(mesos_master_elected == 1) - 1"))
    }

    fn has_changed_by(&self, prometheus: &Prometheus, change: f64) -> Result<()> {
        let Self { query, before } = self;
        let now = value(prometheus, query)?;
        ensure!(now == before + change, "{query} was {before} and is {now}");
        Ok(())
    }
}

/// The one value of a query.
fn value(prometheus: &Prometheus, query: &str) -> Result<f64> {
    one(prometheus, query).map(|sample| sample.value)
}

fn one(prometheus: &Prometheus, query: &str) -> Result<Sample> {
    let mut samples = prometheus.query(query)?;
    let sample = samples.pop().with_context(|| format!("no {query}"))?;
    ensure!(samples.is_empty(), "further {query}: {samples:?}");
    Ok(sample)
}

fn none(prometheus: &Prometheus, query: &str) -> Result<()> {
    let samples = prometheus.query(query)?;
    ensure!(samples.is_empty(), "{query}: {samples:?}");
    Ok(())
}

fn wait_changed(prometheus: &Prometheus, what: &str, changes: &[(&Figure, f64)]) -> Result<()> {
    wait_for(&format!("the series of {what}"), SETTLED_WITHIN, || {
        changes.iter().try_for_each(|(figure, change)| figure.has_changed_by(prometheus, *change))
    })
}

/// Those that say how many tasks run: on the cluster, on one host as the master
/// and as the agent count, of the framework `lab`.
fn running(prometheus: &Prometheus, host: &str) -> Result<Vec<Figure>> {
    let queries = [
        of_leader("mesos_master_tasks_running"),
        format!(r#"mesos_cluster_agent_tasks{{hostname="{host}",state="running"}}"#),
        r#"mesos_cluster_framework_tasks{framework_name="lab",state="running"}"#.to_owned(),
        format!(r#"mesos_agent_tasks_running{{host="{host}"}}"#),
    ];
    queries.into_iter().map(|query| Figure::read(prometheus, query)).collect()
}

/// All of these figures, each to change alike.
fn each(figures: &[Figure], change: f64) -> Vec<(&Figure, f64)> {
    figures.iter().map(|figure| (figure, change)).collect()
}

pub(crate) fn tasks(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    is_started_and_killed(cluster, deployment, &patient)?;
    fails(cluster, deployment, &patient)?;
    // Also of what appears only once a task has ended in its way.
    let ever = "last_over_time(mesos_unknown_key[1h])";
    none(&deployment.prometheus, ever)
}

fn is_started_and_killed(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
    const TASK: &str = "followed";
    let prometheus = &deployment.prometheus;
    let running = running(prometheus, host)?;
    let killed = [
        of_leader("mesos_master_tasks_killed_total"),
        format!(r#"mesos_agent_tasks_killed_total{{host="{host}"}}"#),
    ];
    let killed = killed.map(|query| Figure::read(prometheus, query));
    let [of_master, of_agent] = killed;
    let killed = [of_master?, of_agent?];

    cluster.framework.launch(&Task::sleeper(TASK, host))?;
    cluster.framework.wait_task(TASK, "TASK_RUNNING")?;
    wait_changed(prometheus, "a task that was started", &each(&running, 1.0))?;
    let container = wait_for("the container's series with its names", SEEN_WITHIN, || {
        container(prometheus, TASK, "lab", host)
    })?;
    is_mesos_s_own(cluster, host, TASK, &container)?;

    cluster.framework.kill(TASK)?;
    cluster.framework.wait_task(TASK, "TASK_KILLED")?;
    let changes = [each(&running, 0.0), each(&killed, 1.0)].concat();
    wait_changed(prometheus, "a task that was killed", &changes)?;
    wait_for("the end of the container's series", SEEN_WITHIN, || {
        none(prometheus, &format!(r#"{{container_id="{container}"}}"#))
    })?;
    let exporter = exporter_of(cluster, deployment, host)?;
    let own = http::get_text(&format!("{exporter}/metrics"))?;
    ensure!(own.contains("mesos_container_info"), "the other container is missing");
    ensure!(!own.contains(&container), "the exporter still tells of {container}");
    Ok(())
}

/// The value of a label, which is empty where there is none.
fn text(sample: &Sample, label: &str) -> String {
    sample.labels.get(label).cloned().unwrap_or_default()
}

/// The id of the container of a task, each series of which has the task's name and
/// the framework's.
fn container(prometheus: &Prometheus, task: &str, framework: &str, host: &str) -> Result<String> {
    let info = one(prometheus, &format!(r#"mesos_container_info{{task_id="{task}"}}"#))?;
    let id = text(&info, "container_id");
    ensure!(!id.is_empty() && text(&info, "host") == host, "{info:?}");
    let series = prometheus.query(&format!(r#"{{container_id="{id}"}}"#))?;
    for sample in &series {
        let names = [text(sample, "task_name"), text(sample, "framework_name")];
        ensure!(names == [task, framework], "{sample:?}");
    }
    let found: BTreeSet<_> = series.iter().map(|sample| text(sample, "__name__")).collect();
    let missing: Vec<_> = MEASURED.iter().filter(|name| !found.contains(**name)).collect();
    ensure!(missing.is_empty(), "{missing:?} is not in {found:?}");
    Ok(id)
}

/// The agent calls this task's container so.
fn is_mesos_s_own(cluster: &Cluster, host: &str, task: &str, container: &str) -> Result<()> {
    let containers = http::get(&format!("{}/containers", agent_of(cluster, host)?.url()))?;
    let all = containers.as_array().context("containers are a list")?;
    let is_it = all.iter().any(|it| it["executor_id"] == task && it["container_id"] == container);
    ensure!(is_it, "{task} is not in {container}: {all:?}");
    Ok(())
}

fn fails(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
    const TASK: &str = "failing";
    let prometheus = &deployment.prometheus;
    let series = r#"mesos_master_task_terminations_total{state="failed",source="executor",reason="command_executor_failed"}"#;
    let failed = [
        Figure::read(prometheus, of_leader("mesos_master_tasks_failed_total"))?,
        Figure::read(prometheus, format!(r#"mesos_agent_tasks_failed_total{{host="{host}"}}"#))?,
        Figure::read_or_zero(prometheus, series)?,
    ];
    let cmd = "exit 3".to_owned();
    cluster.framework.launch(&Task { cmd, ..Task::sleeper(TASK, host) })?;
    cluster.framework.wait_task(TASK, "TASK_FAILED")?;
    wait_changed(prometheus, "a task that failed", &each(&failed, 1.0))
}

/// A task group: an executor's container, and one nested in it for each task.
pub(crate) fn group(lab: &mut Lab) -> Result<()> {
    const GROUP: &str = "group";
    const TASKS: [&str; 2] = ["group-log", "group-web"];
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let prometheus = &deployment.prometheus;
    let tasks = TASKS.map(|task| Task::sleeper(task, &patient));
    cluster.framework.launch_group(GROUP, &patient, &tasks)?;
    for task in TASKS {
        cluster.framework.wait_task(task, "TASK_RUNNING")?;
    }
    let parent = wait_for("the group's series", SEEN_WITHIN, || {
        nested_containers(prometheus, GROUP, &TASKS)
    })?;

    // One that is killed ends the other.
    let [first, _] = TASKS;
    cluster.framework.kill(first)?;
    for task in TASKS {
        cluster.framework.wait_task(task, "TASK_KILLED")?;
    }
    wait_for("the end of the group's series", SEEN_WITHIN, || {
        none(prometheus, &format!(r#"{{container_id="{parent}"}}"#))?;
        none(prometheus, &format!(r#"{{parent_container_id="{parent}"}}"#))
    })
}

/// The id of an executor's container, in which there is one for each of its tasks.
fn nested_containers(prometheus: &Prometheus, executor: &str, tasks: &[&str]) -> Result<String> {
    let outer =
        format!(r#"mesos_container_info{{executor_id="{executor}",parent_container_id=""}}"#);
    let outer = one(prometheus, &outer)?;
    // None of several tasks alone has used what their executor did.
    ensure!(text(&outer, "task_name").is_empty(), "{outer:?}");
    let id = text(&outer, "container_id");
    let nested = format!(r#"mesos_container_info{{parent_container_id="{id}"}}"#);
    let nested = prometheus.query(&nested)?;
    let all_of = |label| nested.iter().map(|it| text(it, label)).collect::<BTreeSet<_>>();
    for label in ["task_name", "task_id"] {
        ensure!(all_of(label).iter().eq(tasks), "{nested:?}");
    }
    // What is true of the executor is true of what it runs.
    for label in ["framework_name", "framework_id", "executor_id", "role"] {
        ensure!(all_of(label).iter().eq([&text(&outer, label)]), "{nested:?}");
    }
    let ids = all_of("container_id");
    ensure!(ids.len() == tasks.len() && !ids.contains(&id), "{nested:?}");
    Ok(id)
}

pub(crate) fn lost(lab: &mut Lab) -> Result<()> {
    const LOST: &str = "lost-with-its-agent";
    lab.satellite()?;
    let run = lab.run.clone();
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let prometheus = &deployment.prometheus;
    let masters: Vec<String> = cluster.masters.iter().map(Master::address).collect();
    let flags = ["--not-partition-aware"];
    let mut forgetful = Framework::start(&run, "forgetful", &masters, &flags)?;
    forgetful.launch(&Task::sleeper(LOST, &patient))?;
    forgetful.wait_task(LOST, "TASK_RUNNING")?;
    wait_for("both tasks' containers", SEEN_WITHIN, || {
        container(prometheus, LOST, "forgetful", &patient)?;
        container(prometheus, &format!("task-{patient}"), "lab", &patient)
    })?;
    let lost = Figure::read(prometheus, of_leader("mesos_master_tasks_lost_total"))?;
    let unreachable = Figure::read(prometheus, of_leader("mesos_master_tasks_unreachable"))?;
    let agents = Figure::read(prometheus, "count(mesos_cluster_agent_cpus)")?;

    agent_mut(cluster, &patient)?.process.kill()?;
    // Each by its framework's capability: `lab` has the task on every host.
    let changes = [(&lost, 1.0), (&unreachable, 1.0), (&agents, -1.0)];
    wait_changed(prometheus, "an agent that died", &changes)?;
    wait_for("the end of its series", SEEN_WITHIN, || is_gone(prometheus, &patient))?;

    forgetful.teardown()?;
    agent_mut(cluster, &patient)?.process.start()?;
    wait_changed(prometheus, "an agent that is back", &[(&unreachable, 0.0), (&agents, 0.0)])?;
    wait_for("all of its series", SETTLED_WITHIN, || {
        container(prometheus, &format!("task-{patient}"), "lab", &patient)?;
        sources(prometheus, &format!(r#"host="{patient}""#), 1.0)
    })?;
    none(prometheus, "last_over_time(mesos_unknown_key[1h])")?;
    recover(cluster, deployment, &patient)
}

/// The agent is in no series but those that say that it is away.
fn is_gone(prometheus: &Prometheus, host: &str) -> Result<()> {
    none(prometheus, &format!(r#"{{__name__=~"mesos_cluster_agent_.+",hostname="{host}"}}"#))?;
    none(prometheus, &format!(r#"{{__name__=~"mesos_.+",host="{host}"}}"#))?;
    ensure!(value(prometheus, &format!(r#"up{{host="{host}"}}"#))? == 1.0, "the exporter is away");
    sources(prometheus, &format!(r#"host="{host}""#), 0.0)
}

/// Every source of an exporter is up, or none is.
fn sources(prometheus: &Prometheus, exporter: &str, up: f64) -> Result<()> {
    let sources = prometheus.query(&format!("satellite_source_up{{{exporter}}}"))?;
    let are_so = !sources.is_empty() && sources.iter().all(|source| source.value == up);
    ensure!(are_so, "{sources:?}");
    Ok(())
}

pub(crate) fn failover(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let old = cluster.leader()?;
    leads_alone(cluster, deployment, old)?;

    cluster.masters[old].process.kill()?;
    let new = cluster.leader()?;
    ensure!(new != old, "master {old} is dead and still leads");
    cluster.framework.wait_subscribed()?;
    leads_alone(cluster, deployment, new)?;
    let dead = format!(r#"instance="{}""#, instance(cluster, deployment, old));
    wait_for("the dead master's series to end", SEEN_WITHIN, || {
        none(&deployment.prometheus, &format!(r#"{{__name__=~"mesos_.+",{dead}}}"#))?;
        sources(&deployment.prometheus, &dead, 0.0)
    })?;

    cluster.masters[old].process.start()?;
    wait_for("the old leader to follow", SETTLED_WITHIN, || {
        let elected = value(&deployment.prometheus, &format!("mesos_master_elected{{{dead}}}"))?;
        ensure!(elected == 0.0, "it leads");
        sources(&deployment.prometheus, &dead, 1.0)
    })?;
    leads_alone(cluster, deployment, new)?;
    is_asked_by_its_own_exporter_alone(cluster, deployment, new)?;
    recover(cluster, deployment, &patient)
}

/// Waits until one exporter tells of the cluster, and it is this master's.
fn leads_alone(cluster: &Cluster, deployment: &Deployment, leader: usize) -> Result<()> {
    let prometheus = &deployment.prometheus;
    let expected = instance(cluster, deployment, leader);
    wait_for("one exporter to tell of the cluster", SETTLED_WITHIN, || {
        let of_cluster = r#"group by (instance) ({__name__=~"mesos_cluster_.+"})"#;
        for query in ["mesos_master_elected == 1", of_cluster] {
            let instance = one(prometheus, query)?.labels.remove("instance");
            ensure!(instance.as_deref() == Some(&*expected), "{query} is of {instance:?}");
        }
        let hosts = cluster.hosts().len();
        let agents = prometheus.query("mesos_cluster_agent_cpus")?.len();
        ensure!(agents == hosts, "it tells of {agents} agents");
        Ok(())
    })
}

/// With its own exporter frozen, the leading master is not asked for the cluster any
/// more: the others' exporters ask their masters, which name it, and leave it there.
fn is_asked_by_its_own_exporter_alone(
    cluster: &Cluster,
    deployment: &Deployment,
    leader: usize,
) -> Result<()> {
    let own = &deployment.exporters[cluster.agents.len() + leader].process;
    own.signal(Signal::STOP)?;
    let asked = followers_ask(cluster, leader)
        .and_then(|()| asked_for_cluster(&cluster.masters[leader]))
        .and_then(|before| {
            followers_ask(cluster, leader)?;
            Ok(asked_for_cluster(&cluster.masters[leader])? - before)
        });
    own.signal(Signal::CONT)?;
    let asked = asked?;
    ensure!(asked == 0, "somebody else asked the leading master {asked} times");
    Ok(())
}

/// Waits until each follower has been asked for the cluster a few times more.
fn followers_ask(cluster: &Cluster, leader: usize) -> Result<()> {
    let followers = || cluster.masters.iter().enumerate().filter(|(at, _)| *at != leader);
    let counts = || followers().map(|(_, it)| asked_for_cluster(it)).collect::<Result<Vec<_>>>();
    let before = counts()?;
    wait_for("the followers to be asked for the cluster", SEEN_WITHIN, || {
        let now = counts()?;
        let are_asked = now.iter().zip(&before).all(|(now, before)| *now >= before + ASKED);
        ensure!(are_asked, "{before:?}, then {now:?}");
        Ok(())
    })
}

/// How often a master says that it was asked for what only the leading one knows.
fn asked_for_cluster(master: &Master) -> Result<usize> {
    let log = master.process.output()?;
    let is_asked = |line: &&str| line.contains("HTTP GET for /master/state-summary from");
    Ok(log.lines().filter(is_asked).count())
}

/// What Prometheus calls the exporter beside a master.
fn instance(cluster: &Cluster, deployment: &Deployment, master: usize) -> String {
    let url = deployment.exporters[cluster.agents.len() + master].url();
    url.trim_start_matches("http://").to_owned()
}

fn agent_of<'a>(cluster: &'a Cluster, host: &str) -> Result<&'a Agent> {
    cluster.agents.iter().find(|it| it.hostname() == host).context("the cluster has the host")
}

fn agent_mut<'a>(cluster: &'a mut Cluster, host: &str) -> Result<&'a mut Agent> {
    cluster.agents.iter_mut().find(|it| it.hostname() == host).context("the cluster has the host")
}

fn exporter_of(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<String> {
    let at = cluster.agents.iter().position(|it| it.hostname() == host);
    Ok(deployment.exporters[at.context("the cluster has the host")?].url())
}
