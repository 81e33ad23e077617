//! Three remediators on one ZooKeeper, each with a whitelist file of its own, as beside
//! three masters.

use std::{fs, path::PathBuf, sync::Arc};

use rustix::process::Signal;
use satellite_tests::{run::Run, zookeeper::ZooKeeper};
use serde_json::json;

use super::{
    peers::check_failed,
    remediator::{Remediator, eventually},
    world::{HOSTS, World},
};

const WITHOUT_H1: [&str; 3] = ["h2.lab", "h3.lab", "h4.lab"];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What they share.
pub(super) struct Shared {
    pub(super) world: World,
    pub(super) zookeeper: ZooKeeper,
    pub(super) run: Arc<Run>,
}

/// One of them.
pub(super) struct One {
    pub(super) remediator: Remediator,
    pub(super) whitelist: PathBuf,
}

impl Shared {
    pub(super) async fn new(name: &str) -> Self {
        let run = Run::start(name).unwrap();
        let zookeeper = ZooKeeper::start(&run).unwrap();
        Self { world: World::new().await, zookeeper, run }
    }

    fn config(&self, name: &str) -> PathBuf {
        let folder = self.world.path(name);
        fs::create_dir_all(&folder).unwrap();
        let (own, server) = (folder.display(), self.zookeeper.address());
        self.world.configure(|config| config);
        let shared = fs::read_to_string(self.world.config_file()).unwrap();
        let lines = shared.lines().map(|line| match line.split_once(':') {
            Some(("store", _)) => format!(
                "store: {{ zookeeper: {{ servers: [\"{server}\"], session_timeout: 4s, \
                 journal_path: {own} }} }}"
            ),
            Some(("whitelist", _)) => {
                format!(
                    "whitelist: {{ file: {own}/whitelist, merge_interval: 100ms, min_hosts: 1 }}"
                )
            }
            // Two of four hosts in a few minutes would be one.
            Some(("policy", _)) => "policy:\n  storm: { threshold: \"100%\" }".to_owned(),
            _ => line.to_owned(),
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let file = folder.join("remediator.yml");
        fs::write(&file, text).unwrap();
        file
    }

    pub(super) async fn start(&self, name: &str) -> One {
        let remediator = Remediator::start(&self.config(name)).await;
        One { remediator, whitelist: self.world.path(name).join("whitelist") }
    }

    /// All three, the first of which leads.
    async fn start_all(&self) -> [One; 3] {
        let first = self.start(NAMES[0]).await;
        first.leads(true).await;
        let [second, third] = [self.start(NAMES[1]).await, self.start(NAMES[2]).await];
        let all = [first, second, third];
        for one in &all {
            one.remediator.ready().await;
        }
        all
    }
}

impl One {
    async fn leads(&self, leads: bool) {
        self.remediator.wait_for_metric("satellite_leader", f64::from(u8::from(leads))).await;
    }

    pub(super) fn file(&self) -> String {
        fs::read_to_string(&self.whitelist).unwrap_or_default()
    }

    pub(super) async fn lists(&self, hosts: &[&str]) {
        let wanted: String = hosts.iter().flat_map(|host| [host, "\n"]).collect();
        eventually(async || {
            let found = self.file();
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

async fn all_list(all: &[&One], hosts: &[&str]) {
    for one in all {
        one.lists(hosts).await;
    }
    eventually(async || {
        let mut told = Vec::new();
        for one in all {
            let metrics = one.remediator.get("/metrics").await.text;
            let is_hash = |line: &&str| line.starts_with("satellite_whitelist_hash_info");
            told.push(metrics.lines().find(is_hash).map(str::to_owned));
        }
        told.dedup();
        if told.len() == 1 { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_all_list_the_same_and_each_takes_commands_needs_zookeeper() {
    let shared = Shared::new("several-same").await;
    let [first, second, third] = shared.start_all().await;
    let all = [&first, &second, &third];
    all_list(&all, &HOSTS).await;
    second.leads(false).await;
    third.leads(false).await;
    let status = second.remediator.status().await;
    assert_eq!(status["leader"], false);
    assert!(status["deferral"].is_string(), "{status}");
    assert!(second.remediator.get("/").await.text.contains("Follows"));
    assert_eq!(first.remediator.status().await["deferral"], json!(null));
    shared.world.fire(&check_failed("h1.lab"));
    all_list(&all, &WITHOUT_H1).await;
    let said = json!({"state": "off", "reason": "disk swap"});
    let answer = second.remediator.put("/api/v1/hosts/h2.lab/events/e1", &said).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    all_list(&all, &["h3.lab", "h4.lab"]).await;
    let blocked = second.remediator.host("h1.lab").await["blocked_by"].to_string();
    assert!(blocked.contains("another remediator leads, "), "{blocked}");
    let blocked = second.remediator.host("h3.lab").await["blocked_by"].to_string();
    assert_eq!(blocked, "[]");
    let answer = third.remediator.delete("/api/v1/hosts/h2.lab/events/e1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    shared.world.heal(&check_failed("h1.lab"));
    all_list(&all, &HOSTS).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_leader_is_killed_another_goes_on_needs_zookeeper() {
    let shared = Shared::new("several-killed").await;
    let [first, second, third] = shared.start_all().await;
    shared.world.fire(&check_failed("h1.lab"));
    all_list(&[&first, &second, &third], &WITHOUT_H1).await;
    first.remediator.kill().await;
    let leads = |one: &One| {
        let request = one.remediator.request("GET", "/metrics");
        async {
            request.send().await.unwrap().text().await.unwrap().contains("\nsatellite_leader 1\n")
        }
    };
    eventually(async || {
        let is_led = leads(&second).await || leads(&third).await;
        if is_led { Ok(()) } else { Err("nobody leads".to_owned()) }
    })
    .await;
    all_list(&[&second, &third], &WITHOUT_H1).await;
    shared.world.fire(&check_failed("h2.lab"));
    all_list(&[&second, &third], &["h3.lab", "h4.lab"]).await;
    let first = shared.start(NAMES[0]).await;
    all_list(&[&first, &second, &third], &["h3.lab", "h4.lab"]).await;
    first.leads(false).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_writes_nothing_when_it_goes_on_needs_zookeeper() {
    let shared = Shared::new("several-stopped").await;
    let [first, second, third] = shared.start_all().await;
    all_list(&[&first, &second, &third], &HOSTS).await;
    first.remediator.signal(Signal::STOP);
    eventually(async || {
        let mut leaders = 0.0;
        for one in [&second, &third] {
            leaders += one.remediator.metric("satellite_leader").await.unwrap();
        }
        if leaders > 0.5 { Ok(()) } else { Err("nobody leads".to_owned()) }
    })
    .await;
    shared.world.fire(&check_failed("h1.lab"));
    all_list(&[&second, &third], &WITHOUT_H1).await;
    first.remediator.signal(Signal::CONT);
    first.leads(false).await;
    all_list(&[&first, &second, &third], &WITHOUT_H1).await;
    let host = second.remediator.host("h1.lab").await;
    // Each journal has what whoever led has done, also to those who stood still.
    for one in [&first, &second, &third] {
        eventually(async || {
            let records = one.remediator.journal("?host=h1.lab").await;
            let offs: Vec<_> = records.iter().filter(|it| it["what"] == "off").collect();
            if offs.len() == 1 { Ok(()) } else { Err(format!("{records:?}")) }
        })
        .await;
    }
    let offs = host["transitions"].as_array().unwrap().iter().filter(|it| it["what"] == "off");
    assert_eq!(offs.count(), 1, "{host}");
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_zookeeper_is_away_nothing_changes_and_it_is_said_needs_zookeeper() {
    let mut shared = Shared::new("several-away").await;
    let all = shared.start_all().await;
    let [first, second, third] = &all;
    all_list(&[first, second, third], &HOSTS).await;
    shared.zookeeper.process.kill().unwrap();
    for one in &all {
        one.remediator.not_ready("store").await;
        one.remediator.wait_for_metric("satellite_store_up", 0.0).await;
        one.leads(false).await;
        let said = json!({"state": "off", "reason": "disk swap"});
        one.remediator.put("/api/v1/hosts/h2.lab/events/e1", &said).await.error(503);
        assert_eq!(one.remediator.host("h2.lab").await["state"], "on");
    }
    shared.world.fire(&check_failed("h1.lab"));
    shared.zookeeper.process.start().unwrap();
    for one in &all {
        one.remediator.ready().await;
    }
    all_list(&[first, second, third], &WITHOUT_H1).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_zookeeper_is_away_waits_and_touches_nothing_needs_zookeeper() {
    let mut shared = Shared::new("several-start").await;
    shared.zookeeper.process.kill().unwrap();
    let folder = shared.world.path(NAMES[0]);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("whitelist"), "h1.lab\nh2.lab\n").unwrap();
    let one = shared.start(NAMES[0]).await;
    one.remediator.not_ready("no server").await;
    for path in ["/api/v1/hosts", "/sd/exporters", "/whitelist/on"] {
        let answer = one.remediator.get(path).await;
        assert!(matches!(answer.status, 404 | 503), "{path}: {answer:?}");
    }
    one.remediator.get("/api/v1/hosts").await.error(503);
    let metrics = one.remediator.get("/metrics").await.text;
    assert!(!metrics.contains("satellite_hosts{"), "{metrics}");
    assert_eq!(one.file(), "h1.lab\nh2.lab\n");
    shared.zookeeper.process.start().unwrap();
    one.remediator.ready().await;
    one.lists(&["h1.lab", "h2.lab"]).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_who_speak_of_one_host_at_once_none_is_lost_needs_zookeeper() {
    let shared = Shared::new("several-writers").await;
    let all = shared.start_all().await;
    let speak = |at: usize| {
        let remediator = &all[at % all.len()].remediator;
        let said = json!({"state": "on", "reason": format!("writer {at}")});
        async move { remediator.put(&format!("/api/v1/hosts/h1.lab/events/e{at}"), &said).await }
    };
    let answers = futures::future::join_all((0..20).map(speak)).await;
    assert!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    for one in &all {
        eventually(async || {
            let host = one.remediator.host("h1.lab").await;
            let events = host["events"].as_array().unwrap().len();
            if events == 20 { Ok(()) } else { Err(format!("{events} events")) }
        })
        .await;
    }
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_follower_has_the_leader_look_needs_zookeeper() {
    let shared = Shared::new("several-wake").await;
    let [first, second, _third] = shared.start_all().await;
    // It would otherwise look after a minute.
    let config = shared.world.path(NAMES[0]).join("remediator.yml");
    let text = fs::read_to_string(&config).unwrap();
    let slow = text.replace("reconcile_interval: 100ms", "reconcile_interval: 1m");
    assert_ne!(slow, text);
    fs::write(&config, slow).unwrap();
    assert_eq!(first.remediator.post("/-/reload", "").await.status, 200);
    first.remediator.rounds(1).await;
    shared.world.fire(&check_failed("h1.lab"));
    let before = first.remediator.status().await["last_round"].clone();
    let delivery = json!({"version": "4", "status": "firing", "alerts": []});
    let answer = second.remediator.post("/webhook", delivery.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    eventually(async || {
        let round = first.remediator.status().await["last_round"].clone();
        if round == before { Err(format!("still {round}")) } else { Ok(()) }
    })
    .await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_lets_another_lead_at_once_needs_zookeeper() {
    let shared = Shared::new("several-term").await;
    let [mut first, second, third] = shared.start_all().await;
    first.remediator.signal(Signal::TERM);
    assert!(first.remediator.ended().await.success());
    // What it leads by is gone with it, and not only with its session.
    let client = zookeeper_client::Client::connect(shared.zookeeper.address()).await.unwrap();
    assert_eq!(client.list_children("/satellite/leader").await.unwrap().len(), 2);
    let log = || [&second, &third].map(|one| one.remediator.log().join("\n")).join("\n");
    eventually(async || {
        let leads = log().matches(r#"msg="This remediator leads""#).count();
        if leads == 1 { Ok(()) } else { Err(log()) }
    })
    .await;
    shared.run.succeed();
}
