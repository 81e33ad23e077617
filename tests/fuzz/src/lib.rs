//! What the fuzz targets have in common: how an input is two bodies, and what must hold of
//! whatever is exposed.

#![forbid(unsafe_code)]

#[path = "../../../crates/toolkit/tests/reader/mod.rs"]
mod reader;

use std::collections::HashSet;

use reader::{Sample, parse};
use satellite_toolkit::exposition::{Exposition, Family, Format, Kind};

/// The two bodies of an input, which a zero byte parts: no JSON has one. The second is
/// empty where there is none.
pub fn two(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// Panics unless each of these scrapes can be exposed: in both formats it parses and says
/// the same, has no series twice, and has no value that is not a number.
pub fn check(scrapes: Vec<Vec<Family>>) {
    for families in scrapes {
        let read = |format| {
            let text = Exposition::new(format).families(families.clone()).into_text();
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics, "{text}");
            parse(&text).unwrap_or_else(|| panic!("this does not parse:\n{text}"))
        };
        let samples = read(Format::OpenMetrics);
        assert_eq!(samples, read(Format::Text), "the formats say different things");
        assert_eq!(samples.len(), families.iter().map(written).sum::<usize>());
        each_is_there_once(&samples);
    }
}

/// How many series of a family are to be written: a count below zero is none.
fn written(family: &Family) -> usize {
    let is_count = |value: f64| family.kind != Kind::Counter || value >= 0.0;
    family.samples.iter().filter(|(_, value)| is_count(*value)).count()
}

fn each_is_there_once(samples: &[Sample]) {
    let mut seen = HashSet::new();
    for Sample { name, labels, value } in samples {
        assert!(!value.is_nan(), "{name} {labels:?} is no number");
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort_unstable();
        assert!(seen.insert((name, sorted)), "{name} {labels:?} is there twice");
    }
}
