//! Three remediators on one ZooKeeper, each with a whitelist file of its own, as beside
//! three masters.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::Signal;
use satellite_tests::{run::Run, way::Way, zookeeper::ZooKeeper};
use serde_json::json;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use super::{
    fake::Mood,
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
        Self::with(name, &[]).await
    }

    /// With options for the Java of ZooKeeper.
    pub(super) async fn with(name: &str, options: &[&str]) -> Self {
        let run = Run::start(name).unwrap();
        let zookeeper = ZooKeeper::start_with(&run, options).unwrap();
        Self { world: World::new().await, zookeeper, run }
    }

    /// The configuration of one, which reaches ZooKeeper at `server`.
    fn config(&self, name: &str, server: &str) -> PathBuf {
        let folder = self.world.path(name);
        fs::create_dir_all(&folder).unwrap();
        let own = folder.display();
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
        self.start_by(name, self.zookeeper.address()).await
    }

    /// One that reaches ZooKeeper at `server`.
    async fn start_by(&self, name: &str, server: &str) -> One {
        self.start_from(name, &self.config(name, server)).await
    }

    async fn start_from(&self, name: &str, config: &Path) -> One {
        let remediator = Remediator::start(config).await;
        One { remediator, whitelist: self.world.path(name).join("whitelist") }
    }

    /// One of as many as there are masters, of which only the first answers; its machine has
    /// this list.
    async fn start_beside_one_of(&self, masters: usize, name: &str, list: Option<&str>) -> One {
        let config = self.config(name, self.zookeeper.address());
        let text = fs::read_to_string(&config).unwrap();
        let others: String =
            (1..masters).map(|at| format!(", \"http://127.0.0.{at}:9\"")).collect();
        let more = text.replacen("\"] }", &format!("\"{others}] }}"), 1);
        assert!(masters == 1 || more.contains(&others), "{more}");
        fs::write(&config, more).unwrap();
        if let Some(list) = list {
            fs::write(self.world.path(name).join("whitelist"), list).unwrap();
        }
        self.start_from(name, &config).await
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

/// Has it make rounds so often.
fn set_interval(config: &Path, interval: &str) {
    let text = fs::read_to_string(config).unwrap();
    let rounds = |interval: &str| format!("reconcile_interval: {interval}");
    let changed = text.replace(&rounds("100ms"), &rounds(interval));
    assert_ne!(changed, text);
    fs::write(config, changed).unwrap();
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
    shared.zookeeper.kill().unwrap();
    for one in &all {
        one.remediator.not_ready("store").await;
        one.remediator.wait_for_metric("satellite_store_up", 0.0).await;
        one.leads(false).await;
        let said = json!({"state": "off", "reason": "disk swap"});
        one.remediator.put("/api/v1/hosts/h2.lab/events/e1", &said).await.error(503);
        assert_eq!(one.remediator.host("h2.lab").await["state"], "on");
    }
    shared.world.fire(&check_failed("h1.lab"));
    shared.zookeeper.start_again().unwrap();
    for one in &all {
        one.remediator.ready().await;
    }
    all_list(&[first, second, third], &WITHOUT_H1).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_zookeeper_is_away_waits_and_touches_nothing_needs_zookeeper() {
    let mut shared = Shared::new("several-start").await;
    shared.zookeeper.kill().unwrap();
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
    shared.zookeeper.start_again().unwrap();
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
    set_interval(&shared.world.path(NAMES[0]).join("remediator.yml"), "1m");
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

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_store_is_begun_with_no_list_that_another_master_does_not_have_needs_zookeeper() {
    let shared = Shared::new("several-first").await;
    let three = "h1.lab\nh2.lab\nh3.lab\n";
    let first = shared.start_beside_one_of(3, NAMES[0], Some(three)).await;
    first.remediator.not_ready("the remediators of 1 have shown").await;
    let second = shared.start_beside_one_of(3, NAMES[1], Some("h1.lab\nh2.lab\n")).await;
    first.remediator.not_ready("the remediators of 2 have shown").await;
    let third = shared.start_beside_one_of(3, NAMES[2], None).await;
    let told = first.remediator.not_ready("the whitelists of the masters differ").await;
    for part in ["a list of 3 hosts", "a list of 2 hosts", "no list"] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!([&first, &second, &third].map(One::file), [three, "h1.lab\nh2.lab\n", ""]);
    fs::write(&second.whitelist, three).unwrap();
    all_list(&[&first, &second, &third], &["h1.lab", "h2.lab", "h3.lab"]).await;
    assert_eq!(first.remediator.host("h4.lab").await["causes"][0]["kind"], "imported");
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_documents_that_somebody_deletes_take_no_host_out_of_a_file_needs_zookeeper() {
    let shared = Shared::new("several-deleted").await;
    let [first, second, third] = shared.start_all().await;
    let said = json!({"state": "off", "reason": "disk swap"});
    assert_eq!(second.remediator.put("/api/v1/hosts/h1.lab/events/e1", &said).await.status, 201);
    all_list(&[&first, &second, &third], &WITHOUT_H1).await;
    let client = zookeeper_client::Client::connect(shared.zookeeper.address()).await.unwrap();
    for host in ["h2.lab", "h3.lab"] {
        client.delete(&format!("/satellite/whitelist/{host}"), None).await.unwrap();
    }
    for one in [&first, &second, &third] {
        let told = one.remediator.not_ready("has 3 documents, and 5 were written").await;
        assert!(told.contains("(gone: whitelist/h2.lab, whitelist/h3.lab)"), "{told}");
        one.remediator.wait_for_metric("satellite_store_up", 0.0).await;
        one.remediator.put("/api/v1/hosts/h4.lab/events/e1", &said).await.error(503);
        one.lists(&WITHOUT_H1).await;
    }
    // As if all of them had died of it.
    first.remediator.kill().await;
    let again = shared.start(NAMES[0]).await;
    again.remediator.not_ready("has 3 documents, and 5 were written").await;
    again.lists(&WITHOUT_H1).await;
    // A person means it, but for one host, whose document is made as the guide has it.
    let guide = include_str!("../../../docs/operating.md").lines();
    let mut made = guide.filter_map(|line| line.strip_prefix("    create /satellite/whitelist/"));
    let made = made.next().unwrap().split('\'').nth(1).unwrap();
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/satellite/whitelist/h3.lab", made.as_bytes(), &open).await.unwrap();
    again.remediator.not_ready("(written: whitelist/h3.lab)").await;
    second.remediator.not_ready("(gone: whitelist/h2.lab; written: whitelist/h3.lab)").await;
    client.set_data("/satellite/revision", b"", None).await.unwrap();
    for one in [&again, &second, &third] {
        one.remediator.ready().await;
    }
    // The leading master lists the other one, so that it is new.
    let left = ["h2.lab", "h4.lab"];
    all_list(&[&again, &second, &third], &left).await;
    assert_eq!(second.remediator.host("h3.lab").await["causes"][0]["kind"], "imported");
    // From then on it is looked to as before.
    client.delete("/satellite/whitelist/h4.lab", None).await.unwrap();
    for one in [&again, &second, &third] {
        one.remediator.not_ready("has 4 documents, and 5 were written").await;
        one.lists(&left).await;
    }
    shared.run.succeed();
}

/// The round has decided when the lead is lost, and what tells of the loss does not arrive:
/// only ZooKeeper can refuse what the round writes.
#[tokio::test(flavor = "multi_thread")]
async fn i32_a_round_of_one_that_leads_no_more_and_does_not_know_it_writes_nothing_needs_zookeeper()
{
    let shared = Shared::new("several-fenced").await;
    let way = Way::to(&shared.zookeeper.addresses(), Ipv4Addr::LOCALHOST).unwrap();
    let one = shared.start_by(NAMES[0], &way.addresses()[0]).await;
    one.remediator.ready().await;
    one.leads(true).await;
    one.lists(&HOSTS).await;
    let client = zookeeper_client::Client::connect(shared.zookeeper.address()).await.unwrap();
    let client = client.chroot("/satellite").unwrap();

    // A round looks at the alerts for a second time when it has decided.
    let alertmanager = &shared.world.peers.alertmanager.fake;
    shared.world.fire(&check_failed("h1.lab"));
    let before = alertmanager.held();
    for looks in [1, 2] {
        alertmanager.is(Mood::Holds("/api/v2/alerts"));
        eventually(async || match alertmanager.held() - before {
            held if held >= looks => Ok(()),
            held => Err(format!("{held} of {looks} looks")),
        })
        .await;
    }
    let leader = client.list_children("/leader").await.unwrap();
    let [latch] = &leader[..] else { panic!("{leader:?}") };
    let revision = client.check_stat("/revision").await.unwrap();
    let document = client.get_data("/whitelist/h1.lab").await.unwrap();
    // It hears nothing from here on, and notices that only after a while.
    way.mute();
    client.delete(&format!("/leader/{latch}"), None).await.unwrap();
    // Another one leads from here on, and writes nothing.
    let open = zookeeper_client::Acls::anyone_all();
    let ephemeral = zookeeper_client::CreateMode::Ephemeral.with_acls(open);
    client.create("/leader/another-latch-0000000000", b"another", &ephemeral).await.unwrap();
    let mut last = client.set_data("/wake", b"", None).await.unwrap().mzxid;
    alertmanager.is(Mood::Well);
    // ZooKeeper numbers what it refuses, too.
    eventually(async || {
        let before = last;
        last = client.set_data("/wake", b"", None).await.unwrap().mzxid;
        if last > before + 1 { Ok(()) } else { Err("no attempt to write".to_owned()) }
    })
    .await;
    assert_eq!(client.check_stat("/revision").await.unwrap(), revision);
    assert_eq!(client.get_data("/whitelist/h1.lab").await.unwrap(), document);
    way.mend();
    one.leads(false).await;
    eventually(async || {
        let status = one.remediator.status().await;
        let follows = status["deferral"].as_str().is_some_and(|it| it.contains("another"));
        if follows { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    one.lists(&HOSTS).await;
    assert_eq!(client.get_data("/whitelist/h1.lab").await.unwrap(), document);
    client.delete("/leader/another-latch-0000000000", None).await.unwrap();
    one.lists(&WITHOUT_H1).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_open_to_all_although_there_is_a_user_are_told_once_needs_zookeeper() {
    let shared = Shared::new("several-open").await;
    let server = shared.zookeeper.address();
    let one = shared.start(NAMES[0]).await;
    one.lists(&HOSTS).await;
    one.remediator.kill().await;
    let auth = shared.world.path("zk.auth");
    fs::write(&auth, "satellite:secret\n").unwrap();
    let config = shared.config(NAMES[0], server);
    let text = fs::read_to_string(&config).unwrap();
    let with_user = format!("auth_file: {}, session_timeout", auth.display());
    fs::write(&config, text.replace("session_timeout", &with_user)).unwrap();
    let remediator = Remediator::start(&config).await;
    remediator.ready().await;
    let told = |log: &[String]| {
        log.iter()
            .filter(|line| line.contains("setAcl -R /satellite "))
            .cloned()
            .collect::<Vec<_>>()
    };
    remediator.wait_for_log("setAcl").await;
    let [line] = &told(&remediator.log())[..] else { panic!("{:?}", remediator.log()) };
    let nodes = ["", "/whitelist", "/leader", "/wake", "/words", "/revision", "/automation"];
    for node in nodes {
        assert!(line.contains(&format!("/satellite{node}")), "{node}: {line}");
    }
    assert!(!line.contains("secret"), "{line}");
    remediator.kill().await;

    // Who may read alone does no harm.
    let client = zookeeper_client::Client::connector().with_auth("digest", b"satellite:secret");
    let client = client.connect(server).await.unwrap();
    let guards =
        [Acl::new(Permission::ALL, AuthId::authed()), Acl::new(Permission::READ, AuthId::anyone())];
    for node in nodes {
        client.set_acl(&format!("/satellite{node}"), &guards, None).await.unwrap();
    }
    let remediator = Remediator::start(&config).await;
    remediator.ready().await;
    assert!(told(&remediator.log()).is_empty(), "{:?}", remediator.log());
    shared.run.succeed();
}

/// With `SATELLITE_LONG_CASES=1` there are 30 000.
#[tokio::test(flavor = "multi_thread")]
async fn very_many_hosts_come_into_every_file_needs_zookeeper() {
    let is_long = std::env::var_os("SATELLITE_LONG_CASES").is_some();
    let name = |at| format!("node-{at:06}.rack-0001.zone-a.example.com");
    let names: Vec<String> = (0..if is_long { 30_000 } else { 3_000 }).map(name).collect();
    let hosts: Vec<&str> = names.iter().map(String::as_str).collect();
    let shared = Shared::new("several-many").await;
    shared.world.peers.master.lists(&hosts);
    for host in &hosts {
        shared.world.peers.prometheus.scrapes(host, true);
    }
    let mut all = Vec::new();
    for name in &NAMES[..2] {
        let config = shared.config(name, shared.zookeeper.address());
        set_interval(&config, "5s");
        let remediator = Remediator::start(&config).await;
        all.push(One { remediator, whitelist: shared.world.path(name).join("whitelist") });
    }
    let in_every_file = async |hosts: &[&str]| {
        let wanted: String = hosts.iter().flat_map(|host| [host, "\n"]).collect();
        for one in &all {
            eventually(async || match one.file() {
                found if found == wanted => Ok(()),
                found => Err(format!("{} hosts", found.lines().count())),
            })
            .await;
        }
    };
    in_every_file(&hosts).await;
    let said = json!({"state": "off", "reason": "disk swap"});
    let path = format!("/api/v1/hosts/{}/events/e1", hosts[0]);
    for (say, take_back) in [(0, 1), (1, 0)] {
        assert_eq!(all[say].remediator.put(&path, &said).await.status, 201);
        in_every_file(&hosts[1..]).await;
        assert_eq!(all[take_back].remediator.delete(&path).await.status, 200);
        in_every_file(&hosts).await;
    }
    shared.run.succeed();
}
