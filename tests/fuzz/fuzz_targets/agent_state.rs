//! An agent's `/state`: who it is, and how its containers are called, which a recorded agent
//! has listed.
#![no_main]

use satellite_exporter::fuzzing;
use satellite_fuzz::check;
use satellite_mesos::wire::agent_state::parse_agent_state;

const CONTAINERS: &[u8] =
    include_bytes!("../../../exporter/tests/fixtures/agent_v1_get_containers.json");

libfuzzer_sys::fuzz_target!(|state: &[u8]| {
    // Of a state that cannot be read nothing is new.
    if parse_agent_state(state).is_ok() {
        check(fuzzing::agent(state, CONTAINERS));
    }
});
