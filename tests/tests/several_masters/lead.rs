//! The remediator that leads is killed, stands still, or no longer reaches ZooKeeper.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use satellite_tests::satellite::satctl;
use satellite_tests::wait::{holds_for, wait_for};

use crate::lab::{ALIKE_WITHIN, LEADS_WITHIN, LONG_ENOUGH, Lab, leads, say_on, wait_without_store};

/// Longer than any session lives.
const STOPPED_FOR: Duration = Duration::from_secs(30);

pub(crate) fn killed(lab: &mut Lab) -> Result<()> {
    let start = Instant::now();
    let old = lab.leader()?;
    lab.deployment.remediators[old].process.kill()?;
    let new = lab.leader_but(old)?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.stays()?;
    lab.deployment.remediators[old].restart()?;
    lab.deployment.wait_ready()?;
    ensure!(lab.leader()? == new, "another leads since the first is back");
    lab.stays()?;
    lab.one_led_at_a_time(start)
}

pub(crate) fn cut_off(lab: &mut Lab) -> Result<()> {
    let start = Instant::now();
    let old = lab.leader()?;
    lab.deployment.ways[old].cut();
    lab.leader_but(old)?;
    ensure!(!leads(&lab.deployment.remediators[old])?, "it leads without ZooKeeper");
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.stays()?;
    lab.deployment.ways[old].mend();
    lab.deployment.wait_ready()?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.one_led_at_a_time(start)
}

/// No connection ends, so that it has to find out by itself.
pub(crate) fn silenced(lab: &mut Lab) -> Result<()> {
    let start = Instant::now();
    let (all, but_one) = (lab.listed(), lab.listed()[1..].to_vec());
    let old = lab.leader()?;
    lab.deployment.ways[old].silence();
    let new = lab.leader_but(old)?;
    ensure!(!leads(&lab.deployment.remediators[old])?, "two lead");
    wait_without_store(&lab.deployment.remediators[old])?;
    let url = lab.deployment.remediators[new].url();
    satctl(&url, &["off", &all[0], "--reason", "disk swap"])?;
    for index in (0..lab.cluster.whitelists().len()).filter(|index| *index != old) {
        wait_for("its file without the host", ALIKE_WITHIN, || lab.lists(index, &but_one))?;
    }
    holds_for("the file of the one that knows of nothing", LONG_ENOUGH, || lab.lists(old, &all))?;
    let answer = say_on(&lab.deployment.remediators[old], &all[1])?;
    ensure!(answer == 503, "it takes commands: {answer}");
    lab.deployment.ways[old].mend();
    wait_for("every file without the host", ALIKE_WITHIN, || lab.list_everywhere(&but_one))?;
    lab.deployment.wait_ready()?;
    ensure!(lab.leader()? == new, "another leads since the first is back");
    satctl(&url, &["clear", &all[0]])?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.stays()?;
    lab.one_led_at_a_time(start)
}

pub(crate) fn stopped(lab: &mut Lab) -> Result<()> {
    let old = lab.leader()?;
    lab.deployment.remediators[old].process.signal(Signal::STOP)?;
    lab.leader_but(old)?;
    holds_for("every file, while it stands still", STOPPED_FOR, || lab.alike())?;
    lab.deployment.remediators[old].process.signal(Signal::CONT)?;
    wait_for("it to follow", LEADS_WITHIN, || {
        ensure!(!leads(&lab.deployment.remediators[old])?, "it believes that it leads");
        Ok(())
    })?;
    lab.deployment.wait_ready()?;
    lab.stays()
}
