//! A master: its metrics snapshot, its version and flags, and where it leads, the cluster.
//!
//! The first three are answered by every master itself. The cluster is what the elected
//! master alone knows; the others answer with a redirect to it, which is not followed: each
//! master's exporter would export the same series again, and three would ask the leader.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::FutureExt as _;
use satellite_mesos::{
    Client, ClientError, endpoint, limits, shown,
    wire::{
        master::{FLAGS_PATH, VERSION_PATH, parse_flags, parse_version},
        roles::{self, parse_roles},
        snapshot,
        state_summary::{self, parse_state_summary},
    },
};
use satellite_toolkit::exposition::Family;
use url::Url;

use super::{
    Fetched, Joined, Outcome, SourceError, decode, flight::Flights, guarded, pace::Pace, rubbish,
};
use crate::{
    catalogue::{Component, Naming},
    families,
    groups::Group,
    label_rules::LabelRules,
    scrape::Wanted,
};

/// The groups of a master's snapshot.
const SNAPSHOT: [Group; 10] = [
    Group::Master,
    Group::Resources,
    Group::System,
    Group::Tasks,
    Group::Messages,
    Group::Frameworks,
    Group::Allocator,
    Group::Registrar,
    Group::Operations,
    Group::Unknown,
];
const SUMMARY: [Group; 2] = [Group::ClusterAgents, Group::ClusterFrameworks];

/// What a master is asked for, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Snapshot,
    Version,
    Flags,
    Summary,
    Roles,
}

impl Part {
    fn path(self) -> &'static str {
        match self {
            Self::Snapshot => snapshot::PATH,
            Self::Version => VERSION_PATH,
            Self::Flags => FLAGS_PATH,
            Self::Summary => state_summary::PATH,
            Self::Roles => roles::PATH,
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::Snapshot => limits::SNAPSHOT,
            Self::Version | Self::Flags => limits::SMALL,
            Self::Summary => limits::STATE_SUMMARY,
            Self::Roles => limits::ROLES,
        }
    }
}

/// What a scrape tells of a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    Snapshot,
    Info,
    Cluster,
    Roles,
}

impl Source {
    /// The value of the label `source`.
    fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "master",
            Self::Info => "master_info",
            Self::Cluster => "cluster",
            Self::Roles => "cluster_roles",
        }
    }

    /// What it is asked for first.
    fn part(self) -> Part {
        match self {
            Self::Snapshot => Part::Snapshot,
            Self::Info => Part::Version,
            Self::Cluster => Part::Summary,
            Self::Roles => Part::Roles,
        }
    }

    /// Whether only the elected master answers it.
    fn is_of_leader(self) -> bool {
        matches!(self, Self::Cluster | Self::Roles)
    }
}

/// The master of this node.
#[derive(Debug)]
pub(crate) struct Master {
    client: Client,
    base: Url,
    timeout: Duration,
    pace: Pace,
    /// What was last answered with that somebody else leads: there nothing is missing if
    /// the next answer is late.
    followed: Mutex<HashSet<Source>>,
    answers: Flights<Part, Fetched>,
    flights: Flights<(Source, Wanted, Arc<LabelRules>), Vec<Outcome>>,
}

impl Master {
    pub(crate) fn new(client: Client, base: Url, timeout: Duration) -> Self {
        Self {
            client,
            base,
            timeout,
            pace: Pace::default(),
            followed: Mutex::default(),
            answers: Flights::default(),
            flights: Flights::default(),
        }
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for everything that is wanted, side by side, or joins those who are asking.
    /// `attributes` chooses those of the agents that are told.
    pub(crate) fn gather(
        self: &Arc<Self>,
        wanted: Wanted,
        attributes: &Arc<LabelRules>,
    ) -> Vec<Joined> {
        let is_native = wanted.naming == Naming::Native;
        let sources = [
            (Source::Snapshot, wanted.of(&SNAPSHOT)),
            (Source::Info, wanted.of(&[Group::Master]).filter(|_| is_native)),
            (Source::Cluster, wanted.of(&SUMMARY)),
            (Source::Roles, wanted.of(&[Group::ClusterRoles]).filter(|_| is_native)),
        ];
        let joined = sources.into_iter().filter_map(|(source, wanted)| Some((source, wanted?)));
        joined.map(|(source, wanted)| self.join(source, wanted, attributes)).collect()
    }

    fn join(
        self: &Arc<Self>,
        source: Source,
        wanted: Wanted,
        attributes: &Arc<LabelRules>,
    ) -> Joined {
        let url = shown(&endpoint(&self.base, source.part().path()));
        // Once: if it is late again, that may be because it leads now.
        let is_silent = source.is_of_leader() && self.followed().remove(&source);
        let sources = if is_silent { Vec::new() } else { vec![source.name()] };
        let (master, attributes) = (Arc::clone(self), Arc::clone(attributes));
        let key = (source, wanted, Arc::clone(&attributes));
        let flight = self.flights.join(key, || {
            let work = async move { master.ask(source, wanted, &attributes).await };
            guarded(sources.clone(), url.clone(), work)
        });
        Joined { sources, url, flight }
    }

    fn followed(&self) -> MutexGuard<'_, HashSet<Source>> {
        self.followed.lock().expect("no holder of this lock panics")
    }

    async fn ask(
        self: &Arc<Self>,
        source: Source,
        wanted: Wanted,
        attributes: &LabelRules,
    ) -> Vec<Outcome> {
        let answer = self.fetch(source.part()).await;
        let outcome = match source {
            Source::Snapshot => answer.outcome(source.name(), |url, body| {
                super::snapshot(url, body, (Component::Master, wanted), |_| ())
            }),
            Source::Info => {
                let flags = self.fetch(Part::Flags).await;
                answer.outcome(source.name(), |url, version| info(url, version, &flags))
            }
            Source::Cluster => {
                answer.outcome(source.name(), |url, body| summary(url, body, wanted, attributes))
            }
            Source::Roles => answer.outcome(source.name(), |url, body| roles(url, body, wanted)),
        };
        if source.is_of_leader() && outcome.result.as_ref().is_err_and(|it| does_not_lead(it)) {
            self.followed().insert(source);
            return Vec::new();
        }
        vec![outcome]
    }

    /// An answer, which all share who want something of it now.
    async fn fetch(self: &Arc<Self>, part: Part) -> Arc<Fetched> {
        let master = Arc::clone(self);
        let flight = self.answers.join(part, || {
            let fetch = async move {
                let Self { client, base, timeout, pace, .. } = &*master;
                if part == Part::Snapshot {
                    pace.turn().await;
                }
                let url = endpoint(base, part.path());
                let answer = client.get(&url, *timeout, part.limit());
                Arc::new(Fetched::measure(url.clone(), answer).await)
            };
            fetch.boxed()
        });
        flight.await
    }
}

fn info(url: &Url, version: &[u8], flags: &Fetched) -> Result<Arc<[Family]>, Arc<SourceError>> {
    let flags_url = &flags.url;
    let flags = flags.body.as_ref().map_err(Arc::clone)?;
    let unreadable = |url: &Url, source| SourceError::Decode { url: shown(url), source };
    let version = parse_version(version).map_err(|source| unreadable(url, source))?;
    let flags = parse_flags(flags).map_err(|source| unreadable(flags_url, source))?;
    if version.version.is_none() {
        return Err(rubbish(url, "version").into());
    }
    if flags.flags.0.is_empty() {
        return Err(rubbish(flags_url, "flags").into());
    }
    Ok([families::master_info(&version, &flags)].into())
}

fn summary(
    url: &Url,
    body: &[u8],
    wanted: Wanted,
    attributes: &LabelRules,
) -> Result<Arc<[Family]>, SourceError> {
    let mapped = decode(url, body, |body| {
        let summary = parse_state_summary(body)?;
        let is_one = summary.slaves.is_some() && summary.frameworks.is_some();
        Ok(is_one.then(|| families::state_summary(&summary, wanted, attributes)))
    });
    mapped?.map(Arc::from).ok_or_else(|| rubbish(url, "slaves and frameworks"))
}

fn roles(url: &Url, body: &[u8], wanted: Wanted) -> Result<Arc<[Family]>, SourceError> {
    let mapped = decode(url, body, |body| {
        let roles = parse_roles(body)?;
        Ok(roles.roles.is_some().then(|| families::roles(&roles, wanted)))
    });
    mapped?.map(Arc::from).ok_or_else(|| rubbish(url, "roles"))
}

/// Whether a master has answered that somebody else leads, or that it knows of nobody who
/// does.
fn does_not_lead(error: &SourceError) -> bool {
    match error {
        SourceError::Fetch(ClientError::Redirected { .. }) => true,
        SourceError::Fetch(ClientError::Status { status: 503, body, .. }) => {
            body.starts_with("No leader elected")
        }
        _ => false,
    }
}
