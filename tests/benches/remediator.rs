//! What a delivery and a command take, as those see it who wait for them: the
//! release build, asked over HTTP, on this machine's disk.
//!
//!     make bench
//!
//! The leading master is played by this process. Alertmanager and Prometheus are
//! ports that nobody listens on: a blind source changes nothing of what a delivery
//! or a command has to do. Rounds go on as they do anywhere, and each delivery and
//! each command wakes one, so that with many hosts some of what is measured runs
//! beside a round.
//!
//! The disk of a machine says little of the program. So beside each figure stands
//! its floor, taken in turns with it: how long the same bytes take in the same
//! folder if one writer does nothing else. The ratio of the two is what can be
//! compared, best on a machine that has nothing else to do.
//!
//! A plain program and no part of the tests: it asserts nothing of its figures.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use axum::{Router, body::Bytes, routing::post};
use jiff::Timestamp;
use satellite_tests::{
    http, layout,
    run::Run,
    satellite::{Daemon, whitelist},
    wait::wait_for,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Runtime};

/// Alerts of one delivery.
const ALERTS: usize = 1_000;
/// Deliveries of one figure.
const DELIVERIES: usize = 200;
/// Who deliver at once: a pair of Alertmanagers, two groups each.
const SENDERS: usize = 4;
/// Changes of one figure.
const CHANGES: usize = 50;
/// So many hosts that each alert has one, and a round is next to nothing.
const FEW_HOSTS: usize = ALERTS;
const MANY_HOSTS: usize = 50_000;

/// The last octets of the addresses.
const MASTER_HOST: u8 = 11;
const REMEDIATOR_HOST: u8 = 33;
const NOBODY_HOST: u8 = 99;

/// What a leading Mesos 1.11 master answers.
const MASTER: &str = include_str!("../../crates/mesos/tests/fixtures/leader_v1_GET_MASTER.json");
const AGENTS: &str = include_str!("../../crates/mesos/tests/fixtures/leader_v1_GET_AGENTS.json");

/// Enough for a first round over many hosts on a slow disk.
const PATIENCE: Duration = Duration::from_secs(120);
/// Far more than any change takes.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How often a reader looks whether the whitelist is another file: far below what
/// is measured, and no burden.
const LOOK: Duration = Duration::from_micros(200);

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
    for program in ["satellite-remediator", "satellite-reaper"] {
        let found = layout::built(program).is_ok();
        ensure!(found, "the release build of {program} is not here: run `make bench`");
    }
    let run = Run::start("bench")?;
    let mut rows = deliveries(&World::start(&run, FEW_HOSTS)?)?;
    let many = World::start(&run, MANY_HOSTS)?;
    rows.extend(deliveries(&many)?);
    rows.extend(changes(&many, "rested", World::wait_for_rest)?);
    rows.extend(changes(&many, "in a row", |_| Ok(()))?);
    print(&rows);
    run.succeed();
    Ok(())
}

/// A remediator, and the leading master that it asks.
struct World {
    // Dropped in this order.
    remediator: Daemon,
    _master: Runtime,
    folder: PathBuf,
    hosts: usize,
}

impl World {
    /// Returns once every host is in the store and in the file.
    fn start(run: &Arc<Run>, hosts: usize) -> Result<Self> {
        let (master_url, master) = start_master(run.ip(MASTER_HOST), hosts)?;
        let name = format!("remediator-{hosts}");
        let folder = run.peer_folder(&name)?;
        let config = folder.join("remediator.yml");
        fs::write(&config, configuration(run, &folder, &master_url))
            .context("write remediator.yml")?;
        let argument = format!("--config.file={}", config.display());
        let remediator = Daemon::start(run, &name, "satellite-remediator", &[argument])?;
        let world = Self { remediator, _master: master, folder, hosts };
        wait_for("every host to be listed", PATIENCE, || {
            let listed = whitelist(&world.whitelist())?.len();
            ensure!(listed == hosts, "{listed} of {hosts} are");
            Ok(())
        })?;
        Ok(world)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.remediator.url())
    }

    fn whitelist(&self) -> PathBuf {
        self.folder.join("whitelist")
    }

    /// Waits until a round is over that began after all that was asked so far.
    fn wait_for_rest(&self) -> Result<()> {
        let asked = Timestamp::now();
        wait_for("a round", PATIENCE, || {
            let status = http::get(&self.url("/api/v1/status"))?;
            let began = status["last_round"].as_str().unwrap_or_default();
            let began: Timestamp = began.parse().context("there was no round yet")?;
            ensure!(began >= asked, "the last one began at {began}");
            Ok(())
        })
    }

    /// How long the last round took, in seconds.
    fn last_round(&self) -> Result<f64> {
        let status = http::get(&self.url("/api/v1/status"))?;
        status["last_round_seconds"].as_f64().context("the status has no last_round_seconds")
    }

    /// How much CPU time the remediator has used so far.
    fn cpu(&self) -> Result<Duration> {
        let metrics = http::get_text(&self.url("/metrics"))?;
        let used = metrics.lines().find_map(|it| it.strip_prefix("process_cpu_seconds_total "));
        let used = used.context("the metrics have no process_cpu_seconds_total")?;
        Ok(Duration::from_secs_f64(used.parse().context("read the CPU time")?))
    }

    /// The newest delivery's line in the journal.
    fn journalled(&self) -> Result<Vec<u8>> {
        let journal = fs::read(self.folder.join("store/journal.jsonl"))?;
        let is_delivery = |line: &&[u8]| {
            serde_json::from_slice(line).is_ok_and(|it: Value| it["kind"] == "delivery")
        };
        let line = journal.split_inclusive(|byte| *byte == b'\n').rfind(is_delivery);
        Ok(line.context("the journal has no delivery")?.to_owned())
    }
}

fn configuration(run: &Run, folder: &Path, master: &str) -> String {
    let (own, nobody) = (run.ip(REMEDIATOR_HOST), run.ip(NOBODY_HOST));
    // Everything that is left out is as it is by default, the interval of rounds too.
    json!({
        "listen": format!("{own}:0"),
        "store": {"embedded": {"path": folder.join("store")}},
        "mesos": {"masters": [master]},
        "alertmanagers": [format!("http://{nobody}:9093")],
        "prometheus": [format!("http://{nobody}:9090")],
        "whitelist": {"file": folder.join("whitelist")},
    })
    .to_string()
}

/// A master that leads, for as long as the runtime lives. It answers as a recorded
/// one, whose first agent it has so many times.
fn start_master(ip: Ipv4Addr, hosts: usize) -> Result<(String, Runtime)> {
    let mut recorded: Value = serde_json::from_str(AGENTS).context("read the recorded agents")?;
    let mut agent = recorded["get_agents"]["agents"][0].take();
    let mut text = |number: usize| {
        let info = &mut agent["agent_info"];
        info["hostname"] = host(number).into();
        info["id"]["value"] = format!("0bbad478-a866-46ba-b58d-3bbeae70e5e3-S{number}").into();
        info["attributes"][0]["text"]["value"] = rack(number).into();
        agent["pid"] = format!("slave(1)@10.{}.{}.1:5051", number / 250, number % 250).into();
        agent.to_string()
    };
    let agents: Vec<String> = (0..hosts).map(&mut text).collect();
    let agents = Bytes::from(format!(
        r#"{{"type":"GET_AGENTS","get_agents":{{"agents":[{}],"recovered_agents":[]}}}}"#,
        agents.join(",")
    ));
    let answer = async move |call: String| match call.contains("GET_AGENTS") {
        true => agents,
        false => Bytes::from_static(MASTER.as_bytes()),
    };
    let router = Router::new().route("/api/v1", post(answer));
    let runtime = Runtime::new().context("start a runtime")?;
    let listener = runtime.block_on(TcpListener::bind((ip, 0))).context("bind the master")?;
    let url = format!("http://{}", listener.local_addr().context("ask for the port")?);
    runtime.spawn(async move { axum::serve(listener, router).await });
    Ok((url, runtime))
}

fn host(number: usize) -> String {
    format!("node{number:05}.rack{:03}.example.com", number / 40)
}

fn rack(number: usize) -> String {
    format!("r{}", number / 40)
}

/// What Alertmanager delivers when a check fails on many hosts.
fn delivery() -> String {
    let common = json!({
        "alertname": "HostCheckFailed", "check": "work-dir", "cluster": "prod-eu-1",
        "datacenter": "fra1", "environment": "production", "prometheus": "monitoring/prod-eu-1",
        "remediate": "host", "severity": "warning", "team": "platform",
    });
    let alert = |number: usize| {
        let host = host(number);
        let mut labels = common.clone();
        labels["host"] = host.clone().into();
        labels["rack"] = rack(number).into();
        json!({
            "status": "firing",
            "labels": labels,
            "annotations": {
                "summary": format!("Check work-dir fails on {host}"),
                "description": format!(
                    "The check work-dir on {host} ends with a failure, times out or cannot be \
                     started. The remediator takes the host out of the whitelist if its limits \
                     allow it, and gives it back once the check has been well for a while."
                ),
                "dashboard": format!(
                    "https://grafana.example.com/d/satellite-hosts/hosts?orgId=1&from=now-6h\
                     &to=now&var-cluster=prod-eu-1&var-host={host}&var-check=work-dir"
                ),
                "impact": "No new tasks start on the host. Those that run there go on, and end as \
                     they would anyway: nobody drains it. Frameworks with little room elsewhere \
                     may wait for offers until it is back.",
                "runbook_url": "https://satellite.example.com/docs/runbooks/HostCheckFailed.md",
            },
            "startsAt": "2026-11-22T00:03:43.994Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL":
                "http://prometheus1.prod-eu-1.example.com:9090/graph?g0.expr=min+by+%28host%2C+\
                 check%2C+rack%29+%28satellite_check_ok%7Bjob%3D%22satellite-exporter%22%2C+host\
                 %21%3D%22%22%7D%29+%3D%3D+0+unless+on+%28host%29+max+by+%28host%29+%28satellite\
                 _host_maintenance%7Bjob%3D%22satellite-exporter%22%7D%29+%3D%3D+1&g0.tab=1",
            "fingerprint": format!("9bab7d59{number:08x}"),
        })
    };
    json!({
        "receiver": "satellite-remediator",
        "status": "firing",
        "alerts": (0..ALERTS).map(alert).collect::<Vec<_>>(),
        "groupLabels": {"alertname": "HostCheckFailed"},
        "commonLabels": common,
        "commonAnnotations": {},
        "externalURL": "http://alertmanager1.example.com:9093",
        "version": "4",
        "groupKey": "{}/{remediate!=\"\"}:{alertname=\"HostCheckFailed\"}",
        "truncatedAlerts": 0,
    })
    .to_string()
}

/// Deliveries one after another, and several at once.
fn deliveries(world: &World) -> Result<Vec<Row>> {
    let body = Bytes::from(delivery());
    deliver(world, &body)?;
    let line = world.journalled()?;
    let bytes = line.len();
    let mut floor = Floor::new(&world.folder, line)?;
    let (mut times, mut floors) = (Vec::new(), Vec::new());
    let before = world.cpu()?;
    for _ in 0..DELIVERIES {
        times.push(deliver(world, &body)?);
        floors.push(floor.append()?);
    }
    let cpu = milliseconds(world.cpu()? - before) / times.len() as f64;
    let mut at_once = Vec::new();
    thread::scope(|scope| {
        let send = || {
            let times = (0..DELIVERIES / SENDERS).map(|_| deliver(world, &body));
            times.collect::<Result<Vec<_>>>()
        };
        let senders = [(); SENDERS].map(|()| scope.spawn(send));
        for sender in senders {
            at_once.extend(sender.join().expect("a sender does not panic")?);
        }
        anyhow::Ok(())
    })?;
    println!(
        "{} hosts: a delivery of {ALERTS} alerts is {} bytes, its line in the journal {bytes}; \
         each cost {cpu:.1} ms of CPU, rounds included, the last of which took {:.2} s",
        world.hosts,
        body.len(),
        world.last_round()?,
    );
    let row = |what: &str, times| Row {
        what: format!("{} hosts, {ALERTS} alerts, {what}", world.hosts),
        times,
        floors: floors.clone(),
    };
    Ok(vec![row("one sender", times), row(&format!("{SENDERS} senders"), at_once)])
}

/// How long it takes until a delivery is acknowledged.
fn deliver(world: &World, body: &Bytes) -> Result<f64> {
    let request = http::client().post(world.url("/webhook"));
    let request = request.header("content-type", "application/json").body(body.clone());
    let sent = Instant::now();
    let status = request.send().context("deliver")?.status();
    let took = sent.elapsed();
    ensure!(status == 200, "a delivery was answered with {status}");
    Ok(milliseconds(took))
}

/// Takes hosts off and puts them on again, in turns: each as `before_each` returns.
fn changes(
    world: &World,
    how: &str,
    before_each: impl Fn(&World) -> Result<()>,
) -> Result<Vec<Row>> {
    let file = world.whitelist();
    let content = fs::read(&file).context("read the whitelist")?;
    let floor = Floor::new(&world.folder, content)?;
    let (mut answered, mut seen, mut after, mut floors) = (vec![], vec![], vec![], vec![]);
    for turn in 0..CHANGES {
        let name = host(turn / 2 * (world.hosts / CHANGES) * 2);
        before_each(world)?;
        let change = change(world, &file, &name, turn % 2 == 1)?;
        answered.push(change.answered);
        seen.push(change.seen);
        after.push(change.seen - change.answered);
        floors.push(floor.replace()?);
    }
    println!("{} hosts: the file is {} bytes", world.hosts, floor.bytes.len());
    let row = |what: &str, times| Row {
        what: format!("{} hosts, changes {how}, {what}", world.hosts),
        times,
        floors: floors.clone(),
    };
    Ok(vec![
        row("sent to seen in the file", seen),
        row("sent to answered", answered),
        row("answered to seen", after),
    ])
}

/// When something came of a command, from the moment it was sent.
struct Change {
    answered: f64,
    seen: f64,
}

fn change(world: &World, file: &Path, host: &str, on: bool) -> Result<Change> {
    let url = world.url(&format!("/api/v1/hosts/{host}/events/bench"));
    let said =
        json!({"state": if on { "on" } else { "off" }, "reason": "to see how long it takes"});
    let request = http::client().put(url).json(&said);
    let former = identity(file)?;
    thread::scope(|scope| {
        let reader = scope.spawn(|| seen(file, former, host, on));
        let sent = Instant::now();
        let response = request.send().context("send a command")?;
        let answered = milliseconds(sent.elapsed());
        let status = response.status();
        ensure!(status.is_success(), "a command was answered with {status}: {}", response.text()?);
        let seen = reader.join().expect("a reader does not panic")?;
        Ok(Change { answered, seen: milliseconds(seen - sent) })
    })
}

/// The moment at which a reader had a list in hand with the change in it.
fn seen(file: &Path, mut former: (u64, i64), host: &str, listed: bool) -> Result<Instant> {
    let began = Instant::now();
    while began.elapsed() < SEEN_WITHIN {
        let present = identity(file)?;
        if present != former {
            former = present;
            let content = fs::read_to_string(file).context("read the whitelist")?;
            let read = Instant::now();
            if content.lines().any(|line| line == host) == listed {
                return Ok(read);
            }
        }
        thread::sleep(LOOK);
    }
    bail!("after {SEEN_WITHIN:?} the whitelist is without the change to {host}")
}

/// What is another one with each replacement of the file.
fn identity(file: &Path) -> Result<(u64, i64)> {
    let metadata = fs::metadata(file).context("look at the whitelist")?;
    Ok((metadata.ino(), metadata.mtime_nsec()))
}

/// What the disk alone takes for the same bytes in the same folder.
struct Floor {
    folder: PathBuf,
    bytes: Vec<u8>,
    appended: File,
}

impl Floor {
    fn new(folder: &Path, bytes: Vec<u8>) -> Result<Self> {
        let file = folder.join("appended");
        let appended = OpenOptions::new().create(true).append(true).open(file);
        Ok(Self { folder: folder.to_owned(), bytes, appended: appended.context("make a file")? })
    }

    /// One write at the end of a file, and one `fdatasync`.
    fn append(&mut self) -> Result<f64> {
        let began = Instant::now();
        self.appended.write_all(&self.bytes).context("append")?;
        self.appended.sync_data().context("sync a file")?;
        Ok(milliseconds(began.elapsed()))
    }

    /// A file replaced in one step, durably.
    fn replace(&self) -> Result<f64> {
        let (fresh, path) = (self.folder.join(".replaced"), self.folder.join("replaced"));
        let began = Instant::now();
        let mut file = File::create(&fresh).context("make a file")?;
        file.write_all(&self.bytes).context("write a file")?;
        file.sync_all().context("sync a file")?;
        fs::rename(&fresh, &path).context("replace a file")?;
        File::open(&self.folder).and_then(|it| it.sync_all()).context("sync a folder")?;
        Ok(milliseconds(began.elapsed()))
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One line of the table; times in milliseconds.
struct Row {
    what: String,
    times: Vec<f64>,
    floors: Vec<f64>,
}

fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or_default();
    println!(
        "{:width$}  {:>4}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>7}",
        "milliseconds", "n", "min", "median", "p95", "max", "floor", "x floor"
    );
    for Row { what, times, floors } in rows {
        let [least, median, p95, most] = [0, 50, 95, 100].map(|percent| rank(times, percent));
        let floor = rank(floors, 50);
        println!(
            "{what:width$}  {:>4}  {least:>8.1}  {median:>8.1}  {p95:>8.1}  {most:>8.1}  \
             {floor:>8.1}  {:>7.1}",
            times.len(),
            median / floor,
        );
    }
}

/// The least value that so many percent of all do not exceed.
fn rank(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)]
}
