//! Ends the processes of a test run when the run is gone; see
//! `satellite_tests::reaper`. By hand, `satellite-reaper RUN_FOLDER </dev/null`
//! ends what a run left behind, or what `KEEP=1 make demo` left running.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: satellite-reaper RUN_FOLDER");
        return ExitCode::from(64);
    };
    match satellite_tests::reaper::guard(Path::new(&folder), std::io::stdin()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("satellite-reaper: {error:#}");
            ExitCode::FAILURE
        }
    }
}
