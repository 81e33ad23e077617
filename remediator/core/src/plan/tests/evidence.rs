//! Whether somebody positively says that a host is well.
//!
//! In most of these the alert is told by hand at the Alertmanagers and has long
//! been believed gone: what is left is the word of a Prometheus.

use std::time::Duration;

use super::{
    peers::{Agent, EXPIRY, Prometheus, Seconds, at},
    world::{Happening, ROUND, World, assert_blocked},
};
use crate::{
    State,
    facts::{ActiveAlert, Scrapes},
    plan::{Block, plan},
    policy::{Action, Rule},
    time::earlier,
};

/// h1 is off, and nothing but evidence keeps it from returning, from now on.
fn only_evidence_is_missing(lack: impl FnOnce(&mut World)) -> World {
    let mut world = World::of_hosts(4);
    let no_wait = Duration::ZERO;
    world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
    // Long enough for the last good scrape to grow old.
    world.policy.clear_for = Duration::from_secs(240);
    world.lose("h1");
    world.heal("h1");
    world.pass(30);
    lack(&mut world);
    world
}

/// The Alertmanagers say the alert is gone, whatever the Prometheus does.
fn clear_the_alertmanagers(world: &mut World) {
    for url in ["am1", "am2"] {
        world.resolve_only(url, "HostCheckFailed", "h1");
    }
}

fn lacks(world: &World) -> String {
    let lack = world.blocks("h1").iter().find_map(|it| match it {
        Block::NoEvidence(lack) => Some(lack.clone()),
        _ => None,
    });
    lack.unwrap_or_default()
}

#[test]
fn i15_a_host_whose_evidence_is_missing_is_not_given_back() {
    let cases: [(&str, Happening); 6] = [
        ("could not scrape its exporter", |world| world.node("h1").silent = true),
        ("last scraped it at", |world| world.prometheus[0].scrapes = false),
        ("does not answer", World::kill_prometheus),
        ("cannot evaluate ExporterSilent", |world| {
            world.prometheus[0].rule("ExporterSilent").fails = true;
        }),
        ("has no rule HostCheckFailed that could complain; if it was renamed", |world| {
            world.prometheus[0].rules.retain(|rule| rule.name != "HostCheckFailed");
        }),
        ("could complain; if it was renamed or removed, `satctl on`", |world| {
            world.prometheus[0].rules.retain(|rule| rule.name == "Watchdog");
        }),
    ];
    for (wanted, lack) in cases {
        let mut world = only_evidence_is_missing(lack);
        // Less than the 5 minutes after which Prometheus itself forgets a sample.
        world.pass(210);
        assert!(world.is_off("h1"), "{wanted}");
        assert!(lacks(&world).contains(wanted), "{wanted:?} is not in {:?}", lacks(&world));
        world.pass(1800);
        assert!(world.is_off("h1") && !lacks(&world).is_empty(), "{wanted}");
    }
}

/// h1 is off by a rule of the policy on an alert that has no remediate label.
fn off_by_an_alert_without_a_label() -> World {
    let mut world = World::of_hosts(4);
    let no_wait = Duration::ZERO;
    world.policy.rules.push(Rule {
        name: "by-name".into(),
        matchers: r#"alertname="HostCheckFailed""#.parse().unwrap(),
        action: Action::Off { fires_for: no_wait, min_off: no_wait },
    });
    world.prometheus[0].rule("HostCheckFailed").labelled = false;
    world.lose("h1");
    world
}

#[test]
fn a_host_that_an_alert_without_a_remediate_label_took_off_is_given_back() {
    let mut world = off_by_an_alert_without_a_label();
    world.heal("h1");
    world.until(600, |world| world.is_on("h1"));
}

#[test]
fn an_alert_without_a_remediate_label_that_took_a_host_off_is_a_complaint() {
    let mut world = off_by_an_alert_without_a_label();
    world.prometheus[0].rule("HostCheckFailed").waits = 7200;
    // The rule has another severity now, and the policy none for it: what took the
    // host off counts by its name.
    world.policy.rules.pop();
    clear_the_alertmanagers(&mut world);
    world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
    world.pass(90);
    assert_eq!(lacks(&world), "p1 has HostCheckFailed firing");
}

#[test]
fn the_rule_without_a_label_that_took_a_host_off_must_work_and_have_looked() {
    let mut world = off_by_an_alert_without_a_label();
    world.heal("h1");
    world.pass(45);
    world.prometheus[0].rule("HostCheckFailed").fails = true;
    world.until(900, |world| lacks(world).contains("cannot evaluate HostCheckFailed"));
    world.policy.rules.pop();
    world.pass(60);
    assert!(lacks(&world).contains("cannot evaluate HostCheckFailed"), "{}", lacks(&world));
    assert!(!world.is_blind("prometheus/p1"), "no rule of the policy is concerned");
}

#[test]
fn a_rule_that_concerns_nobody_may_fail() {
    let mut world = only_evidence_is_missing(|world| {
        let rule = world.prometheus[0].rule("DiskFull");
        (rule.labelled, rule.fails) = (false, true);
    });
    world.until(900, |world| world.is_on("h1"));
    assert!(!world.is_blind("prometheus/p1"));
}

#[test]
fn a_prometheus_without_a_rule_that_concerns_anybody_is_blind() {
    let mut world = World::of_hosts(2);
    world.prometheus[0].rules.retain(|rule| rule.name == "Watchdog");
    world.round(ROUND);
    assert!(world.is_blind("prometheus/p1"));
}

#[test]
fn a_host_that_no_prometheus_scrapes_is_not_given_back() {
    let mut world = only_evidence_is_missing(|world| world.prometheus[0].scrapes = false);
    world.pass(1800);
    assert!(world.is_off("h1"));
    assert_eq!(lacks(&world), "p1 does not scrape it");
}

#[test]
fn i15_an_alert_that_is_pending_stops_giving_back() {
    let mut world = only_evidence_is_missing(|world| {
        world.prometheus[0].rule("HostCheckFailed").waits = 3600;
        world.sicken("h1");
    });
    world.pass(1800);
    assert!(world.is_off("h1"));
    assert_eq!(lacks(&world), "p1 has HostCheckFailed pending");
}

/// It looks at its rules before it has scraped anybody again, and complains of nobody.
#[test]
fn i15_a_complaint_that_was_lost_in_a_restart_that_nobody_saw_is_not_over() {
    for restarted_at in 1..ROUND {
        let mut world = only_evidence_is_missing(|world| {
            world.prometheus[0].rule("HostCheckFailed").waits = 3600;
            world.sicken("h1");
        });
        // Rounds come after a scrape and before the next evaluation.
        world.let_time_pass(6);
        world.pass(1800);
        assert_eq!(lacks(&world), "p1 has HostCheckFailed pending");
        world.let_time_pass(restarted_at);
        world.prometheus[0].restart_empty();
        world.round(ROUND - restarted_at);
        world.pass(120);
        assert!(world.is_off("h1"), "restarted at {restarted_at}:\n{}", world.tell());
    }
}

#[test]
fn i15_a_complaint_is_found_among_those_of_other_hosts() {
    let mut world = World::of_hosts(4);
    world.add_node("h0");
    world.pass(60);
    world.lose("h1");
    world.prometheus[0].rule("HostCheckFailed").waits = 7200;
    world.sicken("h0");
    world.heal("h1");
    world.pass(30);
    world.sicken("h1");
    world.pass(1800);
    assert_eq!(lacks(&world), "p1 has HostCheckFailed pending");
}

#[test]
fn i15_a_complaint_counts_by_its_label_or_by_a_rule_of_the_policy() {
    let by_label = [("alertname", "Rebooting"), ("remediate", "later")];
    let by_rule = [("alertname", "DiskFull"), ("remediate", "")];
    for labels in [by_label, by_rule] {
        let mut world = only_evidence_is_missing(|_| {});
        world.policy.rules.push(Rule {
            name: "disk".into(),
            matchers: r#"alertname="DiskFull""#.parse().unwrap(),
            action: world.policy.rules[0].action.clone(),
        });
        let is_ready = |world: &World| !world.plan_now().changes.is_empty();
        for _ in 0..100 {
            world.let_time_pass(ROUND);
            if is_ready(&world) {
                break;
            }
            world.decide();
        }
        assert!(is_ready(&world), "{}", world.tell());
        let mut facts = world.facts();
        let labels = labels.into_iter().chain([("host", "h1")]);
        facts.prometheus.get_mut("p1").unwrap().as_mut().unwrap().active.push(ActiveAlert {
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            firing: false,
            value: "1".into(),
        });
        let state = State {
            hosts: &world.hosts,
            automation: &world.automation,
            inherited: &world.inherited,
        };
        let plan = plan(&facts, state, &world.policy, &world.memory, world.clock());
        assert!(plan.changes.is_empty(), "{:?}", plan.changes);
    }
}

#[test]
fn an_alert_that_fires_at_prometheus_only_stops_giving_back() {
    let mut world = only_evidence_is_missing(|world| {
        world.sicken("h1");
        world.let_time_pass(15);
        clear_the_alertmanagers(world);
        world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
    });
    world.pass(60);
    assert_eq!(lacks(&world), "p1 has HostCheckFailed firing");
}

#[test]
fn a_rule_that_was_not_evaluated_since_the_scrape_stops_giving_back() {
    let mut world = World::of_hosts(2);
    world.policy.clear_for = Duration::ZERO;
    let no_wait = Duration::ZERO;
    world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
    world.lose("h1");
    world.node("h1").silent = true;
    world.pass(60);
    // Well again, and scraped, but the rule has not looked at that scrape yet.
    world.heal("h1");
    world.node("h1").silent = false;
    world.let_time_pass(5);
    clear_the_alertmanagers(&mut world);
    world.decide();
    assert!(world.is_off("h1"));
    let lack = lacks(&world);
    assert!(lack.contains("firing") || lack.contains("has not evaluated"), "{lack}");
}

#[test]
fn a_rule_that_was_evaluated_while_the_scrape_was_under_way_has_not_seen_it() {
    let mut world = only_evidence_is_missing(|world| world.prometheus[0].scrapes = false);
    world.pass(1800);
    let mut facts = world.facts();
    let prometheus = facts.prometheus.get_mut("p1").unwrap().as_mut().unwrap();
    let ago = |seconds| earlier(at(world.now), Duration::from_secs(seconds));
    // It began six seconds ago, took five, and what it brought looks well.
    prometheus.up.insert("h1".into(), Scrapes::one(true, ago(6)));
    prometheus.rules.iter_mut().for_each(|rule| rule.evaluated_at = Some(ago(3)));
    let state =
        State { hosts: &world.hosts, automation: &world.automation, inherited: &world.inherited };
    let plan = plan(&facts, state, &world.policy, &world.memory, world.clock());
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
    world.prometheus[0].scrapes = true;
    world.until(60, |world| world.is_on("h1"));
}

/// Whether a block is the one that is looked for.
type Named = fn(&Block) -> bool;

#[test]
fn i16_no_leading_master_and_no_working_agent_stop_giving_back() {
    let cases: [(Named, Happening); 4] = [
        (|it| matches!(it, Block::NoLeader(_)), |it| it.leaderless = Some("no answer".into())),
        (|it| matches!(it, Block::NotRegistered), |it| it.node("h1").agent = Agent::Lost),
        (|it| matches!(it, Block::NotRegistered), |it| it.node("h1").agent = Agent::Recovered),
        (|it| matches!(it, Block::NotActive), |it| it.node("h1").agent = Agent::Inactive),
    ];
    for (block, lack) in cases {
        let mut world = only_evidence_is_missing(lack);
        world.pass(1800);
        assert!(world.is_off("h1"));
        assert!(world.is_blocked("h1", block), "{}", world.tell());
        world.leaderless = None;
        world.node("h1").agent = Agent::Registered;
        world.until(300, |world| world.is_on("h1"));
    }
}

/// Kills Prometheus while a host is off, at one instant and for one time, and
/// starts it while the host is still sick.
fn survives_a_dead_prometheus(killed_after: Seconds, dead_for: Seconds, waits: Seconds) {
    let mut world = World::of_hosts(2);
    let no_wait = Duration::ZERO;
    world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
    world.lose("h1");
    // After its restart the alert has to be pending first.
    world.prometheus[0].rule("HostCheckFailed").waits = waits;
    world.pass(killed_after);
    world.kill_prometheus();
    world.pass(dead_for);
    world.start_prometheus();
    for _ in 0..(waits + 600) / 5 {
        world.round(5);
        assert!(
            world.is_off("h1"),
            "killed after {killed_after} s for {dead_for} s:\n{}",
            world.tell()
        );
    }
    world.heal("h1");
    world.until(600 + waits, |world| world.is_on("h1"));
}

#[test]
fn i15_a_sick_host_is_not_given_back_whenever_prometheus_is_killed() {
    for killed_after in [0, 5, 10, 15, 45, 60, 65, 70] {
        for dead_for in [5, 10, 15, 60, EXPIRY - 5, EXPIRY, EXPIRY + 65, 1800] {
            survives_a_dead_prometheus(killed_after, dead_for, 0);
        }
    }
}

#[test]
fn i15_a_host_whose_alert_is_pending_again_is_not_given_back() {
    for dead_for in [5, 15, 60, EXPIRY + 5, 1800] {
        survives_a_dead_prometheus(35, dead_for, 600);
    }
}

#[test]
fn i15_nor_when_remediator_and_prometheus_are_restarted_together() {
    for dead_for in [5, 60, 1800] {
        let mut world = World::of_hosts(2);
        let no_wait = Duration::ZERO;
        world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
        world.lose("h1");
        world.prometheus[0].rule("HostCheckFailed").waits = 900;
        world.kill_prometheus();
        world.let_time_pass(dead_for);
        world.start_prometheus();
        world.restart();
        for _ in 0..200 {
            world.round(5);
            assert!(world.is_off("h1"), "dead for {dead_for} s:\n{}", world.tell());
        }
    }
}

/// Two Prometheus servers that scrape the same hosts, each with its Watchdog.
fn two_of_them() -> World {
    only_evidence_is_missing(|world| {
        world.prometheus.push(Prometheus::new("p2"));
        world.policy.watchdogs.push(r#"alertname="Watchdog",prometheus="p2""#.parse().unwrap());
    })
}

#[test]
fn one_prometheus_that_says_well_is_enough() {
    let mut world = two_of_them();
    world.prometheus[1].scrapes = false;
    world.until(600, |world| world.is_on("h1"));
}

#[test]
fn the_evidence_of_two_is_not_put_together() {
    let mut world = two_of_them();
    // One scrapes and has the alert pending; the other has no complaint, since
    // it does not scrape.
    world.prometheus[0].rule("HostCheckFailed").waits = 7200;
    world.prometheus[1].scrapes = false;
    world.sicken("h1");
    world.pass(3600);
    assert!(world.is_off("h1"));
    assert_eq!(lacks(&world), "p1 has HostCheckFailed pending; p2 does not scrape it");
}

#[test]
fn a_flapping_exporter_is_well_only_from_its_last_return() {
    let mut world = only_evidence_is_missing(|world| world.node("h1").silent = true);
    world.pass(300);
    world.node("h1").silent = false;
    world.until(600, |world| world.is_on("h1"));
    assert!(world.document("h1").causes.is_empty());
}

#[test]
fn a_prometheus_that_is_blind_is_named_with_the_time() {
    let mut world = World::of_hosts(2);
    world.kill_prometheus();
    world.round(ROUND);
    let since = world.clock().wall;
    world.pass(120);
    let blind = &world.last_plan().blind[0];
    assert_eq!((blind.source.as_str(), blind.since), ("prometheus/p1", since));
    world.start_prometheus();
    world.pass(60);
    assert!(world.last_plan().blind.is_empty());
    assert_blocked_by_nothing(&world);
}

fn assert_blocked_by_nothing(world: &World) {
    assert!(world.last_plan().outlooks.values().all(|it| it.blocked_by.is_empty()));
}

#[test]
fn min_off_is_waited_for_even_if_all_else_is_well() {
    let mut world = World::of_hosts(4);
    world.policy.rules[0].action =
        Action::Off { fires_for: Duration::ZERO, min_off: Duration::from_secs(1800) };
    world.lose("h1");
    let off_since = world.now;
    world.heal("h1");
    world.pass(900);
    assert_blocked!(world, "h1", Block::MinOff(_));
    assert_eq!(world.blocks("h1").len(), 1);
    world.until(1800, |world| world.is_on("h1"));
    assert_eq!(world.now - off_since, 1800);
}

#[test]
fn i15_a_rule_that_has_stalled_says_nothing_of_now() {
    let mut world = only_evidence_is_missing(|world| world.prometheus[0].scrapes = false);
    world.pass(1800);
    // It is scraped well again, and then its rules are evaluated no more, whatever comes.
    world.prometheus[0].scrapes = true;
    world.let_time_pass(10);
    let mut facts = world.facts();
    let prometheus = facts.prometheus.get_mut("p1").unwrap().as_mut().unwrap();
    prometheus.now = at(world.now + 60);
    prometheus.up.insert("h1".into(), Scrapes::one(true, at(world.now + 55)));
    prometheus.rules.iter_mut().for_each(|rule| rule.evaluated_at = Some(at(world.now)));
    let state =
        State { hosts: &world.hosts, automation: &world.automation, inherited: &world.inherited };
    let plan = plan(&facts, state, &world.policy, &world.memory, world.clock());
    let blind = plan.blind.iter().find(|it| it.source == "prometheus/p1").unwrap();
    assert!(blind.reason.contains("has not evaluated"), "{}", blind.reason);
    assert!(plan.changes.is_empty(), "{:?}", plan.changes);
}
