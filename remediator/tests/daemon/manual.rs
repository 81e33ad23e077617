//! What people say: `PUT` and `DELETE /api/v1/hosts/{host}/events/{id}`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    fake::Mood,
    peers::check_failed,
    world::{HOSTS, World},
};

fn off() -> Value {
    json!({"state": "off", "reason": "disk swap"})
}

fn on() -> Value {
    json!({"state": "on", "reason": "it is fine"})
}

#[tokio::test]
async fn a_word_is_new_then_replaced_then_taken_back_then_unknown() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let path = "/api/v1/hosts/h1.lab/events/swap";
    let answer = remediator.put(path, &off()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["state"], "off", "it shows the host as it is now");
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
    let first = remediator.host("h1.lab").await["events"][0].clone();
    assert_eq!(first["id"], "swap");
    assert_eq!(first["reason"], "disk swap");
    assert_eq!(first["ttl"], Value::Null);

    let again = json!({"state": "off", "reason": "both disks", "ttl": "2h"});
    assert_eq!(remediator.put(path, &again).await.status, 200);
    let second = remediator.host("h1.lab").await["events"].clone();
    assert_eq!(second.as_array().unwrap().len(), 1);
    assert_eq!(second[0]["reason"], "both disks");
    assert_eq!(second[0]["ttl"], "2h");
    assert!(second[0]["time"].as_str() > first["time"].as_str(), "it takes a new time");

    assert_eq!(remediator.delete(path).await.status, 200);
    world.wait_for_whitelist(&HOSTS).await;
    remediator.delete(path).await.error(404);
    remediator.delete("/api/v1/hosts/h9.lab/events/swap").await.error(404);
}

#[tokio::test]
async fn the_answer_to_a_command_says_nothing_of_what_stood_in_the_way_before() {
    let world = World::new().await;
    world.configure(|config| {
        let config = config.replace("count: 3", "count: 0");
        config.replace("reconcile_interval: 100ms", "reconcile_interval: 5m")
    });
    world.fire(&check_failed("h1.lab"));
    let remediator = world.start().await;
    remediator.ready().await;
    let blocks = |host: &Value| host["blocked_by"].to_string();
    assert!(blocks(&remediator.host("h1.lab").await).contains("budget"), "it is kept on");
    // Rounds that nobody can finish: what is said stays that of the first.
    world.peers.master.fake.is(Mood::Hangs);
    let path = "/api/v1/hosts/h1.lab/events/e";
    let said = remediator.put(path, &off()).await.json();
    for host in [said, remediator.host("h1.lab").await] {
        assert_eq!((&host["state"], blocks(&host).as_str()), (&json!("off"), "[]"));
        assert!(host["explain"].as_str().unwrap().contains("No round has looked"), "{host}");
    }
    let page = remediator.get("/").await.text;
    assert!(page.contains("h1.lab is off") && !page.contains("policy.budget.max_off allows"));
}

#[tokio::test]
async fn what_people_put_on_and_off_is_counted_from_zero_like_what_rules_do() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for (rule, to) in [("host-check", "on"), ("host-check", "off"), ("", "on"), ("", "off")] {
        let series = format!(r#"satellite_transitions_total{{to="{to}",rule="{rule}"}}"#);
        assert_eq!(remediator.metric(&series).await, Some(0.0), "{series}");
    }
    let path = "/api/v1/hosts/h1.lab/events/e";
    assert_eq!(remediator.put(path, &off()).await.status, 201);
    let counted = r#"satellite_transitions_total{to="off",rule=""}"#;
    assert_eq!(remediator.metric(counted).await, Some(1.0));
    // Said again, it puts nothing off.
    assert_eq!(remediator.put(path, &off()).await.status, 200);
    assert_eq!(remediator.metric(counted).await, Some(1.0));
    assert_eq!(remediator.put(path, &on()).await.status, 200);
    assert_eq!(remediator.metric(&counted.replace("off", "on")).await, Some(1.0));
}

#[tokio::test]
async fn i6_a_manual_on_beats_a_firing_alert_until_it_is_taken_back() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;
    let path = "/api/v1/hosts/h1.lab/events/trust";
    assert_eq!(remediator.put(path, &on()).await.status, 201);
    world.wait_for_whitelist(&HOSTS).await;
    remediator.rounds(5).await;
    let host = remediator.host("h1.lab").await;
    assert_eq!(host["state"], "on", "{host}");
    assert_eq!(host["causes"][0]["kind"], "manual", "{host}");
    assert!(host["explain"].as_str().unwrap().contains("it is fine"), "{host}");
    assert_eq!(remediator.delete(path).await.status, 200);
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
}

#[tokio::test]
async fn i9_a_manual_off_holds_a_host_that_is_well_until_its_ttl_is_over() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let short = json!({"state": "off", "reason": "a moment", "ttl": "500ms"});
    assert_eq!(remediator.put("/api/v1/hosts/h1.lab/events/e", &short).await.status, 201);
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
    world.wait_for_whitelist(&HOSTS).await;
    let host = remediator.host("h1.lab").await;
    assert_eq!(host["events"], json!([]), "{host}");
    let is_end =
        |record: &Value| record["reason"].as_str().is_some_and(|it| it.contains("expired"));
    let records = remediator.journalled("?host=h1.lab", is_end).await;
    assert!(is_end(&records[0]), "{records:?}");
}

#[tokio::test]
async fn what_would_leave_fewer_than_min_hosts_is_409_unless_forced() {
    let world = World::new().await;
    world.configure(|config| config.replace("min_hosts: 1", "min_hosts: 3"));
    let remediator = world.start_ready().await;
    assert_eq!(remediator.put("/api/v1/hosts/h1.lab/events/e", &off()).await.status, 201);
    let answer = remediator.put("/api/v1/hosts/h2.lab/events/e", &off()).await;
    let message = answer.error(409);
    assert!(message.contains("min_hosts") && message.contains("force=true"), "{message}");
    assert_eq!(remediator.host("h2.lab").await["state"], "on");
    // A host that is off already costs nobody a host.
    let more = remediator.put("/api/v1/hosts/h1.lab/events/f", &off()).await;
    assert_eq!(more.status, 201, "{more:?}");
    let forced = remediator.put("/api/v1/hosts/h2.lab/events/e?force=true", &off()).await;
    assert_eq!(forced.status, 201, "{forced:?}");
    world.wait_for_whitelist(&["h3.lab", "h4.lab"]).await;
}

#[tokio::test]
async fn taking_back_an_on_keeps_min_hosts_as_well() {
    let world = World::new().await;
    world.configure(|config| config.replace("min_hosts: 1", "min_hosts: 4"));
    let remediator = world.start_ready().await;
    let events = "/api/v1/hosts/h1.lab/events";
    assert_eq!(remediator.put(&format!("{events}/old?force=true"), &off()).await.status, 201);
    assert_eq!(remediator.put(&format!("{events}/new"), &on()).await.status, 201);
    let message = remediator.delete(&format!("{events}/new")).await.error(409);
    assert!(message.contains("force=true"), "{message}");
    assert_eq!(remediator.host("h1.lab").await["state"], "on");
    assert_eq!(remediator.delete(&format!("{events}/new?force=true")).await.status, 200);
    assert_eq!(remediator.host("h1.lab").await["state"], "off");
}

#[tokio::test]
async fn a_host_that_nobody_lists_can_be_turned_off_and_not_on() {
    let world = World::new().await;
    // Even where there are too few already.
    world.configure(|config| config.replace("min_hosts: 1", "min_hosts: 5"));
    let remediator = world.start_ready().await;
    let message = remediator.put("/api/v1/hosts/H1.lab/events/e", &on()).await.error(404);
    assert!(message.contains("did you mean h1.lab"), "{message}");
    let message = remediator.get("/api/v1/hosts/H2").await.error(404);
    assert!(message.contains("did you mean h2.lab"), "{message}");
    remediator.put("/api/v1/hosts/h9.lab/events/e", &on()).await.error(404);
    assert_eq!(remediator.get("/api/v1/hosts/h9.lab").await.status, 404);

    assert_eq!(remediator.put("/api/v1/hosts/h9.lab/events/e", &off()).await.status, 201);
    assert_eq!(remediator.host("h9.lab").await["state"], "off");
    // It returns without new words, and then stays off.
    world.peers.master.lists(&["h1.lab", "h2.lab", "h3.lab", "h4.lab", "h9.lab"]);
    remediator.rounds(3).await;
    world.wait_for_whitelist(&HOSTS).await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_400_and_says_what_to_change() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let event = "/api/v1/hosts/h1.lab/events/e";
    let long_reason = json!({"state": "off", "reason": "x".repeat(1001)});
    let long_id = format!("/api/v1/hosts/h1.lab/events/{}", "x".repeat(129));
    for (path, said, part) in [
        ("/api/v1/hosts/h1_lab/events/e", off(), "host name"),
        ("/api/v1/hosts/h1.lab%20/events/e", off(), "host name"),
        ("/api/v1/hosts/h1.lab%0Ah2.lab/events/e", off(), "host name"),
        ("/api/v1/hosts/%FF/events/e", off(), ""),
        ("/api/v1/hosts/h1.lab/events/a%0Ab", off(), "event id"),
        (&long_id, off(), "event id"),
        (event, json!({"state": "out", "reason": "r"}), "`on` or `off`"),
        (event, json!({"reason": "r"}), "state"),
        (event, json!({"state": "off"}), "reason"),
        (event, json!({"state": "off", "reason": " "}), "reason"),
        (event, json!({"state": "off", "reason": "a\n  - manual on by root"}), "reason"),
        (event, long_reason, "reason"),
        (event, json!({"state": "off", "reason": "r", "ttl": "0s"}), "ttl"),
        (event, json!({"state": "off", "reason": "r", "ttl": "soon"}), "ttl"),
        (event, json!({"state": "off", "reason": "r", "ttl": "400d"}), "ttl"),
        (event, json!({"state": "off", "reason": "r", "ttl": "5M"}), "ttl"),
        (event, json!({"state": "off", "reason": "r", "ttl": 3600}), "ttl"),
        (event, json!({"state": "off", "reason": "r", "author": "root"}), "author"),
        (event, json!([]), ""),
        ("/api/v1/hosts/h1.lab/events/e?forced=true", off(), "force=true"),
        ("/api/v1/hosts/h1.lab/events/e?force=yes", off(), "force=true"),
    ] {
        let message = remediator.put(path, &said).await.error(400);
        assert!(message.contains(part), "{path} {said}: {message}");
    }
    let without_type = remediator.request("PUT", event).body(off().to_string());
    let message = remediator.send(without_type).await.error(400);
    assert!(message.contains("application/json"), "{message}");
    assert_eq!(remediator.host("h1.lab").await["events"], json!([]));
}

#[tokio::test]
async fn a_command_of_more_than_64_kib_is_413_by_whatever_path_it_comes() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let spaces = " ".repeat(64 * 1024);
    for (method, path, said) in [
        ("PUT", "/api/v1/hosts/h1.lab/events/e", off()),
        ("POST", "/api/v1/pause", json!({"reason": "r"})),
        ("POST", "/whitelist/host/h1.lab/event/e", json!({"state": "critical"})),
    ] {
        let request = remediator.request(method, path).header("content-type", "application/json");
        let message = remediator.send(request.body(format!("{said}{spaces}"))).await.error(413);
        assert!(message.contains("larger than 65536 bytes"), "{path}: {message}");
    }
    let status = remediator.status().await;
    assert_eq!((&status["pause"], &status["manual"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn an_author_is_shown_as_unverified_and_cannot_forge_anything() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let path = "/api/v1/hosts/h1.lab/events/e";
    for (said, shown) in [
        (Some("ada"), "ada (unverified)"),
        (Some(""), "somebody on this machine (unverified)"),
        (None, "somebody on this machine (unverified)"),
    ] {
        let mut request = remediator.request("PUT", path).json(&off());
        if let Some(said) = said {
            request = request.header("X-Satellite-User", said);
        }
        let host = remediator.send(request).await.json();
        assert_eq!(host["events"][0]["author"], shown);
    }
    let long =
        remediator.request("PUT", path).json(&off()).header("X-Satellite-User", "x".repeat(500));
    let host = remediator.send(long).await.json();
    assert!(host["events"][0]["author"].as_str().unwrap().len() < 100);
    let records = remediator.journal("?host=h1.lab").await;
    assert!(records.iter().any(|record| record["by"] == "ada (unverified)"), "{records:?}");
}

#[tokio::test]
async fn a_host_takes_only_so_many_words() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut refused = None;
    for number in 0..200 {
        let path = format!("/api/v1/hosts/h1.lab/events/{number}");
        let answer = remediator.put(&path, &off()).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    refused.unwrap().error(409);
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_of_its_command_harms_nobody() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let said = off().to_string();
    let request = format!(
        "PUT /api/v1/hosts/h1.lab/events/e HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{said}",
        said.len()
    );
    for number in 0..50 {
        let mut client = TcpStream::connect(remediator.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        // At another moment each time: before it is read, while it is written, after.
        tokio::time::sleep(Duration::from_millis(number % 10)).await;
    }
    // What is in the store and what is in memory are still the same.
    let answer = remediator.put("/api/v1/hosts/h1.lab/events/e", &off()).await;
    assert!([200, 201].contains(&answer.status), "{answer:?}");
    assert_eq!(remediator.delete("/api/v1/hosts/h1.lab/events/e").await.status, 200);
    world.fire(&check_failed("h1.lab"));
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
    assert_eq!(remediator.metric("satellite_store_up").await, Some(1.0));
    let records = remediator.journal("?host=h1.lab&limit=1000").await;
    let mut versions = records.iter().map(|it| it["version"]["after"].as_u64().unwrap());
    assert!(versions.by_ref().is_sorted_by(|a, b| a > b), "each word is on record: {records:?}");
}

#[tokio::test]
async fn who_is_on_or_off_by_hand_is_told_until_that_is_taken_back() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let event = |host: &str| format!("/api/v1/hosts/{host}/events/e");
    let told = r#"satellite_manual_override{host="h1.lab",state="on"}"#;
    assert_eq!(remediator.metric(told).await, None);
    for (host, state) in [("h1.lab", "on"), ("h2.lab", "off")] {
        let said = json!({"state": state, "reason": "we look"});
        assert_eq!(remediator.put(&event(host), &said).await.status, 201);
    }
    assert_eq!(remediator.metric(told).await, Some(1.0));
    let off = r#"satellite_manual_override{host="h2.lab",state="off"}"#;
    assert_eq!(remediator.metric(off).await, Some(1.0));
    let both = json!([{"host": "h1.lab", "state": "on"}, {"host": "h2.lab", "state": "off"}]);
    assert_eq!(remediator.status().await["manual"], both);
    // Also once a round has looked at them.
    remediator.rounds(2).await;
    let page = remediator.get("/").await.text;
    assert!(page.contains("On by hand") && page.contains("h1.lab is on"), "{page}");
    for host in ["h1.lab", "h2.lab"] {
        assert_eq!(remediator.delete(&event(host)).await.status, 200);
    }
    assert_eq!(remediator.metric(told).await, None);
    assert_eq!(remediator.status().await["manual"], json!([]));
}
