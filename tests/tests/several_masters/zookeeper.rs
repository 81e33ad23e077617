//! ZooKeeper is away, or some of its servers are.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use satellite_tests::satellite::{Daemon, satctl};
use satellite_tests::wait::{holds_for, wait_for};
use satellite_tests::zookeeper::ZooKeeper;

use crate::lab::{ALIKE_WITHIN, FAILED_OVER, LONG_ENOUGH, Lab, say_on, wait_without_store};

/// A session of 5 s bears that long; servers that are left need a second to agree.
const WRITES_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn restarted(lab: &mut Lab) -> Result<()> {
    is_away(lab, ZooKeeper::kill)
}

/// Of three servers one is left.
pub(crate) fn no_quorum(lab: &mut Lab) -> Result<()> {
    is_away(lab, |zookeeper| {
        // With the one that leads, no server can begin a write any more.
        let leader = zookeeper.leader()?;
        let next = (leader + 1) % zookeeper.servers.len();
        zookeeper.servers[leader].process.kill()?;
        zookeeper.servers[next].process.kill()
    })
}

fn is_away(lab: &mut Lab, kill: impl Fn(&mut ZooKeeper) -> Result<()>) -> Result<()> {
    let (leading, other) = (lab.cluster.leader()?, lab.listed()[0].clone());
    let (start, changes) = (Instant::now(), lab.changes()?);
    kill(&mut lab.cluster.zookeeper)?;
    for remediator in &lab.deployment.remediators {
        let answer = say_on(remediator, &other)?;
        ensure!(answer == 503, "a command without ZooKeeper is answered {answer}");
    }
    for remediator in &lab.deployment.remediators {
        wait_without_store(remediator)?;
    }
    holds_for("every file, without ZooKeeper", LONG_ENOUGH, || lab.alike())?;
    let master = &mut lab.cluster.masters[leading].process;
    wait_for("the leading master to end", FAILED_OVER, || {
        ensure!(master.check_running().is_err(), "it runs");
        Ok(())
    })?;
    lab.cluster.zookeeper.start_again()?;
    lab.start_ended_masters()?;
    lab.leader()?;
    lab.deployment.wait_ready()?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.cluster.leader()?;
    lab.cluster.framework.wait_subscribed()?;
    lab.cluster.wait_offered(&lab.listed(), FAILED_OVER)?;
    ensure!(lab.changes()? == changes, "hosts went off or on: {changes:?}, {:?}", lab.changes()?);
    lab.stays()?;
    lab.one_led_at_a_time(start)
}

pub(crate) fn leader_killed(lab: &mut Lab) -> Result<()> {
    lab.leader()?;
    let (start, mut changes) = (Instant::now(), lab.changes()?);
    let other = lab.listed()[0].clone();
    let urls: Vec<String> = lab.deployment.remediators.iter().map(Daemon::url).collect();
    let leader = lab.cluster.zookeeper.leader()?;
    lab.cluster.zookeeper.servers[leader].process.kill()?;
    wait_for("a command to be taken", WRITES_WITHIN, || {
        satctl(&urls[0], &["off", &other, "--reason", "disk swap"])
    })?;
    wait_for("every file without the host", ALIKE_WITHIN, || {
        lab.list_everywhere(&lab.listed()[1..])
    })?;
    for url in &urls[1..] {
        satctl(url, &["on", &other, "--reason", "swapped"])?;
    }
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.deployment.wait_ready()?;
    lab.cluster.zookeeper.start_again()?;
    for url in &urls {
        satctl(url, &["clear", &other])?;
    }
    lab.stays()?;
    lab.start_ended_masters()?;
    lab.deployment.wait_ready()?;
    lab.leader()?;
    let leaders = lab.leaders_since(start)?;
    ensure!((1..=2).contains(&leaders), "{leaders} remediators have led");
    lab.one_led_at_a_time(start)?;
    // What was said, and nothing else.
    *changes.entry(other).or_default() += 2;
    ensure!(lab.changes()? == changes, "hosts went off or on: {changes:?}, {:?}", lab.changes()?);
    Ok(())
}
