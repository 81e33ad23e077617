//! What the containers of an agent use, with the names that their tasks have.

use std::collections::{HashMap, HashSet};

use satellite_mesos::wire::{agent_state::AgentState, containers::Container};
use satellite_toolkit::exposition::{Family, Kind, Labels};

use crate::catalogue::{self, Component};

/// Who owns each container, read from an agent's `/state`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names {
    owners: HashMap<String, Owner>,
}

/// What the labels of a container's series are made of. Empty where Mesos does not say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Owner {
    framework_name: String,
    executor_id: String,
    role: String,
    /// Name and id of the one task that owns the container; empty where there are several
    /// (or none yet), since picking one would credit it with what the others use.
    task_name: String,
    task_id: String,
}

impl Names {
    /// Joins on the container id, which Mesos gives each running executor.
    pub(crate) fn read(state: &AgentState<'_>) -> Self {
        let mut owners = HashMap::new();
        for framework in &state.frameworks {
            for executor in &framework.executors {
                let Some(container) = text(executor.container.as_ref()) else { continue };
                let task = match executor.tasks.as_slice() {
                    [only] => Some(only),
                    _ => None,
                };
                let role = task.and_then(|task| text(task.role.as_ref()));
                let role = role.or_else(|| text(executor.role.as_ref()));
                let owner = Owner {
                    framework_name: owned(framework.name.as_ref()),
                    executor_id: owned(executor.id.as_ref()),
                    role: role.or_else(|| text(framework.role.as_ref())).unwrap_or_default().into(),
                    task_name: task.map(|task| owned(task.name.as_ref())).unwrap_or_default(),
                    task_id: task.map(|task| owned(task.id.as_ref())).unwrap_or_default(),
                };
                owners.insert(container.to_owned(), owner);
            }
        }
        Self { owners }
    }
}

/// One series per container and number that the catalogue has, and
/// `mesos_container_info`. A container without an id cannot be told from another and is
/// left out; one that `names` does not know has empty names, as Prometheus treats a label
/// that is absent.
pub(crate) fn containers(containers: &[Container<'_>], names: &Names) -> Vec<Family> {
    let mut families: HashMap<&'static str, Family> = HashMap::new();
    let mut info =
        Family::new("mesos_container_info", "Which executor a container runs.", Kind::Info);
    let nobody = Owner::default();
    let mut seen = HashSet::new();
    for container in containers {
        let Some(id) = text(container.container_id.as_ref()) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let owner = names.owners.get(id).unwrap_or(&nobody);
        let labels = Labels::new([
            ("container_id", id),
            ("framework_name", &owner.framework_name),
            ("task_name", &owner.task_name),
        ]);
        info.push(info_labels(id, container, owner), 1.0);
        for (key, value) in container.statistics.iter().flat_map(|all| &all.numbers) {
            let Some(entry) = catalogue::find(Component::Container, key) else { continue };
            families
                .entry(&entry.series)
                .or_insert_with(|| {
                    Family::new(entry.series.as_str(), entry.help.as_str(), entry.kind)
                })
                .push(labels.clone(), value * entry.factor);
        }
    }
    families.into_values().chain([info]).collect()
}

fn info_labels(id: &str, container: &Container<'_>, owner: &Owner) -> Labels {
    let executor_id = text(container.executor_id.as_ref()).unwrap_or(&owner.executor_id);
    Labels::new([
        ("container_id", id),
        ("framework_id", text(container.framework_id.as_ref()).unwrap_or_default()),
        ("framework_name", &owner.framework_name),
        ("executor_id", executor_id),
        ("task_id", &owner.task_id),
        ("task_name", &owner.task_name),
        ("role", &owner.role),
        ("source", text(container.source.as_ref()).unwrap_or_default()),
    ])
}

fn text<'a>(field: Option<&'a std::borrow::Cow<'_, str>>) -> Option<&'a str> {
    field.map(AsRef::as_ref).filter(|text| !text.is_empty())
}

fn owned(field: Option<&std::borrow::Cow<'_, str>>) -> String {
    text(field).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use satellite_mesos::wire::{agent_state::parse_agent_state, containers::parse_containers};

    const STATE: &str = r#"{"frameworks":[{"id":"f","name":"batch","role":"eng","executors":[
        {"id":"e1","container":"c1","tasks":[{"id":"t1","name":"web","role":"eng/web"}]},
        {"id":"e2","container":"c2","tasks":[{"id":"t2","name":"a"},{"id":"t3","name":"b"}]}]}]}"#;

    fn labels_of(series: &str, statistics: &str) -> Vec<Vec<(String, String)>> {
        let names = Names::read(&parse_agent_state(STATE.as_bytes()).unwrap());
        let all = ["c1", "c2", "c3"].map(|id| {
            format!(r#"{{"container_id":"{id}","framework_id":"f","statistics":{statistics}}}"#)
        });
        let body = format!("[{},{{}},7,{}]", all.join(","), all[0]);
        let families = containers(&parse_containers(body.as_bytes()).unwrap(), &names);
        let family = families.into_iter().find(|family| family.name == series);
        family
            .map(|family| {
                let labels = family.samples.iter().map(|(labels, _)| {
                    labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
                });
                labels.collect()
            })
            .unwrap_or_default()
    }

    #[test]
    fn only_a_container_of_exactly_one_task_bears_its_name() {
        let labels = labels_of("mesos_container_mem_rss_bytes", r#"{"mem_rss_bytes":5}"#);
        let expected = [["c1", "batch", "web"], ["c2", "batch", ""], ["c3", "", ""]];
        let names = ["container_id", "framework_name", "task_name"];
        for (labels, values) in labels.iter().zip(expected) {
            let expected: Vec<_> =
                names.iter().zip(values).map(|(n, v)| ((*n).to_owned(), v.to_owned())).collect();
            assert_eq!(*labels, expected);
        }
        assert_eq!(labels.len(), 3);
    }

    #[test]
    fn what_a_containerizer_does_not_report_is_absent() {
        for statistics in ["null", "{}", r#"{"mem_rss_bytes":null,"cpus_limit":"1"}"#] {
            assert!(labels_of("mesos_container_mem_rss_bytes", statistics).is_empty());
            assert!(labels_of("mesos_container_cpus_limit", statistics).is_empty());
            assert_eq!(labels_of("mesos_container_info", statistics).len(), 3);
        }
    }

    #[test]
    fn the_role_is_the_nearest_that_is_known() {
        let labels = labels_of("mesos_container_info", "{}");
        let role =
            |at: usize| labels[at].iter().find(|(name, _)| name == "role").unwrap().1.clone();
        assert_eq!([role(0), role(1), role(2)], ["eng/web", "eng", ""]);
    }
}
