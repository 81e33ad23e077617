//! Gathers the facts of one round, every source side by side.
//!
//! A source that does not answer is written down as such, with its reason, and
//! never holds up the others for longer than its own time limit.

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt as _, future::join_all};
use satellite_config::Config;
use satellite_core::{
    facts::{Alertmanager, Answer, Facts, FoundFile, Prometheus},
    first_list::{self, Sighting},
};
use satellite_toolkit::exit::chain;

use crate::{
    disk::Disk,
    ledger::Ledger,
    merge,
    sources::{Sources, shown},
};

/// Asks every source that the configuration names.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) disk: Arc<dyn Disk>,
    /// The name of the machine, for people.
    pub(crate) machine: String,
}

impl Observer {
    /// The facts of one round.
    pub(crate) async fn gather(&self, config: &Config, ledger: &Ledger) -> Facts {
        // The alerts come last: nothing should lie between seeing one and acting on it.
        let (mesos, prometheus, found_file) = futures::join!(
            self.sources.mesos(&config.masters),
            self.ask_prometheus(config),
            self.find_list(config, ledger),
        );
        let alertmanagers = self.ask_alertmanagers(config).await;
        Facts { alertmanagers, prometheus, mesos, found_file }
    }

    /// What every Alertmanager shows now.
    pub(crate) async fn ask_alertmanagers(
        &self,
        config: &Config,
    ) -> BTreeMap<String, Answer<Alertmanager>> {
        let ask = |url| self.sources.alertmanager(url).map(move |answer| (shown(url), answer));
        join_all(config.alertmanagers.iter().map(ask)).await.into_iter().collect()
    }

    async fn ask_prometheus(&self, config: &Config) -> BTreeMap<String, Answer<Prometheus>> {
        let host_label = &config.policy.host_label;
        let ask =
            |url| self.sources.prometheus(url, host_label).map(move |answer| (shown(url), answer));
        join_all(config.prometheus.iter().map(ask)).await.into_iter().collect()
    }

    /// The whitelist to begin the store with, which is looked at only until that is done:
    /// the one here, where every other remediator has found the same. They are shown this
    /// one.
    pub(crate) async fn find_list(&self, config: &Config, ledger: &Ledger) -> Answer<FoundFile> {
        if ledger.read().is_begun() {
            return Ok(FoundFile::Missing);
        }
        let found = merge::find(self.disk.as_ref(), &config.whitelist.file).await;
        let found = found.map_err(|error| chain(&error));
        if !ledger.is_shared() {
            return found;
        }
        let own = match &found {
            Ok(found) => merge::sighting(found),
            Err(reason) => Sighting::Unreadable { reason: reason.clone() },
        };
        let file = format!("{}:{}", self.machine, config.whitelist.file.display());
        let all = ledger.compare(file, &own).await.map_err(|error| chain(&error))?;
        first_list::agree(found?, &all, config.masters.len())
    }
}
