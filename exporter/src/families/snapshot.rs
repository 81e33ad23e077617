//! `/metrics/snapshot` of a master or an agent, by the catalogue.

use std::collections::{BTreeMap, HashSet};

use satellite_mesos::wire::snapshot::Snapshot;
use satellite_toolkit::exposition::{Family, Kind, Labels};

use crate::{
    catalogue::{self, Component, Naming},
    groups::Group,
    scrape::Wanted,
};

const UNKNOWN: &str = "mesos_unknown_key";
const UNKNOWN_HELP: &str = "A number that Mesos reports and that has no name here yet, as it came.";

/// Every pair of the snapshot that is wanted, named by the catalogue; one that it does not
/// know goes out raw as `mesos_unknown_key`.
pub(crate) fn snapshot(
    component: Component,
    snapshot: &Snapshot<'_>,
    wanted: Wanted,
) -> Vec<Family> {
    // By what they are called and the labels that are constant.
    let mut families: BTreeMap<(&str, Labels), Family> = BTreeMap::new();
    // Names that are no UTF-8 may come out alike, and a series that comes twice fails a
    // scrape.
    let mut seen = HashSet::new();
    let mut unknown = Family::new(UNKNOWN, UNKNOWN_HELP, Kind::Unknown);
    for (key, value) in &snapshot.pairs {
        let Some((entry, taken)) = catalogue::resolve(component, key) else {
            // Both processes of a node may send the same key, hence the component.
            let labels = [("key", key.as_ref()), ("component", component.as_str())];
            unknown.push(Labels::new(labels), *value);
            continue;
        };
        if !wanted.groups.has(entry.group) {
            continue;
        }
        for name in entry.names(wanted.naming) {
            let value = match &name.minus {
                Some(other) => snapshot.get(other).map(|other| value - other),
                None => Some(*value),
            };
            let family = name.family();
            let id = (name.series.as_str(), family.labels.clone());
            let labels = name.labels(&taken);
            let is_first = taken.is_empty() || seen.insert((id.clone(), labels.clone()));
            if let Some(value) = value.filter(|_| is_first) {
                families.entry(id).or_insert(family).push(labels, name.convert(value));
            }
        }
    }
    // mesos_exporter knows no such thing.
    let unknown = Some(unknown)
        .filter(|_| wanted.groups.has(Group::Unknown) && wanted.naming == Naming::Native);
    families.into_values().chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{families::lines, groups::Groups};
    use satellite_mesos::wire::snapshot::parse_snapshot;

    fn mapped(component: Component, body: &str) -> Vec<String> {
        named(component, body, Naming::Native)
    }

    fn named(component: Component, body: &str, naming: Naming) -> Vec<String> {
        let wanted = Wanted { groups: Groups::defaults(), naming };
        lines(snapshot(component, &parse_snapshot(body.as_bytes()).unwrap(), wanted))
    }

    #[test]
    fn units_are_converted_and_absent_keys_stay_absent() {
        let body = r#"{"slave\/mem_total":2.0,"slave\/cpus_percent":0.25}"#;
        assert_eq!(
            mapped(Component::Agent, body),
            ["mesos_agent_cpus_percent 0.25", "mesos_agent_mem_bytes 2097152"]
        );
    }

    #[test]
    fn a_part_of_a_total_and_a_host_number_carry_their_labels() {
        let body = r#"{"master/slave_removals/reason_unhealthy":3,"system/load_1min":0.5}"#;
        assert_eq!(
            mapped(Component::Master, body),
            [
                r#"mesos_master_slave_removals_by_reason_total{reason="unhealthy"} 3"#,
                r#"mesos_system_load_1min{component="master"} 0.5"#,
            ]
        );
    }

    #[test]
    fn an_unknown_key_goes_out_raw_and_an_odd_value_costs_only_itself() {
        let body = r#"{"slave/new_thing":1.5,"slave/uptime_secs":null,"slave/registered":"yes",
            "slave/tasks_lost":0.0,"slave/cpus_total":[1]}"#;
        assert_eq!(
            mapped(Component::Agent, body),
            [
                "mesos_agent_tasks_lost_total 0",
                r#"mesos_unknown_key{key="slave/new_thing",component="agent"} 1.5"#,
            ]
        );
    }

    #[test]
    fn a_framework_of_any_name_and_a_role_of_any_shape_keep_them() {
        let body = r#"{"master/frameworks/a%22b%2Fc/f-1/roles/eng/web/suppressed":1,
            "allocator/mesos/quota/roles//resources/mem/consumed":1,
            "frameworks/a/b/messages_received":2}"#;
        let lines = mapped(Component::Master, body);
        let labels: Vec<_> = lines.iter().map(|line| line.split_once('{').unwrap().1).collect();
        assert_eq!(
            labels,
            [
                r#"role=""} 1048576"#,
                r#"principal="a/b"} 2"#,
                r#"framework_name="a\"b/c",framework_id="f-1",role="eng/web"} 1"#,
            ]
        );
    }

    #[test]
    fn frameworks_whose_names_come_out_alike_are_one_series() {
        let body = r#"{"master/frameworks/%fe/f/calls":1,"master/frameworks/%ff/f/calls":2}"#;
        assert_eq!(mapped(Component::Master, body).len(), 1);
    }

    #[test]
    fn by_mesos_exporter_s_names_numbers_are_as_mesos_has_them_and_what_it_derives_needs_both() {
        let body = r#"{"master/mem_total":10,"master/mem_used":4,"master/cpus_total":1,
            "allocator/mesos/allocation_run_ms":5,"master/new_thing":1,"system/load_1min":1,
            "allocator/mesos/roles/a/b/shares/dominant":0.5}"#;
        assert_eq!(
            named(Component::Master, body, Naming::MesosExporter),
            [
                r#"mesos_master_allocation_run_ms{type="mean"} 5"#,
                r#"mesos_master_allocator_role_shares_dominant{role="a/b"} 0.5"#,
                r#"mesos_master_cpus{type="total"} 1"#,
                r#"mesos_master_mem{type="free"} 6"#,
                r#"mesos_master_mem{type="total"} 10"#,
                r#"mesos_master_mem{type="used"} 4"#,
            ]
        );
    }
}
