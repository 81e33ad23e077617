//! Flags and environment, and what they mean.
//!
//! [`Args`] is what clap read: text. [`Config`] is what the daemon runs by: nothing in it
//! can still be wrong. Between them every problem is found before any port is bound, and
//! all of them are told at once.

use std::{path::PathBuf, time::Duration};

use clap::{
    Arg, ArgAction, ArgMatches, Command, FromArgMatches, Parser, ValueEnum,
    builder::FalseyValueParser, parser::ValueSource,
};
use satellite_mesos::{Client, ClientBuildError, ClientOptions};
use satellite_toolkit::{exit::Failure, logging::LogArgs, serve::split_address, web::Web};
use satellite_yaml::Problem;
use url::Url;

use crate::{
    access::AccessArgs,
    catalogue::Naming,
    config::FileConfig,
    groups::{Described, GROUPS, Groups},
    scrape::Wanted,
};

/// Mesos master, agent and task container metrics, and host checks, for Prometheus.
///
/// One runs on every node. Every flag can also be given by the environment variable that
/// is named with it.
#[derive(Parser, Clone, Debug)]
#[command(name = "satellite-exporter", version, max_term_width = 100)]
pub struct Args {
    /// Address of the node's Mesos master, such as http://127.0.0.1:5050
    #[arg(long = "mesos.master", env = "SATELLITE_MESOS_MASTER", value_name = "URL")]
    master: Option<String>,

    /// Address of the node's Mesos agent, such as http://127.0.0.1:5051
    #[arg(long = "mesos.agent", env = "SATELLITE_MESOS_AGENT", value_name = "URL")]
    agent: Option<String>,

    /// How long Mesos may take to answer; less where Prometheus waits less
    #[arg(
        long = "mesos.timeout",
        env = "SATELLITE_MESOS_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s"
    )]
    timeout: String,

    /// How Mesos is got into.
    #[command(flatten)]
    access: AccessArgs,

    /// Address to listen on, HOST:PORT or :PORT; port 0 picks a free one
    #[arg(
        long = "web.listen-address",
        env = "SATELLITE_WEB_LISTEN_ADDRESS",
        value_name = "ADDRESS",
        default_value = ":9105"
    )]
    listen_address: String,

    /// Path at which the metrics are served
    #[arg(
        long = "web.telemetry-path",
        env = "SATELLITE_WEB_TELEMETRY_PATH",
        value_name = "PATH",
        default_value = "/metrics"
    )]
    telemetry_path: String,

    /// File with TLS, client certificates, users and headers, in exporter-toolkit's format
    #[arg(long = "web.config.file", env = "SATELLITE_WEB_CONFIG_FILE", value_name = "FILE")]
    web_config_file: Option<PathBuf>,

    /// YAML file with host checks, and which task labels and agent attributes are told;
    /// reloaded by SIGHUP or POST /-/reload
    #[arg(long = "config.file", env = "SATELLITE_CONFIG_FILE", value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Which names the metrics have; a scrape may ask for the others with ?names=
    #[arg(
        long = "metrics.names",
        env = "SATELLITE_METRICS_NAMES",
        value_name = "NAMES",
        default_value = "native"
    )]
    names: MetricNames,

    /// Which groups are collected.
    #[command(flatten)]
    collectors: CollectorArgs,

    /// Where and how to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// A pair of flags for each group, as node_exporter has them for its collectors:
/// `--collector.NAME` and `--no-collector.NAME`, and `--collector.disable-defaults`.
#[derive(Clone, Debug, Default)]
struct CollectorArgs {
    groups: Groups,
}

const DISABLE_DEFAULTS: &str = "collector.disable-defaults";

impl clap::Args for CollectorArgs {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &str| {
            let arg = Arg::new(name.to_owned()).long(name.to_owned());
            arg.action(ArgAction::SetTrue).help_heading("Groups of series")
        };
        let disable = flag(DISABLE_DEFAULTS)
            .env("SATELLITE_COLLECTOR_DISABLE_DEFAULTS")
            .value_parser(FalseyValueParser::new())
            .help(
                "Collect only the groups that a flag turns on. Each flag of a group has its \
                 opposite, --no-collector.NAME",
            );
        GROUPS.iter().fold(command.arg(disable), |command, described| {
            let Described { name, is_default, help, .. } = *described;
            let (on, off) = (format!("collector.{name}"), format!("no-collector.{name}"));
            let default = if is_default { "on" } else { "off" };
            let turn_on = flag(&on)
                .env(format!("SATELLITE_COLLECTOR_{}", name.to_uppercase()))
                .value_parser(FalseyValueParser::new())
                .overrides_with(off.clone())
                .help(format!("Collect {help} [default: {default}]"));
            let turn_off = flag(&off).overrides_with(on).hide(true);
            command.arg(turn_on).arg(turn_off)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for CollectorArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let no_defaults = matches.get_flag(DISABLE_DEFAULTS);
        let mut groups = if no_defaults { Groups::default() } else { Groups::defaults() };
        for Described { group, name, .. } in &GROUPS {
            let on = format!("collector.{name}");
            let said = matches.value_source(&on).filter(|it| *it != ValueSource::DefaultValue);
            if matches.get_flag(&format!("no-{on}")) {
                groups.set(*group, false);
            } else if said.is_some() {
                groups.set(*group, matches.get_flag(&on));
            }
        }
        Ok(Self { groups })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum MetricNames {
    /// Satellite's own.
    Native,
    /// Those of mesos_exporter 1.1.2.
    #[value(name = "mesos_exporter")]
    MesosExporter,
}

/// What the daemon runs by.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) master: Option<Url>,
    pub(crate) agent: Option<Url>,
    pub(crate) timeout: Duration,
    /// With what it is let in by.
    pub(crate) client: Client,
    pub(crate) listen_address: String,
    pub(crate) telemetry_path: String,
    pub(crate) web: Web,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) file: FileConfig,
    /// What a scrape brings that does not ask for anything else.
    pub(crate) wanted: Wanted,
}

impl Args {
    /// Judges every flag and reads every file.
    pub(crate) fn into_config(self) -> Result<Config, Failure> {
        let Self {
            master,
            agent,
            timeout,
            access,
            listen_address,
            telemetry_path,
            web_config_file,
            config_file,
            names,
            collectors: CollectorArgs { groups },
            log: _,
        } = self;
        let mut problems = Problems::default();
        if master.is_none() && agent.is_none() {
            problems
                .add("nothing to do: give --mesos.master=URL, --mesos.agent=URL or both".into());
        }
        let master = problems.take("--mesos.master", master.as_deref().map(base_url).transpose());
        let agent = problems.take("--mesos.agent", agent.as_deref().map(base_url).transpose());
        let timeout = problems.take("--mesos.timeout", positive_duration(&timeout));
        let listen = split_address(&listen_address).map_err(|error| error.to_string());
        problems.take("--web.listen-address", listen.map(drop));
        problems.take("--web.telemetry-path", check_path(&telemetry_path));
        let client = client(access, &mut problems)?;
        let web = problems.all(web_config_file.as_deref().map(Web::load).transpose());
        let naming = match names {
            MetricNames::Native => Naming::Native,
            MetricNames::MesosExporter => Naming::MesosExporter,
        };
        let file = problems.all(config_file.as_deref().map(FileConfig::load).transpose());
        match (master, agent, timeout, client) {
            (Some(master), Some(agent), Some(timeout), Some(client)) if problems.0.is_empty() => {
                Ok(Config {
                    master,
                    agent,
                    timeout,
                    client,
                    listen_address,
                    telemetry_path,
                    web: web.unwrap_or_default(),
                    config_file,
                    file: file.unwrap_or_default(),
                    wanted: Wanted { groups, naming },
                })
            }
            _ => Err(Failure::Usage(problems.0)),
        }
    }
}

/// What is wrong, one line each.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        self.0.push(problem);
    }

    /// The value of a flag, or its problem noted down.
    fn take<T>(&mut self, flag: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|problem| self.add(format!("{flag}: {problem}"))).ok()
    }

    /// What a file holds, if one is named, or all of its problems noted down.
    fn all<T>(&mut self, read: Result<Option<T>, Vec<Problem>>) -> Option<T> {
        read.unwrap_or_else(|found| {
            self.0.extend(found.iter().map(ToString::to_string));
            None
        })
    }
}

/// The client for Mesos; `None` where its files are not in order.
fn client(access: AccessArgs, problems: &mut Problems) -> Result<Option<Client>, Failure> {
    let mut options = ClientOptions::default();
    match access.into_options() {
        Ok(access) => options.access = access,
        Err(problem) => {
            problems.add(problem);
            return Ok(None);
        }
    }
    match Client::new(&options) {
        Ok(client) => Ok(Some(client)),
        Err(ClientBuildError::Files(found)) => {
            found.iter().for_each(|problem| problems.add(problem.to_string()));
            Ok(None)
        }
        Err(error) => {
            let error = anyhow::Error::from(error).context("cannot set up the client for Mesos");
            Err(Failure::Runtime(error))
        }
    }
}

/// The address of a Mesos process: http or https, a host, perhaps a port and a path.
fn base_url(text: &str) -> Result<Url, String> {
    let example = "is not a URL such as http://127.0.0.1:5050";
    let url = Url::parse(text).map_err(|error| format!("{text:?} {example}: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("{text:?} {example}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text is not repeated: it holds a secret.
        return Err("credentials do not belong in a URL, where every process can read them".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{text:?} must not have a query or a fragment"));
    }
    Ok(url)
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is not a duration such as 10s: {error}"))?;
    if duration.is_zero() { Err("must be above 0".into()) } else { Ok(duration) }
}

/// A path that can be served beside the page at `/` and what lies below `/-/`.
fn check_path(path: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    if !path.starts_with('/') || !path.chars().all(plain) {
        return Err(format!("{path:?} is not a path such as /metrics"));
    }
    if path == "/" || path == "/-" || path.starts_with("/-/") {
        return Err(format!("{path:?} is taken by the daemon's own pages"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Group;

    fn parsed(flags: &[&str]) -> Result<Config, Vec<String>> {
        // A second test of this process finds it installed already.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let program = std::iter::once(&"satellite-exporter");
        let args = Args::try_parse_from(program.chain(flags)).unwrap();
        args.into_config().map_err(|failure| match failure {
            Failure::Usage(problems) => problems,
            Failure::Runtime(error) => panic!("{error}"),
        })
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn one_address_is_enough() {
        let config = parsed(&["--mesos.agent=http://127.0.0.1:5051"]).unwrap();
        assert_eq!(config.master, None);
        assert_eq!(config.agent.unwrap().as_str(), "http://127.0.0.1:5051/");
        assert_eq!(config.timeout, Duration::from_secs(10));
        assert_eq!(config.listen_address, ":9105");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let problems = parsed(&[
            "--mesos.master=localhost:5050",
            "--mesos.agent=http://u:secret@h",
            "--mesos.timeout=0s",
            "--web.listen-address=9105",
            "--web.telemetry-path=/",
            "--mesos.credentials-file=/nonexistent.json",
            "--mesos.tls.ca-file=/nonexistent.pem",
            "--web.config.file=/nonexistent-web.yml",
            "--config.file=/nonexistent.yml",
        ])
        .unwrap_err();
        let expected = [
            "--mesos.master: \"localhost:5050\" is not a URL such as http://127.0.0.1:5050",
            "--mesos.agent: credentials do not belong in a URL, where every process can read them",
            "--mesos.timeout: must be above 0",
            "--web.listen-address: \"9105\" is not HOST:PORT or :PORT",
            "--web.telemetry-path: \"/\" is taken by the daemon's own pages",
            "/nonexistent.pem: cannot be read: No such file or directory (os error 2)",
            "/nonexistent.json: cannot be read: No such file or directory (os error 2)",
            "/nonexistent-web.yml: cannot be read: No such file or directory (os error 2)",
            "/nonexistent.yml: cannot be read: No such file or directory (os error 2)",
        ];
        assert_eq!(problems, expected);
        assert_eq!(
            parsed(&[]).unwrap_err(),
            ["nothing to do: give --mesos.master=URL, --mesos.agent=URL or both"]
        );
    }

    #[test]
    fn a_certificate_and_its_key_come_together() {
        for (given, missing) in [("cert", "key"), ("key", "cert")] {
            let flag = format!("--mesos.tls.{given}-file=x");
            let problems = parsed(&["--mesos.master=https://h", &flag]).unwrap_err();
            let expected = format!("--mesos.tls.{given}-file: wants --mesos.tls.{missing}-file");
            assert_eq!(problems, [expected]);
        }
    }

    #[test]
    fn groups_are_turned_on_and_off_as_in_node_exporter() {
        let groups = |flags: &[&str]| {
            let flags = [&["--mesos.agent=http://h"], flags].concat();
            parsed(&flags).unwrap().wanted.groups
        };
        let of = |groups: &[Group]| groups.iter().copied().collect::<Groups>();
        assert_eq!(groups(&[]), Groups::defaults());
        assert!(groups(&["--collector.snmp"]).has(Group::Snmp));
        assert!(!groups(&["--no-collector.tasks"]).has(Group::Tasks));
        assert!(groups(&["--no-collector.tasks", "--collector.tasks"]).has(Group::Tasks));
        let only = ["--collector.disable-defaults", "--collector.tasks", "--collector.perf"];
        assert_eq!(groups(&only), of(&[Group::Tasks, Group::Perf]));
    }
}
