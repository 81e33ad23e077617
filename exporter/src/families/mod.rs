//! From what Mesos says to families of series: pure functions, no I/O, no clock.
//!
//! What Mesos does not say is not said here either: no zero stands for an absent number.

mod cluster;
mod containers;
mod facts;
mod snapshot;

use std::collections::HashMap;

use satellite_toolkit::exposition::{Family, Kind};

use crate::catalogue::Name;

pub(crate) use cluster::{roles, state_summary};
pub(crate) use containers::{Listing, Owners};
pub(crate) use facts::{agent_info, master_info, old_agent_attributes};
pub(crate) use snapshot::snapshot;

/// Families under construction, by name.
#[derive(Default)]
struct Gathered {
    families: HashMap<&'static str, Family>,
}

impl Gathered {
    /// The family of this name, made at its first use.
    fn family(&mut self, name: &'static Name) -> &mut Family {
        let Name { series, help, kind, .. } = name;
        let make = || Family::new(series.as_str(), help.as_str(), *kind);
        self.families.entry(series).or_insert_with(make)
    }

    /// mesos_exporter's series of the attributes of agents, which no key of Mesos stands for.
    fn old_attributes(&mut self) -> &mut Family {
        let help = "mesos_exporter's name for the chosen attributes of an agent.";
        let name = "mesos_slave_attributes";
        self.families.entry(name).or_insert_with(|| Family::new(name, help, Kind::Unknown))
    }

    /// mesos_exporter's series of the labels of tasks.
    fn old_task_labels(&mut self) -> &mut Family {
        let help = "mesos_exporter's name for the chosen labels of a task.";
        let name = "mesos_slave_task_labels";
        self.families.entry(name).or_insert_with(|| Family::new(name, help, Kind::Unknown))
    }

    /// Numbers of containers that have no name here.
    fn unknown_fields(&mut self) -> &mut Family {
        let help = "A number of a container that has no name here yet, as it came.";
        let name = "mesos_container_unknown_field";
        self.families.entry(name).or_insert_with(|| Family::new(name, help, Kind::Unknown))
    }

    fn into_families(self) -> impl Iterator<Item = Family> {
        self.families.into_values()
    }
}
