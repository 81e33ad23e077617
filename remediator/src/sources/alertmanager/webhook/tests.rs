use proptest::prelude::*;

use super::*;

/// Recorded from Debian's Alertmanager 0.25.
const FIRING: &str =
    include_str!("../../../../tests/fixtures/alertmanager-0.25-webhook-firing.json");
const RESOLVED: &str =
    include_str!("../../../../tests/fixtures/alertmanager-0.25-webhook-resolved.json");

#[test]
fn a_recorded_delivery_is_read() {
    let delivery = parse(FIRING.as_bytes()).unwrap();
    assert_eq!(delivery.receiver, "satellite\\.remediator");
    assert_eq!(delivery.group_key, r#"{}:{alertname="HostCheckFailed"}"#);
    assert_eq!(delivery.truncated, 0);
    let [alert] = &delivery.alerts[..] else { panic!("one alert") };
    assert_eq!(alert.status, Status::Firing);
    assert_eq!(alert.labels["host"], "h2.example");
    assert_eq!(alert.labels["remediate"], "host");
    assert_eq!(alert.fingerprint.as_deref(), Some("9bab7d594e680f32"));
    assert_eq!(alert.starts_at, Some("2026-11-22T00:03:43.994Z".parse().unwrap()));
    let resolved = parse(RESOLVED.as_bytes()).unwrap();
    assert_eq!(resolved.alerts[0].status, Status::Resolved);
    assert_eq!(resolved.alerts[0].labels, alert.labels);
}

#[test]
fn what_may_be_missing_or_new_does_not_matter() {
    let delivery = parse(
        br#"{"version": "4", "notification_reason": "repeat", "routeLabels": {"a": "b"},
             "status": "firing", "truncatedAlerts": 3, "alerts": [
                {"status": "resolved", "labels": {}, "startsAt": "0001-01-01T00:00:00Z"},
                {"status": "firing", "labels": {"host": "h1"}, "new": [1],
                 "startsAt": "2026-01-07T08:38:00.032813093+02:00"}]}"#,
    )
    .unwrap();
    assert_eq!(delivery.truncated, 3);
    assert_eq!((delivery.receiver.as_str(), delivery.group_key.as_str()), ("", ""));
    assert_eq!(delivery.alerts[0].starts_at, None);
    assert_eq!(delivery.alerts[0].fingerprint, None);
    let starts_at = "2026-01-07T06:38:00.032Z".parse().unwrap();
    assert_eq!(delivery.alerts[1].starts_at, Some(starts_at));
    assert_eq!(parse(br#"{"version":"4","alerts":[]}"#).unwrap().alerts, []);
}

#[test]
fn another_version_is_refused_whatever_else_it_has() {
    let refusal = parse(br#"{"version":"5\n","alerts":7}"#).unwrap_err();
    assert_eq!(refusal, Rejection::Version { found: "5".into() });
}

#[test]
fn anything_else_is_refused_with_the_place() {
    let long = format!(r#"{{"version":"4","alerts":[{{"status":"{}"}}]}}"#, "x".repeat(10_000));
    for (body, place) in [
        ("", "."),
        ("<html>", "."),
        ("null", "."),
        ("[]", "."),
        ("{}", "."),
        (r#"{"version":4,"alerts":[]}"#, "version"),
        (r#"{"version":"4"}"#, "."),
        (r#"{"version":"4","alerts":null}"#, "alerts"),
        (r#"{"version":"4","alerts":[{"labels":{}}]}"#, "alerts[0]"),
        (
            r#"{"version":"4","alerts":[{"status":"firing","labels":{"a":1}}]}"#,
            "alerts[0].labels.a",
        ),
        (r#"{"version":"4","alerts":[{"status":"firing","labels":null}]}"#, "alerts[0].labels"),
        (&long, "alerts[0].status"),
        (r#"{"version":"4","alerts":[]} and more"#, "its end"),
        (r#"{"version":"4","truncatedAlerts":-1,"alerts":[]}"#, "truncatedAlerts"),
    ] {
        let refusal = parse(body.as_bytes()).unwrap_err();
        let Rejection::Unreadable { at, .. } = &refusal else { panic!("{body}: {refusal}") };
        assert_eq!(at, place, "{refusal}");
        assert!(refusal.to_string().len() < 400);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body: Vec<u8>) {
        parse(&body).ok();
    }

    #[test]
    fn no_damage_to_a_good_delivery_makes_it_panic(place: prop::sample::Index, with: Vec<u8>) {
        let mut body = FIRING.as_bytes().to_vec();
        let start = place.index(body.len());
        let end = (start + with.len()).min(body.len());
        body.splice(start..end, with);
        parse(&body).ok();
    }
}
