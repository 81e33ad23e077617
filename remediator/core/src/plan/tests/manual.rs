//! What people say, and what becomes of it when its time is over.

use std::time::Duration;

use super::{
    peers::{Agent, at},
    world::{Happening, ROUND, World, assert_blocked},
};
use crate::{
    document::{HostDocument, Verdict, What},
    facts::FoundFile,
    plan::Block,
    policy::{Action, MinHosts, NewHosts},
    whitelist,
};

#[test]
fn i6_a_manual_on_is_not_changed_by_an_alert() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::On, None);
    world.sicken("h1");
    world.pass(3600);
    assert!(world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Manual { verdict: Verdict::On, .. });
    assert!(world.document("h1").causes.is_empty());
}

#[test]
fn i6_a_manual_on_puts_a_sick_host_back_at_once() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.say("h1", Verdict::On, None);
    assert!(world.is_on("h1"));
    world.pass(600);
    assert!(world.is_on("h1"));
}

#[test]
fn i6_a_manual_off_is_not_ended_by_evidence() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, None);
    world.pass(3600);
    assert!(world.is_off("h1"));
    assert_blocked!(world, "h1", Block::Manual { verdict: Verdict::Off, .. });
}

#[test]
fn when_a_manual_on_expires_what_still_fires_goes_off() {
    let mut world = World::of_hosts(4);
    world.lose("h1");
    world.say("h1", Verdict::On, Some(600));
    world.pass(585);
    assert!(world.is_on("h1"));
    world.until(2 * ROUND, |world| world.is_off("h1"));
    assert!(world.journal.iter().any(|(_, it)| it.what == What::Expired), "i6: it is recorded");
}

#[test]
fn when_a_manual_on_expires_what_still_fires_must_pass_the_gates() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.lose("h1");
    world.say("h1", Verdict::On, Some(600));
    world.lose("h2");
    world.pass(900);
    assert_eq!(world.hosts_off(), ["h2"], "until then the host stays on");
    assert_blocked!(world, "h1", Block::Budget { .. });
}

#[test]
fn when_a_manual_on_expires_causes_from_under_an_off_stay_aside() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.say("h1", Verdict::On, Some(900));
    world.round(ROUND);
    let off = world.say("h1", Verdict::Off, None);
    world.sicken("h1");
    world.pass(60);
    assert_eq!(world.document("h1").causes.len(), 1);
    world.take_back("h1", &off);
    assert!(world.is_on("h1"), "the older on decides again");
    world.lose("h2");
    world.pass(1200);
    assert_eq!(world.hosts_off(), ["h2"], "no off without the gates:\n{}", world.tell());
}

#[test]
fn an_older_on_that_takes_over_by_expiry_sets_causes_aside_as_well() {
    let mut world = World::of_hosts(4);
    world.policy.max_off.count = 1;
    world.say("h1", Verdict::On, Some(3600));
    world.round(ROUND);
    world.say("h1", Verdict::Off, Some(300));
    world.sicken("h1");
    world.pass(240);
    world.heal("h1");
    world.until(1200, |world| world.is_on("h1"));
    world.lose("h2");
    world.pass(3600);
    assert_eq!(world.hosts_off(), ["h2"], "{}", world.tell());
}

#[test]
fn an_older_on_takes_over_by_expiry_without_evidence_since_a_person_said_it() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::On, Some(3600));
    world.round(ROUND);
    world.say("h1", Verdict::Off, Some(300));
    world.sicken("h1");
    world.pass(270);
    assert!(world.is_off("h1"));
    world.kill_prometheus();
    world.until(2 * ROUND, |world| world.is_on("h1"));
    assert_blocked!(world, "h1", Block::Manual { verdict: Verdict::On, .. });
}

#[test]
fn the_gates_after_an_on_count_what_fired_meanwhile() {
    let mut world = World::of_hosts(4);
    world.policy.rules[0].action =
        Action::Off { fires_for: Duration::from_secs(300), min_off: Duration::ZERO };
    world.say("h1", Verdict::On, Some(600));
    world.sicken("h1");
    world.pass(585);
    assert!(world.is_on("h1"));
    world.until(2 * ROUND, |world| world.is_off("h1"));
}

#[test]
fn a_manual_off_that_expires_gives_back_on_evidence() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, Some(600));
    world.pass(585);
    assert!(world.is_off("h1"));
    world.until(2 * ROUND, |world| world.is_on("h1"));
    let record = &world.journal.last().unwrap().1;
    assert_eq!((record.what, record.by.as_str()), (What::On, "automation"));
    assert_eq!(record.reason, "manual off of ops expired: disk swap");
}

#[test]
fn i15_a_manual_off_that_expires_without_evidence_stays() {
    let lacks: [(&str, Happening); 8] = [
        ("a dead Prometheus", World::kill_prometheus),
        ("an Alertmanager away", |world| world.alertmanager("am2").answers = false),
        ("a silent exporter", |world| world.node("h1").silent = true),
        ("a sick host", |world| world.sicken("h1")),
        ("a lost agent", |world| world.node("h1").agent = Agent::Lost),
        ("a recovered agent", |world| world.node("h1").agent = Agent::Recovered),
        ("an inactive agent", |world| world.node("h1").agent = Agent::Inactive),
        ("no leading master", |world| world.leaderless = Some("no answer".into())),
    ];
    for (lack, happens) in lacks {
        let mut world = World::of_hosts(4);
        world.say("h1", Verdict::Off, Some(300));
        happens(&mut world);
        world.pass(3600);
        assert!(world.is_off("h1"), "{lack}");
        assert!(!world.blocks("h1").is_empty(), "{lack} is named");
    }
}

#[test]
fn a_manual_off_that_expires_over_a_silenced_alert_stays() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, Some(120));
    world.silence("DiskFull", "h1");
    world.tell_only("am1", "DiskFull", "h1");
    world.pass(180);
    assert!(world.is_off("h1"), "suppressed freezes in both directions:\n{}", world.tell());
    assert_blocked!(world, "h1", Block::Suppressed { .. });
}

#[test]
fn a_manual_off_that_a_person_ends_gives_back_at_once() {
    let mut world = World::of_hosts(4);
    let off = world.say("h1", Verdict::Off, None);
    world.kill_prometheus();
    world.pass(60);
    world.take_back("h1", &off);
    assert!(world.is_on("h1"));
}

#[test]
fn i8_an_alert_that_came_under_a_manual_off_keeps_the_host_off() {
    let mut world = World::of_hosts(4);
    let off = world.say("h1", Verdict::Off, None);
    world.sicken("h1");
    world.pass(60);
    world.take_back("h1", &off);
    assert!(world.is_off("h1"));
    world.pass(60);
    assert_blocked!(world, "h1", Block::Fires { .. });
}

#[test]
fn a_cause_that_ends_under_a_manual_off_is_not_recorded_as_a_return() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, None);
    world.sicken("h1");
    world.pass(60);
    world.heal("h1");
    world.until(1200, |world| world.document("h1").causes.is_empty());
    assert!(world.is_off("h1"));
    assert_eq!(world.journal.last().unwrap().1.what, What::Cleared);
}

#[test]
fn the_newest_event_decides_and_an_older_one_takes_over() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::Off, None);
    world.round(ROUND);
    world.say("h1", Verdict::On, Some(300));
    assert!(world.is_on("h1"));
    world.pass(270);
    assert!(world.is_on("h1"));
    world.until(2 * ROUND, |world| world.is_off("h1"));
    assert_eq!(world.document("h1").ruling_event().unwrap().0, "e1");
    assert_eq!(world.journal.last().unwrap().1.what, What::Off);
}

#[test]
fn two_events_that_expire_in_one_round_do_not_let_the_older_one_take_over() {
    for (older, newer) in [("a", "b"), ("b", "a")] {
        let mut world = World::of_hosts(4);
        world.say_as(older, "h1", Verdict::Off, Some(300));
        world.round(ROUND);
        world.say_as(newer, "h1", Verdict::On, Some(280));
        // Nobody could say that the host is well: an expired off would stick.
        world.kill_prometheus();
        world.pass(600);
        assert!(world.is_on("h1"), "{older} before {newer}:\n{}", world.tell());
        assert_eq!(world.document("h1").transitions.len(), 2);
    }
}

#[test]
fn an_event_of_a_host_that_is_off_by_default_gives_way_to_the_default() {
    let mut world = World::before_the_first_round(2);
    world.policy.new_hosts = NewHosts::Off;
    world.pass(60);
    world.say("h1", Verdict::On, Some(300));
    world.pass(240);
    assert_eq!(world.hosts_off(), ["h2"]);
    world.pass(120);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
}

/// The one step without a gate: people have said both, the default and how long the
/// on lasts. To keep the hosts on for longer would be automation's word over theirs.
#[test]
fn i1_the_end_of_an_on_gives_way_to_the_default_also_where_the_budget_is_exhausted() {
    let mut world = World::before_the_first_round(4);
    world.policy.new_hosts = NewHosts::Off;
    world.policy.max_off.count = 1;
    world.policy.min_hosts = MinHosts::Count(3);
    world.pass(60);
    for host in ["h1", "h2", "h3", "h4"] {
        world.say(host, Verdict::On, (host != "h4").then_some(300));
    }
    let listed = world.hosts.keys().cloned().collect();
    world.pass(600);
    assert_eq!(world.hosts_off(), ["h1", "h2", "h3"]);
    let merge = whitelist::merge(&world.hosts, &listed, &world.policy, at(world.now));
    assert_eq!(merge.hosts, listed, "the floor of the file holds all the same");
    // They are away, so that automation takes nobody else off.
    world.policy.new_hosts = NewHosts::On;
    world.add_node("h5");
    world.sicken("h5");
    world.pass(60);
    assert_blocked!(world, "h5", Block::Budget { away: 3, limit: 1, .. });
}

/// A person says off of a host that no leading master has ever listed.
fn turn_off_before_it_comes(world: &mut World, host: &str, ttl: Option<u64>) -> String {
    let document = HostDocument::named(world.policy.new_hosts, at(world.now));
    world.hosts.insert(host.parse().unwrap(), document);
    world.say(host, Verdict::Off, ttl)
}

#[test]
fn a_host_that_a_person_turned_off_before_it_came_still_waits_for_a_person() {
    let mut world = World::of_hosts(2);
    world.policy.new_hosts = NewHosts::Off;
    turn_off_before_it_comes(&mut world, "h9", Some(300));
    world.add_node("h9");
    world.round(ROUND);
    let record = &world.journal.last().unwrap().1;
    assert_eq!(record.what, What::Enrolled);
    world.pass(900);
    assert!(world.is_off("h9"), "{}", world.tell());
    assert_blocked!(world, "h9", Block::OffByDefault);
}

#[test]
fn a_host_that_a_person_turned_off_before_it_came_is_new_where_new_hosts_are_on() {
    let mut world = World::of_hosts(2);
    let off = turn_off_before_it_comes(&mut world, "h9", None);
    world.add_node("h9");
    world.pass(600);
    assert!(world.is_off("h9"), "the person's word stands");
    world.take_back("h9", &off);
    world.pass(60);
    assert!(world.is_on("h9"));
}

#[test]
fn what_new_hosts_get_is_looked_up_when_the_host_comes() {
    let mut world = World::of_hosts(2);
    let off = turn_off_before_it_comes(&mut world, "h9", None);
    world.take_back("h9", &off);
    world.policy.new_hosts = NewHosts::Off;
    world.add_node("h9");
    world.round(ROUND);
    assert!(world.is_off("h9"), "{}", world.tell());
    let transitions = world.document("h9").transitions.iter().map(|it| it.what);
    assert_eq!(transitions.collect::<Vec<_>>(), [What::Off, What::On, What::Enrolled]);
}

#[test]
fn a_host_that_a_person_turned_off_before_it_came_is_imported_as_others_are() {
    for (word, imported) in [(None, true), (Some(Verdict::On), false)] {
        let mut world = World::before_the_first_round(2);
        world.file = Ok(FoundFile::Lists(["h1", "h2"].map(|it| it.parse().unwrap()).to_vec()));
        world.pass(60);
        let off = turn_off_before_it_comes(&mut world, "h9", None);
        if let Some(word) = word {
            world.say("h9", word, None);
        }
        world.add_node("h9");
        world.round(ROUND);
        world.take_back("h9", &off);
        world.pass(60);
        assert_eq!(world.document("h9").is_imported(), imported, "after {word:?}");
        assert_eq!(world.is_off("h9"), imported, "{}", world.tell());
    }
}

#[test]
fn i19_nothing_expires_shortly_after_a_start() {
    let mut world = World::of_hosts(4);
    world.say("h1", Verdict::On, Some(60));
    world.say("h2", Verdict::Off, Some(60));
    world.sicken("h1");
    world.let_time_pass(600);
    world.restart();
    world.pass(105);
    assert!(world.is_on("h1") && world.is_off("h2"));
    assert_blocked!(world, "h1", Block::JustStarted(_));
    world.round(ROUND);
    assert!(world.is_off("h1"), "a clear_for after the start");
    world.until(2 * ROUND, |world| world.is_on("h2"));
}

#[test]
fn a_person_who_puts_a_host_on_and_off_between_two_rounds_begins_its_wait_anew() {
    let mut world = World::of_hosts(4);
    world.sicken("h1");
    world.until(600, |world| world.is_off("h1"));
    world.pass(240);
    world.say_as("a", "h1", Verdict::On, None);
    world.say_as("a", "h1", Verdict::Off, Some(60));
    world.round(ROUND);
    world.heal("h1");
    let waited = world.until(3600, |world| world.is_on("h1"));
    assert!(waited + ROUND >= 300, "min_off is five minutes, and it was off for {waited} s");
}
