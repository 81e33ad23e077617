//! From what Mesos says to families of series: pure functions, no I/O, no clock.
//!
//! What Mesos does not say is not said here either: no zero stands for an absent number.

mod containers;
mod facts;
mod snapshot;

use std::collections::BTreeMap;

use satellite_toolkit::exposition::Family;

pub(crate) use containers::{Names, containers};
pub(crate) use facts::{agent_info, master_info};
pub(crate) use snapshot::snapshot;

/// Joins families of one name, such as the `system` ones that the master and the agent of
/// a node both have: an exposition may name a family only once. Sorted by name.
pub(crate) fn merge(families: impl IntoIterator<Item = Family>) -> Vec<Family> {
    let mut merged: BTreeMap<String, Family> = BTreeMap::new();
    for family in families {
        match merged.get_mut(family.name.as_ref()) {
            Some(earlier) => earlier.samples.extend(family.samples),
            None => {
                merged.insert(family.name.clone().into_owned(), family);
            }
        }
    }
    merged.into_values().collect()
}
