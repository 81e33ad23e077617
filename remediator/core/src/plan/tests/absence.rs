//! When an alert that is not shown any more is believed to be gone.

use std::time::Duration;

use super::{
    peers::{EXPIRY, RESEND_DELAY, Seconds, at, labels},
    world::{ROUND, World, assert_blocked},
};
use crate::{plan::Block, policy::Action};

/// A world in which absence is all that keeps a host from returning.
fn patient(hosts: usize) -> World {
    let mut world = World::of_hosts(hosts);
    let no_wait = Duration::ZERO;
    world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
    world
}

/// The same, with h1 off by an alert that only am1 was ever told of.
fn told_at_am1_only() -> World {
    let mut world = patient(4);
    world.tell_only("am1", "HostCheckFailed", "h1");
    world.round(ROUND);
    assert!(world.is_off("h1"));
    world
}

fn doubts(world: &World) -> bool {
    world.is_blocked("h1", |it| matches!(it, Block::Doubt { .. }))
}

#[test]
fn an_alert_that_is_resolved_at_every_peer_is_gone_after_clear_for() {
    let mut world = patient(4);
    world.lose("h1");
    world.pass(60);
    world.heal("h1");
    let is_gone = |world: &World| world.is_blocked("h1", |it| matches!(it, Block::ClearFor { .. }));
    world.until(2 * ROUND, is_gone);
    assert_eq!(world.until(600, |world| world.is_on("h1")), 120);
}

#[test]
fn an_alert_that_returns_within_clear_for_begins_the_wait_anew() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.until(120, |world| world.is_blocked("h1", |it| matches!(it, Block::ClearFor { .. })));
    world.pass(60);
    world.sicken("h1");
    world.pass(30);
    assert_blocked!(world, "h1", Block::Fires { .. });
    world.heal("h1");
    world.until(120, |world| world.is_blocked("h1", |it| matches!(it, Block::ClearFor { .. })));
    world.pass(90);
    assert!(world.is_off("h1"));
    world.until(60, |world| world.is_on("h1"));
}

#[test]
fn i15_an_alert_that_ran_out_is_not_believed_gone() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
    world.pass(3600);
    assert!(world.is_off("h1"));
    assert!(doubts(&world));
}

#[test]
fn an_alert_that_ran_out_is_gone_once_a_watchdog_was_sent_after_its_end() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
    world.pass(EXPIRY + 60);
    assert!(doubts(&world));
    world.alertmanagers.iter_mut().for_each(|it| it.hears = true);
    world.until(RESEND_DELAY + 120 + 2 * ROUND, |world| world.is_on("h1"));
}

#[test]
fn a_watchdog_that_was_sent_in_the_instant_in_which_the_alert_ran_out_proves_nothing() {
    let mut world = patient(4);
    let is_just_sent = |world: &World| {
        let alertmanager = world.facts().alertmanagers.remove("am1").unwrap().unwrap();
        alertmanager.alerts.iter().any(|it| it.updated_at == at(world.now))
    };
    for _ in 0..RESEND_DELAY {
        if is_just_sent(&world) {
            break;
        }
        world.let_time_pass(5);
    }
    assert!(is_just_sent(&world));
    for url in ["am1", "am2"] {
        world.tell_only(url, "DiskFull", "h1");
    }
    world.decide();
    assert!(world.is_off("h1"));
    world.pass(EXPIRY + 45);
    assert!(doubts(&world), "{}", world.tell());
    world.until(RESEND_DELAY + 120, |world| world.is_on("h1"));
}

#[test]
fn an_alert_that_goes_just_before_it_would_run_out_is_not_taken_for_resolved() {
    let mut world = patient(4);
    for url in ["am1", "am2"] {
        world.tell_only(url, "DiskFull", "h1");
    }
    world.pass(EXPIRY - 45);
    for url in ["am1", "am2"] {
        world.resolve_only(url, "DiskFull", "h1");
    }
    world.round(ROUND);
    assert!(doubts(&world), "clocks differ by so much:\n{}", world.tell());
    world.until(45 + RESEND_DELAY + 120, |world| world.is_on("h1"));
}

#[test]
fn a_watchdog_that_runs_out_later_than_the_alert_proves_nothing() {
    let mut world = patient(4);
    world.lose("h1");
    world.pass(45);
    world.kill_prometheus();
    world.heal("h1");
    // Until the very end the Watchdog may be held while the alert is not.
    for _ in 0..EXPIRY {
        world.round(5);
        assert!(!world.is_blocked("h1", |it| matches!(it, Block::ClearFor { .. })));
    }
}

#[test]
fn i16_one_alertmanager_that_does_not_answer_stops_giving_back() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.alertmanager("am2").answers = false;
    world.pass(3600);
    assert!(world.is_off("h1") && doubts(&world) && world.is_blind("alertmanager/am2"));
    world.alertmanager("am2").answers = true;
    world.until(300, |world| world.is_on("h1"));
}

#[test]
fn an_alertmanager_that_has_not_settled_is_not_believed() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.alertmanager("am2").settled = false;
    world.pass(3600);
    assert!(world.is_off("h1") && doubts(&world));
}

#[test]
fn an_alertmanager_without_the_watchdog_is_not_believed_and_is_named_blind() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.policy.watchdogs.push(r#"alertname="Watchdog",prometheus="p2""#.parse().unwrap());
    world.pass(3600);
    assert!(world.is_off("h1") && doubts(&world));
    assert!(world.is_blind(r#"watchdog/{alertname="Watchdog", prometheus="p2"}"#));
}

#[test]
fn a_silenced_watchdog_is_still_a_watchdog() {
    let mut world = patient(4);
    let mut watchdog = labels("Watchdog", "");
    watchdog.insert("prometheus".into(), "p1".into());
    for url in ["am1", "am2"] {
        let how = crate::facts::Suppression::Silenced(vec!["s1".into()]);
        world.alertmanager(url).suppress(watchdog.clone(), how);
    }
    world.lose("h1");
    world.heal("h1");
    world.until(300, |world| world.is_on("h1"));
}

#[test]
fn a_cold_alertmanager_is_not_believed_after_its_restart() {
    let mut world = patient(4);
    world.lose("h1");
    world.restart_alertmanager("am1");
    world.restart_alertmanager("am2");
    let restarted = world.now;
    // The host is still sick, and nobody has been told again yet.
    world.round(5);
    assert!(doubts(&world));
    world.heal("h1");
    world.until(900, |world| world.is_on("h1"));
    assert!(world.now - restarted >= 2 * RESEND_DELAY + 120);
}

#[test]
fn an_alertmanager_that_is_restarted_while_prometheus_dies_is_not_believed() {
    let mut world = patient(4);
    world.lose("h1");
    for url in ["am1", "am2"] {
        world.restart_alertmanager(url);
        let (now, ends) = (world.now, world.now + EXPIRY);
        let mut watchdog = labels("Watchdog", "");
        watchdog.insert("prometheus".into(), "p1".into());
        // Sent once more just before Prometheus dies; the host's alert is not.
        world.alertmanager(url).receive(watchdog, 0, ends, now);
    }
    world.kill_prometheus();
    for _ in 0..2 * EXPIRY / 5 {
        world.round(5);
        assert!(doubts(&world), "{}", world.tell());
    }
}

#[test]
fn where_only_one_of_two_knew_the_alert_the_other_is_asked_for_a_later_watchdog() {
    let mut world = told_at_am1_only();
    world.resolve_only("am1", "HostCheckFailed", "h1");
    world.round(ROUND);
    assert!(doubts(&world), "am2 may be about to be told");
    let took = world.until(EXPIRY + RESEND_DELAY + 120 + ROUND, |world| world.is_on("h1"));
    assert!(took + 2 * ROUND >= EXPIRY + 120, "{took} s: what it was told may run so long");
}

#[test]
fn after_a_restart_of_the_remediator_an_alert_counts_as_just_seen() {
    let mut world = patient(4);
    world.lose("h1");
    world.heal("h1");
    world.let_time_pass(1800);
    world.restart();
    let took = world.until(EXPIRY + RESEND_DELAY + 120 + ROUND, |world| world.is_on("h1"));
    assert!(took >= EXPIRY + 120, "{took} s");
}

#[test]
fn each_alertmanager_answers_for_what_it_showed_itself() {
    let mut world = told_at_am1_only();
    for _ in 0..8 {
        world.pass(45);
        world.tell_only("am1", "HostCheckFailed", "h1");
    }
    // am2 misses the Watchdog that am1 is sent after the end of its alert. It
    // never showed the alert, so that its last Watchdog is late enough.
    world.pass(EXPIRY - RESEND_DELAY);
    world.alertmanager("am2").hears = false;
    world.until(2 * RESEND_DELAY + ROUND, |world| {
        world.is_blocked("h1", |it| matches!(it, Block::ClearFor { .. }))
    });
}

#[test]
fn while_one_of_two_still_shows_the_alert_it_fires() {
    let mut world = patient(4);
    world.lose("h1");
    world.alertmanager("am2").hears = false;
    world.heal("h1");
    world.pass(60);
    assert_blocked!(world, "h1", Block::Fires { .. });
    world.alertmanager("am2").hears = true;
    world.until(600, |world| world.is_on("h1"));
}

#[test]
fn i15_over_every_instant_of_a_prometheus_death_the_absence_is_not_believed() {
    for killed_after in (0..75).step_by(5) {
        let mut world = patient(2);
        world.lose("h1");
        world.pass(killed_after);
        world.kill_prometheus();
        for _ in 0..60 {
            world.round(10);
            let believed = world.is_blocked("h1", |it| matches!(it, Block::ClearFor { .. }));
            assert!(!believed, "killed after {killed_after} s:\n{}", world.tell());
        }
    }
}

#[test]
fn i8_a_host_with_two_causes_stays_until_both_are_gone() {
    let mut world = patient(4);
    world.lose("h1");
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    world.heal("h1");
    let told: Seconds = world.now;
    world.until(900, |world| world.is_on("h1"));
    assert!(world.now - told > EXPIRY, "DiskFull has to run out and be missed");
    assert!(world.document("h1").causes.is_empty());
}

#[test]
fn an_alert_that_its_rule_no_longer_matches_still_holds_the_host_that_it_took_off() {
    let mut world = patient(4);
    world.lose("h1");
    world.policy.rules.remove(0);
    world.pass(1800);
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::Fires { .. });
    world.heal("h1");
    world.until(900, |world| world.is_on("h1"));
}

/// A world in which every clock but the remediator's is ahead by so much.
fn ahead_by(seconds: i64) -> World {
    let mut world = World::of_hosts(4);
    world.alertmanagers.iter_mut().for_each(|it| it.ahead = seconds);
    world
}

#[test]
fn a_clock_that_differs_from_the_alertmanagers_neither_delays_nor_hastens_anything() {
    let returns_after = |ahead: i64, restarted: bool| {
        let mut world = ahead_by(ahead);
        world.lose("h1");
        world.heal("h1");
        world.pass(30);
        if restarted {
            world.restart();
        }
        world.until(1800, |world| world.is_on("h1"))
    };
    for restarted in [false, true] {
        let as_usual = returns_after(0, restarted);
        for ahead in [-3600, -600, 600, 3600] {
            assert_eq!(returns_after(ahead, restarted), as_usual, "{ahead} {restarted}");
        }
    }
}

#[test]
fn an_alert_that_ran_out_at_an_alertmanager_whose_clock_is_ahead_is_not_believed_gone() {
    // Between two sendings of the Watchdog, which therefore outlives the alert.
    for (ahead, after) in [(0, 15), (-600, 15), (600, 15), (600, 30), (600, 45)] {
        let mut world = ahead_by(ahead);
        let no_wait = Duration::ZERO;
        world.policy.clear_for = no_wait;
        world.policy.rules[0].action = Action::Off { fires_for: no_wait, min_off: no_wait };
        world.pass(after);
        world.lose("h1");
        world.pass(45);
        world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
        world.heal("h1");
        world.pass(EXPIRY + RESEND_DELAY);
        assert!(world.is_off("h1"), "{ahead} {after}:\n{}", world.tell());
    }
}

#[test]
fn an_alertmanager_whose_clock_is_ahead_is_no_sooner_warm() {
    for ahead in [0, 600] {
        let mut world = ahead_by(ahead);
        world.policy.clear_for = Duration::ZERO;
        world.policy.rules[0].action =
            Action::Off { fires_for: Duration::ZERO, min_off: Duration::ZERO };
        world.lose("h1");
        for url in ["am1", "am2"] {
            world.restart_alertmanager(url);
        }
        // One Watchdog arrives, and then nothing any more.
        world.pass(RESEND_DELAY);
        world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
        for url in ["am1", "am2"] {
            world.resolve_only(url, "HostCheckFailed", "h1");
        }
        world.heal("h1");
        world.pass(2 * RESEND_DELAY);
        assert!(world.is_off("h1"), "{ahead}:\n{}", world.tell());
    }
}

#[test]
fn a_watchdog_that_nobody_could_show_is_not_called_seen() {
    let mut world = World::of_hosts(4);
    world.policy.watchdogs.push(r#"alertname="Watchdog",prometheus="p2""#.parse().unwrap());
    world.round(ROUND);
    let [first, second] = [0, 1].map(|at| format!("watchdog/{}", world.policy.watchdogs[at]));
    assert!(!world.is_blind(&first) && world.is_blind(&second));
    world.alertmanager("am1").kill();
    world.alertmanager("am2").kill();
    world.round(ROUND);
    assert!(world.is_blind(&first) && world.is_blind(&second));
}
