//! Ending, and reloading.

use std::time::Duration;

use rustix::process::Signal;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::Instant};

use super::{
    fake::Mood,
    peers::check_failed,
    remediator::{Remediator, answer, eventually},
    world::World,
};

/// What every daemon promises to its supervisor.
const GRACE: Duration = Duration::from_secs(10);
/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(3);

const SUCCESSFUL: &str = "satellite_config_last_reload_successful";

async fn ends_within(mut remediator: Remediator, signal: Signal, limit: Duration) {
    let began = Instant::now();
    remediator.signal(signal);
    let status = remediator.ended().await;
    assert_eq!(status.code(), Some(0), "{:?}", remediator.log());
    assert!(began.elapsed() < limit, "{:?}: {:?}", began.elapsed(), remediator.log());
}

#[tokio::test]
async fn sigterm_ends_it_within_10_s_while_a_request_never_ends() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut stuck = TcpStream::connect(remediator.address()).await.unwrap();
    let head = "POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    stuck.write_all(head.as_bytes()).await.unwrap();
    // An answer to a later request: the first has arrived by now.
    remediator.rounds(1).await;
    ends_within(remediator, Signal::TERM, GRACE + SLACK).await;
    world.wait_for_whitelist(&super::world::HOSTS).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut stuck = TcpStream::connect(remediator.address()).await.unwrap();
    let head = "POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    stuck.write_all(head.as_bytes()).await.unwrap();
    remediator.rounds(1).await;
    remediator.signal(Signal::TERM);
    remediator.wait_for_log(r#"msg="Ending""#).await;
    ends_within(remediator, Signal::TERM, GRACE / 2).await;
}

#[tokio::test]
async fn sigint_ends_it_at_once_even_while_every_source_hangs() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.peers.all_are(Mood::Hangs);
    // A round that waits for them is under way.
    eventually(async || {
        let before = remediator.status().await["last_round"].clone();
        tokio::time::sleep(Duration::from_millis(400)).await;
        let after = remediator.status().await["last_round"].clone();
        if before == after { Ok(()) } else { Err(format!("{after}")) }
    })
    .await;
    ends_within(remediator, Signal::INT, GRACE / 2).await;
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let said = serde_json::json!({"state": "off", "reason": "the last word"});
    let requests: Vec<_> = (0..20)
        .map(|number| {
            let path = format!("/api/v1/hosts/h1.lab/events/{number}");
            tokio::spawn(answer(remediator.request("PUT", &path).json(&said)))
        })
        .collect();
    eventually(async || {
        let answered = requests.iter().filter(|it| it.is_finished()).count();
        if answered > 0 { Ok(()) } else { Err("none was answered".into()) }
    })
    .await;
    ends_within(remediator, Signal::TERM, GRACE + SLACK).await;
    let mut kept = Vec::new();
    for (number, request) in requests.into_iter().enumerate() {
        if request.await.unwrap().is_ok_and(|answer| answer.status == 201) {
            kept.push(number.to_string());
        }
    }
    let remediator = world.start_ready().await;
    let events = remediator.host("h1.lab").await["events"].clone();
    for id in kept {
        let found = events.as_array().unwrap().iter().any(|event| event["id"] == *id);
        assert!(found, "{id} was answered: {events}");
    }
}

#[tokio::test]
async fn i36_a_bad_file_is_not_taken_and_the_old_one_stays_in_force() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    assert_eq!(remediator.metric(SUCCESSFUL).await, Some(1.0));
    world.configure(|config| {
        config.replace("cluster: lab", "clutser: lab").replace("min_hosts: 1", "min_hosts: x")
    });
    let answer = remediator.post("/-/reload", "").await;
    assert_eq!(answer.status, 500);
    assert!(answer.text.contains("clutser") && answer.text.contains("min_hosts"), "{answer:?}");
    assert_eq!(remediator.metric(SUCCESSFUL).await, Some(0.0));
    // It still does its work.
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;

    world.configure(|config| config);
    assert_eq!(remediator.post("/-/reload", "").await.status, 200);
    assert_eq!(remediator.metric(SUCCESSFUL).await, Some(1.0));
}

#[tokio::test]
async fn sighup_puts_a_good_file_in_force_at_once() {
    let world = World::new().await;
    let slow = |config: String| {
        config
            .replace("reconcile_interval: 100ms", "reconcile_interval: 5m")
            .replace("merge_interval: 100ms", "merge_interval: 5m")
    };
    world.configure(|config| slow(config).replace("count: 3", "count: 0"));
    world.fire(&check_failed("h1.lab"));
    let remediator = world.start().await;
    remediator.ready().await;
    remediator.wait_for_metric("satellite_budget_limit", 0.0).await;
    assert_eq!(remediator.host("h1.lab").await["state"], "on");
    world.configure(|config| slow(config).replace("cluster: lab", "cluster: other"));
    remediator.signal(Signal::HUP);
    remediator.wait_for_host("h1.lab", "off").await;
    assert_eq!(remediator.status().await["cluster"], "other");
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_refused_at_a_reload() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for (old, new, key) in [
        ("127.0.0.1:0", "127.0.0.1:1", "listen"),
        ("cluster: lab", "web_config_file: web.yml\ncluster: lab", "web_config_file"),
        ("mesos: {", "mesos: { tls: { insecure_skip_verify: true },", "mesos.tls"),
        ("/store }", "/elsewhere }", "store"),
        ("/whitelist,", "/elsewhere,", "whitelist.file"),
    ] {
        world.configure(|config| config.replace(old, new).replace("cluster: lab", "cluster: x"));
        let answer = remediator.post("/-/reload", "").await;
        assert_eq!(answer.status, 500);
        assert!(answer.text.contains(key) && answer.text.contains("restart"), "{answer:?}");
        assert_eq!(remediator.metric(SUCCESSFUL).await, Some(0.0));
    }
    let line = remediator.wait_for_log("Kept the old configuration").await;
    assert!(line.contains("restart it") && !line.contains("valid"), "{line}");
    assert_eq!(remediator.status().await["cluster"], "lab");
}

#[tokio::test]
async fn it_is_not_ready_before_its_first_round_even_if_it_knows_its_hosts() {
    let world = World::new().await;
    world.start_ready().await.kill().await;
    world.peers.all_are(Mood::Hangs);
    let remediator = world.start().await;
    // The file follows from the store alone.
    eventually(async || {
        let hosts = remediator.metric("satellite_whitelist_hosts").await;
        hosts.filter(|it| it.to_bits() == 4f64.to_bits()).ok_or_else(|| format!("{hosts:?}"))
    })
    .await;
    let answer = remediator.get("/-/ready").await;
    assert!(answer.status == 503 && answer.text.contains("first round"), "{answer:?}");
    world.peers.all_are(Mood::Well);
    remediator.ready().await;
}
