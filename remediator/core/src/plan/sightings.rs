//! Which alerts are whose: every alert of every Alertmanager, sorted by what
//! the policy does with it.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Block, Round, Unmatched,
    absence::{AlertKey, Subject},
};
use crate::{
    document::{Evidence, HostDocument},
    facts::{Alert, Suppression},
    host::HostName,
    policy::{Action, Policy, Rule},
};

/// The alerts of one round that concern somebody.
#[derive(Default)]
pub(super) struct Sightings<'a> {
    /// By alert name, and by host or by the rule that holds.
    pub(super) by_key: BTreeMap<AlertKey, Vec<Sighting<'a>>>,
    /// Alerts that a rule acts upon and that name no known host.
    pub(super) unmatched: BTreeSet<Unmatched>,
}

/// One alert at one Alertmanager.
#[derive(Clone, Copy)]
pub(super) struct Sighting<'a> {
    pub(super) peer: &'a str,
    pub(super) alert: &'a Alert,
    /// The rule that acts upon it; an alert of a host that is off may have none
    /// any more.
    pub(super) rule: Option<&'a Rule>,
}

impl Sighting<'_> {
    pub(super) fn is_suppressed(&self) -> bool {
        self.alert.suppression.is_some()
    }

    pub(super) fn why_suppressed(&self) -> String {
        match &self.alert.suppression {
            None => "not suppressed".into(),
            Some(Suppression::Silenced(ids)) => format!("silenced by {}", ids.join(", ")),
            Some(Suppression::Other(why)) => why.clone(),
        }
    }
}

impl<'a> Sightings<'a> {
    pub(super) fn of(&self, key: &AlertKey) -> &[Sighting<'a>] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// Everything that is shown of one host.
    pub(super) fn of_host(
        &self,
        host: &HostName,
    ) -> impl Iterator<Item = (&AlertKey, &Sighting<'a>)> {
        let first = AlertKey::of_host(host, "");
        self.by_key
            .range(first..)
            .take_while(move |(key, _)| matches!(&key.subject, Subject::Host(it) if it == host))
            .flat_map(|(key, sightings)| sightings.iter().map(move |sighting| (key, sighting)))
    }

    /// What is kept quiet of the host, and so freezes it in both directions.
    pub(super) fn freezes(&self, host: &HostName) -> impl Iterator<Item = Block> {
        let quiet = self.of_host(host).filter(|(_, sighting)| sighting.is_suppressed());
        quiet.map(|(key, sighting)| Block::Suppressed {
            alertname: key.alertname.clone(),
            why: sighting.why_suppressed(),
            peer: sighting.peer.to_owned(),
        })
    }
}

/// Sorts what the Alertmanagers show.
pub(super) fn sort<'a>(round: &Round<'a>) -> Sightings<'a> {
    let mut sightings = Sightings { by_key: BTreeMap::new(), unmatched: BTreeSet::new() };
    let namesakes = Namesakes::default();
    let answers = round.facts.alertmanagers.iter();
    for (peer, answer) in answers.filter_map(|(peer, answer)| Some((peer, answer.as_ref().ok()?))) {
        for alert in &answer.alerts {
            let rule = round.policy.rule_for(&alert.labels);
            match whose(round, &namesakes, alert, rule) {
                Whose::Host(key) | Whose::Cluster(key) => {
                    let sighting = Sighting { peer, alert, rule };
                    sightings.by_key.entry(key).or_default().push(sighting);
                }
                Whose::Nobody(unmatched) => {
                    sightings.unmatched.insert(unmatched);
                }
                Whose::NoConcern => {}
            }
        }
    }
    sightings
}

enum Whose {
    Host(AlertKey),
    Cluster(AlertKey),
    Nobody(Unmatched),
    NoConcern,
}

fn whose<'r>(
    round: &'r Round<'_>,
    namesakes: &Namesakes<'r>,
    alert: &Alert,
    rule: Option<&Rule>,
) -> Whose {
    let alertname = alert.name();
    if let Some(Rule { name, action: Action::Hold { .. }, .. }) = rule {
        return Whose::Cluster(AlertKey::of_hold(name, alertname));
    }
    let label = alert.labels.get(&round.policy.host_label).map_or("", String::as_str);
    match round.document(label) {
        // A host that is off keeps what took it off, even if the policy no
        // longer names it: only its end gives the host back.
        Some(document) if rule.is_some() || causes(document, alertname) => label
            .parse()
            .map_or(Whose::NoConcern, |host| Whose::Host(AlertKey::of_host(&host, alertname))),
        None if rule.is_some() => Whose::Nobody(Unmatched {
            alertname: alertname.to_owned(),
            host: label.to_owned(),
            near_miss: namesakes.near_miss(round, label),
        }),
        _ => Whose::NoConcern,
    }
}

fn causes(document: &HostDocument, alertname: &str) -> bool {
    document.alert_causes().any(|(_, _, evidence)| evidence.alertname == alertname)
}

/// The hosts by the first part of their names. Made when the first alert asks:
/// a wrong label is wrong in every alert, and there may be thousands.
#[derive(Default)]
struct Namesakes<'r> {
    by_first: OnceCell<BTreeMap<String, &'r HostName>>,
}

impl<'r> Namesakes<'r> {
    /// The host that was probably meant: the same name in another case, with
    /// another domain, or with a port.
    fn near_miss(&self, round: &'r Round<'_>, label: &str) -> Option<HostName> {
        let wanted = first_part(label);
        let is_address = label.starts_with(|it: char| it.is_ascii_digit());
        if wanted.is_empty() || is_address {
            let without_port = label.rsplit_once(':').map(|(address, _)| address)?;
            return round.document(without_port).and(without_port.parse().ok());
        }
        let by_first = self.by_first.get_or_init(|| {
            let mut by_first = BTreeMap::new();
            for (host, _) in round.documents() {
                by_first.entry(first_part(host.as_str())).or_insert(host);
            }
            by_first
        });
        by_first.get(&wanted).copied().cloned()
    }
}

fn first_part(name: &str) -> String {
    name.split(['.', ':']).next().unwrap_or_default().to_ascii_lowercase()
}

/// The alert as it is put on record.
pub(super) fn evidence(round: &Round<'_>, sighting: &Sighting<'_>) -> Evidence {
    let alert = sighting.alert;
    let host = alert.labels.get(&round.policy.host_label).map_or("", String::as_str);
    let value = round
        .witnesses
        .values()
        .filter_map(|witness| witness.complaints.get(host))
        .flatten()
        // Alertmanager may know labels that Prometheus adds on its way out.
        .find(|active| {
            active.labels.iter().all(|(name, value)| alert.labels.get(name) == Some(value))
        })
        .map(|active| active.value.clone());
    Evidence {
        alertname: alert.name().to_owned(),
        labels: alert.labels.clone(),
        starts_at: alert.starts_at,
        fingerprint: alert.fingerprint.clone(),
        value,
        seen_at: sighting.peer.to_owned(),
    }
}

/// How long a rule wants its alert to fire.
pub(super) fn wanted_firing(policy: &Policy, rule: &str) -> Duration {
    match policy.rule_named(rule).map(|rule| &rule.action) {
        Some(Action::Off { fires_for, .. }) => *fires_for,
        _ => Duration::ZERO,
    }
}
