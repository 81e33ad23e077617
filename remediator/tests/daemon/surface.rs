//! What is shown: service discovery, metrics, the page, the journal, errors, logs.

use std::{fs, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use super::{
    fake::Mood,
    peers::{check_failed, labels},
    remediator::PATIENCE,
    world::World,
};

#[tokio::test]
async fn every_host_and_master_is_discovered_with_its_labels_also_when_it_is_dead() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.peers.master.lists(&["h1.lab", "h2.lab"]);
    remediator.rounds(2).await;
    let answer = remediator.get("/sd/exporters").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let groups = answer.json();
    let groups = groups.as_array().unwrap();
    assert_eq!(groups.len(), 5, "four agents and a master: {groups:?}");
    let at = |target: &str| {
        groups.iter().find(|group| group["targets"] == json!([target])).unwrap()["labels"].clone()
    };
    assert_eq!(
        at("10.0.0.1:9105"),
        json!({
            "__meta_mesos_hostname": "h1.lab", "__meta_mesos_agent_id": "agent-of-h1.lab",
            "__meta_mesos_agent_state": "registered", "__meta_mesos_attribute_rack": "r1",
            "__meta_mesos_role": ",agent,",
        })
    );
    assert_eq!(at("10.0.0.4:9105")["__meta_mesos_agent_state"], "unreachable");
    let master = world.peers.master.fake.url();
    let master = master.trim_start_matches("http://").split(':').next().unwrap();
    assert_eq!(at(&format!("{master}:9105")), json!({"__meta_mesos_role": ",master,"}));
}

#[tokio::test]
async fn an_agent_whose_name_cannot_be_listed_is_shown_and_counted() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    assert_eq!(remediator.metric("satellite_hosts_unlistable").await, Some(0.0));
    assert!(!remediator.get("/").await.text.contains("cannot be listed"));
    world.peers.master.lists(&["h1.lab", "h2_lab", "-h3"]);
    remediator.wait_for_metric("satellite_hosts_unlistable", 2.0).await;
    assert_eq!(remediator.status().await["unlistable"], json!(["-h3", "h2_lab"]));
    let page = remediator.get("/").await.text;
    for part in ["cannot be listed", "-h3", "h2_lab"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn its_metrics_pass_promtool_check_metrics_which_must_be_installed() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.fire(&check_failed("h1.lab"));
    world.fire(&check_failed("nobody.lab"));
    world.fire(&labels([("alertname", "Odd \"name\"\n\\"), ("remediate", "host")]));
    remediator.wait_for_host("h1.lab", "off").await;
    remediator.rounds(2).await;
    let text = remediator.get("/metrics").await.text;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed with Debian's package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let output = promtool.wait_with_output().await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{text}");
    // What rules and dashboards ask for.
    for series in [
        "satellite_hosts{",
        "satellite_host_off{",
        "satellite_budget_limit ",
        "satellite_budget_remaining ",
        "satellite_hold_active{",
        "satellite_leader ",
        "satellite_store_up ",
        "satellite_source_blind{",
        "satellite_whitelist_generation ",
        "satellite_whitelist_hash_info{",
        "satellite_whitelist_last_merge_timestamp_seconds ",
        "satellite_whitelist_foreign_edits_total ",
        "satellite_alerts_unmatched{",
        "satellite_webhook_deliveries_total{",
        "satellite_transitions_total{",
        "satellite_reconcile_duration_seconds ",
        "satellite_reconcile_last_round_timestamp_seconds ",
        "satellite_build_info{",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "{series}\n{text}");
    }
}

#[tokio::test]
async fn what_strangers_wrote_is_text_on_the_page_and_nothing_else() {
    let world = World::new().await;
    world.configure(|config| config.replace("cluster: lab", "cluster: '<b>lab</b>'"));
    let remediator = world.start_ready().await;
    let mut hostile = check_failed("h1.lab");
    hostile.insert("check".into(), "<script>alert(1)</script>".into());
    world.fire(&hostile);
    world.fire(&check_failed("<img src=x onerror=alert(2)>"));
    remediator.wait_for_host("h1.lab", "off").await;
    let said = json!({"state": "off", "reason": "</pre><script>alert(3)</script>"});
    let path = "/api/v1/hosts/h2.lab/events/%3Cscript%3Ealert(4)%3C";
    assert_eq!(remediator.put(path, &said).await.status, 201);
    remediator.rounds(2).await;
    let answer = remediator.get("/").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let page = answer.text;
    for tag in ["<script", "<img", "<b>"] {
        assert!(!page.contains(tag), "{tag} in {page}");
    }
    for shown in ["&lt;script&gt;alert(1)", "&lt;img", "alert(3)", "alert(4)"] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
}

#[tokio::test]
async fn the_page_tells_what_a_person_wants_to_know_first() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let calm = remediator.get("/").await.text;
    for part in
        ["Satellite", "lab", "4 on", "0 off", "Every host is on", &world.peers.master.fake.url()]
    {
        assert!(calm.contains(part), "{part} in {calm}");
    }
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;
    remediator.rounds(2).await;
    let page = remediator.get("/").await.text;
    for part in ["3 on", "1 off", "h1.lab is off since", "HostCheckFailed fires at"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn the_page_names_a_sick_host_that_is_kept_on_and_what_keeps_it() {
    let world = World::new().await;
    world.configure(|config| config.replace("count: 3", "count: 0"));
    let remediator = world.start_ready().await;
    assert!(!remediator.get("/").await.text.contains("Kept on"));
    world.fire(&check_failed("h1.lab"));
    remediator.rounds(2).await;
    let page = remediator.get("/").await.text;
    for part in ["Kept on", "h1.lab is on", "policy.budget.max_off allows 0"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn the_page_tells_who_paused_automation_why_and_until_when() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    assert!(remediator.get("/").await.text.contains("At work"));
    let pause = json!({"all": true, "reason": "switch <swap>", "ttl": "1h"}).to_string();
    let request = remediator.request("POST", "/api/v1/pause");
    let request = request.header("content-type", "application/json").body(pause);
    assert_eq!(remediator.send(request).await.status, 200);
    let page = remediator.get("/").await.text;
    for part in ["Paused", "Nobody is taken off or given back until", "switch &lt;swap&gt;"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn the_page_says_loudly_that_it_is_a_dry_run() {
    let world = World::new().await;
    world.configure(|config| config.replace("policy:", "policy:\n  dry_run: true"));
    let remediator = world.start().await;
    remediator.rounds(1).await;
    let page = remediator.get("/").await.text;
    assert!(page.contains("Dry run") && page.contains("nothing is done"), "{page}");
}

#[tokio::test]
async fn the_page_names_a_storm_and_what_its_hosts_share() {
    let world = World::new().await;
    world.configure(|config| {
        config.replace("policy:", "policy:\n  storm: { threshold: '30%', within: 5m, calm: 10m }")
    });
    let remediator = world.start_ready().await;
    for host in ["h1.lab", "h2.lab", "h3.lab"] {
        world.peers.prometheus.scrapes(host, false);
    }
    remediator.wait_for_metric("satellite_storm_active", 1.0).await;
    let page = remediator.get("/").await.text;
    for part in ["Storm", "h1.lab, h2.lab, h3.lab", "rack=r1", "Calm at", "satctl resume"] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn the_page_shows_the_twenty_newest_changes_of_all_hosts_newest_first() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for number in 1..=21 {
        let said = json!({"state": if number % 2 == 1 { "off" } else { "on" }, "reason": format!("change-{number}.")});
        let path = format!("/api/v1/hosts/h1.lab/events/{number}");
        assert_eq!(remediator.put(&path, &said).await.status, 201);
        remediator.rounds(1).await;
    }
    let said = json!({"state": "off", "reason": "change-22."});
    assert_eq!(remediator.put("/api/v1/hosts/h2.lab/events/e", &said).await.status, 201);
    let page = remediator.get("/").await.text;
    let (_, changes) = page.split_once("Last changes").unwrap();
    let (changes, _) = changes.split_once("</table>").unwrap();
    let at = |number| changes.find(&format!("change-{number}."));
    assert!(at(22) < at(21) && at(21) < at(20), "{changes}");
    assert_eq!(changes.matches("<tr>").count(), 20);
    assert!(at(1).is_none() && at(22).is_some(), "{changes}");
}

#[tokio::test]
async fn the_page_promises_nothing_before_anything_is_known() {
    let world = World::new().await;
    world.peers.all_are(Mood::Hangs);
    let remediator = world.start().await;
    let page = remediator.get("/").await.text;
    for part in ["No host is known yet", "not asked yet", "not written since the start"] {
        assert!(page.contains(part), "{part} in {page}");
    }
    for part in ["Every host is on", "may go now"] {
        assert!(!page.contains(part), "{part} in {page}");
    }
}

#[tokio::test]
async fn the_journal_is_filtered_by_host_instant_and_number() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for (host, reason) in [("h1.lab", "first"), ("h2.lab", "second"), ("h1.lab", "third")] {
        let said = json!({"state": "off", "reason": reason});
        let path = format!("/api/v1/hosts/{host}/events/{reason}");
        assert_eq!(remediator.put(&path, &said).await.status, 201);
    }
    let reasons = |records: &[Value]| -> Vec<String> {
        let people = records.iter().filter(|record| record["by"] != "automation");
        let reasons = people.filter_map(|record| record["reason"].as_str());
        reasons.map(|reason| reason.rsplit(' ').next().unwrap().to_owned()).collect()
    };
    let all = remediator.journal("").await;
    assert_eq!(reasons(&all), ["third", "second", "first"]);
    assert_eq!(reasons(&remediator.journal("?host=h1.lab").await), ["third", "first"]);
    assert_eq!(remediator.journal("?limit=2").await.len(), 2);
    let second = all.iter().find(|it| it["reason"].as_str().is_some_and(|r| r.contains("second")));
    let since = second.unwrap()["time"].as_str().unwrap();
    let newer = remediator.journal(&format!("?since={since}")).await;
    assert_eq!(reasons(&newer), ["third", "second"]);
    assert_eq!(remediator.journal("?host=h9.lab").await, Vec::<Value>::new());
    for (query, part) in [
        ("?since=yesterday", "2026-"),
        ("?host=h_1", "host name"),
        ("?limit=many", "limit"),
        ("?limit=-1", "limit"),
        ("?kind=merge", "kind"),
    ] {
        let message = remediator.get(&format!("/api/v1/journal{query}")).await.error(400);
        assert!(message.contains(part), "{query}: {message}");
    }
}

/// How many may read the journal at a time.
const READERS: usize = 4;

#[tokio::test]
async fn i12_who_reads_the_journal_while_many_do_waits_for_a_turn() {
    let world = World::new().await;
    fs::create_dir(world.path("store")).unwrap();
    let padding = "x".repeat(1024 * 1024);
    let line =
        format!("{{\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"test\",\"p\":\"{padding}\"}}\n");
    fs::write(world.journal_file(), line.repeat(20)).unwrap();
    let remediator = world.start_ready().await;
    let ask = async || {
        let mut stream = TcpStream::connect(remediator.address()).await.unwrap();
        let head = "GET /api/v1/journal?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    };
    let mut reading = Vec::new();
    for _ in 0..READERS {
        let mut stream = ask().await;
        // Its answer has begun, and is far larger than what anything in between holds.
        timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap();
        reading.push(stream);
    }
    let mut next = ask().await;
    let waiting = timeout(Duration::from_millis(200), next.read_u8()).await;
    assert!(waiting.is_err(), "it did not wait");
    reading.pop();
    timeout(PATIENCE, next.read_u8()).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_said_in_json() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for path in ["/nothing", "/api/v1/hosts/h9.lab", "/api/v1/hosts/", "/api/v2/status", "/sd/"] {
        remediator.get(path).await.error(404);
    }
    for (method, path, allowed) in [
        ("DELETE", "/api/v1/hosts", "GET"),
        ("POST", "/api/v1/hosts/h1.lab", "GET"),
        ("GET", "/api/v1/hosts/h1.lab/events/e", "PUT"),
        ("POST", "/api/v1/hosts/h1.lab/events/e", "DELETE"),
        ("PUT", "/api/v1/status", "GET"),
        ("POST", "/sd/exporters", "GET"),
        ("POST", "/metrics", "GET"),
        ("POST", "/", "GET"),
        ("GET", "/-/reload", "POST"),
        ("POST", "/-/ready", "GET"),
    ] {
        let answer = remediator.send(remediator.request(method, path)).await;
        let allow = answer.headers["allow"].to_str().unwrap().to_owned();
        assert!(allow.contains(allowed), "{method} {path}: {allow}");
        answer.error(405);
    }
    for path in [
        "/api/v1/hosts?state=of",
        "/api/v1/hosts?stat=off",
        "/api/v1/hosts/h_1",
        "/api/v1/hosts/%FF",
    ] {
        remediator.get(path).await.error(400);
    }
    remediator.delete("/api/v1/hosts/%FF").await.error(400);
}

#[tokio::test]
async fn i14_no_label_can_end_a_line_of_the_log() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let forged = "x\nts=2026-01-01T00:00:00.000Z level=error target=forged msg=\"Host off\"";
    let mut unmatched = check_failed(forged);
    unmatched.insert("alertname".into(), forged.into());
    world.fire(&unmatched);
    let mut sick = check_failed("h1.lab");
    sick.insert("alertname".into(), format!("Sick {forged}"));
    world.fire(&sick);
    remediator.wait_for_host("h1.lab", "off").await;
    remediator.wait_for_log("names no host").await;
    let delivery = json!({"version": forged, "alerts": []});
    remediator.post("/webhook", delivery.to_string()).await.error(400);
    remediator.wait_for_log("Refused a delivery").await;
    let said = json!({"state": "off", "reason": "\u{2028}\u{202e}odd"});
    assert_eq!(remediator.put("/api/v1/hosts/h2.lab/events/e", &said).await.status, 201);
    remediator.wait_for_log("A person's command").await;
    for line in remediator.log() {
        assert!(
            line.starts_with("ts=") && !line.contains("target=forged msg=\"Host off\""),
            "{line}"
        );
        assert!(!line.contains(['\u{2028}', '\u{202e}']), "{line}");
    }
}

#[tokio::test]
async fn no_web_page_can_command_it_through_a_persons_browser() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let send = async |method: &str, path: &str, header: &str, value: &str| {
        remediator.send(remediator.request(method, path).header(header, value)).await
    };
    let own = format!("http://{}", remediator.address());
    for path in ["/api/v1/resume", "/webhook", "/-/reload"] {
        for (header, value) in
            [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]
        {
            let message = send("POST", path, header, value).await.error(403);
            assert!(message.contains("another site"), "{message}");
        }
    }
    // Its name was made to point here, so that to the browser it is the same site.
    for (method, path) in [("POST", "/api/v1/resume"), ("GET", "/api/v1/status"), ("GET", "/no")] {
        let message = send(method, path, "host", "evil.example:5001").await.error(403);
        assert!(message.contains("localhost"), "{message}");
    }
    remediator.wait_for_log("Refused a request that a web page may have sent").await;
    assert_eq!(send("POST", "/api/v1/resume", "origin", &own).await.status, 200);
    assert_eq!(send("POST", "/-/reload", "host", "LOCALHOST:8080").await.status, 200);
    let old = "GET /-/healthy HTTP/1.0\r\n\r\n";
    let mut stream = TcpStream::connect(remediator.address()).await.unwrap();
    stream.write_all(old.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}
