//! Hosts that fall sick again and again, and groups of hosts.

use super::{
    peers::Agent,
    world::{World, assert_blocked},
};
use crate::{document::Verdict, plan::Block};

/// Falls sick and comes back, once more each time.
fn relapse(world: &mut World, host: &str) {
    world.lose(host);
    world.heal(host);
    world.until(10_000, |world| world.is_on(host));
}

#[test]
fn i30_a_host_that_relapses_too_often_stays_off_until_a_person_says_otherwise() {
    let mut world = World::of_hosts(4);
    world.policy.relapse.give_up_after = 2;
    relapse(&mut world, "h1");
    relapse(&mut world, "h1");
    world.lose("h1");
    world.heal("h1");
    world.pass(20_000);
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::GaveUp { relapses: 2 });

    let id = world.say("h1", Verdict::On, None);
    world.take_back("h1", &id);
    relapse(&mut world, "h1");
}

#[test]
fn i30_time_alone_does_not_end_what_a_person_has_to() {
    let mut world = World::of_hosts(4);
    world.policy.relapse.give_up_after = 2;
    relapse(&mut world, "h1");
    relapse(&mut world, "h1");
    world.lose("h1");
    world.heal("h1");
    world.pass(3 * 86_400);
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::GaveUp { .. });
}

#[test]
fn i30_a_host_that_was_given_up_stays_so_however_long_it_is_away() {
    let mut world = World::of_hosts(4);
    world.policy.relapse.give_up_after = 1;
    relapse(&mut world, "h1");
    world.lose("h1");
    world.heal("h1");
    world.node("h1").agent = Agent::Lost;
    world.pass(30);
    world.let_time_pass(8 * 86_400);
    world.pass(60);
    world.node("h1").agent = Agent::Registered;
    world.pass(3600);
    assert!(world.is_off("h1"), "only a person ends it:\n{}", world.tell());
    assert_blocked!(world, "h1", Block::GaveUp { relapses: 1 });
}

#[test]
fn i30_offs_of_long_ago_do_not_count() {
    let mut world = World::of_hosts(4);
    world.policy.relapse.give_up_after = 1;
    relapse(&mut world, "h1");
    world.pass(86_400);
    relapse(&mut world, "h1");
}

#[test]
fn i30_min_off_doubles_only_up_to_its_bound() {
    let mut world = World::of_hosts(4);
    world.policy.relapse.double_up_to = std::time::Duration::from_secs(600);
    relapse(&mut world, "h1");
    relapse(&mut world, "h1");
    world.lose("h1");
    world.heal("h1");
    world.until(700, |world| world.is_on("h1"));
}

#[test]
fn i1_no_more_hosts_of_one_rack_go_off_than_its_limit() {
    let mut world = World::of_hosts(6);
    world.policy.per_attribute.insert("rack".into(), 1);
    for host in ["h1", "h2", "h3"] {
        world.sicken(host);
    }
    world.pass(300);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
    assert_blocked!(world, "h3", Block::AttributeBudget { away: 1, limit: 1, .. });
}
