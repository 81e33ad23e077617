//! What happens in the middle of a round.
//!
//! A round looks at the alerts last. One that would take a host off looks at them
//! once more, and only then writes. Here the answers to these looks are held back,
//! so that the rest of the world can move on in between.

use serde_json::json;

use super::{
    fake::{Fake, Mood},
    peers::{Labels, check_failed},
    remediator::{Remediator, eventually},
    webhook::delivery,
    world::{HOSTS, World},
};

/// Where Alertmanager is asked what fires.
const ALERTS: Mood = Mood::Holds("/api/v2/alerts");

/// A world whose remediator makes a round only when it is woken.
async fn slow() -> (World, Remediator) {
    let world = World::new().await;
    world.configure(|config| config.replace("reconcile_interval: 100ms", "reconcile_interval: 5m"));
    let remediator = world.start().await;
    remediator.ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    (world, remediator)
}

async fn deliver(remediator: &Remediator, alert: &Labels) {
    let body = delivery(std::slice::from_ref(alert)).to_string();
    assert_eq!(remediator.post("/webhook", body).await.status, 200);
}

async fn wait_for_held(fake: &Fake, count: usize) {
    eventually(async || match fake.held() {
        held if held >= count => Ok(()),
        held => Err(format!("{held} of {count} looks")),
    })
    .await;
}

/// Waits for the end of a round that was not over when `last` was the last one.
async fn wait_for_round_after(remediator: &Remediator, last: &serde_json::Value) {
    eventually(async || {
        let round = remediator.status().await["last_round"].clone();
        if round == *last { Err(format!("still {round}")) } else { Ok(()) }
    })
    .await;
}

/// It is on, and never was anything else.
async fn stayed_on(remediator: &Remediator, host: &str) {
    let view = remediator.host(host).await;
    assert_eq!((&view["state"], &view["transitions"]), (&json!("on"), &json!([])), "{view}");
}

#[tokio::test]
async fn i9_a_person_who_speaks_between_decision_and_effect_wins() {
    let (world, remediator) = slow().await;
    let last = remediator.status().await["last_round"].clone();
    let alertmanager = &world.peers.alertmanager.fake;
    let sick = check_failed("h1.lab");
    world.fire(&sick);
    alertmanager.is(ALERTS);
    deliver(&remediator, &sick).await;
    wait_for_held(alertmanager, 1).await;
    alertmanager.is(ALERTS);
    // A second look: it is decided that the host goes off.
    wait_for_held(alertmanager, 2).await;
    let said = json!({"state": "on", "reason": "it is fine"});
    assert_eq!(remediator.put("/api/v1/hosts/h1.lab/events/e", &said).await.status, 201);
    alertmanager.is(Mood::Well);
    wait_for_round_after(&remediator, &last).await;
    remediator.rounds(1).await; // the command has woken it, too
    stayed_on(&remediator, "h1.lab").await;
    assert_eq!(world.whitelist().unwrap().lines().collect::<Vec<_>>(), HOSTS);
}

#[tokio::test]
async fn i18_an_alert_that_ends_between_decision_and_effect_takes_nobody_off() {
    let (world, remediator) = slow().await;
    let last = remediator.status().await["last_round"].clone();
    let alertmanager = &world.peers.alertmanager.fake;
    let sick = check_failed("h1.lab");
    world.fire(&sick);
    alertmanager.is(ALERTS);
    deliver(&remediator, &sick).await;
    wait_for_held(alertmanager, 1).await;
    // The first look has found it.
    world.heal(&sick);
    alertmanager.is(ALERTS);
    wait_for_held(alertmanager, 2).await;
    alertmanager.is(Mood::Well);
    wait_for_round_after(&remediator, &last).await;
    stayed_on(&remediator, "h1.lab").await;
}

#[tokio::test]
async fn a_delivery_in_the_middle_of_a_round_is_looked_into_after_it() {
    let (world, remediator) = slow().await;
    let alertmanager = &world.peers.alertmanager.fake;
    alertmanager.is(ALERTS);
    deliver(&remediator, &check_failed("h2.lab")).await;
    wait_for_held(alertmanager, 1).await;
    // That look has not found it.
    let sick = check_failed("h1.lab");
    world.fire(&sick);
    deliver(&remediator, &sick).await;
    alertmanager.is(Mood::Well);
    world.wait_for_whitelist(&HOSTS[1..]).await;
}
