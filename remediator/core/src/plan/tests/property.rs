//! Random histories of the small world, with the invariants checked after every
//! round.
//!
//! The checks are written from the facts and from the truth (who is sick), not
//! from what the plan says of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    peers::{Agent, Prometheus, RESEND_DELAY, Seconds, at},
    world::{ROUND, World},
};
use crate::{
    Facts, HostDocument, HostName, Plan, State,
    document::{ManualEvent, Record, Verdict, What},
    facts::{Alert, Alertmanager, FoundFile},
    plan::{self, Block, HOUR, evidence::MAX_SCRAPE_AGE},
    policy::{Action, MinHosts},
    time::since,
    whitelist,
};

const HOSTS: [&str; 5] = ["h1", "h2", "h3", "h4", "h5"];
/// A scrape, an evaluation and a round: after that Prometheus knows who is sick.
const DETECTED: Seconds = 3 * ROUND;

/// What befalls the world. Numbers choose a host or an Alertmanager.
#[derive(Debug, Clone)]
enum Event {
    Pass(Seconds),
    Sicken(usize),
    Heal(usize),
    Silent(usize, bool),
    Agent(usize, Agent),
    FailOver,
    Leaderless(bool),
    LosesTasks(bool),
    Silence(usize),
    SilenceHold,
    Unsilence(usize),
    Tell(usize, usize),
    Resolve(usize, usize),
    KillAlertmanager(usize),
    RestartAlertmanager(usize),
    Answers(usize, bool),
    Hears(usize, bool),
    Settled(usize, bool),
    KillPrometheus(usize),
    StartPrometheus,
    Scrapes(bool),
    RuleFails(bool),
    Waits(Seconds),
    Say(usize, Verdict, Option<Seconds>),
    TakeBack(usize),
    Restart,
    /// Every peer works again; who is sick stays so.
    Repair,
}

fn an_event() -> impl Strategy<Value = Event> {
    let host = 0..HOSTS.len();
    let peer = 0..2_usize;
    let agent = prop_oneof![
        3 => Just(Agent::Registered),
        1 => Just(Agent::Inactive),
        1 => Just(Agent::Recovered),
        1 => Just(Agent::Lost),
    ];
    let verdict = prop_oneof![Just(Verdict::On), Just(Verdict::Off)];
    let ttl = prop::option::of((1..8_u64).prop_map(|it| it * 60));
    let flag = any::<bool>;
    prop_oneof![
        24 => (1..60_u64).prop_map(|it| Event::Pass(it * 5)),
        9 => host.clone().prop_map(Event::Sicken),
        7 => host.clone().prop_map(Event::Heal),
        2 => (host.clone(), flag()).prop_map(|(host, it)| Event::Silent(host, it)),
        2 => (host.clone(), agent).prop_map(|(host, it)| Event::Agent(host, it)),
        1 => Just(Event::FailOver),
        1 => flag().prop_map(Event::Leaderless),
        1 => flag().prop_map(Event::LosesTasks),
        1 => Just(Event::SilenceHold),
        1 => host.clone().prop_map(Event::Silence),
        2 => host.clone().prop_map(Event::Unsilence),
        2 => (peer.clone(), host.clone()).prop_map(|(peer, host)| Event::Tell(peer, host)),
        1 => (peer.clone(), host.clone()).prop_map(|(peer, host)| Event::Resolve(peer, host)),
        1 => peer.clone().prop_map(Event::KillAlertmanager),
        2 => peer.clone().prop_map(Event::RestartAlertmanager),
        2 => (peer.clone(), flag()).prop_map(|(peer, it)| Event::Answers(peer, it)),
        2 => (peer.clone(), flag()).prop_map(|(peer, it)| Event::Hears(peer, it)),
        1 => (peer.clone(), flag()).prop_map(|(peer, it)| Event::Settled(peer, it)),
        2 => peer.clone().prop_map(Event::KillPrometheus),
        3 => Just(Event::StartPrometheus),
        1 => flag().prop_map(Event::Scrapes),
        1 => flag().prop_map(Event::RuleFails),
        1 => (0..3_u64).prop_map(|it| Event::Waits(it * 60)),
        3 => (host.clone(), verdict, ttl).prop_map(|(host, it, ttl)| Event::Say(host, it, ttl)),
        2 => host.prop_map(Event::TakeBack),
        1 => Just(Event::Restart),
        4 => Just(Event::Repair),
    ]
}

/// What the operator wants, within the bounds that matter here.
#[derive(Debug, Clone)]
struct Wanted {
    count: usize,
    an_hour: usize,
    floor: usize,
    fires_for: Seconds,
    min_off: Seconds,
    max_hold: Option<Seconds>,
    had_file: bool,
    second_prometheus: bool,
}

fn a_policy() -> impl Strategy<Value = Wanted> {
    let waits = prop_oneof![2 => Just(0), 1 => Just(60)];
    let max_hold = prop_oneof![1 => Just(None), 1 => Just(Some(300))];
    let numbers = (0..5_usize, 1..9_usize, 0..4_usize);
    (numbers, waits.clone(), waits, max_hold, any::<bool>(), any::<bool>()).prop_map(
        |((count, an_hour, floor), fires_for, min_off, max_hold, had_file, second_prometheus)| {
            Wanted {
                count,
                an_hour,
                floor,
                fires_for,
                min_off,
                max_hold,
                had_file,
                second_prometheus,
            }
        },
    )
}

/// A world under the checks.
struct Checked {
    world: World,
    /// Since when each host has been sick in truth.
    sick_since: BTreeMap<&'static str, Seconds>,
    /// When automation took hosts off, by the journal.
    offs: Vec<Timestamp>,
}

impl Checked {
    fn new(wanted: &Wanted) -> Self {
        let mut world = World::before_the_first_round(HOSTS.len());
        let seconds = Duration::from_secs;
        world.policy.max_off.count = wanted.count;
        world.policy.max_off_per_hour = wanted.an_hour;
        world.policy.min_hosts = MinHosts::Count(wanted.floor);
        world.policy.clear_for = seconds(60);
        let (fires_for, min_off) = (seconds(wanted.fires_for), seconds(wanted.min_off));
        world.policy.rules[0].action = Action::Off { fires_for, min_off };
        world.policy.rules[1].action = Action::Hold { max_hold: wanted.max_hold.map(seconds) };
        if wanted.second_prometheus {
            world.prometheus.push(Prometheus::new("p2"));
            world.policy.watchdogs.push(r#"alertname="Watchdog",prometheus="p2""#.parse().unwrap());
        }
        if wanted.had_file {
            let listed = HOSTS[1..].iter().map(|host| host.parse().unwrap()).collect();
            world.file = Ok(FoundFile::Lists(listed));
        }
        Self { world, sick_since: BTreeMap::new(), offs: Vec::new() }
    }

    fn befall(&mut self, event: &Event) {
        let world = &mut self.world;
        let url = |peer: usize| ["am1", "am2"][peer];
        match *event {
            Event::Pass(seconds) => self.pass(seconds),
            Event::Sicken(host) => {
                world.sicken(HOSTS[host]);
                self.sick_since.entry(HOSTS[host]).or_insert(world.now);
            }
            Event::Heal(host) => {
                world.heal(HOSTS[host]);
                self.sick_since.remove(HOSTS[host]);
            }
            Event::Silent(host, silent) => world.node(HOSTS[host]).silent = silent,
            Event::Agent(host, agent) => world.node(HOSTS[host]).agent = agent,
            Event::FailOver => world.fail_over(),
            Event::Leaderless(it) => world.leaderless = it.then(|| "no answer".to_owned()),
            Event::LosesTasks(it) => world.cluster.losing_tasks = it,
            Event::Silence(host) => world.silence("HostCheckFailed", HOSTS[host]),
            Event::SilenceHold => world.silence("TasksLost", ""),
            Event::Unsilence(host) => {
                world.unsilence("HostCheckFailed", HOSTS[host]);
                world.unsilence("TasksLost", "");
            }
            Event::Tell(peer, host) => world.tell_only(url(peer), "DiskFull", HOSTS[host]),
            Event::Resolve(peer, host) => world.resolve_only(url(peer), "DiskFull", HOSTS[host]),
            Event::KillAlertmanager(peer) => world.alertmanager(url(peer)).kill(),
            Event::RestartAlertmanager(peer) => world.restart_alertmanager(url(peer)),
            Event::Answers(peer, it) => world.alertmanager(url(peer)).answers = it,
            Event::Hears(peer, it) => world.alertmanager(url(peer)).hears = it,
            Event::Settled(peer, it) => world.alertmanager(url(peer)).settled = it,
            Event::KillPrometheus(which) => {
                let last = world.prometheus.len() - 1;
                world.prometheus[which.min(last)].kill();
            }
            Event::StartPrometheus => world.start_prometheus(),
            Event::Scrapes(it) => world.prometheus[0].scrapes = it,
            Event::RuleFails(it) => world.prometheus[0].rule("HostCheckFailed").fails = it,
            Event::Waits(seconds) => world.prometheus[0].rule("HostCheckFailed").waits = seconds,
            Event::Say(host, verdict, ttl) if world.hosts.contains_key(HOSTS[host]) => {
                world.say(HOSTS[host], verdict, ttl);
            }
            Event::TakeBack(host) => self.take_back(HOSTS[host]),
            Event::Say(..) => {}
            Event::Restart => world.restart(),
            Event::Repair => self.repair(),
        }
    }

    fn take_back(&mut self, host: &str) {
        let ruling = self.world.hosts.get(host).and_then(HostDocument::ruling_event);
        if let Some(id) = ruling.map(|(id, _)| id.to_owned()) {
            self.world.take_back(host, &id);
        }
    }

    fn pass(&mut self, seconds: Seconds) {
        let end = self.world.now + seconds;
        while self.world.now < end {
            self.world.let_time_pass(ROUND.min(end - self.world.now));
            self.round();
        }
    }

    fn round(&mut self) {
        let before = self.world.hosts.clone();
        let facts = self.world.facts();
        let foreseen = self.world.plan_now();
        self.world.decide();
        let plan = self.world.plan.clone().unwrap();
        assert_eq!(plan, foreseen, "the same input gives the same plan");
        for (host, change) in &plan.changes {
            let was = before.get(host);
            let (from, to) = (was.map(HostDocument::verdict), change.document.verdict());
            match (from, to) {
                (Some(Verdict::On), Verdict::Off) => self.check_off(host, &before, &facts, &plan),
                // Where an older `on` decides again, a person said so.
                (Some(Verdict::Off), Verdict::On) if change.document.ruling_event().is_some() => {}
                (Some(Verdict::Off), Verdict::On) => self.check_on(host, &before, &facts),
                _ => assert!(!change.rests_on_alert),
            }
            let says = |what| change.records.iter().any(|it: &Record| it.what == what);
            let turned = from.is_some_and(|from| from != to);
            assert_eq!(says(What::On) || says(What::Off), turned, "i34 {:?}", change.records);
        }
        self.check_people(&before);
        self.check_words(&facts, &plan);
        self.check_file(&before);
        self.check_settled(&facts);
    }

    /// Whether a host may have gone off.
    fn check_off(
        &mut self,
        host: &HostName,
        before: &BTreeMap<HostName, HostDocument>,
        facts: &Facts,
        plan: &Plan,
    ) {
        let (world, change) = (&self.world, &plan.changes[host]);
        if !change.rests_on_alert {
            let expired =
                |it: &ManualEvent| it.expires_at().is_some_and(|end| end <= at(world.now));
            let ruling = before[host].ruling_event().unwrap().1;
            assert!(expired(ruling), "only the end of a manual on takes a host off: {host}");
            assert!(change.document.causes.is_empty(), "i8 {host}\n{}", world.tell());
            return;
        }
        let shown = alerts_of(facts, host);
        assert!(shown.iter().any(|it| it.suppression.is_none()), "i18 {host}\n{}", world.tell());
        assert!(shown.iter().all(|it| it.suppression.is_none()), "frozen {host}\n{}", world.tell());
        assert!(facts.mesos.is_ok(), "i16");
        assert!(change.document.ruling_event().is_none(), "i6");
        assert!(!plan.holds.iter().any(|it| it.blocks), "i4");
        self.offs.push(at(world.now));
        let lately = self.offs.iter().filter(|&&off| since(off, at(world.now)) < HOUR).count();
        assert!(lately <= world.policy.max_off_per_hour, "i2\n{}", world.tell());
        let away = world.hosts.iter().filter(|(host, it)| is_away(host, it, facts)).count();
        let limit = world.policy.max_off.limit(world.hosts.len());
        assert!(away <= limit, "i1: {away} of {limit} are away\n{}", world.tell());
        let on = world.hosts.values().filter(|it| it.verdict() == Verdict::On).count();
        assert!(on >= world.policy.min_hosts.floor(world.hosts.len()), "floor\n{}", world.tell());
    }

    /// Whether a host may have come back.
    fn check_on(&self, host: &HostName, before: &BTreeMap<HostName, HostDocument>, facts: &Facts) {
        let world = &self.world;
        let story = || format!("{host}\n{}", world.tell());
        let document = &before[host];
        assert!(!document.is_imported(), "imported {}", story());
        assert!(alerts_of(facts, host).is_empty(), "i15: an alert is shown of {}", story());
        let mesos = facts.mesos.as_ref().expect("i16: a master leads");
        let works = mesos.registered.iter().any(|it| it.hostname == host.as_str() && it.active);
        assert!(works, "i15: no agent takes tasks of {}", story());
        let well = facts.prometheus.values().flatten().any(|prometheus| {
            let fresh = |it: &crate::facts::Scrapes| {
                it.all_up && since(it.oldest, prometheus.now) < MAX_SCRAPE_AGE
            };
            let complains = |it: &crate::facts::ActiveAlert| {
                it.labels.get("host").is_some_and(|it| it == host.as_str())
            };
            prometheus.up.get(host.as_str()).is_some_and(fresh)
                && !prometheus.active.iter().any(complains)
                && prometheus.rules.iter().all(|it| it.failure.is_none())
        });
        assert!(well, "i15: nobody says that it is well: {}", story());
        let sick_for = self.sick_since.get(host.as_str()).map_or(0, |since| world.now - since);
        let stale = if world.prometheus[0].scrapes { 0 } else { MAX_SCRAPE_AGE.as_secs() };
        assert!(sick_for <= DETECTED + stale, "i15: sick for {sick_for} s: {}", story());
        if document.ruling_event().is_none() {
            let believed = |it: &Alertmanager| {
                it.settled
                    && it.uptime > Duration::from_secs(2 * RESEND_DELAY)
                    && world
                        .policy
                        .watchdogs
                        .iter()
                        .all(|watchdog| it.alerts.iter().any(|it| watchdog.matches(&it.labels)))
            };
            let all = facts.alertmanagers.values().all(|it| it.as_ref().is_ok_and(believed));
            assert!(all, "i16: an Alertmanager is blind: {}", story());
        }
    }

    /// What people said stands until its time is over.
    fn check_people(&self, before: &BTreeMap<HostName, HostDocument>) {
        for (host, former) in before {
            let document = &self.world.hosts[host];
            let stands =
                |it: &ManualEvent| it.expires_at().is_none_or(|end| end > at(self.world.now));
            for (id, event) in former.manual_events.iter().filter(|(_, it)| stands(it)) {
                assert_eq!(document.manual_events.get(id), Some(event), "i6 {host}");
            }
            if former.ruling_event().is_some_and(|(_, it)| stands(it)) {
                assert_eq!(former.verdict(), document.verdict(), "i6 {host}");
            }
        }
    }

    /// Every host that is off or accused has something said of it, or was changed.
    fn check_words(&self, facts: &Facts, plan: &Plan) {
        for (host, document) in &self.world.hosts {
            let changed = plan.changes.get(host).is_some_and(|it| !it.records.is_empty());
            let blocks = self.world.blocks(host.as_str());
            let accused = !alerts_of(facts, host).is_empty();
            if document.verdict() == Verdict::Off || accused {
                let story = || format!("i37 {host}\n{}", self.world.tell());
                assert!(changed || !blocks.is_empty(), "{}", story());
                let text = self.world.explain(host.as_str());
                // Who keeps a host on is told as the reason for it.
                let is_reason =
                    |it: &Block| matches!(it, Block::Manual { verdict: Verdict::On, .. });
                let is_told = |it: &Block| text.contains(&it.to_string()) || is_reason(it);
                assert!(blocks.iter().all(is_told), "{}", story());
            }
            if let Some(next) = plan.outlooks.get(host).and_then(|it| it.next) {
                assert!(next >= at(self.world.now), "i31: a wait of {host} ended at {next}");
            }
            let is_blocked = |it: &Block| matches!(it, Block::Manual { verdict, .. } if *verdict != document.verdict());
            assert!(!blocks.iter().any(is_blocked), "i6 {host}");
        }
    }

    /// The file lists who is on, and who is kept, which must have been listed.
    fn check_file(&self, before: &BTreeMap<HostName, HostDocument>) {
        let world = &self.world;
        let listed = |documents: &BTreeMap<HostName, HostDocument>, previous: BTreeSet<_>| {
            whitelist::merge(documents, &previous, &world.policy, at(world.now))
        };
        let former = listed(before, BTreeSet::new()).hosts;
        let merge = listed(&world.hosts, former.clone());
        for (host, document) in &world.hosts {
            let is_on = document.verdict() == Verdict::On;
            assert_eq!(merge.hosts.contains(host), is_on || merge.kept.contains(host), "{host}");
            assert!(!is_on || !merge.kept.contains(host), "{host}");
        }
        assert!(merge.kept.is_subset(&former));
    }

    /// With the same facts, what was not done at once is done within two rounds.
    fn check_settled(&self, facts: &Facts) {
        let world = &self.world;
        let (mut hosts, mut automation) = (world.hosts.clone(), world.automation.clone());
        let mut memory = world.memory.clone();
        let mut was_quiet = false;
        for again in 0..4 {
            let state =
                State { hosts: &hosts, automation: &automation, inherited: &BTreeMap::new() };
            let plan = plan::plan(facts, state, &world.policy, &memory, world.clock());
            let quiet = plan.changes.is_empty() && plan.automation.is_none();
            assert!(again < 2 || quiet, "i37: it does not settle: {:#?}", plan.changes);
            if was_quiet && quiet {
                assert_eq!(plan.memory, memory, "what nothing follows from is remembered alike");
                return;
            }
            hosts.extend(plan.changes.into_iter().map(|(host, it)| (host, it.document)));
            automation = plan.automation.unwrap_or(automation);
            memory = plan.memory;
            was_quiet = quiet;
        }
    }

    /// Every peer works again, and every agent is back.
    fn repair(&mut self) {
        let world = &mut self.world;
        for node in world.cluster.nodes.values_mut() {
            (node.silent, node.agent) = (false, Agent::Registered);
        }
        world.leaderless = None;
        world.start_prometheus();
        world.prometheus[0].scrapes = true;
        world.prometheus[0].rule("HostCheckFailed").fails = false;
        for url in ["am1", "am2"] {
            let now = world.now;
            let alertmanager = world.alertmanager(url);
            (alertmanager.answers, alertmanager.hears, alertmanager.settled) = (true, true, true);
            if !alertmanager.alive {
                alertmanager.restart(now);
            }
        }
    }

    /// All trouble ends, and everybody takes back what they said.
    fn mend_everything(&mut self) {
        self.repair();
        self.world.cluster.losing_tasks = false;
        for (number, host) in HOSTS.into_iter().enumerate() {
            self.befall(&Event::Heal(number));
            self.befall(&Event::Unsilence(number));
            while self.world.hosts.get(host).is_some_and(|it| !it.manual_events.is_empty()) {
                self.take_back(host);
            }
        }
    }
}

/// What the Alertmanagers that answer show of a host.
fn alerts_of<'a>(facts: &'a Facts, host: &HostName) -> Vec<&'a Alert> {
    let answers = facts.alertmanagers.values().flatten();
    let names = |it: &&Alert| it.labels.get("host").is_some_and(|it| it == host.as_str());
    answers.flat_map(|answer| &answer.alerts).filter(names).collect()
}

/// Whether a host takes no tasks, for whatever reason.
fn is_away(host: &HostName, document: &HostDocument, facts: &Facts) -> bool {
    let offered = facts.mesos.as_ref().is_ok_and(|mesos| {
        mesos.registered.iter().any(|it| it.hostname == host.as_str() && it.active)
    });
    document.verdict() == Verdict::Off || !offered
}

proptest! {
    // A few seconds, and about a minute to shrink what fails.
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn over_any_history_the_invariants_hold_and_in_the_end_everybody_is_back(
        wanted in a_policy(),
        events in prop::collection::vec(an_event(), 1..60),
    ) {
        let mut checked = Checked::new(&wanted);
        checked.pass(60);
        for event in &events {
            checked.befall(event);
        }
        checked.mend_everything();
        checked.pass(1200);
        let world = &checked.world;
        for (host, document) in &world.hosts {
            let back = document.verdict() == Verdict::On || document.is_imported();
            prop_assert!(back, "i37: {} is not back:\n{}", host, world.tell());
        }
    }
}
