//! The whole loop on a real Mesos cluster, in two minutes: `make demo`.
//!
//! It brings up ZooKeeper, three masters, four agents with tasks, and all of
//! Satellite; makes one host's check fail; shows the host leave the whitelist and
//! the offers; heals it; shows it return. Every step is printed when it is seen,
//! and one that does not come within its bound is named and ends the demo with 1.
//!
//! Nothing is told from hearsay: each step is read where it happens, from the
//! Prometheus, the remediator, the file, the framework.

#![expect(clippy::print_stdout, reason = "it is a show on the terminal")]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::Deployment;
use satellite_tests::framework::Offers;
use satellite_tests::run::Run;
use satellite_tests::{layout, satellite, shipped};

/// What the demo promises: from the check's failure to the host off in the file.
const OFF_WITHIN: Duration = Duration::from_secs(60);

/// From the check's repair to the host back in the file.
const BACK_WITHIN: Duration = Duration::from_secs(120);

/// From the file to Mesos: masters read it every 5 s.
const MESOS_WITHIN: Duration = Duration::from_secs(20);

/// How often every step is looked for.
const POLL: Duration = Duration::from_millis(100);

/// The host that falls sick, as an index into the agents.
const PATIENT: usize = 2;

fn main() -> ExitCode {
    let screen = Screen { start: Instant::now(), colours: std::io::stdout().is_terminal() };
    match show(&screen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen.line(Colour::Red, &format!("FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn show(screen: &Screen) -> Result<()> {
    let run = Run::start("demo")?;
    screen.title("A Mesos cluster");
    let cluster = Cluster::start(&run, |step| screen.line(Colour::Plain, step))?;
    screen.title("Satellite beside it");
    let deployment = Deployment::start(&run, &cluster, |step| screen.line(Colour::Plain, step))?;

    let stage = Stage { screen, cluster, deployment };
    let host = stage.cluster.agents[PATIENT].hostname().to_owned();
    screen.title(&format!("{host} falls sick"));
    let fall = stage.fall_sick(&host)?;
    screen.title(&format!("What the remediator says of {host}"));
    for line in stage.deployment.host(&host)?.explain.lines() {
        screen.detail(line);
    }
    screen.title(&format!("{host} is healed"));
    let recovery = stage.recover(&host)?;

    screen.title("Summary");
    screen.table(&format!("seconds after {host} fell sick"), &fall);
    screen.table("seconds after it was healed", &recovery);
    screen.detail(&format!(
        "The intervals were short: scrapes, evaluations, rounds and merges every {}, the shipped\n\
         rules with every duration divided by {}, resend_delay {}, clear_for {}, min_off {}.\n\
         Mesos reads its whitelist every 5 s, as always.",
        shipped::INTERVAL,
        shipped::SPEEDUP,
        shipped::RESEND_DELAY,
        shipped::CLEAR_FOR,
        shipped::MIN_OFF,
    ));
    run.succeed();
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        return stage.leave_running(&run);
    }
    Ok(())
}

/// The stage with everything on it. Satellite ends before the cluster.
struct Stage<'a> {
    screen: &'a Screen,
    deployment: Deployment,
    cluster: Cluster,
}

/// A step that is looked for until it is seen.
struct Step<'a> {
    name: &'static str,
    within: Duration,
    /// `Some` with a remark, once it has happened.
    look: Box<dyn FnMut() -> Result<Option<String>> + 'a>,
}

impl<'a> Step<'a> {
    fn new(
        name: &'static str,
        within: Duration,
        look: impl FnMut() -> Result<Option<String>> + 'a,
    ) -> Self {
        Self { name, within, look: Box::new(look) }
    }
}

/// A step that was seen, and when, from the start of its scene.
struct Seen {
    name: &'static str,
    after: Duration,
}

impl Stage<'_> {
    fn fall_sick(&self, host: &str) -> Result<Vec<Seen>> {
        let (deployment, cluster) = (&self.deployment, &self.cluster);
        let begin = Timestamp::now();
        deployment.make_sick(host)?;
        let steps = vec![
            Step::new("check failed", OFF_WITHIN, || happened(!deployment.check_ok(host)?)),
            Step::new("alert pending", OFF_WITHIN, || {
                happened(
                    deployment.prometheus.alert_state("HostCheckFailed", "host", host)?.is_some(),
                )
            }),
            Step::new("alert firing", OFF_WITHIN, || {
                let state = deployment.prometheus.alert_state("HostCheckFailed", "host", host)?;
                happened(state.as_deref() == Some("firing"))
            }),
            Step::new("webhook delivered", OFF_WITHIN, || {
                happened(deployment.has_delivery("HostCheckFailed", begin)?)
            }),
            Step::new("host off in the file", OFF_WITHIN, || {
                let hosts = satellite::whitelist(cluster.whitelist())?;
                let listed = hosts.iter().any(|listed| listed == host);
                Ok((!listed).then(|| format!("it lists {}", hosts.join(" "))))
            }),
            Step::new("no more offers", OFF_WITHIN + MESOS_WITHIN, || {
                let silence = cluster.not_offered(host)?;
                Ok(silence.map(|silence| {
                    format!("its last was {silence:.1} s before the newest of the others")
                }))
            }),
        ];
        self.watch(steps)
    }

    fn recover(&self, host: &str) -> Result<Vec<Seen>> {
        let (deployment, cluster) = (&self.deployment, &self.cluster);
        let before: Offers = cluster.framework.offers_of(host)?;
        deployment.heal(host)?;
        let steps = vec![
            Step::new("check well", BACK_WITHIN, || happened(deployment.check_ok(host)?)),
            Step::new("alert gone", BACK_WITHIN, || {
                happened(
                    deployment.prometheus.alert_state("HostCheckFailed", "host", host)?.is_none(),
                )
            }),
            Step::new("verdict on", BACK_WITHIN, || happened(deployment.host(host)?.state == "on")),
            Step::new("host back in the file", BACK_WITHIN, || {
                let hosts = satellite::whitelist(cluster.whitelist())?;
                let listed = hosts.iter().any(|listed| listed == host);
                Ok(listed.then(|| format!("it lists {}", hosts.join(" "))))
            }),
            Step::new("offers again", BACK_WITHIN + MESOS_WITHIN, || {
                happened(cluster.framework.offers_of(host)?.count > before.count)
            }),
        ];
        self.watch(steps)
    }

    /// Looks for all steps until each is seen, whatever their order, and prints
    /// each as it comes.
    fn watch(&self, mut steps: Vec<Step<'_>>) -> Result<Vec<Seen>> {
        let start = Instant::now();
        let mut seen = Vec::new();
        while !steps.is_empty() {
            let mut missing = Vec::new();
            for mut step in steps {
                // What cannot be asked is not seen; asked again, it may be.
                let looked = (step.look)();
                let after = start.elapsed();
                if let Ok(Some(remark)) = &looked {
                    self.screen.step(step.name, after, remark);
                    seen.push(Seen { name: step.name, after });
                    continue;
                }
                if after > step.within {
                    let bound = step.within.as_secs();
                    match looked {
                        Err(error) => Err(error)
                            .with_context(|| format!("\"{}\" not within {bound} s", step.name))?,
                        Ok(_) => bail!("\"{}\" not within {bound} s", step.name),
                    }
                }
                missing.push(step);
            }
            steps = missing;
            std::thread::sleep(POLL);
        }
        ensure!(!seen.is_empty(), "there was nothing to see");
        Ok(seen)
    }

    /// Prints where everything is and how to end it, and leaves it running.
    fn leave_running(self, run: &Arc<Run>) -> Result<()> {
        let screen = self.screen;
        screen.title("Left running");
        for master in &self.cluster.masters {
            screen.detail(&format!("Mesos master   {}", master.url()));
        }
        for (exporter, agent) in self.deployment.exporters.iter().zip(&self.cluster.agents) {
            screen.detail(&format!(
                "exporter       {}/metrics ({})",
                exporter.url(),
                agent.hostname()
            ));
        }
        let remediator = self.deployment.remediators[0].url();
        screen.detail(&format!("Prometheus     {}", self.deployment.prometheus.url()));
        screen.detail(&format!("Alertmanager   {}", self.deployment.alertmanager.url()));
        screen.detail(&format!("remediator     {remediator}"));
        screen.detail(&format!("whitelist      {}", self.cluster.whitelist().display()));
        screen.detail(&format!("logs           {}", run.folder().display()));
        let host = self.cluster.agents[PATIENT].hostname();
        screen
            .detail(&format!("sicken {host}:  touch {}", self.deployment.sickness(host).display()));
        screen.detail(&format!(
            "ask:           {} --url={remediator} explain {host}",
            layout::built("satctl")?.display()
        ));
        screen.detail(&format!(
            "end it all:    {} {} </dev/null",
            layout::built("satellite-reaper")?.display(),
            run.folder().display()
        ));
        run.keep_running()?;
        // Dropped, they would end.
        std::mem::forget((self, Arc::clone(run)));
        Ok(())
    }
}

fn happened(yes: bool) -> Result<Option<String>> {
    Ok(yes.then(String::new))
}

/// The terminal, with the time since the start before each line.
struct Screen {
    start: Instant,
    colours: bool,
}

#[derive(Clone, Copy)]
enum Colour {
    Plain,
    Bold,
    Green,
    Red,
}

impl Screen {
    fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => "1",
            Colour::Green => "32",
            Colour::Red => "31",
            Colour::Plain => return text.to_owned(),
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn title(&self, text: &str) {
        println!("\n{}", self.paint(Colour::Bold, text));
    }

    fn line(&self, colour: Colour, text: &str) {
        println!("{:7.1} s  {}", self.start.elapsed().as_secs_f64(), self.paint(colour, text));
    }

    fn step(&self, name: &str, after: Duration, remark: &str) {
        let after = format!("+{:.1} s", after.as_secs_f64());
        let text =
            format!("{} {after:>8}  {remark}", self.paint(Colour::Green, &format!("{name:22}")));
        self.line(Colour::Plain, text.trim_end());
    }

    /// Text without a time.
    fn detail(&self, text: &str) {
        for line in text.lines() {
            println!("           {line}");
        }
    }

    fn table(&self, from: &str, seen: &[Seen]) {
        println!("           {}", self.paint(Colour::Bold, from));
        for Seen { name, after } in seen {
            println!("           {name:22} {:6.1}", after.as_secs_f64());
        }
    }
}
