//! How a store is begun, and who is in it.

use std::time::Duration;

use super::{
    peers::Agent,
    world::{ROUND, World, assert_blocked},
};
use crate::{
    Automation, HostName, document::Verdict, facts::FoundFile, plan::Block, policy::NewHosts,
    whitelist,
};

fn lists(hosts: &[&str]) -> FoundFile {
    FoundFile::Lists(hosts.iter().map(|host| host.parse().unwrap()).collect())
}

fn hosts_on(world: &World) -> Vec<&str> {
    world.hosts.keys().map(HostName::as_str).filter(|host| world.is_on(host)).collect()
}

/// A cluster of three and a file that lists h1 and h2.
fn with_a_file() -> World {
    let mut world = World::before_the_first_round(3);
    world.file = Ok(lists(&["h1", "h2"]));
    world
}

#[test]
fn every_listed_name_gets_its_document_at_once_even_without_a_leader() {
    let mut world = with_a_file();
    world.leaderless = Some("no answer".into());
    world.round(ROUND);
    assert_eq!(hosts_on(&world), ["h1", "h2"]);
    let first_start = world.automation.first_start.unwrap();
    assert!(first_start.had_file && first_start.adopt_until.is_none());
}

#[test]
fn nothing_is_written_before_it_is_known_which_list_to_begin_with() {
    let mut world = with_a_file();
    world.file = Err("the whitelists of the masters differ".into());
    world.cluster.losing_tasks = true;
    world.sicken("h1");
    world.pass(1800);
    let plan = world.plan_now();
    assert!(plan.automation.is_none() && plan.changes.is_empty() && plan.holds.is_empty());
    assert!(world.is_blind("whitelist"), "{}", world.tell());
}

#[test]
fn a_clock_that_is_behind_the_documents_keeps_no_store_from_being_begun() {
    let mut world = World::of_hosts(3);
    world.lose("h1");
    // Begun anew from documents that there are, by a machine whose clock is wrong.
    world.automation = Automation::default();
    world.clock_error = -86_400;
    world.round(ROUND);
    assert!(world.automation.first_start.is_some(), "{}", world.tell());
    world.round(ROUND);
    assert!(world.is_blind("clock"), "now somebody can say that it is right");
    world.resume();
    world.round(ROUND);
    assert!(!world.is_blind("clock"), "{}", world.tell());
}

#[test]
fn a_listed_name_that_no_master_knows_stays_listed() {
    let mut world = with_a_file();
    world.file = Ok(lists(&["h1", "h2", "gone.example"]));
    world.pass(3600);
    assert!(world.is_on("gone.example"), "an empty store never shrinks a file");
}

#[test]
fn a_registered_host_that_the_file_does_not_list_is_imported_and_stays_off() {
    let mut world = with_a_file();
    world.pass(7200);
    assert_eq!(world.hosts_off(), ["h3"]);
    assert!(world.document("h3").is_imported());
    assert_blocked!(world, "h3", Block::Imported);
    let id = world.say("h3", Verdict::On, Some(300));
    assert!(world.is_on("h3"));
    world.pass(600);
    assert!(!world.document("h3").manual_events.contains_key(&id));
    assert!(world.is_on("h3"), "a person's on ends imported for good");
}

#[test]
fn an_imported_host_that_was_sick_stays_imported_when_it_is_well() {
    let mut world = with_a_file();
    world.pass(60);
    world.sicken("h3");
    world.pass(60);
    world.heal("h3");
    world.pass(3600);
    assert!(world.is_off("h3") && world.document("h3").is_imported());
}

#[test]
fn an_imported_host_stays_imported_however_long_it_is_away() {
    let mut world = with_a_file();
    world.pass(60);
    assert_eq!(world.hosts_off(), ["h3"]);
    world.node("h3").agent = Agent::Lost;
    world.pass(30);
    world.let_time_pass(8 * 86_400);
    world.pass(60);
    world.node("h3").agent = Agent::Registered;
    world.pass(60);
    assert!(world.is_off("h3"), "only a person ends it:\n{}", world.tell());
    assert_blocked!(world, "h3", Block::Imported);
}

#[test]
fn a_host_that_appears_within_ten_minutes_of_a_leader_is_imported() {
    let mut world = with_a_file();
    world.leaderless = Some("no answer".into());
    // The ten minutes are a master's: they do not begin before one answers.
    world.pass(1800);
    world.leaderless = None;
    world.round(ROUND);
    world.pass(570);
    world.add_node("h4");
    world.round(ROUND);
    assert!(world.document("h4").is_imported());
    world.add_node("h5");
    world.pass(30);
    assert!(world.is_on("h5"), "new_hosts applies after that");
}

#[test]
fn the_ten_minutes_hold_over_a_restart_of_the_remediator() {
    let mut world = with_a_file();
    world.pass(60);
    world.restart();
    world.file = Err("not asked again".into());
    world.add_node("h4");
    world.pass(60);
    assert!(world.document("h4").is_imported());
    world.pass(600);
    world.add_node("h5");
    world.round(ROUND);
    assert!(world.is_on("h5"));
}

#[test]
fn a_recovered_host_that_the_file_does_not_list_is_imported() {
    let mut world = with_a_file();
    world.node("h3").agent = Agent::Recovered;
    world.round(ROUND);
    assert!(world.document("h3").is_imported());
    world.node("h3").agent = Agent::Registered;
    world.pass(1200);
    assert!(world.is_off("h3"));
}

#[test]
fn without_a_file_new_hosts_applies_at_once() {
    for (new_hosts, on) in [(NewHosts::On, 3), (NewHosts::Off, 0)] {
        let mut world = World::before_the_first_round(3);
        world.policy.new_hosts = new_hosts;
        world.round(ROUND);
        assert_eq!((hosts_on(&world).len(), world.hosts.len()), (on, 3));
        assert!(world.hosts.values().all(|it| it.causes.is_empty()));
    }
}

#[test]
fn a_host_that_waits_for_a_person_says_so() {
    let mut world = World::before_the_first_round(1);
    world.policy.new_hosts = NewHosts::Off;
    world.pass(60);
    assert!(world.is_off("h1"));
    assert!(!world.blocks("h1").is_empty(), "{}", world.tell());
}

#[test]
fn without_file_and_leader_a_store_is_not_begun() {
    let mut world = World::before_the_first_round(3);
    world.leaderless = Some("no answer".into());
    world.pass(600);
    assert!(world.hosts.is_empty() && world.automation.first_start.is_none());
    world.leaderless = None;
    world.round(ROUND);
    assert_eq!(hosts_on(&world), ["h1", "h2", "h3"]);
}

#[test]
fn the_placeholder_counts_as_no_file() {
    let mut world = World::before_the_first_round(3);
    world.file = Ok(whitelist::read("bootstrap.invalid\n").unwrap());
    world.round(ROUND);
    assert_eq!(hosts_on(&world), ["h1", "h2", "h3"]);
}

#[test]
fn i5_an_unreadable_file_begins_nothing_and_is_said() {
    let mut world = World::before_the_first_round(3);
    world.file = Err(whitelist::read("").unwrap_err().to_string());
    world.pass(600);
    assert!(world.hosts.is_empty() && world.is_blind("whitelist"));
    world.file = Ok(lists(&["h1"]));
    world.round(ROUND);
    assert_eq!(hosts_on(&world), ["h1"]);
}

#[test]
fn once_begun_the_file_is_not_read_again() {
    let mut world = with_a_file();
    world.pass(60);
    world.file = Ok(lists(&["h9"]));
    world.pass(60);
    assert_eq!(hosts_on(&world), ["h1", "h2"], "a hand edit is no command");
    world.file = Err("permission denied".into());
    world.round(ROUND);
    assert!(!world.is_blind("whitelist"));
}

#[test]
fn a_name_that_cannot_stand_in_a_whitelist_is_reported_and_left_alone() {
    let mut world = World::of_hosts(2);
    world.add_node("bad_name");
    world.add_node("h1 ");
    world.round(ROUND);
    assert_eq!(world.hosts.len(), 2);
    let unlistable: Vec<&str> = world.last_plan().unlistable.iter().map(String::as_str).collect();
    assert_eq!(unlistable, ["bad_name", "h1 "]);
}

#[test]
fn i5_a_master_that_lists_no_agent_takes_nobody_off() {
    let mut world = World::of_hosts(3);
    world.cluster.nodes.values_mut().for_each(|node| node.agent = Agent::Lost);
    world.pass(Duration::from_secs(3600).as_secs());
    assert_eq!(hosts_on(&world), ["h1", "h2", "h3"]);
}

#[test]
fn a_listed_name_that_no_master_knows_is_told_as_such_where_an_alert_names_it() {
    let mut world = with_a_file();
    world.file = Ok(lists(&["h1", "h2", "h3", "mistyped.example"]));
    world.policy.retire_after = Duration::from_secs(3600);
    world.pass(60);
    world.tell_only("am1", "DiskFull", "mistyped.example");
    world.round(ROUND);
    assert!(world.is_on("mistyped.example"));
    assert_blocked!(world, "mistyped.example", Block::NeverListed);
    // One that was there is told otherwise, once it is away for long.
    world.say("h1", Verdict::On, None);
    world.node("h1").agent = Agent::Lost;
    world.pass(3600);
    world.tell_only("am1", "DiskFull", "h1");
    world.round(ROUND);
    assert_blocked!(world, "h1", Block::NotInInventory);
}

#[test]
fn a_listed_name_that_no_master_knows_takes_nothing_of_the_budget_and_leaves_in_the_end() {
    let mut world = with_a_file();
    world.file = Ok(lists(&["h1", "h2", "h3", "old1.example", "old2.example"]));
    world.policy.retire_after = Duration::from_secs(3600);
    world.policy.max_off.count = 1;
    world.pass(300);
    let budget = world.last_plan().budget;
    assert_eq!((budget.inventory, budget.away, budget.on), (3, 0, 3));
    let told = world.explain("old1.example");
    assert!(told.contains("no leading master has ever listed"), "{told}");
    world.lose("h1");
    world.pass(3000);
    assert!(world.is_on("old1.example"), "not before retire_after");
    world.pass(600);
    assert!(!world.hosts.contains_key("old1.example"));
    assert!(world.hosts.contains_key("h1"));
}
