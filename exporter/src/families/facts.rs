//! Who the processes are that the numbers come from: the info series.

use satellite_mesos::wire::{
    agent_state::AgentState,
    master::{Flags, Version},
};
use satellite_toolkit::exposition::{Family, Labels};

use super::{cluster::pairs, old_attributes};
use crate::{
    catalogue::{self, Component},
    label_rules::LabelRules,
};

/// `mesos_master_info{hostname, cluster, version}`. A label is empty where the master was
/// started without that flag.
pub(crate) fn master_info(version: &Version<'_>, flags: &Flags<'_>) -> Family {
    let flag = |name: &str| flags.flags.0.get(name).map(AsRef::as_ref).unwrap_or_default();
    let mut family = catalogue::known(Component::Master, "/version, /flags").native().family();
    let version = version.version.as_deref().unwrap_or_default();
    let labels =
        [("hostname", flag("hostname")), ("cluster", flag("cluster")), ("version", version)];
    family.push(Labels::new(labels), 1.0);
    family
}

/// `mesos_agent_info{hostname, agent_id, version}` and the attributes that `rules` choose.
/// The id is empty until the agent has registered for the first time.
pub(crate) fn agent_info(state: &AgentState<'_>, rules: &LabelRules) -> Family {
    let mut family = catalogue::known(Component::Agent, "/state").native().family();
    let labels = [
        ("hostname", state.hostname.as_deref()),
        ("agent_id", state.id.as_deref()),
        ("version", state.version.as_deref()),
    ];
    let taken = labels.map(|(name, _)| name);
    let labels = Labels::new(labels.map(|(name, value)| (name, value.unwrap_or_default())));
    family.push(labels.with(rules.chosen(pairs(&state.attributes), &taken)), 1.0);
    family
}

/// mesos_exporter's series of this agent's attributes, which has no other labels; `None`
/// where none are chosen.
pub(crate) fn old_agent_attributes(state: &AgentState<'_>, rules: &LabelRules) -> Option<Family> {
    let chosen = rules.chosen(pairs(&state.attributes), &[]);
    if chosen.is_empty() {
        return None;
    }
    let mut family = old_attributes();
    family.push(Labels::new(chosen), 1.0);
    Some(family)
}
