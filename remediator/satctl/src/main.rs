//! The operator's command line for the Satellite remediator.
//!
//! It asks the remediator's HTTP API and prints the answer. It decides nothing, keeps nothing and
//! has no way to the store or the whitelist but that API, so that what is done here passes the same
//! checks and lands in the same journal as everything else.
//!
//! Exit code 0: done. 1: not done, one line on stderr says why. 64: the command line is wrong.

mod answer;
mod api;
mod args;
mod commands;
mod output;
mod text;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;

/// `EX_USAGE` of sysexits.h: repeating the command as it is cannot help.
const EXIT_USAGE: u8 = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing before main installs a provider");
    match commands::run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}
