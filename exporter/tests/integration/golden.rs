//! Whole expositions of recorded answers, compared with what was once read and found
//! right. `UPDATE_GOLDEN=1` writes them anew; read the difference before it is committed.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{exporter::Exporter, fake_mesos::FakeMesos};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const TEXT: &str = "text/plain;version=0.0.4";

/// What an exposition says of Mesos: what it says of this process differs in each run.
fn stable(exposition: &str) -> String {
    let name = |line: &str| {
        let line = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        line.starts_with("mesos_") || line.starts_with("satellite_source_up")
    };
    exposition.lines().filter(|line| name(line)).map(|line| format!("{line}\n")).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn compare(name: &str, found: &str) {
    let path = path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {}", number + 1, path.display());
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{}", path.display());
}

/// Compares both formats of a scrape.
async fn check(name: &str, flags: &[&str]) {
    let exporter = Exporter::start(flags).await;
    for (accept, ending) in [(TEXT, "txt"), (OPEN_METRICS, "openmetrics")] {
        let (status, body) = exporter.get_with("/metrics", "Accept", accept).await;
        assert_eq!(status, 200);
        assert_eq!(body.ends_with("# EOF\n"), accept == OPEN_METRICS);
        compare(&format!("{name}.{ending}"), &stable(&body));
    }
}

#[tokio::test]
async fn a_leading_master() {
    let master = FakeMesos::master("leader").await;
    check("leader", &[&format!("--mesos.master={}", master.url())]).await;
}

#[tokio::test]
async fn a_following_master() {
    let master = FakeMesos::master("follower").await;
    check("follower", &[&format!("--mesos.master={}", master.url())]).await;
}

#[tokio::test]
async fn an_agent() {
    let agent = FakeMesos::agent("agent").await;
    check("agent", &[&format!("--mesos.agent={}", agent.url())]).await;
}

#[tokio::test]
async fn an_agent_with_cgroups() {
    let agent = FakeMesos::agent("cgroups_agent").await;
    check("cgroups_agent", &[&format!("--mesos.agent={}", agent.url())]).await;
}

#[tokio::test]
async fn a_node_that_runs_both_names_each_family_once() {
    let (master, agent) = (FakeMesos::master("leader").await, FakeMesos::agent("agent").await);
    let flags =
        [format!("--mesos.master={}", master.url()), format!("--mesos.agent={}", agent.url())];
    let exporter = Exporter::start(&flags.each_ref().map(String::as_str)).await;
    let body = exporter.metrics().await;
    let mut types: Vec<_> = body.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let all = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), all);
    for component in ["master", "agent"] {
        assert!(body.contains(&format!("mesos_system_load_1min{{component=\"{component}\"}}")));
    }
}

#[tokio::test]
async fn promtool_finds_nothing_to_criticise_needs_promtool() {
    let (master, agent) = (FakeMesos::master("leader").await, FakeMesos::agent("agent").await);
    let flags =
        [format!("--mesos.master={}", master.url()), format!("--mesos.agent={}", agent.url())];
    let exporter = Exporter::start(&flags.each_ref().map(String::as_str)).await;
    let body = exporter.metrics().await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: apt-get install -y prometheus");
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
