//! The way from Mesos's answers to series, for the fuzz targets.
//!
//! What lies on that way is nobody else's business and therefore private, and a fuzz target is a
//! program outside of this crate. So these functions stand in for the `sources`: without a network,
//! with every group on, and by either naming. They are there for the crate's own tests, which hold
//! what fuzzing has found, and with the feature `fuzzing`, which only `tests/fuzz` turns on.
//!
//! Each gives a list of what single scrapes would bring. A body that cannot be read brings nothing.

use satellite_mesos::wire::{
    agent_state::parse_agent_state,
    containers::{parse_containers, parse_get_containers},
    roles::parse_roles,
    snapshot::parse_snapshot,
    state_summary::parse_state_summary,
};
use satellite_toolkit::exposition::Family;

use crate::{
    catalogue::{Component, Naming},
    families::{self, Listing, Owners},
    groups::{GROUPS, Groups},
    label_rules::{LabelRules, RawLabelRule, RawPrefix},
    scrape::Wanted,
};

/// `/metrics/snapshot`, as a master's and as an agent's.
pub fn snapshot(body: &[u8]) -> Vec<Vec<Family>> {
    let Ok(snapshot) = parse_snapshot(body) else { return Vec::new() };
    let both = [Component::Master, Component::Agent];
    let scrape =
        |component| by_each_naming(|wanted| families::snapshot(component, &snapshot, wanted));
    both.into_iter().flat_map(scrape).collect()
}

/// An agent's `/state` and one of its lists of containers: the answer to `GET_CONTAINERS`,
/// `/containers` or `/monitor/statistics`.
pub fn agent(state: &[u8], containers: &[u8]) -> Vec<Vec<Family>> {
    let (rules, state) = (rules(), parse_agent_state(state).ok());
    let owners = state.as_ref().map(|state| Owners::read(state, &rules)).unwrap_or_default();
    let containers = parse_get_containers(containers).or_else(|_| parse_containers(containers));
    let listing = containers.ok().map(|containers| Listing::read(&containers, every_group()));
    by_each_naming(|wanted| {
        let listed = listing.iter().flat_map(|listing| listing.families(&owners, wanted));
        let info = state.iter().filter_map(|state| match wanted.naming {
            Naming::Native => Some(families::agent_info(state, &rules)),
            Naming::MesosExporter => families::old_agent_attributes(state, &rules),
        });
        listed.chain(info).collect()
    })
}

/// `/state-summary` and `/roles` of the leading master.
pub fn cluster(summary: &[u8], roles: &[u8]) -> Vec<Vec<Family>> {
    let (rules, summary, roles) =
        (rules(), parse_state_summary(summary).ok(), parse_roles(roles).ok());
    by_each_naming(|wanted| {
        let summary = summary.iter().flat_map(|it| families::state_summary(it, wanted, &rules));
        // mesos_exporter knows no roles.
        let roles = roles.iter().filter(|_| wanted.naming == Naming::Native);
        summary.chain(roles.flat_map(|it| families::roles(it, wanted))).collect()
    })
}

fn by_each_naming(scrape: impl Fn(Wanted) -> Vec<Family>) -> Vec<Vec<Family>> {
    let both = [Naming::Native, Naming::MesosExporter];
    both.map(|naming| scrape(Wanted { groups: every_group(), naming })).into()
}

fn every_group() -> Groups {
    GROUPS.iter().map(|it| it.group).collect()
}

/// Chooses labels and attributes in each way that the configuration has, so that what is chosen
/// may collide with what is there.
fn rules() -> LabelRules {
    let prefix =
        |prefix: &str, strip| RawLabelRule::Prefix(RawPrefix { prefix: prefix.to_owned(), strip });
    let raw = vec![RawLabelRule::Exact("rack".to_owned()), prefix("a", true), prefix("s", false)];
    LabelRules::judge("", raw, &mut |key, problem| unreachable!("{key}: {problem}"))
}

/// What fuzzing has found stays mended.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::lines;

    fn native_and_old(scrapes: &[Vec<Family>]) -> [Vec<String>; 2] {
        let [native, old] = scrapes else { panic!("{scrapes:?}") };
        [lines(native.clone()), lines(old.clone())]
    }

    /// Lines of a name that begins so.
    fn of(name: &str, lines: &[String]) -> Vec<String> {
        lines.iter().filter(|line| line.starts_with(name)).cloned().collect()
    }

    #[test]
    fn two_keys_that_are_one_when_decoded_are_one_series() {
        let body = br#"{"master/frameworks/%41/x/calls":1,"master/frameworks/A/x/calls":2}"#;
        let master = snapshot(body).swap_remove(0);
        assert_eq!(
            lines(master),
            [r#"mesos_master_framework_calls_total{framework_name="A",framework_id="x"} 1"#]
        );
    }

    #[test]
    fn by_mesos_exporter_s_names_two_agents_of_one_process_are_one_and_of_none_are_none() {
        let body = br#"{"slaves":[{"id":"a","pid":"p","resources":{"cpus":1}},
            {"id":"b","pid":"p","resources":{"cpus":2}},{"id":"c","resources":{"cpus":3}}]}"#;
        let [native, old] = native_and_old(&cluster(body, b""));
        assert_eq!(of("mesos_cluster_agent_cpus{", &native).len(), 3);
        assert_eq!(old, [r#"mesos_slave_cpus{slave="p"} 1"#]);
    }

    #[test]
    fn parts_of_a_container_that_are_called_the_same_are_one_series() {
        let statistics = r#"{"disk_statistics":[{"used_bytes":1},{"used_bytes":2}],
            "perf":{"cycles":3},"perf.cycles":4,"blkio_statistics":{"cfq":[
            {"io_serviced":[{"op":"READ","value":5},{"op":"read","value":6}]}]}}"#;
        let list = format!(r#"[{{"container_id":"c","statistics":{statistics}}}]"#);
        let [native, _] = native_and_old(&agent(b"", list.as_bytes()));
        let values: Vec<_> =
            native.iter().map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect();
        assert_eq!(values, ["5", "1", "4", "1"], "{native:?}");
    }

    #[test]
    fn a_container_that_is_listed_by_its_id_and_by_its_executor_is_one() {
        let list = br#"[{"executor_id":"e","framework_id":"f","statistics":{"threads":1}},
            {"container_id":"c","statistics":{"threads":2}}]"#;
        let state = br#"{"frameworks":[{"id":"f","executors":[{"id":"e","container":"c"}]}]}"#;
        let [native, _] = native_and_old(&agent(state, list));
        let own = r#"container_id="c",framework_name="",task_name="""#;
        assert_eq!(
            of("mesos_container_threads", &native),
            [format!("mesos_container_threads{{{own}}} 1")]
        );
        assert_eq!(of("mesos_container_info", &native).len(), 1);
    }

    #[test]
    fn by_mesos_exporter_s_names_two_containers_of_one_executor_are_one() {
        let entry = |id| {
            format!(
                r#"{{"container_id":"{id}","executor_id":"e","framework_id":"f","source":"s","statistics":{{"threads":2}}}}"#
            )
        };
        let list = format!("[{},{}]", entry("c"), entry("d"));
        let state =
            br#"{"frameworks":[{"executors":[{"id":"e","container":"c","tasks":[{"id":"t"}]},
            {"id":"e","container":"d","tasks":[{"id":"t"}]}]}]}"#;
        let [native, old] = native_and_old(&agent(state, list.as_bytes()));
        assert_eq!(of("mesos_container_threads", &native).len(), 2);
        assert_eq!(
            of("mesos_agent_threads", &old),
            [r#"mesos_agent_threads{id="e",framework_id="f",source="s"} 2"#]
        );
        assert_eq!(of("mesos_slave_task_labels", &old).len(), 1);
    }
}
