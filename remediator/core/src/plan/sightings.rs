//! Which alerts are whose: every alert of every Alertmanager, sorted by what
//! the policy does with it.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{Block, Known, Round, Unmatched, absence::AlertKey};
use crate::{
    document::{Evidence, HostDocument},
    facts::{Alert, Suppression},
    host::HostName,
    policy::{Action, Rule},
};

/// The alerts of one round that concern somebody.
#[derive(Default)]
pub(super) struct Sightings<'a> {
    /// By host, sorted.
    pub(super) by_host: Vec<OfHost<'a>>,
    /// Of each alert by which a rule holds, who shows it.
    pub(super) holding: BTreeMap<AlertKey, Vec<Sighting<'a>>>,
    /// Alerts that a rule acts upon and that name no known host.
    pub(super) unmatched: BTreeSet<Unmatched>,
}

/// All that is shown of one host.
pub(super) struct OfHost<'a> {
    pub(super) known: Known<'a>,
    /// Sorted by the alerts' names, and of one alert by peer.
    pub(super) shown: Vec<Sighting<'a>>,
}

/// One alert at one Alertmanager.
#[derive(Clone, Copy)]
pub(super) struct Sighting<'a> {
    pub(super) peer: &'a str,
    pub(super) alertname: &'a str,
    pub(super) alert: &'a Alert,
    /// When it was seen, by the clock of the Alertmanager.
    pub(super) seen: Timestamp,
    /// The rule that acts upon it; what keeps a host off may have none any more that
    /// would take it off.
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
    /// Everything that is shown of one host, in the order of [`OfHost`].
    pub(super) fn of_host(&self, host: &HostName) -> &[Sighting<'a>] {
        let at = self.by_host.binary_search_by(|it| it.known.host.cmp(host));
        at.map_or(&[], |at| &self.by_host[at].shown)
    }
}

/// What is shown of one host, alert by alert.
pub(super) fn by_alert<'s, 'a>(
    shown: &'s [Sighting<'a>],
) -> impl Iterator<Item = (&'a str, &'s [Sighting<'a>])> {
    let alerts = shown.chunk_by(|a, b| a.alertname == b.alertname);
    alerts.map(|alert| (alert[0].alertname, alert))
}

/// What is shown of one alert of one host.
pub(super) fn of_alert<'s, 'a>(shown: &'s [Sighting<'a>], alertname: &str) -> &'s [Sighting<'a>] {
    let begin = shown.partition_point(|sighting| sighting.alertname < alertname);
    let end = shown.partition_point(|sighting| sighting.alertname <= alertname);
    &shown[begin..end]
}

/// What is kept quiet of one host, and so freezes it in both directions.
pub(super) fn freezes(shown: &[Sighting<'_>]) -> impl Iterator<Item = Block> {
    let quiet = shown.iter().filter(|sighting| sighting.is_suppressed());
    quiet.map(|sighting| Block::Suppressed {
        alertname: sighting.alertname.to_owned(),
        why: sighting.why_suppressed(),
        peer: sighting.peer.to_owned(),
    })
}

/// Sorts what the Alertmanagers show.
pub(super) fn sort<'a>(round: &Round<'a>) -> Sightings<'a> {
    let mut sightings = Sightings::default();
    let mut labelled = Vec::new();
    let answers = round.facts.alertmanagers.iter();
    for (peer, answer) in answers.filter_map(|(peer, answer)| Some((peer, answer.as_ref().ok()?))) {
        for alert in &answer.alerts {
            let (alertname, rule) = (alert.name(), round.policy.rule_for(&alert.labels));
            let sighting = Sighting { peer, alertname, alert, seen: answer.now, rule };
            if let Some(Rule { name, action: Action::Hold { .. }, .. }) = rule {
                let key = AlertKey::of_hold(name, alertname);
                sightings.holding.entry(key).or_default().push(sighting);
            }
            // What holds takes no host off, but may have, under an earlier policy.
            let rule = rule.filter(|rule| matches!(rule.action, Action::Off { .. }));
            labelled.push((round.policy.host_of(&alert.labels), Sighting { rule, ..sighting }));
        }
    }
    // Each host is looked up once, in the order of the documents; the sort is
    // stable, so that the peers stay in theirs.
    labelled.sort_by_key(|(label, sighting)| (*label, sighting.alertname));
    let namesakes = Namesakes::default();
    for shown in labelled.chunk_by(|(a, _), (b, _)| a == b) {
        let (label, shown) = (shown[0].0, shown.iter().map(|(_, sighting)| *sighting));
        if let Some(known) = round.known(label) {
            // A host that is off keeps what took it off, even if the policy no
            // longer names it: only its end gives the host back.
            let document = round.document_of(&known);
            let concerns = |it: &Sighting<'_>| it.rule.is_some() || causes(document, it.alertname);
            let shown: Vec<_> = shown.filter(concerns).collect();
            if !shown.is_empty() {
                sightings.by_host.push(OfHost { known, shown });
            }
        } else {
            let unmatched = shown.filter(|sighting| sighting.rule.is_some());
            sightings.unmatched.extend(unmatched.map(|sighting| Unmatched {
                alertname: sighting.alertname.to_owned(),
                host: label.to_owned(),
                near_miss: namesakes.near_miss(round, label),
            }));
        }
    }
    sightings
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
    let host = round.policy.host_of(&alert.labels);
    let value = round
        .witnesses
        .values()
        .flat_map(|witness| witness.complaints_of(host))
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
pub(super) fn wanted_firing(rule: &Rule) -> Duration {
    match rule.action {
        Action::Off { fires_for, .. } => fires_for,
        Action::Hold { .. } => Duration::ZERO,
    }
}
