//! Whatever comes from outside, both formats parse, and say what was put in.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use satellite_toolkit::exposition::{Exposition, Family, Format, Kind, Labels};

mod reader;

use reader::parse;

fn any_text() -> impl Strategy<Value = String> {
    // Mostly what breaks formats, and anything at all.
    prop_oneof!["[a\\\\\"\n\r{},= #]{0,12}", any::<String>()]
}

fn families(help: &str, label: &str, values: &[(String, f64)], kinds: [Kind; 4]) -> Vec<Family> {
    // In the order in which they are written.
    let names = ["test_facts_info", "test_grown_total", "test_level", "test_mystery"];
    let families = names.into_iter().zip(kinds).map(|(name, kind)| {
        let mut family = Family::new(name, help.to_owned(), kind);
        for (value, number) in values {
            let labels = Labels::new([(label.to_owned(), value.clone())]);
            family.push(labels, *number);
        }
        family
    });
    families.collect()
}

const KINDS: [Kind; 4] = [Kind::Info, Kind::Counter, Kind::Gauge, Kind::Unknown];

proptest! {
    #[test]
    fn any_help_label_and_value_parse_in_both_formats_and_come_back(
        help in any_text(),
        label in any_text(),
        values in proptest::collection::vec((any_text(), 0.0..1e18f64), 1..4),
    ) {
        let families = families(&help, &label, &values, KINDS);
        let mut read = Vec::new();
        for format in [Format::OpenMetrics, Format::Text] {
            let text = Exposition::new(format).families(families.clone()).into_text();
            let samples = parse(&text);
            prop_assert!(samples.is_some(), "{}", text);
            let samples = samples.unwrap();
            prop_assert_eq!(samples.len(), values.len() * 4);
            for (sample, (value, number)) in samples[values.len()..].iter().zip(&values) {
                prop_assert_eq!(&sample.name, "test_grown_total");
                prop_assert_eq!(&sample.labels[0].1, value);
                prop_assert_eq!(sample.value, *number);
            }
            read.push(samples);
        }
        prop_assert_eq!(&read[0], &read[1], "both formats give the same series");
    }
}

#[test]
fn promtool_accepts_the_hardest_texts_needs_promtool() {
    let hard = "back\\slash \"quoted\"\nnew line\r{a=\"b\"} # 1 \u{2028}é\0";
    let values = [(hard.to_owned(), 1.5), ("\\".to_owned(), 2.0), ("\"".to_owned(), 3.0)];
    let families = families(hard, "a-b.c", &values, KINDS);
    let text = Exposition::new(Format::Text).families(families).into_text();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: apt-get install -y prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{text}");
}
