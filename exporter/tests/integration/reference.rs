//! The reference of all series in docs/ is what the catalogue says.
//! `UPDATE_GOLDEN=1` writes its tables anew.

use std::{fmt::Write as _, path::Path};

use csv::StringRecord;

/// Above it is what people wrote; what comes after it is made from the catalogue.
const MARK: &str =
    "<!-- What follows is made from exporter/src/catalogue.csv; see exporter/README.md. -->\n";

/// Whose numbers they are, and what a person calls that.
const COMPONENTS: [(&str, &str); 6] = [
    ("master", "A master: `/metrics/snapshot`"),
    ("agent", "An agent: `/metrics/snapshot`"),
    ("container", "A container: `ResourceStatistics`"),
    ("cluster_agent", "An agent, as the elected master sees it: `/state-summary`"),
    ("cluster_framework", "A framework, as the elected master sees it: `/state-summary`"),
    ("cluster_role", "A role, as the elected master sees it: `/roles`"),
];

fn catalogue() -> Vec<StringRecord> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalogue.csv");
    csv::Reader::from_path(path).unwrap().into_records().map(Result::unwrap).collect()
}

fn compare(file: &str, tables: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
    let found = std::fs::read_to_string(&path).unwrap();
    let (by_people, found) = found.split_once(MARK).expect("the mark is there");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return std::fs::write(&path, format!("{by_people}{MARK}{tables}")).unwrap();
    }
    assert!(
        found == tables,
        "{file} is not what the catalogue says: UPDATE_GOLDEN=1 writes it anew"
    );
}

/// Text that cannot end a cell or open a tag.
fn cell(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

/// `name{label="value"}` of the old names, without their kinds.
fn old_names(line: &StringRecord) -> impl Iterator<Item = (&str, &str)> {
    let names = line[9].split(" | ").filter(|name| !name.is_empty());
    names.map(|name| name.split_once(' ').unwrap())
}

#[test]
fn the_reference_of_series_is_current() {
    let catalogue = catalogue();
    let mut tables = String::new();
    for (component, title) in COMPONENTS {
        write!(tables, "\n## {title}\n\n| series | type | labels | unit | meaning | Mesos's key | group | mesos_exporter |\n|---|---|---|---|---|---|---|---|\n").unwrap();
        for line in catalogue.iter().filter(|line| &line[0] == component) {
            let labels: Vec<_> = line[3].split(';').map(cell).filter(|it| !it.is_empty()).collect();
            let name = |(_, old): (_, &str)| cell(old.split(" - ").next().unwrap());
            let old: Vec<_> = old_names(line).map(name).collect();
            writeln!(
                tables,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                cell(&line[2]),
                &line[4],
                labels.join(", "),
                &line[5],
                &line[8].replace('<', "&lt;"),
                cell(&line[1]),
                &line[7],
                old.join(", "),
            )
            .unwrap();
        }
    }
    compare("metrics.md", &tables);
}

/// What a number must be multiplied with to become what it was by the old name.
fn factor(conversion: &str) -> &'static str {
    match conversion {
        "mib" => "bytes; it was MiB",
        "ms" => "seconds; it was milliseconds",
        _ => "",
    }
}

#[test]
fn the_way_from_mesos_exporter_s_names_is_current() {
    let mut rows = Vec::new();
    for line in &catalogue() {
        let is_snapshot = matches!(&line[0], "master" | "agent");
        for (kind, old) in old_names(line) {
            let (old, minus) = old.split_once(" - ").unwrap_or((old, ""));
            let mut differs = Vec::new();
            if !minus.is_empty() {
                differs.push(format!("derived: subtract the series of {}", cell(minus)));
            }
            if is_snapshot && !factor(&line[6]).is_empty() {
                differs.push(factor(&line[6]).to_owned());
            }
            let is_amount =
                old.starts_with("mesos_slave_mem") || old.starts_with("mesos_slave_disk");
            if is_amount && !is_snapshot {
                let text = "bytes by either name; mesos_exporter's were 1024 times too few";
                differs.push(text.to_owned());
            }
            let was = if kind == "unknown" { "counter" } else { kind };
            if was != &line[4] {
                differs.push(format!("a {}; it was a {was}", &line[4]));
            }
            rows.push(format!("| {} | {} | {} |\n", cell(old), cell(&line[2]), differs.join("; ")));
        }
    }
    rows.sort();
    let head = "\n| mesos_exporter | Satellite | what else differs |\n|---|---|---|\n";
    compare("mesos_exporter.md", &format!("{head}{}", rows.concat()));
}
