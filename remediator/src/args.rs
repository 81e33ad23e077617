//! The command line.

use std::path::PathBuf;

use satellite_toolkit::logging::LogArgs;

/// Takes sick hosts out of the whitelist that the Mesos masters read, and gives
/// them back when they are well.
#[derive(Debug, clap::Parser)]
#[command(name = "satellite-remediator", version)]
pub struct Args {
    /// The configuration, in YAML.
    #[arg(
        long = "config.file",
        env = "SATELLITE_CONFIG_FILE",
        value_name = "FILE",
        default_value = "remediator.yml"
    )]
    pub(crate) config_file: PathBuf,

    /// How it logs.
    #[command(flatten)]
    pub log: LogArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }
}
