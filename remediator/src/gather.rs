//! Gathers the facts of one round, every source side by side.
//!
//! A source that does not answer is written down as such, with its reason, and
//! never holds up the others for longer than its own time limit.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use satellite_config::Config;
use satellite_core::facts::{Agent, Alertmanager, Answer, Facts, FoundFile, Mesos};
use satellite_mesos::{AgentsError, Client, NoLeader, find_leader};
use satellite_toolkit::exit::chain;

use crate::{merge, sources};

/// How long a master may take to say whether it leads: a few hundred bytes that it
/// has at hand. Every round waits as long for a master that takes the question and
/// never answers.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the leading master may take to list its agents: 10 000 of them are
/// about 30 MB and take it a second or two.
const AGENTS_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks every source that the configuration names.
#[derive(Clone)]
pub(crate) struct Observer {
    pub(crate) http: reqwest::Client,
    pub(crate) mesos: Client,
}

impl Observer {
    /// The facts of one round. The whitelist file is looked at only until the
    /// store is begun.
    pub(crate) async fn gather(&self, config: &Config, store_is_begun: bool) -> Facts {
        // The alerts come last: nothing should lie between seeing one and acting on it.
        let (mesos, prometheus, found_file) = futures::join!(
            self.ask_mesos(config),
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
        let answers = config.alertmanagers.iter().map(async |url| {
            let client = sources::alertmanager::Client::new(self.http.clone(), url.clone());
            (sources::shown(url), client.look().await)
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn ask_prometheus(
        &self,
        config: &Config,
    ) -> BTreeMap<String, Answer<satellite_core::facts::Prometheus>> {
        let host_label = &config.policy.host_label;
        let answers = config.prometheus.iter().map(async |url| {
            let client = sources::prometheus::Client::new(self.http.clone(), url.clone());
            (sources::shown(url), client.look(host_label).await)
        });
        join_all(answers).await.into_iter().collect()
    }

    async fn find_file(&self, config: &Config, store_is_begun: bool) -> Answer<FoundFile> {
        if store_is_begun {
            return Ok(FoundFile::Missing);
        }
        merge::find(&config.whitelist.file).await.map_err(|error| chain(&error))
    }

    async fn ask_mesos(&self, config: &Config) -> Answer<Mesos> {
        self.list_agents(config).await.map_err(|error| match error {
            MesosError::NoLeader(error) => chain(&error),
            MesosError::Agents(error) => chain(&error),
        })
    }

    async fn list_agents(&self, config: &Config) -> Result<Mesos, MesosError> {
        let leader = find_leader(&self.mesos, &config.masters, LEADER_TIMEOUT).await?;
        let agents = leader.agents(&self.mesos, AGENTS_TIMEOUT).await?;
        let registered = agents.registered.into_iter().map(|agent| Agent {
            id: agent.id,
            hostname: agent.hostname,
            ip: agent.ip.map(|ip| ip.to_string()),
            attributes: agent.attributes,
            active: agent.active,
            deactivated: agent.deactivated,
        });
        let recovered = agents.recovered.into_iter().map(|agent| Agent {
            id: agent.id,
            hostname: agent.hostname,
            ip: None,
            attributes: agent.attributes,
            active: false,
            deactivated: false,
        });
        Ok(Mesos {
            leader: sources::shown(&leader.url),
            registered: registered.collect(),
            recovered: recovered.collect(),
        })
    }
}

enum MesosError {
    NoLeader(NoLeader),
    Agents(AgentsError),
}

impl From<NoLeader> for MesosError {
    fn from(error: NoLeader) -> Self {
        Self::NoLeader(error)
    }
}

impl From<AgentsError> for MesosError {
    fn from(error: AgentsError) -> Self {
        Self::Agents(error)
    }
}
