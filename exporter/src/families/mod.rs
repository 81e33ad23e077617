//! From what Mesos says to families of series: pure functions, no I/O, no clock.
//!
//! What Mesos does not say is not said here either: no zero stands for an absent number.

mod cluster;
mod containers;
mod facts;
mod snapshot;

use satellite_toolkit::exposition::{Family, Kind};

pub(crate) use cluster::{roles, state_summary};
pub(crate) use containers::{Listing, Owners};
pub(crate) use facts::{agent_info, master_info, old_agent_attributes};
pub(crate) use snapshot::snapshot;

/// mesos_exporter's family of the attributes of agents, which no key of Mesos stands for.
fn old_attributes() -> Family {
    let help = "mesos_exporter's name for the chosen attributes of an agent.";
    Family::new("mesos_slave_attributes", help, Kind::Unknown)
}

/// The lines of these families without their heads, sorted.
#[cfg(test)]
pub(crate) fn lines(families: Vec<Family>) -> Vec<String> {
    use satellite_toolkit::exposition::{Exposition, Format};
    let text = Exposition::new(Format::Text).families(families).into_text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<_> = samples.map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}
