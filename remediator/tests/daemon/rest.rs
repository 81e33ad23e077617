//! Dry run, pause, resume, forget.

use std::fs;

use serde_json::{Value, json};

use super::{
    peers::check_failed,
    remediator::{Answer, Remediator},
    world::{HOSTS, World},
};

/// A command with a JSON body.
async fn command(remediator: &Remediator, path: &str, body: &Value) -> Answer {
    let request = remediator.request("POST", path).header("content-type", "application/json");
    remediator.send(request.body(body.to_string())).await
}

#[tokio::test]
async fn i35_a_dry_run_decides_the_same_and_does_nothing() {
    let world = World::new().await;
    world.start_ready().await.kill().await;
    world.wait_for_whitelist(&HOSTS).await;
    let before = world.whitelist();
    world.configure(|config| config.replace("policy:", "policy:\n  dry_run: true"));
    let remediator = world.start_ready().await;
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;
    remediator.rounds(2).await;
    assert_eq!(world.whitelist(), before);
    let line = remediator.wait_for_log("Dry run: the whitelist would be written").await;
    assert!(line.contains("removed=h1.lab"), "{line}");
    let line = remediator.wait_for_log(r#"msg="Host off""#).await;
    assert!(line.contains("dry_run=true"), "{line}");
    let records = remediator.journal("?host=h1.lab&limit=1").await;
    assert_eq!((&records[0]["what"], &records[0]["dry_run"]), (&json!("off"), &json!(true)));
    remediator.wait_for_metric("satellite_dry_run", 1.0).await;
    let off = r#"satellite_transitions_total{to="off",rule="host-check"}"#;
    assert_eq!(remediator.metric(off).await, Some(0.0));
    let said = json!({"state": "off", "reason": "new disk"});
    let refused = remediator.put("/api/v1/hosts/h2.lab/events/e", &said).await;
    assert!(refused.error(409).contains("dry run"));

    // What it would have done is nowhere in the store.
    world.heal(&check_failed("h1.lab"));
    remediator.kill().await;
    world.configure(|config| config);
    let remediator = world.start_ready().await;
    assert_eq!(remediator.host("h1.lab").await["state"], "on");
    assert!(remediator.host("h1.lab").await["transitions"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn i4_a_pause_keeps_a_sick_host_on_until_somebody_resumes() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let refused = command(&remediator, "/api/v1/pause", &json!({"ttl": "1h"})).await;
    assert!(refused.error(400).contains("reason"));
    let pause = json!({"reason": "switch swap", "ttl": "1h"});
    assert_eq!(command(&remediator, "/api/v1/pause", &pause).await.status, 200);
    world.fire(&check_failed("h1.lab"));
    remediator.rounds(3).await;
    let host = remediator.host("h1.lab").await;
    assert_eq!(host["state"], "on");
    assert!(host["explain"].as_str().unwrap().contains("paused by"), "{host}");
    remediator.wait_for_metric("satellite_paused", 1.0).await;

    let resumed = remediator.post("/api/v1/resume", "").await;
    assert_eq!((resumed.status, &resumed.json()["pause"]), (200, &Value::Null));
    remediator.wait_for_host("h1.lab", "off").await;
}

#[tokio::test]
async fn only_a_host_that_no_master_lists_can_be_forgotten() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    assert!(remediator.delete("/api/v1/hosts/h4.lab").await.error(409).contains("lists h4.lab"));
    world.peers.master.lists(&HOSTS[..3]);
    remediator.rounds(2).await;
    assert_eq!(remediator.delete("/api/v1/hosts/h4.lab").await.status, 200);
    remediator.delete("/api/v1/hosts/h4.lab").await.error(404);
    world.wait_for_whitelist(&HOSTS[..3]).await;
    let journal = fs::read_to_string(world.journal_file()).unwrap();
    assert!(journal.contains(r#""what":"retired""#), "{journal}");
}
