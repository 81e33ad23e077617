//! Every key of Mesos comes out once, with its own value, under Satellite's names and under
//! mesos_exporter's.
//!
//! Each key is given a number of its own, so that a number that was mixed up, converted
//! wrongly or invented is found.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{
    exporter::Exporter,
    fake_mesos::{Answer, FakeMesos, fixture},
};

/// Snapshots that real processes have sent.
const RECORDED: [(&str, &str); 6] = [
    ("master", "leader_metrics_snapshot"),
    ("master", "follower_metrics_snapshot"),
    ("master", "drained_metrics_snapshot"),
    ("master", "lost_agent_metrics_snapshot"),
    ("agent", "agent_metrics_snapshot"),
    ("agent", "cgroups_agent_metrics_snapshot"),
];

/// What the variable parts of keys are replaced by, as far as `<name>`, `<name%>` and
/// `<name*>` allow.
fn filled(pattern: &str) -> String {
    let mut key = String::new();
    for (at, piece) in pattern.split('<').enumerate() {
        let Some((name, literal)) = piece.split_once('>').filter(|_| at > 0) else {
            key.push_str(piece);
            continue;
        };
        key.push_str(match name {
            "framework_name%" => "team%2Fa%20b",
            "role*" | "role" | "principal*" | "principal" => "eng/web",
            "provider_type" => "org.apache.rp",
            name => name,
        });
        key.push_str(literal);
    }
    key
}

fn recorded_keys(name: &str) -> Vec<String> {
    let snapshot: BTreeMap<String, f64> = serde_json::from_str(&fixture(name)).unwrap();
    snapshot.into_keys().collect()
}

fn table(path: &str) -> Vec<csv::StringRecord> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    csv::Reader::from_path(path).unwrap().into_records().map(Result::unwrap).collect()
}

/// Every key that the catalogue has of this process.
fn catalogued_keys(process: &str) -> Vec<String> {
    let lines = table("src/catalogue.csv");
    let lines = lines.iter().filter(|line| &line[0] == process && &line[4] != "info");
    lines.map(|line| filled(&line[1])).collect()
}

/// Whole numbers, far enough apart that no conversion makes one into another. They fall, so
/// that what is subtracted, which comes later in the catalogue, is less.
fn numbers(keys: &[String]) -> BTreeMap<&str, f64> {
    let numbers = (0_u32..).map(|at| f64::from(2_000_003 - 17 * at));
    keys.iter().map(String::as_str).zip(numbers).collect()
}

/// Mesos's number in base units, told from its own name for it: milliseconds end in `_ms`
/// (the count of a timer's samples does not), amounts of memory and disk are MiB.
fn in_base_units(key: &str, number: f64) -> f64 {
    let is_time = (key.ends_with("_ms") || key.contains("_ms/")) && !key.ends_with("/count");
    let of_process = ["master/mem", "master/disk", "slave/mem", "slave/disk"];
    let is_amount = |start: &&str| key.starts_with(*start) && !key.ends_with("_percent");
    let of_allocator = key.contains("/resources/mem/") || key.contains("/resources/disk/");
    if is_time {
        number / 1000.0
    } else if of_process.iter().any(is_amount) || of_allocator {
        number * 1_048_576.0
    } else {
        number
    }
}

/// What a scrape brings of a process whose snapshot has these numbers, and that answers
/// nothing else: series and values.
async fn scraped(
    process: &str,
    numbers: &BTreeMap<&str, f64>,
    flags: &[&str],
) -> Vec<(String, f64)> {
    let mesos = FakeMesos::start().await;
    mesos.answer("/metrics/snapshot", Answer::Json(serde_json::to_string(numbers).unwrap()));
    let address = format!("--mesos.{process}={}", mesos.url());
    let body = Exporter::start(&[&[address.as_str()], flags].concat()).await.metrics().await;
    let lines = body.lines().filter(|line| line.starts_with("mesos_"));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    };
    lines.map(sample).collect()
}

#[tokio::test]
async fn each_key_of_a_snapshot_comes_out_once_in_base_units() {
    let recorded = RECORDED.iter().map(|(process, name)| (*process, recorded_keys(name)));
    let catalogued = ["master", "agent"].map(|process| (process, catalogued_keys(process)));
    for (process, keys) in recorded.chain(catalogued) {
        assert!(keys.len() > 60, "{keys:?}");
        let numbers = numbers(&keys);
        let samples = scraped(process, &numbers, &[]).await;
        assert!(!samples.iter().any(|(series, _)| series.starts_with("mesos_unknown_key")));
        for (key, number) in &numbers {
            let expected = in_base_units(key, *number);
            let found = samples.iter().filter(|(_, value)| *value == expected).count();
            assert_eq!(found, 1, "{key} as {expected}");
        }
        assert_eq!(samples.len(), numbers.len(), "nothing is invented");
    }
}

/// A series' name and its labels.
fn parts(series: &str) -> (String, BTreeSet<String>) {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
    (name.to_owned(), labels.map(|label| label.trim_end_matches('"').to_owned()).collect())
}

#[tokio::test]
async fn each_key_that_mesos_exporter_has_comes_out_by_its_name_and_in_mesos_s_unit() {
    for process in ["master", "agent"] {
        let keys = catalogued_keys(process);
        let numbers = numbers(&keys);
        let samples = scraped(process, &numbers, &["--metrics.names=mesos_exporter"]).await;
        let found: BTreeMap<_, _> =
            samples.iter().map(|(series, value)| (parts(series), *value)).collect();
        assert_eq!(found.len(), samples.len(), "a series came twice");
        let mut expected = 0;
        for line in table("tests/fixtures/mesos_exporter/keys.csv") {
            let (key, name) = (filled(&line[1]), &line[2]);
            if &line[0] != process {
                continue;
            }
            let number = numbers.get(key.as_str()).copied();
            let subtracted = numbers.get("master/slave_shutdowns_completed").copied();
            let number = match name {
                "mesos_master_slave_removal_events_total{event=\"died\"}" => {
                    number.zip(subtracted).map(|(all, completed)| all - completed)
                }
                _ => number,
            };
            assert_eq!(found.get(&parts(&filled(name))), number.as_ref(), "{key} as {name}");
            expected += 1;
        }
        assert!(expected > 60, "{expected}");
    }
}

/// Names and label values of mesos_exporter that are not there, each with the reason.
const LEFT_OUT: [(&str, &str, &str, &str); 4] = [
    (
        "agent",
        "mesos_slave_task_states_exit_total",
        "state=\"errored",
        "no agent has a key slave/tasks_error",
    ),
    ("agent", "mesos_slave_task_state_counts_by_source_reason", "", "no agent has such keys"),
    ("both", "mesos_collector_errors_total", "", "satellite_source_up says it by source"),
    ("both", "mesos_exporter_build_info", "", "satellite_build_info says which exporter this is"),
];

/// What a node's exporter says by mesos_exporter's names if its Mesos reports everything.
async fn everything() -> Vec<String> {
    let mut series = Vec::new();
    for process in ["master", "agent"] {
        let keys = catalogued_keys(process);
        let numbers = numbers(&keys);
        let samples = scraped(process, &numbers, &["--metrics.names=mesos_exporter"]).await;
        series.extend(samples.into_iter().map(|(series, _)| format!("{process} {series}")));
    }
    let statistics = table("src/catalogue.csv");
    let statistics = statistics.iter().filter(|line| &line[0] == "container");
    let statistics: Vec<_> = statistics.map(|line| format!("\"{}\":1", &line[1])).collect();
    let container = r#"[{"container_id":"92bac51a-e3e5-46d3-beab-7e0275acc0cf","executor_id":"burn",
        "framework_id":"0bbad478-a866-46ba-b58d-3bbeae70e5e3-0000","source":"burn","statistics":{"#;
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    std::fs::write(file.path(), "agent_attributes: [rack]\n").unwrap();
    let config = format!("--config.file={}", file.path().display());
    for (process, mesos) in
        [("master", FakeMesos::leader().await), ("agent", FakeMesos::agent().await)]
    {
        // No task of that cluster used a port.
        let used = "\"used_resources\":{";
        let summary = fixture("leader_state_summary");
        let summary = summary.replace(used, &format!("{used}\"ports\":\"[31000-31001]\","));
        mesos.answer("/state-summary", Answer::Json(summary));
        mesos.answer("/api/v1", Answer::Status(404, String::new()));
        let containers = format!("{container}{}}}}}]", statistics.join(","));
        mesos.answer("/containers", Answer::Json(containers));
        let address = format!("--mesos.{process}={}", mesos.url());
        let exporter =
            Exporter::start(&[&address, &config, "--metrics.names=mesos_exporter"]).await;
        let body = exporter.metrics().await;
        let lines = body.lines().filter(|line| line.starts_with("mesos_"));
        series.extend(lines.map(|line| format!("{process} {}", line.rsplit_once(' ').unwrap().0)));
    }
    series
}

#[tokio::test]
async fn every_name_and_label_of_mesos_exporter_is_there_or_left_out_for_a_reason() {
    let everything = everything().await;
    let has = |process: &str, name: &str, label: &str| {
        let start = format!("{process} {name}");
        let mut all = everything.iter().filter_map(|series| series.strip_prefix(&start));
        all.any(|labels| (labels.is_empty() || labels.starts_with('{')) && labels.contains(label))
    };
    for line in table("tests/fixtures/mesos_exporter/names.csv") {
        let (process, name, labels) = (&line[0], &line[1], &line[2]);
        // "type=percent/total/used", "id, framework_id" or "slave + what was chosen".
        let labels = labels.split('+').next().unwrap().split(", ").map(str::trim);
        let labels = labels.filter(|label| !["", "-", "-exportedSlaveAttributes"].contains(label));
        let labels = labels.flat_map(|label| match label.split_once('=') {
            Some((label, values)) => {
                values.split('/').map(|value| format!("{label}=\"{value}\"")).collect()
            }
            None => vec![format!("{label}=\"")],
        });
        for label in labels.chain([String::new()]) {
            let excused = LEFT_OUT.iter().any(|(of, left, value, _)| {
                *of == process && *left == name && label.contains(value.trim_matches('"'))
            });
            assert_ne!(has(process, name, &label), excused, "{process}: {name} with {label:?}");
        }
    }
}
