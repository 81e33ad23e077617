//! Peers, a folder and a configuration, out of which a test starts remediators.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::{
    peers::{Labels, Peers},
    remediator::{Remediator, eventually},
};

/// The hosts of most tests.
pub(crate) const HOSTS: [&str; 4] = ["h1.lab", "h2.lab", "h3.lab", "h4.lab"];

/// All that a remediator has to do with.
pub(crate) struct World {
    pub(crate) peers: Peers,
    folder: TempDir,
}

impl World {
    /// A healthy cluster of [`HOSTS`], a configuration, and no whitelist yet.
    pub(crate) async fn new() -> Self {
        let world = Self { peers: Peers::start().await, folder: tempfile::tempdir().unwrap() };
        world.peers.master.lists(&HOSTS);
        for host in HOSTS {
            world.peers.prometheus.scrapes(host, true);
        }
        world.configure(|config| config);
        world
    }

    /// A path in the world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path("remediator.yml")
    }

    pub(crate) fn whitelist_file(&self) -> PathBuf {
        self.path("whitelist")
    }

    pub(crate) fn journal_file(&self) -> PathBuf {
        self.path("store/journal.jsonl")
    }

    /// Writes the configuration, changed by `edit`.
    pub(crate) fn configure(&self, edit: impl FnOnce(String) -> String) {
        let [master, alertmanager, prometheus] = self.peers.sources().map(|(_, fake)| fake.url());
        let folder = self.folder.path().display();
        let config = format!(
            r#"listen: 127.0.0.1:0
cluster: lab
store: {{ embedded: {{ path: {folder}/store }} }}
mesos: {{ masters: ["{master}"] }}
alertmanagers: ["{alertmanager}"]
prometheus: ["{prometheus}"]
resend_delay: 200ms
reconcile_interval: 100ms
whitelist: {{ file: {folder}/whitelist, merge_interval: 100ms, min_hosts: 1 }}
policy:
  clear_for: 300ms
  budget: {{ max_off: {{ count: 3, share: "100%" }}, max_off_per_hour: 1000 }}
  rules:
    - {{ name: host-check, matchers: ['remediate="host"'], action: "off", min_off: 300ms, rescind: false }}
    - {{ name: cluster-in-trouble, matchers: ['remediate="cluster"'], action: hold }}
"#
        );
        fs::write(self.config_file(), edit(config)).unwrap();
    }

    /// A remediator that listens, and may not be ready yet.
    pub(crate) async fn start(&self) -> Remediator {
        Remediator::start(&self.config_file()).await
    }

    /// A remediator that is ready and has made a round.
    pub(crate) async fn start_ready(&self) -> Remediator {
        let remediator = self.start().await;
        remediator.ready().await;
        remediator.rounds(1).await;
        remediator
    }

    /// The file, if it is there.
    pub(crate) fn whitelist(&self) -> Option<String> {
        fs::read_to_string(self.whitelist_file()).ok()
    }

    /// Waits until the file lists exactly these hosts.
    pub(crate) async fn wait_for_whitelist(&self, hosts: &[&str]) {
        let wanted: String = hosts.iter().flat_map(|host| [host, "\n"]).collect();
        eventually(async || match self.whitelist() {
            Some(found) if found == wanted => Ok(()),
            found => Err(format!("{found:?}")),
        })
        .await;
    }

    /// The alert is found by Prometheus and shown by Alertmanager.
    pub(crate) fn fire(&self, alert: &Labels) {
        self.peers.prometheus.finds(alert.clone());
        self.peers.alertmanager.fire(alert.clone());
    }

    /// What it complained of is over.
    pub(crate) fn heal(&self, alert: &Labels) {
        self.peers.prometheus.finds_no_more(alert);
        self.peers.alertmanager.end(alert);
    }
}
