//! The binary: arguments, logs, run, exit code.

use std::process::ExitCode;

use satellite_remediator::{Args, run};
use satellite_toolkit::{
    exit::{finish, parse_args},
    logging,
};

fn main() -> ExitCode {
    match parse_args::<Args>() {
        Ok(args) => {
            logging::init(&args.log);
            finish("satellite-remediator", run(&args))
        }
        Err(code) => code,
    }
}
