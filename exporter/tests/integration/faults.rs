//! Mesos away, slow, or answering rubbish: the scrape succeeds, says which source is
//! down, and invents nothing.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::{
    exporter::{Exporter, PATIENCE},
    fake_mesos::{Answer, FakeMesos, fixture},
};

/// The sources of both processes of a node.
const SOURCES: [&str; 7] =
    ["master", "master_info", "cluster", "cluster_roles", "agent", "containers", "agent_state"];

/// A leading master and an agent that answer as they should.
async fn peers() -> (FakeMesos, FakeMesos) {
    (FakeMesos::leader().await, FakeMesos::agent().await)
}

/// An exporter of both.
async fn exporter_of(master: &FakeMesos, agent: &FakeMesos) -> Exporter {
    let flags =
        [format!("--mesos.master={}", master.url()), format!("--mesos.agent={}", agent.url())];
    Exporter::start(&flags.each_ref().map(String::as_str)).await
}

async fn node() -> (Exporter, FakeMesos, FakeMesos) {
    let (master, agent) = peers().await;
    (exporter_of(&master, &agent).await, master, agent)
}

fn source(name: &str, up: bool) -> String {
    format!("satellite_source_up{{source=\"{name}\"}} {}\n", u8::from(up))
}

#[track_caller]
fn assert_only_down(body: &str, down: &[&str]) {
    for name in SOURCES {
        let expected = source(name, !down.contains(&name));
        assert!(body.contains(&expected), "expected {expected}{body}");
    }
}

#[tokio::test]
async fn every_kind_of_rubbish_is_a_source_that_is_down_and_no_series() {
    let (exporter, master, _agent) = node().await;
    let snapshot = fixture("leader_metrics_snapshot");
    let rubbish = [
        Answer::Status(500, r#"{"error":"boom"}"#.into()),
        Answer::Status(503, "not ready".into()),
        Answer::Status(401, String::new()),
        Answer::Truncated(snapshot.clone()),
        Answer::Json(snapshot[..snapshot.len() / 2].into()),
        Answer::Json("<html>hello</html>".into()),
        Answer::Json("[1,2]".into()),
        Answer::Json("{}".into()),
        Answer::Json(r#"{"message":"hello"}"#.into()),
        Answer::Json("null".into()),
        Answer::Json(String::new()),
    ];
    for answer in rubbish {
        master.answer("/metrics/snapshot", answer.clone());
        let body = exporter.metrics().await;
        assert_only_down(&body, &["master"]);
        assert!(!body.contains("mesos_master_elected"), "{answer:?}");
        assert!(!body.contains("component=\"master\""), "{answer:?}");
        assert!(body.contains("mesos_master_info{"), "{answer:?}");
        assert!(body.contains("mesos_agent_registered 1\n"), "{answer:?}");
    }
    exporter.wait_for_log(r#"msg="Source is down" source=master"#).await;
    let told = exporter.log().iter().filter(|line| line.contains("Source is down")).count();
    assert_eq!(told, 1, "a source that stays down is told once");
    master.answer("/metrics/snapshot", Answer::Json(snapshot));
    assert_only_down(&exporter.metrics().await, &[]);
    exporter.wait_for_log(r#"msg="Source is up again" source=master"#).await;
}

#[tokio::test]
async fn rubbish_from_the_other_endpoints_costs_only_their_own_series() {
    let cases = [
        ("/version", "{}", "master_info", "mesos_master_info{"),
        ("/flags", "[]", "master_info", "mesos_master_info{"),
        ("/state-summary", r#"{"slaves":[]}"#, "cluster", "mesos_cluster_agent_"),
        ("/state-summary", "[]", "cluster", "mesos_cluster_framework_"),
        ("/roles", "{}", "cluster_roles", "mesos_cluster_role_"),
        ("/api/v1", "{}", "containers", "mesos_container_info{"),
        ("/api/v1", "[]", "containers", "mesos_container_info{"),
        ("/state", "{}", "agent_state", "mesos_agent_info{"),
    ];
    for (path, body, name, series) in cases {
        let (master, agent) = peers().await;
        for mesos in [&master, &agent] {
            mesos.answer(path, Answer::Json(body.into()));
        }
        let body = exporter_of(&master, &agent).await.metrics().await;
        assert_only_down(&body, &[name]);
        assert!(!body.contains(series), "{path}: {body}");
    }
}

#[tokio::test]
async fn an_agent_that_runs_nothing_has_no_containers_and_all_of_its_sources() {
    let (exporter, _master, agent) = node().await;
    agent.answer("/api/v1", Answer::Json(r#"{"type":"GET_CONTAINERS"}"#.into()));
    let body = exporter.metrics().await;
    assert_only_down(&body, &[]);
    assert!(!body.contains("\nmesos_container_"), "{body}");
}

#[tokio::test]
async fn the_state_is_asked_for_containers_that_are_new_and_for_no_others() {
    let (exporter, _master, agent) = node().await;
    let named = "mesos_container_mem_rss_bytes{container_id=\"92bac51a-e3e5-46d3-beab-7e0275acc0cf\",\
         framework_name=\"real-test\",task_name=\"burn\"}";
    for _ in 0..3 {
        assert!(exporter.metrics().await.contains(named));
    }
    assert_eq!(agent.requests("/state"), 1);
    // A container that is new has no name yet, and waits for the state's turn; meanwhile the
    // others keep theirs, though the state would not answer.
    agent.answer("/state", Answer::Status(500, String::new()));
    let listed = fixture("agent_v1_get_containers").replace("3cd08610", "00000000");
    agent.answer("/api/v1", Answer::Json(listed));
    let body = exporter.metrics().await;
    assert!(body.contains(named), "{body}");
    let unnamed = "container_id=\"00000000-a03f-449e-a11b-623b8e42dab6\",framework_name=\"\"";
    assert!(body.contains(unnamed), "{body}");
    exporter.wait_for_metric("satellite_source_up{source=\"agent_state\"} 0").await;
    assert_eq!(agent.requests("/state"), 2);
    let body = exporter.metrics().await;
    assert!(body.contains(named) && !body.contains("mesos_agent_info"), "{body}");
}

#[tokio::test]
async fn an_agent_that_has_started_anew_says_again_who_it_is() {
    let (exporter, _master, agent) = node().await;
    let body = exporter.metrics().await;
    assert!(body.contains("mesos_agent_info{") && body.contains("version=\"1.11.0\""), "{body}");
    agent.answer("/state", Answer::Json(fixture("agent_state").replace("1.11.0", "1.12.0")));
    let uptime = "\"slave/uptime_secs\":";
    let snapshot = fixture("agent_metrics_snapshot");
    let (before, after) = snapshot.split_once(uptime).expect("the key is there");
    let (_, after) = after.split_once(',').unwrap();
    agent.answer("/metrics/snapshot", Answer::Json(format!("{before}{uptime}1.0,{after}")));
    // The same scrape may still tell of the old process, and from the next on nothing does.
    exporter.metrics().await;
    let info = async {
        loop {
            let body = exporter.metrics().await;
            let mut infos = body.lines().filter(|line| line.starts_with("mesos_agent_info{"));
            if let Some(info) = infos.next() {
                return info.to_owned();
            }
        }
    };
    let info = tokio::time::timeout(PATIENCE, info).await.expect("it never said so");
    assert!(info.contains("version=\"1.12.0\""), "{info}");
}

#[tokio::test]
async fn an_old_agent_is_asked_where_it_answers() {
    let (master, agent) = peers().await;
    agent.answer("/api/v1", Answer::Status(404, String::new()));
    let exporter = exporter_of(&master, &agent).await;
    let rss = "mesos_container_mem_rss_bytes{container_id=\"92bac51a-e3e5-46d3-beab-7e0275acc0cf\"";
    let body = exporter.metrics().await;
    assert_only_down(&body, &[]);
    assert!(body.contains(rss), "{body}");
    agent.answer("/containers", Answer::Status(404, String::new()));
    for _ in 0..2 {
        let body = exporter.metrics().await;
        assert_only_down(&body, &[]);
        assert!(body.contains(rss), "{body}");
    }
    assert_eq!(agent.requests("/api/v1"), 1, "what it does not have it is not asked again");
    assert_eq!(agent.requests("/containers"), 2);
    assert_eq!(agent.requests("/monitor/statistics"), 2);
}

#[tokio::test]
async fn an_agent_that_lets_nobody_write_is_asked_where_it_lets_read() {
    let (master, agent) = peers().await;
    agent.answer("/api/v1", Answer::Status(401, String::new()));
    let body = exporter_of(&master, &agent).await.metrics().await;
    assert_only_down(&body, &[]);
    assert!(body.contains("mesos_container_info{"), "{body}");
}

#[tokio::test]
async fn a_state_that_hangs_costs_names_and_no_numbers() {
    let (master, agent) = peers().await;
    agent.answer("/state", Answer::Hang);
    let exporter = exporter_of(&master, &agent).await;
    let header = "X-Prometheus-Scrape-Timeout-Seconds";
    for _ in 0..2 {
        let (_, body) = exporter.get_with("/metrics", header, "2.0").await;
        assert_only_down(&body, &["agent_state"]);
        assert!(body.contains("mesos_container_mem_rss_bytes{"), "{body}");
        assert!(!body.contains("mesos_agent_info{"), "{body}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_utf_8_costs_its_odd_bytes() {
    let (master, agent) = peers().await;
    let state = fixture("agent_state").into_bytes();
    let at = state.windows(4).position(|it| it == b"burn").expect("the name is there");
    let mut state: Vec<u8> = [&state[..at], b"\xffurn", &state[at + 4..]].concat();
    state.retain(|byte| *byte != b'\n');
    agent.answer("/state", Answer::Bytes(state));
    let body = exporter_of(&master, &agent).await.metrics().await;
    assert_only_down(&body, &[]);
    assert!(body.contains("task_name=\"web-4\""), "{body}");
}

#[tokio::test]
async fn a_master_that_follows_tells_nothing_of_the_cluster_and_nothing_is_down() {
    let leader = FakeMesos::leader().await;
    let follower = FakeMesos::follower(leader.address).await;
    let exporter = Exporter::start(&[&format!("--mesos.master={}", follower.url())]).await;
    let no_leader = || Answer::Status(503, "No leader elected".into());
    for round in 0..2 {
        let body = exporter.metrics().await;
        assert!(!body.contains("mesos_cluster_") && !body.contains("source=\"cluster"), "{body}");
        if round == 0 {
            follower.answer("/state-summary", no_leader());
            follower.answer("/roles", no_leader());
        }
    }
    assert_eq!(leader.requests("/master/state-summary") + leader.requests("/state-summary"), 0);
    // Elected, and slow: at the second time it is not taken for a follower any more.
    follower.answer("/state-summary", Answer::Hang);
    for is_missing in [false, true] {
        let (_, body) =
            exporter.get_with("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "1.0").await;
        assert_eq!(body.contains(&source("cluster", false)), is_missing, "{body}");
    }
    // Elected, and in trouble.
    follower.answer("/state-summary", Answer::Status(500, String::new()));
    let body = exporter.metrics().await;
    assert!(body.contains(&source("cluster", false)), "{body}");
}

#[tokio::test]
async fn agents_that_are_gone_are_gone_from_the_next_scrape() {
    let (exporter, master, _agent) = node().await;
    let agent = |at: usize| {
        format!(r#"{{"id":"S{at}","hostname":"h{at}","resources":{{"cpus":4.0}},"active":true}}"#)
    };
    let summary = |count: usize| {
        let agents: Vec<_> = (0..count).map(agent).collect();
        Answer::Json(format!(r#"{{"slaves":[{}],"frameworks":[]}}"#, agents.join(",")))
    };
    for count in [100, 10, 0] {
        master.answer("/state-summary", summary(count));
        let body = exporter.metrics().await;
        let series = body.lines().filter(|line| line.starts_with("mesos_cluster_agent_cpus{"));
        assert_eq!(series.count(), count);
    }
    master.answer("/state-summary", Answer::Status(500, String::new()));
    assert!(!exporter.metrics().await.contains("mesos_cluster_agent"));
}

#[tokio::test]
async fn a_mesos_that_is_not_there_is_down_and_the_log_says_why() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flag = format!("--mesos.agent=http://{}", closed.local_addr().unwrap());
    drop(closed);
    let exporter = Exporter::start(&[&flag]).await;
    let body = exporter.metrics().await;
    for name in ["agent", "containers", "agent_state"] {
        assert!(body.contains(&source(name, false)), "{body}");
    }
    assert!(!body.lines().any(|line| line.starts_with("mesos_")), "{body}");
    let told = exporter.wait_for_log("source=agent ").await;
    assert!(told.contains("connecting to http://") && told.contains("refused"), "{told}");
}

#[tokio::test]
async fn a_mesos_that_hangs_does_not_fail_the_scrape_nor_the_other_source() {
    let (exporter, master, agent) = node().await;
    for path in ["/metrics/snapshot", "/version", "/flags"] {
        master.answer(path, Answer::Hang);
    }
    agent.answer("/api/v1", Answer::Hang);
    let started = Instant::now();
    let (status, body) =
        exporter.get_with("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "1.0").await;
    assert_eq!(status, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_only_down(&body, &["master", "master_info", "containers", "agent_state"]);
    assert!(body.contains("mesos_agent_registered 1\n"));
}

#[tokio::test]
async fn a_crowd_of_scrapes_is_one_to_mesos() {
    let (exporter, master, agent) = node().await;
    master.answer("/state-summary", Answer::Hang);
    agent.answer("/api/v1", Answer::Hang);
    let header = "X-Prometheus-Scrape-Timeout-Seconds";
    let crowd = (0..8).map(|_| exporter.get_with("/metrics", header, "1.0"));
    for (status, body) in futures::future::join_all(crowd).await {
        assert_eq!(status, 200);
        assert_only_down(&body, &["cluster", "containers", "agent_state"]);
    }
    assert_eq!(master.requests("/state-summary"), 1);
    assert_eq!(agent.requests("/api/v1"), 1);
}

#[tokio::test]
async fn those_who_want_different_things_share_the_answer() {
    let (exporter, master, agent) = node().await;
    let queries = ["", "?collect[]=containers", "?exclude[]=blkio", "?collect[]=tasks"];
    let paths = queries.map(|query| format!("/metrics{query}"));
    let crowd = paths.iter().map(|path| exporter.get(path));
    for (status, body) in futures::future::join_all(crowd).await {
        assert_eq!((status, body.contains("_up{source=\"agent\"} 0")), (200, false));
    }
    assert_eq!(master.requests("/metrics/snapshot"), 1);
    assert_eq!(agent.requests("/metrics/snapshot"), 1);
    assert_eq!(agent.requests("/api/v1"), 1);
}

#[tokio::test]
async fn a_crowd_is_limited() {
    let (exporter, _master, agent) = node().await;
    agent.answer("/api/v1", Answer::Hang);
    // All but the last wait for Mesos; it waits for its turn, for half of its time.
    let header = "X-Prometheus-Scrape-Timeout-Seconds";
    let crowd = (0..17).map(|_| exporter.get_with("/metrics", header, "4.0"));
    let answers = futures::future::join_all(crowd).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!(served.len(), 16);
    assert_eq!(refused, [(503, "16 scrapes are under way already\n".to_owned())]);
}

#[tokio::test]
async fn eight_scrapers_in_a_loop_neither_break_anything_nor_press_mesos() {
    let (exporter, master, agent) = node().await;
    // Each round waits for Mesos's half second: thirty seconds of them where there is time.
    let rounds = if std::env::var_os("SATELLITE_LONG_CASES").is_some() { 60 } else { 4 };
    let scraper = async || {
        for _ in 0..rounds {
            let (status, body) = exporter.get("/metrics").await;
            assert_eq!(status, 200);
            assert_only_down(&body, &[]);
            let mut series: Vec<_> = body.lines().filter(|line| !line.starts_with('#')).collect();
            let all = series.len();
            series.sort_unstable();
            series.dedup_by_key(|line| line.rsplit_once(' ').map(|(series, _)| series));
            assert_eq!(series.len(), all, "a series came twice");
        }
    };
    let started = Instant::now();
    futures::future::join_all((0..8).map(|_| scraper())).await;
    // Twice a second at most, and once at the start.
    let allowed = started.elapsed().as_millis() / 500 + 1;
    for mesos in [&master, &agent] {
        let asked = mesos.requests("/metrics/snapshot");
        assert!(asked >= rounds && asked as u128 <= allowed, "{asked} of {allowed}");
    }
    assert_eq!(agent.requests("/state"), 1);
}

#[tokio::test]
async fn a_scrape_gets_the_groups_and_the_names_that_it_asks_for() {
    let (exporter, _master, agent) = node().await;
    let names = |body: &str| {
        let names = body.lines().filter(|line| line.starts_with("mesos_"));
        names.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_, body) = exporter.get("/metrics?collect[]=tasks").await;
    assert!(
        names(&body).iter().all(|name| name.contains("_tasks_") || name.contains("_task_")),
        "{body}"
    );
    assert_eq!(agent.requests("/api/v1") + agent.requests("/state"), 0, "nobody wanted them");
    let (_, body) = exporter.get("/metrics?exclude[]=containers&exclude[]=agent").await;
    assert!(
        !body.contains("mesos_container_mem") && body.contains("mesos_master_elected 1"),
        "{body}"
    );
    let (_, body) = exporter.get("/metrics?names=mesos_exporter").await;
    assert!(body.contains("mesos_master_cpus{type=\"free\"}"), "{body}");
    assert!(body.contains("mesos_agent_cpu_user_seconds_total{id=\"burn\""), "{body}");
    for (query, said) in [
        ("names=other", "names must be native or mesos_exporter"),
        ("collect[]=snmp", "the group \"snmp\" is off; --collector.snmp turns it on"),
        ("exclude[]=x", "there is no group \"x\""),
    ] {
        let (status, body) = exporter.get(&format!("/metrics?{query}")).await;
        assert_eq!(status, 400);
        assert!(body.contains(said), "{body}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let leader = FakeMesos::leader().await;
    let follower = FakeMesos::follower(leader.address).await;
    let to = format!("//{}/metrics/snapshot", leader.address);
    follower.answer("/metrics/snapshot", Answer::Redirect(to));
    let exporter = Exporter::start(&[&format!("--mesos.master={}", follower.url())]).await;
    let body = exporter.metrics().await;
    assert!(body.contains(&source("master", false)), "{body}");
    assert!(!body.contains("mesos_master_elected"));
}

#[tokio::test]
async fn a_null_or_odd_value_costs_that_key_only() {
    let (exporter, _master, agent) = node().await;
    let odd = r#"{"slave/uptime_secs":null,"slave/registered":"1","slave/cpus_total":{},
        "slave/tasks_lost":7.0,"slave/mem_total":[1]}"#;
    agent.answer("/metrics/snapshot", Answer::Json(odd.into()));
    let container = r#"[{"container_id":"c","statistics":{"cpus_limit":null,"mem_rss_bytes":5}},
        {"container_id":null},null]"#;
    agent.answer("/api/v1", Answer::Status(404, String::new()));
    agent.answer("/containers", Answer::Json(container.into()));
    let body = exporter.metrics().await;
    assert_only_down(&body, &[]);
    assert!(body.contains("mesos_agent_tasks_lost_total 7\n"));
    assert!(body.contains("mesos_container_mem_rss_bytes{container_id=\"c\""), "{body}");
    for absent in ["uptime", "registered", "cpus ", "mem_bytes"] {
        assert!(!body.contains(&format!("mesos_agent_{absent}")), "{absent}");
    }
    assert!(!body.contains("mesos_container_cpus_limit"));
}
