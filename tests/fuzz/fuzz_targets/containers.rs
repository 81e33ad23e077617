//! A list of containers (`GET_CONTAINERS`, `/containers`, `/monitor/statistics`) and the state
//! of the agent that gives them their names: both of the input, the list first.
#![no_main]

use satellite_exporter::fuzzing;
use satellite_fuzz::{check, two};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (containers, state) = two(input);
    check(fuzzing::agent(state, containers));
});
