//! The binary: arguments, logs, run, exit code.

use std::process::ExitCode;

use satellite_remediator::{Args, run};
use satellite_toolkit::{
    exit::{finish, parse_args},
    logging,
};

/// Rounds over tens of thousands of hosts make and drop very many small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match parse_args::<Args>() {
        Ok(args) => {
            logging::init(&args.log);
            finish("satellite-remediator", run(&args))
        }
        Err(code) => code,
    }
}
