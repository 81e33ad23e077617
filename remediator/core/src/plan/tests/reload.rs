//! Several rules that hold by one alert, and rules that a reload changes.

use super::{
    peers::labels,
    world::{ROUND, World, assert_blocked},
};
use crate::{plan::Block, policy::Action};

fn holds(world: &World) -> Vec<(&str, bool)> {
    let holds = world.last_plan().holds.iter();
    holds.map(|it| (it.hold.rule.as_str(), it.blocks)).collect()
}

#[test]
fn a_hold_whose_rule_was_renamed_goes_on_under_the_new_name() {
    let mut world = World::of_hosts(4);
    world.policy.rules[1].action = Action::Hold { max_hold: None };
    world.cluster.losing_tasks = true;
    world.pass(60);
    assert_eq!(holds(&world), [("tasks-lost", true)]);
    world.policy.rules[1].name = "lost-tasks".into();
    world.round(ROUND);
    assert!(holds(&world).contains(&("lost-tasks", true)));
    world.pass(900);
    assert_eq!(holds(&world), [("lost-tasks", true)], "the old name is let go");
}

#[test]
fn a_hold_whose_rule_was_removed_ends_though_its_alert_fires() {
    let mut world = World::of_hosts(4);
    world.cluster.losing_tasks = true;
    world.pass(60);
    world.policy.rules.truncate(1);
    world.until(900, |world| holds(world).is_empty());
}

#[test]
fn of_two_holds_by_one_alert_the_stricter_rule_is_not_lost() {
    let mut world = World::of_hosts(4);
    let mut mild = world.policy.rules[1].clone();
    mild.name = "mild".into();
    mild.matchers = r#"alertname="TasksLost",severity="warning""#.parse().unwrap();
    world.policy.rules[1].action = Action::Hold { max_hold: None };
    world.policy.rules.insert(1, mild);
    // The mild one first, and the other while it lasts.
    let mut warning = labels("TasksLost", "");
    warning.insert("severity".into(), "warning".into());
    let (now, ends) = (world.now, world.now + 7200);
    world.alertmanager("am1").receive(warning, now, ends, now);
    world.pass(60);
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(1800);
    assert_eq!(holds(&world), [("mild", false), ("tasks-lost", true)]);
    assert_blocked!(world, "h1", Block::Hold { .. });
}

#[test]
fn i8_a_reload_that_makes_the_rule_a_hold_gives_nothing_back_while_the_alert_fires() {
    let mut world = World::of_hosts(4);
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    assert!(world.is_off("h1"));
    let mut full = world.policy.rules[0].clone();
    full.name = "full".into();
    full.matchers = r#"alertname="DiskFull""#.parse().unwrap();
    full.action = Action::Hold { max_hold: None };
    world.policy.rules.insert(0, full);
    for _ in 0..20 {
        world.tell_only("am1", "DiskFull", "h1");
        world.pass(60);
    }
    assert!(world.is_off("h1"), "{}", world.tell());
    assert_blocked!(world, "h1", Block::Fires { .. });
    assert_eq!(holds(&world), [("full", true)], "and it holds as well");
}
