//! Real Alertmanagers at their worst, and what the remediator makes of it.
//!
//! What Alertmanager delivers may be cut, late, repeated, contradicted or lost.
//! Each case makes a real one do so and then asserts that after one round the
//! verdict on every host, and the file, are as the facts are. The remediator is
//! the real binary. Prometheus, the Mesos master and the gate before the webhook
//! are played by this process, because a case needs them to misbehave at exact
//! moments.
//!
//! The names begin with the numbers of the laboratory in which these ways of
//! Alertmanager were first seen. The cases have nothing in common, wait most of
//! the time, and so run side by side.
//!
//! `cargo test --workspace --test alertmanager_lab -- NAME` runs the cases whose
//! names contain NAME.

mod cases;
mod gate;
mod lab;
mod prometheus;
mod server;

use std::process::ExitCode;

use anyhow::Result;
use lab::Lab;
use libtest_mimic::{Arguments, Trial};
use satellite_tests::layout;

/// Takes a name for the run, and gives the lab back if all went well.
type Case = fn(&str) -> Result<Lab>;

const CASES: &[(&str, Case)] = &[
    ("e2_the_end_of_an_alert_that_max_alerts_cut_off_gives_the_host_back", cases::truncated),
    ("e4b_an_old_delivery_that_says_firing_takes_no_well_host_off", cases::stale),
    ("e5_an_alert_that_ran_out_because_prometheus_died_gives_no_host_back", cases::ran_out),
    ("e5_an_alert_that_fires_again_with_the_same_start_counts", cases::same_again),
    ("e6_an_end_under_a_silence_is_seen_though_never_delivered", cases::silenced),
    ("e8_an_alertmanager_that_was_killed_is_believed_once_it_is_warm", cases::killed),
    ("h3_two_deliveries_at_once_act_once", cases::twice_at_once),
    ("h4_an_end_that_reached_one_of_a_pair_gives_no_host_back", cases::told_to_one),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(CASES.len());
    if !arguments.list
        && let Err(error) = layout::build_programs()
    {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    let trial = |(name, case): &(&'static str, Case)| {
        let (name, case) = (*name, *case);
        Trial::test(name, move || {
            let went_well = |lab: &Lab| {
                if std::env::var_os("KEEP_LOGS").is_none() {
                    lab.succeed();
                }
            };
            let lab = case(name).inspect(went_well);
            lab.map(drop).map_err(|error| format!("{error:#}").into())
        })
    };
    libtest_mimic::run(&arguments, CASES.iter().map(trial).collect()).exit_code()
}
