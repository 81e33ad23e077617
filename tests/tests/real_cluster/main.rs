//! End-to-end tests on one shared real cluster.
//!
//! `cargo test --workspace --test real_cluster -- NAME` runs the cases whose
//! names contain NAME. With `KEEP_LOGS=1` the run's folder stays in any case.
//! With `SATELLITE_LONG_CASES=1` it runs the long cases instead, on a cluster of
//! their own.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use satellite_tests::cases::{self, Case};
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::Deployment;
use satellite_tests::layout;
use satellite_tests::run::Run;

mod access;
mod mesos;
mod names;
mod remediation;
mod rounds;
mod series;

/// In this order: the first need no Satellite, so it is not running yet.
const CASES: &[Case<Lab>] = &[
    ("mesos_offers_no_host_that_is_not_in_the_whitelist", mesos::whitelist),
    ("a_new_leading_master_keeps_to_the_same_whitelist", mesos::failover),
    ("a_mesos_that_wants_credentials_is_asked_with_them", access::credentials),
    ("every_key_of_a_real_mesos_has_its_name_and_its_value", names::every_key),
    ("a_sick_host_leaves_whitelist_and_offers_and_returns_when_well", remediation::loop_closes),
    ("a_round_reads_the_agents_once_and_only_on_the_leader", rounds::one_listing),
    ("series_follow_a_task_that_starts_and_is_killed_and_one_that_fails", series::tasks),
    ("series_follow_a_task_group_with_its_nested_containers", series::group),
    ("series_follow_tasks_whose_agent_dies", series::lost),
    ("series_follow_the_leading_master", series::failover),
    ("a_remediator_killed_during_an_outage_comes_back_to_the_same_verdict", remediation::killed),
    ("a_host_is_not_given_back_by_a_prometheus_that_knows_nothing_yet", remediation::amnesia),
    ("a_person_overrules_automation_in_both_directions", remediation::overruled),
    ("a_frozen_source_is_named_and_changes_nothing", remediation::blind),
    ("i3_silence_of_every_exporter_is_a_storm_and_takes_no_host_off", remediation::storm),
    ("lost_tasks_hold_the_remediator", remediation::tasks_lost),
    ("a_full_cluster_holds_the_remediator", remediation::cpu_nearly_exhausted),
    ("a_cluster_without_a_leading_master_holds_the_remediator", remediation::no_elected_master),
];

/// Asks for the long cases.
const LONG: &str = "SATELLITE_LONG_CASES";

/// These take minutes; `make test-all` runs them.
const LONG_CASES: &[Case<Lab>] = &[(
    "a_prometheus_killed_20_times_gives_no_sick_host_back",
    remediation::prometheus_killed_again_and_again,
)];

/// What the cases share.
#[derive(Debug)]
struct Lab {
    // Dropped in this order.
    deployment: Option<Deployment>,
    cluster: Cluster,
    run: Arc<Run>,
}

impl Lab {
    /// Satellite, started beside the cluster by the first case that asks for it.
    fn satellite(&mut self) -> Result<&mut Deployment> {
        if self.deployment.is_none() {
            layout::build_programs()?;
            self.deployment = Some(Deployment::start(&self.run, &self.cluster, |_| ())?);
        }
        self.deployment.as_mut().context("it was just started")
    }
}

impl cases::Lab for Lab {
    fn start() -> Result<Self> {
        let run = Run::start("real-cluster")?;
        let cluster = Cluster::start(&run, |_| ())?;
        Ok(Self { deployment: None, cluster, run })
    }

    fn succeed(&self) {
        self.run.succeed();
    }
}

fn main() -> ExitCode {
    cases::run(if std::env::var_os(LONG).is_none() { CASES } else { LONG_CASES })
}
