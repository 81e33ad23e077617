//! What Satellite relies on in Mesos, with no Satellite running.

use std::time::Duration;

use anyhow::{Context, Result};
use satellite_tests::cluster::Cluster;

use crate::Lab;

/// Masters read the file every 5 s; offers are made every second.
const FILE_IN_FORCE: Duration = Duration::from_secs(20);

/// Several allocation rounds and one more read of the file.
const LONG_ENOUGH: Duration = Duration::from_secs(6);

/// A session of 5 s has to run out, then an election, a recovery of the
/// registry, the agents' and the framework's return.
const FAILED_OVER: Duration = Duration::from_secs(60);

pub(crate) fn whitelist(lab: &mut Lab) -> Result<()> {
    let cluster = &lab.cluster;
    let hosts = cluster.hosts();
    let (out, others) = hosts.split_first().context("the cluster has hosts")?;
    cluster.write_whitelist(others)?;
    cluster.wait_not_offered(out, FILE_IN_FORCE)?;
    cluster.expect_not_offered(out, LONG_ENOUGH)?;
    cluster.write_whitelist(&hosts)?;
    cluster.wait_offered(&hosts, FILE_IN_FORCE)
}

pub(crate) fn failover(lab: &mut Lab) -> Result<()> {
    let hosts = lab.cluster.hosts();
    let (out, others) = hosts.split_first().context("the cluster has hosts")?;
    lab.cluster.write_whitelist(others)?;
    lab.cluster.wait_not_offered(out, FILE_IN_FORCE)?;

    let old = lab.cluster.leader()?;
    lab.cluster.masters[old].process.kill()?;
    let new = lab.cluster.leader()?;
    anyhow::ensure!(new != old, "master {old} is dead and still leads");
    lab.cluster.framework.wait_subscribed()?;
    lab.cluster.wait_offered(others, FAILED_OVER)?;
    lab.cluster.expect_not_offered(out, LONG_ENOUGH)?;

    restore(&mut lab.cluster, old, &hosts)
}

fn restore(cluster: &mut Cluster, master: usize, hosts: &[String]) -> Result<()> {
    cluster.masters[master].process.start()?;
    cluster.write_whitelist(hosts)?;
    cluster.wait_offered(hosts, FAILED_OVER)
}
