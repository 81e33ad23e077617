//! The first start: an empty store, with and without a file that was there before.

use std::fs;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    fake::Mood,
    remediator::eventually,
    world::{HOSTS, World},
};

#[tokio::test]
async fn without_a_leading_master_and_a_file_no_file_is_written_and_nothing_is_promised() {
    let world = World::new().await;
    world.peers.master.fake.is(Mood::Away);
    let remediator = world.start().await;
    remediator.not_ready("mesos: ").await;
    remediator.rounds(5).await;
    assert_eq!(world.whitelist(), None);
    remediator.not_ready("merge: ").await;
    // An empty list would make Prometheus drop every target.
    remediator.get("/sd/exporters").await.error(503);
    let off = json!({"state": "off", "reason": "disk swap"});
    remediator.put("/api/v1/hosts/h1.lab/events/e", &off).await.error(503);

    world.peers.master.fake.is(Mood::Well);
    world.wait_for_whitelist(&HOSTS).await;
    remediator.ready().await;
}

#[tokio::test]
async fn a_file_that_is_there_decides_who_was_taken_out_on_purpose() {
    let world = World::new().await;
    fs::write(world.whitelist_file(), "h1.lab\nh2.lab\nretired.lab\n").unwrap();
    let remediator = world.start_ready().await;
    for host in ["h1.lab", "h2.lab", "retired.lab"] {
        assert_eq!(remediator.host(host).await["state"], "on", "{host}");
    }
    for host in ["h3.lab", "h4.lab"] {
        remediator.wait_for_host(host, "off").await;
        let host = remediator.host(host).await;
        assert_eq!(host["causes"][0]["kind"], "imported", "{host}");
        assert!(host["explain"].as_str().unwrap().contains("satctl on"), "{host}");
    }
    remediator.rounds(3).await;
    world.wait_for_whitelist(&["h1.lab", "h2.lab", "retired.lab"]).await;
    let series = r#"satellite_host_off{host="h3.lab",cause="imported",rule=""}"#;
    assert_eq!(remediator.metric(series).await, Some(1.0));
}

#[tokio::test]
async fn a_list_of_nobody_that_was_written_for_a_master_to_start_is_no_list_to_begin_with() {
    let world = World::new().await;
    fs::write(world.whitelist_file(), "bootstrap.invalid\n").unwrap();
    world.peers.master.fake.is(Mood::Away);
    let remediator = world.start().await;
    remediator.not_ready("merge: ").await;
    remediator.rounds(2).await;
    assert_eq!(world.whitelist().unwrap(), "bootstrap.invalid\n", "nobody is known yet");
    // What automation remembers would make a store of what is none yet.
    let pause = remediator.request("POST", "/api/v1/pause").json(&json!({"reason": "looking"}));
    let told = remediator.send(pause).await.error(503);
    assert!(told.contains("not begun yet"), "{told}");
    world.peers.master.fake.is(Mood::Well);
    world.wait_for_whitelist(&HOSTS).await;
    remediator.ready().await;
    assert_eq!(remediator.metric("satellite_whitelist_foreign_edits_total").await, Some(0.0));
    // It took nobody out on purpose, and is no host itself.
    for host in HOSTS {
        assert_eq!(remediator.host(host).await["causes"], json!([]), "{host}");
    }
    assert_eq!(remediator.get("/api/v1/hosts/bootstrap.invalid").await.status, 404);
}

#[tokio::test]
async fn a_name_of_the_file_that_no_master_lists_is_a_persons_to_say_and_counts_for_nothing() {
    let world = World::new().await;
    fs::write(world.whitelist_file(), "h1.lab\nh2.lab\nh3.lab\nh4.lab\nold.lab\n").unwrap();
    let remediator = world.start_ready().await;
    for (state, new) in [("off", 201), ("on", 200)] {
        let said = json!({"state": state, "reason": "an old list"});
        let answer = remediator.put("/api/v1/hosts/old.lab/events/e", &said).await;
        assert_eq!((answer.status, answer.json()["state"].as_str()), (new, Some(state)));
        remediator.rounds(2).await;
        let budget = remediator.status().await["budget"].clone();
        assert_eq!((&budget["inventory"], &budget["away"]), (&json!(4), &json!(0)), "{state}");
    }
}

#[tokio::test]
async fn a_file_is_enough_to_begin_with_while_no_master_leads() {
    let world = World::new().await;
    fs::write(world.whitelist_file(), "h2.lab\nh1.lab\n").unwrap();
    world.peers.master.fake.is(Mood::Away);
    let remediator = world.start().await;
    remediator.wait_for_host("h1.lab", "on").await;
    world.wait_for_whitelist(&["h1.lab", "h2.lab"]).await;
}

#[tokio::test]
async fn a_file_that_only_a_person_can_judge_is_left_alone_with_the_reason_until_it_is_mended() {
    let cases = [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("h1.lab\nh2.lab \n", "line 2"),
        ("# our hosts\nh1.lab\n", "line 1"),
        ("h1.lab\r\n", "line 1"),
    ];
    join_all(cases.map(async |(content, reason)| {
        let world = World::new().await;
        fs::write(world.whitelist_file(), content).unwrap();
        let remediator = world.start().await;
        remediator.not_ready(reason).await;
        remediator.wait_for_metric(r#"satellite_source_blind{source="whitelist"}"#, 1.0).await;
        remediator.rounds(2).await;
        // It is said in every moment, not only now and then.
        for _ in 0..10 {
            let answer = remediator.get("/-/ready").await;
            assert!(answer.status == 503 && answer.text.contains(reason), "{answer:?}");
        }
        assert_eq!(world.whitelist().as_deref(), Some(content));

        fs::write(world.whitelist_file(), "h1.lab\nh2.lab\n").unwrap();
        remediator.ready().await;
        world.wait_for_whitelist(&["h1.lab", "h2.lab"]).await;
    }))
    .await;
}

#[tokio::test]
async fn a_folder_that_is_missing_is_said_and_tried_again_until_it_is_there() {
    let world = World::new().await;
    world.configure(|config| config.replace("/whitelist,", "/later/whitelist,"));
    let remediator = world.start().await;
    let text = remediator.not_ready("/later/").await;
    assert!(text.contains("No such file"), "{text}");
    let failures = eventually(async || {
        let failures = remediator.metric("satellite_whitelist_failures_total").await;
        failures.filter(|it| *it >= 1.0).ok_or_else(|| format!("{failures:?}"))
    })
    .await;
    // It is tried again.
    eventually(async || {
        let now = remediator.metric("satellite_whitelist_failures_total").await;
        now.filter(|it| *it > failures).ok_or_else(|| format!("{now:?}"))
    })
    .await;
    fs::create_dir(world.path("later")).unwrap();
    remediator.ready().await;
    let file = fs::read_to_string(world.path("later/whitelist")).unwrap();
    assert_eq!(file, "h1.lab\nh2.lab\nh3.lab\nh4.lab\n");
}

#[tokio::test]
async fn of_many_new_hosts_the_log_names_the_first_and_counts_the_others() {
    let world = World::new().await;
    let hosts: Vec<String> = (100..150).map(|number| format!("h{number}.lab")).collect();
    world.peers.master.lists(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    let remediator = world.start_ready().await;
    let line = remediator.wait_for_log("More hosts, each in the journal").await;
    assert!(line.contains("what=Enrolled") && line.contains("more=30"), "{line}");
    let told = remediator.log().iter().filter(|line| line.contains("msg=\"New host\"")).count();
    assert_eq!(told, 20);
    let is_enrolled = |record: &Value| record["what"] == "enrolled";
    let records = remediator.journalled("?limit=1000", is_enrolled).await;
    assert_eq!(records.iter().filter(|record| is_enrolled(record)).count(), 50);
}
