//! Collection groups: which series are gathered.
//!
//! Flags turn groups on and off for good (`--collector.snmp`, `--no-collector.frameworks`),
//! and a scrape may ask for some of those that are on (`collect[]=`, `exclude[]=`), as in
//! node_exporter. A source of which no group is wanted is not asked.

use serde::Deserialize;
use url::form_urlencoded;

/// Series that are gathered or left out together. Each key of the catalogue is in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Group {
    Master,
    Agent,
    Resources,
    System,
    Tasks,
    Messages,
    Frameworks,
    Allocator,
    Registrar,
    Operations,
    Containerizer,
    PortMapping,
    ResourceProviders,
    Unknown,
    Containers,
    Volumes,
    Blkio,
    Perf,
    Tcp,
    TrafficControl,
    Snmp,
    ClusterAgents,
    ClusterFrameworks,
    ClusterRoles,
    Checks,
}

/// What a person reads of a group.
pub(crate) struct Described {
    pub(crate) group: Group,
    pub(crate) name: &'static str,
    /// Whether it is on where no flag says otherwise.
    pub(crate) is_default: bool,
    pub(crate) help: &'static str,
}

const fn on(group: Group, name: &'static str, help: &'static str) -> Described {
    Described { group, name, is_default: true, help }
}

const fn off(group: Group, name: &'static str, help: &'static str) -> Described {
    Described { group, name, is_default: false, help }
}

/// Every group, in the order in which it is told. Off are those that are many series for
/// each container and that few need.
pub(crate) const GROUPS: [Described; 25] = [
    on(Group::Master, "master", "the master itself: leadership, agents, frameworks, offers"),
    on(Group::Agent, "agent", "the agent itself: registration, executors, recovery"),
    on(Group::Resources, "resources", "resources of the master's cluster and of the agent"),
    on(Group::System, "system", "load and memory of the host, as Mesos sees them"),
    on(Group::Tasks, "tasks", "tasks by state, and why they ended"),
    on(Group::Messages, "messages", "messages by kind, by outcome and by principal"),
    on(Group::Frameworks, "frameworks", "calls, events, offers and tasks of each framework"),
    on(Group::Allocator, "allocator", "the allocator: runs, roles, quotas, filters"),
    on(Group::Registrar, "registrar", "the registry and its replicated log"),
    on(Group::Operations, "operations", "offer operations by state and type"),
    on(Group::Containerizer, "containerizer", "fetcher, image pulls, provisioner, sandboxes"),
    on(Group::PortMapping, "port_mapping", "the port mapping network isolator"),
    on(Group::ResourceProviders, "resource_providers", "resource providers and CSI plugins"),
    on(Group::Unknown, "unknown", "numbers of Mesos that have no name here yet"),
    on(Group::Containers, "containers", "CPU, memory, disk and network of each container"),
    on(Group::Volumes, "volumes", "disk use of each volume of a container"),
    on(Group::Blkio, "blkio", "block I/O of each container and device"),
    off(Group::Perf, "perf", "hardware counters of each container"),
    off(Group::Tcp, "tcp", "TCP round trips and connections of each container"),
    off(Group::TrafficControl, "traffic_control", "network queues and limits of each container"),
    off(Group::Snmp, "snmp", "IP, ICMP, TCP and UDP counters of each container"),
    on(Group::ClusterAgents, "cluster_agents", "each agent, as the elected master sees it"),
    on(
        Group::ClusterFrameworks,
        "cluster_frameworks",
        "each framework, as the elected master sees it",
    ),
    on(Group::ClusterRoles, "cluster_roles", "each role, as the elected master sees it"),
    on(Group::Checks, "checks", "the host checks of the configuration file"),
];

/// A set of groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Groups(u32);

impl Groups {
    /// Those that are on where no flag says otherwise.
    pub(crate) fn defaults() -> Self {
        GROUPS.iter().filter(|it| it.is_default).map(|it| it.group).collect()
    }

    /// Whether `group` is wanted.
    pub(crate) fn has(self, group: Group) -> bool {
        self.0 & bit(group) != 0
    }

    /// Those of these groups that are in `others` too.
    pub(crate) fn of(self, others: &[Group]) -> Self {
        Self(self.0 & others.iter().copied().collect::<Self>().0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// With `group`, or without it.
    pub(crate) fn set(&mut self, group: Group, is_on: bool) {
        if is_on { self.0 |= bit(group) } else { self.0 &= !bit(group) }
    }

    /// Narrows these by a scrape's query, by node_exporter's rules: `collect[]` names those
    /// that are wanted and `exclude[]` those that are not, and both at once say nothing.
    /// The error is for whoever asked.
    pub(crate) fn narrowed(self, query: &str) -> Result<Self, String> {
        let named = |key: &str| -> Result<Vec<Group>, String> {
            let pairs = form_urlencoded::parse(query.as_bytes());
            pairs.filter(|(name, _)| name == key).map(|(_, value)| self.enabled(&value)).collect()
        };
        let (wanted, unwanted) = (named("collect[]")?, named("exclude[]")?);
        match (wanted.is_empty(), unwanted.is_empty()) {
            (false, false) => Err("collect[] and exclude[] cannot be combined".into()),
            (false, true) => Ok(self.of(&wanted)),
            _ => Ok(Self(self.0 & !unwanted.into_iter().collect::<Self>().0)),
        }
    }

    fn enabled(self, name: &str) -> Result<Group, String> {
        let Some(described) = GROUPS.iter().find(|described| described.name == name) else {
            let known: Vec<_> = GROUPS.iter().map(|described| described.name).collect();
            return Err(format!("there is no group {name:?}; there are {}", known.join(", ")));
        };
        if self.has(described.group) {
            Ok(described.group)
        } else {
            Err(format!("the group {name:?} is off; --collector.{name} turns it on"))
        }
    }
}

fn bit(group: Group) -> u32 {
    1 << group as u32
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        Self(groups.into_iter().map(bit).fold(0, |all, one| all | one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_described_once_and_by_the_name_it_has_in_the_catalogue() {
        for (at, described) in GROUPS.iter().enumerate() {
            assert_eq!(described.group as usize, at, "{}", described.name);
            let name =
                serde::de::value::StrDeserializer::<serde::de::value::Error>::new(described.name);
            assert_eq!(Group::deserialize(name), Ok(described.group));
        }
    }

    #[test]
    fn the_costly_groups_are_off() {
        let defaults = Groups::defaults();
        let off: Vec<_> =
            GROUPS.iter().filter(|it| !defaults.has(it.group)).map(|it| it.name).collect();
        assert_eq!(off, ["perf", "tcp", "traffic_control", "snmp"]);
    }

    #[test]
    fn a_scrape_narrows_what_is_on() {
        let all = Groups::defaults();
        assert_eq!(all.narrowed(""), Ok(all));
        assert_eq!(all.narrowed("names=native&x[]=1"), Ok(all));
        let two = [Group::Tasks, Group::Blkio].into_iter().collect();
        assert_eq!(all.narrowed("collect[]=tasks&collect%5B%5D=blkio"), Ok(two));
        let rest = all.narrowed("exclude[]=blkio").unwrap();
        assert!(!rest.has(Group::Blkio) && rest.has(Group::Tasks));
    }

    #[test]
    fn what_a_scrape_cannot_have_is_refused_and_not_left_out() {
        let all = Groups::defaults();
        for (query, expected) in [
            ("collect[]=tasks&exclude[]=blkio", "cannot be combined"),
            ("collect[]=task", "there is no group \"task\"; there are master, agent, "),
            ("collect[]=snmp", "the group \"snmp\" is off; --collector.snmp turns it on"),
            ("exclude[]=", "there is no group \"\""),
        ] {
            let error = all.narrowed(query).unwrap_err();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }
}
