//! A disk that takes nothing any more, or does not answer, and then does again.
//!
//! A limit on the size of files makes every write of the process fail, whoever
//! runs the test. What it logs goes into a pipe, which has no size.

use std::fs;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use super::{
    peers::check_failed,
    remediator::Remediator,
    world::{HOSTS, World},
};

/// From now on every write to a file fails, or works again.
fn takes_writes(remediator: &Remediator, takes: bool) {
    let current = if takes { None } else { Some(0) };
    let limit = Rlimit { current, maximum: None };
    prlimit(Some(remediator.pid()), Resource::Fsize, limit).unwrap();
}

#[tokio::test]
async fn i10_on_a_full_disk_nothing_is_acknowledged_and_nothing_is_lost() {
    let world = World::new().await;
    let remediator = Remediator::start_ignoring_file_sizes(&world.config_file()).await;
    remediator.ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    let off = json!({"state": "off", "reason": "a change"});
    let event = |id: &str| format!("/api/v1/hosts/h1.lab/events/{id}");
    assert_eq!(remediator.put(&event("before"), &off).await.status, 201);
    world.wait_for_whitelist(&HOSTS[1..]).await;

    assert_eq!(remediator.metric("satellite_journal_failures_total").await, Some(0.0));
    takes_writes(&remediator, false);
    let message = remediator.put(&event("meanwhile"), &off).await.error(503);
    assert!(message.contains("store"), "{message}");
    remediator.delete(&event("before")).await.error(503);
    let delivery = json!({"version": "4", "alerts": []});
    remediator.post("/webhook", delivery.to_string()).await.error(503);
    world.fire(&check_failed("h2.lab"));
    remediator.not_ready("store: ").await;
    remediator.wait_for_metric("satellite_store_up", 0.0).await;
    remediator.wait_for_log("Cannot write the store").await;
    assert_ne!(remediator.metric("satellite_journal_failures_total").await, Some(0.0));
    assert_eq!(world.whitelist().unwrap(), "h2.lab\nh3.lab\nh4.lab\n");
    assert_eq!(remediator.host("h2.lab").await["state"], "on", "it says what is so");

    takes_writes(&remediator, true);
    world.wait_for_whitelist(&HOSTS[2..]).await;
    remediator.wait_for_metric("satellite_store_up", 1.0).await;
    remediator.ready().await;
    assert_eq!(remediator.put(&event("after"), &off).await.status, 201);
    assert_eq!(remediator.post("/webhook", delivery.to_string()).await.status, 200);
    remediator.kill().await;

    let remediator = world.start_ready().await;
    // What was refused may or may not have come to be; what was said to be done is.
    let events = remediator.host("h1.lab").await["events"].clone();
    let has = |id: &str| events.as_array().unwrap().iter().any(|event| event["id"] == id);
    assert!(has("before") && has("after"), "{events}");
    assert_eq!(remediator.host("h2.lab").await["state"], "off");
}

#[tokio::test]
async fn i31_a_disk_that_hangs_is_told_within_a_minute_and_ends_by_itself() {
    let world = World::new().await;
    let switch = world.path("hangs");
    let remediator = Remediator::start_on_hanging_disk(&world.config_file(), &switch).await;
    remediator.ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    fs::write(&switch, "").unwrap();
    world.fire(&check_failed("h1.lab"));
    remediator.not_ready("store: it has not answered").await;
    remediator.wait_for_metric("satellite_store_up", 0.0).await;
    remediator.wait_for_log("The store does not answer").await;
    assert!(remediator.get("/").await.text.contains("Cannot record"));

    fs::remove_file(&switch).unwrap();
    world.wait_for_whitelist(&HOSTS[1..]).await;
    remediator.ready().await;
    remediator.wait_for_metric("satellite_store_up", 1.0).await;
    assert_eq!(remediator.status().await["overdue"], false);
}
