//! Who is taken out, and what keeps a sick host in.

use std::time::Duration;

use super::{
    peers::{Agent, at, labels},
    world::{ROUND, World, assert_blocked},
};
use crate::{
    document::{ListingState, What},
    plan::Block,
    policy::Action,
};

fn wants_firing_for(world: &mut World, seconds: u64) {
    world.policy.rules[0].action =
        Action::Off { fires_for: Duration::from_secs(seconds), min_off: Duration::from_secs(300) };
}

#[test]
fn a_host_goes_off_when_its_alert_fires() {
    let mut world = World::of_hosts(4);
    world.sicken("h2");
    let took = world.until(60, |world| world.is_off("h2"));
    assert!(took <= 2 * ROUND, "scraped, evaluated, sent and decided within {took} s");
    assert_eq!(world.hosts_off(), ["h2"]);
    let (rule, _, evidence) = world.document("h2").alert_causes().next().unwrap();
    assert_eq!((rule, evidence.alertname.as_str()), ("host-check", "HostCheckFailed"));
    assert_eq!((evidence.seen_at.as_str(), evidence.value.as_deref()), ("am1", Some("1")));
    let (host, record) = world.journal.last().unwrap();
    assert_eq!((host.as_str(), record.what, record.by.as_str()), ("h2", What::Off, "automation"));
    assert_eq!(record.reason, "HostCheckFailed = 1 fires at am1");
}

#[test]
fn i18_a_plan_says_which_of_its_changes_rest_on_an_alert() {
    let mut world = World::of_hosts(4);
    world.node("h1").agent = Agent::Lost;
    world.sicken("h2");
    world.until(60, |world| world.is_off("h2"));
    assert!(world.last_plan().takes_off());
    let resting = |host: &str| world.last_plan().changes[host].rests_on_alert;
    assert_eq!((resting("h1"), resting("h2")), (false, true), "h1 is only noted as lost");
    world.round(ROUND);
    assert!(!world.last_plan().takes_off(), "what is off already needs no second look");
}

#[test]
fn a_silenced_alert_takes_nothing_off_until_the_silence_ends() {
    let mut world = World::of_hosts(4);
    world.silence("HostCheckFailed", "h1");
    world.sicken("h1");
    world.pass(600);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Suppressed { .. });
    world.unsilence("HostCheckFailed", "h1");
    world.until(ROUND, |world| world.is_off("h1"));
}

#[test]
fn an_inhibited_alert_takes_nothing_off() {
    let mut world = World::of_hosts(4);
    world.inhibit("HostCheckFailed", "h1");
    world.sicken("h1");
    world.pass(600);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Suppressed { .. });
}

#[test]
fn a_silence_that_only_one_alertmanager_knows_is_heeded() {
    let mut world = World::of_hosts(4);
    let how = crate::facts::Suppression::Silenced(vec!["s1".into()]);
    world.alertmanager("am2").suppress(labels("HostCheckFailed", "h1"), how);
    world.sicken("h1");
    world.pass(120);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Suppressed { .. });
}

#[test]
fn a_silence_on_one_alert_of_a_host_also_stops_its_other_alerts() {
    let mut world = World::of_hosts(4);
    world.silence("HostCheckFailed", "h1");
    world.sicken("h1");
    world.pass(60);
    world.tell_only("am1", "DiskFull", "h1");
    world.pass(60);
    assert!(world.is_on("h1"), "the person said: leave this host as it is");
}

#[test]
fn an_alert_without_a_known_host_changes_nothing_and_is_counted() {
    let mut world = World::of_hosts(2);
    world.add_node("127.0.0.9");
    world.round(ROUND);
    let before = world.hosts.clone();
    world.tell_only("am1", "DiskFull", "h9");
    world.tell_only("am1", "DiskFull", "H1.lab");
    world.tell_only("am2", "DiskFull", "127.0.0.1:9105");
    world.tell_only("am2", "DiskFull", "127.0.0.9:9105");
    world.round(ROUND);
    assert_eq!(world.hosts, before);
    let unmatched: Vec<(&str, Option<&str>)> = world
        .last_plan()
        .unmatched
        .iter()
        .map(|it| (it.host.as_str(), it.near_miss.as_ref().map(crate::HostName::as_str)))
        .collect();
    let wanted = [
        ("127.0.0.1:9105", None),
        ("127.0.0.9:9105", Some("127.0.0.9")),
        ("H1.lab", Some("h1")),
        ("h9", None),
    ];
    assert_eq!(unmatched, wanted);
}

#[test]
fn an_alert_that_no_rule_matches_is_no_concern() {
    let mut world = World::of_hosts(2);
    world.policy.rules.remove(0);
    world.sicken("h1");
    world.pass(120);
    assert!(world.is_on("h1") && world.last_plan().unmatched.is_empty());
}

#[test]
fn a_silence_on_an_alert_that_no_rule_matches_freezes_nothing() {
    let mut world = World::of_hosts(4);
    world.policy.rules[0].matchers = r#"alertname="HostCheckFailed""#.parse().unwrap();
    world.silence("DiskFull", "h1");
    world.tell_only("am1", "DiskFull", "h1");
    world.lose("h1");
    world.heal("h1");
    for _ in 0..5 {
        world.tell_only("am1", "DiskFull", "h1");
        world.pass(60);
    }
    world.until(60, |world| world.is_on("h1"));
}

#[test]
fn a_host_that_was_lost_lately_can_still_go_off() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.node("h1").agent = Agent::Lost;
    world.pass(120);
    world.node("h1").silent = true;
    // It is away already, and still fits into a budget of one: itself.
    world.until(60, |world| world.is_off("h1"));
    assert_eq!(world.document("h1").listing.state, ListingState::Unlisted);
}

#[test]
fn a_host_that_no_master_has_listed_for_long_leaves_though_its_alert_fires() {
    let mut world = World::of_hosts(4);
    world.node("h1").agent = Agent::Lost;
    world.node("h1").silent = true;
    world.round(ROUND);
    world.policy.retire_after = Duration::from_secs(3600);
    world.pass(3500);
    assert!(world.hosts.contains_key("h1"));
    world.pass(200);
    assert!(!world.hosts.contains_key("h1"));
}

#[test]
fn i16_no_leading_master_stops_taking_off() {
    let mut world = World::of_hosts(4);
    world.leaderless = Some("two masters say that they lead".into());
    world.sicken("h1");
    world.pass(120);
    assert!(world.is_on("h1") && world.is_blind("mesos"));
    assert_blocked!(world, "h1", Block::NoLeader(_));
    world.leaderless = None;
    world.until(ROUND, |world| world.is_off("h1"));
}

#[test]
fn i16_one_dead_alertmanager_does_not_stop_taking_off() {
    let mut world = World::of_hosts(4);
    world.alertmanager("am1").kill();
    world.sicken("h1");
    world.until(60, |world| world.is_off("h1"));
    assert!(world.is_blind("alertmanager/am1"));
}

#[test]
fn i5_with_every_alertmanager_away_nothing_changes() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    world.heal("h1");
    world.sicken("h2");
    world.pass(1800);
    assert_eq!(world.hosts_off(), ["h1"]);
    assert!(world.is_blind("alertmanager/am1") && world.is_blind("alertmanager/am2"));
}

#[test]
fn a_cold_alertmanager_does_not_stop_an_off_that_waits_for_nothing() {
    let mut world = World::of_hosts(4);
    world.alertmanager("am2").kill();
    world.pass(60);
    world.restart_alertmanager("am1");
    world.sicken("h1");
    world.until(60, |world| world.is_off("h1"));
}

#[test]
fn an_off_waits_until_the_alert_has_fired_for_as_long_as_the_rule_wants() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 120);
    world.sicken("h1");
    let seen = world.until(60, |world| !world.blocks("h1").is_empty());
    assert_blocked!(world, "h1", Block::FiresTooShort { .. });
    let took = world.until(300, |world| world.is_off("h1"));
    assert_eq!(took, 120, "counted from its first sight, {seen} s after the check failed");
}

#[test]
fn an_alert_that_stops_before_its_time_begins_again_from_nothing() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 120);
    world.sicken("h1");
    world.pass(105);
    world.heal("h1");
    world.pass(60);
    world.sicken("h1");
    world.pass(105);
    assert!(world.is_on("h1"));
    world.until(60, |world| world.is_off("h1"));
}

#[test]
fn firing_is_not_counted_where_the_watchdog_is_missing() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 120);
    world.policy.watchdogs = vec![r#"alertname="Watchdog",prometheus="p2""#.parse().unwrap()];
    world.sicken("h1");
    world.pass(600);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::FiresTooShort { fired: Duration::ZERO, .. });
    assert_blocked!(world, "h1", Block::NotCounted { .. });
}

#[test]
fn firing_is_not_counted_at_a_cold_alertmanager() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 60);
    world.alertmanager("am2").kill();
    world.restart_alertmanager("am1");
    let restarted = world.now;
    world.sicken("h1");
    world.until(600, |world| world.is_off("h1"));
    assert!(world.now - restarted >= 120 + 60, "two resend delays until warm, then the rule's");
}

#[test]
fn the_time_of_a_round_that_saw_no_alertmanager_is_not_counted() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 120);
    world.sicken("h1");
    world.pass(90);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    world.pass(600);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
    world.round(ROUND);
    assert!(world.is_on("h1"), "ten minutes in which nobody looked prove nothing");
    world.until(180, |world| world.is_off("h1"));
}

#[test]
fn the_time_under_a_silence_is_not_counted() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 120);
    world.silence("HostCheckFailed", "h1");
    world.sicken("h1");
    world.pass(600);
    world.unsilence("HostCheckFailed", "h1");
    world.round(ROUND);
    assert!(world.is_on("h1"), "a rule wants its alert to fire unsuppressed for so long");
    assert_blocked!(world, "h1", Block::FiresTooShort { .. });
    world.until(180, |world| world.is_off("h1"));
}

#[test]
fn the_first_rule_that_matches_is_the_alerts_rule() {
    let mut world = World::of_hosts(4);
    let mut patient = world.policy.rules[0].clone();
    patient.name = "patient".into();
    patient.action = Action::Off { fires_for: Duration::from_secs(300), min_off: Duration::ZERO };
    world.policy.rules.insert(0, patient);
    world.sicken("h1");
    world.pass(120);
    assert_blocked!(world, "h1", Block::FiresTooShort { .. });
    world.until(300, |world| world.is_off("h1"));
    assert_eq!(world.document("h1").alert_causes().next().unwrap().0, "patient");
}

#[test]
fn each_rule_counts_for_itself_how_long_an_alert_has_fired() {
    let mut world = World::of_hosts(4);
    let mut mild = world.policy.rules[0].clone();
    mild.name = "mild".into();
    mild.matchers = r#"remediate="host",severity="warning""#.parse().unwrap();
    mild.action = Action::Off { fires_for: Duration::from_secs(7200), min_off: Duration::ZERO };
    wants_firing_for(&mut world, 600);
    world.policy.rules.insert(0, mild);
    let mut warning = labels("DiskFull", "h1");
    warning.insert("severity".into(), "warning".into());
    let (now, ends) = (world.now, world.now + 7200);
    world.alertmanager("am1").receive(warning, now, ends, now);
    world.pass(900);
    let (now, ends) = (world.now, world.now + 7200);
    world.alertmanager("am1").receive(labels("DiskFull", "h1"), now, ends, now);
    world.pass(600);
    assert!(world.is_on("h1"), "what is worse has only begun:\n{}", world.tell());
    world.until(2 * ROUND, |world| world.is_off("h1"));
    assert_eq!(world.document("h1").alert_causes().next().unwrap().0, "host-check");
}

#[test]
fn how_long_an_alert_has_fired_is_told_once_and_as_its_best_witness_counts_it() {
    let mut world = World::of_hosts(4);
    wants_firing_for(&mut world, 300);
    world.sicken("h1");
    world.pass(60);
    world.alertmanager("am1").settled = false;
    world.pass(60);
    let counts = |it: &&Block| matches!(it, Block::FiresTooShort { .. });
    let told: Vec<&Block> = world.blocks("h1").iter().filter(counts).collect();
    let [Block::FiresTooShort { fired, .. }] = told[..] else {
        panic!("told other than once: {told:?}");
    };
    assert_eq!(*fired, Duration::from_secs(105), "am2 has shown it all the time");
    assert!(!world.is_blocked("h1", |it| matches!(it, Block::NotCounted { .. })), "am2 counts");
}

#[test]
fn on_a_host_that_is_off_an_alert_becomes_a_cause_without_gates() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.lose("h1");
    world.cluster.losing_tasks = true;
    world.pass(30);
    world.tell_only("am2", "DiskFull", "h1");
    world.round(ROUND);
    let causes: Vec<&str> =
        world.document("h1").alert_causes().map(|(_, _, it)| it.alertname.as_str()).collect();
    assert_eq!(causes, ["HostCheckFailed", "DiskFull"]);
    let recorded = &world.journal.last().unwrap().1;
    assert_eq!((recorded.what, recorded.time), (What::Cause, at(world.now)));
    assert_eq!(world.document("h1").transitions.len(), 1, "it is no transition");
}

#[test]
fn an_alert_that_one_alertmanager_still_shows_unsilenced_becomes_no_cause() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    let silenced = crate::facts::Suppression::Silenced(vec!["s1".into()]);
    world.alertmanager("am1").suppress(labels("DiskFull", "h1"), silenced);
    world.tell_only("am1", "DiskFull", "h1");
    world.tell_only("am2", "DiskFull", "h1");
    world.round(ROUND);
    assert_eq!(world.document("h1").causes.len(), 1, "{}", world.tell());
}
