//! Whatever comes from outside, both formats parse, and say what was put in.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use satellite_toolkit::exposition::{Exposition, Family, Format, Kind, Labels};

/// A sample as a reader of the format sees it.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads an exposition by the rules that both formats share; `None` if it breaks one.
fn parse(text: &str) -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    for line in text.strip_suffix('\n')?.split('\n') {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            match (words.next()?, words.next(), words.next()) {
                ("HELP", Some(name), help) => {
                    is_name(name).then_some(())?;
                    unescape(help.unwrap_or(""), &['n', '\\'])?;
                }
                ("TYPE", Some(name), Some(_)) => is_name(name).then_some(())?,
                ("EOF", None, None) => {}
                _ => return None,
            }
            continue;
        }
        samples.push(parse_sample(line)?);
    }
    Some(samples)
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    is_name(name).then_some(())?;
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            is_name(label).then_some(())?;
            let end = unescaped_quote(after)?;
            labels.push((label.to_owned(), unescape(&after[..end], &['n', '\\', '"'])?));
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    Some(Sample { name: name.to_owned(), labels, value: rest.strip_prefix(' ')?.parse().ok()? })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let here = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        here.then_some(at)
    })
}

fn unescape(text: &str, allowed: &[char]) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next().filter(|c| allowed.contains(c))? {
                'n' => '\n',
                c => c,
            },
            c => c,
        };
        plain.push(c);
    }
    Some(plain)
}

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
