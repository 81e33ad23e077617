//! While the cluster is in trouble, nothing is taken from it.

use std::time::Duration;

use super::{
    peers::{at, labels},
    world::{ROUND, World, assert_blocked},
};
use crate::{
    facts::Suppression,
    plan::Block,
    policy::{Action, Rule},
};

fn holds(world: &World) -> Vec<(&str, bool)> {
    let holds = world.last_plan().holds.iter();
    holds.map(|it| (it.hold.alertname.as_str(), it.blocks)).collect()
}

/// TasksLost fires, and the rule's `max_hold` is in nobody's way.
fn in_trouble(hosts: usize) -> World {
    let mut world = World::of_hosts(hosts);
    world.policy.rules[1].action = Action::Hold { max_hold: None };
    world.cluster.losing_tasks = true;
    world.pass(30);
    assert_eq!(holds(&world), [("TasksLost", true)]);
    world
}

#[test]
fn while_a_hold_fires_nothing_is_taken_off() {
    let mut world = in_trouble(4);
    world.sicken("h1");
    world.pass(1800);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Hold { .. });
}

#[test]
fn a_hold_stops_an_off_in_the_round_in_which_it_begins() {
    let mut world = World::of_hosts(4);
    world.tell_only("am2", "TasksLost", "");
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Hold { .. });
}

#[test]
fn i4_a_hold_does_not_stop_giving_back() {
    let mut world = World::of_hosts(4);
    world.policy.rules[1].action = Action::Hold { max_hold: None };
    world.lose("h1");
    world.cluster.losing_tasks = true;
    world.heal("h1");
    world.until(600, |world| world.is_on("h1"));
    assert_eq!(holds(&world), [("TasksLost", true)]);
}

#[test]
fn a_hold_ends_when_its_alert_has_been_gone_for_clear_for() {
    let mut world = in_trouble(4);
    world.sicken("h1");
    world.cluster.losing_tasks = false;
    world.round(ROUND);
    let gone = world.now;
    let note = &world.last_plan().holds[0].note;
    let end = at(gone + 120);
    assert_eq!(*note, format!("it must stay gone until {end:.0}"));
    world.until(600, |world| world.is_off("h1"));
    assert_eq!(world.now - gone, 120);
    assert!(holds(&world).is_empty());
}

#[test]
fn a_hold_whose_alert_merely_ran_out_goes_on() {
    let mut world = in_trouble(4);
    world.kill_prometheus();
    world.pass(3600);
    assert_eq!(holds(&world), [("TasksLost", true)]);
    assert!(world.last_plan().holds[0].note.contains("not believed"));
}

#[test]
fn a_hold_that_a_prometheus_forgot_ends_only_when_it_was_heard_again() {
    let mut world = in_trouble(4);
    world.kill_prometheus();
    world.pass(600);
    world.cluster.losing_tasks = false;
    world.start_prometheus();
    world.until(300, |world| holds(world).is_empty());
}

#[test]
fn a_hold_is_not_ended_by_an_alertmanager_that_was_restarted_while_prometheus_died() {
    let mut world = in_trouble(4);
    world.restart_alertmanager("am1");
    world.restart_alertmanager("am2");
    // The Watchdog is sent once more, the alert is not: they have clocks of
    // their own, and Prometheus dies between the two.
    let (now, ends) = (world.now, world.now + super::peers::EXPIRY);
    for url in ["am1", "am2"] {
        let mut watchdog = labels("Watchdog", "");
        watchdog.insert("prometheus".into(), "p1".into());
        world.alertmanager(url).receive(watchdog, 0, ends, now);
    }
    world.kill_prometheus();
    world.pass(3600);
    assert_eq!(holds(&world), [("TasksLost", true)]);
}

#[test]
fn a_hold_stays_while_one_alertmanager_cannot_be_asked() {
    let mut world = in_trouble(4);
    world.cluster.losing_tasks = false;
    world.alertmanager("am2").answers = false;
    world.pass(1800);
    assert_eq!(holds(&world), [("TasksLost", true)]);
}

#[test]
fn after_max_hold_it_blocks_no_more_and_says_so() {
    let mut world = World::of_hosts(4);
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(600);
    assert!(world.is_on("h1"));
    world.until(60, |world| world.is_off("h1"));
    assert_eq!(holds(&world), [("TasksLost", false)]);
    assert!(world.last_plan().holds[0].note.ends_with("blocks no more"));
}

#[test]
fn a_gap_between_rounds_does_not_make_a_hold_last_longer() {
    let mut world = World::of_hosts(4);
    world.cluster.losing_tasks = true;
    world.pass(300);
    world.let_time_pass(400);
    world.decide();
    assert_eq!(holds(&world), [("TasksLost", false)]);
}

#[test]
fn what_holds_takes_no_host_off_also_when_it_blocks_no_more() {
    let mut world = World::of_hosts(4);
    let action = Action::Hold { max_hold: Some(Duration::from_secs(60)) };
    let matchers = r#"alertname="DiskFull""#.parse().unwrap();
    world.policy.rules.insert(0, Rule { name: "disk".into(), matchers, action });
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    assert_eq!(holds(&world), [("DiskFull", true)]);
    world.pass(90);
    assert_eq!(holds(&world), [("DiskFull", false)]);
    assert!(world.is_on("h1"));
}

#[test]
fn a_hold_that_begins_anew_has_its_whole_max_hold_again() {
    let mut world = World::of_hosts(4);
    world.cluster.losing_tasks = true;
    world.pass(540);
    world.cluster.losing_tasks = false;
    world.until(600, |world| holds(world).is_empty());
    // Back at once: in the very next round.
    world.tell_only("am1", "TasksLost", "");
    world.round(ROUND);
    let again = &world.last_plan().holds[0];
    assert!(again.blocks, "{}", again.note);
    assert_eq!(again.blocks_until, Some(world.clock().wall + Duration::from_secs(600)));
}

#[test]
fn a_silenced_hold_does_not_hold() {
    let mut world = World::of_hosts(4);
    world.silence("TasksLost", "");
    world.cluster.losing_tasks = true;
    world.lose("h1");
    assert!(holds(&world).is_empty());
}

#[test]
fn silencing_a_hold_lets_it_go_and_the_end_of_the_silence_brings_it_back() {
    let mut world = in_trouble(4);
    world.silence("TasksLost", "");
    world.lose("h1");
    assert_eq!(holds(&world), [("TasksLost", false)]);
    world.unsilence("TasksLost", "");
    world.sicken("h2");
    world.pass(120);
    assert!(world.is_on("h2"));
}

#[test]
fn an_inhibited_hold_holds() {
    let mut world = World::of_hosts(4);
    world.inhibit("TasksLost", "");
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(120);
    assert_blocked!(world, "h1", Block::Hold { .. });
}

#[test]
fn a_hold_that_is_silenced_at_one_alertmanager_only_holds() {
    let mut world = World::of_hosts(4);
    let how = Suppression::Silenced(vec!["s1".into()]);
    world.alertmanager("am1").suppress(labels("TasksLost", ""), how);
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(120);
    assert_blocked!(world, "h1", Block::Hold { .. });
}

#[test]
fn i33_a_hold_survives_a_restart_of_the_remediator() {
    let mut world = in_trouble(4);
    world.sicken("h1");
    world.kill_prometheus();
    world.pass(600);
    world.restart();
    world.pass(3600);
    assert_eq!(holds(&world), [("TasksLost", true)]);
    assert!(world.is_on("h1"));
}
