//! What a person reads who asks why a host is as it is.

use std::time::Duration;

use insta::assert_snapshot;

use super::{
    peers::{Agent, at, labels},
    world::{ROUND, World},
};
use crate::{
    document::{ManualEvent, Pause, Verdict},
    facts::FoundFile,
    manual,
    policy::{Action, NewHosts},
};

#[test]
fn a_host_that_is_well() {
    let world = World::of_hosts(4);
    assert_snapshot!(world.explain("h1"), @"h1 is on; its agent is registered.");
}

#[test]
fn a_host_before_the_first_round() {
    let mut world = World::of_hosts(4);
    world.plan = None;
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
    No round has looked at it as it is now: what happens next is not known yet.
    ");
}

#[test]
fn a_host_that_has_just_gone_off() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (0s); its agent is registered.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:05:15Z
    "#);
}

#[test]
fn a_host_whose_alert_fires() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.pass(600);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (10m); its agent is registered.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:05:15Z
    Before it returns:
      - HostCheckFailed fires at am1
      - no Prometheus says that it is well: p1 has HostCheckFailed firing
    Looked at in every round.
    "#);
}

#[test]
fn a_host_that_waits_for_clear_for_and_min_off() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (1m); its agent is registered.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:05:15Z
    Before it returns:
      - HostCheckFailed must stay gone for policy.clear_for, until 2027-01-15T09:07:30Z
      - it stays off for min_off, until 2027-01-15T09:10:15Z
    Looked at in every round; the next wait ends 2027-01-15T09:07:30Z.
    "#);
}

#[test]
fn a_host_whose_alertmanager_is_away() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.alertmanager("am2").kill();
    world.pass(600);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (10m); its agent is registered.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:05:15Z
    Before it returns:
      - HostCheckFailed is not shown any more, but its end is not believed: am2 does not answer: connection refused
    Looked at in every round.
    "#);
}

#[test]
fn a_host_whose_alertmanager_has_just_been_restarted() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.pass(600);
    world.lose("h1");
    world.heal("h1");
    world.restart_alertmanager("am1");
    world.pass(45);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:15:30Z (45s); its agent is registered.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:15:30Z
    Before it returns:
      - HostCheckFailed is not shown any more, but its end is not believed: am1 was started too lately to know all alerts, until 2027-01-15T09:17:30Z
      - it stays off for min_off, until 2027-01-15T09:25:30Z
    Looked at in every round; the next wait ends 2027-01-15T09:25:30Z.
    "#);
}

#[test]
fn a_host_whose_prometheus_died() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.kill_prometheus();
    world.pass(600);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (10m); its agent is registered.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:05:15Z
    Before it returns:
      - HostCheckFailed is not shown any more, but its end is not believed: am1 does not show the Watchdog {alertname="Watchdog", prometheus="p1"}
      - no Prometheus says that it is well: p1 does not answer: connection refused
    Looked at in every round.
    "#);
}

#[test]
fn a_host_whose_agent_has_not_come_back() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.heal("h1");
    world.fail_over();
    world.pass(600);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (10m); its agent has not come back since the last fail-over.
      - HostCheckFailed{host="h1", remediate="host"} = 1 (rule host-check), since 2027-01-15T09:05:15Z
    Before it returns:
      - its agent is not registered with the leading master
    Looked at in every round.
    "#);
}

#[test]
fn a_sick_host_under_a_silence() {
    let mut world = World::of_hosts(4);
    world.silence("HostCheckFailed", "h1");
    world.sicken("h1");
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
    Why it is not taken off:
      - HostCheckFailed is silenced by s1 at am1: the host stays as it is until that ends
      - HostCheckFailed is silenced by s1 at am2: the host stays as it is until that ends
    Looked at in every round.
    ");
}

#[test]
fn a_sick_host_that_hold_and_budget_keep_in() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.share = "20%".parse().unwrap();
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
    Why it is not taken off:
      - hold by TasksLost (rule tasks-lost), so that nothing is taken off: it fires at am1
      - budget: 0 of 4 hosts are away already and policy.budget.max_off allows 0
    Looked at in every round; the next wait ends 2027-01-15T09:15:15Z.
    ");
}

#[test]
fn a_sick_host_that_a_hold_keeps_in_whose_alert_fires_no_more() {
    let mut world = World::of_hosts(4);
    world.cluster.losing_tasks = true;
    world.pass(60);
    world.sicken("h1");
    world.cluster.losing_tasks = false;
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
    Why it is not taken off:
      - hold by TasksLost (rule tasks-lost), so that nothing is taken off: it must stay gone until 2027-01-15T09:08:15Z
    Looked at in every round; the next wait ends 2027-01-15T09:15:15Z.
    ");
    world.kill_prometheus();
    world.tell_only("am1", "TasksLost", "");
    world.pass(300);
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    let told = world.explain("h1");
    let doubt = "so that nothing is taken off: its end is not believed: am1";
    assert!(told.contains(doubt), "{told}");
}

#[test]
fn a_sick_host_whose_alert_has_not_fired_for_long_enough() {
    let mut world = World::of_hosts(4);
    world.policy.rules[0].action =
        Action::Off { fires_for: Duration::from_secs(300), min_off: Duration::ZERO };
    world.sicken("h1");
    world.pass(150);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
    Why it is not taken off:
      - HostCheckFailed has fired for 2m 15s of the 5m that rule host-check wants
    Looked at in every round.
    ");
}

#[test]
fn a_sick_host_whose_alert_is_shown_by_an_alertmanager_that_lacks_the_watchdog() {
    let mut world = World::of_hosts(4);
    world.policy.rules[0].action =
        Action::Off { fires_for: Duration::from_secs(300), min_off: Duration::ZERO };
    world.sicken("h1");
    world.pass(150);
    world.policy.watchdogs = vec![r#"alertname="Watchdog",prometheus="p2""#.parse().unwrap()];
    world.pass(600);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is on; its agent is registered.
    Why it is not taken off:
      - HostCheckFailed has fired for 2m 15s of the 5m that rule host-check wants
      - how long HostCheckFailed fires is not counted: am1 does not show the Watchdog {alertname="Watchdog", prometheus="p2"}
    Looked at in every round.
    "#);
}

#[test]
fn a_sick_host_that_a_person_keeps_on() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.say("h1", Verdict::On, Some(7200));
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
      - manual on by ops, until 2027-01-15T11:05:15Z: disk swap (event e1)
    ");
}

#[test]
fn a_sick_host_that_a_person_and_a_pause_keep_on() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.say("h1", Verdict::On, None);
    let (by, reason) = ("ops".to_owned(), "upgrade".to_owned());
    let (since, until) = (at(world.now), at(world.now + 3600));
    world.automation.pause = Some(Pause { by, reason, since, until, all: false });
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is on; its agent is registered.
      - manual on by ops, until it is taken back: disk swap (event e1)
    Why it is not taken off:
      - paused by ops until 2027-01-15T10:05:15Z: upgrade
    Looked at in every round; the next wait ends 2027-01-15T10:05:15Z.
    ");
}

#[test]
fn a_host_that_a_person_keeps_off() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, None);
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is off since 2027-01-15T09:05:00Z (1m); its agent is registered.
      - manual off by ops, until it is taken back: disk swap (event e1)
    Before it returns:
      - manual off by ops: disk swap
    Looked at in every round.
    ");
}

#[test]
fn a_host_whose_manual_off_expired_while_it_was_sick() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, Some(60));
    world.node("h1").agent = Agent::Lost;
    world.kill_prometheus();
    world.pass(120);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is off since 2027-01-15T09:05:00Z (2m); the leading master does not list its agent.
      - manual off by ops, expired 2027-01-15T09:06:00Z: disk swap (event e1)
    Before it returns:
      - its agent is not registered with the leading master
      - no Prometheus says that it is well: p1 does not answer: connection refused
    Looked at in every round.
    ");
}

#[test]
fn a_host_that_was_out_before_the_first_start() {
    let mut world = World::before_the_first_round(2);
    world.file = Ok(FoundFile::Lists(vec!["h2".parse().unwrap()]));
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is off since 2027-01-15T09:00:15Z (45s); its agent is registered.
      - it was not in the whitelist that was found or imported 2027-01-15T09:00:15Z
    Before it returns:
      - it was not in the whitelist when Satellite began, or in what was imported: `satctl on` lists it
    Looked at in every round.
    ");
}

#[test]
fn a_new_host_that_waits_for_a_person() {
    let mut world = World::before_the_first_round(2);
    world.policy.new_hosts = NewHosts::Off;
    world.pass(60);
    assert_snapshot!(world.explain("h1"), @r"
    h1 is off since 2027-01-15T09:00:15Z (45s); its agent is registered.
      - new hosts start off here (whitelist.new_hosts)
    Before it returns:
      - new hosts wait for a person here (whitelist.new_hosts): `satctl on` lists it
    Looked at in every round.
    ");
}

#[test]
fn i14_no_label_and_no_reason_breaks_out_of_its_line() {
    let mut world = World::of_hosts(4);
    let mut wild = labels("Disk\u{1b}[2JFull\nh1 is on.", "h1");
    wild.insert("path".into(), "/a\n/b".into());
    let (now, ends) = (world.now, world.now + 240);
    world.alertmanager("am1").receive(wild, now, ends, now);
    world.round(ROUND);
    let event = ManualEvent {
        state: Verdict::Off,
        reason: "swap\n  - and more".into(),
        author: "o\rps".into(),
        time: world.clock().wall,
        ttl: None,
    };
    manual::say(world.hosts.get_mut("h1").unwrap(), "e", event).unwrap();
    world.round(ROUND);
    assert_snapshot!(world.explain("h1"), @r#"
    h1 is off since 2027-01-15T09:05:15Z (15s); its agent is registered.
      - manual off by o\rps, until it is taken back: swap\n  - and more (event e)
      - Disk\u{1b}[2JFull\nh1 is on.{host="h1", path="/a\n/b", remediate="host"} (rule host-check), since 2027-01-15T09:05:15Z
    Before it returns:
      - manual off by o\rps: swap\n  - and more
      - Disk\u{1b}[2JFull\nh1 is on. fires at am1
      - no Prometheus says that it is well: p1 has no rule Disk\u{1b}[2JFull\nh1 is on. that could complain; if it was renamed or removed, `satctl on` gives the host back
      - it stays off for min_off, until 2027-01-15T09:10:15Z
    Looked at in every round; the next wait ends 2027-01-15T09:10:15Z.
    "#);
}
