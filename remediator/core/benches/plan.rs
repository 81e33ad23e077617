//! How long one round's decision and the merge after it take over a large cluster,
//! and how much memory the process needs for them.
//!
//!     cargo bench -p satellite-core
//!
//! A plain program and no part of the tests: on a busy machine its figures mean
//! nothing. The least of several times is the one to compare.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hint::black_box,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use litemap::LiteMap;
use satellite_core::{
    Automation, Facts, HostDocument, HostName, Memory, Now, Plan, Policy, State,
    facts::{
        ActiveAlert, Agent, Alert, AlertingRule, Alertmanager, FoundFile, Mesos, Prometheus,
        Scrapes,
    },
    matcher::Labels,
    plan::plan,
    policy::{Action, MaxOff, MinHosts, NewHosts, RelapsePolicy, Rule, Share, StormPolicy},
    whitelist,
};

/// As the daemon has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOSTS: usize = 50_000;
/// Every tenth host is sick.
const ALERTS: usize = 5_000;
/// Has no divisor in common with the number of hosts.
const STRIDE: usize = 7_919;
const ROUND: Duration = Duration::from_secs(15);
const ROUNDS: u32 = 20;

fn main() {
    for (name, policy) in [("budget of 10", policy(10)), ("every sick host off", policy(HOSTS))] {
        report(name, &policy);
    }
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn report(name: &str, policy: &Policy) {
    let mut world = World::default();
    let (mut rounds, mut merges) = (Vec::new(), Vec::new());
    let mut listed = BTreeSet::new();
    let mut memory = String::new();
    for round in 0..ROUNDS {
        let now = Now {
            wall: Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + ROUND * round,
            uptime: ROUND * round,
        };
        let facts = facts(now.wall);
        if round == 0 || round + 1 == ROUNDS {
            memory += &format!("{} before round {round}, ", resident("VmRSS:"));
        }
        let state = State {
            hosts: &world.hosts,
            automation: &world.automation,
            inherited: &BTreeMap::new(),
        };
        let began = Instant::now();
        let plan = plan(&facts, state, policy, &world.memory, now);
        rounds.push(began.elapsed());
        world.take(plan);
        let began = Instant::now();
        let merge = whitelist::merge(&world.hosts, &listed, policy, now.wall);
        let file = black_box(whitelist::render(&merge.hosts));
        merges.push(began.elapsed());
        assert_eq!(file.lines().count(), merge.hosts.len());
        listed = merge.hosts;
    }
    println!(
        "{HOSTS} hosts, {ALERTS} alerts, {name}: first round {:.1?}, later {}; merge and render \
         {}; {} documents, {} off; RSS {memory}peak {}",
        rounds[0],
        spread(&rounds[2..]),
        spread(&merges),
        world.hosts.len(),
        world.hosts.values().filter(|it| it.off_since.is_some()).count(),
        resident("VmHWM:"),
    );
}

fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    format!("{:.1?} at least, {:.1?} at the median", times[0], times[times.len() / 2])
}

/// What the system says of the memory that this process has.
fn resident(field: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.map_or("unknown".into(), |size| size.trim().to_owned())
}

/// What the shell keeps between rounds.
#[derive(Default)]
struct World {
    hosts: BTreeMap<HostName, HostDocument>,
    automation: Automation,
    memory: Memory,
}

impl World {
    fn take(&mut self, plan: Plan) {
        self.hosts.extend(plan.changes.into_iter().map(|(host, it)| (host, it.document)));
        self.hosts.retain(|host, _| !plan.retired.contains_key(host));
        self.automation = plan.automation.unwrap_or_else(|| self.automation.clone());
        self.memory = plan.memory;
    }
}

fn host(number: usize) -> String {
    format!("node{number:05}.rack{:03}.example.com", number / 40)
}

/// The hosts in an order that is none, as the peers' hash maps list them.
fn scattered() -> impl Iterator<Item = usize> {
    (0..HOSTS).map(|number| number * STRIDE % HOSTS)
}

fn sick() -> impl Iterator<Item = String> {
    scattered().filter(|number| number.is_multiple_of(HOSTS / ALERTS)).map(host)
}

fn labels(alertname: &str, pairs: &[(&str, &str)]) -> Labels {
    let pairs = [("alertname", alertname)].into_iter().chain(pairs.iter().copied());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn check_failed(host: &str) -> Labels {
    let (instance, severity) = ("10.0.0.1:9105", "warning");
    let pairs = [
        ("check", "work-dir"),
        ("host", host),
        ("instance", instance),
        ("job", "satellite-exporter"),
        ("remediate", "host"),
        ("severity", severity),
    ];
    labels("HostCheckFailed", &pairs)
}

fn facts(now: Timestamp) -> Facts {
    let ago = |seconds| now - Duration::from_secs(seconds);
    let alert = |labels: Labels| Alert {
        fingerprint: "9bab7d594e680f32".into(),
        labels,
        starts_at: ago(900),
        ends_at: now + Duration::from_secs(200),
        updated_at: ago(10),
        suppression: None,
    };
    let watchdog = labels("Watchdog", &[("severity", "info")]);
    let alerts = || sick().map(|host| check_failed(&host)).chain([watchdog.clone()]);
    let alertmanager = || {
        Ok(Alertmanager {
            now,
            uptime: Duration::from_secs(86_400),
            settled: true,
            alerts: alerts().map(alert).collect(),
        })
    };
    let agent = |number| Agent {
        id: format!("f2a1f2d5-1e8c-4b6e-9f57-0c6fd0a3d7c4-S{number}"),
        hostname: host(number),
        ip: u32::try_from(number).ok().map(|it| Ipv4Addr::from_bits(0x0a00_0000 + it).into()),
        attributes: LiteMap::from_iter([("rack".to_owned(), format!("r{}", number / 40))]),
        active: true,
        deactivated: false,
    };
    let scrape = |number| (host(number), Scrapes::one(true, ago(7)));
    let rule = |number| AlertingRule {
        name: if number == 0 { "HostCheckFailed".into() } else { format!("Rule{number}") },
        labels: labels("", &[("remediate", if number == 0 { "host" } else { "" })]),
        failure: None,
        evaluated_at: Some(ago(3)),
        interval: ROUND,
    };
    let active =
        |host: String| ActiveAlert { labels: check_failed(&host), firing: true, value: "0".into() };
    Facts {
        alertmanagers: [("am1".to_owned(), alertmanager()), ("am2".to_owned(), alertmanager())]
            .into(),
        prometheus: BTreeMap::from([(
            "p1".to_owned(),
            Ok(Prometheus {
                now,
                up: (0..HOSTS).map(scrape).collect(),
                rules: (0..200).map(rule).collect(),
                active: sick().map(active).collect(),
            }),
        )]),
        mesos: Ok(Mesos {
            leader: "m1".into(),
            registered: scattered().map(agent).collect(),
            recovered: Vec::new(),
        }),
        found_file: Ok(FoundFile::Missing),
    }
}

fn policy(max_off: usize) -> Policy {
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let rule = |name: &str, matchers: &str, action| Rule {
        name: name.into(),
        matchers: matchers.parse().expect("a set of matchers"),
        action,
    };
    Policy {
        host_label: "host".into(),
        watchdogs: vec![r#"alertname="Watchdog""#.parse().expect("a set of matchers")],
        clear_for: minutes(2),
        resend_delay: minutes(1),
        dry_run: false,
        max_off: MaxOff { count: max_off, share: Share::ALL },
        per_attribute: BTreeMap::from([("rack".to_owned(), max_off)]),
        max_off_per_hour: max_off,
        min_hosts: MinHosts::Count(0),
        new_hosts: NewHosts::On,
        retire_after: minutes(7 * 1440),
        storm: StormPolicy { threshold: Share::ALL, within: minutes(5), calm: minutes(10) },
        relapse: RelapsePolicy {
            double_up_to: minutes(1440),
            give_up_after: 4,
            within: minutes(1440),
        },
        rules: vec![
            rule(
                "tasks-lost",
                r#"alertname=~"TasksLost|TasksStuck""#,
                Action::Hold { max_hold: None },
            ),
            rule(
                "host-check",
                r#"remediate="host""#,
                Action::Off { fires_for: minutes(0), min_off: minutes(5) },
            ),
        ],
    }
}
