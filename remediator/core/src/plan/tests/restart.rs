//! A remediator that is killed, and masters that fail over.

use std::net::Ipv4Addr;

use super::{
    peers::{Agent, RESEND_DELAY},
    world::{ROUND, World, assert_blocked},
};
use crate::{document::Verdict, plan::Block};

#[test]
fn i33_a_restart_changes_no_verdict() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.say("h2", Verdict::Off, None);
    world.say("h3", Verdict::On, None);
    world.sicken("h3");
    world.pass(60);
    let before = world.hosts.clone();
    world.restart();
    world.pass(60);
    assert_eq!(world.hosts, before, "nothing is written anew");
}

#[test]
fn i6_a_word_that_was_said_before_the_first_round_does_not_end_by_a_jump_of_the_clock() {
    let mut world = World::of_hosts(4);
    world.restart();
    world.say("h1", Verdict::Off, Some(600));
    world.clock_error = 700;
    world.round(ROUND);
    assert!(world.is_off("h1"), "{}", world.tell());
    world.pass(570);
    assert!(world.is_off("h1"), "{}", world.tell());
    world.pass(300);
    assert!(world.is_on("h1"), "{}", world.tell());
}

#[test]
fn after_a_restart_a_host_that_is_well_is_not_given_back_early() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.pass(600);
    world.heal("h1");
    world.let_time_pass(120);
    world.restart();
    let restarted = world.now;
    world.until(1200, |world| world.is_on("h1"));
    assert!(world.now - restarted >= 4 * RESEND_DELAY, "its alert may have run out unseen");
    assert!(world.now - restarted >= 300, "min_off begins again");
}

#[test]
fn i15_an_alert_that_ran_out_while_nobody_watched_is_doubted() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.kill_prometheus();
    world.let_time_pass(1800);
    world.restart();
    world.pass(1800);
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::Doubt { .. });
}

#[test]
fn a_restart_in_every_round_gives_nothing_back_and_takes_nothing_off_that_waits() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    for _ in 0..100 {
        world.restart();
        world.round(ROUND);
    }
    assert!(world.is_off("h1"));
}

#[test]
fn a_fail_over_takes_nothing_off_and_gives_nothing_back() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 3;
    world.lose("h1");
    world.heal("h1");
    world.fail_over();
    world.sicken("h2");
    world.pass(3600);
    assert_eq!(world.hosts_off(), ["h1"]);
    assert_blocked!(world, "h1", Block::NotRegistered);
    assert_blocked!(world, "h2", Block::Budget { .. });
    for node in world.cluster.nodes.values_mut() {
        node.agent = Agent::Registered;
    }
    world.pass(30);
    assert_eq!(world.hosts_off(), ["h2"]);
}

#[test]
fn a_listing_is_written_only_when_it_changes() {
    let mut world = World::of_hosts(4);
    world.fail_over();
    world.round(ROUND);
    assert_eq!(world.last_plan().changes.len(), 4);
    assert!(world.last_plan().changes.values().all(|it| it.records.is_empty()));
    world.round(ROUND);
    assert!(world.last_plan().changes.is_empty() && world.last_plan().automation.is_none());
    let address = world.document("h1").agents[0].ip;
    assert_eq!(
        address,
        Some(Ipv4Addr::LOCALHOST.into()),
        "what a recovered agent does not say is kept"
    );
}

#[test]
fn a_lost_agent_is_not_taken_for_gone_or_healthy() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.node("h1").agent = Agent::Lost;
    world.node("h2").agent = Agent::Lost;
    world.heal("h1");
    world.pass(3600);
    assert_eq!(world.hosts_off(), ["h1"]);
    assert_eq!(world.hosts.len(), 4);
}
