//! A machine with a master and a remediator is new, dies, or is wiped.

use std::fs;

use anyhow::{Context, Result, ensure};
use satellite_tests::cluster::guard;
use satellite_tests::satellite::{Daemon, whitelist};
use satellite_tests::wait::wait_for;

use crate::lab::{ALIKE_WITHIN, FAILED_OVER, Lab};

/// What stands in a file in place of hosts.
const PLACEHOLDER: &str = "bootstrap.invalid";

const FOREIGN_EDITS: &str = "satellite_whitelist_foreign_edits_total";

/// So the lab is brought up: what is left to be seen is that nothing else had a hand in it.
pub(crate) fn empty(lab: &mut Lab) -> Result<()> {
    let guarded = lab.told.iter().filter(|step| step.contains("lists nobody")).count();
    ensure!(guarded == lab.cluster.masters.len(), "not every guard was there: {:?}", lab.told);
    for (number, remediator) in (1..).zip(&lab.deployment.remediators) {
        let edits = foreign_edits(remediator)?;
        ensure!(edits == 0.0, "remediator {number} has found {edits} edits of its file");
    }
    // That all hosts were in every file and offered, the tasks of the lab have shown.
    lab.stays()
}

pub(crate) fn killed(lab: &mut Lab) -> Result<()> {
    let old = lab.cluster.leader()?;
    lab.cluster.masters[old].process.kill()?;
    let new = lab.cluster.leader()?;
    ensure!(new != old, "master {old} is dead and still leads");
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.cluster.framework.wait_subscribed()?;
    lab.cluster.wait_offered(&lab.listed(), FAILED_OVER)?;
    lab.stays()?;
    lab.cluster.masters[old].process.start()?;
    lab.deployment.wait_ready()
}

/// The master comes back before its remediator does, and no other is asked for a list.
pub(crate) fn wiped(lab: &mut Lab) -> Result<()> {
    let machine = lab.leader()?;
    wipe(lab, machine)?;
    let own = lab.deployment.remediators[machine].url();
    come_back(lab, machine, &own)?;
    let file = &lab.cluster.whitelists()[machine];
    ensure!(whitelist(file)? == [PLACEHOLDER], "the master begins with {:?}", whitelist(file)?);
    is_whole_again(lab, machine)
}

/// The same, where its guard asks the remediator of another machine.
pub(crate) fn asks_another(lab: &mut Lab) -> Result<()> {
    let machine = lab.leader()?;
    wipe(lab, machine)?;
    let another = (machine + 1) % lab.deployment.remediators.len();
    let url = lab.deployment.remediators[another].url();
    wait_for("a list that can be had", ALIKE_WITHIN, || {
        lab.deployment.remediators[another].get("/-/ready").and_then(|ready| {
            ensure!(ready.status == 200, "{}", ready.body);
            Ok(())
        })
    })?;
    come_back(lab, machine, &url)?;
    lab.alike().context("the master begins with the list")?;
    is_whole_again(lab, machine)
}

/// Ends what runs on a machine, and removes all that it has on disk.
fn wipe(lab: &mut Lab, machine: usize) -> Result<()> {
    lab.deployment.remediators[machine].process.kill()?;
    let master = &mut lab.cluster.masters[machine].process;
    master.kill()?;
    let work = lab.run.peer_folder(master.name())?.join("work");
    fs::remove_dir_all(&work).context("wipe the master's folder")?;
    fs::remove_file(&lab.cluster.whitelists()[machine]).context("wipe the file")?;
    let remediator = lab.deployment.remediators[machine].process.name();
    let state = lab.run.peer_folder(remediator)?.join("state");
    fs::remove_dir_all(&state).context("wipe the journal")
}

/// Starts the master, with the guard before it that asks the remediator at `url`.
fn come_back(lab: &mut Lab, machine: usize, url: &str) -> Result<()> {
    guard(&lab.cluster.whitelists()[machine], url)?;
    lab.cluster.masters[machine].process.start()
}

/// Starts the remediator, and waits until all is as before the machine was wiped.
fn is_whole_again(lab: &mut Lab, machine: usize) -> Result<()> {
    lab.deployment.remediators[machine].restart()?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.cluster.leader()?;
    lab.cluster.framework.wait_subscribed()?;
    lab.deployment.wait_ready()?;
    let edits = foreign_edits(&lab.deployment.remediators[machine])?;
    ensure!(edits == 0.0, "what the guard has written is taken for an edit by hand");
    lab.stays()
}

/// How often the remediator has found that somebody else has written its file.
fn foreign_edits(remediator: &Daemon) -> Result<f64> {
    let metrics = remediator.get("/metrics")?.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(FOREIGN_EDITS));
    let count = line.context("there is no count of edits by hand")?.trim();
    count.parse().with_context(|| format!("{count:?} is no count"))
}
