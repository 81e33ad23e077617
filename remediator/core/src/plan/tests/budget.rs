//! How many may be away at once, and who counts.

use std::time::Duration;

use super::{
    peers::{Agent, at},
    world::{ROUND, World, assert_blocked},
};
use crate::{
    document::Verdict,
    plan::Block,
    policy::{MinHosts, NewHosts},
    time::later,
};

/// The time in which a sick host is off, if nothing stands in its way.
const SOON: u64 = 60;

#[test]
fn i1_no_more_than_the_count_go_off() {
    let mut world = World::of_hosts(10);
    world.policy.max_off.count = 2;
    for host in ["h1", "h2", "h3"] {
        world.sicken(host);
    }
    world.pass(600);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
    assert_blocked!(world, "h3", Block::Budget { away: 2, limit: 2, inventory: 10 });
}

#[test]
fn i1_no_more_than_the_share_go_off_rounded_down() {
    let mut world = World::of_hosts(9);
    world.policy.max_off.share = "25%".parse().unwrap();
    for host in ["h1", "h2", "h3"] {
        world.sicken(host);
    }
    world.pass(SOON);
    assert_eq!(world.hosts_off(), ["h1", "h2"], "a quarter of nine is two");
}

#[test]
fn a_share_that_rounds_to_nothing_takes_nothing_off_and_says_so() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.share = "20%".parse().unwrap();
    world.sicken("h1");
    world.pass(SOON);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Budget { away: 0, limit: 0, inventory: 4 });
}

#[test]
fn the_budget_goes_to_the_host_that_has_been_sick_the_longest() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 0;
    world.sicken("h4");
    world.pass(60);
    world.sicken("h1");
    world.pass(60);
    world.policy.max_off.count = 1;
    world.pass(60);
    assert_eq!(world.hosts_off(), ["h4"]);
}

#[test]
fn what_is_left_of_the_budget_is_what_the_tightest_gate_lets_through() {
    let mut world = World::of_hosts(10);
    let left = |world: &World| world.last_plan().budget.remaining(&world.policy);
    assert_eq!(left(&world), 10);
    world.policy.max_off_per_hour = 5;
    world.lose("h1");
    assert_eq!(left(&world), 4);
    world.policy.max_off.count = 3;
    world.round(ROUND);
    assert_eq!(left(&world), 2);
    world.policy.min_hosts = MinHosts::Count(8);
    world.round(ROUND);
    assert_eq!(left(&world), 1);
    world.policy.max_off.count = 0;
    world.round(ROUND);
    assert_eq!(left(&world), 0, "never less than nothing");
}

#[test]
fn i37_budget_that_becomes_free_is_used_within_two_rounds() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.lose("h1");
    world.sicken("h2");
    world.pass(60);
    world.heal("h1");
    world.until(1200, |world| world.is_on("h1"));
    world.until(2 * ROUND, |world| world.is_off("h2"));
}

#[test]
fn i1_a_host_that_a_person_took_out_counts() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.say("h1", Verdict::Off, None);
    world.sicken("h2");
    world.pass(SOON);
    assert_eq!(world.hosts_off(), ["h1"]);
    assert_blocked!(world, "h2", Block::Budget { away: 1, .. });
}

#[test]
fn i1_hosts_that_the_master_cannot_offer_count() {
    for agent in [Agent::Lost, Agent::Recovered, Agent::Inactive] {
        let mut world = World::of_hosts(4);
        world.policy.max_off.count = 1;
        world.node("h1").agent = agent;
        world.sicken("h2");
        world.pass(SOON);
        assert!(world.is_on("h2"), "{agent:?}");
        assert_blocked!(world, "h2", Block::Budget { away: 1, .. });
        world.node("h1").agent = Agent::Registered;
        world.until(ROUND, |world| world.is_off("h2"));
    }
}

#[test]
fn i1_hosts_that_were_out_before_the_first_start_count() {
    let mut world = World::before_the_first_round(4);
    let listed = ["h2", "h3", "h4"].map(|host| host.parse().unwrap());
    world.file = Ok(crate::facts::FoundFile::Lists(listed.to_vec()));
    world.policy.max_off.count = 1;
    world.pass(60);
    world.sicken("h2");
    world.pass(SOON);
    assert_eq!(world.hosts_off(), ["h1"], "imported");
    assert_blocked!(world, "h2", Block::Budget { away: 1, .. });
}

#[test]
fn i1_new_hosts_that_wait_for_a_person_count() {
    let mut world = World::of_hosts(3);
    world.policy.new_hosts = NewHosts::Off;
    world.policy.max_off.count = 1;
    world.add_node("h4");
    world.sicken("h1");
    world.pass(SOON);
    assert_eq!(world.hosts_off(), ["h4"]);
    assert_blocked!(world, "h1", Block::Budget { away: 1, .. });
}

#[test]
fn i1_a_candidate_that_is_unreachable_itself_is_not_counted_twice() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.policy.per_attribute.insert("rack".into(), 1);
    world.node("h1").agent = Agent::Lost;
    world.sicken("h1");
    world.until(SOON, |world| world.is_off("h1"));
}

#[test]
fn i1_an_off_that_takes_over_from_an_expired_on_counts_in_the_same_round() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.say("h1", Verdict::Off, None);
    world.pass(15);
    world.say("h1", Verdict::On, Some(120));
    world.pass(105);
    // The round in which the `on` ends is the first that sees h2's alert.
    world.tell_only("am1", "DiskFull", "h2");
    world.round(ROUND);
    assert_eq!(world.hosts_off(), ["h1"], "{}", world.tell());
    assert_blocked!(world, "h2", Block::Budget { .. });
}

#[test]
fn i1_a_host_that_comes_back_makes_room_only_once_it_is_back() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.lose("h1");
    world.sicken("h2");
    world.heal("h1");
    world.until(1200, |world| world.is_on("h1"));
    assert_eq!(world.hosts_off(), [""; 0], "documents are written one by one, in any order");
}

#[test]
fn i2_no_more_than_the_hourly_rate_go_off() {
    let mut world = World::of_hosts(10);
    world.policy.max_off_per_hour = 2;
    for host in ["h1", "h2", "h3"] {
        world.sicken(host);
    }
    world.pass(1800);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
    assert_blocked!(world, "h3", Block::HourlyRate { offs: 2, limit: 2 });
    let took = 1800 + world.until(3600, |world| world.is_off("h3"));
    assert!(took >= 3600, "{took} s");
}

#[test]
fn i2_the_hourly_rate_holds_over_restarts() {
    let mut world = World::of_hosts(10);
    world.policy.max_off_per_hour = 2;
    world.sicken("h1");
    world.sicken("h2");
    world.pass(SOON);
    world.sicken("h3");
    for _ in 0..8 {
        world.restart();
        world.pass(300);
    }
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
}

#[test]
fn i2_the_hourly_rate_holds_over_a_restart_with_a_clock_that_is_ahead() {
    for alertmanagers_answer in [true, false] {
        let mut world = World::of_hosts(10);
        world.policy.max_off_per_hour = 2;
        world.sicken("h1");
        world.sicken("h2");
        world.pass(SOON);
        world.sicken("h3");
        world.clock_error = 7200;
        world.alertmanagers.iter_mut().for_each(|it| it.answers = alertmanagers_answer);
        world.restart();
        world.round(ROUND);
        world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
        world.pass(600);
        assert_eq!(world.hosts_off(), ["h1", "h2"]);
    }
}

#[test]
fn i2_hosts_that_came_back_within_the_hour_still_count() {
    let mut world = World::of_hosts(10);
    world.policy.max_off_per_hour = 1;
    world.lose("h1");
    world.heal("h1");
    world.until(1200, |world| world.is_on("h1"));
    world.sicken("h2");
    world.pass(SOON);
    assert!(world.is_on("h2"));
    assert_blocked!(world, "h2", Block::HourlyRate { .. });
}

#[test]
fn i2_a_person_is_not_counted_in_the_hourly_rate() {
    let mut world = World::of_hosts(10);
    world.policy.max_off_per_hour = 1;
    world.say("h1", Verdict::Off, None);
    world.say("h2", Verdict::Off, None);
    world.lose("h3");
    assert_eq!(world.hosts_off(), ["h1", "h2", "h3"]);
}

#[test]
fn automation_leaves_min_hosts_on() {
    for min_hosts in [MinHosts::Count(3), MinHosts::Share("70%".parse().unwrap())] {
        let mut world = World::of_hosts(4);
        world.policy.min_hosts = min_hosts;
        world.sicken("h1");
        world.sicken("h2");
        world.pass(SOON);
        assert_eq!(world.hosts_off(), ["h1"], "{min_hosts:?}");
        assert_blocked!(world, "h2", Block::MinHosts { on: 3, floor: 3 });
    }
}

#[test]
fn i2_after_a_reload_to_a_lower_hourly_rate_it_is_said_how_many_went_and_when_one_may() {
    let mut world = World::of_hosts(10);
    let mut offs = Vec::new();
    for host in ["h1", "h2", "h3"] {
        world.lose(host);
        offs.push(at(world.now));
        world.pass(600);
    }
    world.sicken("h4");
    world.policy.max_off_per_hour = 2;
    world.pass(SOON);
    assert_blocked!(world, "h4", Block::HourlyRate { offs: 3, limit: 2 });
    let hour = Duration::from_secs(3600);
    assert_eq!(world.last_plan().outlooks["h4"].next, Some(later(offs[1], hour)));
    world.policy.max_off_per_hour = 0;
    world.round(ROUND);
    assert_blocked!(world, "h4", Block::HourlyRate { offs: 3, limit: 0 });
    assert_eq!(world.last_plan().outlooks["h4"].next, None, "it waits for no time");
}

#[test]
fn every_gate_in_the_way_is_named() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 0;
    world.policy.max_off_per_hour = 0;
    world.policy.min_hosts = MinHosts::Count(4);
    world.leaderless = Some("no answer".into());
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(SOON);
    assert_blocked!(world, "h1", Block::NoLeader(_));
    assert_blocked!(world, "h1", Block::Hold { .. });
    assert_blocked!(world, "h1", Block::Budget { .. });
    assert_blocked!(world, "h1", Block::HourlyRate { offs: 0, limit: 0 });
    assert_blocked!(world, "h1", Block::MinHosts { .. });
}

#[test]
fn hosts_that_were_lost_long_ago_are_no_part_of_the_budget() {
    let mut world = World::of_hosts(4);
    world.policy.retire_after = Duration::from_secs(300);
    world.policy.max_off.count = 1;
    world.policy.per_attribute.insert("rack".into(), 1);
    world.node("h1").agent = Agent::Lost;
    world.sicken("h2");
    world.pass(240);
    assert!(world.is_on("h2"));
    world.until(120, |world| world.is_off("h2"));
    assert_eq!(world.last_plan().budget.inventory, 3);
}

#[test]
fn i1_after_a_fail_over_nothing_is_taken_off_until_agents_are_back() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 2;
    world.fail_over();
    world.sicken("h1");
    world.pass(600);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Budget { away: 3, .. });
    for host in ["h1", "h2", "h3"] {
        world.node(host).agent = Agent::Registered;
    }
    world.until(ROUND, |world| world.is_off("h1"));
}
