//! How a store is begun in which the predecessor has left its documents.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::world::{ROUND, World, assert_blocked};
use crate::{
    HostName,
    document::{Verdict, What},
    facts::FoundFile,
    plan::Block,
    policy::NewHosts,
    predecessor::Inherited,
    whitelist,
};

fn kept(managed: &str, events: &Value) -> Inherited {
    let newest = events.as_object().unwrap().values().max_by_key(|it| it["time"].as_i64());
    let manual = newest.map(|it| if it["state"] == "ok" { "on" } else { "off" });
    let managed = (managed != "null").then_some(managed);
    let document = json!({
        "managed-events": {}, "manual-events": events, "managed-flag": managed,
        "manual-flag": manual,
    });
    Inherited::read(document.to_string().as_bytes()).unwrap()
}

fn lists(hosts: &[&str]) -> FoundFile {
    FoundFile::Lists(hosts.iter().map(|host| host.parse().unwrap()).collect())
}

/// A cluster of five in which the predecessor has left documents of four and the file that it
/// made of them.
fn left_behind() -> World {
    let mut world = World::before_the_first_round(5);
    let swap = json!({"swap": {"state": "critical", "time": 10, "description": "new disk"}});
    let fan = json!({"fan": {"state": "ok", "time": 10}});
    let all = [
        ("h1", kept("on", &json!({}))),
        ("h2", kept("off", &json!({}))),
        ("h3", kept("on", &swap)),
        ("h4", kept("null", &fan)),
    ];
    world.inherited = all.map(|(host, kept)| (host.parse().unwrap(), kept)).into();
    world.file = Ok(lists(&["h1", "h4"]));
    world
}

fn file(world: &World) -> String {
    let none = BTreeSet::new();
    let merge = whitelist::merge(&world.hosts, &none, &world.policy, world.clock().wall);
    whitelist::render(&merge.hosts)
}

#[test]
fn the_first_list_is_the_predecessors_last() {
    let mut world = left_behind();
    world.round(ROUND);
    assert_eq!(file(&world), "h1\nh4\n");
    assert!(world.inherited.is_empty());
    assert!(world.document("h2").is_imported());
    assert_blocked!(world, "h2", Block::Imported);
    let event = &world.document("h3").manual_events["swap"];
    assert_eq!((event.reason.as_str(), event.author.as_str()), ("new disk", "predecessor"));
    assert!(!world.document("h3").is_imported(), "taken back, it is on again");
    assert!(world.document("h5").is_imported(), "nobody had it listed");
    assert_eq!(world.last_plan().notes, [""; 0]);
    let told = world.journal.iter().find(|(host, _)| host.as_str() == "h2").unwrap();
    assert_eq!(told.1.what, What::Enrolled);
    assert_eq!(told.1.reason, "the predecessor had it off: managed-flag off");
    world.pass(7200);
    assert_eq!(file(&world), "h1\nh4\n");
}

#[test]
fn it_needs_neither_a_file_nor_a_leading_master() {
    let mut world = left_behind();
    world.file = Ok(FoundFile::Missing);
    world.leaderless = Some("no answer".into());
    world.round(ROUND);
    assert_eq!(file(&world), "h1\nh4\n");
    world.leaderless = None;
    world.round(ROUND);
    assert!(world.document("h5").is_imported(), "it was out, as with a file");
}

#[test]
fn where_tree_and_file_differ_the_tree_decides_and_it_is_said() {
    let mut world = left_behind();
    world.file = Ok(lists(&["h2", "h4", "old.example"]));
    world.round(ROUND);
    assert_eq!(file(&world), "h1\nh4\nold.example\n");
    let notes = &world.last_plan().notes;
    assert_eq!(
        *notes,
        [
            "the whitelist that was found lists hosts that the predecessor's documents have off, \
             and that stay off: h2",
            "the whitelist that was found lists hosts of which the predecessor had no document, \
             and that are on: old.example",
            "the whitelist that was found lacks hosts that the predecessor's documents have on, \
             and that are on: h1",
        ]
    );
}

#[test]
fn i5_a_file_that_only_a_person_can_judge_begins_nothing_here_either() {
    let mut world = left_behind();
    world.file = Err(whitelist::read("").unwrap_err().to_string());
    world.pass(600);
    assert!(world.hosts.is_empty() && world.automation.first_start.is_none());
    assert!(world.is_blind("whitelist") && world.inherited.len() == 4);
}

#[test]
fn what_people_said_ends_by_its_time_here_too() {
    let mut world = left_behind();
    let now = world.clock().wall.as_second();
    let swap = json!({"swap": {"state": "critical", "time": now, "ttl": 3600}});
    world.inherited.insert("h1".parse().unwrap(), kept("on", &swap));
    world.round(ROUND);
    assert!(world.is_off("h1"));
    world.pass(3540);
    assert!(world.is_off("h1"));
    world.pass(900);
    assert!(world.is_on("h1"), "{}", world.explain("h1"));
}

#[test]
fn a_start_that_was_broken_off_goes_on_with_what_is_left() {
    for broken_off in 0..4 {
        let mut world = left_behind();
        world.policy.new_hosts = NewHosts::On;
        world.file = Ok(FoundFile::Missing);
        let plan = world.plan_now();
        let some = plan.changes.iter().filter(|(host, _)| host.as_str() != "h5");
        for (host, change) in some.skip(1).take(broken_off) {
            world.inherited.remove(host);
            world.hosts.insert(host.clone(), change.document.clone());
        }
        world.round(ROUND);
        assert_eq!(file(&world), "h1\nh4\n", "{broken_off}");
        assert!(world.document("h5").is_imported(), "{broken_off}");
    }
}

#[test]
fn what_is_left_out_of_a_document_is_on_record() {
    let mut world = left_behind();
    let warn = json!({"managed-flag": "on", "manual-flag": null,
        "manual-events": {"w": {"state": "warn", "time": 1}}});
    let warn = Inherited::read(warn.to_string().as_bytes()).unwrap();
    let host: HostName = "h1".parse().unwrap();
    world.inherited.insert(host.clone(), warn);
    world.round(ROUND);
    assert_eq!(world.document("h1").verdict(), Verdict::On);
    let (_, record) = world.journal.iter().find(|(it, _)| *it == host).unwrap();
    assert_eq!(
        record.reason,
        "the predecessor had it on: managed-flag on; event \"w\" says warn: neither on nor off"
    );
}
