//! The catalogue: what each of Mesos's metrics is called here, and what it means.
//!
//! `catalogue.csv` is the truth. One line names one key of Mesos:
//!
//! | column | what it holds |
//! |---|---|
//! | `component` | who reports the key: `master`, `agent`, or `container` (a field of a container's statistics) |
//! | `key` | the key as Mesos writes it |
//! | `series` | the name here. Counters end in `_total`, nothing else does |
//! | `labels` | separated by `;`: `name=value` is constant, `name` alone is filled in by the mapping |
//! | `kind` | `counter` or `gauge` |
//! | `unit` | the unit of the series |
//! | `conversion` | how Mesos's number becomes it: `none`, `mib`, `ms`, `us` |
//! | `help` | what an operator reads in Prometheus |
//! | `mesos_exporter` | the name and labels that mesos_exporter gives it, where it does |
//!
//! A key that is not in it is exported raw as `mesos_unknown_key`. The file is compiled
//! in, so that a binary and its catalogue are never of different versions.

use std::{collections::HashMap, sync::LazyLock};

use satellite_toolkit::exposition::Kind;
use serde::Deserialize;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::parse(include_str!("catalogue.csv")).expect("a test reads the catalogue")
});

/// Who reports a key. The same key (`system/load_1min`) may come from a master and from
/// an agent of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Component {
    Master,
    Agent,
    Container,
}

impl Component {
    /// The value of the label `component`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Agent => "agent",
            Self::Container => "container",
        }
    }
}

/// What a key is called and means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) series: String,
    /// Labels whose value the catalogue gives.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) kind: Kind,
    pub(crate) help: String,
    /// Mesos's number times this is the series' value.
    pub(crate) factor: f64,
}

#[derive(Debug)]
struct Catalogue {
    entries: HashMap<(Component, String), Entry>,
}

/// The entry of a key, if the catalogue has it.
pub(crate) fn find(component: Component, key: &str) -> Option<&'static Entry> {
    // A lookup by (Component, &str) in this map would need a key type of its own; the
    // copy costs less than a microsecond in a scrape of some hundred keys.
    CATALOGUE.entries.get(&(component, key.to_owned()))
}

/// One line of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    component: Component,
    key: String,
    series: String,
    labels: String,
    kind: LineKind,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the tests and by people"))]
    unit: String,
    conversion: Conversion,
    help: String,
    #[expect(dead_code, reason = "read by people until that mode is in force")]
    mesos_exporter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineKind {
    Counter,
    Gauge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Conversion {
    None,
    Mib,
    Ms,
    Us,
}

impl Conversion {
    fn factor(self) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Mib => 1024.0 * 1024.0,
            Self::Ms => 1e-3,
            Self::Us => 1e-6,
        }
    }
}

impl Catalogue {
    fn parse(text: &str) -> Result<Self, csv::Error> {
        let mut entries = HashMap::new();
        for line in lines(text) {
            let line = line?;
            let constant = |label: &str| {
                let (name, value) = label.split_once('=')?;
                Some((name.to_owned(), value.to_owned()))
            };
            let entry = Entry {
                series: line.series,
                labels: line.labels.split(';').filter_map(constant).collect(),
                kind: match line.kind {
                    LineKind::Counter => Kind::Counter,
                    LineKind::Gauge => Kind::Gauge,
                },
                help: line.help,
                factor: line.conversion.factor(),
            };
            entries.insert((line.component, line.key), entry);
        }
        Ok(Self { entries })
    }
}

fn lines(text: &str) -> impl Iterator<Item = Result<Line, csv::Error>> {
    csv::Reader::from_reader(text.as_bytes()).into_deserialize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn all() -> Vec<Line> {
        lines(include_str!("catalogue.csv")).collect::<Result<_, _>>().unwrap()
    }

    fn label_names(line: &Line) -> Vec<String> {
        let names = line.labels.split(';').filter(|label| !label.is_empty());
        names.map(|label| label.split('=').next().unwrap_or(label).to_owned()).collect()
    }

    #[test]
    fn each_series_name_has_one_kind_one_unit_one_help_and_one_label_set() {
        let mut seen: BTreeMap<String, (String, Line)> = BTreeMap::new();
        for line in all() {
            let facts =
                format!("{:?} {} {} {:?}", line.kind, line.unit, line.help, label_names(&line));
            let (earlier, _) =
                seen.entry(line.series.clone()).or_insert_with(|| (facts.clone(), line.clone()));
            assert_eq!(*earlier, facts, "{}", line.series);
        }
    }

    #[test]
    fn no_two_keys_make_the_same_series() {
        let mut series = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for line in all() {
            assert!(
                keys.insert((line.component.as_str(), line.key.clone())),
                "{} is named twice",
                line.key
            );
            assert!(
                series.insert((line.series.clone(), line.labels.clone())),
                "{} comes from two keys",
                line.series
            );
        }
    }

    #[test]
    fn names_say_their_kind_and_unit() {
        for line in all() {
            let name = &line.series;
            assert!(name.starts_with("mesos_"), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), line.kind == LineKind::Counter, "{name}");
            for reserved in ["_count", "_sum", "_bucket", "_info"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            let stem = name.trim_end_matches("_total");
            assert_eq!(stem.ends_with("_bytes"), line.unit == "bytes", "{name}");
            assert_eq!(stem.ends_with("_seconds"), line.unit == "seconds", "{name}");
            assert_eq!(stem.ends_with("_percent"), line.unit == "ratio", "{name}");
            if line.unit == "ratio" {
                assert!(line.help.contains("ratio from 0 to 1"), "{name}");
            }
            assert!(line.help.ends_with('.') && line.help.len() > 5, "{name}: {}", line.help);
        }
    }

    #[test]
    fn the_names_that_rules_and_people_rely_on_are_there() {
        let pinned = [
            (Component::Master, "master/tasks_lost", "mesos_master_tasks_lost_total"),
            (Component::Master, "master/elected", "mesos_master_elected"),
            (Component::Master, "master/cpus_percent", "mesos_master_cpus_percent"),
            (Component::Master, "master/cpus_total", "mesos_master_cpus"),
            (Component::Master, "master/slaves_active", "mesos_master_slaves_active"),
            (Component::Agent, "slave/tasks_failed", "mesos_agent_tasks_failed_total"),
        ];
        for (component, key, series) in pinned {
            assert_eq!(find(component, key).unwrap().series, series);
        }
        let mem = find(Component::Agent, "slave/mem_total").unwrap();
        assert_eq!((mem.series.as_str(), mem.factor), ("mesos_agent_mem_bytes", 1_048_576.0));
    }
}
