//! `/metrics/snapshot` of a master or an agent, through the catalogue to an exposition.
#![no_main]

use satellite_exporter::fuzzing;
use satellite_fuzz::check;

libfuzzer_sys::fuzz_target!(|body: &[u8]| check(fuzzing::snapshot(body)));
