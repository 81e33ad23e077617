//! The least that a scrape can be: a program of its own that asks the same Mesos over
//! plain blocking sockets, decodes the same documents into structs of the fields that
//! are needed and no others, and sends the same series from one buffer. It knows of no
//! failures, limits, flags or changes: it judges nothing and joins nothing.
//!
//! What is less than a hundredth of an answer (help texts, roles, frameworks, the
//! exporter's own figures) it does not make but sends as the exporter did.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{
    Case,
    catalogue::{self, Filled, Series},
};

/// The pieces in which an answer is sent, as the exporter does it.
const PIECE: usize = 64 * 1024;

/// Serves until it is killed. The first line that it prints is its address.
#[expect(clippy::print_stdout, reason = "whoever started it reads its address there")]
pub(crate) fn run(case: Case, mesos: &str, answer: &str) -> Result<()> {
    let answer = fs::read_to_string(answer).context("read the exporter's answer")?;
    let mut floor = Floor::new(case, mesos, &answer)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind the floor")?;
    println!("{}", listener.local_addr().context("ask for the port")?);
    for stream in listener.incoming() {
        let stream = stream.context("accept a scrape")?;
        stream.set_nodelay(true).context("send at once")?;
        let mut request = BufReader::new(stream.try_clone().context("share a stream")?);
        let mut line = String::new();
        while request.read_line(&mut line).context("read a request")? > 2 {
            line.clear();
        }
        floor.answer(stream)?;
    }
    Ok(())
}

struct Floor {
    mesos: Mesos,
    case: Case,
    /// What each key of a snapshot becomes, up to the number.
    snapshot: HashMap<String, Vec<(String, f64)>>,
    columns: Vec<Column>,
    /// Of each container, by its id.
    owners: HashMap<String, Owner>,
    rest: Vec<u8>,
    piece: Vec<u8>,
}

/// The series of one name and of one number of each thing.
struct Column {
    series: Series,
    /// Which of a thing's numbers.
    at: usize,
    /// Whether it is about a part of the thing.
    is_of_part: bool,
}

/// What the agent's `/state` says of a container, as the labels that it makes.
struct Owner {
    labels: String,
    info: String,
}

impl Floor {
    fn new(case: Case, mesos: &str, answer: &str) -> Result<Self> {
        let mut floor = Self {
            mesos: Mesos::connect(mesos)?,
            case,
            snapshot: HashMap::new(),
            columns: Vec::new(),
            owners: HashMap::new(),
            rest: Vec::new(),
            piece: Vec::with_capacity(2 * PIECE),
        };
        let keys = match case {
            Case::Agent => Containers::keys(),
            Case::Figures => OldSlave::keys(),
            Case::Agents | Case::Everything => Slave::keys(),
        };
        floor.name(&keys)?;
        if case == Case::Agent {
            floor.read_owners()?;
        }
        let mut made: HashSet<&str> = floor.columns.iter().map(|it| &*it.series.name).collect();
        let heads = floor.snapshot.values().flatten();
        made.extend(heads.map(|(head, _)| name_of(head)));
        made.extend(["mesos_container_info", "mesos_cluster_agent_info"]);
        for line in answer.lines().filter(|line| !made.contains(name_of(line))) {
            writeln!(floor.rest, "{line}")?;
        }
        Ok(floor)
    }

    /// Looks up what everything is called.
    fn name(&mut self, keys: &[String]) -> Result<()> {
        let naming = self.case.naming();
        if let Some(component) = self.case.snapshot() {
            for line in catalogue::lines(component)? {
                for filled in line.filled() {
                    let heads = line.series(naming, &filled).into_iter().map(|it| {
                        let braces = if it.labels.is_empty() {
                            "".into()
                        } else {
                            format!("{{{}}}", it.labels)
                        };
                        (format!("{}{braces} ", it.name), it.factor)
                    });
                    self.snapshot.insert(filled.key, heads.collect());
                }
            }
        }
        let lines = catalogue::lines(self.case.component())?;
        for (at, key) in keys.iter().enumerate() {
            // Of `x[READ]` the catalogue says what `x[<operation>]` is.
            let (pattern, filled) = match key.strip_suffix("[READ]").or(key.strip_suffix("[WRITE]"))
            {
                Some(list) => {
                    let operation = if key.ends_with("[READ]") { "read" } else { "write" };
                    (format!("{list}[<operation>]"), Filled::operation(operation))
                }
                None => (key.clone(), Filled::nothing()),
            };
            let line = lines.iter().find(|line| line.key == pattern);
            let line = line.with_context(|| format!("the catalogue has no {key}"))?;
            let is_of_part = key.starts_with("blkio_statistics");
            let series = line.series(naming, &filled).into_iter();
            self.columns.extend(series.map(|series| Column { series, at, is_of_part }));
        }
        Ok(())
    }

    fn read_owners(&mut self) -> Result<()> {
        let state: State<'_> = serde_json::from_slice(self.mesos.get("/state")?)?;
        for framework in &state.frameworks {
            for executor in &framework.executors {
                let Some(task) = executor.tasks.first() else { continue };
                let (container, framework_name) = (executor.container, &framework.name);
                let labels = format!(
                    "container_id=\"{container}\",framework_name=\"{framework_name}\",\
                     task_name=\"{}\"",
                    task.name,
                );
                let info = format!(
                    "mesos_container_info{{container_id=\"{container}\",framework_id=\"{}\",\
                     framework_name=\"{framework_name}\",executor_id=\"{}\",task_id=\"{}\",\
                     task_name=\"{}\",role=\"{}\",source=\"{}\",parent_container_id=\"\"}} 1\n",
                    framework.id, executor.id, task.id, task.name, task.role, executor.source,
                );
                self.owners.insert(container.to_owned(), Owner { labels, info });
            }
        }
        Ok(())
    }

    fn answer(&mut self, mut to: TcpStream) -> Result<()> {
        to.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").context("answer")?;
        let Self { mesos, case, snapshot, columns, owners, rest, piece } = self;
        piece.clear();
        to.write_all(rest)?;
        let mut out = Out { to, piece };
        if case.snapshot().is_some() {
            let Pairs(pairs) = serde_json::from_slice(mesos.get("/metrics/snapshot")?)?;
            for (key, value) in pairs {
                for (head, factor) in snapshot.get(&*key).into_iter().flatten() {
                    out.extend(&[head]);
                    out.number(value * factor)?;
                }
            }
        }
        match case {
            Case::Agent => {
                let containers: Vec<Container<'_>> =
                    serde_json::from_slice(mesos.get("/containers")?)?;
                Containers(containers).write(columns, owners, &mut out)?;
            }
            Case::Figures => {
                write::<OldSlave<'_>>(mesos.get("/state-summary")?, columns, &mut out)?;
            }
            Case::Agents | Case::Everything => {
                write::<Slave<'_>>(mesos.get("/state-summary")?, columns, &mut out)?;
            }
        }
        out.to.write_all(out.piece).context("answer")
    }
}

fn name_of(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap_or_default()
}

/// An answer on its way.
struct Out<'a> {
    to: TcpStream,
    piece: &'a mut Vec<u8>,
}

impl Out<'_> {
    fn extend(&mut self, texts: &[&str]) {
        for text in texts {
            self.piece.extend_from_slice(text.as_bytes());
        }
    }

    /// The end of a line.
    #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
    fn number(&mut self, value: f64) -> Result<()> {
        if value.fract() == 0.0 && value.abs() < 9e15 {
            self.extend(&[itoa::Buffer::new().format(value as i64), "\n"]);
        } else {
            self.extend(&[zmij::Buffer::new().format_finite(value), "\n"]);
        }
        if self.piece.len() >= PIECE {
            self.to.write_all(self.piece).context("answer")?;
            self.piece.clear();
        }
        Ok(())
    }

    fn column(&mut self, column: &Column, rows: &Rows<'_>) -> Result<()> {
        let Column { series: Series { name, labels, factor }, at, is_of_part } = column;
        let comma = if labels.is_empty() { "" } else { "," };
        for (row, numbers) in rows.labels.iter().zip(rows.numbers.chunks(rows.width)) {
            let Some(number) = numbers[*at] else { continue };
            let part = if *is_of_part { &*row.part } else { "" };
            self.extend(&[name, "{", &row.labels, part, comma, labels, "} "]);
            self.number(number * factor)?;
        }
        Ok(())
    }
}

/// Everything that is told of things of one kind.
struct Rows<'a> {
    labels: Vec<Row<'a>>,
    /// Those of one thing after those of another.
    numbers: Vec<Option<f64>>,
    width: usize,
}

struct Row<'a> {
    labels: Cow<'a, str>,
    part: String,
}

/// One connection to Mesos, and what came of the last request.
struct Mesos {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Mesos {
    fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connect to Mesos")?;
        stream.set_nodelay(true).context("send at once")?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn get(&mut self, path: &str) -> Result<&[u8]> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: mesos\r\n\r\n");
        self.stream.write_all(request.as_bytes()).context("ask")?;
        let mut head = BufReader::with_capacity(PIECE, &self.stream);
        let (mut line, mut length) = (String::new(), 0);
        while head.read_line(&mut line).context("read a head")? > 2 {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().context("read a length")?;
            }
            line.clear();
        }
        if self.buffer.len() < length {
            self.buffer.resize(length, 0);
        }
        let body = &mut self.buffer[..length];
        head.read_exact(body).context("read a body")?;
        Ok(body)
    }
}

/// A snapshot's pairs, as they come.
struct Pairs<'a>(Vec<(Cow<'a, str>, f64)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::with_capacity(4_096);
                while let Some((Text(key), value)) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// Text that is borrowed where it can be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    frameworks: Vec<Framework<'a>>,
}

#[derive(Deserialize)]
struct Framework<'a> {
    id: &'a str,
    name: String,
    #[serde(borrow)]
    executors: Vec<Executor<'a>>,
}

#[derive(Deserialize)]
struct Executor<'a> {
    id: &'a str,
    source: &'a str,
    container: &'a str,
    #[serde(borrow)]
    tasks: Vec<Task<'a>>,
}

#[derive(Deserialize)]
struct Task<'a> {
    id: &'a str,
    name: &'a str,
    role: String,
}

#[derive(Deserialize)]
struct Container<'a> {
    container_id: &'a str,
    statistics: Statistics,
}

macro_rules! statistics {
    ($($field:ident),+ $(,)?) => {
        #[derive(Deserialize)]
        struct Statistics {
            $($field: Option<f64>,)+
            blkio_statistics: Blkio,
        }

        impl Statistics {
            const KEYS: &[&str] = &[$(stringify!($field)),+];

            fn numbers(&self) -> [Option<f64>; Self::KEYS.len()] {
                [$(self.$field),+]
            }
        }
    };
}

statistics! {
    timestamp, processes, threads, cpus_limit, cpus_system_time_secs, cpus_user_time_secs,
    cpus_nr_periods, cpus_nr_throttled, cpus_throttled_time_secs, mem_anon_bytes, mem_rss_bytes,
    mem_total_bytes, mem_cache_bytes, mem_file_bytes, mem_limit_bytes, mem_mapped_file_bytes,
    mem_swap_bytes, mem_unevictable_bytes, mem_low_pressure_counter, mem_medium_pressure_counter,
    mem_critical_pressure_counter, mem_total_memsw_bytes, disk_limit_bytes, disk_used_bytes,
    net_rx_bytes, net_rx_dropped, net_rx_errors, net_rx_packets, net_tx_bytes, net_tx_dropped,
    net_tx_errors, net_tx_packets,
}

#[derive(Deserialize)]
struct Blkio {
    throttling: [Throttling; 1],
}

#[derive(Deserialize)]
struct Throttling {
    device: Device,
    io_serviced: [Operation; 3],
    io_service_bytes: [Operation; 3],
}

#[derive(Deserialize)]
struct Device {
    major_number: u32,
    minor_number: u32,
}

/// They come in the order of [`Containers::keys`].
#[derive(Deserialize)]
struct Operation {
    value: f64,
}

struct Containers<'a>(Vec<Container<'a>>);

impl Containers<'_> {
    fn keys() -> Vec<String> {
        let mut keys: Vec<_> = Statistics::KEYS.iter().map(|&key| key.to_owned()).collect();
        for list in ["io_serviced", "io_service_bytes"] {
            for operation in ["READ", "WRITE", "TOTAL"] {
                keys.push(format!("blkio_statistics.throttling[].{list}[{operation}]"));
            }
        }
        keys
    }

    fn write(
        &self,
        columns: &[Column],
        owners: &HashMap<String, Owner>,
        out: &mut Out<'_>,
    ) -> Result<()> {
        let width = Statistics::KEYS.len() + 6;
        let numbers = Vec::with_capacity(self.0.len() * width);
        let mut rows = Rows { labels: Vec::with_capacity(self.0.len()), numbers, width };
        for Container { container_id, statistics } in &self.0 {
            let owner = owners.get(*container_id).context("a container is new")?;
            let [throttling] = &statistics.blkio_statistics.throttling;
            let Device { major_number, minor_number } = throttling.device;
            let part = format!(",device=\"{major_number}:{minor_number}\"");
            rows.labels.push(Row { labels: Cow::Borrowed(&owner.labels), part });
            rows.numbers.extend(statistics.numbers());
            let operations = throttling.io_serviced.iter().chain(&throttling.io_service_bytes);
            rows.numbers.extend(operations.map(|it| Some(it.value)));
            out.extend(&[&owner.info]);
        }
        columns.iter().try_for_each(|column| out.column(column, &rows))
    }
}

/// An agent of a summary, with the fields that are needed.
trait Agent<'a>: Deserialize<'a> {
    fn keys() -> Vec<String>;
    fn labels(&self) -> String;
    fn numbers(&self, numbers: &mut Vec<Option<f64>>);
    /// A line that says what is no number.
    fn info(&self, labels: &str, out: &mut Out<'_>);
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "A: Agent<'de>"))]
struct Summary<A> {
    slaves: Vec<A>,
}

fn write<'a, A: Agent<'a>>(body: &'a [u8], columns: &[Column], out: &mut Out<'_>) -> Result<()> {
    let Summary::<A> { slaves } = serde_json::from_slice(body)?;
    let width = A::keys().len();
    let numbers = Vec::with_capacity(slaves.len() * width);
    let mut rows = Rows { labels: Vec::with_capacity(slaves.len()), numbers, width };
    for slave in &slaves {
        let labels = slave.labels();
        slave.info(&labels, out);
        rows.labels.push(Row { labels: labels.into(), part: String::new() });
        slave.numbers(&mut rows.numbers);
    }
    columns.iter().try_for_each(|column| out.column(column, &rows))
}

#[derive(Clone, Copy, Deserialize)]
struct Amount<'a> {
    cpus: f64,
    gpus: f64,
    mem: f64,
    disk: f64,
    ports: Option<&'a str>,
}

impl Amount<'_> {
    fn keys(of: &str) -> [String; 5] {
        ["cpus", "gpus", "mem", "disk", "ports"].map(|resource| format!("{of}.{resource}"))
    }

    fn numbers(self) -> [Option<f64>; 5] {
        let Self { cpus, gpus, mem, disk, ports } = self;
        [Some(cpus), Some(gpus), Some(mem), Some(disk), ports.map(count)]
    }
}

/// How many numbers lie in `[1025-2180, 2182-3887]`.
fn count(ranges: &str) -> f64 {
    let ranges = ranges.trim_matches(['[', ']']).split(", ");
    let lengths = ranges.filter_map(|range| {
        let (begin, end) = range.split_once('-')?;
        Some(end.parse::<u32>().ok()? - begin.parse::<u32>().ok()? + 1)
    });
    f64::from(lengths.sum::<u32>())
}

#[derive(Deserialize)]
struct OldSlave<'a> {
    pid: &'a str,
    #[serde(borrow)]
    resources: Amount<'a>,
    used_resources: Amount<'a>,
    unreserved_resources: Amount<'a>,
}

impl<'a> Agent<'a> for OldSlave<'a> {
    fn keys() -> Vec<String> {
        ["resources", "used_resources", "unreserved_resources"]
            .into_iter()
            .flat_map(Amount::keys)
            .collect()
    }

    fn labels(&self) -> String {
        format!("slave=\"{}\"", self.pid)
    }

    fn numbers(&self, numbers: &mut Vec<Option<f64>>) {
        for amount in [self.resources, self.used_resources, self.unreserved_resources] {
            numbers.extend(amount.numbers());
        }
    }

    fn info(&self, _labels: &str, _out: &mut Out<'_>) {}
}

macro_rules! slave {
    ($($task:ident = $key:literal),+ $(,)?) => {
        #[derive(Deserialize)]
        struct Slave<'a> {
            id: &'a str,
            hostname: &'a str,
            version: &'a str,
            #[serde(borrow)]
            resources: Amount<'a>,
            used_resources: Amount<'a>,
            offered_resources: Amount<'a>,
            reserved_resources: HashMap<&'a str, Amount<'a>>,
            unreserved_resources: Amount<'a>,
            active: bool,
            deactivated: bool,
            registered_time: f64,
            reregistered_time: f64,
            $(#[serde(rename = $key)] $task: f64,)+
        }

        const TASKS: &[&str] = &[$($key),+];

        impl Slave<'_> {
            fn tasks(&self) -> [f64; TASKS.len()] {
                [$(self.$task),+]
            }
        }
    };
}

slave! {
    staging = "TASK_STAGING",
    starting = "TASK_STARTING",
    running = "TASK_RUNNING",
    killing = "TASK_KILLING",
    finished = "TASK_FINISHED",
    killed = "TASK_KILLED",
    failed = "TASK_FAILED",
    lost = "TASK_LOST",
    error = "TASK_ERROR",
    unreachable = "TASK_UNREACHABLE",
}

impl<'a> Agent<'a> for Slave<'a> {
    fn keys() -> Vec<String> {
        let amounts = [
            "resources",
            "used_resources",
            "offered_resources",
            "unreserved_resources",
            "reserved_resources.*",
        ];
        let others = ["active", "deactivated", "registered_time", "reregistered_time"];
        let others = others.iter().chain(TASKS).map(|&key| key.to_owned());
        amounts.into_iter().flat_map(Amount::keys).chain(others).collect()
    }

    fn labels(&self) -> String {
        format!("hostname=\"{}\",agent_id=\"{}\"", self.hostname, self.id)
    }

    fn numbers(&self, numbers: &mut Vec<Option<f64>>) {
        let Self { resources, used_resources, offered_resources, unreserved_resources, .. } = self;
        for amount in [resources, used_resources, offered_resources, unreserved_resources] {
            numbers.extend(amount.numbers());
        }
        let mut reserved = [None; 5];
        for amount in self.reserved_resources.values() {
            for (sum, more) in reserved.iter_mut().zip(amount.numbers()) {
                *sum = more.map(|more| more + sum.unwrap_or_default()).or(*sum);
            }
        }
        numbers.extend(reserved);
        numbers.extend([self.active, self.deactivated].map(|flag| Some(f64::from(u8::from(flag)))));
        numbers.extend([self.registered_time, self.reregistered_time].map(Some));
        numbers.extend(self.tasks().map(Some));
    }

    fn info(&self, labels: &str, out: &mut Out<'_>) {
        let version = self.version;
        out.extend(&["mesos_cluster_agent_info{", labels, ",version=\"", version, "\"} 1\n"]);
    }
}
