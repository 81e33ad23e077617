//! Three masters, each with a whitelist file and a remediator of its own, on a real
//! cluster that was brought up on empty machines. All remediators keep their documents in
//! the ZooKeeper in which the masters hold their election, and reach it by ways of their
//! own.
//!
//! One host is sick and off in all that happens here. In every case something is taken
//! away from under the remediators, and all the while, and after it, the same holds: that
//! host and no other is out of every file, and not offered.
//!
//! `cargo test --workspace --test several_masters -- NAME` runs the cases whose names
//! contain NAME. With `SATELLITE_LONG_CASES=1` there are more; with
//! `SATELLITE_ZOOKEEPERS=3` ZooKeeper is an ensemble of so many servers, and there are
//! those that only an ensemble has. With `KEEP_LOGS=1` the run's folder stays in any case.

mod hosts;
mod lab;
mod lead;
mod machines;
mod zookeeper;

use std::process::ExitCode;

use satellite_tests::cases::{self, Case};

use crate::lab::{Lab, zookeepers};

/// When a case is run.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// It takes long; `make test-all` runs it.
    Long,
    /// Likewise, and it takes away some servers of an ensemble.
    Ensemble,
}

use When::{Always, Ensemble, Long};

const CASES: &[(Case<Lab>, When)] = &[
    (("empty_machines_come_to_offer_every_host_without_a_hand", machines::empty), Always),
    (("i24_all_masters_have_the_same_list_and_offer_its_hosts", hosts::same), Always),
    (("i32_a_leader_that_is_killed_is_followed_by_another", lead::killed), Always),
    (("i32_a_leader_that_is_cut_off_from_zookeeper_leads_no_more", lead::cut_off), Always),
    (("i32_a_leader_that_hears_nothing_more_leads_no_more", lead::silenced), Long),
    (
        ("i32_a_leader_that_stood_still_for_30_s_writes_nothing_when_it_goes_on", lead::stopped),
        Long,
    ),
    (("i21_zookeeper_starts_anew_and_nothing_changes", zookeeper::restarted), Long),
    (("the_leading_server_of_zookeeper_dies_and_writes_go_on", zookeeper::leader_killed), Ensemble),
    (("i21_zookeeper_has_no_quorum_and_nothing_changes", zookeeper::no_quorum), Ensemble),
    (("i24_the_next_leading_master_offers_exactly_the_listed_hosts", machines::killed), Long),
    (("i24_a_master_whose_machine_was_wiped_gets_the_list_again", machines::wiped), Long),
    (("i24_a_wiped_master_begins_with_the_list_of_another_machine", machines::asks_another), Long),
    (("a_person_speaks_to_any_of_them", hosts::spoken_to), Always),
    (("the_host_returns_to_every_list_when_it_is_well", hosts::returns), Always),
];

/// Asks for those that take long.
const LONG: &str = "SATELLITE_LONG_CASES";

impl When {
    fn is_now(self) -> bool {
        let is_long = std::env::var_os(LONG).is_some();
        match self {
            Always => true,
            Long => is_long,
            Ensemble => is_long && zookeepers().is_ok_and(|servers| servers > 1),
        }
    }
}

fn main() -> ExitCode {
    cases::run(CASES.iter().filter(|(_, when)| when.is_now()).map(|(case, _)| case))
}
