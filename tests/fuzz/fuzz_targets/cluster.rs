//! `/state-summary` and `/roles` of the leading master: both of the input, the summary first.
#![no_main]

use satellite_exporter::fuzzing;
use satellite_fuzz::{check, two};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (summary, roles) = two(input);
    check(fuzzing::cluster(summary, roles));
});
