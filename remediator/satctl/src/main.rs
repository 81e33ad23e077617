//! The operator's command line for the Satellite remediator.
//!
//! It asks the remediator's HTTP API and prints the answer. It decides nothing, keeps nothing and
//! has no way to change the store or the whitelist but that API, so that what is done here passes the same
//! checks and lands in the same journal as everything else.
//!
//! `import` reads what another program has left, in a file or in ZooKeeper, before it asks.
//!
//! Two commands are not like this. `check-config` asks nobody: it reads a file as the remediator
//! would. `guard-whitelist` writes a whitelist, but only where there is none, and only what the
//! remediator says is in its own.
//!
//! Exit code 0: done. 1: not done, one line on stderr says why. 64: the command line is wrong, or
//! the configuration that was to be checked.

mod answer;
mod api;
mod args;
mod commands;
mod guard;
mod output;
mod source;
mod text;
mod trees;

use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::api::Api;
use crate::args::{Args, Command};

/// `EX_USAGE` of sysexits.h: repeating the command as it is cannot help.
const EXIT_USAGE: u8 = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let parsed = Args::try_parse().and_then(|args| match args.access.problem() {
        Some(problem) => Err(Args::command().error(ErrorKind::ArgumentConflict, problem)),
        None => Ok(args),
    });
    let args = match parsed {
        Ok(args) => args,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            error.print().ok();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let Args { url, access, json, timeout, command } = args;
    let timeout = command.timeout(timeout);
    let connect = || {
        rustls::crypto::ring::default_provider()
            .install_default()
            .expect("nothing before main installs a provider");
        Api::new(url, &access, commands::login_name(), timeout)
    };
    let done = match command {
        Command::CheckConfig { file } => return check_config(&file),
        Command::GuardWhitelist(order) => guard::guard(&order, connect).await,
        Command::Ask(request) => match connect() {
            Ok(api) => commands::ask(&api, request, json).await,
            Err(error) => Err(error.into()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Checks a remediator's configuration file: advice and what is not yet
/// in force to stdout, every problem to stderr.
fn check_config(file: &Path) -> ExitCode {
    let told = match satellite_config::advise(file) {
        Ok((config, advice)) => {
            output::print(text::checked(file, &advice, &config.not_in_force).as_bytes())
        }
        Err(problems) => {
            for problem in problems {
                output::complain(&anyhow::Error::msg(problem));
            }
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&anyhow::Error::new(error).context("cannot write to stdout"));
            ExitCode::FAILURE
        }
    }
}
