//! Gathers the facts of one round, every source side by side.
//!
//! A source that does not answer is written down as such, with its reason, and
//! never holds up the others for longer than its own time limit.

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt as _, future::join_all};
use satellite_config::Config;
use satellite_core::facts::{Alertmanager, Answer, Facts, FoundFile, Prometheus};
use satellite_toolkit::exit::chain;

use crate::{
    disk::Disk,
    merge,
    sources::{Sources, shown},
};

/// Asks every source that the configuration names.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) disk: Arc<dyn Disk>,
}

impl Observer {
    /// The facts of one round. The whitelist file is looked at only until the
    /// store is begun.
    pub(crate) async fn gather(&self, config: &Config, store_is_begun: bool) -> Facts {
        // The alerts come last: nothing should lie between seeing one and acting on it.
        let (mesos, prometheus, found_file) = futures::join!(
            self.sources.mesos(&config.masters),
            self.ask_prometheus(config),
            self.find_file(config, store_is_begun),
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

    async fn find_file(&self, config: &Config, store_is_begun: bool) -> Answer<FoundFile> {
        if store_is_begun {
            return Ok(FoundFile::Missing);
        }
        let found = merge::find(self.disk.as_ref(), &config.whitelist.file).await;
        found.map_err(|error| chain(&error))
    }
}
