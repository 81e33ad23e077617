//! `kill -9` at any moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    file::Reader,
    peers::check_failed,
    remediator::{Remediator, answer, eventually},
    world::{HOSTS, World},
};

#[tokio::test]
async fn killed_while_a_host_is_off_it_comes_back_to_the_same_verdict_and_the_same_file() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let sick = check_failed("h1.lab");
    world.fire(&sick);
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
    let said = json!({"state": "on", "reason": "it is fine", "ttl": "90m"});
    assert_eq!(remediator.put("/api/v1/hosts/h2.lab/events/e", &said).await.status, 201);
    let trusted = remediator.host("h2.lab").await["events"].clone();
    let (file, before) = (world.whitelist(), remediator.host("h1.lab").await);
    remediator.kill().await;
    let remediator = world.start().await;
    // At once, before any source was asked.
    let after = remediator.host("h1.lab").await;
    assert_eq!(after["state"], "off");
    for key in ["causes", "off_since", "transitions", "agents"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(remediator.host("h2.lab").await["events"], trusted);
    remediator.ready().await;
    remediator.rounds(8).await;
    assert_eq!(remediator.host("h1.lab").await["state"], "off");
    assert_eq!(world.whitelist(), file);
    world.heal(&sick);
    world.wait_for_whitelist(&HOSTS).await;
}

#[tokio::test]
async fn i15_an_alert_that_ended_while_it_was_dead_must_be_believed_gone_first() {
    let world = World::new().await;
    world.configure(|config| {
        // So that it can be seen to wait: 4 of these after the start.
        config.replace("resend_delay: 200ms", "resend_delay: 600ms")
    });
    let remediator = world.start_ready().await;
    let sick = check_failed("h1.lab");
    world.fire(&sick);
    remediator.wait_for_host("h1.lab", "off").await;
    remediator.kill().await;
    world.heal(&sick);
    let remediator = world.start().await;
    remediator.ready().await;
    remediator.rounds(10).await;
    let host = remediator.host("h1.lab").await;
    assert_eq!(host["state"], "off", "{host}");
    assert!(host["explain"].as_str().unwrap().contains("its end is not believed"), "{host}");
    world.wait_for_whitelist(&HOSTS).await;
}

#[tokio::test]
async fn a_hold_survives_being_killed() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let trouble = super::peers::labels([("alertname", "NoLeader"), ("remediate", "cluster")]);
    world.fire(&trouble);
    let active = r#"satellite_hold_active{rule="cluster-in-trouble"}"#;
    remediator.wait_for_metric(active, 1.0).await;
    let since = remediator.status().await["holds"][0]["since"].clone();
    remediator.kill().await;
    let remediator = world.start_ready().await;
    assert_eq!(remediator.status().await["holds"][0]["since"], since);
}

/// How often it is killed.
const KILLS: usize = 30;
/// Commands that must have been answered between two kills.
const COMMANDS: usize = 3;

/// The last word on each host that was answered, and how many words there were.
type Acknowledged = (BTreeMap<&'static str, usize>, usize);

#[tokio::test]
async fn killed_30_times_under_load_it_keeps_every_word_that_it_answered() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    let reader = Reader::start(world.whitelist_file());
    let mut remediator = Some(remediator);
    let mut next = 0;
    for _ in 0..KILLS {
        let running = match remediator.take() {
            Some(running) => running,
            None => world.start().await,
        };
        let answered = Arc::new(AtomicUsize::new(0));
        let load = load(&running, next, Arc::clone(&answered));
        eventually(async || {
            let answered = answered.load(Ordering::Relaxed);
            if answered < COMMANDS { Err(format!("{answered} commands")) } else { Ok(()) }
        })
        .await;
        running.kill().await;
        let (acknowledged, said) = load.await.unwrap();
        next = said;
        let running = world.start().await;
        for (host, number) in acknowledged {
            let events = running.host(host).await["events"].clone();
            let reason = events[0]["reason"].as_str().unwrap();
            // The one after it may have been written without an answer.
            let kept: usize = reason.parse().unwrap();
            assert!(kept >= number, "{host}: {kept}, but {number} was answered");
        }
        remediator = Some(running);
    }
    let remediator = remediator.unwrap();
    remediator.ready().await;
    for host in HOSTS {
        remediator.delete(&format!("/api/v1/hosts/{host}/events/load")).await;
    }
    world.wait_for_whitelist(&HOSTS).await;
    let seen = reader.end();
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
}

/// Says something of one host after the other until nobody answers any more.
fn load(
    remediator: &Remediator,
    first: usize,
    answered: Arc<AtomicUsize>,
) -> JoinHandle<Acknowledged> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = remediator.url("/api/v1/hosts");
    tokio::spawn(async move {
        let mut acknowledged = BTreeMap::new();
        for number in first.. {
            let host = HOSTS[number % 3];
            let state = if number % 2 == 0 { "off" } else { "on" };
            let said = json!({"state": state, "reason": number.to_string()});
            let request = client.put(format!("{url}/{host}/events/load")).json(&said);
            match answer(request).await {
                Ok(answer) => assert!([200, 201].contains(&answer.status), "{answer:?}"),
                Err(_) => return (acknowledged, number + 1),
            }
            acknowledged.insert(host, number);
            answered.fetch_add(1, Ordering::Relaxed);
        }
        unreachable!("the numbers do not end")
    })
}
