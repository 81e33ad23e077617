//! Prometheus, Alertmanager and the Mesos masters, as far as the remediator can
//! tell them from real ones.
//!
//! What is modelled was seen on real ones: a Prometheus that starts has forgotten
//! what was pending and what it kept firing; an alert runs out at an Alertmanager
//! that is not told again; an Alertmanager that starts holds nothing; a master
//! that has just been elected lists agents that have not come back yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use satellite_core::{
    facts::{self, ActiveAlert, AlertingRule, Answer, Mesos, Scrapes, Suppression},
    matcher::Labels,
};
use url::Url;

use super::world::{Agent, Event, MINUTE, Millis, SECOND, Shared, World, instant};
use crate::sources::Sources;

/// Prometheus's and the policy's.
pub(super) const RESEND_DELAY: Millis = MINUTE;
/// For how long Prometheus goes on telling that an alert has ended.
const RESOLVED_FOR: Millis = 15 * MINUTE;
/// How long an Alertmanager waits for its peers after a start.
const SETTLE: Millis = 10 * SECOND;

/// An alerting rule, with what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    HostCheckFailed,
    ExporterSilent,
    TasksLost,
    Watchdog,
}

const RULES: [Rule; 4] =
    [Rule::HostCheckFailed, Rule::ExporterSilent, Rule::TasksLost, Rule::Watchdog];

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Self::HostCheckFailed => "HostCheckFailed",
            Self::ExporterSilent => "ExporterSilent",
            Self::TasksLost => "TasksLost",
            Self::Watchdog => "Watchdog",
        }
    }

    fn remediate(self) -> Option<&'static str> {
        match self {
            Self::HostCheckFailed | Self::ExporterSilent => Some("host"),
            Self::TasksLost => Some("cluster"),
            Self::Watchdog => None,
        }
    }

    fn fires_after(self) -> Millis {
        match self {
            Self::HostCheckFailed => 2 * MINUTE,
            Self::ExporterSilent => 5 * MINUTE,
            Self::TasksLost | Self::Watchdog => 0,
        }
    }

    fn keeps_firing(self) -> Millis {
        if self == Self::HostCheckFailed { 11 * MINUTE } else { 0 }
    }

    /// The labels that the rule itself sets.
    fn labels(self) -> Labels {
        let remediate = self.remediate().map(|it| ("remediate".to_owned(), it.to_owned()));
        let name = ("alertname".to_owned(), self.name().to_owned());
        std::iter::once(name).chain(remediate).collect()
    }
}

/// A rule, and what it is about: the host, of a Watchdog the Prometheus.
pub(super) type Key = (Rule, Option<usize>);

/// One Prometheus.
pub(super) struct Prometheus {
    pub(super) up: bool,
    /// Whether its rules cannot be evaluated.
    pub(super) broken: bool,
    /// To which Alertmanagers it cannot send.
    pub(super) cut_off: BTreeSet<usize>,
    scrapes: Vec<Option<Sample>>,
    evaluated: Option<Millis>,
    active: BTreeMap<Key, Active>,
    resolved: BTreeMap<Key, Resolved>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Millis,
    up: bool,
    check_failed: bool,
}

struct Active {
    since: Millis,
    last_true: Millis,
    fired: Option<Millis>,
    sent: Option<Millis>,
}

struct Resolved {
    fired: Millis,
    at: Millis,
    sent: Option<Millis>,
}

/// One alert on its way to an Alertmanager.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    key: Key,
    starts_at: Millis,
    ends_at: Millis,
    sent: Millis,
}

impl Prometheus {
    pub(super) fn new(hosts: usize) -> Self {
        Self {
            up: true,
            broken: false,
            cut_off: BTreeSet::new(),
            scrapes: vec![None; hosts],
            evaluated: None,
            active: BTreeMap::new(),
            resolved: BTreeMap::new(),
        }
    }

    /// It dies, and with it all that it remembers.
    pub(super) fn die(&mut self) {
        let cut_off = std::mem::take(&mut self.cut_off);
        *self = Self { up: false, cut_off, ..Self::new(self.scrapes.len()) };
    }

    /// Where a rule's condition holds.
    fn is_true(&self, (rule, host): Key, tasks_lost: bool) -> bool {
        let sample = host.and_then(|host| self.scrapes[host]);
        match rule {
            Rule::Watchdog => true,
            Rule::TasksLost => tasks_lost,
            Rule::HostCheckFailed => sample.is_some_and(|it| it.up && it.check_failed),
            Rule::ExporterSilent => sample.is_some_and(|it| !it.up),
        }
    }

    fn evaluate_one(&mut self, key: Key, is_true: bool, now: Millis) {
        let rule = key.0;
        if is_true {
            let fresh = Active { since: now, last_true: now, fired: None, sent: None };
            let active = self.active.entry(key).or_insert(fresh);
            active.last_true = now;
            if active.fired.is_none() && now - active.since >= rule.fires_after() {
                active.fired = Some(now);
                self.resolved.remove(&key);
            }
            return;
        }
        let Some(active) = self.active.get(&key) else { return };
        let kept = active.fired.is_some() && now - active.last_true < rule.keeps_firing();
        if kept {
            return;
        }
        if let Some(fired) = active.fired {
            self.resolved.insert(key, Resolved { fired, at: now, sent: None });
        }
        self.active.remove(&key);
    }

    /// What is to be told now.
    fn due(&mut self, now: Millis) -> Vec<Sent> {
        let is_due = |sent: Option<Millis>| sent.is_none_or(|sent| now >= sent + RESEND_DELAY);
        let mut due = Vec::new();
        for (&key, active) in &mut self.active {
            let Some(starts_at) = active.fired.filter(|_| is_due(active.sent)) else { continue };
            active.sent = Some(now);
            due.push(Sent { key, starts_at, ends_at: now + 4 * RESEND_DELAY, sent: now });
        }
        self.resolved.retain(|_, resolved| now - resolved.at < RESOLVED_FOR);
        for (&key, resolved) in self.resolved.iter_mut().filter(|(_, it)| is_due(it.sent)) {
            resolved.sent = Some(now);
            due.push(Sent { key, starts_at: resolved.fired, ends_at: resolved.at, sent: now });
        }
        due
    }
}

/// One Alertmanager.
#[derive(Default)]
pub(super) struct Alertmanager {
    pub(super) down: bool,
    pub(super) started: Millis,
    alerts: BTreeMap<Key, Sent>,
}

impl Alertmanager {
    /// It dies, and with it all that it holds.
    pub(super) fn die(&mut self) {
        *self = Self { down: true, ..Self::default() };
    }

    /// What it is told it merges with what it holds: where both are one stretch of
    /// time, the beginning is the earlier, and the newer word on the end counts.
    fn take(&mut self, alert: Sent) {
        let held = self.alerts.get(&alert.key);
        let starts_at = held
            .filter(|held| held.ends_at >= alert.starts_at && alert.ends_at >= held.starts_at)
            .map_or(alert.starts_at, |held| held.starts_at.min(alert.starts_at));
        if held.is_none_or(|held| held.sent <= alert.sent) {
            self.alerts.insert(alert.key, Sent { starts_at, ..alert });
        }
    }

    /// What has not ended.
    pub(super) fn firing(&self, now: Millis) -> impl Iterator<Item = &Sent> {
        self.alerts.values().filter(move |alert| alert.ends_at > now)
    }
}

/// The masters.
#[derive(Default)]
pub(super) struct Masters {
    /// None of them leads.
    pub(super) headless: bool,
    pub(super) leader: usize,
}

/// Whom the remediator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Alertmanager(usize),
    Prometheus(usize),
    Mesos,
}

impl World {
    fn labels(&self, (rule, subject): Key) -> Labels {
        let mut labels = rule.labels();
        if let Some(subject) = subject {
            let (name, value) = match rule {
                Rule::Watchdog => ("prometheus", subject.to_string()),
                _ => ("host", self.hosts[subject].name.to_string()),
            };
            labels.insert(name.to_owned(), value);
        }
        labels
    }

    /// It scrapes every host at once: what lies between two scrapes is nothing
    /// that anybody here waits for.
    pub(super) fn scrape(&mut self, number: usize) {
        let Self { now, hosts, prometheus, .. } = self;
        let prometheus = &mut prometheus[number];
        let scraped = hosts.iter().zip(&mut prometheus.scrapes).filter(|_| prometheus.up);
        for (host, sample) in scraped {
            let up = host.silent_since.is_none();
            let check_failed = up && host.sick_since.is_some();
            *sample = Some(Sample { at: *now, up, check_failed });
        }
    }

    pub(super) fn evaluate(&mut self, number: usize) {
        let (now, tasks_lost) = (self.now, self.chaos.tasks_lost);
        let hosts = self.hosts.len();
        let prometheus = &mut self.prometheus[number];
        if !prometheus.up || prometheus.broken {
            return;
        }
        prometheus.evaluated = Some(now);
        for rule in RULES {
            let subjects: Vec<Option<usize>> = match rule {
                Rule::HostCheckFailed | Rule::ExporterSilent => (0..hosts).map(Some).collect(),
                Rule::TasksLost => vec![None],
                Rule::Watchdog => vec![Some(number)],
            };
            for host in subjects {
                let is_true = prometheus.is_true((rule, host), tasks_lost);
                prometheus.evaluate_one((rule, host), is_true, now);
            }
        }
        let due = prometheus.due(now);
        if due.is_empty() {
            return;
        }
        for alertmanager in 0..self.alertmanagers.len() {
            if !self.prometheus[number].cut_off.contains(&alertmanager) {
                let delay = self.dice.u64(1..2 * SECOND);
                self.after(delay, Event::Deliver { alertmanager, alerts: due.clone() });
            }
        }
    }

    pub(super) fn deliver(&mut self, alertmanager: usize, alerts: Vec<Sent>) {
        let it = &mut self.alertmanagers[alertmanager];
        if !it.down {
            alerts.into_iter().for_each(|alert| it.take(alert));
        }
    }

    fn answer_alertmanager(&mut self, number: usize) -> Answer<facts::Alertmanager> {
        let now = self.now;
        let it = &self.alertmanagers[number];
        if it.down {
            return Err("the connection was refused".into());
        }
        let alerts = it.firing(now).map(|sent| {
            let silenced = self.chaos.is_silenced(sent.key);
            facts::Alert {
                fingerprint: format!("{:?}", sent.key),
                labels: self.labels(sent.key),
                starts_at: instant(sent.starts_at),
                ends_at: instant(sent.ends_at),
                updated_at: instant(sent.sent),
                suppression: silenced.then(|| Suppression::Silenced(vec!["s1".into()])),
            }
        });
        Ok(facts::Alertmanager {
            now: instant(now - now % SECOND),
            uptime: Duration::from_millis(now - it.started),
            settled: now - it.started > SETTLE,
            alerts: alerts.collect(),
        })
    }

    fn answer_prometheus(&mut self, number: usize) -> Answer<facts::Prometheus> {
        let it = &self.prometheus[number];
        if !it.up {
            return Err("the connection was refused".into());
        }
        let up = self.hosts.iter().zip(&it.scrapes).filter_map(|(host, sample)| {
            let sample = (*sample)?;
            Some((host.name.to_string(), Scrapes::one(sample.up, instant(sample.at))))
        });
        let rules = RULES.map(|rule| AlertingRule {
            name: rule.name().into(),
            labels: rule.labels(),
            failure: it.broken.then(|| "many-to-many matching not allowed".into()),
            evaluated_at: it.evaluated.map(instant),
            interval: Duration::from_secs(15),
        });
        let active = it.active.iter().map(|(&key, active)| ActiveAlert {
            labels: self.labels(key),
            firing: active.fired.is_some(),
            value: "0".into(),
        });
        Ok(facts::Prometheus {
            now: instant(self.now),
            up: up.collect(),
            rules: rules.into(),
            active: active.collect(),
        })
    }

    fn answer_mesos(&mut self, masters: &[Url]) -> Answer<Mesos> {
        if self.masters.headless {
            return Err("no master leads".into());
        }
        let agent = |host: &super::world::Host| facts::Agent {
            id: format!("{}-{}", host.name, host.agent_number),
            hostname: host.name.to_string(),
            ip: (host.agent != Agent::Recovered).then(|| Ipv4Addr::LOCALHOST.into()),
            attributes: [("rack".to_owned(), host.rack.to_owned())].into_iter().collect(),
            active: host.agent == Agent::Registered,
            deactivated: false,
        };
        let listed = |wanted: &[Agent]| {
            let hosts = self.hosts.iter().filter(|host| wanted.contains(&host.agent));
            hosts.map(agent).collect::<Vec<_>>()
        };
        Ok(Mesos {
            leader: crate::sources::shown(&masters[self.masters.leader % masters.len()]),
            registered: listed(&[Agent::Registered, Agent::Inactive]),
            recovered: listed(&[Agent::Recovered]),
        })
    }
}

/// The remediator's way to the peers of the world.
pub(super) struct Peers(pub(super) Shared);

impl Peers {
    /// Asks, and waits for the answer, which is that of an instant in between.
    async fn ask<T: Send + 'static>(
        &self,
        source: Source,
        answer: impl FnOnce(&mut World) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        let slow = self.0.with(|world| world.chaos.slow.contains(&source));
        let there = if slow { 500..=4 * SECOND } else { 1..=15 };
        let back = if slow { 1..=SECOND } else { 1..=15 };
        let answer = move |world: &mut World| {
            (!world.chaos.out_of_reach.contains(&source)).then(|| answer(world))
        };
        if let Some(answer) = self.0.have(there, back, answer).await {
            return answer;
        }
        self.0.pass(1..=5 * SECOND).await;
        Err("no whole answer within 5s".into())
    }
}

/// The peers are numbered by their ports.
fn number(url: &Url) -> usize {
    url.port().map_or(0, |port| usize::from(port % 10))
}

impl Sources for Peers {
    fn alertmanager<'a>(&'a self, url: &'a Url) -> BoxFuture<'a, Answer<facts::Alertmanager>> {
        let number = number(url);
        async move {
            let source = Source::Alertmanager(number);
            let answer = self.ask(source, move |world| world.answer_alertmanager(number)).await;
            self.0.with(|world| world.saw_alerts(self.0.who, number, &answer));
            answer
        }
        .boxed()
    }

    fn prometheus<'a>(
        &'a self,
        url: &'a Url,
        _host_label: &'a str,
    ) -> BoxFuture<'a, Answer<facts::Prometheus>> {
        let number = number(url);
        self.ask(Source::Prometheus(number), move |world| world.answer_prometheus(number)).boxed()
    }

    fn mesos<'a>(&'a self, masters: &'a [Url]) -> BoxFuture<'a, Answer<Mesos>> {
        async move {
            let named = masters.to_vec();
            let answer = self.ask(Source::Mesos, move |world| world.answer_mesos(&named)).await;
            self.0.with(|world| world.saw_agents(self.0.who, &answer));
            answer
        }
        .boxed()
    }
}
