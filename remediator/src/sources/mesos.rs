//! Mesos: which master leads, and which agents it lists.

use std::time::Duration;

use satellite_core::facts::{Agent, Mesos};
use satellite_mesos::{AgentsError, Client, NoLeader, find_leader};
use url::Url;

/// How long a master may take to say whether it leads: a few hundred bytes that it
/// has at hand. Every round waits as long for a master that takes the question and
/// never answers.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the leading master may take to list its agents: 10 000 of them are
/// about 30 MB and take it a second or two.
const AGENTS_TIMEOUT: Duration = Duration::from_secs(10);

/// Why nobody knows which hosts there are.
#[derive(Debug, thiserror::Error)]
pub(super) enum MesosError {
    #[error(transparent)]
    NoLeader(#[from] NoLeader),
    #[error(transparent)]
    Agents(#[from] AgentsError),
}

/// Asks every master whether it leads, and the one that does for its agents.
pub(super) async fn look(client: &Client, masters: &[Url]) -> Result<Mesos, MesosError> {
    let leader = find_leader(client, masters, LEADER_TIMEOUT).await?;
    let agents = leader.agents(client, AGENTS_TIMEOUT).await?;
    let registered = agents.registered.into_iter().map(|agent| Agent {
        id: agent.id,
        hostname: agent.hostname,
        ip: agent.ip,
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
        leader: super::shown(&leader.url),
        registered: registered.collect(),
        recovered: recovered.collect(),
    })
}
