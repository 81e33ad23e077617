//! The cluster as the elected master sees it: each agent, each framework, each role.

use std::collections::HashSet;

use satellite_mesos::wire::{
    agent_state::Attributes,
    roles::{Quota, Role, Roles},
    state_summary::{Agent, Framework, Resources, StateSummary, TASK_STATES, Tasks},
};
use satellite_toolkit::exposition::{Family, Labels};

use super::Gathered;
use crate::{
    catalogue::{self, Component, Entry, Naming},
    groups::Group,
    label_rules::LabelRules,
    scrape::Wanted,
};

/// Series of every agent and framework of a summary.
pub(crate) fn state_summary(
    summary: &StateSummary<'_>,
    wanted: Wanted,
    attributes: &LabelRules,
) -> Vec<Family> {
    let mut gathered = Gathered::default();
    if wanted.groups.has(Group::ClusterAgents) {
        let mut figures = Figures::new(Component::ClusterAgent, wanted.naming);
        let mut seen = HashSet::new();
        for (agent, id) in each_once(summary.slaves.as_deref(), |agent| agent.id.as_deref()) {
            let labels = agent_labels(agent, id, wanted.naming);
            let Some(labels) = labels.filter(|labels| seen.insert(labels.clone())) else {
                continue;
            };
            figures.add(&mut gathered, &labels, |numbers| agent_numbers(agent, numbers));
            match wanted.naming {
                Naming::Native => agent_facts(&mut gathered, agent, &labels, attributes),
                Naming::MesosExporter => {
                    old_attributes(&mut gathered, &agent.attributes, &labels, attributes);
                }
            }
        }
    }
    if wanted.groups.has(Group::ClusterFrameworks) {
        let mut figures = Figures::new(Component::ClusterFramework, wanted.naming);
        for (framework, id) in each_once(summary.frameworks.as_deref(), |it| it.id.as_deref()) {
            let name = framework.name.as_deref().unwrap_or_default();
            let labels = Labels::new([("framework_name", name), ("framework_id", id)]);
            figures.add(&mut gathered, &labels, |numbers| framework_numbers(framework, numbers));
        }
    }
    gathered.into_families().collect()
}

/// Series of every role.
pub(crate) fn roles(roles: &Roles<'_>, wanted: Wanted) -> Vec<Family> {
    let mut gathered = Gathered::default();
    let mut figures = Figures::new(Component::ClusterRole, wanted.naming);
    for (role, name) in each_once(roles.roles.as_deref(), |role| role.name.as_deref()) {
        let labels = Labels::new([("role", name)]);
        figures.add(&mut gathered, &labels, |numbers| role_numbers(role, numbers));
    }
    gathered.into_families().collect()
}

/// Those that have a name of their own, each with it. One that cannot be told from another
/// is left out, and so is one that comes again: two series of the same labels fail a scrape.
fn each_once<'a, T>(
    all: Option<&'a [T]>,
    name: impl Fn(&'a T) -> Option<&'a str>,
) -> impl Iterator<Item = (&'a T, &'a str)> {
    let mut seen = HashSet::new();
    let named = all.unwrap_or_default().iter().filter_map(move |one| Some((one, name(one)?)));
    named.filter(move |(_, name)| seen.insert(*name))
}

/// What tells an agent's series apart from others'. mesos_exporter takes the address of its
/// process; `None` where Mesos does not say that.
fn agent_labels(agent: &Agent<'_>, id: &str, naming: Naming) -> Option<Labels> {
    match naming {
        Naming::Native => {
            let hostname = agent.hostname.as_deref().unwrap_or_default();
            Some(Labels::new([("hostname", hostname), ("agent_id", id)]))
        }
        Naming::MesosExporter => agent.pid.as_deref().map(|pid| Labels::new([("slave", pid)])),
    }
}

/// What is no number of an agent: its version, its attributes, how far its drain is.
fn agent_facts(
    gathered: &mut Gathered,
    agent: &Agent<'_>,
    labels: &Labels,
    attributes: &LabelRules,
) {
    let entry = |key| known(Component::ClusterAgent, key);
    let version = agent.version.as_deref().unwrap_or_default();
    let chosen = attributes.chosen(pairs(&agent.attributes), &["hostname", "agent_id", "version"]);
    let info = labels.with([("version", version)]).with(chosen);
    gathered.family(entry("").native()).push(info, 1.0);
    if let Some(state) = agent.drain_info.as_ref().and_then(|drain| drain.state.as_deref()) {
        let state = labels.with([("state", state.to_ascii_lowercase())]);
        gathered.family(entry("drain_info.state").native()).push(state, 1.0);
    }
}

pub(super) fn pairs<'a>(
    attributes: &'a Attributes<'_>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    attributes.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
}

/// mesos_exporter's series of an agent's attributes, which it has where some are chosen.
fn old_attributes(
    gathered: &mut Gathered,
    agent: &Attributes<'_>,
    labels: &Labels,
    attributes: &LabelRules,
) {
    let chosen = attributes.chosen(pairs(agent), &["slave"]);
    if !chosen.is_empty() {
        gathered.old_attributes().push(labels.with(chosen), 1.0);
    }
}

/// Numbers by the catalogue's keys for them; `None` where Mesos does not say.
type Numbers = Vec<(&'static str, Option<f64>)>;

/// Turns the numbers of one thing after another into series. All things of a kind have
/// the same keys in the same order, so that these are looked up once.
struct Figures {
    component: Component,
    naming: Naming,
    entries: Vec<&'static Entry>,
    numbers: Numbers,
}

impl Figures {
    fn new(component: Component, naming: Naming) -> Self {
        Self { component, naming, entries: Vec::new(), numbers: Vec::new() }
    }

    /// Adds the numbers that `read` appends, as series with these labels.
    fn add(&mut self, gathered: &mut Gathered, labels: &Labels, read: impl FnOnce(&mut Numbers)) {
        self.numbers.clear();
        read(&mut self.numbers);
        if self.entries.is_empty() {
            self.entries = self.numbers.iter().map(|(key, _)| known(self.component, key)).collect();
        }
        for (entry, (_, number)) in self.entries.iter().zip(&self.numbers) {
            let Some(number) = number else { continue };
            for name in entry.names(self.naming) {
                let labels = if name.labels.is_empty() {
                    labels.clone()
                } else {
                    labels.with(name.labels(&[]))
                };
                gathered.family(name).push(labels, name.convert(*number));
            }
        }
    }
}

fn known(component: Component, key: &str) -> &'static Entry {
    catalogue::find(component, key).expect("a test looks every key up")
}

fn agent_numbers(agent: &Agent<'_>, numbers: &mut Numbers) {
    resources(numbers, &RESOURCES, &agent.resources);
    resources(numbers, &USED, &agent.used_resources);
    resources(numbers, &OFFERED, &agent.offered_resources);
    resources(numbers, &RESERVED, &agent.reserved_resources);
    resources(numbers, &UNRESERVED, &agent.unreserved_resources);
    numbers.extend([
        ("active", agent.active.map(number)),
        ("deactivated", agent.deactivated.map(number)),
        ("registered_time", agent.registered_time),
        ("reregistered_time", agent.reregistered_time),
        ("estimated_drain_start_time_seconds", agent.estimated_drain_start_time_seconds),
    ]);
    tasks(numbers, &agent.tasks);
}

fn framework_numbers(framework: &Framework<'_>, numbers: &mut Numbers) {
    resources(numbers, &USED, &framework.used_resources);
    resources(numbers, &OFFERED, &framework.offered_resources);
    numbers.extend([
        ("active", framework.active.map(number)),
        ("connected", framework.connected.map(number)),
        ("recovered", framework.recovered.map(number)),
        ("slave_ids", framework.agents),
    ]);
    tasks(numbers, &framework.tasks);
}

#[expect(clippy::cast_precision_loss, reason = "frameworks are few")]
fn role_numbers(role: &Role<'_>, numbers: &mut Numbers) {
    numbers.push(("weight", role.weight));
    let amounts = [
        (&RESOURCES, role.resources),
        (&ALLOCATED, role.allocated),
        (&OFFERED_TO_ROLE, role.offered),
        (&RESERVED_FOR_ROLE, role.reserved),
    ];
    for (keys, amount) in amounts {
        resources(numbers, keys, &amount.unwrap_or_default());
    }
    let Quota { guarantee, limit, consumed, .. } = role.quota.clone().unwrap_or_default();
    for (keys, amount) in [(&GUARANTEE, guarantee), (&LIMIT, limit), (&CONSUMED, consumed)] {
        resources(numbers, keys, &amount.unwrap_or_default());
        // There are no quotas of ports.
        numbers.pop();
    }
    numbers.push(("frameworks", role.frameworks.as_ref().map(|all| all.len() as f64)));
}

/// The catalogue's keys of each resource of one amount, in the order of [`resources`].
macro_rules! keys {
    ($($name:ident: $amount:literal),+) => {
        $(const $name: [&str; 5] = [
            concat!($amount, ".cpus"),
            concat!($amount, ".gpus"),
            concat!($amount, ".mem"),
            concat!($amount, ".disk"),
            concat!($amount, ".ports"),
        ];)+
    };
}

keys! {
    RESOURCES: "resources",
    USED: "used_resources",
    OFFERED: "offered_resources",
    RESERVED: "reserved_resources.*",
    UNRESERVED: "unreserved_resources",
    ALLOCATED: "allocated",
    OFFERED_TO_ROLE: "offered",
    RESERVED_FOR_ROLE: "reserved",
    GUARANTEE: "quota.guarantee",
    LIMIT: "quota.limit",
    CONSUMED: "quota.consumed"
}

fn resources(numbers: &mut Numbers, keys: &[&'static str; 5], amount: &Resources) {
    let Resources { cpus, gpus, mem, disk, ports, .. } = *amount;
    numbers.extend(keys.iter().copied().zip([cpus, gpus, mem, disk, ports]));
}

fn tasks(numbers: &mut Numbers, tasks: &Tasks) {
    const KEYS: [&str; TASK_STATES.len()] = [
        "TASK_STAGING",
        "TASK_STARTING",
        "TASK_RUNNING",
        "TASK_KILLING",
        "TASK_FINISHED",
        "TASK_KILLED",
        "TASK_FAILED",
        "TASK_LOST",
        "TASK_ERROR",
        "TASK_UNREACHABLE",
    ];
    numbers.extend(KEYS.into_iter().zip(*tasks));
}

fn number(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Groups;
    use satellite_mesos::wire::{roles::parse_roles, state_summary::parse_state_summary};

    fn lines(families: Vec<Family>) -> Vec<String> {
        let series = families.into_iter().flat_map(|family| {
            let name = family.name;
            family
                .samples
                .into_iter()
                .map(move |(labels, value)| format!("{name}{{{}}} {value}", labels.as_str()))
        });
        let mut lines: Vec<_> = series.collect();
        lines.sort();
        lines
    }

    fn of_summary(body: &str, naming: Naming) -> Vec<String> {
        let wanted = Wanted { groups: Groups::defaults(), naming };
        let rules = LabelRules::exact(["rack"]);
        lines(state_summary(&parse_state_summary(body.as_bytes()).unwrap(), wanted, &rules))
    }

    #[test]
    fn every_number_has_its_key_in_the_catalogue_and_the_other_way_round() {
        let mut numbers = Numbers::new();
        agent_numbers(&Agent::default(), &mut numbers);
        let in_code = |component, numbers: Numbers, more: &[&'static str]| {
            let mut keys: Vec<_> =
                numbers.into_iter().map(|(key, _)| key).chain(more.iter().copied()).collect();
            keys.sort_unstable();
            assert_eq!(keys, catalogue::keys(component), "{component:?}");
        };
        in_code(Component::ClusterAgent, numbers, &["", "drain_info.state"]);
        let mut numbers = Numbers::new();
        framework_numbers(&Framework::default(), &mut numbers);
        in_code(Component::ClusterFramework, numbers, &[]);
        let mut numbers = Numbers::new();
        role_numbers(&Role::default(), &mut numbers);
        in_code(Component::ClusterRole, numbers, &[]);
    }

    const AGENT: &str = r#"{"slaves":[{"id":"S1","hostname":"h1","pid":"slave(1)@h1:5051","version":"1.11.0",
        "attributes":{"rack":"r1","os":"x"},"resources":{"mem":2,"ports":"[1-3]"},"active":true,
        "drain_info":{"state":"DRAINING"},"TASK_RUNNING":4},{"id":"S1","active":false},{"active":true},7]}"#;

    #[test]
    fn an_agent_has_what_the_master_says_of_it_and_is_there_once() {
        let labels = r#"hostname="h1",agent_id="S1""#;
        assert_eq!(
            of_summary(AGENT, Naming::Native),
            [
                format!("mesos_cluster_agent_active{{{labels}}} 1"),
                format!("mesos_cluster_agent_drain_state{{{labels},state=\"draining\"}} 1"),
                format!("mesos_cluster_agent_info{{{labels},version=\"1.11.0\",rack=\"r1\"}} 1"),
                format!("mesos_cluster_agent_mem_bytes{{{labels}}} 2097152"),
                format!("mesos_cluster_agent_ports{{{labels}}} 3"),
                format!("mesos_cluster_agent_tasks{{{labels},state=\"running\"}} 4"),
            ]
        );
    }

    #[test]
    fn by_mesos_exporter_s_names_an_agent_is_its_process_and_its_bytes_are_bytes() {
        assert_eq!(
            of_summary(AGENT, Naming::MesosExporter),
            [
                r#"mesos_slave_attributes{slave="slave(1)@h1:5051",rack="r1"} 1"#,
                r#"mesos_slave_mem_bytes{slave="slave(1)@h1:5051"} 2097152"#,
                r#"mesos_slave_ports{slave="slave(1)@h1:5051"} 3"#,
            ]
        );
    }

    #[test]
    fn agents_that_mesos_exporter_cannot_tell_apart_are_there_once_or_not_at_all() {
        let agent = |id: &str, pid: &str| {
            format!(
                r#"{{"id":"{id}","pid":{pid},"attributes":{{"rack":"r"}},"resources":{{"cpus":1}}}}"#
            )
        };
        let agents =
            [agent("S1", "7"), agent("S2", "null"), agent("S3", r#""p""#), agent("S4", r#""p""#)];
        let body = format!(r#"{{"slaves":[{}]}}"#, agents.join(","));
        let expected =
            [r#"mesos_slave_attributes{slave="p",rack="r"} 1"#, r#"mesos_slave_cpus{slave="p"} 1"#];
        assert_eq!(of_summary(&body, Naming::MesosExporter), expected);
        assert_eq!(of_summary(&body, Naming::Native).len(), 8);
    }

    #[test]
    fn a_role_without_a_limit_has_none_and_not_zero() {
        let body = r#"{"roles":[{"name":"*","weight":1,"quota":{"limit":{},"consumed":{"cpus":1.5}},
            "frameworks":["a","b"]}]}"#;
        let wanted = Wanted { groups: Groups::defaults(), naming: Naming::Native };
        assert_eq!(
            lines(roles(&parse_roles(body.as_bytes()).unwrap(), wanted)),
            [
                r#"mesos_cluster_role_frameworks{role="*"} 2"#,
                r#"mesos_cluster_role_quota_cpus_consumed{role="*"} 1.5"#,
                r#"mesos_cluster_role_weight{role="*"} 1"#,
            ]
        );
    }
}
