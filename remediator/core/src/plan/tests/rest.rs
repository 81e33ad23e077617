//! Pauses, and clocks that are set back.

use std::time::Duration;

use super::{
    peers::Agent,
    world::{ROUND, World, assert_blocked},
};
use crate::{document::Verdict, plan::Block, policy::Action};

#[test]
fn i4_a_pause_stops_taking_off_and_not_giving_back() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.pause(false, 3600);
    world.sicken("h2");
    world.until(1200, |world| world.is_on("h1"));
    assert!(world.is_on("h2"));
    assert_blocked!(world, "h2", Block::Paused { .. });
}

#[test]
fn a_pause_of_all_stops_giving_back_too() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.pause(true, 7200);
    world.pass(3600);
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::Paused { .. });
}

#[test]
fn i31_a_pause_ends_by_itself_and_what_is_sick_then_goes_off() {
    let mut world = World::of_hosts(4);
    world.pause(false, 600);
    world.sicken("h1");
    world.pass(540);
    assert!(world.is_on("h1"));
    world.until(120, |world| world.is_off("h1"));
    assert_eq!(world.automation.pause, None);
}

#[test]
fn i33_resuming_acts_on_what_is_sick_now_and_not_on_what_was() {
    let mut world = World::of_hosts(4);
    world.pause(false, 7200);
    world.sicken("h1");
    world.sicken("h2");
    world.pass(600);
    world.heal("h1");
    world.pass(600);
    world.resume();
    world.pass(120);
    assert_eq!(world.hosts_off(), ["h2"]);
}

#[test]
fn i19_a_clock_that_was_set_back_freezes_automation_until_it_has_caught_up() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.clock_error = -1800;
    world.sicken("h2");
    world.pass(1200);
    assert!(world.is_off("h1") && world.is_on("h2"));
    assert!(world.is_blind("clock"));
    assert_blocked!(world, "h1", Block::ClockSetBack(_));
    world.clock_error = 0;
    world.until(1200, |world| world.is_on("h1") && world.is_off("h2"));
}

#[test]
fn i19_a_clock_that_was_set_forward_shortens_no_wait() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.round(ROUND);
    world.clock_error = 1800;
    world.pass(200);
    assert!(world.is_off("h1"), "min_off is five minutes by any clock");
}

#[test]
fn i19_a_hold_goes_on_and_is_shown_while_the_clock_is_behind() {
    let mut world = World::of_hosts(4);
    world.cluster.losing_tasks = true;
    world.until(300, |world| !world.last_plan().holds.is_empty());
    world.clock_error = -1800;
    world.sicken("h1");
    world.pass(300);
    assert!(world.is_blind("clock") && world.is_on("h1"));
    assert!(world.last_plan().holds[0].blocks);
    assert_eq!(world.last_plan().budget.inventory, 4);
}

#[test]
fn a_sick_host_that_stays_on_for_the_clock_says_so() {
    let mut world = World::of_hosts(4);
    world.lose("h2");
    world.clock_error = -1800;
    world.sicken("h1");
    world.pass(600);
    assert_blocked!(world, "h1", Block::ClockSetBack(_));
}

#[test]
fn a_person_accepts_a_clock_that_is_behind_the_records() {
    let mut world = World::of_hosts(4);
    world.clock_error = 365 * 86_400;
    world.node("h4").agent = Agent::Lost;
    world.round(ROUND);
    world.clock_error = 0;
    world.node("h4").agent = Agent::Registered;
    world.sicken("h1");
    world.pass(600);
    assert!(world.is_blind("clock") && world.is_on("h1"));
    world.resume();
    world.until(120, |world| world.is_off("h1"));
    world.pass(120);
    assert!(!world.is_blind("clock"));
    world.clock_error = -1800;
    world.pass(60);
    assert!(world.is_blind("clock"), "one that is set back again is noticed");
}

#[test]
fn a_clock_that_was_accepted_and_has_caught_up_is_a_clock_like_any_other() {
    let mut world = World::of_hosts(4);
    world.clock_error = 607;
    world.node("h4").agent = Agent::Lost;
    world.round(ROUND);
    world.clock_error = 0;
    world.round(ROUND);
    world.resume();
    world.pass(300);
    assert!(world.automation.accepted_clock.is_some());
    world.pass(330);
    assert!(world.automation.accepted_clock.is_none());
}

#[test]
fn i6_what_was_said_just_before_a_clock_that_was_behind_is_set_right_lasts_as_long_as_it_says() {
    let mut world = World::of_hosts(4);
    world.clock_error = -3600;
    world.pass(60);
    assert!(world.is_blind("clock"));
    world.say("h1", Verdict::Off, Some(1800));
    world.clock_error = 0;
    world.pass(1500);
    assert!(world.is_off("h1"), "{}", world.tell());
}

#[test]
fn i2_a_clock_that_is_set_forward_gives_no_new_hourly_rate() {
    let mut world = World::of_hosts(10);
    world.policy.max_off_per_hour = 2;
    world.lose("h1");
    world.lose("h2");
    world.clock_error = 3700;
    world.sicken("h3");
    world.pass(3000);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
    world.until(900, |world| world.is_off("h3"));
}

#[test]
fn i19_a_clock_that_is_set_forward_ends_no_pause_and_no_word() {
    let mut world = World::of_hosts(4);
    world.pause(false, 4 * 3600);
    world.say("h2", Verdict::Off, Some(4 * 3600));
    world.sicken("h1");
    world.pass(60);
    world.clock_error = 5 * 3600;
    world.pass(3 * 3600);
    assert_eq!(world.hosts_off(), ["h2"]);
    world.until(2 * 3600, |world| world.is_off("h1") && world.is_on("h2"));
}

#[test]
fn i19_a_clock_that_is_set_forward_retires_nobody() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.node("h1").agent = Agent::Lost;
    world.pass(60);
    world.clock_error = 8 * 86_400;
    world.round(ROUND);
    assert!(world.is_off("h1"));
}

#[test]
fn i19_a_pause_does_not_run_out_shortly_after_a_start() {
    let mut world = World::of_hosts(4);
    world.pause(false, 60);
    world.sicken("h1");
    world.let_time_pass(600);
    world.restart();
    world.pass(100);
    assert!(world.is_on("h1"));
    world.until(120, |world| world.is_off("h1"));
}

/// A host whose alert has been gone for a while, so that it is soon given back.
fn about_to_return() -> World {
    let mut world = World::of_hosts(4);
    let no_wait = Duration::ZERO;
    world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
    world.lose("h1");
    world.heal("h1");
    let waits = |it: &Block| matches!(it, Block::ClearFor { .. });
    world.until(400, |world| world.is_blocked("h1", waits));
    world.round(ROUND);
    world
}

#[test]
fn i15_what_was_watched_before_the_clock_was_set_back_gives_no_host_back() {
    let mut world = about_to_return();
    world.clock_error = -3600;
    world.sicken("h1");
    world.pass(60);
    world.kill_prometheus();
    world.pass(390);
    world.round(5);
    world.start_prometheus();
    world.round(5);
    world.let_time_pass(10);
    world.clock_error = 0;
    world.decide();
    assert!(world.is_off("h1"), "{}", world.tell());
}

#[test]
fn i15_what_was_watched_before_a_stall_gives_no_host_back() {
    let mut world = about_to_return();
    world.sicken("h1");
    world.let_time_pass(60);
    world.kill_prometheus();
    world.let_time_pass(395);
    world.start_prometheus();
    world.let_time_pass(15);
    world.decide();
    assert!(world.is_off("h1"), "{}", world.tell());
}

#[test]
fn i15_what_was_seen_to_be_well_before_a_stall_is_no_evidence_after_it() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, Some(150));
    world.alertmanager("am2").answers = false;
    world.pass(300);
    assert!(world.is_off("h1"));
    world.let_time_pass(400);
    world.alertmanager("am2").answers = true;
    world.decide();
    assert_blocked!(world, "h1", Block::NoEvidence(_));
    world.until(60, |world| world.is_on("h1"));
}

#[test]
fn i19_clear_for_begins_anew_after_the_clock_was_behind() {
    let mut world = about_to_return();
    world.clock_error = -3600;
    world.sicken("h1");
    world.pass(300);
    world.heal("h1");
    world.pass(15);
    world.clock_error = 0;
    world.round(ROUND);
    assert!(world.is_off("h1"), "{}", world.tell());
}

#[test]
fn i19_clear_for_begins_anew_after_the_machine_was_suspended() {
    let mut world = about_to_return();
    world.sicken("h1");
    world.let_time_pass(300);
    world.heal("h1");
    world.let_time_pass(300);
    // Its monotonic clock has stood still meanwhile.
    world.started += 600;
    let took = world.until(600, |world| world.is_on("h1"));
    assert!(took >= 120, "{took} s");
}

#[test]
fn a_stall_is_no_time_in_which_an_alert_has_fired() {
    let mut world = World::of_hosts(4);
    let fires_for = Duration::from_secs(600);
    world.policy.rules[0].action = Action::Off { fires_for, min_off: Duration::ZERO };
    world.sicken("h1");
    world.pass(30);
    world.heal("h1");
    world.let_time_pass(700);
    world.sicken("h1");
    world.round(ROUND);
    world.round(ROUND);
    assert!(world.is_on("h1"), "{}", world.tell());
}

#[test]
fn a_host_is_retired_in_its_time_also_where_no_master_led_meanwhile() {
    let mut world = World::of_hosts(4);
    world.policy.retire_after = Duration::from_secs(3600);
    world.node("h1").agent = Agent::Lost;
    world.pass(1800);
    world.leaderless = Some("no master leads".into());
    world.pass(60);
    world.leaderless = None;
    world.pass(1700);
    assert!(world.hosts.contains_key("h1"));
    world.until(120, |world| !world.hosts.contains_key("h1"));
}

#[test]
fn one_word_accepts_a_clock_that_was_set_back_after_another_was_accepted() {
    let mut world = World::of_hosts(4);
    world.clock_error = 365 * 86_400;
    world.node("h4").agent = Agent::Lost;
    world.round(ROUND);
    world.clock_error = 0;
    world.node("h4").agent = Agent::Registered;
    world.round(ROUND);
    world.resume();
    world.lose("h1");
    world.clock_error = -1800;
    world.pass(60);
    assert!(world.is_blind("clock"));
    world.resume();
    world.round(ROUND);
    assert!(!world.is_blind("clock"));
}
