//! A small world to tell stories in: hosts `h1`, `h2`, …, one Prometheus, two
//! Alertmanagers, a leading master, and a remediator that runs rounds.
//!
//! A test says what happens (`world.sicken("h1")`), lets time pass
//! (`world.pass(60)`) and looks at what became of it (`world.is_off("h1")`).
//! The world does what the shell does around the core: it gathers the facts,
//! writes the documents of a plan, in their stored form, and keeps the memory.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use super::peers::{
    Agent, Alertmanager, Cluster, Node, Prometheus, RESEND_DELAY, Seconds, at, labels,
};
use crate::{
    Automation, Facts, HostDocument, HostName, Memory, Now, Plan, Policy, State,
    document::{ManualEvent, Pause, Record, Verdict},
    explain::explain,
    facts::{self, Answer, FoundFile, Suppression},
    manual, plan,
    plan::Block,
    policy::{Action, MaxOff, MinHosts, NewHosts, RelapsePolicy, Rule, StormPolicy},
    predecessor::Inherited,
    time::later,
};

/// How often the remediator makes a round.
pub(super) const ROUND: Seconds = 15;
/// The grain of the world: each peer acts once in three of these.
const TICK: Seconds = 5;
const SCRAPES_AT: Seconds = 5;
const EVALUATES_AT: Seconds = 10;
/// When the stories begin, so that every peer has long been warm.
const DAWN: Seconds = 3600;

/// Something that befalls a world.
pub(super) type Happening = fn(&mut World);

pub(super) struct World {
    pub(super) now: Seconds,
    pub(super) policy: Policy,
    pub(super) cluster: Cluster,
    pub(super) prometheus: Vec<Prometheus>,
    pub(super) alertmanagers: Vec<Alertmanager>,
    /// Why no master leads, if none does.
    pub(super) leaderless: Option<String>,
    pub(super) file: Answer<FoundFile>,
    pub(super) hosts: BTreeMap<HostName, HostDocument>,
    pub(super) automation: Automation,
    /// What the predecessor has left in the store.
    pub(super) inherited: BTreeMap<HostName, Inherited>,
    pub(super) memory: Memory,
    /// When the remediator's process began.
    pub(super) started: Seconds,
    /// How far the remediator's wall clock is ahead of the others'.
    pub(super) clock_error: i64,
    /// What the last round decided.
    pub(super) plan: Option<Plan>,
    /// All that was put on record, with the host.
    pub(super) journal: Vec<(HostName, Record)>,
    next_event: u32,
}

impl World {
    /// A healthy cluster of `h1` to `hN` on the evening of its first day.
    pub(super) fn of_hosts(count: usize) -> Self {
        let mut world = Self::before_the_first_round(count);
        world.pass(300);
        assert!(world.hosts.len() == count && world.hosts_off().is_empty());
        world
    }

    /// The same with an empty store: every peer runs, the remediator starts now.
    pub(super) fn before_the_first_round(count: usize) -> Self {
        let nodes = (1..=count).map(|number| (format!("h{number}"), Node::healthy())).collect();
        let mut world = Self {
            now: 0,
            policy: policy(),
            cluster: Cluster { nodes, losing_tasks: false },
            prometheus: vec![Prometheus::new("p1")],
            alertmanagers: vec![Alertmanager::new("am1"), Alertmanager::new("am2")],
            leaderless: None,
            file: Ok(FoundFile::Missing),
            hosts: BTreeMap::new(),
            automation: Automation::default(),
            inherited: BTreeMap::new(),
            memory: Memory::default(),
            started: 0,
            clock_error: 0,
            plan: None,
            journal: Vec::new(),
            next_event: 0,
        };
        world.let_time_pass(DAWN);
        world.started = world.now;
        world
    }
}

/// The policy of the stories: no wait but those of the design, a budget that is
/// in nobody's way.
fn policy() -> Policy {
    let off = Action::Off { fires_for: Duration::ZERO, min_off: Duration::from_secs(300) };
    let rule = |name: &str, matchers: &str, action| Rule {
        name: name.into(),
        matchers: matchers.parse().unwrap(),
        action,
    };
    let max_hold = Some(Duration::from_secs(600));
    Policy {
        host_label: "host".into(),
        watchdogs: vec![r#"alertname="Watchdog",prometheus="p1""#.parse().unwrap()],
        clear_for: Duration::from_secs(120),
        resend_delay: Duration::from_secs(RESEND_DELAY),
        max_off: MaxOff { count: 10, share: "100%".parse().unwrap() },
        max_off_per_hour: 10,
        min_hosts: MinHosts::Count(0),
        new_hosts: NewHosts::On,
        retire_after: Duration::from_secs(7 * 86400),
        dry_run: false,
        per_attribute: BTreeMap::new(),
        storm: StormPolicy {
            threshold: "100%".parse().unwrap(),
            within: Duration::from_secs(300),
            calm: Duration::from_secs(600),
        },
        relapse: RelapsePolicy {
            double_up_to: Duration::from_secs(86400),
            give_up_after: 4,
            within: Duration::from_secs(86400),
        },
        rules: vec![
            rule("host-check", r#"remediate="host""#, off),
            rule("tasks-lost", r#"alertname="TasksLost""#, Action::Hold { max_hold }),
            rule("in-trouble", r#"remediate="cluster""#, Action::Hold { max_hold: None }),
        ],
    }
}

/// Time.
impl World {
    /// Lets time pass with a round every fifteen seconds.
    pub(super) fn pass(&mut self, seconds: Seconds) {
        let end = self.now + seconds;
        while self.now < end {
            self.round(ROUND.min(end - self.now));
        }
    }

    /// Lets `seconds` pass, then makes one round.
    pub(super) fn round(&mut self, seconds: Seconds) {
        self.let_time_pass(seconds);
        self.decide();
    }

    /// Rounds until something is so, and how long that took.
    #[track_caller]
    pub(super) fn until(&mut self, limit: Seconds, is_so: impl Fn(&Self) -> bool) -> Seconds {
        let begin = self.now;
        while !is_so(self) {
            assert!(self.now < begin + limit, "not within {limit} s:\n{}", self.tell());
            self.round(ROUND);
        }
        self.now - begin
    }

    /// Lets the peers live on without the remediator.
    pub(super) fn let_time_pass(&mut self, seconds: Seconds) {
        let end = self.now + seconds;
        while self.now < end {
            self.now = end.min((self.now / TICK + 1) * TICK);
            for prometheus in &mut self.prometheus {
                match self.now % ROUND {
                    SCRAPES_AT => prometheus.scrape(&self.cluster, self.now),
                    EVALUATES_AT => {
                        prometheus.evaluate(&self.cluster, self.now, &mut self.alertmanagers);
                    }
                    _ => {}
                }
            }
            self.alertmanagers.iter_mut().for_each(|it| it.expire(self.now));
        }
    }

    /// The instant by both clocks, as the remediator's process has them.
    pub(super) fn clock(&self) -> Now {
        let error = jiff::SignedDuration::from_secs(self.clock_error);
        let uptime = Duration::from_secs(self.now - self.started);
        Now { wall: at(self.now) + error, uptime }
    }
}

/// The remediator.
impl World {
    /// One round: facts in, documents out.
    pub(super) fn decide(&mut self) {
        let plan = self.plan_now();
        for (host, change) in &plan.changes {
            let stored = HostDocument::decode(&change.document.encode()).unwrap();
            assert_eq!(stored, change.document, "a document survives being stored");
            self.inherited.remove(host);
            self.hosts.insert(host.clone(), stored);
            let records = change.records.iter().map(|record| (host.clone(), record.clone()));
            self.journal.extend(records);
        }
        for (host, record) in &plan.retired {
            self.hosts.remove(host);
            self.journal.push((host.clone(), record.clone()));
        }
        if let Some(automation) = &plan.automation {
            self.automation = automation.clone();
        }
        self.memory = plan.memory.clone();
        self.plan = Some(plan);
    }

    /// What a round would decide now.
    pub(super) fn plan_now(&self) -> Plan {
        let state =
            State { hosts: &self.hosts, automation: &self.automation, inherited: &self.inherited };
        plan(&self.facts(), state, &self.policy, &self.memory, self.clock())
    }

    pub(super) fn facts(&self) -> Facts {
        let refused = || "connection refused".to_owned();
        let alertmanagers = self.alertmanagers.iter();
        let prometheus = self.prometheus.iter();
        Facts {
            alertmanagers: alertmanagers
                .map(|it| (it.url.clone(), it.answer(self.now).ok_or_else(refused)))
                .collect(),
            prometheus: prometheus
                .map(|it| (it.name.clone(), it.answer(self.now).ok_or_else(refused)))
                .collect(),
            mesos: self.leaderless.clone().map_or_else(|| Ok(self.mesos()), Err),
            found_file: self.file.clone(),
        }
    }

    fn mesos(&self) -> facts::Mesos {
        let listed = |wanted: &[Agent]| {
            let nodes = self.cluster.nodes.iter().filter(|(_, it)| wanted.contains(&it.agent));
            let agents = nodes.map(|(host, node)| facts::Agent {
                id: format!("agent-{}-of-{host}", node.reinstalls),
                hostname: host.clone(),
                ip: (node.agent != Agent::Recovered).then(|| Ipv4Addr::LOCALHOST.into()),
                attributes: [("rack".to_owned(), rack(host))].into_iter().collect(),
                active: node.agent == Agent::Registered,
                deactivated: false,
            });
            agents.collect()
        };
        facts::Mesos {
            leader: "m1".into(),
            registered: listed(&[Agent::Registered, Agent::Inactive]),
            recovered: listed(&[Agent::Recovered]),
        }
    }

    /// The remediator is killed and started: the documents stay.
    pub(super) fn restart(&mut self) {
        self.memory = Memory::beginning(self.clock());
        self.started = self.now;
    }
}

/// What happens to the cluster.
impl World {
    pub(super) fn node(&mut self, host: &str) -> &mut Node {
        self.cluster.nodes.get_mut(host).unwrap()
    }

    /// A healthy node joins.
    pub(super) fn add_node(&mut self, host: &str) {
        self.cluster.nodes.insert(host.to_owned(), Node::healthy());
    }

    pub(super) fn sicken(&mut self, host: &str) {
        self.node(host).sick = true;
    }

    pub(super) fn heal(&mut self, host: &str) {
        self.node(host).sick = false;
    }

    /// Sickens a host and waits until it is off.
    #[track_caller]
    pub(super) fn lose(&mut self, host: &str) {
        self.sicken(host);
        self.until(60, |world| world.is_off(host));
    }

    /// A new master leads, and waits for every agent to come back.
    pub(super) fn fail_over(&mut self) {
        for node in self.cluster.nodes.values_mut().filter(|it| it.agent != Agent::Lost) {
            node.agent = Agent::Recovered;
        }
    }

    pub(super) fn kill_prometheus(&mut self) {
        self.prometheus.iter_mut().for_each(Prometheus::kill);
    }

    pub(super) fn start_prometheus(&mut self) {
        self.prometheus.iter_mut().for_each(Prometheus::start);
    }

    /// A person silences an alert; peers tell each other of silences.
    pub(super) fn silence(&mut self, alertname: &str, host: &str) {
        let how = Suppression::Silenced(vec!["s1".into()]);
        for alertmanager in &mut self.alertmanagers {
            alertmanager.suppress(labels(alertname, host), how.clone());
        }
    }

    pub(super) fn inhibit(&mut self, alertname: &str, host: &str) {
        for alertmanager in &mut self.alertmanagers {
            let how = Suppression::Other("inhibited by NodeDown".into());
            alertmanager.suppress(labels(alertname, host), how);
        }
    }

    pub(super) fn unsilence(&mut self, alertname: &str, host: &str) {
        for alertmanager in &mut self.alertmanagers {
            alertmanager.unsuppress(&labels(alertname, host));
        }
    }

    /// One Alertmanager alone is told of an alert, for as long as a Prometheus
    /// would say.
    pub(super) fn tell_only(&mut self, url: &str, alertname: &str, host: &str) {
        let (now, ends) = (self.now, self.now + super::peers::EXPIRY);
        self.alertmanager(url).receive(labels(alertname, host), now, ends, now);
    }

    /// The same Alertmanager is told that it is over.
    pub(super) fn resolve_only(&mut self, url: &str, alertname: &str, host: &str) {
        let now = self.now;
        self.alertmanager(url).receive(labels(alertname, host), now, now, now);
    }

    pub(super) fn alertmanager(&mut self, url: &str) -> &mut Alertmanager {
        self.alertmanagers.iter_mut().find(|it| it.url == url).unwrap()
    }

    pub(super) fn restart_alertmanager(&mut self, url: &str) {
        let now = self.now;
        self.alertmanager(url).restart(now);
    }
}

/// What people do.
impl World {
    /// A person says `on` or `off`; gives the event's id.
    pub(super) fn say(&mut self, host: &str, state: Verdict, ttl: Option<Seconds>) -> String {
        self.next_event += 1;
        let id = format!("e{}", self.next_event);
        self.say_as(&id, host, state, ttl);
        id
    }

    pub(super) fn say_as(&mut self, id: &str, host: &str, state: Verdict, ttl: Option<Seconds>) {
        let event = ManualEvent {
            state,
            reason: "disk swap".into(),
            author: "ops".into(),
            time: self.clock().wall,
            ttl: ttl.map(Duration::from_secs),
        };
        let document = self.hosts.get_mut(host).unwrap();
        let record = manual::say(document, id, event).unwrap();
        self.journal.push((host.parse().unwrap(), record));
    }

    /// A person pauses automation.
    pub(super) fn pause(&mut self, all: bool, ttl: Seconds) {
        let since = self.clock().wall;
        let until = later(since, Duration::from_secs(ttl));
        let (by, reason) = ("ops".into(), "switch swap".into());
        self.automation.pause = Some(Pause { all, since, until, by, reason });
    }

    /// A person lets automation go on.
    pub(super) fn resume(&mut self) {
        let now = self.clock().wall;
        manual::resume(&mut self.automation, &self.hosts, now);
    }

    pub(super) fn take_back(&mut self, host: &str, id: &str) {
        let now = self.clock().wall;
        let document = self.hosts.get_mut(host).unwrap();
        let record = manual::take_back(document, id, "ops", now).unwrap();
        self.journal.push((host.parse().unwrap(), record));
    }
}

/// What became of it.
impl World {
    pub(super) fn document(&self, host: &str) -> &HostDocument {
        &self.hosts[host]
    }

    pub(super) fn is_off(&self, host: &str) -> bool {
        self.document(host).verdict() == Verdict::Off
    }

    pub(super) fn is_on(&self, host: &str) -> bool {
        !self.is_off(host)
    }

    pub(super) fn hosts_off(&self) -> Vec<&str> {
        self.hosts.keys().map(HostName::as_str).filter(|host| self.is_off(host)).collect()
    }

    /// What the last round said stands in the host's way.
    pub(super) fn blocks(&self, host: &str) -> &[Block] {
        let outlook = self.plan.as_ref().and_then(|plan| plan.outlooks.get(host));
        outlook.map_or(&[], |outlook| &outlook.blocked_by)
    }

    pub(super) fn is_blocked(&self, host: &str, by: impl Fn(&Block) -> bool) -> bool {
        self.blocks(host).iter().any(by)
    }

    pub(super) fn last_plan(&self) -> &Plan {
        self.plan.as_ref().unwrap()
    }

    pub(super) fn is_blind(&self, source: &str) -> bool {
        self.last_plan().blind.iter().any(|it| it.source == source)
    }

    pub(super) fn explain(&self, host: &str) -> String {
        // After a round, nothing said of a host means that nothing is to be said.
        let said = |plan: &Plan| plan.outlooks.get(host).cloned().unwrap_or_default();
        let outlook = self.plan.as_ref().map(said);
        let host: HostName = host.parse().unwrap();
        explain(&host, &self.hosts[&host], outlook.as_ref(), at(self.now))
    }

    /// Everything, for the message of a test that fails.
    pub(super) fn tell(&self) -> String {
        let records = self.journal.iter().map(|(host, record)| {
            format!(
                "{} {host} {:?} by {}: {}\n",
                record.time, record.what, record.by, record.reason
            )
        });
        let hosts = self.hosts.keys().map(|host| self.explain(host.as_str()) + "\n");
        let now = format!("now {}\n", at(self.now));
        records.chain([now]).chain(hosts).collect()
    }
}

/// Asserts that something of this shape stands in a host's way.
macro_rules! assert_blocked {
    ($world:expr, $host:expr, $block:pat) => {
        assert!(
            $world.is_blocked($host, |it| matches!(it, $block)),
            "{} is not blocked by {}:\n{}",
            $host,
            stringify!($block),
            $world.tell()
        );
    };
}
pub(super) use assert_blocked;

/// Hosts with odd numbers stand in rack `r1`, the others in `r0`.
fn rack(host: &str) -> String {
    let number: u32 = host.trim_start_matches(|it: char| !it.is_ascii_digit()).parse().unwrap_or(0);
    format!("r{}", number % 2)
}
