//! Pauses, and clocks that are set back.

use super::world::{ROUND, World, assert_blocked};
use crate::plan::Block;

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
