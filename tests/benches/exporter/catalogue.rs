//! The exporter's catalogue, for the keys that a Mesos has and for the series that
//! they become.

use anyhow::{Context, Result};
use serde::Deserialize;

const FILE: &str = include_str!("../../../exporter/src/catalogue.csv");

/// Keys of which a Mesos without storage plugins has none.
const ABSENT: [&str; 3] = ["resource_providers/", "csi_plugins/", "port_mapping/"];

pub(crate) const MASTER_ID: &str = "0dfaa8e4-58a4-4c1b-9b5a-3b0d1e4f8d2a";
pub(crate) const FRAMEWORKS: usize = 50;

const CALLS: &str = "subscribe teardown accept decline accept_inverse_offers \
    decline_inverse_offers revive kill shutdown acknowledge acknowledge_operation_status \
    reconcile reconcile_operations message request suppress update_framework";
const EVENTS: &str = "subscribed offers inverse_offers rescind rescind_inverse_offer update \
    update_operation_status message failure error heartbeat";
const OPERATIONS: &str = "launch launch_group reserve unreserve create destroy grow_volume \
    shrink_volume create_disk destroy_disk";
const ACTIVE: &str = "staging starting running killing unreachable unknown";
const TERMINAL: &str = "finished failed killed error lost dropped gone gone_by_operator";
pub(crate) const ROLES: &str =
    "* marathon chronos spark eng eng/web eng/batch cassandra-role kafka-role jenkins";
const PRINCIPALS: &str = "principal-0 principal-1 principal-2 principal-3 principal-4 \
    principal-5 principal-6 principal-7 principal-8 principal-9";
const REASONS: [[&str; 3]; 7] = [
    ["lost", "master", "slave_removed"],
    ["lost", "slave", "executor_terminated"],
    ["failed", "executor", "command_executor_failed"],
    ["failed", "slave", "container_limitation_memory"],
    ["killed", "master", "framework_removed"],
    ["error", "master", "task_invalid"],
    ["lost", "master", "invalid_offers"],
];

/// By which names the exporter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Native,
    MesosExporter,
}

/// One line of the file.
#[derive(Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) component: String,
    pub(crate) key: String,
    series: String,
    labels: String,
    pub(crate) kind: String,
    pub(crate) unit: String,
    conversion: String,
    mesos_exporter: String,
}

/// The lines of a component.
pub(crate) fn lines(component: &str) -> Result<Vec<Line>> {
    let all = csv::Reader::from_reader(FILE.as_bytes()).into_deserialize();
    let lines: Vec<Line> = all.collect::<Result<_, _>>().context("read the catalogue")?;
    let is_there = |line: &Line| !ABSENT.iter().any(|prefix| line.key.starts_with(prefix));
    Ok(lines.into_iter().filter(|it| it.component == component && is_there(it)).collect())
}

/// A series that a key becomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// The labels that catalogue and key give, as they are written.
    pub(crate) labels: String,
    /// What Mesos's number is multiplied with.
    pub(crate) factor: f64,
}

impl Line {
    /// Its series by either naming, with the labels whose values `filled` knows; the
    /// others are given by the document.
    pub(crate) fn series(&self, naming: Naming, filled: &Filled) -> Vec<Series> {
        match naming {
            Naming::Native => {
                let labels = self.labels.split(';').filter_map(|label| {
                    let (name, value) = match label.split_once('=') {
                        Some((name, value)) => (name, value),
                        None => (label, filled.value(label)?),
                    };
                    Some(format!("{name}=\"{value}\""))
                });
                let labels = labels.collect::<Vec<_>>().join(",");
                vec![Series { name: self.series.clone(), labels, factor: self.factor() }]
            }
            Naming::MesosExporter => {
                let names = self.mesos_exporter.split(" | ").filter(|name| !name.is_empty());
                names.map(|name| self.old(name, filled)).collect()
            }
        }
    }

    /// Of `kind name{label="value",…} - key` the name and the labels.
    fn old(&self, text: &str, filled: &Filled) -> Series {
        let text = text.split(" - ").next().unwrap_or_default();
        let name = text.split_once(' ').map_or(text, |(_, name)| name);
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let mut labels = labels.trim_end_matches('}').to_owned();
        for (placeholder, value) in &filled.values {
            labels = labels.replace(&format!("<{placeholder}>"), value);
        }
        // What is left is given by the document.
        if labels.contains('<') {
            labels.clear();
        }
        let is_raw = ["master", "agent"].contains(&&*self.component);
        let factor = if is_raw { 1.0 } else { self.factor() };
        Series { name: name.to_owned(), labels, factor }
    }

    fn factor(&self) -> f64 {
        match &*self.conversion {
            "mib" => 1024.0 * 1024.0,
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => 1.0,
        }
    }

    /// Its key with everything that this cluster has in the place of placeholders.
    pub(crate) fn filled(&self) -> Vec<Filled> {
        let mut all = match self.key.contains("<framework_name%>") {
            true => (0..FRAMEWORKS).map(|at| Filled::of_framework(&self.key, at)).collect(),
            false => vec![Filled { key: self.key.clone(), values: Vec::new() }],
        };
        if self.key.contains("<source>") {
            return REASONS
                .map(|it| all[0].with("state", it[0]).with("source", it[1]).with("reason", it[2]))
                .into();
        }
        let states = if self.key.contains("/active/") { ACTIVE } else { TERMINAL };
        let choices = [
            ("call", CALLS),
            ("event", EVENTS),
            ("operation", OPERATIONS),
            ("state", states),
            ("role*", ROLES),
            ("principal*", PRINCIPALS),
        ];
        for (placeholder, values) in choices {
            if all[0].key.contains(&format!("<{placeholder}>")) {
                let each = |filled: &Filled| {
                    values.split_whitespace().map(|it| filled.with(placeholder, it)).collect()
                };
                all = all.iter().flat_map::<Vec<_>, _>(each).collect();
            }
        }
        all
    }
}

/// A key of this cluster, and what the placeholders of its pattern are.
#[derive(Clone, Debug)]
pub(crate) struct Filled {
    pub(crate) key: String,
    values: Vec<(String, String)>,
}

impl Filled {
    pub(crate) fn nothing() -> Self {
        Self { key: String::new(), values: Vec::new() }
    }

    pub(crate) fn operation(operation: &str) -> Self {
        Self::nothing().with("operation", operation)
    }

    fn of_framework(key: &str, at: usize) -> Self {
        let framework = Framework::of(at);
        let encoded = framework.name.replace(' ', "%20").replace('/', "%2F");
        let key = key.replace("<framework_name%>", &encoded);
        let values = vec![("framework_name".into(), framework.name)];
        let filled = Self { key, values }.with("framework_id", &framework.id);
        if filled.key.contains("<role*>") { filled.with("role*", framework.role) } else { filled }
    }

    fn with(&self, placeholder: &str, value: &str) -> Self {
        let key = self.key.replace(&format!("<{placeholder}>"), value);
        let mut values = self.values.clone();
        values.push((placeholder.trim_end_matches('*').to_owned(), value.to_owned()));
        Self { key, values }
    }

    fn value(&self, placeholder: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == placeholder).map(|(_, value)| value.as_str())
    }
}

/// A framework of this cluster.
pub(crate) struct Framework {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: &'static str,
}

impl Framework {
    pub(crate) fn of(at: usize) -> Self {
        const NAMES: [&str; 8] = [
            "marathon",
            "chronos",
            "Apache Spark 2.4",
            "jenkins",
            "kafka",
            "cassandra",
            "aurora",
            "team/etl job",
        ];
        let name = NAMES.get(at).map_or_else(|| format!("spark-{at:03}"), |&it| it.to_owned());
        let roles: Vec<&str> = ROLES.split_whitespace().skip(1).collect();
        Self { id: format!("{MASTER_ID}-{at:04}"), name, role: roles[at % roles.len()] }
    }
}
