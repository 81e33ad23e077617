//! The catalogue: what each of Mesos's metrics is called here, and what it means.
//!
//! `catalogue.csv` is the truth. One line names one key of Mesos:
//!
//! | column | what it holds |
//! |---|---|
//! | `component` | who reports the key, see [`Component`] |
//! | `key` | the key as Mesos writes it, with its variable parts as placeholders, see [`pattern`] |
//! | `series` | the name here. Counters end in `_total`, nothing else does |
//! | `labels` | separated by `;`: `name=value` is constant, `name` alone is a placeholder of the key, or one of those that the component's mapping gives to all its series |
//! | `kind` | `counter`, `gauge` or `info` |
//! | `unit` | the unit of the series |
//! | `conversion` | how Mesos's number becomes it: `none`, `mib`, `ms`, `us`, `ns` |
//! | `group` | the collection group, see [`crate::groups`] |
//! | `help` | what an operator reads in Prometheus |
//! | `mesos_exporter` | what mesos_exporter 1.1.2 calls it: `kind name{label="value"}`, separated by ` \| `; ` - key` after it subtracts another key |
//!
//! A key that is not in it is exported raw as `mesos_unknown_key`. The file is compiled
//! in, so that a binary and its catalogue are never of different versions.

mod pattern;

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use satellite_toolkit::exposition::{Family, Kind, Labels};
use serde::Deserialize;

use crate::groups::Group;
use pattern::Pattern;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    Catalogue::parse(include_str!("../catalogue.csv")).expect("a test reads the catalogue")
});

/// Who reports a key. The same key (`system/load_1min`) may come from a master and from
/// an agent of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Component {
    /// A master's `/metrics/snapshot`.
    Master,
    /// An agent's `/metrics/snapshot`.
    Agent,
    /// A container's `ResourceStatistics`; the key is the field, or the path to it.
    Container,
    /// An agent in the elected master's `/state-summary`.
    ClusterAgent,
    /// A framework in the elected master's `/state-summary`.
    ClusterFramework,
    /// A role in the elected master's `/roles`.
    ClusterRole,
}

impl Component {
    /// The value of the label `component`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Agent => "agent",
            Self::Container => "container",
            Self::ClusterAgent => "cluster_agent",
            Self::ClusterFramework => "cluster_framework",
            Self::ClusterRole => "cluster_role",
        }
    }

    fn is_snapshot(self) -> bool {
        matches!(self, Self::Master | Self::Agent)
    }
}

/// By which names the metrics go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Naming {
    /// Satellite's own.
    Native,
    /// Those of mesos_exporter 1.1.2, with its labels and Mesos's own units.
    MesosExporter,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) group: Group,
    native: Name,
    mesos_exporter: Vec<Name>,
}

impl Entry {
    /// What the key is called: once natively, and as often as mesos_exporter does, which
    /// knows some keys under several names and many not at all.
    pub(crate) fn names(&self, naming: Naming) -> &[Name] {
        match naming {
            Naming::Native => std::slice::from_ref(&self.native),
            Naming::MesosExporter => &self.mesos_exporter,
        }
    }

    /// The native name.
    pub(crate) fn native(&self) -> &Name {
        &self.native
    }
}

/// A name and what it means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name {
    pub(crate) series: String,
    kind: Kind,
    help: String,
    /// Labels of which the catalogue gives the value.
    constant: Labels,
    /// Labels of which the key gives it: the name, and which placeholder.
    taken: Vec<(String, usize)>,
    conversion: Conversion,
    /// The key whose number is subtracted from this one's.
    pub(crate) minus: Option<String>,
}

/// Where a label's value comes from.
enum Value {
    Constant(String),
    /// What the key's placeholder of this index took.
    Taken(usize),
}

impl Name {
    /// A family of this name without series yet. It has the labels that are constant.
    pub(crate) fn family(&'static self) -> Family {
        let Self { series, help, kind, constant, .. } = self;
        Family::new(series.as_str(), help.as_str(), *kind).labelled(constant.clone())
    }

    /// Mesos's number in the unit of the series.
    pub(crate) fn convert(&self, number: f64) -> f64 {
        match self.conversion {
            Conversion::None => number,
            Conversion::Mib => number * 1024.0 * 1024.0,
            Conversion::Ms => number / 1e3,
            Conversion::Us => number / 1e6,
            Conversion::Ns => number / 1e9,
        }
    }

    /// The labels that the placeholders of a key give, by what they took.
    pub(crate) fn labels(&self, taken: &[Cow<'_, str>]) -> Labels {
        Labels::new(self.taken.iter().map(|(name, at)| (name, &taken[*at])))
    }
}

#[derive(Debug, Default)]
struct Catalogue {
    entries: Vec<Entry>,
    /// Keys without placeholders.
    literal: HashMap<Component, HashMap<String, usize>>,
    /// The others, of snapshots alone; in the order of the file.
    patterns: HashMap<Component, Vec<(Pattern, usize)>>,
}

/// The entry of a key of a snapshot, if the catalogue has it, and what its placeholders
/// took.
pub(crate) fn resolve<'k>(
    component: Component,
    key: &'k str,
) -> Option<(&'static Entry, Vec<Cow<'k, str>>)> {
    if let Some(entry) = find(component, key) {
        return Some((entry, Vec::new()));
    }
    let patterns = CATALOGUE.patterns.get(&component)?;
    patterns.iter().find_map(|(pattern, at)| Some((&CATALOGUE.entries[*at], pattern.matches(key)?)))
}

/// The entry of a key that the code knows.
pub(crate) fn known(component: Component, key: &str) -> &'static Entry {
    find(component, key).expect("a test looks every key up")
}

/// The entry of a key as the catalogue writes it.
pub(crate) fn find(component: Component, key: &str) -> Option<&'static Entry> {
    let at = CATALOGUE.literal.get(&component)?.get(key)?;
    Some(&CATALOGUE.entries[*at])
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
    group: Group,
    help: String,
    mesos_exporter: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LineKind {
    Counter,
    Gauge,
    Info,
}

impl From<LineKind> for Kind {
    fn from(kind: LineKind) -> Self {
        match kind {
            LineKind::Counter => Self::Counter,
            LineKind::Gauge => Self::Gauge,
            LineKind::Info => Self::Info,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Conversion {
    None,
    Mib,
    Ms,
    Us,
    Ns,
}

impl Catalogue {
    fn parse(text: &str) -> Result<Self, String> {
        let mut catalogue = Self::default();
        for line in lines(text) {
            catalogue.add(&line.map_err(|error| error.to_string())?)?;
        }
        catalogue.help_old_names();
        Ok(catalogue)
    }

    fn add(&mut self, line: &Line) -> Result<(), String> {
        let Line { component, key, group, .. } = line;
        let pattern =
            if component.is_snapshot() { Pattern::parse(key)? } else { Pattern::literal(key) };
        let at = self.entries.len();
        self.entries.push(Entry {
            group: *group,
            native: line.native(&pattern)?,
            mesos_exporter: line.mesos_exporter(&pattern)?,
        });
        if pattern.is_literal() {
            let keys = self.literal.entry(*component).or_default();
            if keys.insert(key.clone(), at).is_some() {
                return Err(format!("{key} is named twice"));
            }
        } else {
            self.patterns.entry(*component).or_default().push((pattern, at));
        }
        Ok(())
    }

    /// Gives mesos_exporter's names, each of which may stand for several keys, one help.
    fn help_old_names(&mut self) {
        let mut helps: HashMap<String, Vec<String>> = HashMap::new();
        let old = |entry: &Entry| {
            entry.mesos_exporter.iter().map(|name| name.series.clone()).collect::<Vec<_>>()
        };
        for entry in &self.entries {
            for name in old(entry) {
                let natives = helps.entry(name).or_default();
                if !natives.contains(&entry.native.series) {
                    natives.push(entry.native.series.clone());
                }
            }
        }
        for name in self.entries.iter_mut().flat_map(|entry| &mut entry.mesos_exporter) {
            name.help = format!("mesos_exporter's name for {}.", helps[&name.series].join(", "));
        }
    }
}

impl Line {
    fn native(&self, pattern: &Pattern) -> Result<Name, String> {
        let labels = self.labels.split(';').filter(|label| !label.is_empty());
        let labels = labels.map(|label| match label.split_once('=') {
            Some((name, value)) => Ok(Some((name.to_owned(), Value::Constant(value.to_owned())))),
            None if self.component.is_snapshot() && self.kind != LineKind::Info => {
                Ok(Some((label.to_owned(), taken(pattern, label)?)))
            }
            // The mapping gives it.
            None => Ok(None),
        });
        let (constant, taken) = parted(labels.filter_map(Result::transpose))?;
        Ok(Name {
            series: self.series.clone(),
            kind: self.kind.into(),
            help: self.help.clone(),
            constant,
            taken,
            conversion: self.conversion,
            minus: None,
        })
    }

    fn mesos_exporter(&self, pattern: &Pattern) -> Result<Vec<Name>, String> {
        let names = self.mesos_exporter.split(" | ").filter(|name| !name.is_empty());
        names.map(|name| self.old_name(pattern, name)).collect()
    }

    /// Reads `kind name{label="value",…} - key`.
    fn old_name(&self, pattern: &Pattern, text: &str) -> Result<Name, String> {
        let wrong = || format!("{}: {text} is no name of mesos_exporter's", self.key);
        let (text, minus) = match text.split_once(" - ") {
            Some((text, minus)) => (text, Some(minus.to_owned())),
            None => (text, None),
        };
        let (kind, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let kind = match kind {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "unknown" => Kind::Unknown,
            _ => return Err(wrong()),
        };
        let (series, labels) = rest.split_once('{').unwrap_or((rest, "}"));
        let labels = labels.strip_suffix('}').ok_or_else(wrong)?;
        let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
            let (name, value) = label.split_once("=\"").ok_or_else(wrong)?;
            let value = value.trim_end_matches('"');
            let value = match value.strip_prefix('<').and_then(|value| value.strip_suffix('>')) {
                Some(placeholder) if self.component.is_snapshot() => taken(pattern, placeholder)?,
                // The mapping gives it.
                Some(_) => return Ok(None),
                None => Value::Constant(value.to_owned()),
            };
            Ok(Some((name.to_owned(), value)))
        });
        // A snapshot's numbers go out in Mesos's own units, as mesos_exporter's do. In the
        // cluster view it says bytes, and now they are.
        let is_raw = self.component.is_snapshot();
        let conversion = if is_raw { Conversion::None } else { self.conversion };
        let (constant, taken) = parted(labels.filter_map(Result::transpose))?;
        Ok(Name {
            series: series.to_owned(),
            kind,
            help: String::new(),
            constant,
            taken,
            conversion,
            minus,
        })
    }
}

/// The labels that are constant, and those that a key gives.
fn parted(
    labels: impl Iterator<Item = Result<(String, Value), String>>,
) -> Result<(Labels, Vec<(String, usize)>), String> {
    let (mut constant, mut taken) = (Vec::new(), Vec::new());
    for label in labels {
        match label? {
            (name, Value::Constant(value)) => constant.push((name, value)),
            (name, Value::Taken(at)) => taken.push((name, at)),
        }
    }
    Ok((Labels::new(constant), taken))
}

fn taken(pattern: &Pattern, placeholder: &str) -> Result<Value, String> {
    let at = pattern.names().position(|name| name == placeholder);
    at.map(Value::Taken).ok_or_else(|| format!("the key has no placeholder {placeholder}"))
}

fn lines(text: &str) -> impl Iterator<Item = Result<Line, csv::Error>> {
    csv::Reader::from_reader(text.as_bytes()).into_deserialize()
}

/// The keys of a component as the catalogue writes them, sorted.
#[cfg(test)]
pub(crate) fn keys(component: Component) -> Vec<&'static str> {
    let mut keys: Vec<_> = CATALOGUE.literal[&component].keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn all() -> Vec<Line> {
        lines(include_str!("../catalogue.csv")).collect::<Result<_, _>>().unwrap()
    }

    fn label_names(line: &Line) -> Vec<String> {
        let names = line.labels.split(';').filter(|label| !label.is_empty());
        names.map(|label| label.split('=').next().unwrap_or(label).to_owned()).collect()
    }

    #[test]
    fn each_series_name_has_one_kind_one_unit_one_help_one_label_set_and_one_group() {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for line in all() {
            let Line { kind, unit, help, group, .. } = &line;
            let labels = label_names(&line);
            let facts = format!("{kind:?} {unit} {group:?} {labels:?} {help}");
            let earlier = seen.entry(line.series.clone()).or_insert_with(|| facts.clone());
            assert_eq!(*earlier, facts, "{}", line.series);
        }
    }

    #[test]
    fn each_old_name_has_one_kind_and_one_label_set_per_process() {
        let mut seen: BTreeMap<(bool, String), String> = BTreeMap::new();
        for (line, entry) in all().iter().zip(&CATALOGUE.entries) {
            for Name { series, constant, taken, kind, .. } in &entry.mesos_exporter {
                let is_of_node = matches!(line.component, Component::Agent | Component::Container);
                let constant = constant.as_str().split('"').step_by(2);
                let constant = constant.map(|name| name.trim_matches([',', '=']));
                let labels: Vec<_> =
                    taken.iter().map(|(name, _)| &**name).chain(constant).collect();
                let facts = format!("{kind:?} {labels:?}");
                let key = (is_of_node, series.clone());
                let earlier = seen.entry(key).or_insert_with(|| facts.clone());
                assert_eq!(*earlier, facts, "{series}");
                assert_eq!(*kind == Kind::Counter, series.ends_with("_total"), "{series}");
            }
        }
    }

    #[test]
    fn no_two_keys_make_the_same_series() {
        let mut series = BTreeSet::new();
        for line in all() {
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
            assert_eq!(name.ends_with("_info"), line.kind == LineKind::Info, "{name}");
            for reserved in ["_count", "_sum", "_bucket"] {
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
    fn what_is_subtracted_is_a_key_of_the_same_process() {
        for (line, entry) in all().iter().zip(&CATALOGUE.entries) {
            for minus in entry.mesos_exporter.iter().filter_map(|name| name.minus.as_ref()) {
                assert!(find(line.component, minus).is_some(), "{minus}");
            }
        }
    }

    #[test]
    fn no_key_is_of_two_patterns() {
        for line in all().iter().filter(|line| line.component.is_snapshot()) {
            // Each placeholder takes a text of its own.
            let key = line.key.replace(['<', '>', '%', '*'], "_");
            let patterns = CATALOGUE.patterns.get(&line.component).into_iter().flatten();
            let matching = patterns.filter(|(pattern, _)| pattern.matches(&key).is_some()).count();
            let is_literal = find(line.component, &line.key).is_some();
            assert_eq!(matching, usize::from(!is_literal), "{}", line.key);
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
            assert_eq!(find(component, key).unwrap().native.series, series);
        }
        let mem = find(Component::Agent, "slave/mem_total").unwrap().native();
        assert_eq!((mem.series.as_str(), mem.convert(2.0)), ("mesos_agent_mem_bytes", 2_097_152.0));
    }
}
