//! The cluster as the elected master sees it: each agent, each framework, each role.

use std::collections::HashSet;

use satellite_mesos::wire::{
    agent_state::Attributes,
    roles::{Role, Roles},
    state_summary::{Agent, Framework, Resources, StateSummary, TASK_STATES, Tasks},
};
use satellite_toolkit::exposition::{Family, Labels};

use super::old_attributes;
use crate::{
    catalogue::{self, Component, Name, Naming},
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
    let mut families = Vec::new();
    if wanted.groups.has(Group::ClusterAgents) {
        families.extend(agents(summary, wanted.naming, attributes));
    }
    if wanted.groups.has(Group::ClusterFrameworks) {
        families.extend(frameworks(summary, wanted.naming));
    }
    families
}

fn agents(
    summary: &StateSummary<'_>,
    naming: Naming,
    attributes: &LabelRules,
) -> impl Iterator<Item = Family> {
    let mut table = Table::new(Component::ClusterAgent, naming, of_agents());
    let entry = |key| catalogue::known(Component::ClusterAgent, key).native();
    let mut infos = entry("").family();
    let mut drains = entry("drain_info.state").family();
    let mut old_attributes = old_attributes();
    let mut seen = HashSet::new();
    for (agent, id) in each_once(summary.slaves.as_deref(), |agent| agent.id.as_deref()) {
        let labels = agent_labels(agent, id, naming);
        let Some(labels) = labels.filter(|labels| seen.insert(labels.clone())) else { continue };
        table.add(agent, &labels);
        match naming {
            Naming::Native => {
                infos.push(info_labels(agent, &labels, attributes), 1.0);
                drains.samples.extend(drain_labels(agent, &labels).map(|labels| (labels, 1.0)));
            }
            Naming::MesosExporter => {
                // It has the series where some are chosen.
                let chosen = attributes.chosen(pairs(&agent.attributes), &["slave"]);
                if !chosen.is_empty() {
                    old_attributes.push(labels.and(&Labels::new(chosen)), 1.0);
                }
            }
        }
    }
    table.into_families().chain([infos, drains, old_attributes])
}

fn frameworks(summary: &StateSummary<'_>, naming: Naming) -> impl Iterator<Item = Family> {
    let mut table = Table::new(Component::ClusterFramework, naming, of_frameworks());
    for (framework, id) in each_once(summary.frameworks.as_deref(), |it| it.id.as_deref()) {
        let name = framework.name.as_deref().unwrap_or_default();
        table.add(framework, &Labels::fixed(["framework_name", "framework_id"], [name, id]));
    }
    table.into_families()
}

/// Series of every role.
pub(crate) fn roles(roles: &Roles<'_>, wanted: Wanted) -> Vec<Family> {
    let mut table = Table::new(Component::ClusterRole, wanted.naming, of_roles());
    for (role, name) in each_once(roles.roles.as_deref(), |role| role.name.as_deref()) {
        table.add(role, &Labels::fixed(["role"], [name]));
    }
    table.into_families().collect()
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
            Some(Labels::fixed(["hostname", "agent_id"], [hostname, id]))
        }
        Naming::MesosExporter => agent.pid.as_deref().map(|pid| Labels::fixed(["slave"], [pid])),
    }
}

fn info_labels(agent: &Agent<'_>, labels: &Labels, attributes: &LabelRules) -> Labels {
    let version = agent.version.as_deref().unwrap_or_default();
    let chosen = attributes.chosen(pairs(&agent.attributes), &["hostname", "agent_id", "version"]);
    labels.and(&Labels::fixed(["version"], [version])).and(&Labels::new(chosen))
}

/// How far the drain of an agent is; `None` where it has none.
fn drain_labels(agent: &Agent<'_>, labels: &Labels) -> Option<Labels> {
    let state = agent.drain_info.as_ref()?.state.as_deref()?;
    Some(labels.and(&Labels::fixed(["state"], [&state.to_ascii_lowercase()])))
}

pub(super) fn pairs<'a>(
    attributes: &'a Attributes<'_>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    attributes.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
}

/// What there is to tell of each thing of a kind.
struct Figures<'r, T>(Vec<Figure<'r, T>>);

/// One number, such as the memory that an agent has.
struct Figure<'r, T> {
    /// The catalogue's key for it.
    key: String,
    /// `None` where Mesos does not say.
    read: Read<'r, T>,
}

type Read<'r, T> = Box<dyn Fn(&T) -> Option<f64> + 'r>;

impl<'r, T: 'r> Figures<'r, T> {
    fn one(mut self, key: impl Into<String>, read: impl Fn(&T) -> Option<f64> + 'r) -> Self {
        self.0.push(Figure { key: key.into(), read: Box::new(read) });
        self
    }

    /// Each resource of one amount.
    fn resources(self, amount: &str, of: impl Fn(&T) -> Option<&Resources> + Copy + 'r) -> Self {
        self.quantities(amount, of).one(format!("{amount}.ports"), move |thing| of(thing)?.ports)
    }

    /// Each resource of which there may be a quota, which ports are not.
    fn quantities(self, amount: &str, of: impl Fn(&T) -> Option<&Resources> + Copy + 'r) -> Self {
        self.one(format!("{amount}.cpus"), move |thing| of(thing)?.cpus)
            .one(format!("{amount}.gpus"), move |thing| of(thing)?.gpus)
            .one(format!("{amount}.mem"), move |thing| of(thing)?.mem)
            .one(format!("{amount}.disk"), move |thing| of(thing)?.disk)
    }

    /// How many tasks are in each state.
    fn tasks(self, of: impl Fn(&T) -> &Tasks + Copy + 'r) -> Self {
        let states = TASK_STATES.iter().enumerate();
        states.fold(self, |figures, (at, state)| {
            figures.one(format!("TASK_{state}"), move |thing| of(thing)[at])
        })
    }
}

fn of_agents<'r, 'a: 'r>() -> Figures<'r, Agent<'a>> {
    Figures(Vec::new())
        .resources("resources", |agent: &Agent<'a>| Some(&agent.resources))
        .resources("used_resources", |agent| Some(&agent.used_resources))
        .resources("offered_resources", |agent| Some(&agent.offered_resources))
        .resources("reserved_resources.*", |agent| Some(&agent.reserved_resources))
        .resources("unreserved_resources", |agent| Some(&agent.unreserved_resources))
        .one("active", |agent| agent.active.map(number))
        .one("deactivated", |agent| agent.deactivated.map(number))
        .one("registered_time", |agent| agent.registered_time)
        .one("reregistered_time", |agent| agent.reregistered_time)
        .one("estimated_drain_start_time_seconds", |agent| agent.estimated_drain_start_time_seconds)
        .tasks(|agent| &agent.tasks)
}

fn of_frameworks<'r, 'a: 'r>() -> Figures<'r, Framework<'a>> {
    Figures(Vec::new())
        .resources("used_resources", |it: &Framework<'a>| Some(&it.used_resources))
        .resources("offered_resources", |it| Some(&it.offered_resources))
        .one("active", |framework| framework.active.map(number))
        .one("connected", |framework| framework.connected.map(number))
        .one("recovered", |framework| framework.recovered.map(number))
        .one("slave_ids", |framework| framework.agents)
        .tasks(|framework| &framework.tasks)
}

#[expect(clippy::cast_precision_loss, reason = "frameworks are few")]
fn of_roles<'r, 'a: 'r>() -> Figures<'r, Role<'a>> {
    Figures(Vec::new())
        .one("weight", |role: &Role<'a>| role.weight)
        .one("frameworks", |role| role.frameworks.as_ref().map(|all| all.len() as f64))
        .resources("resources", |role| role.resources.as_ref())
        .resources("allocated", |role| role.allocated.as_ref())
        .resources("offered", |role| role.offered.as_ref())
        .resources("reserved", |role| role.reserved.as_ref())
        .quantities("quota.guarantee", |role| role.quota.as_ref()?.guarantee.as_ref())
        .quantities("quota.limit", |role| role.quota.as_ref()?.limit.as_ref())
        .quantities("quota.consumed", |role| role.quota.as_ref()?.consumed.as_ref())
}

/// Turns the figures of one thing after another into series.
struct Table<'r, T> {
    columns: Vec<Column<'r, T>>,
}

/// A figure, and the families that it goes to.
struct Column<'r, T> {
    read: Read<'r, T>,
    families: Vec<(&'static Name, Family)>,
}

impl<'r, T> Table<'r, T> {
    /// Of those figures that have names by this naming.
    fn new(component: Component, naming: Naming, figures: Figures<'r, T>) -> Self {
        let column = |Figure { key, read }| {
            let names = catalogue::known(component, &key).names(naming).iter();
            Column { read, families: names.map(|name| (name, name.family())).collect() }
        };
        let columns = figures.0.into_iter().map(column);
        Self { columns: columns.filter(|column| !column.families.is_empty()).collect() }
    }

    /// Adds the figures of a thing as series with these labels.
    fn add(&mut self, thing: &T, labels: &Labels) {
        for Column { read, families } in &mut self.columns {
            let Some(number) = read(thing) else { continue };
            for (name, family) in families {
                family.push(labels.clone(), name.convert(number));
            }
        }
    }

    fn into_families(self) -> impl Iterator<Item = Family> {
        self.columns.into_iter().flat_map(|it| it.families).map(|(_, family)| family)
    }
}

fn number(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{families::lines, groups::Groups};
    use satellite_mesos::wire::{roles::parse_roles, state_summary::parse_state_summary};

    fn of_summary(body: &str, naming: Naming) -> Vec<String> {
        let wanted = Wanted { groups: Groups::defaults(), naming };
        let rules = LabelRules::exact(["rack"]);
        lines(state_summary(&parse_state_summary(body.as_bytes()).unwrap(), wanted, &rules))
    }

    #[test]
    fn every_number_has_its_key_in_the_catalogue_and_the_other_way_round() {
        fn check<T>(component: Component, figures: &Figures<'_, T>, more: &[&str]) {
            let mut keys: Vec<_> =
                figures.0.iter().map(|it| &*it.key).chain(more.iter().copied()).collect();
            keys.sort_unstable();
            assert_eq!(keys, catalogue::keys(component), "{component:?}");
        }
        check(Component::ClusterAgent, &of_agents(), &["", "drain_info.state"]);
        check(Component::ClusterFramework, &of_frameworks(), &[]);
        check(Component::ClusterRole, &of_roles(), &[]);
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
