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

/// Compares both formats of a scrape, and promtool's opinion of the one that it reads.
async fn check_but(name: &str, flags: &[&str], is_excused: fn(&str) -> bool) {
    let exporter = Exporter::start(flags).await;
    for (accept, ending) in [(TEXT, "txt"), (OPEN_METRICS, "openmetrics")] {
        let (status, body) = exporter.get_with("/metrics", "Accept", accept).await;
        assert_eq!(status, 200);
        assert_eq!(body.ends_with("# EOF\n"), accept == OPEN_METRICS);
        compare(&format!("{name}.{ending}"), &stable(&body));
        if accept == TEXT {
            let said = promtool_says(&body);
            let unexcused: Vec<_> = said.iter().filter(|line| !is_excused(line)).collect();
            assert!(unexcused.is_empty(), "{unexcused:#?}");
        }
    }
}

async fn check(name: &str, flags: &[&str]) {
    check_but(name, flags, |_| false).await;
}

/// What it criticises, a line each.
fn promtool_says(body: &str) -> Vec<String> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: apt-get install -y prometheus");
    promtool.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_leading_master_needs_promtool() {
    let master = FakeMesos::leader().await;
    check("leader", &[&format!("--mesos.master={}", master.url())]).await;
}

#[tokio::test]
async fn a_following_master_needs_promtool() {
    let leader = FakeMesos::leader().await;
    let master = FakeMesos::follower(leader.address).await;
    check("follower", &[&format!("--mesos.master={}", master.url())]).await;
    assert_eq!(leader.requests("/master/state-summary"), 0, "the redirect was followed");
}

#[tokio::test]
async fn a_master_of_which_an_agent_is_drained_needs_promtool() {
    let master = FakeMesos::leader().await;
    master.record("/metrics/snapshot", "drained_metrics_snapshot");
    master.record("/state-summary", "drained_state_summary");
    check("drained", &[&format!("--mesos.master={}", master.url())]).await;
}

#[tokio::test]
async fn a_master_that_has_lost_an_agent_needs_promtool() {
    let master = FakeMesos::leader().await;
    master.record("/metrics/snapshot", "lost_agent_metrics_snapshot");
    // Of that moment `/state` was recorded: all that a summary has, but how many tasks
    // there are.
    master.record("/state-summary", "lost_agent_state");
    check("lost_agent", &[&format!("--mesos.master={}", master.url())]).await;
}

#[tokio::test]
async fn an_agent_needs_promtool() {
    let agent = FakeMesos::agent().await;
    check("agent", &[&format!("--mesos.agent={}", agent.url())]).await;
}

#[tokio::test]
async fn an_agent_with_cgroups_needs_promtool() {
    let agent = FakeMesos::agent_with_cgroups().await;
    check("cgroups_agent", &[&format!("--mesos.agent={}", agent.url())]).await;
}

#[tokio::test]
async fn mesos_exporter_s_names_need_promtool() {
    let (master, agent) = (FakeMesos::leader().await, FakeMesos::agent().await);
    let flags =
        [format!("--mesos.master={}", master.url()), format!("--mesos.agent={}", agent.url())];
    let [master, agent] = flags.each_ref().map(String::as_str);
    let flags = [master, agent, "--metrics.names=mesos_exporter"];
    // The names themselves are not ours to mend.
    let of_name = |line: &str| line.contains(" metric name") || line.ends_with("\"_count\" suffix");
    check_but("mesos_exporter", &flags, of_name).await;
}

#[tokio::test]
async fn a_node_that_runs_both_names_each_family_once() {
    let (master, agent) = (FakeMesos::leader().await, FakeMesos::agent().await);
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
