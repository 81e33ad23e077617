//! The exporter's process: flags, logs, the TLS provider, and an exit code.

use std::process::ExitCode;

use anyhow::anyhow;
use satellite_exporter::{Args, run};
use satellite_toolkit::{
    exit::{Failure, finish, parse_args},
    logging,
};

fn main() -> ExitCode {
    let args = match parse_args::<Args>() {
        Ok(args) => args,
        Err(code) => return code,
    };
    logging::init(&args.log);
    // One provider for the whole process; reqwest would not choose one by itself.
    let provider = rustls::crypto::ring::default_provider().install_default();
    let ready = provider.map_err(|_| Failure::Runtime(anyhow!("a TLS provider is there already")));
    finish("satellite-exporter", ready.and_then(|()| run(args)))
}
