use proptest::prelude::*;

use super::{super::fake::*, *};

/// Recorded from Debian's Prometheus 2.42. Of `h2` there are two targets, `h3`
/// is dead, and one target has no host.
const UP: &str = include_str!("../../../tests/fixtures/prometheus-2.42-up.json");
const UP_NONE: &str = include_str!("../../../tests/fixtures/prometheus-2.42-up-none.json");
const RULES_OK: &str = include_str!("../../../tests/fixtures/prometheus-2.42-rules.json");
const RULES_FAILING: &str =
    include_str!("../../../tests/fixtures/prometheus-2.42-rules-failing.json");
const BAD_QUERY: &str = include_str!("../../../tests/fixtures/prometheus-2.42-bad-query.json");

async fn look(up: Answer, rules: Answer) -> Result<Prometheus, String> {
    let fake = Fake::start([(QUERY.path, up), (RULES.path, rules)]).await;
    Client::new(http(), fake.url.clone()).look("host").await
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_recorded_scrapes_are_read_to_the_millisecond() {
    let answer = look(ok(UP), ok(RULES_OK)).await.unwrap();
    assert_eq!(answer.now, at("2026-11-22T00:03:45.095Z"));
    let h1 = Scrapes::one(true, at("2026-11-22T00:03:44.143Z"));
    let h2 = Scrapes { any_up: true, all_up: true, oldest: at("2026-11-22T00:03:44.197Z") };
    let h3 = Scrapes::one(false, at("2026-11-22T00:03:44.434Z"));
    let hosts = [("h1.example", h1), ("h2.example", h2), ("h3.example", h3)];
    assert_eq!(answer.up, hosts.map(|(host, it)| (host.to_owned(), it)).into());
}

#[tokio::test]
async fn an_answer_without_targets_has_its_instant_all_the_same() {
    let answer = look(ok(UP_NONE), ok(RULES_OK)).await.unwrap();
    assert_eq!(answer.now, at("2026-11-22T00:03:45.098Z"));
    assert!(answer.up.is_empty());
}

#[tokio::test]
async fn the_recorded_rules_and_their_alerts_are_read() {
    let answer = look(ok(UP), ok(RULES_OK)).await.unwrap();
    let rules: Vec<_> = answer.rules.iter().map(|rule| rule.name.as_str()).collect();
    // Not the recording rule.
    let remediated = ["NoElectedMaster", "CpuNearlyExhausted", "HostCheckFailed", "ExporterSilent"];
    let alerting = [&remediated[..], &["Plain", "Watchdog"]].concat();
    assert_eq!(rules, alerting);
    let labelled = answer.rules.iter().filter(|rule| rule.labels.contains_key("remediate"));
    assert_eq!(labelled.map(|rule| rule.name.as_str()).collect::<Vec<_>>(), remediated);
    assert!(answer.rules.iter().all(|rule| rule.failure.is_none()));
    // The group of this rule began 1.6 ms before its turn.
    let group_began = at("2026-11-22T00:03:44.707409899Z");
    assert_eq!(answer.rules[1].evaluated_at, Some(group_began));
    let alerts: Vec<_> = answer
        .active
        .iter()
        .map(|it| (it.labels["alertname"].as_str(), it.firing, it.value.as_str()))
        .collect();
    assert_eq!(
        alerts,
        [
            ("NoElectedMaster", true, "0"),
            ("CpuNearlyExhausted", true, "0.95"),
            ("HostCheckFailed", true, "0"),
            ("ExporterSilent", false, "0"),
        ]
    );
    assert_eq!(answer.active[3].labels["host"], "h3.example");
}

#[tokio::test]
async fn an_alert_that_names_a_host_is_kept_whatever_else_it_says() {
    let rules = r#"{"status":"success","data":{"groups":[{
        "interval":15,"lastEvaluation":"2026-11-22T00:03:45Z","rules":[
        {"type":"alerting","name":"A","labels":{},"health":"ok","lastEvaluation":"2026-11-22T00:03:45Z",
         "alerts":[{"labels":{"alertname":"A","host":"h1.example"},"state":"pending","value":"1"},
                   {"labels":{"alertname":"A"},"state":"firing","value":"1"}]}]}]}}"#;
    let answer = look(ok(UP), ok(rules)).await.unwrap();
    let [active] = &answer.active[..] else { panic!("one that concerns a host") };
    assert_eq!((active.labels["host"].as_str(), active.firing), ("h1.example", false));
}

#[tokio::test]
async fn a_failing_rule_and_one_that_waits_for_its_turn_are_told_apart() {
    let answer = look(ok(UP), ok(RULES_FAILING)).await.unwrap();
    let rule = |name: &str| answer.rules.iter().find(|rule| rule.name == name).unwrap();
    let failure = rule("Ambiguous").failure.as_deref().unwrap();
    assert!(failure.starts_with("found duplicate series for the match group"), "{failure}");
    assert!(failure.len() <= FAILURE_LIMIT);
    assert!(rule("Ambiguous").evaluated_at.is_some());
    assert_eq!(
        rule("Later"),
        &AlertingRule {
            name: "Later".into(),
            labels: Labels::from([("remediate".into(), "host".into())]),
            failure: None,
            evaluated_at: None,
            interval: Duration::from_secs(14_400),
        }
    );
}

/// A group in the middle of its first evaluation has rules that had their turn
/// and rules that had not.
#[tokio::test]
async fn a_rule_of_a_group_that_has_not_ended_once_is_not_evaluated() {
    let rules = r#"{"status":"success","data":{"groups":[{
        "interval":15,"lastEvaluation":"0001-01-01T00:00:00Z","rules":[
        {"type":"alerting","name":"A","labels":{"remediate":"host"},"alerts":[],"health":"ok",
         "lastEvaluation":"2026-11-22T01:03:45.1+01:00"},
        {"type":"recording","name":"a:b","health":"ok","lastEvaluation":"0001-01-01T00:00:00Z"}]}]}}"#;
    let answer = look(ok(UP), ok(rules)).await.unwrap();
    let [rule] = &answer.rules[..] else { panic!("one alerting rule") };
    assert_eq!(rule.evaluated_at, None);
}

#[tokio::test]
async fn the_label_of_the_host_is_the_configured_one() {
    let fake = Fake::start([(QUERY.path, ok(UP)), (RULES.path, ok(RULES_OK))]).await;
    let client = Client::new(http(), fake.url.clone());
    let answer = client.look("instance").await.unwrap();
    assert!(answer.up.contains_key("10.0.0.1:9105"), "{:?}", answer.up);
    assert_eq!(
        scrapes_query("node"),
        r#"timestamp(up{job="satellite-exporter",node!=""}) * (2 * up{job="satellite-exporter",node!=""} - 1) or vector(0)"#
    );
}

#[tokio::test]
async fn errors_and_warnings_are_no_answer() {
    let bad = BAD_QUERY.trim_end();
    let refused = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{bad}", bad.len());
    let reason = look(Answer::Bytes(refused.into()), ok(RULES_OK)).await.unwrap_err();
    assert!(reason.starts_with("/api/v1/query: answered 400: {\"status\":\"error\""), "{reason}");
    // Proxies have been seen to make a 200 of it.
    let reason = look(ok(BAD_QUERY), ok(RULES_OK)).await.unwrap_err();
    assert!(reason.starts_with("/api/v1/query: answered error: invalid parameter"), "{reason}");
    let warned = UP.replacen('{', r#"{"warnings":["a store did not answer"],"#, 1);
    let reason = look(ok(&warned), ok(RULES_OK)).await.unwrap_err();
    let expected = "/api/v1/query: answered with warnings: a store did not answer";
    assert_eq!(reason, expected);
    // Prometheus 3 adds what is no warning.
    let noted = UP.replacen('{', r#"{"infos":["a metric might not be a counter"],"#, 1);
    assert!(look(ok(&noted), ok(RULES_OK)).await.is_ok());
}

#[tokio::test]
async fn half_an_answer_is_no_answer() {
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    let reason = look(ok(empty), ok(RULES_OK)).await.unwrap_err();
    assert_eq!(reason, "/api/v1/query: the answer lacks what was asked for besides up");
    for value in ["NaN", "+Inf", "1e300", "up", ""] {
        let odd = UP.replace("1795305824.143", value);
        let reason = look(ok(&odd), ok(RULES_OK)).await.unwrap_err();
        assert!(reason.starts_with("/api/v1/query: the value of "), "{value}: {reason}");
    }
    let scalar = UP.replace(r#"{"metric":{},"value""#, r#"{"value""#);
    let reason = look(ok(&scalar), ok(RULES_OK)).await.unwrap_err();
    assert!(reason.contains("data.result[4]: missing field `metric`"), "{reason}");
    let undone = RULES_OK.replacen("lastEvaluation", "later", 1);
    let reason = look(ok(UP), ok(&undone)).await.unwrap_err();
    assert!(reason.contains("data.groups[0].rules[0]: missing field `lastEvaluation`"), "{reason}");
    let gone = look(ok(UP), Answer::Bytes(b"HTTP/1.1 200 OK\r\n\r\n".into())).await.unwrap_err();
    assert!(gone.starts_with("/api/v1/rules: the answer is not readable at .: EOF"), "{gone}");
}

fn response(body: Vec<u8>) -> Response {
    Response { date: None, body: body.into() }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(up: Vec<u8>, rules: Vec<u8>) {
        read(&response(up), &response(rules.clone()), "host").ok();
        read(&response(UP.into()), &response(rules), "host").ok();
    }

    #[test]
    fn no_damage_to_a_good_answer_makes_it_panic(place: prop::sample::Index, with: Vec<u8>) {
        let damaged = |good: &str| {
            let mut bytes = good.as_bytes().to_vec();
            let start = place.index(bytes.len());
            let end = (start + with.len()).min(bytes.len());
            bytes.splice(start..end, with.iter().copied());
            response(bytes)
        };
        read(&damaged(UP), &response(RULES_OK.into()), "host").ok();
        read(&response(UP.into()), &damaged(RULES_OK), "host").ok();
    }

    #[test]
    fn every_millisecond_is_given_back(milliseconds in 0_i64..4_102_444_800_000) {
        let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
        let expected = Timestamp::from_millisecond(milliseconds).unwrap();
        prop_assert_eq!(instant(text.parse().unwrap()), Some(expected));
    }

    #[test]
    fn no_float_makes_it_panic(seconds: f64) {
        instant(seconds);
    }
}
