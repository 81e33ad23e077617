//! Mesos away, slow, or answering rubbish: the scrape succeeds, says which source is
//! down, and invents nothing.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::{
    exporter::Exporter,
    fake_mesos::{Answer, FakeMesos, fixture},
};

/// An exporter of both processes of a node, and the two.
async fn node() -> (Exporter, FakeMesos, FakeMesos) {
    let (master, agent) = (FakeMesos::master("leader").await, FakeMesos::agent("agent").await);
    let flags =
        [format!("--mesos.master={}", master.url()), format!("--mesos.agent={}", agent.url())];
    let exporter = Exporter::start(&flags.each_ref().map(String::as_str)).await;
    (exporter, master, agent)
}

fn source(name: &str, up: bool) -> String {
    format!("satellite_source_up{{source=\"{name}\"}} {}\n", u8::from(up))
}

#[track_caller]
fn assert_only_down(body: &str, down: &[&str]) {
    for name in ["master", "master_info", "agent", "containers", "agent_state"] {
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
    let (exporter, master, agent) = node().await;
    let cases = [
        (&master, "/version", "{}", "master_info", "mesos_master_info{"),
        (&master, "/flags", "[]", "master_info", "mesos_master_info{"),
        (&agent, "/containers", r#"{"a":1}"#, "containers", "mesos_container_"),
        (&agent, "/state", "{}", "agent_state", "mesos_agent_info{"),
    ];
    for (mesos, path, body, name, series) in cases {
        let good = match path {
            "/version" => "leader_version",
            "/flags" => "leader_flags",
            "/containers" => "agent_containers",
            _ => "agent_state",
        };
        mesos.answer(path, Answer::Json(body.into()));
        let body = exporter.metrics().await;
        assert_only_down(&body, &[name]);
        assert!(!body.contains(series), "{path}");
        mesos.answer(path, Answer::Json(fixture(good)));
    }
    assert_only_down(&exporter.metrics().await, &[]);
}

#[tokio::test]
async fn containers_keep_their_names_while_the_state_cannot_be_read() {
    let (exporter, _master, agent) = node().await;
    let named = "mesos_container_mem_rss_bytes{container_id=\"92bac51a-e3e5-46d3-beab-7e0275acc0cf\",\
         framework_name=\"real-test\",task_name=\"burn\"}";
    let before = exporter.metrics().await;
    assert!(before.contains(named), "{before}");
    agent.answer("/state", Answer::Status(500, String::new()));
    assert!(exporter.metrics().await.contains(named));
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
    agent.answer("/state", Answer::Hang);
    let started = Instant::now();
    let (status, body) =
        exporter.get_with("/metrics", "X-Prometheus-Scrape-Timeout-Seconds", "1.0").await;
    assert_eq!(status, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_only_down(&body, &["master", "master_info", "agent_state"]);
    assert!(body.contains("mesos_agent_registered 1\n"));
}

#[tokio::test]
async fn no_crowd_of_scrapes_reaches_a_mesos_that_hangs() {
    let (exporter, _master, agent) = node().await;
    agent.answer("/state", Answer::Hang);
    // The first eight wait for Mesos; the ninth for its turn, for half of its time.
    let header = "X-Prometheus-Scrape-Timeout-Seconds";
    let crowd = (0..9).map(|_| exporter.get_with("/metrics", header, "4.0"));
    let answers = futures::future::join_all(crowd).await;
    let (served, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, _)| *status == 200);
    assert_eq!(served.len(), 8);
    assert_eq!(refused, [(503, "8 scrapes are under way already\n".to_owned())]);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let leader = FakeMesos::master("leader").await;
    let follower = FakeMesos::master("follower").await;
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
