//! `POST /webhook`.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{
    dice::Dice,
    peers::{Labels, check_failed, labels},
    remediator::{PATIENCE, eventually},
    world::{HOSTS, World},
};

/// A delivery as Alertmanager 0.25 writes it.
pub(crate) fn delivery(alerts: &[Labels]) -> Value {
    let alert = |labels: &Labels| {
        json!({
            "status": "firing", "labels": labels, "annotations": {},
            "startsAt": "2026-11-22T00:03:43.994Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://10.0.0.1:9090/graph", "fingerprint": "9bab7d594e680f32",
        })
    };
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "satellite", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
        "externalURL": "http://10.0.0.1:9093",
        "alerts": alerts.iter().map(alert).collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn thousands_of_alerts_with_a_wrong_label_are_counted_and_not_all_logged() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for number in 0..300 {
        world.peers.alertmanager.fire(check_failed(&format!("wrong-{number}.lab")));
    }
    let line = remediator.wait_for_log("More alerts name no host").await;
    assert!(line.contains("more="), "{line}");
    remediator.rounds(3).await;
    assert_eq!(remediator.status().await["unmatched"].as_array().unwrap().len(), 300);
    let told = remediator.log().iter().filter(|line| line.contains("An alert names no")).count();
    // Whatever of them the first rounds saw; none is told twice.
    assert!((20..=100).contains(&told), "{told}");
}

#[tokio::test]
async fn what_is_no_delivery_of_version_4_is_refused_with_a_reason_and_counted() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut third = delivery(&[]);
    third["version"] = "3".into();
    let mut without = delivery(&[]);
    without["alerts"] = Value::Null;
    for (body, part) in [
        ("pling".to_owned(), "no Alertmanager webhook payload"),
        (String::new(), "no Alertmanager webhook payload"),
        ("[]".to_owned(), "no Alertmanager webhook payload"),
        (third.to_string(), "\"3\""),
        (without.to_string(), "alerts"),
    ] {
        let message = remediator.post("/webhook", body).await.error(400);
        assert!(message.contains(part), "{message}");
    }
    let rejected = r#"satellite_webhook_deliveries_total{outcome="rejected"}"#;
    assert_eq!(remediator.metric(rejected).await, Some(5.0));
    assert!(remediator.journal("").await.iter().all(|record| record["kind"] != "delivery"));
}

/// Posts what most clients would stop posting once the server has had enough,
/// and gives what it answers.
async fn post_all(address: &str, rest: String) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut answers, mut requests) = stream.into_split();
    let post = tokio::spawn(async move {
        let head = "POST /webhook HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        // The server may close before it has read all.
        requests.write_all(format!("{head}{rest}").as_bytes()).await.ok();
        requests
    });
    let mut answer = Vec::new();
    answers.read_to_end(&mut answer).await.ok();
    drop(post.await.unwrap());
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_over_8_mib_is_413_however_it_is_sent() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let spaces = " ".repeat(8 * 1024 * 1024 + 1);
    let length = format!("Content-Length: {}\r\n\r\n{spaces}", spaces.len());
    // In a chunk, without saying before how much it will be.
    let chunked =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{spaces}\r\n0\r\n\r\n", spaces.len());
    for rest in [length, chunked] {
        let answer = post_all(remediator.address(), rest).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains(r#"{"code":"payload_too_large","message":"#), "{answer}");
    }
    let rejected = r#"satellite_webhook_deliveries_total{outcome="rejected"}"#;
    assert_eq!(remediator.metric(rejected).await, Some(2.0));
    let line = remediator.wait_for_log("Refused a delivery").await;
    assert!(line.contains("larger than 8388608 bytes"), "{line}");

    let mut largest = delivery(&[check_failed("h1.lab")]).to_string().into_bytes();
    largest.resize(8 * 1024 * 1024, b' ');
    assert_eq!(remediator.post("/webhook", largest).await.status, 200);
}

#[tokio::test]
async fn i12_deliveries_that_arrive_at_once_have_a_limit_before_they_are_read() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut arriving = JoinSet::new();
    for number in 0..5 {
        let size = match number % 2 {
            0 => "Content-Length: 8388608",
            _ => "Transfer-Encoding: chunked",
        };
        let head = format!("POST /webhook HTTP/1.1\r\nHost: localhost\r\n{size}\r\n\r\n");
        let mut stream = TcpStream::connect(remediator.address()).await.unwrap();
        arriving.spawn(async move {
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 4096];
            let length = stream.read(&mut answer).await.unwrap();
            String::from_utf8(answer[..length].to_vec()).unwrap()
        });
    }
    // There is room for all but one, and those wait for their bodies.
    let answer = timeout(PATIENCE, arriving.join_next()).await.unwrap().unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("too many deliveries arrive at once"), "{answer}");
    let deferred = r#"satellite_webhook_deliveries_total{outcome="deferred"}"#;
    assert_eq!(remediator.metric(deferred).await, Some(1.0));
    assert_eq!(arriving.len(), 4);
    arriving.shutdown().await;
    eventually(async || {
        let answer = remediator.post("/webhook", delivery(&[]).to_string()).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn any_other_method_is_405_with_those_allowed() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = remediator.send(remediator.request(method, "/webhook")).await;
        assert_eq!(answer.headers["allow"], "POST", "{answer:?}");
        answer.error(405);
    }
}

#[tokio::test]
async fn fields_of_a_newer_alertmanager_are_ignored() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut newer = delivery(&[check_failed("h1.lab")]);
    newer["notification_reason"] = "repeat".into();
    newer["routeLabels"] = json!({"a": ["b"]});
    newer["alerts"][0]["isMuted"] = json!(false);
    assert_eq!(remediator.post("/webhook", newer.to_string()).await.status, 200);
}

#[tokio::test]
async fn a_host_that_is_unknown_or_missing_is_200_and_counted_and_changes_nothing() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let (before, hosts) = (world.whitelist(), remediator.get("/api/v1/hosts").await.text);
    let other_case = check_failed("H1.LAB");
    let mut without = check_failed("h1.lab");
    without.insert("alertname".into(), "WithoutHost".into());
    without.remove("host");
    // Alertmanager shows what it delivers.
    for alert in [&other_case, &without] {
        world.peers.alertmanager.fire(alert.clone());
    }
    let answer = remediator.post("/webhook", delivery(&[other_case, without]).to_string()).await;
    assert_eq!(answer.status, 200);
    for name in ["HostCheckFailed", "WithoutHost"] {
        let series = format!("satellite_alerts_unmatched{{alertname=\"{name}\"}}");
        remediator.wait_for_metric(&series, 1.0).await;
    }
    eventually(async || {
        let unmatched = remediator.status().await["unmatched"].clone();
        let wanted = json!([
            {"alertname": "HostCheckFailed", "host": "H1.LAB", "near_miss": "h1.lab"},
            {"alertname": "WithoutHost", "host": "", "near_miss": null},
        ]);
        if unmatched == wanted { Ok(()) } else { Err(unmatched.to_string()) }
    })
    .await;
    remediator.rounds(3).await;
    assert_eq!(world.whitelist(), before);
    assert_eq!(remediator.get("/api/v1/hosts").await.text, hosts);
}

#[tokio::test]
async fn a_delivered_alert_is_unmatched_only_until_it_ends_or_its_host_is_there() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let series = r#"satellite_alerts_unmatched{alertname="HostCheckFailed"}"#;
    let alerts = [check_failed("h8.lab"), check_failed("h9.lab")];
    remediator.post("/webhook", delivery(&alerts).to_string()).await;
    assert_eq!(remediator.metric(series).await, Some(2.0));

    let mut ended = delivery(&alerts[..1]);
    ended["alerts"][0]["status"] = "resolved".into();
    remediator.post("/webhook", ended.to_string()).await;
    assert_eq!(remediator.metric(series).await, Some(1.0));

    world.peers.master.lists(&["h1.lab", "h2.lab", "h3.lab", "h4.lab", "h9.lab"]);
    remediator.wait_for_host("h9.lab", "on").await;
    assert_eq!(remediator.metric(series).await, None);
}

#[tokio::test]
async fn i10_what_was_answered_200_is_in_the_journal_after_kill_9() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for number in 0..20 {
        let alert = labels([("alertname", "A"), ("number", &number.to_string())]);
        let answer = remediator.post("/webhook", delivery(&[alert]).to_string()).await;
        assert_eq!(answer.status, 200);
    }
    remediator.kill().await;
    let remediator = world.start_ready().await;
    let mut numbers: Vec<String> = remediator
        .journal("?limit=1000")
        .await
        .iter()
        .filter(|record| record["kind"] == "delivery")
        .map(|record| record["alerts"][0]["labels"]["number"].as_str().unwrap().to_owned())
        .collect();
    // Newest first.
    numbers.reverse();
    assert_eq!(numbers, (0..20).map(|number: i32| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn i10_what_is_answered_200_is_on_record_also_after_somebody_removed_the_journal() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let moved = world.path("store/moved");
    let take_away: [&dyn Fn() -> std::io::Result<()>; 2] =
        [&|| fs::remove_file(world.journal_file()), &|| fs::rename(world.journal_file(), &moved)];
    for take_away in take_away {
        take_away().unwrap();
        let answer = remediator.post("/webhook", delivery(&[]).to_string()).await;
        assert_eq!(answer.status, 200);
        let records = remediator.journal("").await;
        assert!(records.iter().any(|it| it["kind"] == "delivery"), "{records:?}");
        remediator.wait_for_log("The journal's file is not in its place").await;
    }
}

/// How many histories of deliveries are tried.
const HISTORIES: usize = 12;

#[tokio::test]
async fn i11_any_order_repetition_or_loss_of_deliveries_ends_in_what_is_the_case() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    // What is the case: h1 is sick, and nobody else.
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;
    let deliveries = ["h1.lab", "h2.lab"].into_iter().flat_map(|host| {
        ["firing", "resolved"].map(|status| {
            let mut delivery = delivery(&[check_failed(host)]);
            delivery["alerts"][0]["status"] = status.into();
            delivery.to_string()
        })
    });
    let deliveries: Vec<String> = deliveries.collect();
    let mut dice = Dice::from_environment();
    for _ in 0..HISTORIES {
        for _ in 0..dice.below(12) {
            let which = usize::try_from(dice.below(4)).unwrap();
            let answer = remediator.post("/webhook", deliveries[which].clone()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        remediator.rounds(1).await;
        world.wait_for_whitelist(&HOSTS[1..]).await;
    }
    for (host, wanted) in [("h1.lab", 1), ("h2.lab", 0)] {
        let view = remediator.host(host).await;
        assert_eq!(view["transitions"].as_array().unwrap().len(), wanted, "{view}");
    }
}

#[tokio::test]
async fn i13_the_status_of_the_group_counts_for_nothing() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let series = r#"satellite_alerts_unmatched{alertname="HostCheckFailed"}"#;
    // Its alert fires and the group is resolved, and then the other way round.
    for (group, alert, wanted) in [("resolved", "firing", Some(1.0)), ("firing", "resolved", None)]
    {
        let mut delivery = delivery(&[check_failed("h9.lab")]);
        delivery["status"] = group.into();
        delivery["alerts"][0]["status"] = alert.into();
        assert_eq!(remediator.post("/webhook", delivery.to_string()).await.status, 200);
        assert_eq!(remediator.metric(series).await, wanted, "{delivery}");
    }
}

#[tokio::test]
async fn i13_a_delivery_that_was_cut_is_counted_and_what_it_left_out_is_found() {
    let world = World::new().await;
    world.configure(|config| config.replace("reconcile_interval: 100ms", "reconcile_interval: 5m"));
    let remediator = world.start().await;
    remediator.ready().await;
    world.fire(&check_failed("h1.lab"));
    let mut cut = delivery(&[check_failed("h2.lab")]);
    cut["truncatedAlerts"] = 1.into();
    assert_eq!(remediator.post("/webhook", cut.to_string()).await.status, 200);
    world.wait_for_whitelist(&HOSTS[1..]).await;
    assert_eq!(remediator.metric("satellite_webhook_truncated_total").await, Some(1.0));
    let line = remediator.wait_for_log("Alertmanager left alerts out").await;
    assert!(line.contains("level=warn") && line.contains("max_alerts"), "{line}");
}

#[tokio::test]
async fn i33_what_was_delivered_before_a_restart_takes_nobody_off_after_it() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let body = delivery(&HOSTS.map(check_failed)).to_string();
    assert_eq!(remediator.post("/webhook", body).await.status, 200);
    remediator.kill().await;
    let remediator = world.start_ready().await;
    remediator.rounds(3).await;
    for host in HOSTS {
        let view = remediator.host(host).await;
        assert_eq!((&view["state"], &view["transitions"]), (&json!("on"), &json!([])), "{view}");
    }
    let records = remediator.journal("").await;
    assert!(records.iter().any(|record| record["kind"] == "delivery"), "it is on record");
}

#[tokio::test]
async fn i12_a_journal_on_a_full_disk_is_503_and_stops_nothing_else() {
    let world = World::new().await;
    fs::create_dir(world.path("store")).unwrap();
    symlink("/dev/full", world.journal_file()).unwrap();
    let remediator = world.start_ready().await;
    let sick = check_failed("h1.lab");
    let message = remediator
        .post("/webhook", delivery(std::slice::from_ref(&sick)).to_string())
        .await
        .error(503);
    assert!(message.contains("journal"), "{message}");
    let deferred = r#"satellite_webhook_deliveries_total{outcome="deferred"}"#;
    assert_eq!(remediator.metric(deferred).await, Some(1.0));
    remediator.wait_for_log("No space left on device").await;
    // The audit record is not what hosts depend on.
    world.fire(&sick);
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
}
