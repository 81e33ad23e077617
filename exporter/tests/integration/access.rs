//! A Mesos that wants credentials.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{exporter::Exporter, fake_mesos::FakeMesos};

/// `prom:scrape`, as it goes over the wire.
const BASIC: &str = "Basic cHJvbTpzY3JhcGU=";

struct Credentials(TempDir);

impl Credentials {
    fn new(secret: &str) -> Self {
        let credentials = Self(tempfile::tempdir().unwrap());
        credentials.write(secret);
        credentials
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("credentials.json")
    }

    /// Puts another file in its place, whole.
    fn write(&self, secret: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, format!(r#"{{"principal": "prom", "secret": "{secret}"}}"#)).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }
}

fn flag(path: &Path) -> String {
    format!("--mesos.credentials-file={}", path.display())
}

#[tokio::test]
async fn a_mesos_that_wants_credentials_is_scraped_with_those_of_the_file() {
    let (master, agent) = (FakeMesos::leader().await, FakeMesos::agent().await);
    master.want(BASIC);
    agent.want(BASIC);
    let credentials = Credentials::new("wr0ng");
    let exporter = Exporter::start(&[
        &format!("--mesos.master={}", master.url()),
        &format!("--mesos.agent={}", agent.url()),
        &flag(&credentials.path()),
        "--log.level=trace",
    ])
    .await;
    exporter.wait_for_metric(r#"satellite_source_up{source="master"} 0"#).await;
    exporter.wait_for_log(r#"msg="Source is down" source=master"#).await;
    credentials.write("scrape");
    for source in ["master", "master_info", "agent", "containers", "agent_state"] {
        let up = format!(r#"satellite_source_up{{source="{source}"}} 1"#);
        exporter.wait_for_metric(&up).await;
    }
    // Not at any level, neither as it is written nor as it is sent.
    for line in exporter.log() {
        let secrets = ["wr0ng", "prom:", "scrape\"", "cHJvbT"];
        assert!(!secrets.iter().any(|secret| line.contains(secret)), "{line}");
        assert!(!line.contains("plain http"), "nothing leaves this machine: {line}");
    }
}

#[tokio::test]
async fn credentials_over_plain_http_to_another_machine_are_warned_of_once() {
    let credentials = Credentials::new("scrape");
    // An address that is nobody's; nothing is asked without a scrape.
    let exporter = Exporter::start(&[
        "--mesos.agent=http://192.0.2.1:5051",
        &flag(&credentials.path()),
        "--mesos.tls.insecure-skip-verify",
    ])
    .await;
    let warning = exporter.wait_for_log("Credentials go over plain http").await;
    assert!(warning.contains("targets=http://192.0.2.1:5051/"), "{warning}");
    let warnings = exporter.log().into_iter().filter(|line| line.contains("level=warn"));
    assert_eq!(warnings.count(), 2, "that, and the certificates: {:#?}", exporter.log());
}
