//! An agent: its metrics snapshot, its containers, and its state for their names.

mod listing;
mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::FutureExt as _;
use satellite_mesos::{
    Client, endpoint, limits, shown,
    wire::{containers, snapshot, snapshot::Snapshot},
};
use url::Url;

use super::{Fetched, Joined, Outcome, flight::Flights, guarded, pace::Pace};
use crate::{
    catalogue::{Component, Naming},
    groups::Group,
    label_rules::LabelRules,
    scrape::Wanted,
};
use listing::Listed;
use state::{Identity, Known, Process};

/// The groups of an agent's snapshot.
const SNAPSHOT_GROUPS: [Group; 9] = [
    Group::Agent,
    Group::Resources,
    Group::System,
    Group::Tasks,
    Group::Messages,
    Group::Containerizer,
    Group::PortMapping,
    Group::ResourceProviders,
    Group::Unknown,
];
/// Those of its containers.
const CONTAINER_GROUPS: [Group; 7] = [
    Group::Containers,
    Group::Volumes,
    Group::Blkio,
    Group::Perf,
    Group::Tcp,
    Group::TrafficControl,
    Group::Snmp,
];

// The sources, by the value of their label.
const SNAPSHOT: &str = "agent";
const CONTAINERS: &str = "containers";
const STATE: &str = "agent_state";

/// Which labels of tasks and which attributes of agents are told.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    pub(crate) task_labels: LabelRules,
    pub(crate) agent_attributes: Arc<LabelRules>,
}

/// The agent of this node, and what was last known of its containers' owners.
#[derive(Debug)]
pub(crate) struct Agent {
    client: Client,
    base: Url,
    timeout: Duration,
    pace: Pace,
    statistics_pace: Pace,
    known: Mutex<Known>,
    answers: Flights<(), Fetched>,
    lists: Flights<Naming, Listed>,
    states: Flights<(), Outcome<Identity>>,
    snapshots: Flights<Wanted, Vec<Outcome>>,
    containers: Flights<(Wanted, Arc<Rules>), Vec<Outcome>>,
}

impl Agent {
    pub(crate) fn new(client: Client, base: Url, timeout: Duration) -> Self {
        Self {
            client,
            base,
            timeout,
            pace: Pace::default(),
            statistics_pace: Pace::default(),
            known: Mutex::default(),
            answers: Flights::default(),
            lists: Flights::default(),
            states: Flights::default(),
            snapshots: Flights::default(),
            containers: Flights::default(),
        }
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for everything that is wanted, side by side, or joins those who are asking.
    /// A scrape waits for `patience`.
    pub(crate) fn gather(
        self: &Arc<Self>,
        wanted: Wanted,
        rules: &Arc<Rules>,
        patience: Duration,
    ) -> Vec<Joined> {
        let of_containers = [&CONTAINER_GROUPS[..], &[Group::Agent]].concat();
        let snapshot = wanted.of(&SNAPSHOT_GROUPS).map(|wanted| self.join_snapshot(wanted));
        let containers = wanted.of(&of_containers);
        let containers = containers.map(|wanted| self.join_containers(wanted, rules, patience));
        snapshot.into_iter().chain(containers).collect()
    }

    /// Takes back who the agent is where its snapshot, which came beside that, has shown it
    /// to be another process meanwhile.
    pub(crate) fn take_back(&self, outcomes: &mut [Outcome]) {
        if self.known().is_forgotten() {
            let told = outcomes.iter_mut().filter(|outcome| outcome.source == STATE);
            for outcome in told {
                outcome.result = outcome.result.clone().map(|_| Arc::default());
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }

    fn join_snapshot(self: &Arc<Self>, wanted: Wanted) -> Joined {
        let url = shown(&endpoint(&self.base, snapshot::PATH));
        let agent = Arc::clone(self);
        let flight = self.snapshots.join(wanted, || {
            let work = async move { vec![agent.snapshot(wanted).await] };
            guarded(vec![SNAPSHOT], url.clone(), work)
        });
        Joined { sources: vec![SNAPSHOT], url, flight }
    }

    async fn snapshot(self: &Arc<Self>, wanted: Wanted) -> Outcome {
        let agent = Arc::clone(self);
        let answer = self.answers.join((), || {
            let fetch = async move {
                agent.pace.turn().await;
                let url = endpoint(&agent.base, snapshot::PATH);
                let answer = agent.client.get(&url, agent.timeout, limits::SNAPSHOT);
                Arc::new(Fetched::measure(url.clone(), answer).await)
            };
            fetch.boxed()
        });
        let answer = answer.await;
        let note = |snapshot: &Snapshot<'_>| {
            self.known().note(Process::of(snapshot, answer.asked, answer.took));
        };
        let of = (Component::Agent, wanted);
        answer.outcome(SNAPSHOT, |url, body| super::snapshot(url, body, of, note))
    }

    fn join_containers(
        self: &Arc<Self>,
        wanted: Wanted,
        rules: &Arc<Rules>,
        patience: Duration,
    ) -> Joined {
        let url = shown(&endpoint(&self.base, containers::PATH));
        let mut sources = vec![STATE];
        if !wanted.groups.of(&CONTAINER_GROUPS).is_empty() {
            sources.push(CONTAINERS);
        }
        let (agent, rules) = (Arc::clone(self), Arc::clone(rules));
        let flight = self.containers.join((wanted, Arc::clone(&rules)), || {
            let work = async move { agent.containers(wanted, &rules, patience).await };
            guarded(sources.clone(), url.clone(), work)
        });
        Joined { sources, url, flight }
    }

    async fn containers(
        self: &Arc<Self>,
        wanted: Wanted,
        rules: &Arc<Rules>,
        patience: Duration,
    ) -> Vec<Outcome> {
        let groups = wanted.groups.of(&CONTAINER_GROUPS);
        let listing = if groups.is_empty() {
            None
        } else {
            let listed = self.listed(wanted.naming).await;
            Some(listed.answer.outcome(CONTAINERS, |url, body| listed.from.read(url, body, groups)))
        };
        let mut keys: Vec<&str> = Vec::new();
        match listing.as_ref().map(|outcome| &outcome.result) {
            Some(Ok(listing)) => keys.extend(listing.keys()),
            // Of an agent that may be gone, who it was is not told unless it says so again.
            Some(Err(_)) => self.known().forget(),
            None => {}
        }
        let state = self.state(&keys, rules, patience).await;
        let owners = self.known().owners();
        let containers = listing
            .map(|outcome| outcome.map(|listing| Arc::from(listing.families(&owners, wanted))));
        let state = state.map(|identity| match wanted.naming {
            _ if !wanted.groups.has(Group::Agent) => Arc::default(),
            Naming::Native => identity.native,
            Naming::MesosExporter => identity.mesos_exporter,
        });
        containers.into_iter().chain([state]).collect()
    }
}
