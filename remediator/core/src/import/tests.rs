use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::*;
use crate::{
    document::{Evidence, Listing, ListingState},
    policy::MinHosts,
    whitelist::tests::policy,
};

const NOW: i64 = 1_800_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn name(host: &str) -> HostName {
    host.parse().unwrap()
}

fn on() -> HostDocument {
    let mut document = HostDocument::new(Verdict::On, at(-1000));
    document.listing = Listing { state: ListingState::Registered, since: at(-1000) };
    document
}

fn imported() -> HostDocument {
    let mut document = on();
    document.causes.push(Cause::Imported { since: at(-1000) });
    document.off_since = Some(at(-1000));
    document
}

fn sick() -> HostDocument {
    let evidence = Evidence {
        alertname: "DiskFull".into(),
        labels: Default::default(),
        starts_at: at(-500),
        fingerprint: "f".into(),
        value: None,
        seen_at: "am1".into(),
    };
    let mut document = on();
    document.causes.push(Cause::Alert { rule: "r".into(), since: at(-500), evidence });
    document
}

fn said(state: Verdict) -> HostDocument {
    let mut document = on();
    let (reason, author) = ("because".to_owned(), "ann".to_owned());
    let event = ManualEvent { state, reason, author, time: at(-100), ttl: None };
    manual::say(&mut document, "ann-1", event).unwrap();
    document
}

type Documents = BTreeMap<HostName, HostDocument>;

fn known() -> Documents {
    let all = [
        ("imported", imported()),
        ("on", on()),
        ("said-off", said(Verdict::Off)),
        ("said-on", said(Verdict::On)),
        ("sick", sick()),
        ("waits", HostDocument::new(Verdict::Off, at(-1000))),
    ];
    all.map(|(host, document)| (name(host), document)).into()
}

fn list(hosts: &[&str]) -> Source {
    Source::List(hosts.iter().map(|host| name(host)).collect())
}

fn tree<const N: usize>(hosts: [(&str, Value, Value); N]) -> Source {
    let documents = hosts.map(|(host, managed, events)| {
        let newest = events.as_object().unwrap().values().max_by_key(|it| it["time"].as_i64());
        let manual = newest.map(|it| if it["state"] == "ok" { "on" } else { "off" });
        let document = json!({
            "manual-events": events, "managed-flag": managed, "manual-flag": manual,
        });
        (name(host), Inherited::read(document.to_string().as_bytes()).unwrap())
    });
    Source::Documents(documents.into())
}

/// Imports twice: the second time there is nothing to do.
#[track_caller]
fn imports(source: &Source, hosts: &mut Documents) -> Report {
    let Import { changes, report } = import(source, hosts, "ann", "moving", at(0));
    for (host, change) in changes {
        let stored = HostDocument::decode(&change.document.encode()).unwrap();
        assert_eq!(stored, change.document);
        assert_eq!((change.record.by.as_str(), change.record.time), ("ann", at(0)));
        assert_eq!(change.record.reason, "import: moving");
        hosts.insert(host, stored);
    }
    let again = import(source, hosts, "ann", "moving", at(1));
    assert!(again.changes.is_empty(), "{:?}", again.report);
    assert_eq!((again.report.changed(), again.report.events.len()), (0, 0));
    report
}

fn names(hosts: &[HostName]) -> Vec<&str> {
    hosts.iter().map(HostName::as_str).collect()
}

fn state(hosts: &Documents, host: &str) -> Verdict {
    hosts[host].verdict()
}

#[test]
fn a_list_says_who_is_on_and_touches_neither_alerts_nor_peoples_words() {
    let mut hosts = known();
    let report = imports(&list(&["imported", "sick", "said-off", "waits", "new"]), &mut hosts);
    assert_eq!(report.added, [Added { host: name("new"), state: Verdict::On }]);
    assert_eq!(names(&report.turned_on), ["imported", "waits"]);
    assert_eq!(names(&report.turned_off), ["on"]);
    assert_eq!((report.amended.len(), report.unchanged), (0, 3));
    for (host, wanted) in [
        ("imported", Verdict::On),
        ("on", Verdict::Off),
        ("said-off", Verdict::Off),
        ("said-on", Verdict::On),
        ("sick", Verdict::Off),
        ("new", Verdict::On),
    ] {
        assert_eq!(state(&hosts, host), wanted, "{host}");
    }
    assert!(hosts["on"].is_imported());
    assert_eq!(hosts["on"].off_since, Some(at(0)));
    assert_eq!(hosts["on"].transitions.last().unwrap().what, What::Off);
    assert_eq!(hosts["imported"].off_since, None);
    assert_eq!(hosts["sick"], sick());
}

#[test]
fn documents_speak_of_those_whom_they_name_alone() {
    let mut hosts = known();
    let source = tree([
        ("imported", json!("on"), json!({})),
        ("on", json!("off"), json!({})),
        ("sick", json!("on"), json!({})),
        ("new-off", json!("off"), json!({})),
        ("new-on", json!("on"), json!({})),
        ("new-null", json!(null), json!({})),
    ]);
    let report = imports(&source, &mut hosts);
    let added = |host: &str, state| Added { host: name(host), state };
    let off = |host: &str| added(host, Verdict::Off);
    assert_eq!(report.added, [off("new-null"), off("new-off"), added("new-on", Verdict::On)]);
    assert_eq!(names(&report.turned_on), ["imported"]);
    assert_eq!(names(&report.turned_off), ["on"]);
    assert_eq!((report.unchanged, report.unnamed), (1, 3));
    assert_eq!(hosts["sick"], sick(), "off stays off, and returns when it is well");
    assert!(hosts["new-off"].is_imported());
}

#[test]
fn what_is_held_off_by_an_alert_here_and_there_returns_by_itself() {
    let mut hosts = known();
    imports(&tree([("sick", json!("off"), json!({}))]), &mut hosts);
    assert_eq!(hosts["sick"], sick());
}

#[test]
fn manual_events_are_added_and_the_newer_of_one_id_counts() {
    let event = |state: &str, seconds: i64| json!({"state": state, "time": NOW + seconds});
    let mut hosts = known();
    let source = tree([
        ("on", json!("on"), json!({"swap": event("critical", -50)})),
        ("said-off", json!("on"), json!({"ann-1": event("ok", -200), "x": event("ok", -300)})),
        ("said-on", json!("on"), json!({"ann-1": event("critical", -10)})),
        ("sick", json!("off"), json!({"fan": event("ok", -5)})),
        ("new", json!("on"), json!({"gone": {"state": "critical", "time": 1, "ttl": 1}})),
    ]);
    let report = imports(&source, &mut hosts);
    assert_eq!(names(&report.turned_off), ["on", "said-on"]);
    assert_eq!(names(&report.turned_on), ["sick"]);
    assert_eq!(names(&report.amended), ["said-off"]);
    let events = report.events.iter().map(|it| (it.host.as_str(), it.id.as_str(), it.state));
    assert_eq!(
        events.collect::<Vec<_>>(),
        [
            ("on", "swap", Verdict::Off),
            ("said-off", "x", Verdict::On),
            ("said-on", "ann-1", Verdict::Off),
            ("sick", "fan", Verdict::On)
        ]
    );
    assert_eq!(hosts["said-off"].manual_events["ann-1"].state, Verdict::Off, "ours is newer");
    assert!(hosts["sick"].causes.is_empty(), "a person's on sets them aside");
    assert_eq!(state(&hosts, "new"), Verdict::On);
    let left_out: Vec<_> = report.left_out.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(left_out, [r#"event "gone" (off) has run out"#]);
}

#[test]
fn an_event_of_a_clock_that_is_ahead_is_imported_once() {
    let mut hosts = known();
    let ahead = json!({"swap": {"state": "critical", "time": NOW + 900, "ttl": 60}});
    imports(&tree([("on", json!("on"), ahead)]), &mut hosts);
    let event = &hosts["on"].manual_events["swap"];
    assert!(event.time <= at(0));
    assert_eq!(event.expires_at(), Some(at(960)));
}

#[test]
fn a_host_that_has_no_place_for_more_events_says_which_are_left_out() {
    let mut hosts = known();
    let fill = |number: usize| {
        let event = ManualEvent {
            state: Verdict::On,
            reason: "r".into(),
            author: "ann".into(),
            time: at(-900),
            ttl: Some(Duration::from_secs(3600)),
        };
        (format!("e{number}"), event)
    };
    let full = (0..MAX_MANUAL_EVENTS).map(fill).collect();
    hosts.get_mut("on").unwrap().manual_events = full;
    let more = json!({"more": {"state": "critical", "time": NOW - 10}});
    let report = imports(&tree([("on", json!("on"), more)]), &mut hosts);
    assert_eq!(report.left_out[0].what, r#"event "more": the host has 32 already"#);
    assert_eq!(state(&hosts, "on"), Verdict::On);
}

#[test]
fn all_on_ends_imported_and_nothing_else() {
    let mut hosts = known();
    let mut both = sick();
    both.causes.push(Cause::Imported { since: at(-1000) });
    hosts.insert(name("both"), both);
    let report = imports(&Source::AllOn, &mut hosts);
    assert_eq!(names(&report.turned_on), ["imported"]);
    assert_eq!(names(&report.amended), ["both"]);
    assert_eq!(hosts["both"], sick(), "its alert holds it off");
    assert_eq!(state(&hosts, "waits"), Verdict::Off);
}

#[test]
fn an_import_keeps_the_floor_of_what_there_is() {
    let hosts: Documents =
        ["a", "b", "c", "d"].map(|host| (name(host), on())).into_iter().collect();
    let refused = |source: &Source, min_hosts| {
        let import = import(source, &hosts, "ann", "r", at(0));
        import.keep_floor(&hosts, &policy(min_hosts), at(0)).err()
    };
    let below = Some(Refusal::BelowFloor { left: 1, floor: 2 });
    assert_eq!(refused(&list(&["a", "new"]), MinHosts::Count(2)), below);
    assert_eq!(refused(&list(&["a", "b"]), MinHosts::Count(2)), None);
    assert_eq!(refused(&list(&["a", "b", "c", "d"]), MinHosts::Count(9)), None);
    // As many as there must be.
    assert_eq!(refused(&list(&["a", "b", "c"]), MinHosts::Count(3)), None);
}

#[test]
fn an_import_in_two_attempts_is_told_as_one() {
    let mut hosts = known();
    let source = list(&["imported", "new1", "new2"]);
    let whole = import(&source, &hosts, "ann", "r", at(0));
    let first: Documents =
        whole.changes.iter().take(2).map(|(a, b)| (a.clone(), b.document.clone())).collect();
    hosts.extend(first.clone());
    let half = whole.report.clone().of(|host| first.contains_key(host));
    let mut rest = import(&source, &hosts, "ann", "r", at(1)).report;
    rest.add(half);
    let sorted = |mut report: Report| {
        report.added.sort_by(|a, b| a.host.cmp(&b.host));
        report
    };
    assert_eq!(sorted(rest), sorted(whole.report));
}
