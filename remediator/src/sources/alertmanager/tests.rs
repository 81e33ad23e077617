use jiff::Timestamp;
use proptest::prelude::*;
use satellite_core::facts::Suppression;

use super::{super::fake::*, *};

/// Recorded from Debian's Alertmanager 0.25, together.
const STATUS_025: &str = include_str!("../../../tests/fixtures/alertmanager-0.25-status.json");
const ALERTS_025: &str = include_str!("../../../tests/fixtures/alertmanager-0.25-alerts.json");
const DATE_025: &str = include_str!("../../../tests/fixtures/alertmanager-0.25-status.date");

/// As the sources of newer versions describe them.
const STATUS_NEWER: &str = include_str!("../../../tests/fixtures/alertmanager-newer-status.json");
const ALERTS_NEWER: &str = include_str!("../../../tests/fixtures/alertmanager-newer-alerts.json");

async fn look(status: Answer, alerts: Answer) -> Result<Alertmanager, String> {
    let fake = Fake::start([(STATUS.path, status), (ALERTS.path, alerts)]).await;
    Client::new(http(), fake.url.clone()).look().await
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_recorded_answer_of_0_25_is_read() {
    let answer = look(dated(DATE_025, STATUS_025), ok(ALERTS_025)).await.unwrap();
    // Started at 00:03:37.844, and the header said 00:03:45.
    assert_eq!(answer.uptime, Duration::from_millis(7156));
    assert_eq!(answer.now, at("2026-11-22T00:03:45Z"));
    assert!(answer.settled);
    let named = |name: &str| answer.alerts.iter().find(|alert| alert.name() == name).unwrap();
    assert_eq!(answer.alerts.len(), 5);
    assert_eq!(named("Watchdog").suppression, None);
    let failed = named("HostCheckFailed");
    assert_eq!(failed.labels["host"], "h2.example");
    assert_eq!(failed.fingerprint, "9bab7d594e680f32");
    assert_eq!(failed.starts_at, at("2026-11-22T00:03:43.994Z"));
    assert_eq!(failed.ends_at, at("2026-11-22T00:03:47.994Z"));
    assert_eq!(failed.updated_at, at("2026-11-22T00:03:43.997Z"));
    let silence = "816630d1-913f-42ed-81eb-690243a06f02".to_owned();
    assert_eq!(failed.suppression, Some(Suppression::Silenced(vec![silence])));
    let inhibited = Suppression::Other("inhibited by 15ca601f115c3b5a".into());
    assert_eq!(named("CpuNearlyExhausted").suppression, Some(inhibited));
}

#[tokio::test]
async fn what_newer_versions_add_is_read_or_passed_over() {
    let answer = look(ok(STATUS_NEWER), ok(ALERTS_NEWER)).await.unwrap();
    assert!(!answer.settled);
    assert_eq!(answer.uptime, Duration::from_secs(45));
    let suppressions: Vec<_> =
        answer.alerts.iter().map(|alert| alert.suppression.clone()).collect();
    let other = |why: &str| Some(Suppression::Other(why.into()));
    let silenced = Some(Suppression::Silenced(vec!["s1".into(), "s2".into()]));
    assert_eq!(suppressions, [None, other("muted by weekend"), silenced, other("suppressed")]);
    // An offset is understood, and what is finer than milliseconds is cut.
    assert_eq!(answer.alerts[0].starts_at, at("2026-11-21T23:00:00.123Z"));
}

#[tokio::test]
async fn a_state_that_is_not_known_freezes_its_alert_alone() {
    let unknown = ALERTS_025.replacen("\"active\"", "\"dormant\"", 1);
    let answer = look(ok(STATUS_025), ok(&unknown)).await.unwrap();
    let frozen: Vec<_> = answer.alerts.iter().map(|alert| alert.suppression.is_some()).collect();
    assert_eq!(frozen, [true, false, true, false, true]);
    let settled = |status: &str| {
        let status = STATUS_025.replace("disabled", status);
        async move { look(ok(&status), ok("[]")).await.unwrap().settled }
    };
    assert!(settled("ready").await);
    assert!(!settled("settling").await);
    assert!(!settled("dreaming").await);
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let without = |field: &str| ALERTS_025.replacen(&format!("\"{field}\""), "\"other\"", 1);
    for field in ["labels", "startsAt", "endsAt", "updatedAt", "fingerprint", "status"] {
        let reason = look(ok(STATUS_025), ok(&without(field))).await.unwrap_err();
        let expected =
            format!("/api/v2/alerts: the answer is not readable at [0]: missing field `{field}`");
        assert!(reason.starts_with(&expected), "{reason}");
    }
    let long_ago = ALERTS_025.replacen("2026-11-22T00:03:48.280Z", "soon", 1);
    let reason = look(ok(STATUS_025), ok(&long_ago)).await.unwrap_err();
    assert!(reason.contains("not readable at [1].endsAt"), "{reason}");
    let cut = look(ok(STATUS_025), ok(&ALERTS_025[..500])).await.unwrap_err();
    assert!(cut.starts_with("/api/v2/alerts: the answer is not readable at "), "{cut}");
    let html = look(ok("<!doctype html>"), ok(ALERTS_025)).await.unwrap_err();
    assert!(html.starts_with("/api/v2/status: the answer is not readable"), "{html}");
}

#[tokio::test]
async fn one_dead_endpoint_spoils_the_other() {
    let error = "HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noh\r\n";
    let reason = look(ok(STATUS_025), Answer::Bytes(error.into())).await.unwrap_err();
    assert_eq!(reason, "/api/v2/alerts: answered 500: oh");
    let fake = Fake::start([(STATUS.path, ok(STATUS_025)), (ALERTS.path, Answer::Silence)]).await;
    let client =
        Client { deadline: Duration::from_millis(200), ..Client::new(http(), fake.url.clone()) };
    assert_eq!(client.look().await.unwrap_err(), "no whole answer within 200ms");
}

#[tokio::test]
async fn an_age_without_a_clock_is_not_guessed() {
    let undated = format!("HTTP/1.1 200 OK\r\n\r\n{STATUS_025}");
    let reason = look(Answer::Bytes(undated.into()), ok("[]")).await.unwrap_err();
    assert_eq!(reason, "/api/v2/status: the answer has no readable Date header");
}

#[tokio::test]
async fn a_start_that_lies_ahead_is_no_age() {
    let answer = look(dated("Sun, 22 Nov 2026 00:00:00 GMT", STATUS_025), ok("[]")).await;
    assert_eq!(answer.unwrap().uptime, Duration::ZERO);
}

fn response(body: Vec<u8>) -> Response {
    Response { date: Some(Timestamp::UNIX_EPOCH), body: body.into() }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(status: Vec<u8>, alerts: Vec<u8>) {
        read(&response(status), &response(alerts.clone())).ok();
        read(&response(STATUS_025.into()), &response(alerts)).ok();
    }

    #[test]
    fn no_damage_to_a_good_answer_makes_it_panic(place: prop::sample::Index, with: Vec<u8>) {
        let mut alerts = ALERTS_025.as_bytes().to_vec();
        let start = place.index(alerts.len());
        let end = (start + with.len()).min(alerts.len());
        alerts.splice(start..end, with);
        read(&response(STATUS_025.into()), &response(alerts)).ok();
    }
}
