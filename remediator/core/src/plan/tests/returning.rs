//! What a return looks like when nothing is in its way, and what stays away.

use super::{
    peers::{Agent, at},
    world::{ROUND, World, assert_blocked},
};
use crate::{
    document::{Verdict, What},
    plan::Block,
    policy::NewHosts,
};

#[test]
fn a_host_that_is_well_again_returns() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.until(400, |world| world.is_on("h1"));
    let (host, record) = world.journal.last().unwrap();
    assert_eq!((host.as_str(), record.what), ("h1", What::On));
    assert_eq!(record.reason, "HostCheckFailed is gone, and the host is well");
    assert_eq!(record.rule.as_deref(), Some("host-check"));
    let document = world.document("h1");
    assert_eq!((document.off_since, document.causes.len()), (None, 0));
    assert_eq!(document.transitions.last().unwrap().time, at(world.now));
    assert!(world.blocks("h1").is_empty());
}

#[test]
fn a_host_that_several_alerts_held_returns_with_all_of_them_on_record() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    world.heal("h1");
    world.until(900, |world| world.is_on("h1"));
    let (_, record) = world.journal.last().unwrap();
    assert_eq!(record.reason, "DiskFull, HostCheckFailed are gone, and the host is well");
}

#[test]
fn a_host_that_is_off_by_default_stays_off_when_its_alert_is_gone() {
    let mut world = World::of_hosts(1);
    world.policy.new_hosts = NewHosts::Off;
    world.add_node("h2");
    world.sicken("h2");
    world.pass(60);
    assert_eq!(world.document("h2").causes.len(), 1);
    assert_blocked!(world, "h2", Block::OffByDefault);
    world.heal("h2");
    world.until(600, |world| world.document("h2").causes.is_empty());
    assert!(world.is_off("h2"));
    assert_eq!(world.journal.last().unwrap().1.what, What::Cleared);
    world.round(ROUND);
    assert_blocked!(world, "h2", Block::OffByDefault);
}

#[test]
fn a_silence_keeps_a_host_off_that_is_well() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.silence("HostCheckFailed", "h1");
    world.heal("h1");
    // The Alertmanagers hold the silenced alert until it runs out.
    world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
    world.pass(60);
    assert_blocked!(world, "h1", Block::Suppressed { .. });
    assert!(world.is_off("h1"));
}

#[test]
fn a_silence_on_another_alert_keeps_it_off_as_well() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.silence("DiskFull", "h1");
    world.heal("h1");
    for _ in 0..20 {
        world.tell_only("am2", "DiskFull", "h1");
        world.pass(60);
    }
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::Suppressed { .. });
}

#[test]
fn i1_the_budget_never_stops_a_return() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.policy.max_off.count = 0;
    world.policy.max_off_per_hour = 0;
    world.node("h2").agent = Agent::Lost;
    world.heal("h1");
    world.until(400, |world| world.is_on("h1"));
}

#[test]
fn i30_a_host_that_relapses_stays_off_twice_as_long_each_time() {
    let mut world = World::of_hosts(4);
    for min_off in [300, 600, 1200] {
        world.lose("h1");
        world.heal("h1");
        world.pass(min_off - 60);
        assert!(world.is_off("h1"), "it must be off for {min_off} s");
        world.until(400, |world| world.is_on("h1"));
    }
    assert_eq!(world.document("h1").transitions.len(), 6);
}

#[test]
fn i29_a_new_agent_of_a_host_that_is_off_changes_nothing() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.say("h2", Verdict::Off, None);
    for host in ["h1", "h2"] {
        world.node(host).agent = Agent::Lost;
    }
    world.pass(600);
    for host in ["h1", "h2"] {
        world.node(host).agent = Agent::Registered;
        world.node(host).reinstalls += 1;
    }
    world.pass(600);
    assert_eq!(world.hosts_off(), ["h1", "h2"], "a name is off, whatever agent it has");
    assert_eq!(world.document("h1").agents[0].id, "agent-1-of-h1");
    assert_blocked!(world, "h1", Block::Fires { .. });
    assert_blocked!(world, "h2", Block::Manual { .. });
}

#[test]
fn an_alert_that_was_silenced_must_be_gone_for_as_long_as_one_that_was_not() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.silence("DiskFull", "h1");
    for _ in 0..40 {
        world.tell_only("am1", "DiskFull", "h1");
        world.round(ROUND);
    }
    assert_blocked!(world, "h1", Block::Suppressed { .. });
    world.resolve_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    assert_blocked!(world, "h1", Block::ClearFor { .. });
    let waited = world.until(600, |world| world.is_on("h1"));
    assert!(waited >= 90, "it waited {waited} s");
}
