//! Recorded answers of Mesos 1.11.0 are read in full, and answers that are not quite what Mesos
//! documents cost no more than what is odd about them.

use std::borrow::Cow;

use proptest::prelude::*;
use satellite_mesos::wire::{
    agent_state, containers, master, operator, roles, snapshot, state_summary,
};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_number_of_a_recorded_snapshot_is_read() {
    for name in ["leader", "follower", "agent"] {
        let body = fixture(&format!("{name}_metrics_snapshot.json"));
        let expected: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&body).unwrap();
        let snapshot = snapshot::parse_snapshot(&body).unwrap();
        assert_eq!(snapshot.skipped, 0);
        assert_eq!(snapshot.pairs.len(), expected.len());
        for (key, value) in &snapshot.pairs {
            assert_eq!(expected[key.as_ref()].as_f64(), Some(*value), "{key}");
        }
    }
}

#[test]
fn only_the_leader_says_that_it_is_elected() {
    for (name, elected) in [("leader", 1.0), ("follower", 0.0)] {
        let body = fixture(&format!("{name}_metrics_snapshot.json"));
        let snapshot = snapshot::parse_snapshot(&body).unwrap();
        assert_eq!(snapshot.get("master/elected"), Some(elected));
    }
}

#[test]
fn an_odd_value_in_a_snapshot_costs_that_key_only() {
    let body = br#"{"b":1,"a":null,"c":"x","d":{"e":[1,{}]},"f":[2],"g":true,"h":-3,"i":4.5}"#;
    let snapshot = snapshot::parse_snapshot(body).unwrap();
    assert_eq!(snapshot.pairs, [("b".into(), 1.0), ("h".into(), -3.0), ("i".into(), 4.5)]);
    assert_eq!(snapshot.skipped, 5);
}

#[test]
fn of_a_repeated_key_the_first_value_counts_and_the_order_stays() {
    let body = br#"{"z":1,"a":2,"z":3,"m":4,"a":5,"z":6}"#;
    let snapshot = snapshot::parse_snapshot(body).unwrap();
    assert_eq!(snapshot.pairs, [("z".into(), 1.0), ("a".into(), 2.0), ("m".into(), 4.0)]);
    assert_eq!(snapshot.skipped, 3);
}

#[test]
fn a_key_with_escaped_slashes_is_the_key_with_slashes() {
    let snapshot = snapshot::parse_snapshot(br#"{"master\/uptime_secs":7.25}"#).unwrap();
    assert_eq!(snapshot.get("master/uptime_secs"), Some(7.25));
}

#[test]
fn a_body_that_is_not_the_document_says_what_was_expected_and_where_it_went_wrong() {
    for (body, reason) in [
        ("", "line 1 column 0"),
        ("<html>", "line 1 column 1"),
        ("{\"a\":1,\n", "line 2 column 0"),
        (r#"{"a":1} trailing"#, "line 1 column 9"),
        (r#"{"a":nan}"#, "line 1 column 7"),
        ("[]", "expected an object"),
        ("1", "expected an object"),
        ("null", "expected an object"),
    ] {
        let error = snapshot::parse_snapshot(body.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "not a readable metrics snapshot");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(reason), "{body}: {source}");
    }
    assert!(containers::parse_containers(b"{}").is_err());
    assert!(agent_state::parse_agent_state(b"7").is_err());
    assert!(master::parse_version(b"\"1.11.0\"").is_err());
    assert!(operator::parse_get_agents(b"").is_err());
}

#[test]
fn a_list_is_no_object_whose_fields_have_no_names() {
    for body in [&b"[]"[..], b"[{}]", b"[null]", br#"["x"]"#] {
        let source = |error: &dyn std::error::Error| error.source().unwrap().to_string();
        let errors = [
            agent_state::parse_agent_state(body).map(drop),
            containers::parse_get_containers(body).map(drop),
            master::parse_flags(body).map(drop),
            master::parse_version(body).map(drop),
            operator::parse_get_agents(body).map(drop),
            operator::parse_get_master(body).map(drop),
            roles::parse_roles(body).map(drop),
            state_summary::parse_state_summary(body).map(drop),
        ];
        for error in errors {
            assert_eq!(source(&error.unwrap_err()), "expected an object");
        }
    }
}

#[test]
fn recorded_containers_are_read_with_their_statistics() {
    let body = fixture("agent_containers.json");
    let containers = containers::parse_containers(&body).unwrap();
    assert_eq!(containers.len(), 2);
    let web = &containers[1];
    assert_eq!(web.container_id.as_deref(), Some("3cd08610-a03f-449e-a11b-623b8e42dab6"));
    assert_eq!(web.framework_id.as_deref(), Some("0bbad478-a866-46ba-b58d-3bbeae70e5e3-0000"));
    assert_eq!((web.executor_id.as_deref(), web.source.as_deref()), (Some("web-4"), Some("web-4")));
    let statistics = web.statistics.as_ref().unwrap();
    assert_eq!(statistics.get("cpus_limit"), Some(0.3));
    assert_eq!(statistics.get("mem_rss_bytes"), Some(12_939_264.0));
    assert_eq!(statistics.get("timestamp"), Some(1_795_297_087.267_422));
    // Its agent has no swap accounting: what Mesos does not report is absent.
    assert_eq!(statistics.get("mem_total_memsw_bytes"), None);
    assert_eq!(statistics.numbers.len(), 23);
    assert_eq!(statistics.disks.len(), 1);
    assert_eq!(statistics.disks[0].used_bytes, Some(8192.0));
    assert_eq!(statistics.disks[0].persistence, None);
}

#[test]
fn an_agent_that_runs_nothing_lists_no_containers() {
    assert_eq!(containers::parse_containers(b"[]").unwrap(), []);
    // Recorded: Mesos leaves the empty list out, and the object that it would be in.
    let none = br#"{"type":"GET_CONTAINERS"}"#;
    assert_eq!(containers::parse_get_containers(none).unwrap(), []);
    let odd = r#"{"type":"GET_CONTAINERS","get_containers":[]}"#;
    for other in ["{}", r#"{"type":"GET_STATE"}"#, "[]", odd] {
        assert!(containers::parse_get_containers(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn odd_containers_cost_only_what_is_odd_about_them() {
    let body = br#"[
        {"container_id":"a"},
        null, 7, "x", [],
        {"container_id":{"value":"b"},"executor_id":"e","statistics":7},
        {"container_id":"c","statistics":{"mem_rss_bytes":"much","cpus_limit":1,"cpus_limit":2,"perf":{"cycles":1},
         "disk_statistics":[{"used_bytes":1},3,{"used_bytes":null,"persistence":{"id":"vol"}}]}}]"#;
    let containers = containers::parse_containers(body).unwrap();
    let ids: Vec<_> = containers.iter().map(|c| c.container_id.as_deref()).collect();
    assert_eq!(ids, [Some("a"), None, Some("c")]);
    assert_eq!(containers[0].statistics, None);
    assert_eq!(containers[1].statistics, None);
    assert_eq!(containers[1].executor_id.as_deref(), Some("e"));
    let statistics = containers[2].statistics.as_ref().unwrap();
    assert_eq!(statistics.numbers, [("cpus_limit".into(), 1.0)]);
    assert_eq!(statistics.disks.len(), 2);
    let volume = statistics.disks[1].persistence.as_ref().unwrap();
    assert_eq!(volume.id.as_deref(), Some("vol"));
}

#[test]
fn a_recorded_agent_state_names_the_tasks_of_its_containers() {
    let body = fixture("agent1_state.json");
    let state = agent_state::parse_agent_state(&body).unwrap();
    assert_eq!(state.hostname.as_deref(), Some("127.0.2.1"));
    assert_eq!(state.version.as_deref(), Some("1.11.0"));
    assert_eq!(state.attributes.0, [("rack".into(), "r1".into())].into());
    let [framework] = &state.frameworks[..] else { panic!("one framework") };
    assert_eq!(framework.name.as_deref(), Some("real-test"));

    let containers = fixture("agent1_containers.json");
    let containers = containers::parse_containers(&containers).unwrap();
    let tasks_of = |container: &containers::Container<'_>| {
        let executor = framework.executors.iter().find(|e| e.container == container.container_id);
        let tasks = &executor.expect("each container has its executor").tasks;
        tasks.iter().map(|task| task.name.as_deref().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tasks_of(&containers[0]), ["shared", "shared", "shared"]);
    assert_eq!(tasks_of(&containers[1]), ["web-1"]);
    let label = &framework.executors[1].tasks[0].labels[0];
    assert_eq!((label.key.as_deref(), label.value.as_deref()), (Some("app"), Some("web")));
}

#[test]
fn strings_of_a_state_are_borrowed_from_the_body() {
    let body = fixture("agent1_state.json");
    let state = agent_state::parse_agent_state(&body).unwrap();
    assert!(matches!(state.hostname, Some(Cow::Borrowed(_))));
    assert!(matches!(state.frameworks[0].executors[1].tasks[0].name, Some(Cow::Borrowed(_))));
    assert!(matches!(state.attributes.0.first_key_value(), Some((Cow::Borrowed(_), _))));
}

#[test]
fn an_odd_agent_state_keeps_what_can_be_read() {
    let body = br#"{"id":7,"hostname":"h","attributes":{"rack":"r1","slots":2.5,"odd":[1],"none":null},
        "frameworks":[5,{"id":"f","name":null,"executors":{"not":"a list"}},
                      {"id":"g","executors":[{"id":"e","container":"c","tasks":[null,{"id":"t","name":["x"]}]}]}],
        "completed_frameworks":"not even a list"}"#;
    let state = agent_state::parse_agent_state(body).unwrap();
    assert_eq!((state.id.as_deref(), state.hostname.as_deref()), (None, Some("h")));
    let expected = [("rack".into(), "r1".into()), ("slots".into(), "2.5".into())].into();
    assert_eq!(state.attributes.0, expected);
    assert_eq!(state.frameworks.len(), 2);
    assert_eq!(state.frameworks[0].executors, []);
    let executor = &state.frameworks[1].executors[0];
    assert_eq!(executor.container.as_deref(), Some("c"));
    assert_eq!(executor.tasks.len(), 1);
    assert_eq!((executor.tasks[0].id.as_deref(), &executor.tasks[0].name), (Some("t"), &None));
}

#[test]
fn recorded_version_and_flags_are_read() {
    let body = fixture("leader_version.json");
    assert_eq!(master::parse_version(&body).unwrap().version.as_deref(), Some("1.11.0"));
    let body = fixture("leader_flags.json");
    let flags = master::parse_flags(&body).unwrap().flags.0;
    assert_eq!(flags.get("cluster").map(Cow::as_ref), Some("realtest"));
    assert_eq!(flags.get("quorum").map(Cow::as_ref), Some("2"));
}

#[test]
fn a_recorded_answer_to_get_master_says_since_when_it_leads() {
    let body = fixture("leader_v1_GET_MASTER.json");
    let master = operator::parse_get_master(&body).unwrap().get_master.unwrap();
    assert_eq!(master.elected_time, Some(1_795_297_011.131_461_2));
    let info = master.master_info.unwrap();
    assert_eq!(info.pid.as_deref(), Some("master@127.0.1.3:5050"));
    assert_eq!(info.version.as_deref(), Some("1.11.0"));
}

/// Reads a body as every document there is: what matters is that it returns.
fn read_as_everything(body: &[u8]) -> [bool; 7] {
    [
        snapshot::parse_snapshot(body).is_ok(),
        containers::parse_containers(body).is_ok(),
        agent_state::parse_agent_state(body).is_ok(),
        master::parse_version(body).is_ok(),
        master::parse_flags(body).is_ok(),
        operator::parse_get_master(body).is_ok(),
        operator::parse_get_agents(body).is_ok(),
    ]
}

const FIXTURES: [&str; 7] = [
    "agent_metrics_snapshot.json",
    "agent_containers.json",
    "agent1_state.json",
    "leader_version.json",
    "leader_flags.json",
    "leader_v1_GET_MASTER.json",
    "leader_v1_GET_AGENTS.json",
];

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_as_everything(&body);
    }

    #[test]
    fn no_json_like_text_makes_a_reader_panic(body in r#"([\[\]{},:"]|"a"|null|true|1e9|-0|\\u){0,60}"#) {
        read_as_everything(body.as_bytes());
    }

    #[test]
    fn a_cut_off_answer_is_never_taken_for_a_whole_one(
        document in 0..FIXTURES.len(),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = fixture(FIXTURES[document]);
        let end = body.trim_ascii_end().len();
        prop_assert_eq!(read_as_everything(&body[..cut.index(end)]), [false; 7]);
    }

    #[test]
    fn a_flipped_byte_makes_no_reader_panic(
        document in 0..FIXTURES.len(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = fixture(FIXTURES[document]);
        let position = position.index(body.len());
        body[position] = byte;
        read_as_everything(&body);
    }
}
