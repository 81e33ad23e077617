//! The peers of the small world: Prometheus, Alertmanager and the hosts, as far
//! as the core can tell them from the real ones.
//!
//! They keep the habits that hurt: a Prometheus that is killed forgets its
//! alerts and keeps its samples, an Alertmanager that is killed forgets
//! everything until it is told again, alerts run out on clocks of their own.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    facts::{self, ActiveAlert, AlertingRule, Scrapes, Suppression},
    matcher::Labels,
};

/// Seconds since the world began.
pub(super) type Seconds = u64;

/// How often a Prometheus sends what still fires.
pub(super) const RESEND_DELAY: Seconds = 60;
/// How long after its last sending an alert ends by itself.
pub(super) const EXPIRY: Seconds = 4 * RESEND_DELAY;
/// How long a Prometheus goes on saying that an alert is resolved.
const RESOLVED_RETENTION: Seconds = 15 * 60;
/// How old a sample may be for an expression to see it.
const LOOKBACK: Seconds = 5 * 60;

/// An instant of the world by the wall clock.
pub(super) fn at(seconds: Seconds) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + i64::try_from(seconds).unwrap()).unwrap()
}

/// A node of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Whether its host check fails.
    pub(super) sick: bool,
    /// Whether its exporter is dead.
    pub(super) silent: bool,
    pub(super) agent: Agent,
    /// How often its agent was given a new id.
    pub(super) reinstalls: u32,
}

impl Node {
    pub(super) fn healthy() -> Self {
        Self { sick: false, silent: false, agent: Agent::Registered, reinstalls: 0 }
    }
}

/// A node's agent as the leading master has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    Registered,
    /// Registered, but its offers are stopped.
    Inactive,
    /// Known from the registry, not yet back after a fail-over.
    Recovered,
    /// Not listed at all.
    Lost,
}

/// All that can be sick.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) losing_tasks: bool,
}

/// A simulated Prometheus.
#[derive(Debug, Clone)]
pub(super) struct Prometheus {
    pub(super) name: String,
    pub(super) alive: bool,
    pub(super) rules: Vec<Rule>,
    /// Whether it scrapes the nodes at all.
    pub(super) scrapes: bool,
    samples: BTreeMap<String, Sample>,
    alerts: BTreeMap<(&'static str, String), Active>,
}

/// One alerting rule of it.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    expression: Expression,
    /// Its `for`.
    pub(super) waits: Seconds,
    /// Whether it sets the label `remediate`.
    pub(super) labelled: bool,
    /// Whether it cannot be evaluated from now on.
    pub(super) fails: bool,
    /// Whether its last evaluation failed.
    failed: bool,
    evaluated: Option<Seconds>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expression {
    CheckFails,
    ExporterSilent,
    TasksLost,
    Always,
    Never,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Seconds,
    up: bool,
    /// What the host check said; unknown while the exporter is silent.
    sick: Option<bool>,
}

#[derive(Debug, Clone)]
struct Active {
    since: Seconds,
    firing_since: Option<Seconds>,
    resolved: Option<Seconds>,
    sent: Option<Seconds>,
}

impl Prometheus {
    pub(super) fn new(name: &str) -> Self {
        let rule = |name, expression| Rule {
            name,
            expression,
            waits: 0,
            labelled: name != "Watchdog",
            fails: false,
            failed: false,
            evaluated: None,
        };
        Self {
            name: name.to_owned(),
            alive: true,
            rules: vec![
                rule("HostCheckFailed", Expression::CheckFails),
                rule("ExporterSilent", Expression::ExporterSilent),
                rule("TasksLost", Expression::TasksLost),
                // The stories tell Alertmanagers of this one by hand.
                rule("DiskFull", Expression::Never),
                rule("Watchdog", Expression::Always),
            ],
            scrapes: true,
            samples: BTreeMap::new(),
            alerts: BTreeMap::new(),
        }
    }

    pub(super) fn rule(&mut self, name: &str) -> &mut Rule {
        self.rules.iter_mut().find(|rule| rule.name == name).unwrap()
    }

    /// `kill -9`: alerts live in memory, samples on disk.
    pub(super) fn kill(&mut self) {
        self.alive = false;
        self.alerts.clear();
        self.rules.iter_mut().for_each(|rule| rule.evaluated = None);
    }

    pub(super) fn start(&mut self) {
        self.alive = true;
    }

    /// It is restarted at once, on an empty disk.
    pub(super) fn restart_empty(&mut self) {
        self.kill();
        self.samples.clear();
        self.start();
    }

    /// Takes a sample of every node.
    pub(super) fn scrape(&mut self, cluster: &Cluster, now: Seconds) {
        if !self.alive || !self.scrapes {
            return;
        }
        for (host, node) in &cluster.nodes {
            let sick = (!node.silent).then_some(node.sick);
            self.samples.insert(host.clone(), Sample { at: now, up: !node.silent, sick });
        }
    }

    /// Evaluates every rule and sends what is due.
    pub(super) fn evaluate(&mut self, cluster: &Cluster, now: Seconds, to: &mut [Alertmanager]) {
        if !self.alive {
            return;
        }
        let rules = std::mem::take(&mut self.rules);
        for rule in rules {
            self.evaluate_rule(&rule, cluster, now);
            self.rules.push(Rule { evaluated: Some(now), failed: rule.fails, ..rule });
        }
        self.send(now, to);
    }

    fn evaluate_rule(&mut self, rule: &Rule, cluster: &Cluster, now: Seconds) {
        if rule.fails {
            return;
        }
        let fresh = |sample: &&Sample| now.saturating_sub(sample.at) < LOOKBACK;
        let sample = |host: &str| self.samples.get(host).filter(fresh);
        let mut subjects: Vec<String> = cluster.nodes.keys().cloned().collect();
        subjects.retain(|host| match rule.expression {
            Expression::CheckFails => sample(host).is_some_and(|it| it.sick == Some(true)),
            Expression::ExporterSilent => sample(host).is_some_and(|it| !it.up),
            Expression::TasksLost | Expression::Always | Expression::Never => false,
        });
        match rule.expression {
            Expression::TasksLost if cluster.losing_tasks => subjects.push(String::new()),
            Expression::Always => subjects.push(String::new()),
            _ => {}
        }
        let ended = |active: &Active| active.resolved.is_some();
        for subject in &subjects {
            let key = (rule.name, subject.clone());
            let begun = Active { since: now, firing_since: None, resolved: None, sent: None };
            let active = self.alerts.entry(key).or_insert_with(|| begun.clone());
            if ended(active) {
                *active = begun;
            }
            if now - active.since >= rule.waits {
                active.firing_since.get_or_insert(now);
            }
        }
        self.alerts.retain(|(name, subject), active| {
            if *name != rule.name || subjects.contains(subject) {
                return true;
            }
            let resolved = *active.resolved.get_or_insert(now);
            active.firing_since.is_some() && now - resolved < RESOLVED_RETENTION
        });
    }

    fn send(&mut self, now: Seconds, to: &mut [Alertmanager]) {
        for ((name, subject), active) in &mut self.alerts {
            let Some(firing_since) = active.firing_since else { continue };
            let just_resolved = active.resolved == Some(now);
            let due = active.sent.is_none_or(|sent| now - sent >= RESEND_DELAY);
            if !due && !just_resolved {
                continue;
            }
            active.sent = Some(now);
            let labelled = self.rules.iter().any(|it| it.name == *name && it.labelled);
            let mut labels = labels_of(name, subject, labelled);
            if *name == "Watchdog" {
                labels.insert("prometheus".into(), self.name.clone());
            }
            let ends = active.resolved.unwrap_or(now + EXPIRY);
            for alertmanager in to.iter_mut().filter(|it| it.hears) {
                alertmanager.receive(labels.clone(), firing_since, ends, now);
            }
        }
    }

    /// What it answers; `None` while it is dead.
    pub(super) fn answer(&self, now: Seconds) -> Option<facts::Prometheus> {
        let scrape = |it: &Sample| Scrapes::one(it.up, at(it.at));
        let fresh = self.samples.iter().filter(|(_, it)| now - it.at < LOOKBACK);
        let labelled = |name: &str| self.rules.iter().any(|it| it.name == name && it.labelled);
        let active = self.alerts.iter().filter(|((name, _), it)| {
            it.resolved.is_none() && self.rules.iter().any(|rule| rule.name == *name)
        });
        self.alive.then(|| facts::Prometheus {
            now: at(now),
            up: fresh.map(|(host, it)| (host.clone(), scrape(it))).collect(),
            rules: self
                .rules
                .iter()
                .map(|rule| AlertingRule {
                    name: rule.name.to_owned(),
                    labels: Labels::from_iter(
                        rule.labelled.then(|| ("remediate".to_owned(), "host".to_owned())),
                    ),
                    failure: rule.failed.then(|| "many-to-many matching".to_owned()),
                    evaluated_at: rule.evaluated.map(at),
                    interval: Duration::from_secs(15),
                })
                .collect(),
            active: active
                .map(|((name, subject), it)| ActiveAlert {
                    labels: labels_of(name, subject, labelled(name)),
                    firing: it.firing_since.is_some(),
                    value: "1".into(),
                })
                .collect(),
        })
    }
}

/// The labels of an alert; a cluster's alert has no host.
pub(super) fn labels(alertname: &str, host: &str) -> Labels {
    let mut labels = Labels::from([("alertname".into(), alertname.into())]);
    match (alertname, host) {
        ("Watchdog", _) => None,
        (_, "") => labels.insert("remediate".into(), "cluster".into()),
        (_, host) => {
            labels.insert("host".into(), host.into());
            labels.insert("remediate".into(), "host".into())
        }
    };
    labels
}

fn labels_of(alertname: &str, host: &str, labelled: bool) -> Labels {
    let mut labels = labels(alertname, host);
    labels.retain(|name, _| labelled || name != "remediate");
    labels
}

/// A simulated Alertmanager.
#[derive(Debug, Clone)]
pub(super) struct Alertmanager {
    pub(super) url: String,
    pub(super) alive: bool,
    /// Whether the remediator gets answers from it.
    pub(super) answers: bool,
    /// Whether what a Prometheus sends arrives.
    pub(super) hears: bool,
    pub(super) settled: bool,
    /// How many seconds the clocks of it and of those who send to it are ahead.
    pub(super) ahead: i64,
    started: Seconds,
    alerts: BTreeMap<Labels, Held>,
    suppressions: BTreeMap<Labels, Suppression>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    starts: Seconds,
    ends: Seconds,
    updated: Seconds,
}

impl Alertmanager {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            alive: true,
            answers: true,
            hears: true,
            settled: true,
            ahead: 0,
            started: 0,
            alerts: BTreeMap::new(),
            suppressions: BTreeMap::new(),
        }
    }

    /// Stops and starts it: it holds nothing until it is told again.
    pub(super) fn restart(&mut self, now: Seconds) {
        self.alive = true;
        self.started = now;
        self.alerts.clear();
    }

    pub(super) fn kill(&mut self) {
        self.alive = false;
        self.alerts.clear();
    }

    /// Holds back one alert from now on.
    pub(super) fn suppress(&mut self, labels: Labels, how: Suppression) {
        self.suppressions.insert(labels, how);
    }

    pub(super) fn unsuppress(&mut self, labels: &Labels) {
        self.suppressions.remove(labels);
    }

    /// Takes an alert in; one whose end has come is not held any more.
    pub(super) fn receive(&mut self, labels: Labels, starts: Seconds, ends: Seconds, now: Seconds) {
        if !self.alive {
            return;
        }
        if ends <= now {
            self.alerts.remove(&labels);
        } else {
            self.alerts.insert(labels, Held { starts, ends, updated: now });
        }
    }

    /// Lets go of what has run out.
    pub(super) fn expire(&mut self, now: Seconds) {
        self.alerts.retain(|_, held| now < held.ends);
    }

    /// What it answers; `None` while it is dead or out of reach.
    pub(super) fn answer(&self, now: Seconds) -> Option<facts::Alertmanager> {
        let at = |seconds| at(seconds) + jiff::SignedDuration::from_secs(self.ahead);
        let alert = |(labels, held): (&Labels, &Held)| facts::Alert {
            fingerprint: format!("{labels:?}"),
            labels: labels.clone(),
            starts_at: at(held.starts),
            ends_at: at(held.ends),
            updated_at: at(held.updated),
            suppression: self.suppressions.get(labels).cloned(),
        };
        (self.alive && self.answers).then(|| facts::Alertmanager {
            now: at(now),
            uptime: Duration::from_secs(now - self.started),
            settled: self.settled,
            alerts: self.alerts.iter().map(alert).collect(),
        })
    }
}
