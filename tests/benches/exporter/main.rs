//! What a scrape of the exporter takes of CPU, memory and time: the release build,
//! scraped over HTTP, of a Mesos of documents in memory.
//!
//!     make bench
//!
//! Beside each figure stands its [`floor`], taken in turns with it, which is what the
//! same series cost a program that does nothing else. Both do the same on any machine
//! and at any load, so that their ratio can be compared and the times cannot. Beside
//! them stands what mesos_exporter 1.1.2 took, once, for documents of the same sizes.
//!
//! Each scrape comes rested: the exporter asks for a snapshot at most twice a second,
//! as Mesos answers it, and a scrape that comes earlier waits.
//!
//! A plain program and no part of the tests: it asserts nothing of its figures.
//!
//! For a profiler, `cargo bench --bench exporter -- mesos CASE` serves the documents of
//! one of the cases alone: `agent`, `figures`, `agents` or `everything`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod catalogue;
mod fake;
mod floor;

use std::{
    env, fs,
    net::Ipv4Addr,
    process::{Command, ExitCode},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reqwest::blocking::Client;
use satellite_tests::{layout, process::Process, run::Run, satellite::Daemon};

use catalogue::Naming;
use fake::Documents;

const CONTAINERS: usize = 1_000;
const AGENTS: usize = 10_000;
const TASKS: usize = 50_000;

/// CPU time is counted in ticks, and so measured over the scrapes of a batch.
const BATCHES: usize = 3;
const SCRAPES: usize = 10;
/// USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;
/// What a scrape may have to wait for the one before it, and a little.
const REST: Duration = Duration::from_millis(550);

/// The last octets of the addresses.
const MESOS_HOST: u8 = 11;
const EXPORTER_HOST: u8 = 33;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    // cargo adds a flag of its own.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    match &*arguments.iter().map(String::as_str).collect::<Vec<_>>() {
        ["floor", case, mesos, answer] => floor::run(Case::named(case)?, mesos, answer),
        ["mesos", case] => {
            println!("{}", Case::named(case)?.documents()?.serve(Ipv4Addr::LOCALHOST)?);
            loop {
                thread::park();
            }
        }
        cases => measure_all(cases),
    }
}

/// Measures these cases; all where none is named.
fn measure_all(cases: &[&str]) -> Result<()> {
    for program in ["satellite-exporter", "satellite-reaper"] {
        let found = layout::built(program).is_ok();
        ensure!(found, "the release build of {program} is not here: run `make bench`");
    }
    // No client can be made without one, though nothing here is encrypted.
    let provider = rustls::crypto::ring::default_provider().install_default();
    ensure!(provider.is_ok(), "there is a TLS provider already");
    let run = Run::start("bench-exporter")?;
    let mut rows = Vec::new();
    for case in Case::ALL {
        if cases.is_empty() || cases.contains(&case.name()) {
            rows.extend(measure(&run, case)?);
        }
    }
    print(&rows);
    run.succeed();
    Ok(())
}

/// What is scraped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// An agent's own figures and its containers'.
    Agent,
    /// A master by mesos_exporter's names, with the twelve figures that it has of each agent.
    Figures,
    /// All that a master knows of its agents, and nothing else.
    Agents,
    /// All that a master has.
    Everything,
}

impl Case {
    const ALL: [Self; 4] = [Self::Agent, Self::Figures, Self::Agents, Self::Everything];

    fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Figures => "figures",
            Self::Agents => "agents",
            Self::Everything => "everything",
        }
    }

    fn named(name: &str) -> Result<Self> {
        let case = Self::ALL.into_iter().find(|case| case.name() == name);
        case.with_context(|| format!("{name} is no case"))
    }

    fn described(self) -> String {
        match self {
            Self::Agent => format!("agent, {CONTAINERS} containers"),
            Self::Figures => format!("master, {AGENTS} agents, names=mesos_exporter"),
            Self::Agents => format!("master, {AGENTS} agents, collect[]=cluster_agents"),
            Self::Everything => format!("master, {AGENTS} agents, everything"),
        }
    }

    fn documents(self) -> Result<Documents> {
        match self {
            Self::Agent => Documents::of_agent(CONTAINERS),
            _ => Documents::of_master(AGENTS, TASKS),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Agent | Self::Everything => "/metrics",
            Self::Figures => "/metrics?names=mesos_exporter",
            Self::Agents => "/metrics?collect[]=cluster_agents",
        }
    }

    fn naming(self) -> Naming {
        if self == Self::Figures { Naming::MesosExporter } else { Naming::Native }
    }

    /// Whose snapshot is asked for, in the catalogue's words.
    fn snapshot(self) -> Option<&'static str> {
        match self {
            Self::Agent => Some("agent"),
            Self::Figures | Self::Everything => Some("master"),
            Self::Agents => None,
        }
    }

    /// What the bulk of the answer is about, in the catalogue's words.
    fn component(self) -> &'static str {
        if self == Self::Agent { "container" } else { "cluster_agent" }
    }

    /// What is known and wanted of CPU milliseconds and megabytes: mesos_exporter's, at most,
    /// and aimed at.
    fn known(self) -> [[&'static str; 3]; 2] {
        match self {
            Self::Agent => [["310", "30", "1.5 x floor"], ["95", "30", "20"]],
            Self::Figures => [["3100", "150", "1.5 x floor"], ["936", "120", "60"]],
            Self::Agents | Self::Everything => [["", "", "1.5 x floor"], ["", "", ""]],
        }
    }
}

/// One line of the table.
struct Row {
    what: String,
    exporter: f64,
    floor: Option<f64>,
    /// mesos_exporter's figure, what it must not exceed, what it aims at.
    known: [&'static str; 3],
}

impl Row {
    fn new(case: Case, what: &str, exporter: f64, known: [&'static str; 3]) -> Self {
        Self { what: format!("{}, {what}", case.described()), exporter, floor: None, known }
    }

    fn beside(self, floor: f64) -> Self {
        Self { floor: Some(floor), ..self }
    }
}

/// Nothing is known or wanted of a figure.
const NOTHING: [&str; 3] = [""; 3];

/// Who is scraped.
struct Scraped<'a> {
    client: Client,
    url: String,
    process: &'a Process,
}

impl Scraped<'_> {
    /// The answer, and how long it took in milliseconds.
    fn scrape(&self, encoding: &str) -> Result<(Vec<u8>, f64)> {
        let request = self.client.get(&self.url).header("accept-encoding", encoding);
        let sent = Instant::now();
        let response = request.send().context("scrape")?;
        ensure!(response.status() == 200, "a scrape was answered with {}", response.status());
        let body = response.bytes().context("read an answer")?;
        Ok((body.into(), sent.elapsed().as_secs_f64() * 1e3))
    }

    /// Seconds of CPU time that the process has used so far.
    fn cpu(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name of a program may hold spaces and brackets; times come after it.
        let (_, fields) = stat.rsplit_once(") ").context("a process has no times")?;
        let times: Vec<f64> =
            fields.split(' ').skip(11).take(2).filter_map(|it| it.parse().ok()).collect();
        Ok(times.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// The most megabytes that it has had in memory so far.
    fn peak(&self) -> Result<f64> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.context("a process has no peak")?.parse()?;
        Ok(kilobytes / 1024.0)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.process.id()?);
        fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }
}

fn measure(run: &Arc<Run>, case: Case) -> Result<Vec<Row>> {
    let documents = case.documents()?;
    println!("{}: {}", case.described(), documents.sizes());
    let mesos = documents.serve(run.ip(MESOS_HOST))?;
    let name = format!("exporter-{}", case.name());
    let kind = if case == Case::Agent { "agent" } else { "master" };
    let arguments = [
        format!("--mesos.{kind}=http://{mesos}"),
        format!("--web.listen-address={}:0", run.ip(EXPORTER_HOST)),
    ];
    let daemon = Daemon::start(run, &name, "satellite-exporter", &arguments)?;
    let client = Client::builder().no_gzip().no_proxy().build().context("make a client")?;
    let url = format!("{}{}", daemon.url(), case.path());
    let exporter = Scraped { client: client.clone(), url, process: &daemon.process };
    exporter.scrape("identity")?;
    thread::sleep(REST);
    let (answer, _) = exporter.scrape("identity")?;

    let file = run.peer_folder(&name)?.join("answer");
    fs::write(&file, &answer).context("keep the answer")?;
    let mut command = Command::new(env::current_exe().context("find this program")?);
    command.args(["floor", case.name(), &mesos.to_string()]).arg(file);
    let mut process = Process::spawn(run, &format!("floor-{}", case.name()), command)?;
    let address = process.wait_until("the floor to listen", REST * 10, |process| {
        let output = process.output()?;
        Ok(output.strip_suffix('\n').context("it has printed nothing")?.to_owned())
    })?;
    let floor = Scraped { client, url: format!("http://{address}"), process: &process };
    let (least, _) = floor.scrape("identity")?;
    println!(
        "{} series in {} bytes; the floor sends {} in {}, of which {} are the same",
        series(&answer).len(),
        answer.len(),
        series(&least).len(),
        least.len(),
        same(&answer, &least),
    );
    let mut rows = compared(case, &exporter, &floor)?;
    rows.extend(compressed(case, &exporter, answer.len())?);
    rows.extend(at_once(case, &exporter)?);
    Ok(rows)
}

/// What stands before the values of an answer, sorted.
fn series(answer: &[u8]) -> Vec<&str> {
    let text = str::from_utf8(answer).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<_> = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    series.sort_unstable();
    series
}

fn same(one: &[u8], other: &[u8]) -> usize {
    let other = series(other);
    series(one).iter().filter(|series| other.binary_search(series).is_ok()).count()
}

/// Scrapes without compression, in turns with the floor.
fn compared(case: Case, exporter: &Scraped<'_>, floor: &Scraped<'_>) -> Result<Vec<Row>> {
    let both = [exporter, floor];
    let mut cpu = [Vec::new(), Vec::new()];
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..BATCHES {
        let before = [exporter.cpu()?, floor.cpu()?];
        for _ in 0..SCRAPES {
            thread::sleep(REST);
            for (scraped, times) in both.iter().zip(&mut times) {
                times.push(scraped.scrape("identity")?.1);
            }
        }
        for ((scraped, cpu), before) in both.iter().zip(&mut cpu).zip(before) {
            cpu.push((scraped.cpu()? - before) * 1e3 / SCRAPES as f64);
        }
    }
    let [of_cpu, of_memory] = case.known();
    let [cpu, floor_cpu] = cpu.map(median);
    let [time, floor_time] = times.map(median);
    Ok(vec![
        Row::new(case, "CPU ms", cpu, of_cpu).beside(floor_cpu),
        Row::new(case, "rested scrape ms", time, NOTHING).beside(floor_time),
        Row::new(case, "peak MB", exporter.peak()?, of_memory).beside(floor.peak()?),
    ])
}

/// Scrapes with gzip.
fn compressed(case: Case, exporter: &Scraped<'_>, plain: usize) -> Result<Vec<Row>> {
    let mut size = 0;
    let before = exporter.cpu()?;
    for _ in 0..SCRAPES {
        thread::sleep(REST);
        size = exporter.scrape("gzip")?.0.len();
    }
    let cpu = (exporter.cpu()? - before) * 1e3 / SCRAPES as f64;
    let mut rows = vec![Row::new(case, "CPU ms with gzip", cpu, NOTHING)];
    if case == Case::Agent {
        let each = |bytes: usize| bytes as f64 / CONTAINERS as f64 / 1e3;
        let known = [["6.4", "5.0", ""], ["1.0", "1.2", ""]];
        rows.push(Row::new(case, "kB per container", each(plain), known[0]));
        rows.push(Row::new(case, "kB per container with gzip", each(size), known[1]));
    } else {
        rows.push(Row::new(case, "kB with gzip", size as f64 / 1e3, NOTHING));
    }
    Ok(rows)
}

/// Two scrapes at the same moment, as of a pair of Prometheus servers.
fn at_once(case: Case, exporter: &Scraped<'_>) -> Result<Vec<Row>> {
    let mut times = Vec::new();
    let before = exporter.cpu()?;
    for _ in 0..SCRAPES {
        thread::sleep(REST);
        let both = thread::scope(|scope| {
            let scrapers = [(); 2].map(|()| scope.spawn(|| exporter.scrape("identity")));
            scrapers.map(|it| it.join().expect("a scraper does not panic"))
        });
        for answer in both {
            times.push(answer?.1);
        }
    }
    let cpu = (exporter.cpu()? - before) * 1e3 / SCRAPES as f64;
    let (of_time, of_memory) = match case {
        Case::Figures => (["10030", "", ""], ["1425", "", ""]),
        _ => (NOTHING, NOTHING),
    };
    Ok(vec![
        Row::new(case, "two at once, CPU ms of both", cpu, NOTHING),
        Row::new(case, "two at once, ms", median(times), of_time),
        Row::new(case, "two at once, peak MB", exporter.peak()?, of_memory),
    ])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    println!(
        "{:width$}  {:>8}  {:>8}  {:>7}  {:>14}  {:>4}  {:>11}",
        "", "exporter", "floor", "x floor", "mesos_exporter", "must", "aim"
    );
    for Row { what, exporter, floor, known: [old, must, aim] } in rows {
        let [floor, ratio] = match floor {
            Some(floor) => [format!("{floor:.1}"), format!("{:.2}", exporter / floor)],
            None => Default::default(),
        };
        println!(
            "{what:width$}  {exporter:>8.1}  {floor:>8}  {ratio:>7}  {old:>14}  {must:>4}  {aim:>11}"
        );
    }
}
