//! Whether somebody positively says that a host is well.
//!
//! It takes one Prometheus that scrapes the host now, evaluates the rules that
//! could complain of it, has evaluated them since it saw the host well, and has
//! no complaint, not even one that still waits for its `for`. This is what
//! stands between a Prometheus that has just been restarted, which remembers no
//! alert, and a sick host that is given back.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::Round;
use crate::{
    document::HostDocument,
    facts::{ActiveAlert, AlertingRule, Prometheus, Scrapes},
    host::HostName,
    policy::{Policy, is_remediated},
    time::since,
};

/// An older scrape says nothing of now.
pub(super) const MAX_SCRAPE_AGE: Duration = Duration::from_secs(120);

/// A rule that has not been evaluated for so many of its intervals has stalled: what it
/// found then says nothing of now.
const STALLED_INTERVALS: u32 = 3;
/// But for short intervals, which a busy machine misses by seconds.
const STALLED_AT_LEAST: Duration = Duration::from_secs(30);

/// What one Prometheus that answers has to say, sorted once in a round: every
/// host that is off asks.
pub(super) struct Witness<'a> {
    /// What is pending or firing, sorted by the host that it names.
    complaints: Vec<(&'a str, &'a ActiveAlert)>,
    /// Its rules by the name of their alerts; several may share one.
    by_name: BTreeMap<&'a str, Vec<&'a AlertingRule>>,
    /// Why the rules that may take a host off or hold cannot be relied upon.
    fault: Option<String>,
    /// The one of those that was evaluated the longest ago.
    stalest: Option<&'a AlertingRule>,
    /// Its own clock.
    now: Timestamp,
}

impl<'a> Witness<'a> {
    fn of(answer: &'a Prometheus, policy: &Policy) -> Self {
        let named = |active: &'a ActiveAlert| {
            active.labels.get(&policy.host_label).map(|host| (host.as_str(), active))
        };
        let mut complaints: Vec<_> = answer.active.iter().filter_map(named).collect();
        complaints.sort_by_key(|(host, _)| *host);
        let mut by_name: BTreeMap<&str, Vec<&AlertingRule>> = BTreeMap::new();
        for rule in &answer.rules {
            by_name.entry(&rule.name).or_default().push(rule);
        }
        let concerned =
            answer.rules.iter().filter(|rule| policy.concerns(&rule.name, &rule.labels));
        let stalest = concerned.clone().min_by_key(|rule| rule.evaluated_at);
        let none = stalest.is_none().then(|| {
            "has no alerting rule with a remediate label, nor one that the policy names".into()
        });
        let fault =
            none.or_else(|| concerned.clone().find_map(|rule| works(rule, answer.now).err()));
        Self { complaints, by_name, fault, stalest, now: answer.now }
    }

    /// What is pending or firing of one host.
    pub(super) fn complaints_of(&self, host: &str) -> impl Iterator<Item = &'a ActiveAlert> {
        let begin = self.complaints.partition_point(|(it, _)| *it < host);
        let of_host = self.complaints[begin..].iter().take_while(move |(it, _)| *it == host);
        of_host.map(|(_, active)| *active)
    }

    /// Whether all that could complain of the host works and has looked since `well`.
    fn has_looked(&self, document: &HostDocument, well: Timestamp) -> Result<(), String> {
        let mut of_causes = Vec::new();
        for (_, _, evidence) in document.alert_causes() {
            let name = evidence.alertname.as_str();
            let rules = self.by_name.get(name).ok_or_else(|| {
                format!(
                    "has no rule {name} that could complain; if it was renamed or removed, \
                     `satctl on` gives the host back"
                )
            })?;
            of_causes.extend(rules.iter().copied());
        }
        of_causes.iter().try_for_each(|rule| works(rule, self.now))?;
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut rules = of_causes.into_iter().chain(self.stalest);
        let late = rules.find(|rule| rule.evaluated_at <= Some(well));
        late.map_or(Ok(()), |rule| {
            Err(format!("has not evaluated {} since it scraped the host well", rule.name))
        })
    }
}

impl<'a> Round<'a> {
    /// Says which Prometheus cannot be believed, and notes which came back.
    pub(super) fn judge_prometheus(&mut self) {
        let facts = self.facts;
        for (url, answer) in &facts.prometheus {
            let verdict = match answer {
                Err(reason) => Err(format!("does not answer: {reason}")),
                Ok(answer) => {
                    let former = self.former_memory.prometheus_back.get(url).copied();
                    self.memory.prometheus_back.insert(url.clone(), former.unwrap_or(answer.now));
                    let witness = Witness::of(answer, self.policy);
                    let verdict = witness.fault.clone().map_or(Ok(()), Err);
                    self.witnesses.insert(url, witness);
                    verdict
                }
            };
            if let Err(reason) = verdict {
                self.blind(format!("prometheus/{url}"), reason);
            }
        }
    }

    /// Whether any one Prometheus says that the host is well; if not, what each
    /// of them lacks.
    pub(super) fn says_well(
        &mut self,
        host: &HostName,
        document: &HostDocument,
    ) -> Result<(), String> {
        let mut lacks = Vec::new();
        let mut well = false;
        for (url, answer) in &self.facts.prometheus {
            let judged = match answer {
                Err(reason) => Err(format!("does not answer: {reason}")),
                Ok(answer) => self.one_says_well(url, answer, host, document),
            };
            match judged {
                Ok(()) => well = true,
                Err(lack) => lacks.push(format!("{url} {lack}")),
            }
        }
        if well { Ok(()) } else { Err(lacks.join("; ")) }
    }

    fn one_says_well(
        &mut self,
        url: &str,
        answer: &Prometheus,
        host: &HostName,
        document: &HostDocument,
    ) -> Result<(), String> {
        let scraped = scraped(answer, host)?;
        let back = self.memory.prometheus_back.get(url).copied().unwrap_or(answer.now);
        if scraped <= back {
            return Err("has not scraped it since it came back into sight".into());
        }
        // With a complaint it was not well, though it was scraped. One that is gone may be
        // forgotten by a Prometheus that was restarted unseen, and has no sample yet.
        self.no_complaint(url, host, document)?;
        let former = self.former_memory.well_since.get(host).and_then(|it| it.get(url)).copied();
        // When the sample was there for sure: its own instant is the begin of the
        // scrape, and a rule that is evaluated before the end does not see it.
        let well_since = former.unwrap_or(answer.now);
        let of_host: &mut BTreeMap<String, Timestamp> =
            self.memory.well_since.entry(host.clone()).or_default();
        of_host.insert(url.to_owned(), well_since);
        let witness = self.witnesses.get(url).ok_or("was not asked")?;
        witness.has_looked(document, well_since)
    }

    /// Anything that would take the host off again, and whatever took it off, with
    /// any labels.
    fn no_complaint(
        &self,
        url: &str,
        host: &HostName,
        document: &HostDocument,
    ) -> Result<(), String> {
        let name = |active: &'a ActiveAlert| active.labels.get("alertname");
        let complains = |active: &&'a ActiveAlert| {
            let mut causes = document.alert_causes().map(|(_, _, evidence)| &evidence.alertname);
            is_remediated(&active.labels)
                || self.policy.accused(&active.labels).is_some()
                || causes.any(|cause| Some(cause) == name(active))
        };
        let witness = self.witnesses.get(url);
        let mut of_host = witness.into_iter().flat_map(|it| it.complaints_of(host.as_str()));
        of_host.find(complains).map_or(Ok(()), |active| {
            let state = if active.firing { "firing" } else { "pending" };
            Err(format!("has {} {state}", name(active).map_or("an alert", String::as_str)))
        })
    }
}

/// When the host was last scraped, if all of its targets are up and fresh.
fn scraped(answer: &Prometheus, host: &HostName) -> Result<Timestamp, String> {
    let Scrapes { all_up, oldest, .. } =
        *answer.up.get(host.as_str()).ok_or("does not scrape it")?;
    if !all_up {
        return Err("could not scrape its exporter".into());
    }
    if since(oldest, answer.now) >= MAX_SCRAPE_AGE {
        return Err(format!("last scraped it at {oldest:.0}"));
    }
    Ok(oldest)
}

/// Whether a rule is evaluated, and successfully. One that is new has yet to be, which is
/// no fault.
fn works(rule: &AlertingRule, now: Timestamp) -> Result<(), String> {
    if let Some(failure) = &rule.failure {
        return Err(format!("cannot evaluate {}: {failure}", rule.name));
    }
    let longest = rule.interval.saturating_mul(STALLED_INTERVALS).max(STALLED_AT_LEAST);
    match rule.evaluated_at {
        Some(at) if since(at, now) > longest => {
            Err(format!("has not evaluated {} since {at:.0}", rule.name))
        }
        _ => Ok(()),
    }
}
