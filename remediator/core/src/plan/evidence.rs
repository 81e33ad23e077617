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
    facts::{ActiveAlert, Prometheus},
    host::HostName,
    time::since,
};

/// An older scrape says nothing of now.
pub const MAX_SCRAPE_AGE: Duration = Duration::from_secs(120);

/// The alerts of one Prometheus by their host, made once in a round: every host
/// that is off asks for its own.
pub(super) type Complaints<'a> = BTreeMap<&'a str, Vec<&'a ActiveAlert>>;

impl Round<'_> {
    /// Says which Prometheus cannot be believed, and notes which came back.
    pub(super) fn judge_prometheus(&mut self) {
        let facts = self.facts;
        for (url, answer) in &facts.prometheus {
            let verdict = match answer {
                Err(reason) => Err(format!("does not answer: {reason}")),
                Ok(answer) => {
                    let former = self.former_memory.prometheus_back.get(url).copied();
                    self.memory.prometheus_back.insert(url.clone(), former.unwrap_or(answer.now));
                    let complaints = complaints(answer, &self.policy.host_label);
                    self.complaints.insert(url, complaints);
                    rules_work(answer)
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
        let former = self.former_memory.well_since.get(host).and_then(|it| it.get(url)).copied();
        // When the sample was there for sure: its own instant is the begin of the
        // scrape, and a rule that is evaluated before the end does not see it.
        let well_since = former.unwrap_or(answer.now);
        let of_host: &mut BTreeMap<String, Timestamp> =
            self.memory.well_since.entry(host.clone()).or_default();
        of_host.insert(url.to_owned(), well_since);
        self.no_complaint(url, host)?;
        rules_work(answer)?;
        let lost = document
            .alert_causes()
            .map(|(_, _, evidence)| &evidence.alertname)
            .find(|name| !answer.rules.iter().any(|rule| rule.name == **name));
        if let Some(name) = lost {
            return Err(format!("has no rule {name} that could complain"));
        }
        let evaluated_since = |evaluated: Option<Timestamp>| evaluated > Some(well_since);
        let late = answer.rules.iter().find(|it| !evaluated_since(it.evaluated_at));
        late.map_or(Ok(()), |rule| {
            Err(format!("has not evaluated {} since it scraped the host well", rule.name))
        })
    }

    fn no_complaint(&self, url: &str, host: &HostName) -> Result<(), String> {
        let of_host = self.complaints.get(url).and_then(|by_host| by_host.get(host.as_str()));
        let complaint = of_host.and_then(|complaints| complaints.first());
        complaint.map_or(Ok(()), |active| {
            let state = if active.firing { "firing" } else { "pending" };
            let name = active.labels.get("alertname").map_or("an alert", String::as_str);
            Err(format!("has {name} {state}"))
        })
    }
}

fn complaints<'a>(answer: &'a Prometheus, host_label: &str) -> Complaints<'a> {
    let mut by_host = Complaints::new();
    for active in &answer.active {
        if let Some(host) = active.labels.get(host_label) {
            by_host.entry(host.as_str()).or_default().push(active);
        }
    }
    by_host
}

/// When the host was last scraped, if all of its targets are up and fresh.
fn scraped(answer: &Prometheus, host: &HostName) -> Result<Timestamp, String> {
    let scrapes = answer.up.get(host.as_str()).map_or(&[][..], Vec::as_slice);
    if scrapes.iter().any(|scrape| !scrape.up) {
        return Err("could not scrape its exporter".into());
    }
    let oldest = scrapes.iter().map(|scrape| scrape.at).min();
    let oldest = oldest.ok_or("does not scrape it")?;
    if since(oldest, answer.now) >= MAX_SCRAPE_AGE {
        return Err(format!("last scraped it at {oldest:.0}"));
    }
    Ok(oldest)
}

/// Whether a Prometheus could complain at all.
fn rules_work(answer: &Prometheus) -> Result<(), String> {
    if answer.rules.is_empty() {
        return Err("has no alerting rule with a remediate label".into());
    }
    for rule in &answer.rules {
        if let Some(failure) = &rule.failure {
            return Err(format!("cannot evaluate {}: {failure}", rule.name));
        }
    }
    Ok(())
}
