//! The whole loop, and what it must not do.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rustix::process::Signal;
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::{Deployment, HostView};
use satellite_tests::framework::{Framework, Task};
use satellite_tests::satellite::{satctl, whitelist};
use satellite_tests::wait::{holds_for, wait_for};

use crate::Lab;

/// From a failed check to the host off in the file, as the demo promises.
const OFF_WITHIN: Duration = Duration::from_secs(60);

/// From the repair to the host back in the file.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// From the file to Mesos and through it: a read every 5 s, then allocations.
const MESOS_WITHIN: Duration = Duration::from_secs(30);

/// From a command to the file: a round and a merge, each every second.
const SOON: Duration = Duration::from_secs(10);

/// Requests to a frozen process run into their timeout first.
const BLIND_WITHIN: Duration = Duration::from_secs(60);

/// For an alert on the cluster: the longest `for` of the rules is 15 s here.
const ALERT_WITHIN: Duration = Duration::from_secs(60);

/// Longer than `clear_for`, `min_off` and `resend_delay` together: had the
/// remediator been about to do something wrong, it would have done it.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

/// How often Prometheus is killed, and how soon after its start at the latest: it
/// has read its rules, scraped and evaluated them by then.
const PROMETHEUS_KILLS: u32 = 20;
const MAX_LIFE: Duration = Duration::from_secs(8);

/// How many tasks are lost at a time: TasksLost wants more than 5 in its window.
const LOST_TASKS: usize = 10;

pub(crate) fn loop_closes(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let begin = Timestamp::now();
    fall_sick(cluster, deployment, &patient)?;
    cluster.wait_not_offered(&patient, MESOS_WITHIN)?;
    // It looks on, and says if the other hosts are not offered meanwhile.
    cluster.expect_not_offered(&patient, LONG_ENOUGH)?;

    let view = deployment.host(&patient)?;
    let [cause] = &view.causes[..] else { anyhow::bail!("one cause, please: {view:?}") };
    ensure!(
        (cause.kind.as_str(), cause.rule.as_deref()) == ("alert", Some("host-check")),
        "{cause:?}"
    );
    ensure!(view.explain.contains("HostCheckFailed"), "it does not say why: {}", view.explain);
    ensure!(deployment.has_delivery("HostCheckFailed", begin)?, "no webhook is in the journal");

    recover(cluster, deployment, &patient)
}

pub(crate) fn killed(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let begin = Timestamp::now();
    fall_sick(cluster, deployment, &patient)?;
    let file = std::fs::read(cluster.whitelist()).context("read the whitelist")?;
    let before = deployment.host(&patient)?;

    deployment.remediators[0].process.kill()?;
    deployment.remediators[0].restart()?;
    deployment.wait_ready()?;
    holds_for("the same verdict and the same file", LONG_ENOUGH, || -> Result<()> {
        let now = deployment.host(&patient)?;
        ensure!((&now.state, &now.causes) == (&before.state, &before.causes), "{now:?}");
        let bytes = std::fs::read(cluster.whitelist()).context("read the whitelist")?;
        ensure!(bytes == file, "the file is {:?}", String::from_utf8_lossy(&bytes));
        Ok(())
    })?;
    recover(cluster, deployment, &patient)?;
    went_off_and_on_once(deployment, &patient, begin)
}

pub(crate) fn amnesia(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let begin = Timestamp::now();
    fall_sick(cluster, deployment, &patient)?;

    deployment.prometheus.process.kill()?;
    // Nobody renews the alert: at Alertmanager it runs out, which proves nothing.
    wait_for("the alert to run out", ALERT_WITHIN, || {
        let alerts = deployment.alertmanager.alerts()?;
        let left = alerts.iter().filter(|alert| alert.labels["alertname"] == "HostCheckFailed");
        ensure!(left.count() == 0, "Alertmanager still has it");
        Ok(())
    })?;
    holds_for("off without Prometheus", LONG_ENOUGH, || is_off(cluster, deployment, &patient))?;

    deployment.prometheus.restart()?;
    is_found_sick_again(cluster, deployment, &patient)?;
    recover(cluster, deployment, &patient)?;
    went_off_and_on_once(deployment, &patient, begin)
}

/// A Prometheus that was just started comes up with no alert, finds the check
/// failing, and begins to count; all the while the host stays off.
fn is_found_sick_again(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
    deployment.wait_scraped()?;
    deployment.wait_ready()?;
    wait_for("the alert to be active again", ALERT_WITHIN, || {
        is_off(cluster, deployment, host)?;
        let state = deployment.prometheus.alert_state("HostCheckFailed", "host", host)?;
        state.context("Prometheus does not have it yet")
    })?;
    holds_for("off while sick", LONG_ENOUGH, || is_off(cluster, deployment, host))
}

/// Killed at any instant, also while it starts, Prometheus never makes a sick
/// host look well. The seed of the instants is printed; `SATELLITE_SEED` sets it.
pub(crate) fn prometheus_killed_again_and_again(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let given = std::env::var("SATELLITE_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = Timestamp::now().subsec_nanosecond().unsigned_abs();
    let mut seed: u32 = given.unwrap_or(clock);
    eprintln!("SATELLITE_SEED={seed}");
    let begin = Timestamp::now();
    fall_sick(cluster, deployment, &patient)?;
    for kill in 1..=PROMETHEUS_KILLS {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let life = MAX_LIFE.mul_f64(f64::from(seed) / f64::from(u32::MAX));
        let off = || is_off(cluster, deployment, &patient);
        holds_for(&format!("off before kill {kill}"), life, off)?;
        deployment.prometheus.process.kill()?;
        // Every other time it is away for longer than its alerts last.
        let away = if kill % 2 == 0 { LONG_ENOUGH } else { Duration::ZERO };
        holds_for(&format!("off after kill {kill}"), away, || {
            is_off(cluster, deployment, &patient)
        })?;
        deployment.prometheus.process.start()?;
    }
    is_found_sick_again(cluster, deployment, &patient)?;
    recover(cluster, deployment, &patient)?;
    went_off_and_on_once(deployment, &patient, begin)
}

pub(crate) fn overruled(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let url = deployment.remediators[0].url();
    let listed = |host: &str| -> Result<bool> {
        Ok(whitelist(cluster.whitelist())?.iter().any(|listed| listed == host))
    };

    // A well host off, and back.
    satctl(&url, &["off", &patient, "--reason", "swapping its disk"])?;
    wait_for("the host to be off in the file", SOON, || {
        ensure!(!listed(&patient)?, "it is listed");
        Ok(())
    })?;
    cluster.wait_not_offered(&patient, MESOS_WITHIN)?;
    let explain = satctl(&url, &["explain", &patient])?;
    ensure!(explain.contains("swapping its disk"), "the reason is missing: {explain}");
    satctl(&url, &["clear", &patient])?;
    cluster.wait_offered(&cluster.hosts(), MESOS_WITHIN)?;

    // A sick host on, while its alert fires, until that is taken back.
    fall_sick(cluster, deployment, &patient)?;
    satctl(&url, &["on", &patient, "--reason", "the check is wrong"])?;
    cluster.wait_offered(&cluster.hosts(), MESOS_WITHIN)?;
    holds_for("on, by a person's word", LONG_ENOUGH, || -> Result<()> {
        ensure!(listed(&patient)?, "automation took it off again");
        Ok(())
    })?;
    satctl(&url, &["clear", &patient])?;
    wait_for("automation to take it off again", OFF_WITHIN, || {
        is_off(cluster, deployment, &patient)
    })?;
    recover(cluster, deployment, &patient)
}

pub(crate) fn blind(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, .. } = parts(lab)?;
    let before = whitelist(cluster.whitelist())?;
    for source in ["alertmanager", "prometheus"] {
        let frozen = match source {
            "alertmanager" => &deployment.alertmanager.process,
            _ => &deployment.prometheus.process,
        };
        frozen.signal(Signal::STOP)?;
        let named = wait_for(&format!("the remediator to miss {source}"), BLIND_WITHIN, || {
            let ready = deployment.remediators[0].get("/-/ready")?;
            ensure!(ready.status == 503 && ready.body.contains(source), "{ready:?}");
            let metrics = deployment.remediators[0].get("/metrics")?.body;
            let series =
                |line: &&str| line.starts_with("satellite_source_blind{") && line.contains(source);
            let blind = metrics.lines().find(series).context("the metric does not name it")?;
            ensure!(blind.ends_with(" 1") || blind.ends_with(" 1.0"), "{blind}");
            Ok(())
        });
        frozen.signal(Signal::CONT)?;
        named?;
        deployment.wait_ready()?;
        ensure!(whitelist(cluster.whitelist())? == before, "blindness changed the file");
    }
    deployment.wait_scraped()
}

pub(crate) fn tasks_lost(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let run = lab.run.clone();
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    // The cluster's own framework is partition-aware: it is never told TASK_LOST.
    let masters: Vec<String> =
        cluster.masters.iter().map(satellite_tests::mesos::Master::address).collect();
    let mut careless = Framework::start(&run, "careless", &masters, &["--not-partition-aware"])?;
    careless.launch(&Task::sleeper("first", &patient))?;
    careless.wait_task("first", "TASK_RUNNING")?;
    let lose = |_: &Cluster| careless.lose(LOST_TASKS);
    let hold = Hold { alert: "TasksLost", rule: "tasks-lost" };
    hold.is_shown(cluster, deployment, &patient, lose)?;
    careless.teardown()?;
    hold.ends(deployment)?;
    recover(cluster, deployment, &patient)
}

pub(crate) fn cpu_nearly_exhausted(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    let hosts = cluster.hosts();
    let name = |host: &str| format!("big-{host}");
    for host in &hosts {
        cluster.framework.launch(&Task { cpus: 3.7, ..Task::sleeper(&name(host), host) })?;
    }
    for host in &hosts {
        cluster.framework.wait_task(&name(host), "TASK_RUNNING")?;
    }
    let hold = Hold { alert: "CpuNearlyExhausted", rule: "cluster-in-trouble" };
    hold.is_shown(cluster, deployment, &patient, |_| Ok(()))?;
    for host in &hosts {
        cluster.framework.kill(&name(host))?;
        cluster.framework.wait_task(&name(host), "TASK_KILLED")?;
    }
    hold.ends(deployment)?;
    recover(cluster, deployment, &patient)
}

pub(crate) fn no_elected_master(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, patient, .. } = parts(lab)?;
    for master in &mut cluster.masters {
        master.process.kill()?;
    }
    let hold = Hold { alert: "NoElectedMaster", rule: "cluster-in-trouble" };
    hold.is_shown(cluster, deployment, &patient, |_| Ok(()))?;
    for master in &mut cluster.masters {
        master.process.start()?;
    }
    cluster.leader()?;
    cluster.framework.wait_subscribed()?;
    hold.ends(deployment)?;
    recover(cluster, deployment, &patient)
}

/// Every exporter stops at once: the hosts are well, the watching is not. No host
/// goes off, and what they have in common is told.
pub(crate) fn storm(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let Parts { cluster, deployment, .. } = parts(lab)?;
    let all = cluster.hosts();
    let begin = Timestamp::now();
    for exporter in &deployment.exporters {
        exporter.process.signal(Signal::STOP)?;
    }
    let told = wait_for("the storm to be told", ALERT_WITHIN, || {
        let storm = deployment.api("status")?["storm"].take();
        let fell_sick = storm["fell_sick"].as_array().context("there is no storm")?.len();
        ensure!(fell_sick == all.len(), "{storm}");
        Ok(())
    });
    // Every host's alert fires by now: what keeps the hosts on is the storm.
    let fires = wait_for("every host to be a candidate", ALERT_WITHIN, || {
        for host in &all {
            let blocked_by = serde_json::to_string(&deployment.host(host)?.blocked_by)?;
            ensure!(blocked_by.contains("storm"), "{host}: {blocked_by}");
        }
        Ok(())
    });
    let unchanged = holds_for("every host on", LONG_ENOUGH, || -> Result<()> {
        ensure!(whitelist(cluster.whitelist())? == all, "the storm changed the file");
        Ok(())
    });
    for exporter in &deployment.exporters {
        exporter.process.signal(Signal::CONT)?;
    }
    told?;
    fires?;
    unchanged?;
    wait_for("the storm to be over", BACK_WITHIN, || {
        let status = deployment.api("status")?;
        ensure!(status["storm"].is_null(), "{}", status["storm"]);
        Ok(())
    })?;
    let first = all.first().context("the cluster has hosts")?;
    recover(cluster, deployment, first)?;
    for host in &all {
        let transitions = deployment.host(host)?.transitions;
        let moved = transitions.iter().any(|transition| transition.time >= begin);
        ensure!(!moved, "{host} went off and on: {transitions:?}");
    }
    Ok(())
}

/// An alert on the whole cluster, and the rule of the policy that it falls under.
struct Hold {
    alert: &'static str,
    rule: &'static str,
}

impl Hold {
    /// Once the cause is there: the alert fires, arrives, is on record, shows in
    /// the status; and a host that falls sick meanwhile stays on, with the
    /// reason. `keep_up` is called again and again, to keep the cause there.
    fn is_shown(
        &self,
        cluster: &Cluster,
        deployment: &Deployment,
        patient: &str,
        keep_up: impl Fn(&Cluster) -> Result<()>,
    ) -> Result<()> {
        let Self { alert, rule } = self;
        let begin = Timestamp::now();
        wait_for(&format!("{alert} to fire, arrive and hold"), ALERT_WITHIN, || {
            keep_up(cluster)?;
            let firing = deployment.prometheus.alerts()?.into_iter().any(|active| {
                active.state == "firing"
                    && active.labels.get("alertname").is_some_and(|n| n == alert)
            });
            ensure!(firing, "it does not fire");
            ensure!(deployment.has_delivery(alert, begin)?, "it fires; the journal has no webhook");
            self.is_in_status(deployment)
        })?;

        deployment.make_sick(patient)?;
        wait_for("the sick host to be a candidate that is held", ALERT_WITHIN, || {
            keep_up(cluster)?;
            self.blocks(cluster, deployment, patient)
        })?;
        holds_for(&format!("hold by {alert} (rule {rule})"), LONG_ENOUGH, || {
            keep_up(cluster)?;
            self.blocks(cluster, deployment, patient)
        })
    }

    fn is_in_status(&self, deployment: &Deployment) -> Result<()> {
        let holds = deployment.api("status")?["holds"].to_string();
        ensure!(holds.contains(self.rule), "the status shows these holds: {holds}");
        Ok(())
    }

    /// The host is a candidate, is on, and `explain` says that this holds.
    fn blocks(&self, cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
        let HostView { state, blocked_by, explain, .. } = deployment.host(host)?;
        let listed = whitelist(cluster.whitelist())?.iter().any(|listed| listed == host);
        ensure!(state == "on" && listed, "it was taken off: {explain}");
        let blocks = serde_json::to_string(&blocked_by).context("write the blocks")?;
        for text in [&blocks, &explain] {
            ensure!(text.contains(self.alert), "{} is not named: {text}", self.alert);
        }
        Ok(())
    }

    /// The alert's cause is gone: the hold ends, and what is still sick goes off.
    fn ends(&self, deployment: &Deployment) -> Result<()> {
        wait_for(&format!("the end of the hold by {}", self.alert), BACK_WITHIN, || {
            let holds = deployment.api("status")?["holds"].to_string();
            ensure!(!holds.contains(self.rule), "the status shows these holds: {holds}");
            Ok(())
        })
    }
}

/// What the cases work with.
pub(crate) struct Parts<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) deployment: &'a mut Deployment,
    pub(crate) patient: String,
}

pub(crate) fn parts(lab: &mut Lab) -> Result<Parts<'_>> {
    let deployment = lab.deployment.as_mut().context("Satellite is started")?;
    let patient = lab.cluster.hosts().into_iter().nth(1).context("the cluster has hosts")?;
    Ok(Parts { cluster: &mut lab.cluster, deployment, patient })
}

/// Makes a host sick and waits until it, and it alone, is out of the file.
fn fall_sick(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
    deployment.make_sick(host)?;
    wait_for(&format!("{host} to leave the file"), OFF_WITHIN, || {
        is_off(cluster, deployment, host)
    })?;
    let mut others = cluster.hosts();
    others.retain(|other| other != host);
    let file = whitelist(cluster.whitelist())?;
    ensure!(file == others, "the file lists {file:?}");
    Ok(())
}

/// Off in the file and in the remediator's words.
fn is_off(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
    let file = whitelist(cluster.whitelist())?;
    ensure!(!file.iter().any(|listed| listed == host), "the file lists it");
    let view = deployment.host(host)?;
    ensure!(view.state == "off", "{}", view.explain);
    Ok(())
}

/// Nothing happened to a host since `begin` but one way off and one back: not even
/// for a moment between two looks at it.
fn went_off_and_on_once(deployment: &Deployment, host: &str, begin: Timestamp) -> Result<()> {
    let transitions = deployment.host(host)?.transitions;
    let since: Vec<&str> = transitions
        .iter()
        .filter(|transition| transition.time >= begin)
        .map(|transition| transition.what.as_str())
        .filter(|what| ["on", "off"].contains(what))
        .collect();
    ensure!(since == ["off", "on"], "it went {since:?}: {transitions:?}");
    Ok(())
}

/// Heals a host and waits until all is as it was: no alert that remediates, every
/// host in the file and in the offers.
pub(crate) fn recover(cluster: &Cluster, deployment: &Deployment, host: &str) -> Result<()> {
    deployment.heal(host)?;
    wait_for("the end of all alerts that remediate", BACK_WITHIN, || {
        let alerts = deployment.prometheus.alerts()?;
        let left: Vec<_> = alerts.iter().filter(|a| a.labels.contains_key("remediate")).collect();
        ensure!(left.is_empty(), "there is {left:?}");
        Ok(())
    })?;
    wait_for(&format!("{host} to be back in the file"), BACK_WITHIN, || {
        let file = whitelist(cluster.whitelist())?;
        ensure!(file == cluster.hosts(), "{}", deployment.host(host)?.explain);
        Ok(())
    })?;
    cluster.wait_offered(&cluster.hosts(), MESOS_WITHIN)?;
    deployment.wait_ready()
}
