//! `/metrics/snapshot` of a master or an agent, by the catalogue.

use std::collections::HashMap;

use satellite_mesos::wire::snapshot::Snapshot;
use satellite_toolkit::exposition::{Family, Kind, Labels};

use crate::catalogue::{self, Component};

const UNKNOWN: &str = "mesos_unknown_key";
const UNKNOWN_HELP: &str = "A number that Mesos reports and that has no name here yet, as it came.";

/// Every pair of the snapshot, named by the catalogue or raw as `mesos_unknown_key`.
pub(crate) fn snapshot(component: Component, snapshot: &Snapshot<'_>) -> Vec<Family> {
    let mut families: HashMap<&'static str, Family> = HashMap::new();
    let mut unknown = Family::new(UNKNOWN, UNKNOWN_HELP, Kind::Unknown);
    for (key, value) in &snapshot.pairs {
        let Some(entry) = catalogue::find(component, key) else {
            // Both processes of a node may send the same key, hence the component.
            let labels = [("key", key.as_ref()), ("component", component.as_str())];
            unknown.push(Labels::new(labels), *value);
            continue;
        };
        let constant = entry.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        families
            .entry(&entry.series)
            .or_insert_with(|| Family::new(entry.series.as_str(), entry.help.as_str(), entry.kind))
            .push(Labels::new(constant), value * entry.factor);
    }
    families.into_values().chain([unknown]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use satellite_mesos::wire::snapshot::parse_snapshot;

    /// Name, labels, value.
    type Sample = (String, Vec<(String, String)>, f64);

    fn mapped(component: Component, body: &str) -> Vec<Sample> {
        let families = snapshot(component, &parse_snapshot(body.as_bytes()).unwrap());
        let mut samples: Vec<_> = families
            .into_iter()
            .flat_map(|family| {
                let name = family.name.into_owned();
                family.samples.into_iter().map(move |(labels, value)| {
                    let labels = labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
                    (name.clone(), labels.collect(), value)
                })
            })
            .collect();
        samples.sort_by(|a, b| a.partial_cmp(b).unwrap());
        samples
    }

    fn label(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn units_are_converted_and_absent_keys_stay_absent() {
        let body = r#"{"slave\/mem_total":2.0,"slave\/cpus_percent":0.25}"#;
        assert_eq!(
            mapped(Component::Agent, body),
            [
                ("mesos_agent_cpus_percent".into(), vec![], 0.25),
                ("mesos_agent_mem_bytes".into(), vec![], 2_097_152.0),
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
                    vec![label("reason", "unhealthy")],
                    3.0
                ),
                ("mesos_system_load_1min".into(), vec![label("component", "master")], 0.5),
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
                ("mesos_agent_tasks_lost_total".into(), vec![], 0.0),
                (
                    "mesos_unknown_key".into(),
                    vec![label("key", "slave/new_thing"), label("component", "agent")],
                    1.5
                ),
            ]
        );
    }
}
