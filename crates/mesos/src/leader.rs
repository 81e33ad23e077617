//! Who leads: the master that answers an operator call itself, and says that it was elected.
//!
//! All configured masters are asked side by side with `GET_MASTER`. A follower answers `307`, or
//! `503 No leader elected` while it knows none; neither is followed or believed, because after a
//! crash followers name the dead leader until its ZooKeeper session ends. For a moment after a
//! failover two masters may say that they lead: then nobody does.

use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::agents::{Agents, AgentsError};
use crate::client::{Client, ClientError, endpoint, limits, shown};
use crate::wire::operator::{Call, MasterInfo, parse_get_agents, parse_get_master};
use crate::wire::snapshot::{self, parse_snapshot};

/// The gauge that says whether a master is the elected one.
const ELECTED_KEY: &str = "master/elected";

/// The leading master, as of the moment it answered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Leader {
    /// Its address, as configured.
    pub url: Url,
    /// Its id, new with each start of a master.
    pub id: Option<String>,
    /// Its name.
    pub hostname: Option<String>,
    /// `1.11.0`.
    pub version: Option<String>,
    /// Since when it leads; older versions do not tell.
    pub elected_at: Option<Timestamp>,
}

/// Why there is no leader to talk to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoLeader {
    /// No masters are configured.
    #[error("no masters are configured")]
    NoMasters,
    /// None of them leads, or says so in time.
    #[error("none of the masters leads: {}", Listed(masters))]
    NoneElected {
        /// Each master, in the order of the configuration, and what came of asking it.
        masters: Vec<(Url, NotLeader)>,
    },
    /// More than one says that it leads.
    #[error("more than one master says it leads: {}", leaders.iter().map(shown).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// Those that do.
        leaders: Vec<Url>,
    },
}

/// Why one master is not the leader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotLeader {
    /// It redirects: a follower.
    #[error("follows {}", to.as_deref().unwrap_or("another"))]
    Follower {
        /// The `Location` it named.
        to: Option<String>,
    },
    /// It answers by itself, and does not say that it was elected.
    #[error("not elected")]
    NotElected,
    /// It could not be asked, or refused to answer, or its answer cannot be read.
    #[error(transparent)]
    Failed(ClientError),
}

/// Asks every master, side by side, whether it leads. Each question has `timeout`; a master that
/// must be asked twice (see [`Leader::elected_at`]) has it twice.
pub async fn find_leader(
    client: &Client,
    masters: &[Url],
    timeout: Duration,
) -> Result<Leader, NoLeader> {
    if masters.is_empty() {
        return Err(NoLeader::NoMasters);
    }
    let answers = join_all(masters.iter().map(|url| ask(client, url, timeout))).await;
    let mut leaders: Vec<Leader> = Vec::new();
    let mut others = Vec::new();
    for (url, answer) in masters.iter().zip(answers) {
        match answer {
            // The same master under two addresses is one leader.
            Ok(leader) if leaders.iter().any(|known| same_master(known, &leader)) => {}
            Ok(leader) => leaders.push(leader),
            Err(reason) => others.push((url.clone(), reason)),
        }
    }
    match leaders.len() {
        0 => Err(NoLeader::NoneElected { masters: others }),
        1 => Ok(leaders.swap_remove(0)),
        _ => Err(NoLeader::Ambiguous { leaders: leaders.into_iter().map(|l| l.url).collect() }),
    }
}

impl Leader {
    /// The agents it knows, by one `GET_AGENTS`. A redirect means that it leads no longer, and is an
    /// error: the list of a follower's choice would come from a master that nobody checked.
    pub async fn agents(&self, client: &Client, timeout: Duration) -> Result<Agents, AgentsError> {
        let body = client
            .post_operator(&self.url, &Call::GetAgents, timeout, limits::AGENTS)
            .await
            .map_err(AgentsError::Request)?;
        let response = parse_get_agents(&body).map_err(|source| {
            let url = shown(&endpoint(&self.url, "api/v1"));
            AgentsError::Request(ClientError::Unparsable { url, source })
        })?;
        Agents::from_wire(&response)
    }
}

async fn ask(client: &Client, url: &Url, timeout: Duration) -> Result<Leader, NotLeader> {
    let body = client.post_operator(url, &Call::GetMaster, timeout, limits::SMALL).await.map_err(
        |error| match error {
            ClientError::Redirected { to, .. } => NotLeader::Follower { to },
            error => NotLeader::Failed(error),
        },
    )?;
    let response = parse_get_master(&body).map_err(|source| {
        let url = shown(&endpoint(url, "api/v1"));
        NotLeader::Failed(ClientError::Unparsable { url, source })
    })?;
    // Whoever answers 200 without saying anything of a master is not a master.
    let master = response.get_master.ok_or(NotLeader::NotElected)?;
    if master.elected_time.is_none() && !metrics_say_elected(client, url, timeout).await? {
        return Err(NotLeader::NotElected);
    }
    let MasterInfo { id, hostname, version, .. } = master.master_info.unwrap_or_default();
    Ok(Leader {
        url: url.clone(),
        id: id.map(Into::into),
        hostname: hostname.map(Into::into),
        version: version.map(Into::into),
        elected_at: master.elected_time.and_then(timestamp),
    })
}

async fn metrics_say_elected(
    client: &Client,
    url: &Url,
    timeout: Duration,
) -> Result<bool, NotLeader> {
    let url = endpoint(url, snapshot::PATH);
    let body = client.get(&url, timeout, limits::SNAPSHOT).await.map_err(NotLeader::Failed)?;
    let snapshot = parse_snapshot(&body).map_err(|source| {
        NotLeader::Failed(ClientError::Unparsable { url: shown(&url), source })
    })?;
    Ok(snapshot.get(ELECTED_KEY) == Some(1.0))
}

fn same_master(a: &Leader, b: &Leader) -> bool {
    a.url == b.url || (a.id.is_some() && a.id == b.id)
}

/// Mesos's seconds since the epoch; `None` for what is no point in time.
fn timestamp(seconds: f64) -> Option<Timestamp> {
    let duration = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(duration).ok()
}

/// Each master with its reason and the reason's causes, on one line.
struct Listed<'a>(&'a [(Url, NotLeader)]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (url, reason)) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {reason}", shown(url))?;
            // An error of many has no single source, so that their causes are told here.
            let mut source = std::error::Error::source(reason);
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}
