//! A master: its metrics snapshot, its version and flags, and where it leads, the cluster.
//!
//! The first three are answered by every master itself. The cluster is what the elected
//! master alone knows; the others answer with a redirect to it, which is not followed: each
//! master's exporter would export the same series again, and three would ask the leader.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

use super::{Joined, Outcome, SourceError, decode, flight::Flights, pace::Pace, rubbish};
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
    Info,
    Summary,
    Roles,
}

impl Part {
    /// Whether only the elected master answers it.
    fn is_of_leader(self) -> bool {
        matches!(self, Self::Summary | Self::Roles)
    }
}

/// The master of this node.
#[derive(Debug)]
pub(crate) struct Master {
    client: Client,
    base: Url,
    timeout: Duration,
    pace: Pace,
    /// Whether it has last answered that somebody else leads: then nothing is missing where
    /// it tells nothing of the cluster.
    follows: AtomicBool,
    flights: Flights<(Part, Wanted), Vec<Outcome>>,
}

impl Master {
    pub(crate) fn new(client: Client, base: Url, timeout: Duration) -> Self {
        Self {
            client,
            base,
            timeout,
            pace: Pace::default(),
            follows: AtomicBool::new(false),
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
        let parts = [
            (Part::Snapshot, wanted.of(&SNAPSHOT)),
            (Part::Info, wanted.of(&[Group::Master]).filter(|_| is_native)),
            (Part::Summary, wanted.of(&SUMMARY)),
            (Part::Roles, wanted.of(&[Group::ClusterRoles]).filter(|_| is_native)),
        ];
        let joined = parts.into_iter().filter_map(|(part, wanted)| Some((part, wanted?)));
        joined.map(|(part, wanted)| self.join(part, wanted, attributes)).collect()
    }

    fn join(self: &Arc<Self>, part: Part, wanted: Wanted, attributes: &Arc<LabelRules>) -> Joined {
        let (sources, path): (&'static [&'static str], _) = match part {
            Part::Snapshot => (&["master"], snapshot::PATH),
            Part::Info => (&["master_info"], FLAGS_PATH),
            Part::Summary => (&["cluster"], state_summary::PATH),
            Part::Roles => (&["cluster_roles"], roles::PATH),
        };
        let is_silent = part.is_of_leader() && self.follows.load(Ordering::Relaxed);
        let sources = if is_silent { &[] } else { sources };
        let url = endpoint(&self.base, path);
        let shown = shown(&url);
        let (master, attributes) = (Arc::clone(self), Arc::clone(attributes));
        let flight = self.flights.join((part, wanted), || {
            async move { Arc::new(master.ask(part, &url, wanted, attributes).await) }.boxed()
        });
        Joined { sources, url: shown, flight }
    }

    async fn ask(
        &self,
        part: Part,
        url: &Url,
        wanted: Wanted,
        attributes: Arc<LabelRules>,
    ) -> Vec<Outcome> {
        let Self { client, pace, timeout, .. } = self;
        let outcome = match part {
            Part::Snapshot => {
                let of = (Component::Master, wanted);
                pace.turn().await;
                let numbers = super::snapshot(client, url, *timeout, of, |_| ());
                Outcome::measure("master", url, numbers).await
            }
            Part::Info => Outcome::measure("master_info", url, self.info()).await,
            Part::Summary => {
                Outcome::measure("cluster", url, self.summary(url, wanted, &attributes)).await
            }
            Part::Roles => Outcome::measure("cluster_roles", url, self.roles(url, wanted)).await,
        };
        if !part.is_of_leader() {
            return vec![outcome];
        }
        let follows = outcome.result.as_ref().is_err_and(|error| does_not_lead(error));
        self.follows.store(follows, Ordering::Relaxed);
        if follows { Vec::new() } else { vec![outcome] }
    }

    async fn info(&self) -> Result<Arc<[Family]>, SourceError> {
        let version_url = endpoint(&self.base, VERSION_PATH);
        let flags_url = endpoint(&self.base, FLAGS_PATH);
        let (version, flags) = futures::try_join!(
            self.client.get(&version_url, self.timeout, limits::SMALL),
            self.client.get(&flags_url, self.timeout, limits::SMALL),
        )?;
        let unreadable = |url: &Url, source| SourceError::Decode { url: shown(url), source };
        let version = parse_version(&version).map_err(|source| unreadable(&version_url, source))?;
        let flags = parse_flags(&flags).map_err(|source| unreadable(&flags_url, source))?;
        if version.version.is_none() {
            return Err(rubbish(&version_url, "version"));
        }
        if flags.flags.0.is_empty() {
            return Err(rubbish(&flags_url, "flags"));
        }
        Ok([families::master_info(&version, &flags)].into())
    }

    async fn summary(
        &self,
        url: &Url,
        wanted: Wanted,
        attributes: &LabelRules,
    ) -> Result<Arc<[Family]>, SourceError> {
        let body = self.client.get(url, self.timeout, limits::STATE_SUMMARY).await?;
        let mapped = decode(url, &body, |body| {
            let summary = parse_state_summary(body)?;
            let is_one = summary.slaves.is_some() && summary.frameworks.is_some();
            Ok(is_one.then(|| families::state_summary(&summary, wanted, attributes)))
        });
        mapped?.map(Arc::from).ok_or_else(|| rubbish(url, "slaves and frameworks"))
    }

    async fn roles(&self, url: &Url, wanted: Wanted) -> Result<Arc<[Family]>, SourceError> {
        let body = self.client.get(url, self.timeout, limits::ROLES).await?;
        let mapped = decode(url, &body, |body| {
            let roles = parse_roles(body)?;
            Ok(roles.roles.is_some().then(|| families::roles(&roles, wanted)))
        });
        mapped?.map(Arc::from).ok_or_else(|| rubbish(url, "roles"))
    }
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
