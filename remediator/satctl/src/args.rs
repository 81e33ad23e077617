//! The command line: texts into types, and nothing else. What is wrong here ends with exit code 64
//! before anything is asked of anyone.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use url::Url;

use crate::source::Source;

/// How long an import of very many hosts may take: the remediator gives up no sooner.
const IMPORT_TAKES: Duration = Duration::from_secs(65);

/// The heading of the options that stand apart from a command's own.
const EVERY_COMMAND: &str = "Options of every command";

const AFTER_HELP: &str = "\
Examples:
  satctl hosts --state off                       what is out of the whitelist, since when and why
  satctl explain node7.example.com               why it is on or off, and what it waits for
  satctl off node7.example.com --reason 'new disk, CHG-1234' --ttl 4h
  satctl clear node7.example.com                 give it back to automation
  satctl journal --host node7.example.com --since 1d
  satctl pause --reason 'switch swap, CHG-1234' --ttl 1h
  satctl resume

HOST is the name an agent registers with, exactly as Mesos shows it.
Durations are written 30s, 5m, 1h30m, 7d.

Exit code: 0 done, 1 not done (the reason is on stderr), 64 wrong command line or configuration.";

/// See what Satellite's remediator does with the hosts of a Mesos cluster, and overrule it.
#[derive(Debug, Parser)]
#[command(name = "satctl", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Args {
    /// Where the remediator listens
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        env = "SATCTL_URL",
        default_value = "http://127.0.0.1:5001",
        value_name = "URL",
        value_parser = parse_url,
        hide_env_values = true // a URL may carry a password
    )]
    pub(crate) url: Url,

    #[command(flatten)]
    pub(crate) access: Access,

    /// Print the remediator's answer as it is
    #[arg(long, global = true, help_heading = EVERY_COMMAND)]
    pub(crate) json: bool,

    /// How long to wait for each answer
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        default_value = "10s",
        value_name = "DURATION",
        value_parser = parse_duration
    )]
    pub(crate) timeout: Duration,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How the remediator is spoken to. What is secret stands in files: a command line is seen by
/// everybody on the machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// A file that holds the token to authenticate with, alone on its first line
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        env = "SATCTL_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// The user of the remediator's web configuration to authenticate as; needs --password-file
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        env = "SATCTL_USER",
        value_name = "NAME"
    )]
    pub(crate) user: Option<String>,

    /// A file that holds the password of --user, alone on its first line
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        env = "SATCTL_PASSWORD_FILE",
        value_name = "FILE"
    )]
    pub(crate) password_file: Option<PathBuf>,

    /// A file with the certificates, in PEM, that the remediator's must be signed by; without it those of the system
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        env = "SATCTL_CA_FILE",
        value_name = "FILE"
    )]
    pub(crate) ca_file: Option<PathBuf>,

    /// A file with a certificate and its key, both in PEM, to show to a remediator that demands one
    #[arg(
        long,
        global = true,
        help_heading = EVERY_COMMAND,
        env = "SATCTL_CERT_FILE",
        value_name = "FILE"
    )]
    pub(crate) cert_file: Option<PathBuf>,
}

impl Access {
    /// What is missing, or too much.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match (&self.user, &self.password_file, &self.token_file) {
            (Some(_), None, _) => Some("--user needs --password-file (SATCTL_PASSWORD_FILE)"),
            (None, Some(_), _) => Some("--password-file needs --user (SATCTL_USER)"),
            (Some(_), Some(_), Some(_)) => Some("give either --user or --token-file"),
            _ => None,
        }
    }
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Ask(Request),

    /// Check a remediator.yml: every problem, and what is legal and unwise
    ///
    /// Asks nobody: neither the remediator nor any peer has to be there. Problems go to stderr and
    /// end with exit code 64, as they would end a remediator; advice goes to stdout and is no
    /// failure.
    #[command(after_help = "\
Examples:
  satctl check-config /etc/satellite/remediator.yml && systemctl reload satellite-remediator")]
    CheckConfig {
        /// The file
        file: PathBuf,
    },

    /// See that a whitelist is there before a Mesos master starts
    ///
    /// For ExecStartPre= of mesos-master, which without the file makes offers to every agent, and
    /// with an empty one to none. A file that lists hosts is left as it is, and nobody is asked.
    /// One that is missing, or says `bootstrap.invalid` alone, is written with the remediator's
    /// list. One that is empty or no list is for a person to judge: exit code 1.
    #[command(after_help = "\
Examples:
  satctl guard-whitelist /var/lib/satellite/whitelist
  satctl --url https://remediator.example.com:5001 guard-whitelist /etc/mesos/whitelist --bootstrap")]
    GuardWhitelist(Guard),
}

impl Command {
    /// How long to wait for each answer, where `timeout` was asked for.
    pub(crate) fn timeout(&self, timeout: Duration) -> Duration {
        match self {
            Self::Ask(Request::Import(_)) => timeout.max(IMPORT_TAKES),
            _ => timeout,
        }
    }
}

/// What is to be guarded, and how far that may go.
#[derive(Debug, clap::Args)]
pub(crate) struct Guard {
    /// The file of the master's --whitelist
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Where there is no list to be had, write one of nobody, so that the master starts and makes
    /// no offers until the remediator has written its list
    #[arg(long)]
    pub(crate) bootstrap: bool,

    /// How long to wait for the remediator's list
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) wait: Duration,
}

/// What the remediator is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// List the hosts: on or off, since when, and why
    #[command(after_help = "\
Examples:
  satctl hosts
  satctl hosts --state off
  satctl hosts --state on --json | jq -r '.hosts[].host'")]
    Hosts {
        /// Only hosts that are on, or only those that are off
        #[arg(long)]
        state: Option<State>,
    },

    /// Say why a host is on or off, what blocks a change, and when it is looked at next
    Explain {
        /// The host's name
        #[arg(value_parser = parse_host)]
        host: String,
    },

    /// Take a host out of the whitelist, whatever automation thinks of it
    ///
    /// Mesos stops offering the host; what runs there goes on. Automation does not give it back
    /// until the time is over or you say `clear` or `on`. If an older command for the host is still
    /// valid when this one ends, that one applies again.
    #[command(after_help = "\
Examples:
  satctl off node7.example.com --reason 'new disk, CHG-1234' --ttl 4h
  satctl off node7.example.com --reason 'smells of smoke'")]
    Off {
        #[command(flatten)]
        order: Order,

        /// Do it even if fewer hosts than whitelist.min_hosts would be left on
        #[arg(long)]
        force: bool,
    },

    /// Put a host into the whitelist, whatever automation thinks of it
    ///
    /// Alerts that fire for the host are set aside until the time is over or you say `clear` or
    /// `off`. What fires then must pass every check again before the host goes off.
    #[command(after_help = "\
Examples:
  satctl on node7.example.com --reason 'false alarm of the fan sensor' --ttl 1d")]
    On {
        #[command(flatten)]
        order: Order,
    },

    /// Take back every `on` and `off` said for a host: automation decides again
    ///
    /// A host that only a person held off is given back at once.
    Clear {
        /// The host's name
        #[arg(value_parser = parse_host)]
        host: String,

        /// Do it even if fewer hosts than whitelist.min_hosts would be left on
        #[arg(long)]
        force: bool,
    },

    /// Let automation rest: nobody is taken off until the time is over or you say `resume`
    ///
    /// What is off stays off and returns when it is well. People's commands go on as ever. A pause
    /// replaces the one before it.
    #[command(after_help = "\
Examples:
  satctl pause --reason 'switch swap, CHG-1234' --ttl 1h
  satctl pause --all --reason 'moving Prometheus'")]
    Pause {
        /// Give nobody back either: the whitelist changes by people's commands alone
        #[arg(long)]
        all: bool,

        /// Why: shown to everyone who asks
        #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
        reason: String,

        /// For how long; without it 4h. A pause always ends
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        ttl: Option<Duration>,
    },

    /// End a pause, and a storm too: you have looked, and automation may go on
    ///
    /// Hosts that fell sick before this make no storm any more. They are taken off within the
    /// budget. Where automation rests since the clock is behind what is recorded, this says that
    /// the clock is right.
    Resume,

    /// Remove a host that Mesos no longer lists, with all that is known of it
    ///
    /// A host that Mesos lists is refused: it would be back at once, as a new one. Stop its agent
    /// first, or say `off`.
    Forget {
        /// The host's name
        #[arg(value_parser = parse_host)]
        host: String,
    },

    /// Bring along who is on, from a whitelist, the predecessor, or another remediator
    ///
    /// SOURCE is a whitelist, one host a line; hosts with their documents in JSON, as `GET
    /// /whitelist/all` of the predecessor and of a remediator gives them; or the tree of either in
    /// ZooKeeper, which is only read.
    ///
    /// A whitelist says of everybody whether it is on. Documents speak of the hosts that they name,
    /// and bring what people said. Whoever is not on by that is `imported`, and stays off until
    /// `satctl on`. What an alert holds off stays off. Twice is the same as once.
    #[command(after_help = "\
Examples:
  satctl import zookeeper://zk1:2181,zk2:2181/satellite --dry-run     Two Sigma's Satellite
  satctl import zookeeper://zk1:2181 --dry-run                        its first generation
  satctl import /etc/mesos/whitelist --reason 'list of CHG-1234'
  curl -s http://old:5001/whitelist/all | satctl import - --dry-run
  satctl import --all-on --reason 'all were looked at, CHG-1234'")]
    Import(Import),

    /// Say how the remediator is: sources, holds, storm, pause, budget, whitelist
    Status,

    /// Show what was done and said, newest first
    #[command(after_help = "\
Examples:
  satctl journal --limit 20
  satctl journal --host node7.example.com --since 2d
  satctl journal --since 2026-11-21T08:00:00Z --json")]
    Journal {
        /// Only this host
        #[arg(long, value_parser = parse_host)]
        host: Option<String>,

        /// Only what is younger than a duration (2d) or than a time (2026-11-21T08:00:00Z)
        #[arg(long, value_name = "DURATION|TIME", value_parser = parse_since)]
        since: Option<Since>,

        /// At most so many records
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
}

/// What is brought along, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// A file, - for stdin, or zookeeper://HOST:PORT[,HOST:PORT…]/PATH
    #[arg(value_name = "SOURCE", required_unless_present = "all_on", conflicts_with = "all_on")]
    pub(crate) source: Option<Source>,

    /// Instead of a source: end every `imported`, so that who was out when Satellite began is on
    #[arg(long, requires = "reason")]
    pub(crate) all_on: bool,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Do it even if fewer hosts than whitelist.min_hosts would be left on
    #[arg(long)]
    pub(crate) force: bool,

    /// Why: shown to everyone who asks; without it, from where
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub(crate) reason: Option<String>,

    /// A file with USER:PASSWORD of ZooKeeper's, where the tree is not open to all
    #[arg(long, value_name = "FILE", requires = "source")]
    pub(crate) zookeeper_auth_file: Option<PathBuf>,
}

/// What a person says about a host.
#[derive(Debug, clap::Args)]
pub(crate) struct Order {
    /// The host's name
    #[arg(value_parser = parse_host)]
    pub(crate) host: String,

    /// Why: shown to everyone who asks about the host
    #[arg(long, value_name = "TEXT", value_parser = parse_reason)]
    pub(crate) reason: String,

    /// For how long; without it, until it is cleared
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) ttl: Option<Duration>,
}

/// Whether a host is in the whitelist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// In the whitelist
    On,
    /// Out of it
    Off,
}

impl State {
    /// As the API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// From when on the journal is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// So long before now.
    Ago(Duration),
    /// That moment.
    At(Timestamp),
}

impl Since {
    /// The moment itself; the beginning of time for a duration that reaches beyond it.
    pub(crate) fn timestamp(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(duration) => now.checked_sub(duration).unwrap_or(Timestamp::MIN),
            Self::At(time) => time,
        }
    }
}

fn parse_url(text: &str) -> Result<Url, String> {
    let example = "write a URL such as http://127.0.0.1:5001";
    let url = Url::parse(text).map_err(|error| format!("{error}; {example}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(example.to_owned());
    }
    Ok(url)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = satellite_config::read_duration(text)?;
    // The remediator counts in seconds; less would be no time at all.
    if duration < Duration::from_secs(1) {
        return Err("it must be 1s or more".to_owned());
    }
    Ok(duration)
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(time) = text.parse() {
        return Ok(Since::At(time));
    }
    parse_duration(text).map(Since::Ago).map_err(|_| {
        "write a duration (30m, 2d) or a time with its zone (2026-11-21T08:00:00Z)".to_owned()
    })
}

/// The remediator judges host names. Only what would change the path of the URL is refused here.
fn parse_host(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("it is not the name of a host".to_owned()),
        host => Ok(host.to_owned()),
    }
}

fn parse_reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why, for those who find it like this".to_owned()),
        reason => Ok(reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let at = |text| parse_since(text).unwrap().timestamp(now).to_string();
        assert_eq!(at("1h30m"), "2026-11-21T10:30:00Z");
        assert_eq!(at("2026-11-20T09:00:00+01:00"), "2026-11-20T08:00:00Z");
        assert!(parse_since("yesterday").is_err());
    }
}
