//! Coming from the predecessor, in place and by import; and from one store to the other.
//!
//! The trees are built byte for byte as it wrote them, in a real ZooKeeper. What it read of a
//! document, and made its file of, is [`listed_by_the_predecessor`].

use std::{collections::BTreeMap, fs};

use satellite_tests::satellite::satctl;
use serde_json::{Value, json};
use zookeeper_client::{Acls, Client, CreateMode};

use super::{
    peers::check_failed,
    remediator::{Remediator, eventually},
    several::Shared,
    world::{HOSTS, World},
};

/// Documents as data.json wrote them: `/` escaped, flags that are not set null.
const SECOND_GENERATION: [(&str, &str); 4] = [
    (
        "h1.lab",
        r#"{"managed-events":{},"manual-events":{},"managed-flag":"on","manual-flag":null}"#,
    ),
    (
        "h2.lab",
        r#"{"managed-events":{"mesos\/slave\/free memory in MB":{"host":"h2.lab","service":"mesos\/slave\/free memory in MB","state":"expired","time":1459516800.271,"description":null,"tags":null,"metric":12,"ttl":300}},"manual-events":{},"managed-flag":"off","manual-flag":null}"#,
    ),
    (
        "h3.lab",
        r#"{"managed-events":{},"manual-events":{"disk\/2 swap":{"state":"critical","description":"new disk, 1\/2","time":1459516800,"ticket":"CHG-1"}},"managed-flag":"on","manual-flag":"off"}"#,
    ),
    (
        "h4.lab",
        r#"{"managed-events":{},"manual-events":{"fan":{"state":"ok","time":1459516700,"ttl":null,"tags":["a"]}},"managed-flag":null,"manual-flag":"on"}"#,
    ),
];

/// The same hosts as the first generation had them: what was merged, said, and found.
const FIRST_GENERATION: [(&str, &str); 9] = [
    ("/whitelist/h1.lab", ":on"),
    ("/whitelist/h2.lab", ":off"),
    ("/whitelist/h3.lab", ":off"),
    ("/whitelist/h4.lab", ":on"),
    ("/managed-whitelist/h1.lab", ":on"),
    ("/managed-whitelist/h2.lab", ":off"),
    ("/managed-whitelist/h3.lab", ":on"),
    ("/manual-whitelist/h3.lab", ":off"),
    ("/manual-whitelist/h4.lab", ":on"),
];

const LISTED: [&str; 2] = ["h1.lab", "h4.lab"];

struct Tree(Client);

impl Tree {
    /// As a person does who goes on from what is there.
    async fn count_anew(&self) {
        self.0.set_data("/satellite/revision", b"", None).await.unwrap();
    }

    async fn at(shared: &Shared) -> Self {
        Self(Client::connect(shared.zookeeper.address()).await.unwrap())
    }

    async fn put(&self, path: &str, data: &str) {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let (parent, _) = path.rsplit_once('/').unwrap();
        self.0.mkdir(parent, &options).await.unwrap();
        if self.0.check_stat(path).await.unwrap().is_some() {
            self.0.set_data(path, data.as_bytes(), None).await.unwrap();
        } else {
            self.0.create(path, data.as_bytes(), &options).await.unwrap();
        }
    }

    async fn second_generation(&self, root: &str) {
        for (host, document) in SECOND_GENERATION {
            self.put(&format!("{root}/whitelist/{host}"), document).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let (data, _) = self.0.get_data(path).await.unwrap();
        serde_json::from_slice(&data).unwrap()
    }

    /// Everything below a node that is a host, and its version.
    async fn versions(&self, path: &str) -> BTreeMap<String, i32> {
        let mut versions = BTreeMap::new();
        for host in self.0.list_children(path).await.unwrap() {
            let stat = self.0.check_stat(&format!("{path}/{host}")).await.unwrap().unwrap();
            versions.insert(host, stat.version);
        }
        versions
    }
}

/// Who is in the predecessor's file, by its own reading of the documents: the manual flag,
/// else the managed one, else nobody.
fn listed_by_the_predecessor(documents: &BTreeMap<String, Value>) -> Vec<&str> {
    let is_on = |document: &Value| {
        let [manual, managed] = ["manual-flag", "managed-flag"].map(|key| document[key].as_str());
        manual.or(managed) == Some("on")
    };
    documents.iter().filter(|(_, it)| is_on(it)).map(|(host, _)| host.as_str()).collect()
}

async fn shown(remediator: &Remediator) -> BTreeMap<String, Value> {
    let answer = remediator.get("/whitelist/all").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.text).unwrap()
}

async fn import(remediator: &Remediator, query: &str, body: &Value) -> super::remediator::Answer {
    let request = remediator.request("POST", &format!("/api/v1/import{query}")).json(body);
    remediator.send(request).await
}

fn run_satctl(remediator: &Remediator, arguments: &[&str]) -> String {
    satctl(&remediator.url(""), arguments).unwrap()
}

fn put_file(shared: &Shared, name: &str, content: &str) {
    let folder = shared.world.path(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("whitelist"), content).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_predecessors_tree_is_continued_and_it_could_go_on_from_ours_needs_zookeeper() {
    let shared = Shared::new("migration-in-place").await;
    let tree = Tree::at(&shared).await;
    tree.second_generation("/satellite").await;
    for name in ["a", "b"] {
        put_file(&shared, name, "h1.lab\nh4.lab\n");
    }
    let first = shared.start("a").await;
    first.remediator.ready().await;
    let second = shared.start("b").await;
    second.remediator.ready().await;
    for one in [&first, &second] {
        one.lists(&LISTED).await;
        let shown = shown(&one.remediator).await;
        assert_eq!(listed_by_the_predecessor(&shown), LISTED);
        let event = &shown["h3.lab"]["manual-events"]["disk/2 swap"];
        assert_eq!((&event["state"], &event["time"]), (&json!("critical"), &json!(1459516800.0)));
        assert_eq!(event["description"], "new disk, 1/2");
        assert_eq!(shown["h2.lab"]["managed-events"]["imported"]["state"], "critical");
    }
    // What it would read, were it started again.
    let mut kept = BTreeMap::new();
    for (host, _) in SECOND_GENERATION {
        let document = tree.get(&format!("/satellite/whitelist/{host}")).await;
        for key in ["managed-events", "manual-events"] {
            assert!(document[key].is_object(), "{host}: {document}");
        }
        assert_eq!(document["schema"], 1);
        kept.insert(host.to_owned(), document);
    }
    assert_eq!(listed_by_the_predecessor(&kept), LISTED);
    let is_enrolled = |record: &Value| record["what"] == "enrolled";
    let records = first.remediator.journalled("?host=h3.lab", is_enrolled).await;
    let why = r#"the predecessor had it off: manual event "disk/2 swap" says off"#;
    assert_eq!(records.last().unwrap()["reason"], why);
    // It goes on as ours.
    let answer = second.remediator.delete("/api/v1/hosts/h3.lab/events/disk%2F2%20swap").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    first.lists(&["h1.lab", "h3.lab", "h4.lab"]).await;
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_predecessor_writes_beside_us_is_not_taken_and_named_needs_zookeeper() {
    let shared = Shared::new("migration-stray").await;
    let tree = Tree::at(&shared).await;
    tree.second_generation("/satellite").await;
    let one = shared.start("a").await;
    one.remediator.ready().await;
    one.lists(&LISTED).await;
    let path = "/satellite/whitelist/h1.lab";
    let (ours, _) = tree.0.get_data(path).await.unwrap();
    let ours = String::from_utf8(ours).unwrap();
    let (_, bare) = SECOND_GENERATION[1];
    // The predecessor keeps the keys that it does not know, unlike its scripts.
    let turned = ours.replace(r#""managed-flag":"on""#, r#""managed-flag":"off""#);
    assert_ne!(turned, ours);
    for (written, why) in [(bare, "it has no schema"), (turned.as_str(), "managed-flag is off")] {
        tree.put(path, written).await;
        let told = one.remediator.not_ready("must not run beside the remediator").await;
        assert!(told.contains("whitelist/h1.lab") && told.contains(why), "{told}");
        let off = json!({"state": "off", "reason": "r"});
        one.remediator.put("/api/v1/hosts/h4.lab/events/e", &off).await.error(503);
        one.remediator.rounds(3).await;
        assert_eq!(one.remediator.host("h1.lab").await["state"], "on");
        one.lists(&LISTED).await;
        tree.put(path, &ours).await;
        // Who has put it back is not known either.
        one.remediator.not_ready("(written: whitelist/h1.lab)").await;
        tree.count_anew().await;
        one.remediator.ready().await;
    }
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn i23_a_tree_with_a_node_that_cannot_be_read_begins_nothing_needs_zookeeper() {
    let shared = Shared::new("migration-unreadable").await;
    let tree = Tree::at(&shared).await;
    tree.second_generation("/satellite").await;
    for name in ["a", "b"] {
        put_file(&shared, name, "h1.lab\nh4.lab\n");
    }
    tree.put("/satellite/whitelist/h_5.lab", SECOND_GENERATION[0].1).await;
    let (one, other) = (shared.start("a").await, shared.start("b").await);
    let told = one.remediator.not_ready("whitelist/h_5.lab").await;
    assert!(told.contains("neither an RFC 1123") && told.contains("delete it"), "{told}");
    let (_, whole) = SECOND_GENERATION[1];
    for (data, why) in
        [("", "it is empty"), (":off", "not JSON"), ("{}", "managed-flag is missing")]
    {
        tree.put("/satellite/whitelist/h2.lab", data).await;
        if data.is_empty() {
            tree.0.delete("/satellite/whitelist/h_5.lab", None).await.unwrap();
        }
        let told = one.remediator.not_ready(why).await;
        assert!(told.contains("whitelist/h2.lab") && told.contains("nothing is begun"), "{told}");
        one.remediator.get("/api/v1/hosts").await.error(503);
        assert_eq!(one.file(), "h1.lab\nh4.lab\n");
        assert!(tree.0.check_stat("/satellite/automation").await.unwrap().is_none());
    }
    other.remediator.not_ready("whitelist/h2.lab").await;
    tree.put("/satellite/whitelist/h2.lab", whole).await;
    for one in [&one, &other] {
        one.remediator.ready().await;
        one.lists(&LISTED).await;
        assert_eq!(shown(&one.remediator).await.len(), HOSTS.len());
    }
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn back_to_the_predecessor_and_forth_again_needs_zookeeper() {
    let shared = Shared::new("migration-back").await;
    let tree = Tree::at(&shared).await;
    tree.second_generation("/satellite").await;
    let one = shared.start("a").await;
    one.remediator.ready().await;
    one.lists(&LISTED).await;
    let said = json!({"state": "off", "reason": "fan", "ttl": "4h"});
    assert_eq!(one.remediator.put("/api/v1/hosts/h1.lab/events/e", &said).await.status, 201);
    one.lists(&["h4.lab"]).await;
    one.remediator.kill().await;
    // The predecessor goes on: a recipe turns one host on, a person another one off, and it
    // makes a document of its own anew.
    let edit = async |host: &str, edit: &dyn Fn(&mut Value)| {
        let path = format!("/satellite/whitelist/{host}");
        let mut document = tree.get(&path).await;
        edit(&mut document);
        tree.put(&path, &document.to_string()).await;
    };
    edit("h2.lab", &|it| it["managed-flag"] = json!("on")).await;
    edit("h4.lab", &|it| {
        it["manual-events"]["disk"] = json!({"state": "critical", "time": 1459516900});
        it["manual-flag"] = json!("off");
    })
    .await;
    tree.put("/satellite/whitelist/h3.lab", SECOND_GENERATION[0].1).await;
    // Nobody goes on from there by accident.
    let one = shared.start("a").await;
    one.remediator.not_ready("must not run beside the remediator").await;
    one.remediator.kill().await;
    tree.0.delete("/satellite/automation", None).await.unwrap();
    put_file(&shared, "a", "h2.lab\nh3.lab\n");
    let one = shared.start("a").await;
    one.remediator.not_ready("(gone: automation; written: ").await;
    tree.count_anew().await;
    one.remediator.ready().await;
    one.lists(&["h2.lab", "h3.lab"]).await;
    let event = &one.remediator.host("h1.lab").await["events"][0];
    assert_eq!((&event["reason"], &event["ttl"]), (&json!("fan"), &json!("4h")));
    shared.run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn either_generation_is_imported_into_either_store_and_once_is_enough_needs_zookeeper() {
    let shared = Shared::new("migration-import").await;
    let tree = Tree::at(&shared).await;
    for (path, data) in FIRST_GENERATION {
        tree.put(path, data).await;
    }
    tree.second_generation("/old/satellite").await;
    let server = shared.zookeeper.address();
    let first = format!("zookeeper://{server}");
    let second = format!("zookeeper://{server}/old/satellite");
    for source in [&first, &second] {
        let world = World::new().await;
        let remediator = world.start_ready().await;
        world.wait_for_whitelist(&HOSTS).await;
        let (before, generation) = (shown(&remediator).await, generation(&remediator).await);
        let told = run_satctl(&remediator, &["import", source, "--dry-run"]);
        assert!(told.contains("off         2 hosts turned off: h2.lab, h3.lab\n"), "{told}");
        remediator.rounds(2).await;
        assert_eq!(
            (shown(&remediator).await, self::generation(&remediator).await),
            (before, generation)
        );
        let done = run_satctl(&remediator, &["import", source, "--reason", "moving"]);
        let would =
            told.replace("DRY RUN     this is what would be done; NOTHING IS WRITTEN\n", "");
        assert_eq!(done, would);
        world.wait_for_whitelist(&LISTED).await;
        assert_eq!(listed_by_the_predecessor(&shown(&remediator).await), LISTED);
        let again = run_satctl(&remediator, &["import", source]);
        assert!(again.ends_with("unchanged   4\n") && !again.contains("turned"), "{again}");
        let records = remediator.journal("?host=h2.lab").await;
        assert_eq!(
            (&records[0]["what"], &records[0]["reason"]),
            (&json!("off"), &json!("import: moving"))
        );
        let offs = remediator.metric(r#"satellite_transitions_total{to="off",rule=""}"#).await;
        assert_eq!(offs, Some(2.0));
    }
    let one = shared.start("a").await;
    one.remediator.ready().await;
    one.lists(&HOSTS).await;
    let before = tree.versions("/satellite/whitelist").await;
    run_satctl(&one.remediator, &["import", &second, "--dry-run"]);
    assert_eq!(tree.versions("/satellite/whitelist").await, before);
    run_satctl(&one.remediator, &["import", &second]);
    one.lists(&LISTED).await;
    let before = tree.versions("/satellite/whitelist").await;
    run_satctl(&one.remediator, &["import", &second]);
    assert_eq!(tree.versions("/satellite/whitelist").await, before);
    // What ours keep reads the same.
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let ours = format!("zookeeper://{server}/satellite");
    run_satctl(&remediator, &["import", &ours]);
    world.wait_for_whitelist(&LISTED).await;
    // Who follows takes an import as any command.
    put_file(&shared, "b", "h1.lab\nh4.lab\n");
    let other = shared.start("b").await;
    other.remediator.ready().await;
    let list = world.path("list");
    fs::write(&list, "h1.lab\nh2.lab\nh3.lab\nh4.lab\n").unwrap();
    let told = run_satctl(&other.remediator, &["import", list.to_str().unwrap()]);
    assert!(told.contains("on          1 host turned on: h2.lab\n"), "{told}");
    for one in [&one, &other] {
        one.lists(&["h1.lab", "h2.lab", "h4.lab"]).await;
    }
    // Neither was written to.
    assert_eq!(tree.0.get_data("/whitelist/h3.lab").await.unwrap().0, b":off");
    let kept = tree.versions("/old/satellite/whitelist").await;
    assert!(kept.values().all(|version| *version == 0), "{kept:?}");
    shared.run.succeed();
}

async fn generation(remediator: &Remediator) -> Option<f64> {
    remediator.metric("satellite_whitelist_generation").await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_embedded_store_to_zookeeper_nobody_sick_is_on_for_a_moment_needs_zookeeper() {
    let shared = Shared::new("migration-stores").await;
    let old = shared.world.start_ready().await;
    shared.world.fire(&check_failed("h1.lab"));
    let off = json!({"state": "off", "reason": "disk swap", "ttl": "4h"});
    assert_eq!(old.put("/api/v1/hosts/h2.lab/events/swap", &off).await.status, 201);
    let left = ["h3.lab", "h4.lab"];
    shared.world.wait_for_whitelist(&left).await;
    let kept = old.get("/whitelist/all").await.text;
    old.kill().await;

    put_file(&shared, "a", &shared.world.whitelist().unwrap());
    let new = shared.start("a").await;
    new.remediator.ready().await;
    new.lists(&left).await;
    // The list says that both were out, and the alert that fires is a second reason.
    eventually(async || {
        let causes = new.remediator.host("h1.lab").await["causes"].to_string();
        if causes.contains("alert") { Ok(()) } else { Err(causes) }
    })
    .await;
    let source = shared.world.path("hosts.json");
    fs::write(&source, &kept).unwrap();
    let source = source.to_str().unwrap();
    run_satctl(&new.remediator, &["import", source, "--reason", "moving"]);
    let host = new.remediator.host("h2.lab").await;
    assert_eq!(
        (&host["events"][0]["id"], &host["events"][0]["author"]),
        (&json!("swap"), &json!("somebody on this machine (unverified)"))
    );
    assert_eq!(host["causes"].as_array().unwrap().len(), 1, "only the person holds it: {host}");
    // Whom an alert had taken off, the alert alone holds off from here on.
    let mut all: BTreeMap<String, Value> = serde_json::from_str(&kept).unwrap();
    all.retain(|_, it| {
        let events = it["managed-events"].as_object().unwrap();
        !events.is_empty() && !events.contains_key("imported")
    });
    all.values_mut().for_each(|it| it["managed-flag"] = json!("on"));
    let healing = import(&new.remediator, "", &json!({"reason": "r", "documents": all})).await;
    assert_eq!(healing.json()["amended"], json!(["h1.lab"]));
    new.remediator.rounds(3).await;
    new.lists(&left).await;
    let kinds = &new.remediator.host("h1.lab").await["causes"];
    assert_eq!(
        kinds.as_array().unwrap().iter().map(|it| &it["kind"]).collect::<Vec<_>>(),
        ["alert"]
    );
    shared.world.heal(&check_failed("h1.lab"));
    new.lists(&["h1.lab", "h3.lab", "h4.lab"]).await;
    let is_on = |record: &Value| record["what"] == "on";
    let records = new.remediator.journalled("?host=h1.lab", is_on).await;
    let ons = records.iter().filter(|record| is_on(record)).count();
    assert_eq!(ons, 1, "{records:?}");
    shared.run.succeed();
}

/// What comes first in it puts nobody off. The rest is more than this ZooKeeper takes at once.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_broken_off_says_how_far_it_came_needs_zookeeper() {
    let shared = Shared::with("migration-half", &["-Djute.maxbuffer=200000"]).await;
    let one = shared.start("a").await;
    one.remediator.ready().await;
    let mut documents: BTreeMap<String, Value> = (0..3_000)
        .map(|at| (format!("off{at}.lab"), serde_json::from_str(SECOND_GENERATION[1].1).unwrap()))
        .collect();
    documents.insert("new.lab".into(), serde_json::from_str(SECOND_GENERATION[0].1).unwrap());
    let body = json!({"reason": "moving", "documents": documents});
    let told = import(&one.remediator, "", &body).await.error(503);
    assert!(told.contains("jute.maxbuffer") && told.contains("imported before: 1;"), "{told}");
    let is_told = |record: &Value| record["what"] == "import-broken-off" && record["added"] == 1;
    one.remediator.journalled("", is_told).await;
    let is_new = |record: &Value| record["what"] == "enrolled" && record["version"]["after"] == 1;
    one.remediator.journalled("?host=new.lab", is_new).await;
    one.remediator.get("/api/v1/hosts/off1.lab").await.error(404);
    shared.run.succeed();
}

#[tokio::test]
async fn an_import_below_the_floor_is_refused_unless_it_is_forced() {
    let world = World::new().await;
    world.configure(|config| config.replace("min_hosts: 1", "min_hosts: 3"));
    let remediator = world.start_ready().await;
    let list = json!({"reason": "r", "list": ["h1.lab", "h2.lab"]});
    let refused = import(&remediator, "", &list).await.error(409);
    assert!(
        refused.contains("this would leave 2 hosts on") && refused.contains("force"),
        "{refused}"
    );
    import(&remediator, "?dry_run=true", &list).await.error(409);
    world.wait_for_whitelist(&HOSTS).await;
    let done = import(&remediator, "?force=true", &list).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["turned_off"], json!(["h3.lab", "h4.lab"]));
    world.wait_for_whitelist(&["h1.lab", "h2.lab"]).await;
    let on = json!({"reason": "r", "all_on": true});
    assert_eq!(import(&remediator, "", &on).await.json()["turned_on"], json!(["h3.lab", "h4.lab"]));
    world.wait_for_whitelist(&HOSTS).await;
}

#[tokio::test]
async fn an_import_waits_for_the_first_start_and_a_dry_run_takes_none() {
    let world = World::new().await;
    world.peers.master.fake.is(super::fake::Mood::Away);
    let remediator = world.start().await;
    remediator.not_ready("mesos: ").await;
    let list = json!({"reason": "r", "list": ["h1.lab"]});
    let told = import(&remediator, "", &list).await.error(503);
    assert!(told.contains("wait for the first start"), "{told}");
    world.peers.master.fake.is(super::fake::Mood::Well);
    drop(remediator);

    let world = World::new().await;
    world.configure(|config| config.replace("policy:\n", "policy:\n  dry_run: true\n"));
    let remediator = world.start_ready().await;
    import(&remediator, "", &list).await.error(409);
    let shown = import(&remediator, "?dry_run=true", &list).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.json()["turned_off"], json!(["h2.lab", "h3.lab", "h4.lab"]));
    assert_eq!(remediator.host("h2.lab").await["state"], "on");
}

#[tokio::test]
async fn an_import_that_cannot_be_read_says_what_is_wrong_where() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let document = |text: &str| -> Value {
        let whole = format!(r#"{{"reason": "r", "documents": {text}}}"#);
        serde_json::from_str(&whole).unwrap()
    };
    for (body, said) in [
        (json!({"list": ["h1.lab"]}), "missing field `reason`"),
        (json!({"reason": " ", "list": ["h1.lab"]}), "reason: say why"),
        (json!({"reason": "r"}), "say what to import"),
        (json!({"reason": "r", "list": []}), "one of these and not empty"),
        (json!({"reason": "r", "list": ["h1.lab"], "all_on": true}), "one of these"),
        (json!({"reason": "r", "lists": ["h1.lab"]}), "unknown field"),
        (json!({"reason": "r", "list": ["h_1"]}), "neither an RFC 1123 host name"),
        (json!({"reason": "r", "list": ["bootstrap.invalid"]}), "it is none itself"),
        (document(r#"{"h_1": {}}"#), "neither an RFC 1123 host name"),
        (document(r#"{"h1.lab": {}}"#), "the document of h1.lab: managed-flag is missing"),
        (document(r#"{"h1.lab": ":on"}"#), "the document of h1.lab: it is \":on\""),
    ] {
        let told = import(&remediator, "", &body).await.error(400);
        assert!(told.contains(said), "{body}: {told}");
    }
    import(&remediator, "?dry=true", &json!({})).await.error(400);
    let large = " ".repeat(64 * 1024 * 1024 + 1);
    let told = remediator.post("/api/v1/import", large).await.error(413);
    assert!(told.contains("67108864"), "{told}");
    world.wait_for_whitelist(&HOSTS).await;
}
