//! An agent: its metrics snapshot, its containers, and its state for their names.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use satellite_mesos::{
    Client, endpoint, limits,
    wire::{
        agent_state::{self, parse_agent_state},
        containers::{self, parse_containers},
        snapshot,
    },
};
use satellite_toolkit::exposition::Family;
use url::Url;

use super::{Outcome, SourceError, decode, rubbish};
use crate::{
    catalogue::Component,
    families::{self, Names},
};

/// An agent, and what was last known of its containers' owners.
#[derive(Debug)]
pub(crate) struct Agent {
    base: Url,
    /// Kept from the last state that could be read: while `/state` fails, the series of a
    /// container keep the labels they had instead of becoming other series.
    names: Mutex<Arc<Names>>,
}

impl Agent {
    pub(crate) fn new(base: Url) -> Self {
        Self { base, names: Mutex::default() }
    }

    /// The address it was configured with.
    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Asks the agent for everything, side by side.
    pub(crate) async fn gather(&self, client: &Client, timeout: Duration) -> [Outcome; 3] {
        let snapshot_url = endpoint(&self.base, snapshot::PATH);
        let containers_url = endpoint(&self.base, containers::PATH);
        let state_url = endpoint(&self.base, agent_state::PATH);
        let numbers = super::snapshot(client, &snapshot_url, Component::Agent, timeout);
        let containers =
            async { Ok(client.get(&containers_url, timeout, limits::CONTAINERS).await?) };
        let (numbers, containers, state) = futures::join!(
            Outcome::measure("agent", &snapshot_url, numbers),
            Outcome::measure("containers", &containers_url, containers),
            Outcome::measure("agent_state", &state_url, self.state(client, &state_url, timeout)),
        );
        // Decoded last, for the names that the state has just brought.
        let names = self.names();
        let containers = containers.and_then(async |body| {
            decode(&containers_url, body, move |body| {
                Ok(families::containers(&parse_containers(body)?, &names))
            })
            .await
        });
        [numbers, containers.await, state]
    }

    /// Reads who the agent is and who owns its containers. Each scrape asks, since the
    /// answer is small next to what a scrape may cost; whether to ask is decided here.
    async fn state(
        &self,
        client: &Client,
        url: &Url,
        timeout: Duration,
    ) -> Result<Vec<Family>, SourceError> {
        let body = client.get(url, timeout, limits::AGENT_STATE).await?;
        let read = decode(url, body, |body| {
            let state = parse_agent_state(body)?;
            let known = state.hostname.is_some();
            Ok(known.then(|| (families::agent_info(&state), Names::read(&state))))
        });
        let (info, names) = read.await?.ok_or_else(|| rubbish(url, "hostname"))?;
        *self.names.lock().expect("no holder of this lock panics") = Arc::new(names);
        Ok(vec![info])
    }

    fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.lock().expect("no holder of this lock panics"))
    }
}
