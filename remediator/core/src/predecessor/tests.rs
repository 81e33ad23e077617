use serde_json::json;

use super::*;

/// As the predecessor wrote it: `/` escaped, flags that are not set are null.
const WHOLE: &str = r#"{
  "managed-events": {
    "mesos\/slave\/free memory in MB": {
      "host": "h1.lab", "service": "mesos\/slave\/free memory in MB", "state": "expired",
      "time": 1459516800.271, "metric": 12, "ttl": 300, "tags": null, "description": null
    }
  },
  "manual-events": {
    "swap\/disk 2": {
      "host": "h1.lab", "service": "maintenance", "state": "critical", "time": 1459516800,
      "description": "new disk, 1\/2", "ttl": 7200, "metric": 0.3333333333333333,
      "tags": ["a"], "ticket": "CHG-1", "nothing": null
    },
    "older": {"state": "ok", "time": 1459516700.5, "ttl": null}
  },
  "managed-flag": "on",
  "manual-flag": "off"
}"#;

fn read(text: &str) -> Inherited {
    Inherited::read(text.as_bytes()).unwrap()
}

fn with(managed: &Value, manual: &Value, events: &Value) -> Inherited {
    let document = json!({
        "managed-events": {}, "manual-events": events, "managed-flag": managed,
        "manual-flag": manual,
    });
    read(&document.to_string())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn continued(kept: &Inherited, now: Timestamp) -> HostDocument {
    let mut document = HostDocument::new(Verdict::On, now);
    kept.put_into(&mut document, now);
    let stored = HostDocument::decode(&document.encode()).unwrap();
    assert_eq!(stored, document);
    document
}

#[test]
fn a_document_is_read_as_the_predecessor_wrote_it() {
    let kept = read(WHOLE);
    assert_eq!((kept.verdict(), kept.managed_verdict()), (Verdict::Off, Verdict::On));
    let event = &kept.events()["swap/disk 2"];
    assert_eq!((event.state, event.reason.as_str()), (Verdict::Off, "new disk, 1/2"));
    assert_eq!((event.time, event.ttl), (at(1_459_516_800), Some(Duration::from_secs(7200))));
    assert_eq!(event.author, AUTHOR);
    let older = &kept.events()["older"];
    assert_eq!(older.time, "2016-04-01T13:18:20.5Z".parse().unwrap());
    assert_eq!((older.state, older.ttl), (Verdict::On, None));
    assert_eq!(kept.left_out(), [""; 0]);
    let document = continued(&kept, at(1_459_516_900));
    assert_eq!((document.verdict(), document.automatic_verdict()), (Verdict::Off, Verdict::On));
    assert_eq!(document.manual_events, *kept.events());
}

#[test]
fn the_flags_decide_and_neither_is_off() {
    let event = |state: &str| json!({"e": {"state": state, "time": 10}});
    for (managed, manual, events, listed) in [
        (json!("on"), json!(null), json!({}), Verdict::On),
        (json!("off"), json!(null), json!({}), Verdict::Off),
        (json!(null), json!(null), json!({}), Verdict::Off),
        (json!("on"), json!("off"), event("critical"), Verdict::Off),
        (json!("off"), json!("on"), event("ok"), Verdict::On),
        (json!(null), json!("on"), event("ok"), Verdict::On),
        (json!(null), json!("off"), event("critical"), Verdict::Off),
        (json!("on"), json!("on"), event("ok"), Verdict::On),
    ] {
        let kept = with(&managed, &manual, &events);
        let document = continued(&kept, at(1000));
        let shown = format!("{managed} {manual} {events}");
        assert_eq!((kept.verdict(), document.verdict()), (listed, listed), "{shown}");
        assert_eq!(kept.left_out().len(), 0, "{shown}");
        let is_held = managed != json!("on") && manual != json!("on");
        assert_eq!(document.is_imported(), is_held, "{shown}");
    }
}

#[test]
fn what_says_neither_is_left_out_with_what_it_had_superseded() {
    // The newest says neither, so that the managed flag decided.
    let events = json!({
        "new": {"state": "warn", "time": 30}, "mid": {"state": "critical", "time": 20},
        "old": {"state": "ok", "time": 10},
    });
    let kept = with(&json!("on"), &json!(null), &events);
    assert_eq!(kept.verdict(), Verdict::On);
    assert!(kept.events().is_empty());
    assert_eq!(
        kept.left_out(),
        [
            r#"event "new" says warn: neither on nor off"#,
            r#"event "mid" did not count: manual-flag was null"#,
            r#"event "old" did not count: manual-flag was null"#
        ]
    );
    // Also where the host is off all the same: what is superseded would outlive that.
    let kept = with(&json!(null), &json!(null), &events);
    assert_eq!(kept.verdict(), Verdict::Off);
    assert!(kept.events().is_empty());
    let kept = with(&json!("off"), &json!("off"), &json!({"e": {"state": "ok", "time": 1}}));
    assert_eq!(kept.events().keys().collect::<Vec<_>>(), ["manual-flag"]);
    let events = json!({"e": {"state": "expired", "time": 1.5}});
    assert_eq!(with(&json!("on"), &json!(null), &events).verdict(), Verdict::On);
}

#[test]
fn of_events_of_one_instant_the_flag_says_which_was_newest() {
    let events = json!({"a": {"state": "ok", "time": 9}, "b": {"state": "critical", "time": 9}});
    assert_eq!(with(&json!("off"), &json!("on"), &events).verdict(), Verdict::On);
    assert_eq!(with(&json!("on"), &json!("off"), &events).verdict(), Verdict::Off);
}

#[test]
fn a_flag_that_no_event_explains_is_continued_as_an_event() {
    let kept = with(&json!("off"), &json!("on"), &json!({}));
    assert_eq!(kept.events()["manual-flag"].state, Verdict::On);
    assert_eq!(continued(&kept, at(5)).verdict(), Verdict::On);
    assert_eq!(kept.left_out(), ["manual-flag on, without an event"]);
}

#[test]
fn what_breaks_limits_is_made_to_fit_and_said() {
    let long = "x".repeat(2000);
    let events = json!({
        "ünïcode": {"state": "ok", "time": 1}, "?n?code": {"state": "ok", "time": 2},
        (long.clone()): {"state": "ok", "time": 3, "description": long},
        "": {"state": "ok", "time": 4, "description": "two\nlines"},
    });
    let kept = with(&json!("on"), &json!("on"), &events);
    let cut = "x".repeat(128);
    assert_eq!(kept.events().keys().collect::<Vec<_>>(), ["?", "?n?code", "?n?code~2", &cut]);
    assert_eq!(kept.events()[&cut].reason.len(), MAX_REASON_LENGTH);
    assert_eq!(kept.events()["?"].reason, "two lines");
    assert_eq!(kept.left_out().len(), 5, "{:?}", kept.left_out());
}

#[test]
fn of_too_many_events_the_newest_are_kept() {
    let event = |number: usize| (format!("e{number:02}"), json!({"state": "ok", "time": number}));
    let events: Map<String, Value> = (0..50).map(event).collect();
    let kept = with(&json!(null), &json!("on"), &events.into());
    assert_eq!(kept.events().len(), MAX_MANUAL_EVENTS);
    assert!(kept.events().contains_key("e49") && !kept.events().contains_key("e17"));
    assert_eq!(kept.left_out().last().unwrap(), "and 10 more");
}

#[test]
fn an_event_is_over_strictly_after_its_end() {
    let events = json!({"e": {"state": "ok", "time": 100, "ttl": 60}});
    let kept = with(&json!("off"), &json!("on"), &events);
    assert_eq!(kept.clone().without_what_is_over(at(160)).verdict(), Verdict::On);
    let mut document = continued(&kept, at(160));
    assert_eq!((document.verdict(), document.is_imported()), (Verdict::On, true));
    document.remove_event("e");
    assert_eq!(document.verdict(), Verdict::Off, "as it was to the predecessor");
    let over = kept.without_what_is_over(at(161));
    assert_eq!(over.verdict(), Verdict::Off);
    assert_eq!(over.left_out(), [r#"event "e" (on) has run out"#]);
}

#[test]
fn a_clock_that_was_ahead_changes_neither_order_nor_end() {
    let events = json!({
        "a": {"state": "ok", "time": 5000, "ttl": 100},
        "b": {"state": "critical", "time": 5001, "ttl": 100},
    });
    let kept = with(&json!("on"), &json!("off"), &events);
    let document = continued(&kept, at(1000));
    assert!(document.instants().all(|it| it <= at(1000)));
    assert_eq!(document.ruling_event().unwrap().0, "b");
    assert_eq!(document.manual_events["b"].expires_at(), Some(at(5101)));
}

#[test]
fn what_is_no_document_is_refused_with_the_key() {
    let event = |body: &str| {
        format!(r#"{{"managed-flag":null,"manual-flag":null,"manual-events":{{"e":{body}}}}}"#)
    };
    let deep = "[".repeat(5000);
    for (text, said) in [
        (String::new(), "it is empty"),
        ("{".into(), "it is not JSON"),
        (":on".into(), "it is not JSON"),
        (deep, "it is not JSON"),
        ("[]".into(), "it is a list, and not"),
        (r#""on""#.into(), r#"it is "on", and not"#),
        ("{}".into(), "managed-flag is missing, and should be"),
        (r#"{"managed-flag":"up"}"#.into(), r#"managed-flag is "up", and should be"#),
        (r#"{"managed-flag":"on","manual-flag":1}"#.into(), "manual-flag is 1, and"),
        (r#"{"managed-flag":"on","manual-flag":null}"#.into(), "manual-events is missing"),
        (event("3"), r#"event "e" of manual-events is 3"#),
        (event("{}"), r#"state of event "e" of manual-events is missing"#),
        (event(r#"{"state":"ok"}"#), r#"time of event "e" of manual-events is missing"#),
        (event(r#"{"state":"ok","time":"now"}"#), r#"time of event "e" of manual-events is "now""#),
        (event(r#"{"state":"ok","time":1e300}"#), "time of"),
        (event(r#"{"state":"ok","time":1,"ttl":-1}"#), "ttl of event"),
        (event(r#"{"state":"ok","time":1,"ttl":"1hour"}"#), "ttl of event"),
    ] {
        let error = Inherited::read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(said), "{text}: {error}");
    }
    let large = vec![b' '; MAX_DOCUMENT_BYTES + 1];
    assert!(matches!(Inherited::read(&large), Err(Unreadable::TooLarge(_))));
}

#[test]
fn what_the_predecessor_writes_over_ours_is_known_as_such() {
    let mut document = HostDocument::new(Verdict::On, at(0));
    document.causes.push(Cause::Imported { since: at(0) });
    let ours: Value = serde_json::from_slice(&document.encode()).unwrap();
    assert_eq!(ours["managed-events"]["imported"]["state"], "critical");
    assert_eq!((&ours["managed-flag"], &ours["manual-flag"]), (&json!("off"), &json!(null)));
    let foreign = |edit: &dyn Fn(&mut Value)| {
        let mut theirs = ours.clone();
        edit(&mut theirs);
        match HostDocument::decode(theirs.to_string().as_bytes()) {
            Err(crate::document::Undecodable::Foreign(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let flag = foreign(&|it| it["managed-flag"] = json!("on"));
    assert_eq!(flag, "managed-flag is on, which does not follow from the rest of it");
    let event = json!({"e": {"state": "ok", "time": 1}});
    let said = foreign(&|it| {
        it["manual-events"] = event.clone();
        it["manual-flag"] = json!("on");
    });
    assert_eq!(said, r#"event "e" has no author"#);
    let mut bare = WHOLE.to_owned();
    bare.push('\n');
    assert!(lacks_schema(bare.as_bytes()) && !lacks_schema(&document.encode()));
    assert!(!lacks_schema(b"") && !lacks_schema(b"[]"));
}

#[test]
fn ours_is_a_document_of_the_predecessors_too() {
    let mut document = continued(&read(WHOLE), at(1_459_516_900));
    document.causes.push(Cause::Imported { since: at(7) });
    let back = Inherited::read(&document.encode()).unwrap();
    assert_eq!((back.verdict(), back.managed_verdict()), (Verdict::Off, Verdict::Off));
    assert_eq!(*back.events(), document.manual_events);
    assert_eq!(back.left_out(), [""; 0]);
}

mod any_document {
    use proptest::prelude::*;

    use super::*;

    fn flags() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![json!("on"), json!("off"), json!(null)])
    }

    fn events() -> impl Strategy<Value = Value> {
        let state = prop::sample::select(vec!["ok", "critical", "warn", "expired"]);
        let event = (state, 0..6_u32, prop::option::of(0..4_u32));
        let event = event.prop_map(
            |(state, time, ttl)| json!({"state": state, "time": f64::from(time) / 2.0, "ttl": ttl}),
        );
        prop::collection::btree_map("[a-cé]{0,2}", event, 0..6).prop_map(|events| json!(events))
    }

    proptest! {
        /// Whatever the predecessor had written, consistent or not: who was listed is, and
        /// nobody else, before it is stored and after.
        #[test]
        fn is_listed_after_as_it_was_before(
            managed in flags(), manual in flags(), events in events(), now in 0..5_i64,
        ) {
            let was = manual.as_str().or(managed.as_str()).unwrap_or("off");
            let kept = with(&managed, &manual, &events);
            let document = continued(&kept, at(now));
            prop_assert_eq!(document.verdict().to_string(), was);
            prop_assert_eq!(kept.verdict().to_string(), was);
            let back = Inherited::read(&document.encode()).unwrap();
            prop_assert_eq!(back.verdict().to_string(), was);
        }

        /// Whatever is in an event, it is refused or fits, and decides what the flags did.
        #[test]
        fn is_refused_or_fits(
            id in any::<String>(), description in any::<String>(), author in any::<String>(),
            time in prop_oneof![0.0..8e9_f64, any::<f64>()],
            ttl in prop::option::of(prop_oneof![0.0..1e12_f64, any::<f64>()]),
            is_on in any::<bool>(),
            now in 0..4_000_000_000_i64,
        ) {
            let state = if is_on { "ok" } else { "critical" };
            let event = json!({
                "state": state, "time": time, "ttl": ttl, "description": description,
                "author": author,
            });
            let flag = if is_on { "on" } else { "off" };
            let document = json!({
                "manual-events": {id: event}, "manual-flag": flag, "managed-flag": null,
            });
            if let Ok(kept) = Inherited::read(document.to_string().as_bytes()) {
                let mut document = HostDocument::new(Verdict::On, at(now));
                kept.put_into(&mut document, at(now));
                let stored = HostDocument::decode(&document.encode()).unwrap();
                prop_assert_eq!(stored.verdict().to_string(), flag);
                prop_assert!(stored.instants().all(|it| it <= at(now)));
                let (id, event) = stored.manual_events.iter().next().unwrap();
                prop_assert!(!id.is_empty() && id.len() <= MAX_EVENT_ID_LENGTH && id.is_ascii());
                for (text, limit) in
                    [(&event.reason, MAX_REASON_LENGTH), (&event.author, MAX_AUTHOR_LENGTH)]
                {
                    prop_assert!(!text.is_empty() && !text.contains(char::is_control));
                    prop_assert!(text.chars().count() <= limit);
                }
            }
        }
    }
}
