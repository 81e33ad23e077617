//! `/metrics/snapshot` of a master or an agent, by the catalogue.

use std::collections::HashSet;

use satellite_mesos::wire::snapshot::Snapshot;
use satellite_toolkit::exposition::{Family, Kind, Labels};

use super::Gathered;
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
    let mut gathered = Gathered::default();
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
            let labels = Labels::new(name.labels(&taken));
            let is_first = taken.is_empty() || seen.insert((name.series.as_str(), labels.clone()));
            if let Some(value) = value.filter(|_| is_first) {
                gathered.family(name).push(labels, name.convert(value));
            }
        }
    }
    // mesos_exporter knows no such thing.
    let unknown = Some(unknown)
        .filter(|_| wanted.groups.has(Group::Unknown) && wanted.naming == Naming::Native);
    gathered.into_families().chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Groups;
    use satellite_mesos::wire::snapshot::parse_snapshot;

    /// Name, labels, value.
    type Sample = (String, String, f64);

    fn mapped(component: Component, body: &str) -> Vec<Sample> {
        named(component, body, Naming::Native)
    }

    fn named(component: Component, body: &str, naming: Naming) -> Vec<Sample> {
        let wanted = Wanted { groups: Groups::defaults(), naming };
        let families = snapshot(component, &parse_snapshot(body.as_bytes()).unwrap(), wanted);
        let mut samples: Vec<_> = families
            .into_iter()
            .flat_map(|family| {
                let name = family.name.into_owned();
                family
                    .samples
                    .into_iter()
                    .map(move |(labels, value)| (name.clone(), labels.as_str().to_owned(), value))
            })
            .collect();
        samples.sort_by(|a, b| a.partial_cmp(b).unwrap());
        samples
    }

    #[test]
    fn units_are_converted_and_absent_keys_stay_absent() {
        let body = r#"{"slave\/mem_total":2.0,"slave\/cpus_percent":0.25}"#;
        assert_eq!(
            mapped(Component::Agent, body),
            [
                ("mesos_agent_cpus_percent".into(), String::new(), 0.25),
                ("mesos_agent_mem_bytes".into(), String::new(), 2_097_152.0),
            ]
        );
    }

    #[test]
    fn a_part_of_a_total_and_a_host_number_carry_their_labels() {
        let body = r#"{"master/slave_removals/reason_unhealthy":3,"system/load_1min":0.5}"#;
        assert_eq!(
            mapped(Component::Master, body),
            [
                (
                    "mesos_master_slave_removals_by_reason_total".into(),
                    r#"reason="unhealthy""#.into(),
                    3.0
                ),
                ("mesos_system_load_1min".into(), r#"component="master""#.into(), 0.5),
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
                ("mesos_agent_tasks_lost_total".into(), String::new(), 0.0),
                (
                    "mesos_unknown_key".into(),
                    r#"key="slave/new_thing",component="agent""#.into(),
                    1.5
                ),
            ]
        );
    }

    #[test]
    fn a_framework_of_any_name_and_a_role_of_any_shape_keep_them() {
        let body = r#"{"master/frameworks/a%22b%2Fc/f-1/roles/eng/web/suppressed":1,
            "allocator/mesos/quota/roles//resources/mem/consumed":1,
            "frameworks/a/b/messages_received":2}"#;
        let labels: Vec<_> =
            mapped(Component::Master, body).into_iter().map(|it| (it.1, it.2)).collect();
        assert_eq!(
            labels,
            [
                (r#"role="""#.into(), 1_048_576.0),
                (r#"principal="a/b""#.into(), 2.0),
                (r#"framework_name="a\"b/c",framework_id="f-1",role="eng/web""#.into(), 1.0),
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
        let sample = |name: &str, labels: &str, value| (name.into(), labels.into(), value);
        assert_eq!(
            named(Component::Master, body, Naming::MesosExporter),
            [
                sample("mesos_master_allocation_run_ms", r#"type="mean""#, 5.0),
                sample("mesos_master_allocator_role_shares_dominant", r#"role="a/b""#, 0.5),
                sample("mesos_master_cpus", r#"type="total""#, 1.0),
                sample("mesos_master_mem", r#"type="free""#, 6.0),
                sample("mesos_master_mem", r#"type="total""#, 10.0),
                sample("mesos_master_mem", r#"type="used""#, 4.0),
            ]
        );
    }
}
