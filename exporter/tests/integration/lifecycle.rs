//! The process: what it refuses, how it reloads, shows itself and ends.

use std::{path::PathBuf, time::Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    exporter::{Exporter, PATIENCE, command, run_to_end},
    fake_mesos::{Answer, FakeMesos},
};

/// An address at which nobody is asked anything.
const AGENT: &str = "--mesos.agent=http://127.0.0.1:1";

/// A configuration file that a test rewrites.
struct File {
    folder: TempDir,
    flag: String,
}

impl File {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flag = format!("--config.file={}", folder.path().join("e.yml").display());
        let file = Self { folder, flag };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("e.yml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_exit_64_and_one_line_per_problem() {
    let file = File::new("checks:\n  - {name: a, command: []}\n  - {name: a, command: [x]}\n");
    let path = file.path().display().to_string();
    let bad = tempfile::tempdir().unwrap();
    let credentials = bad.path().join("credentials").display().to_string();
    std::fs::write(&credentials, "principal: prom\n").unwrap();
    let cases: [(&[&str], &[&str]); 7] = [
        (&[], &["nothing to do: give --mesos.master=URL, --mesos.agent=URL or both"]),
        (&["--mesos.agent=x"], &["--mesos.agent: \"x\" is not a URL such as"]),
        (&[AGENT, "--log.format=xml"], &["invalid value 'xml' for '--log.format <FORMAT>'"]),
        (&[AGENT, "--nonsense"], &["unexpected argument '--nonsense' found"]),
        (
            &[AGENT, "--mesos.timeout=0s", "--web.config.file=x.yml"],
            &["--mesos.timeout: must be above 0", "x.yml: cannot be read: No such file"],
        ),
        (
            &[
                AGENT,
                &format!("--mesos.credentials-file={credentials}"),
                "--mesos.tls.ca-file=/nonexistent.pem",
            ],
            &[
                "/nonexistent.pem: cannot be read: ",
                &format!("{credentials}:1:12: principal: wants secret beside it"),
            ],
        ),
        (
            &[AGENT, &file.flag],
            &[
                &format!("{path}:2:24: checks[0].command: must be a program"),
                &format!("{path}:3:12: checks[1].name: \"a\" is the name of an earlier check"),
            ],
        ),
    ];
    for (flags, problems) in cases {
        let mut command = command(flags);
        // A port that cannot be bound proves that none was tried.
        command.arg("--web.listen-address=192.0.2.1:1");
        let output = run_to_end(command).await;
        assert_eq!(output.status.code(), Some(64), "{flags:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = stderr.lines().collect();
        assert_eq!(lines.len(), problems.len(), "{stderr}");
        for (line, problem) in lines.iter().zip(problems) {
            assert!(line.starts_with(&format!("satellite-exporter: {problem}")), "{stderr}");
        }
    }
}

#[tokio::test]
async fn the_environment_stands_in_for_a_flag() {
    let mut command = command(&[]);
    command.env("SATELLITE_MESOS_MASTER", "nonsense");
    let output = run_to_end(command).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--mesos.master: \"nonsense\""));
}

#[tokio::test]
async fn an_address_in_use_is_exit_1_and_one_line() {
    let first = Exporter::start(&[AGENT]).await;
    let address = first.url.strip_prefix("http://").unwrap();
    let output = run_to_end(command(&[AGENT, &format!("--web.listen-address={address}")])).await;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected =
        format!("satellite-exporter: cannot listen on {address}: Address already in use");
    assert!(stderr.lines().last().unwrap().starts_with(&expected), "{stderr}");
}

#[tokio::test]
async fn sigterm_ends_it_in_time_and_takes_a_running_check_with_it() {
    let pid_file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo $$ > {}; exec sleep 1000", pid_file.path().display());
    let file = File::new(&format!(
        "checks:\n  - {{name: slow, command: [sh, -c, '{script}'], interval: 1h, timeout: 1h}}\n"
    ));
    for signal in [Signal::TERM, Signal::INT] {
        std::fs::write(pid_file.path(), "").unwrap();
        let mut exporter = Exporter::start(&[AGENT, &file.flag]).await;
        let started = async {
            loop {
                let pid = std::fs::read_to_string(pid_file.path()).unwrap();
                if pid.ends_with('\n') {
                    return pid.trim().to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let pid = timeout(PATIENCE, started).await.expect("the check never started");
        let asked = Instant::now();
        exporter.signal(signal);
        let status = timeout(PATIENCE, exporter.child.wait()).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(0));
        assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
        assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap(), "the check still runs");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_although_a_scrape_is_still_in_flight() {
    let agent = FakeMesos::agent().await;
    agent.answer("/state", Answer::Hang);
    let url = format!("--mesos.agent={}", agent.url());
    let mut exporter = Exporter::start(&[&url, "--mesos.timeout=1h"]).await;
    let metrics = format!("{}/metrics", exporter.url);
    let scrape = tokio::spawn(reqwest::get(metrics));
    agent.wait_for_request("/state").await;
    exporter.signal(Signal::TERM);
    exporter.wait_for_log(r#"msg="Ending" signal=SIGTERM"#).await;
    let asked = Instant::now();
    exporter.signal(Signal::INT);
    let status = timeout(PATIENCE, exporter.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    assert!(scrape.await.unwrap().is_err());
}

#[tokio::test]
async fn a_reload_swaps_the_checks_and_the_series_of_a_removed_one_vanish() {
    let file = File::new("checks:\n  - {name: old, command: ['false']}\n");
    let exporter = Exporter::start(&[AGENT, &file.flag]).await;
    exporter.wait_for_metric("satellite_check_ok{check=\"old\"} 0").await;
    exporter.wait_for_log(r#"msg="Check fails" check=old problem="exit status: 1""#).await;

    file.write("checks:\n  - {name: new, command: ['true']}\n");
    exporter.signal(Signal::HUP);
    exporter.wait_for_metric("satellite_check_ok{check=\"new\"} 1").await;
    let body = exporter.metrics().await;
    assert!(!body.contains("check=\"old\""), "{body}");
    for series in ["duration_seconds", "last_run_timestamp_seconds"] {
        assert!(body.contains(&format!("satellite_check_{series}{{check=\"new\"}}")), "{body}");
    }
    assert!(body.contains("satellite_config_last_reload_successful 1\n"));
}

#[tokio::test]
async fn an_invalid_file_keeps_the_old_checks_and_says_why() {
    let file = File::new("checks:\n  - {name: old, command: ['true']}\n");
    let exporter = Exporter::start(&[AGENT, &file.flag]).await;
    exporter.wait_for_metric("satellite_check_ok{check=\"old\"} 1").await;

    for (text, reason) in [
        ("checks:\n  - {name: new}\n", "e.yml:2:5: checks[0]: missing field `command`"),
        ("", "e.yml: the file is empty"),
    ] {
        file.write(text);
        let (status, body) = exporter.post("/-/reload").await;
        assert_eq!(status, 500);
        assert!(body.starts_with("failed to reload config: ") && body.contains(reason), "{body}");
        exporter.wait_for_metric("satellite_config_last_reload_successful 0").await;
        exporter.wait_for_metric("satellite_check_ok{check=\"old\"} 1").await;
    }
    exporter.wait_for_log("checks[0]: missing field").await;

    file.write("checks: []\n");
    assert_eq!(exporter.post("/-/reload").await.0, 200);
    let body = exporter.metrics().await;
    assert!(body.contains("satellite_config_last_reload_successful 1\n"));
    assert!(!body.contains("satellite_check_ok"));
}

#[tokio::test]
async fn it_is_healthy_and_ready_and_its_own_series_are_there() {
    let exporter = Exporter::start(&[AGENT]).await;
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
    assert_eq!(exporter.get("/-/ready").await.0, 200);
    assert_eq!(exporter.get("/nonsense").await.0, 404);
    let body = exporter.metrics().await;
    for series in [
        concat!("satellite_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
        "satellite_config_last_reload_successful 1\n",
        "satellite_source_duration_seconds{source=\"agent\"} ",
    ] {
        assert!(body.contains(series), "{series}\n{body}");
    }
}

#[tokio::test]
async fn the_page_shows_sources_and_checks_and_escapes_what_is_not_ours() {
    let agent = FakeMesos::agent().await;
    let text = "checks:\n  - {name: '<b>disk</b>', command: [sh, -c, 'echo no >&2; exit 2']}\n";
    let file = File::new(text);
    let url = format!("--mesos.agent={}", agent.url());
    let path = "--web.telemetry-path=/m";
    let exporter = Exporter::start(&[&url, &file.flag, path]).await;
    exporter.wait_for_log(r#"msg="Check fails""#).await;
    let (status, page) = exporter.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("Nothing has been scraped yet"), "{page}");
    assert_eq!(exporter.get("/m").await.0, 200);
    let (_, page) = exporter.get("/").await;
    for part in [
        "href=\"/m\"",
        "&lt;b&gt;disk&lt;/b&gt;",
        "exit status: 2",
        "agent_state",
        "<span class=\"good\">up</span>",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("<b>"));
}
