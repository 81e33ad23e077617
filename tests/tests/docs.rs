//! What the documentation says of the tests.
//!
//! `docs/safety.md` promises that something cannot happen and names the tests that
//! show it. A test that was renamed or removed would leave a promise of nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use satellite_tests::layout::workspace;

#[path = "seeded_faults/faults.rs"]
mod faults;

/// The invariants are numbered up to this.
const INVARIANTS: u32 = 37;
/// This number was never given to one.
const NOT_GIVEN: u32 = 17;
/// What hurt others.
const LESSONS: u32 = 20;

/// Where tests are.
const SOURCES: [&str; 4] = ["crates", "exporter", "remediator", "tests"];
/// These list their cases as pairs of name and function.
const CASES: [&str; 3] = [
    "tests/tests/alertmanager_lab/main.rs",
    "tests/tests/real_cluster/main.rs",
    "tests/tests/several_masters/main.rs",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests that there are.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in SOURCES {
        sources(&workspace().join(folder), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        names.extend(marked_tests(&fs::read_to_string(file).unwrap()));
    }
    for file in CASES {
        names.extend(cases(&fs::read_to_string(workspace().join(file)).unwrap()));
    }
    names
}

/// The functions of a source that are marked as tests.
fn marked_tests(source: &str) -> Vec<String> {
    let mut is_marked = false;
    let mut names = Vec::new();
    for line in source.lines().map(str::trim) {
        is_marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(name) = name.filter(|_| is_marked) {
            names.push(leading_name(name).to_owned());
            is_marked = false;
        }
    }
    names
}

/// The names in a list of cases: texts, each followed by a function.
fn cases(source: &str) -> Vec<String> {
    let lines = source.lines().map(|line| line.trim().trim_start_matches('('));
    let names = lines.filter_map(|line| line.strip_prefix('"')?.split_once("\","));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// The tests that a part of the page names: what is marked as code and could be one.
fn named(text: &str) -> Vec<&str> {
    let is_test = |code: &&str| code.contains('_') && leading_name(code) == *code;
    text.split('`').skip(1).step_by(2).filter(is_test).collect()
}

/// The invariants that a test's name begins with: `i10_i20_…`.
fn numbers(test: &str) -> Vec<u32> {
    let numbers = test.split('_').map_while(|word| word.strip_prefix('i')?.parse().ok());
    numbers.collect()
}

/// The page, line by line, and what its tables hold by the first cell of a row.
fn page() -> (String, BTreeMap<String, String>) {
    let text = fs::read_to_string(workspace().join("docs/safety.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let (first, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
        Some((first.to_owned(), rest.to_owned()))
    });
    let mut by_first = BTreeMap::new();
    for (first, rest) in rows {
        assert!(by_first.insert(first.clone(), rest).is_none(), "{first} has two rows");
    }
    (text, by_first)
}

#[test]
fn every_test_that_the_page_on_safety_names_is_there() {
    let (text, _) = page();
    let tests = tests();
    let names = named(&text);
    assert!(names.len() > 50, "the page names tests: {names:?}");
    let missing: Vec<_> = names.into_iter().filter(|name| !tests.contains(*name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn every_invariant_is_promised_with_tests_or_said_to_be_missing() {
    let (text, rows) = page();
    let not_yet = text.lines().find(|line| line.starts_with("Not yet: ")).unwrap();
    let tests = tests();
    for number in (1..=INVARIANTS).filter(|number| *number != NOT_GIVEN) {
        let invariant = format!("I{number}");
        let numbered: BTreeSet<&str> =
            tests.iter().filter(|it| numbers(it).contains(&number)).map(String::as_str).collect();
        let Some(row) = rows.get(&invariant) else {
            let said = not_yet.contains(&format!("{invariant} ("));
            assert!(said, "{invariant} is neither promised nor said to be missing");
            assert!(numbered.is_empty(), "{invariant} has tests and no promise: {numbered:?}");
            continue;
        };
        let named = named(row);
        assert!(!named.is_empty(), "{invariant} is promised and has no test");
        let names_one = named.iter().any(|name| numbered.contains(name));
        assert!(names_one || numbered.is_empty(), "{invariant} names none of {numbered:?}");
    }
}

#[test]
fn every_lesson_has_its_tests() {
    let (_, rows) = page();
    for number in 1..=LESSONS {
        assert!(!named(&rows[&number.to_string()]).is_empty(), "lesson {number} has no test");
    }
}

#[test]
fn tests_are_found_however_they_are_written() {
    let source = "#[test]\nfn one() {}\nfn no_test() {}\n#[tokio::test(flavor = \"x\")]\n\
                  async fn two() {}\n    #[test]\n    fn three(\n        it in any(),";
    assert_eq!(marked_tests(source), ["one", "two", "three"]);
    assert_eq!(cases("    (\"a_b\", f),\n = &[(\n    \"c_d\",\n    f,"), ["a_b", "c_d"]);
    assert_eq!(named("`a_b` and `make test`, `c_d(x)` | `e`"), ["a_b"]);
    assert_eq!(numbers("i10_i20_killed"), [10, 20]);
}

#[test]
fn every_seeded_fault_has_its_place_in_the_sources() {
    for fault in faults::FAULTS.iter().chain(faults::FAULTS_OF_SEVERAL) {
        let source = fs::read_to_string(workspace().join(fault.file)).unwrap();
        let places = source.matches(fault.text).count();
        assert_eq!(places, 1, "{}: {:?} in {}", fault.name, fault.text, fault.file);
        assert_ne!(fault.text, fault.instead, "{}", fault.name);
        for invariant in fault.breaks {
            let number = invariant.strip_prefix('I').and_then(|number| number.parse::<u32>().ok());
            let is_one = number.is_some_and(|it| (1..=INVARIANTS).contains(&it) && it != NOT_GIVEN);
            assert!(is_one, "{}: {invariant} is no invariant", fault.name);
        }
    }
}
