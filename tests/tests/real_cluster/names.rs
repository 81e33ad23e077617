//! What real masters and agents report, key by key, with no Prometheus asking them
//! meanwhile: they answer only two requests for their metrics a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use satellite_tests::framework::Task;
use satellite_tests::satellite::Daemon;
use satellite_tests::wait::wait_for;
use satellite_tests::{http, layout};
use serde_json::Value;

use crate::Lab;

/// Some figures move by themselves, and are looked at until they stood still for
/// three requests.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);

/// Fewer than any of these processes reports, also of the keys that have an old name.
const AT_LEAST: usize = 50;

/// What Mesos does not report and mesos_exporter makes of two keys: its events
/// `died` are the removals that are not this one.
const DIED: &str = "mesos_master_slave_removal_events_total{event=\"died\"}";
const NOT_DIED: &str = "master/slave_shutdowns_completed";

/// A series' name and its labels, and its value.
type Samples = BTreeMap<(String, BTreeSet<String>), f64>;

/// A process of Mesos and an exporter that asks nobody else.
struct Pair {
    component: &'static str,
    mesos: String,
    exporter: Daemon,
}

impl Pair {
    fn start(lab: &Lab, name: &str, component: &'static str, mesos: String) -> Result<Self> {
        let arguments =
            [format!("--mesos.{component}={mesos}"), "--web.listen-address=127.0.0.1:0".to_owned()];
        let name = format!("exporter-of-{name}");
        let exporter = Daemon::start(&lab.run, &name, "satellite-exporter", &arguments)?;
        Ok(Self { component, mesos, exporter })
    }

    fn snapshot(&self) -> Result<BTreeMap<String, f64>> {
        let answer = http::get(&format!("{}/metrics/snapshot", self.mesos))?;
        let pairs = answer.as_object().context("a snapshot is an object")?;
        let number = |(key, value): (&String, &Value)| Some((key.clone(), value.as_f64()?));
        Ok(pairs.iter().filter_map(number).collect())
    }

    fn samples(&self, query: &str) -> Result<Samples> {
        let text = http::get_text(&format!("{}/metrics{query}", self.exporter.url()))?;
        let lines = text.lines().filter(|line| line.starts_with("mesos_"));
        let samples: Vec<_> = lines.map(sample).collect::<Result<_>>()?;
        let (lines, samples) = (samples.len(), Samples::from_iter(samples));
        ensure!(samples.len() == lines, "a series comes twice");
        Ok(samples)
    }

    /// Every key has a name of Satellite's.
    fn knows_every_key(&self) -> Result<()> {
        let samples = self.samples("")?;
        ensure!(samples.len() >= AT_LEAST, "{samples:?}");
        let unknown: Vec<_> =
            samples.keys().filter(|(name, _)| name == "mesos_unknown_key").collect();
        ensure!(unknown.is_empty(), "{}: {unknown:?}", self.mesos);
        Ok(())
    }

    /// Every key that mesos_exporter has a name for comes by that name, with the
    /// value that Mesos gave shortly before or shortly after, or one between these.
    fn has_old_names(&self, table: &[[String; 3]]) -> Result<()> {
        let mut confirmed = BTreeSet::new();
        wait_for("every key's value to be confirmed", CONFIRMED_WITHIN, || {
            let before = self.snapshot()?;
            let samples = self.samples("?names=mesos_exporter")?;
            let after = self.snapshot()?;
            let mut differ = Vec::new();
            let mut count = 0;
            for (key, series) in self.expected(table, &before) {
                let value = *samples.get(&parts(&series)).with_context(|| series.clone())?;
                let between = of(&before, &key, &series).zip(of(&after, &key, &series));
                let (low, high) = between.with_context(|| format!("{key} is gone"))?;
                count += 1;
                if value >= low.min(high) && value <= low.max(high) {
                    confirmed.insert(series);
                } else if !confirmed.contains(&series) {
                    differ.push(format!("{series} {value}, {key} {low} and {high}"));
                }
            }
            ensure!(count >= AT_LEAST, "only {count} keys have an old name");
            ensure!(differ.is_empty(), "{differ:?}");
            Ok(())
        })
    }

    /// The keys that this process reports and mesos_exporter has a name for.
    fn expected(
        &self,
        table: &[[String; 3]],
        snapshot: &BTreeMap<String, f64>,
    ) -> Vec<(String, String)> {
        let of_process = table.iter().filter(|[process, ..]| process == self.component);
        let keys = |[_, pattern, series]: &[String; 3]| {
            let filled = |key: &String| Some((key.clone(), fill(pattern, key, series)?));
            snapshot.keys().filter_map(filled).collect::<Vec<_>>()
        };
        of_process.flat_map(keys).collect()
    }
}

/// The value that a series is to have.
fn of(snapshot: &BTreeMap<String, f64>, key: &str, series: &str) -> Option<f64> {
    let value = snapshot.get(key)?;
    if series == DIED { Some(value - snapshot.get(NOT_DIED)?) } else { Some(*value) }
}

fn sample(line: &str) -> Result<((String, BTreeSet<String>), f64)> {
    let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
    Ok((parts(series), value.parse().with_context(|| line.to_owned())?))
}

fn parts(series: &str) -> (String, BTreeSet<String>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
    (name.to_owned(), labels.map(|label| label.trim_end_matches('"').to_owned()).collect())
}

/// The series of a key that fits the pattern, with what stands there for `<name>`.
fn fill(pattern: &str, key: &str, series: &str) -> Option<String> {
    let mut series = series.to_owned();
    let (literal, mut variables) = match pattern.split_once('<') {
        Some((literal, variables)) => (literal, variables),
        None => return (pattern == key).then_some(series),
    };
    let mut rest = key.strip_prefix(literal)?;
    loop {
        let (name, after) = variables.split_once('>')?;
        let (literal, next) = after.split_once('<').unzip();
        let value = match literal {
            Some(literal) => {
                let (value, left) = rest.split_once(literal)?;
                rest = left;
                value
            }
            None => rest.strip_suffix(after)?,
        };
        if value.is_empty() {
            return None;
        }
        series = series.replace(&format!("<{name}>"), value);
        match next {
            Some(next) => variables = next,
            None => return Some(series),
        }
    }
}

/// Process, key and series of every line of what mesos_exporter names.
fn old_names() -> Result<Vec<[String; 3]>> {
    let path = layout::workspace().join("exporter/tests/fixtures/mesos_exporter/keys.csv");
    let mut table = csv::Reader::from_path(path).context("open mesos_exporter's names")?;
    table.deserialize().map(|line| line.context("read mesos_exporter's names")).collect()
}

pub(crate) fn every_key(lab: &mut Lab) -> Result<()> {
    layout::build_programs()?;
    let cluster = &lab.cluster;
    let leader = cluster.leader()?;
    let follower = (leader + 1) % cluster.masters.len();
    let agent = cluster.agents.first().context("the cluster has agents")?;
    // Some keys begin with the first task that ends so.
    let failing = Task::sleeper("failing-by-name", agent.hostname());
    cluster.framework.launch(&Task { cmd: "exit 1".to_owned(), ..failing })?;
    cluster.framework.wait_task("failing-by-name", "TASK_FAILED")?;
    let leader = Pair::start(lab, "leader", "master", cluster.masters[leader].url())?;
    let follower = Pair::start(lab, "follower", "master", cluster.masters[follower].url())?;
    let agent = Pair::start(lab, "agent", "agent", agent.url())?;
    for pair in [&leader, &follower, &agent] {
        pair.knows_every_key()?;
    }
    let table = old_names()?;
    for pair in [&leader, &agent] {
        pair.has_old_names(&table)?;
    }
    Ok(())
}
