//! Many hosts that fall sick together.

use std::{collections::BTreeMap, time::Duration};

use super::{
    peers::Prometheus,
    world::{ROUND, World, assert_blocked},
};
use crate::{document::Verdict, host::HostName, plan::Block};

/// As many as make a storm.
const THREE: [&str; 3] = ["h1", "h2", "h3"];

/// Ten hosts, of which three make a storm.
fn ten_hosts() -> World {
    let mut world = World::of_hosts(10);
    world.policy.storm.threshold = "30%".parse().unwrap();
    world
}

#[test]
fn i3_hosts_that_fall_silent_together_make_a_storm_and_none_goes_off() {
    let mut world = ten_hosts();
    world.prometheus[0].rule("ExporterSilent").waits = 300;
    for host in ["h1", "h2", "h3", "h5", "h7"] {
        world.node(host).silent = true;
    }
    world.pass(30);
    assert!(world.last_plan().storm.since.is_some(), "before any alert fires");
    world.pass(570);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
    assert_blocked!(world, "h1", Block::Storm { sick: 5, inventory: 10, enough: 2, .. });
    let shared = BTreeMap::from([(("rack".to_owned(), "r1".to_owned()), 4)]);
    assert_eq!(world.last_plan().storm.shared, shared);
}

#[test]
fn i3_fewer_than_the_threshold_are_no_storm() {
    let mut world = ten_hosts();
    world.sicken("h1");
    world.sicken("h2");
    world.pass(120);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
}

#[test]
fn i3_one_host_is_never_a_storm_however_small_the_threshold() {
    let mut world = World::of_hosts(4);
    world.policy.storm.threshold = "1%".parse().unwrap();
    world.lose("h1");
}

#[test]
fn i3_hosts_that_fall_sick_one_after_another_are_no_storm() {
    let mut world = ten_hosts();
    for host in ["h1", "h2", "h3", "h4"] {
        world.lose(host);
        world.pass(400);
    }
    assert_eq!(world.hosts_off().len(), 4);
}

#[test]
fn i3_what_went_off_before_the_storm_was_seen_stays_off_and_counts() {
    let mut world = ten_hosts();
    world.lose("h1");
    world.lose("h2");
    world.sicken("h3");
    world.pass(120);
    assert_eq!(world.hosts_off(), ["h1", "h2"]);
    assert_blocked!(world, "h3", Block::Storm { .. });
}

#[test]
fn i4_a_storm_does_not_keep_a_host_that_is_well_from_coming_back() {
    let mut world = ten_hosts();
    world.lose("h10");
    world.heal("h10");
    THREE.iter().for_each(|host| world.node(host).silent = true);
    world.until(1200, |world| world.is_on("h10"));
    assert!(world.last_plan().storm.since.is_some());
}

#[test]
fn i3_a_storm_is_over_after_a_calm_with_most_hosts_well() {
    let mut world = ten_hosts();
    THREE.iter().for_each(|host| world.node(host).silent = true);
    world.pass(300);
    for host in ["h2", "h3"] {
        world.node(host).silent = false;
    }
    world.pass(200);
    assert!(world.is_on("h1"), "it is not calm for long enough");
    world.until(900, |world| world.is_off("h1"));
    assert!(world.last_plan().storm.since.is_none());
}

#[test]
fn i3_a_storm_goes_on_while_half_the_threshold_is_sick() {
    let mut world = ten_hosts();
    THREE.iter().for_each(|host| world.node(host).silent = true);
    world.pass(300);
    world.node("h3").silent = false;
    world.pass(3600);
    assert!(world.is_on("h1") && world.is_on("h2"));
    assert_eq!(world.last_plan().storm.fell_sick.len(), 3, "who took part is still told");
}

#[test]
fn i3_half_of_the_threshold_is_not_fewer_than_half() {
    let mut world = ten_hosts();
    world.policy.storm.threshold = "40%".parse().unwrap();
    for host in ["h1", "h2", "h3", "h4"] {
        world.node(host).silent = true;
    }
    world.pass(60);
    world.node("h3").silent = false;
    world.node("h4").silent = false;
    world.pass(1800);
    assert!(world.last_plan().storm.since.is_some());
    world.node("h2").silent = false;
    world.until(60, |world| world.last_plan().storm.since.is_none());
}

#[test]
fn i3_hosts_that_a_person_has_taken_out_make_no_storm() {
    let mut world = ten_hosts();
    for host in THREE {
        world.say(host, Verdict::Off, None);
    }
    world.round(ROUND);
    world.sicken("h1");
    fall_silent(&mut world, "h2");
    fall_silent(&mut world, "h3");
    world.sicken("h4");
    world.sicken("h5");
    world.pass(60);
    assert!(world.last_plan().storm.since.is_none());
    assert!(world.is_off("h4") && world.is_off("h5"));
}

#[test]
fn i3_a_person_ends_a_storm_and_what_was_sick_then_makes_no_new_one() {
    let mut world = ten_hosts();
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(300);
    world.resume();
    world.pass(120);
    assert_eq!(world.hosts_off(), ["h1", "h2", "h3"]);
}

#[test]
fn i3_a_storm_survives_a_restart_of_the_remediator() {
    let mut world = ten_hosts();
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(300);
    world.restart();
    world.pass(600);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_hosts_that_were_sick_long_before_a_restart_make_no_storm() {
    let mut world = ten_hosts();
    world.policy.max_off.count = 0;
    for host in ["h1", "h2", "h3", "h4"] {
        world.sicken(host);
        world.pass(400);
    }
    world.restart();
    world.round(ROUND);
    assert!(world.last_plan().storm.since.is_none());
}

#[test]
fn i3_hosts_whose_alerts_a_person_has_silenced_make_no_storm() {
    for falls_silent in [false, true] {
        let mut world = ten_hosts();
        for host in THREE {
            world.silence(if falls_silent { "ExporterSilent" } else { "HostCheckFailed" }, host);
            world.node(host).silent = falls_silent;
            world.node(host).sick = !falls_silent;
        }
        world.pass(300);
        world.lose("h4");
        assert!(world.last_plan().storm.since.is_none());
    }
}

#[test]
fn i3_a_clock_that_is_wrong_by_an_hour_hides_no_storm() {
    let mut world = ten_hosts();
    world.clock_error = 3600;
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(300);
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_a_word_that_was_heard_while_the_clock_was_behind_ends_no_later_storm() {
    let mut world = ten_hosts();
    world.clock_error = -1800;
    world.pass(60);
    world.resume();
    world.pass(60);
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(240);
    world.clock_error = 0;
    world.pass(60);
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

/// A storm of four.
fn storm() -> World {
    let mut world = ten_hosts();
    for host in ["h1", "h2", "h3", "h4"] {
        world.sicken(host);
    }
    world.pass(300);
    assert!(world.last_plan().storm.since.is_some() && world.hosts_off().is_empty());
    world
}

#[test]
fn i3_a_storm_does_not_end_while_no_alertmanager_answers() {
    let mut world = storm();
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    world.pass(900);
    assert!(world.last_plan().storm.unseen);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
    world.pass(60);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_a_storm_does_not_end_while_prometheus_reaches_no_alertmanager() {
    let mut world = storm();
    world.alertmanagers.iter_mut().for_each(|it| it.hears = false);
    world.pass(1200);
    world.alertmanagers.iter_mut().for_each(|it| it.hears = true);
    world.pass(120);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_a_storm_does_not_end_while_a_prometheus_cannot_be_asked() {
    let mut world = ten_hosts();
    world.policy.storm.calm = Duration::from_secs(60);
    for host in THREE {
        fall_silent(&mut world, host);
    }
    world.pass(30);
    world.node("h2").silent = false;
    world.node("h3").silent = false;
    world.pass(15);
    // The Alertmanagers have its Watchdog for some minutes still.
    world.prometheus[0].alive = false;
    world.pass(120);
    assert!(!world.is_blind("alertmanager/am1"));
    assert!(world.last_plan().storm.since.is_some());
}

#[test]
fn i3_a_word_that_was_said_just_before_the_clock_is_corrected_ends_no_later_storm() {
    let mut world = ten_hosts();
    world.resume();
    world.let_time_pass(15);
    THREE.iter().for_each(|host| world.sicken(host));
    world.let_time_pass(45);
    world.clock_error = -30;
    world.decide();
    assert!(!world.is_blind("clock"));
    assert!(world.last_plan().storm.since.is_some());
}

#[test]
fn who_fell_sick_lately_is_told_also_where_it_is_no_storm() {
    let mut world = ten_hosts();
    world.sicken("h1");
    world.pass(200);
    world.sicken("h2");
    let told = |world: &World| world.last_plan().storm.fell_sick.len();
    world.pass(30);
    assert_eq!(told(&world), 2);
    world.pass(120);
    assert_eq!(told(&world), 1);
    world.pass(300);
    assert_eq!(told(&world), 0);
}

#[test]
fn who_was_sick_long_before_takes_no_part_in_a_storm() {
    let mut world = ten_hosts();
    world.lose("h9");
    world.pass(600);
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(60);
    let take_part = world.last_plan().storm.fell_sick.iter().map(HostName::as_str);
    assert_eq!(take_part.collect::<Vec<_>>(), ["h1", "h2", "h3"]);
}

#[test]
fn i3_a_storm_of_silence_does_not_end_while_prometheus_is_dead() {
    let mut world = ten_hosts();
    for host in ["h1", "h3", "h5", "h7"] {
        world.node(host).silent = true;
    }
    world.pass(300);
    world.kill_prometheus();
    world.pass(1200);
    assert!(world.last_plan().storm.since.is_some());
    world.start_prometheus();
    world.pass(120);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_a_storm_that_began_while_nobody_could_see_is_one() {
    let mut world = ten_hosts();
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    for host in ["h1", "h2", "h3", "h4"] {
        world.sicken(host);
    }
    world.pass(400);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
    world.pass(60);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
    assert_eq!(world.last_plan().storm.fell_sick.len(), 4);
}

#[test]
fn i3_a_host_that_falls_sick_much_later_hides_no_storm() {
    let mut world = ten_hosts();
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(400);
    world.sicken("h9");
    world.pass(30);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
    world.round(ROUND);
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_hosts_that_another_prometheus_can_scrape_are_not_silent() {
    let mut world = ten_hosts();
    world.prometheus.push(Prometheus::new("p2"));
    world.pass(60);
    for host in THREE {
        fall_silent(&mut world, host);
    }
    // It has what it scraped before.
    world.prometheus[1].scrapes = false;
    world.pass(30);
    assert!(world.last_plan().storm.since.is_none());
}

#[test]
fn i3_a_storm_that_began_while_the_remediator_was_down_is_one() {
    let mut world = ten_hosts();
    for host in ["h1", "h2", "h3", "h4"] {
        world.sicken(host);
    }
    world.let_time_pass(400);
    world.restart();
    world.pass(60);
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

/// Three whose storm a person has ended, and whom no budget lets go.
fn dismissed(befall: fn(&mut World, &str)) -> World {
    let mut world = ten_hosts();
    world.policy.max_off.count = 0;
    for host in THREE {
        befall(&mut world, host);
    }
    world.pass(30);
    assert!(world.last_plan().storm.since.is_some());
    world.resume();
    world.pass(60);
    assert!(world.last_plan().storm.since.is_none());
    world
}

#[test]
fn i3_hosts_that_fell_sick_once_more_while_nobody_watched_are_a_storm() {
    let mut world = dismissed(World::sicken);
    THREE.iter().for_each(|host| world.heal(host));
    world.let_time_pass(120);
    THREE.iter().for_each(|host| world.sicken(host));
    world.let_time_pass(180);
    world.round(ROUND);
    assert!(world.last_plan().storm.since.is_some());
}

#[test]
fn i3_hosts_that_have_been_sick_all_the_time_while_nobody_watched_are_none() {
    let mut world = dismissed(World::sicken);
    // What was said is not all that tells: they took part in a storm that is over.
    world.automation.storm_dismissed = None;
    world.let_time_pass(300);
    world.pass(60);
    assert!(world.last_plan().storm.since.is_none());
}

/// Its alert fires in five minutes.
fn fall_silent(world: &mut World, host: &str) {
    world.prometheus[0].rule("ExporterSilent").waits = 300;
    world.node(host).silent = true;
}

#[test]
fn i3_what_begins_anew_between_two_rounds_is_what_it_was() {
    let mut silent = dismissed(fall_silent);
    silent.kill_prometheus();
    silent.round(ROUND);
    let mut sick = dismissed(World::sicken);
    for host in THREE {
        silent.tell_only("am1", "ExporterSilent", host);
        for url in ["am1", "am2"] {
            sick.resolve_only(url, "HostCheckFailed", host);
        }
        sick.let_time_pass(1);
        sick.tell_only("am1", "HostCheckFailed", host);
    }
    for world in [&mut silent, &mut sick] {
        world.decide();
        assert!(world.last_plan().storm.since.is_none(), "{}", world.tell());
    }
}

#[test]
fn i3_hosts_that_fell_silent_once_more_while_nobody_watched_are_a_storm_when_an_alert_tells() {
    let mut world = dismissed(fall_silent);
    THREE.iter().for_each(|host| world.node(host).silent = false);
    world.let_time_pass(400);
    THREE.iter().for_each(|host| world.node(host).silent = true);
    world.let_time_pass(100);
    world.round(ROUND);
    assert!(world.last_plan().storm.since.is_none(), "nobody knows since when they are");
    world.until(300, |world| world.last_plan().storm.since.is_some());
}

#[test]
fn i3_a_host_that_falls_sick_once_more_while_not_all_is_heard_does_so_then() {
    let mut world = ten_hosts();
    world.policy.max_off.count = 0;
    world.policy.storm.within = Duration::from_secs(45);
    world.alertmanager("am2").answers = false;
    world.sicken("h1");
    world.pass(30);
    world.heal("h1");
    world.pass(45);
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(30);
    assert!(world.last_plan().storm.since.is_some(), "{}", world.tell());
}

#[test]
fn i3_a_storm_of_the_time_when_the_machine_was_suspended_is_not_taken_for_dismissed() {
    let mut world = ten_hosts();
    world.resume();
    world.pass(300);
    world.let_time_pass(600);
    THREE.iter().for_each(|host| world.sicken(host));
    world.let_time_pass(600);
    // Its monotonic clock has stood still meanwhile.
    world.started += 1200;
    world.pass(60);
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_time_in_which_nobody_watched_is_no_calm() {
    let mut world = ten_hosts();
    THREE.iter().for_each(|host| world.node(host).silent = true);
    world.pass(60);
    world.let_time_pass(900);
    for host in ["h2", "h3"] {
        world.node(host).silent = false;
    }
    world.let_time_pass(60);
    world.pass(300);
    assert!(world.last_plan().storm.since.is_some());
    world.until(600, |world| world.is_off("h1"));
}

#[test]
fn i3_who_takes_part_does_so_though_the_alerts_are_not_seen_for_a_round() {
    let mut world = ten_hosts();
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(30);
    for host in ["h1", "h2"] {
        world.say(host, Verdict::Off, None);
    }
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    world.round(ROUND);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
    world.pass(60);
    assert_eq!(world.last_plan().storm.fell_sick.len(), 3);
    world.pass(1200);
    assert!(world.is_on("h3"), "all three are sick:\n{}", world.tell());
}

#[test]
fn i3_what_an_earlier_process_took_off_counts() {
    for is_still_sick in [true, false] {
        let mut world = ten_hosts();
        world.lose("h1");
        world.lose("h2");
        if !is_still_sick {
            world.heal("h1");
            world.heal("h2");
            world.pass(30);
        }
        world.restart();
        world.round(ROUND);
        world.sicken("h3");
        world.pass(90);
        assert!(world.is_on("h3"), "still sick: {is_still_sick}\n{}", world.tell());
    }
}

#[test]
fn i3_what_an_earlier_process_took_off_counts_also_after_a_first_round_at_rest() {
    let mut world = ten_hosts();
    world.lose("h1");
    world.lose("h2");
    world.heal("h1");
    world.heal("h2");
    world.pass(30);
    world.clock_error = -3600;
    world.restart();
    world.round(ROUND);
    world.clock_error = 0;
    world.round(ROUND);
    world.sicken("h3");
    world.pass(90);
    assert!(world.is_on("h3"), "{}", world.tell());
}

/// Three that are silent, each since another time; people know of it.
fn three_long_silent() -> World {
    let mut world = ten_hosts();
    for host in THREE {
        world.silence("ExporterSilent", host);
        world.node(host).silent = true;
        world.pass(400);
    }
    assert!(world.last_plan().storm.since.is_none());
    world
}

#[test]
fn i3_hosts_that_were_silent_long_before_prometheus_missed_a_round_make_no_storm() {
    let mut world = three_long_silent();
    THREE.iter().for_each(|host| world.unsilence("ExporterSilent", host));
    world.policy.max_off.count = 0;
    world.pass(600);
    assert!(world.last_plan().storm.since.is_none());
    world.prometheus[0].alive = false;
    world.decide();
    world.prometheus[0].alive = true;
    world.pass(60);
    assert!(world.last_plan().storm.since.is_none());
}

#[test]
fn i3_hosts_that_were_silent_long_before_a_restart_make_no_storm() {
    let mut world = three_long_silent();
    world.restart();
    world.pass(1200);
    assert!(world.last_plan().storm.since.is_none());
    for host in ["h4", "h5", "h6"] {
        world.node(host).silent = true;
    }
    world.pass(30);
    assert!(world.last_plan().storm.since.is_some(), "what falls silent now does");
}

#[test]
fn i6_a_storm_that_a_person_has_ended_is_not_begun_again_by_a_restart() {
    let mut world = ten_hosts();
    world.policy.max_off.count = 1;
    for host in ["h1", "h2", "h3", "h4"] {
        world.sicken(host);
    }
    world.pass(90);
    world.resume();
    world.pass(30);
    world.restart();
    world.pass(30);
    assert!(world.last_plan().storm.since.is_none());
    for host in ["h5", "h6", "h7"] {
        world.sicken(host);
    }
    world.pass(60);
    assert!(world.last_plan().storm.since.is_some(), "a later one is another");
}

#[test]
fn i6_a_storm_that_a_person_has_ended_stays_so_where_no_alertmanager_answers_at_first() {
    let mut world = ten_hosts();
    world.policy.max_off.count = 1;
    for host in ["h1", "h2", "h3", "h4"] {
        world.sicken(host);
    }
    world.pass(90);
    world.resume();
    world.pass(30);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = false);
    world.restart();
    world.round(ROUND);
    world.alertmanagers.iter_mut().for_each(|it| it.answers = true);
    world.pass(60);
    assert!(world.last_plan().storm.since.is_none());
}

#[test]
fn i3_a_storm_that_is_over_is_not_begun_again_by_those_who_took_part() {
    let mut world = ten_hosts();
    world.policy.storm.calm = Duration::from_secs(60);
    THREE.iter().for_each(|host| world.sicken(host));
    world.pass(60);
    assert!(world.last_plan().storm.since.is_some());
    world.heal("h2");
    world.heal("h3");
    let begins = |world: &World| {
        world.last_plan().notes.iter().filter(|note| note.contains("begins")).count()
    };
    let mut begun = 0;
    for _ in 0..20 {
        world.round(ROUND);
        begun += begins(&world);
    }
    assert_eq!((begun, world.hosts_off()), (0, vec!["h1"]));
}

#[test]
fn a_storm_is_told_truly_after_a_restart_in_the_middle_of_it() {
    let mut world = storm();
    world.heal("h3");
    world.heal("h4");
    world.pass(30);
    world.restart();
    world.pass(120);
    assert_blocked!(world, "h1", Block::Storm { sick: 2, inventory: 10, enough: 2, .. });
    assert_eq!(world.last_plan().storm.fell_sick.len(), 2);
}

#[test]
fn i3_a_word_of_before_a_restart_with_a_clock_that_is_behind_ends_no_later_storm() {
    let mut world = ten_hosts();
    world.resume();
    world.pass(60);
    THREE.iter().for_each(|host| world.sicken(host));
    world.clock_error = -3600;
    world.let_time_pass(60);
    world.restart();
    world.pass(600);
    world.clock_error = 0;
    world.pass(60);
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_a_word_of_before_a_restart_ends_no_later_storm_where_no_record_tells_that_the_clock_is_behind()
 {
    let mut world = ten_hosts();
    world.resume();
    world.pass(1200);
    THREE.iter().for_each(|host| world.sicken(host));
    world.let_time_pass(400);
    world.clock_error = -1300;
    world.restart();
    world.pass(60);
    assert!(!world.is_blind("clock"), "nothing on record is newer");
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}

#[test]
fn i3_a_word_of_before_a_restart_that_was_said_by_a_clock_that_was_ahead_ends_no_later_storm() {
    let mut world = ten_hosts();
    world.clock_error = 7200;
    world.resume();
    THREE.iter().for_each(|host| world.sicken(host));
    world.let_time_pass(60);
    world.clock_error = 0;
    world.restart();
    world.pass(30);
    world.clock_error = 7130;
    world.pass(60);
    assert!(world.last_plan().storm.since.is_some());
    assert_eq!(world.hosts_off(), [] as [&str; 0]);
}
