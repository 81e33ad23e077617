//! A Mesos of any size: generated documents, written once and sent from memory, so
//! that it costs next to nothing beside who reads them. The same ones in each run.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::catalogue::{self, FRAMEWORKS, Framework, Line, MASTER_ID, ROLES};

/// The documents of one process of Mesos, by path.
#[derive(Default)]
pub(crate) struct Documents(HashMap<&'static str, Vec<u8>>);

impl Documents {
    /// An agent with so many containers.
    pub(crate) fn of_agent(containers: usize) -> Result<Self> {
        let mut random = Rng::with_seed(42);
        let mut executors = vec![Vec::new(); FRAMEWORKS_OF_AGENT];
        let (mut listed, mut monitored) = (Vec::new(), Vec::new());
        for at in 0..containers {
            let container = uuid(&mut random);
            let framework = Framework::of(at % FRAMEWORKS_OF_AGENT);
            let task = task(&mut random, at, &framework, &container);
            let executor = executor(&task, &framework, &container);
            let base = json!({
                "executor_id": task["id"], "executor_name": executor["name"],
                "framework_id": framework.id, "source": task["id"],
                "statistics": statistics(&mut random, at),
            });
            let mut entry = base.clone();
            entry["container_id"] = container.clone().into();
            entry["status"] = status(at, &container);
            monitored.push(base);
            listed.push(entry);
            executors[at % FRAMEWORKS_OF_AGENT].push(executor);
        }
        let mut documents = Self::default();
        documents.add("/state", &agent_state(&mut random, executors));
        documents.add("/containers", &listed.into());
        documents.add("/monitor/statistics", &monitored.into());
        documents.add("/metrics/snapshot", &snapshot("agent", &mut random)?);
        Ok(documents)
    }

    /// A master with so many agents and tasks, of [`FRAMEWORKS`] frameworks.
    pub(crate) fn of_master(agents: usize, tasks: usize) -> Result<Self> {
        let slaves = (0..agents).map(|at| {
            let mut slave = agent(at);
            let counts = [("RUNNING", tasks / agents), ("FINISHED", 3)];
            add_tasks(&mut slave, &counts);
            slave["framework_ids"] = json!([Framework::of(0).id]);
            slave
        });
        let frameworks = (0..FRAMEWORKS).map(|at| framework(at, agents, tasks));
        let summary = json!({
            "hostname": "127.0.0.1",
            "slaves": slaves.collect::<Vec<_>>(),
            "frameworks": frameworks.collect::<Vec<_>>(),
        });
        let roles: Vec<Value> = ROLES.split_whitespace().map(role).collect();
        let mut documents = Self::default();
        documents.add("/state-summary", &summary);
        documents.add("/roles", &json!({"roles": roles}));
        documents.add("/metrics/snapshot", &snapshot("master", &mut Rng::with_seed(42))?);
        documents.add("/version", &json!({"version": "1.11.0", "git_tag": "1.11.0"}));
        documents.add("/flags", &json!({"flags": flags()}));
        Ok(documents)
    }

    fn add(&mut self, path: &'static str, document: &Value) {
        // Mesos escapes slashes, which a reader may not borrow.
        let text = document.to_string().replace('/', "\\/");
        self.0.insert(path, text.into_bytes());
    }

    /// Their sizes in bytes, by path.
    pub(crate) fn sizes(&self) -> String {
        let mut sizes: Vec<_> =
            self.0.iter().map(|(path, body)| format!("{path} {}", body.len())).collect();
        sizes.sort();
        sizes.join(", ")
    }

    /// Serves them as long as this process lives.
    pub(crate) fn serve(self, ip: Ipv4Addr) -> Result<SocketAddr> {
        let listener = TcpListener::bind((ip, 0)).context("bind the fake Mesos")?;
        let address = listener.local_addr().context("ask for the port")?;
        let documents = Arc::new(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let documents = Arc::clone(&documents);
                // An error is the end of a connection, which its peer sees.
                thread::spawn(move || documents.answer(stream));
            }
        });
        Ok(address)
    }

    fn answer(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut first = String::new();
            reader.read_line(&mut first)?;
            let Some(path) = first.split(' ').nth(1) else { return Ok(()) };
            let mut length = 0;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                if header.trim().is_empty() {
                    break;
                }
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse()?;
                }
            }
            reader.read_exact(&mut vec![0; length])?;
            match self.0.get(path) {
                Some(body) => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    stream.write_all(head.as_bytes())?;
                    stream.write_all(body)?;
                }
                None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
            }
        }
    }
}

const FRAMEWORKS_OF_AGENT: usize = 8;
/// Finished executors of each framework of an agent.
const COMPLETED: usize = 12;

fn uuid(random: &mut Rng) -> String {
    let hex = format!("{:032x}", random.u128(..));
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn host(at: usize) -> String {
    format!("10.{}.{}.{}", at >> 16 & 255, at >> 8 & 255, at & 255)
}

fn flags() -> HashMap<String, String> {
    (0..90).map(|at| (format!("flag_{at}"), format!("/var/lib/mesos/value/{at}"))).collect()
}

fn amount(cpus: f64, mem: f64, disk: f64, ports: Option<&str>) -> Value {
    let mut amount = json!({"cpus": cpus, "mem": mem, "disk": disk, "gpus": 0.0});
    if let Some(ports) = ports {
        amount["ports"] = ports.into();
    }
    amount
}

fn seconds(offset: usize) -> f64 {
    1.6e9 + f64::from(u32::try_from(offset).expect("there are fewer of anything"))
}

fn labels(at: usize) -> Value {
    let environment = ["prod", "staging", "dev"][at % 3];
    json!([
        {"key": "env", "value": environment},
        {"key": "team", "value": format!("team-{}", at % 20)},
        {"key": "service.version", "value": format!("1.{}.{}", at % 40, at % 7)},
        {"key": "HAPROXY_GROUP", "value": "external"},
    ])
}

fn task(random: &mut Rng, at: usize, framework: &Framework, container: &str) -> Value {
    let app = format!("svc-{}", at % 400);
    let port = 31_000 + at * 3 % 1_000;
    let (team, major, minor) = (at % 20, at % 40, at % 7);
    let image = format!("registry.example.com/team-{team}/{app}:1.{major}.{minor}");
    let status = json!({"container_id": {"value": container}, "network_infos": [{
        "ip_addresses": [{"protocol": "IPv4", "ip_address": host(at)}], "name": "dcos"}]});
    json!({
        "id": format!("{app}.{}", uuid(random)),
        "name": format!("{app}.{}.example", framework.role.replace('/', "-")),
        "framework_id": framework.id, "executor_id": "", "slave_id": format!("{MASTER_ID}-S7"),
        "state": "TASK_RUNNING", "role": framework.role, "labels": labels(at),
        "resources": amount(1.1, 384.0, 0.0, Some(&format!("[{port}-{}]", port + 1))),
        "statuses": [
            {"state": "TASK_STARTING", "timestamp": seconds(at) + 0.5, "container_status": status},
            {"state": "TASK_RUNNING", "timestamp": seconds(at) + 1.25,
             "container_status": status, "healthy": true},
        ],
        "discovery": {"visibility": "FRAMEWORK", "name": app, "ports": {"ports": [
            {"number": port, "name": "http", "protocol": "tcp"},
            {"number": port + 1, "name": "admin", "protocol": "tcp"},
        ]}},
        "container": {"type": if at % 2 == 1 { "MESOS" } else { "DOCKER" }, "docker": {
            "image": image,
            "network": "HOST", "privileged": false, "force_pull_image": false,
        }},
    })
}

fn executor(task: &Value, framework: &Framework, container: &str) -> Value {
    let id = task["id"].as_str().unwrap_or_default();
    json!({
        "id": id, "source": id, "container": container, "role": framework.role,
        "name":
            format!("Command Executor (Task: {id}) (Command: sh -c 'exec /opt/svc/bin/run...')"),
        "directory": format!(
            "/var/lib/mesos/slave/slaves/{MASTER_ID}-S7/frameworks/{}/executors/{id}/runs/\
             {container}",
            framework.id,
        ),
        "resources": amount(1.1, 160.0, 0.0, task["resources"]["ports"].as_str()),
        "labels": task["labels"], "type": "DEFAULT",
        "tasks": [task], "queued_tasks": [], "completed_tasks": [],
    })
}

fn status(at: usize, container: &str) -> Value {
    json!({
        "container_id": {"value": container},
        "executor_pid": 1_000 + at,
        "cgroup_info": {"net_cls": {"classid": 1_048_577 + at}},
        "network_infos": [{"name": "dcos", "ip_addresses": [
            {"protocol": "IPv4", "ip_address": format!("9.0.{}.{}", at >> 8, at & 255)},
        ]}],
    })
}

fn statistics(random: &mut Rng, at: usize) -> Value {
    let memory = random.u64(100_000_000..1_100_000_000);
    let mut all = json!({
        "timestamp": seconds(at) + 0.123,
        "cpus_limit": 1.1,
        "cpus_system_time_secs": (random.f64() * 1e6).round() / 100.0,
        "cpus_user_time_secs": (random.f64() * 1e7).round() / 100.0,
        "cpus_throttled_time_secs": random.f64() * 1e3,
    });
    let mut below = |most: u64| random.u64(..most);
    for (name, number) in [
        ("processes", 1 + below(29)),
        ("threads", 1 + below(199)),
        ("cpus_nr_periods", below(1_000_000)),
        ("cpus_nr_throttled", below(10_000)),
        ("mem_anon_bytes", memory),
        ("mem_rss_bytes", memory),
        ("mem_total_bytes", memory + 12_345),
        ("mem_cache_bytes", below(100_000_000)),
        ("mem_file_bytes", below(100_000_000)),
        ("mem_limit_bytes", 2 * memory),
        ("mem_mapped_file_bytes", below(10_000_000)),
        ("mem_swap_bytes", 0),
        ("mem_unevictable_bytes", 0),
        ("mem_low_pressure_counter", below(50)),
        ("mem_medium_pressure_counter", 0),
        ("mem_critical_pressure_counter", 0),
        ("mem_total_memsw_bytes", memory + 12_345),
        ("disk_limit_bytes", 10_737_418_240),
        ("disk_used_bytes", below(1_000_000_000)),
        ("net_rx_bytes", below(1_000_000_000_000)),
        ("net_rx_dropped", 0),
        ("net_rx_errors", 0),
        ("net_rx_packets", below(1_000_000_000)),
        ("net_tx_bytes", below(1_000_000_000_000)),
        ("net_tx_dropped", 0),
        ("net_tx_errors", 0),
        ("net_tx_packets", below(1_000_000_000)),
    ] {
        all[name] = number.into();
    }
    all["blkio_statistics"] = json!({"throttling": [{
        "device": {"major_number": 8, "minor_number": 0},
        "io_serviced": operations(random, 1_000_000),
        "io_service_bytes": operations(random, 1_000_000_000),
    }]});
    all["net_snmp_statistics"] = snmp(random);
    all
}

fn operations(random: &mut Rng, most: u64) -> Value {
    let operations = ["READ", "WRITE", "TOTAL"];
    json!(operations.map(|op| json!({"op": op, "value": random.u64(..most)})))
}

fn snmp(random: &mut Rng) -> Value {
    let mut below = |most: u64| random.u64(..most);
    json!({
        "tcp_stats": {
            "RtoAlgorithm": 1, "RtoMin": 200, "RtoMax": 120_000, "MaxConn": -1,
            "ActiveOpens": below(1_000_000), "PassiveOpens": below(1_000_000),
            "AttemptFails": 3, "EstabResets": 4, "CurrEstab": below(500),
            "InSegs": below(1_000_000_000), "OutSegs": below(1_000_000_000),
            "RetransSegs": below(100_000), "InErrs": 0, "OutRsts": 12, "InCsumErrors": 0,
        },
        "udp_stats": {
            "InDatagrams": below(1_000_000), "NoPorts": 0, "InErrors": 0,
            "OutDatagrams": below(1_000_000), "RcvbufErrors": 0, "SndbufErrors": 0,
            "InCsumErrors": 0, "IgnoredMulti": 0,
        },
    })
}

/// What `/state` and `/state-summary` say of an agent alike.
fn agent(at: usize) -> Value {
    const PORTS: &str = "[1025-2180, 2182-3887, 3889-5049, 5052-8079, 8082-8180, 8182-32000]";
    let zone = ["us-west-2a", "us-west-2b", "us-west-2c"][at % 3];
    let all = amount(16.0, 63_000.0, 200_000.0, Some(PORTS));
    json!({
        "id": format!("{MASTER_ID}-S{at}"), "hostname": host(at), "port": 5051,
        "attributes": {
            "rack": format!("r{}", at % 40), "zone": zone, "os": "centos7",
            "instance_type": "m5.4xlarge", "spot": if at % 2 == 1 { 1.0 } else { 0.0 },
        },
        "domain": {"fault_domain": {"region": {"name": "us-west-2"}, "zone": {"name": zone}}},
        "pid": format!("slave(1)@{}:5051", host(at)),
        "registered_time": seconds(at), "reregistered_time": seconds(at + 5),
        "resources": all, "unreserved_resources": all,
        "used_resources": amount(8.3, 30_000.0, 1_000.0, Some("[31000-31015]")),
        "offered_resources": amount(0.0, 0.0, 0.0, None),
        "reserved_resources": {"eng": amount(2.0, 4_096.0, 0.0, None)},
        "active": true, "deactivated": false, "version": "1.11.0",
        "capabilities": [
            "MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "RESOURCE_PROVIDER",
            "RESIZE_VOLUME", "AGENT_OPERATION_FEEDBACK", "AGENT_DRAINING", "TASK_RESOURCE_LIMITS",
        ],
    })
}

fn agent_state(random: &mut Rng, executors: Vec<Vec<Value>>) -> Value {
    let frameworks = executors.into_iter().enumerate().map(|(at, executors)| {
        let framework = Framework::of(at);
        let completed = (0..COMPLETED).map(|number| {
            let container = uuid(random);
            let mut task = task(random, 1_000_000 + at * 100 + number, &framework, &container);
            task["state"] = "TASK_FINISHED".into();
            let mut executor = executor(&task, &framework, &container);
            executor["completed_tasks"] = executor["tasks"].take();
            executor["tasks"] = json!([]);
            executor
        });
        json!({
            "id": framework.id, "name": framework.name, "user": "root", "checkpoint": true,
            "failover_timeout": 604_800.0, "hostname": "h", "principal": "p",
            "role": framework.role, "executors": executors,
            "completed_executors": completed.collect::<Vec<_>>(),
        })
    });
    let mut state = agent(7);
    state["frameworks"] = frameworks.collect::<Vec<_>>().into();
    state["completed_frameworks"] = json!([]);
    state["flags"] = json!(flags());
    state
}

fn add_tasks(object: &mut Value, counts: &[(&str, usize)]) {
    for state in [
        "STAGING",
        "STARTING",
        "RUNNING",
        "KILLING",
        "FINISHED",
        "KILLED",
        "FAILED",
        "LOST",
        "ERROR",
        "UNREACHABLE",
    ] {
        let count = counts.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
        object[format!("TASK_{state}")] = count.into();
    }
}

fn framework(at: usize, agents: usize, tasks: usize) -> Value {
    let Framework { id, name, role } = Framework::of(at);
    let slaves: Vec<_> =
        (at..agents).step_by(FRAMEWORKS).map(|at| format!("{MASTER_ID}-S{at}")).collect();
    let mut framework = json!({
        "id": id, "name": name, "pid": format!("scheduler-{id}@10.0.0.{at}:4444"), "role": role,
        "used_resources": amount(100.0, 100_000.0, 0.0, None),
        "offered_resources": amount(0.0, 0.0, 0.0, None),
        "capabilities": ["MULTI_ROLE", "PARTITION_AWARE"], "hostname": "h",
        "webui_url": "http://h:8080", "active": true, "connected": true, "recovered": false,
        "slave_ids": slaves,
    });
    add_tasks(&mut framework, &[("RUNNING", tasks / FRAMEWORKS), ("FINISHED", 1_000)]);
    framework
}

fn role(name: &str) -> Value {
    let one = amount(1.0, 1.0, 1.0, None);
    let frameworks = (0..FRAMEWORKS).map(Framework::of).filter(|it| it.role == name);
    json!({
        "name": name, "weight": 1.0, "resources": one, "allocated": one, "offered": one,
        "reserved": one, "frameworks": frameworks.map(|it| it.id).collect::<Vec<_>>(),
        "quota": {"role": name, "guarantee": one, "limit": one, "consumed": one},
    })
}

fn snapshot(component: &str, random: &mut Rng) -> Result<Value> {
    let mut pairs = serde_json::Map::new();
    for line in catalogue::lines(component)? {
        for filled in line.filled() {
            pairs.insert(filled.key, json!(number(&line, random)));
        }
    }
    Ok(pairs.into())
}

fn number(line: &Line, random: &mut Rng) -> f64 {
    match &*line.unit {
        "bool" => 1.0,
        "ratio" | "seconds" | "load" => (random.f64() * 1e8).round() / 1e6,
        _ => f64::from(random.u32(..if line.kind == "counter" { 2_000_000 } else { 50_000 })),
    }
}
