//! What is believed to be gone.
//!
//! An alert that is not shown proves nothing by itself: the Alertmanager may
//! have been restarted, Prometheus may have died, the alert may have run out.
//! Its end is believed only if every Alertmanager answers, has run long enough
//! to have been told again, holds every Watchdog, and either lost the alert
//! well before it would have run out, or has heard from Prometheus since.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    Block, Known, Round,
    sightings::{OfHost, Sighting, Sightings, by_alert, of_alert},
};
use crate::{
    facts::{Alertmanager, Answer},
    host::HostName,
    matcher::MatcherSet,
    policy::Policy,
    time::{Now, earlier, later, since},
};

/// Prometheus sends an alert with an end so many resend delays ahead.
const EXPIRY_RESENDS: u32 = 4;
/// After so many resend delays an Alertmanager has been told all that fires.
const WARM_RESENDS: u32 = 2;

/// One alert, of one host or of the whole cluster. Other labels may come and go
/// while the trouble is the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AlertKey {
    /// Whose.
    pub(super) subject: Subject,
    /// Its name.
    pub(super) alertname: String,
}

/// Whose an alert is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The cluster's, for which a rule holds. Two rules may hold by one name of an
    /// alert, each for its own time.
    Cluster {
        /// The rule's name.
        rule: String,
    },
    /// A host's.
    Host(HostName),
}

impl AlertKey {
    pub(super) fn of_host(host: &HostName, alertname: &str) -> Self {
        Self { subject: Subject::Host(host.clone()), alertname: alertname.to_owned() }
    }

    pub(super) fn of_hold(rule: &str, alertname: &str) -> Self {
        let subject = Subject::Cluster { rule: rule.to_owned() };
        Self { subject, alertname: alertname.to_owned() }
    }
}

/// What this process knows of an alert from having watched it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Watched {
    /// What each Alertmanager showed of it.
    shown: Vec<(String, Shown)>,
    /// How long it has fired for each rule that acts upon it, by the rule's name,
    /// counted in rounds that were not blind.
    pub(super) fired_for: BTreeMap<String, Duration>,
    /// Since when, by uptime, it has been believed gone.
    gone_since: Option<Duration>,
    /// Since when, by uptime, it has been seen to hold.
    pub(super) held_since: Option<Duration>,
}

impl Watched {
    /// Nothing but since when it has been seen to hold.
    pub(super) fn held(since: Duration) -> Self {
        Self { held_since: Some(since), ..Self::default() }
    }

    fn shown_at(&self, url: &str) -> Option<Shown> {
        self.shown.iter().find(|(it, _)| it == url).map(|&(_, shown)| shown)
    }

    fn note(&mut self, url: &str, now: Shown) {
        match self.shown.iter_mut().find(|(it, _)| it == url) {
            Some((_, shown)) => *shown = now,
            None => self.shown.push((url.to_owned(), now)),
        }
    }
}

/// What one Alertmanager showed of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shown {
    /// When it would run out, by the Alertmanager's clock.
    ends_at: Timestamp,
    /// The same by uptime.
    expires: Duration,
    /// When, by uptime, it was first not shown any more.
    gone_at: Option<Duration>,
}

/// Whether an alert is there.
pub(super) enum Presence {
    /// It fires at this Alertmanager.
    Fires { peer: String },
    /// It is there, but kept quiet.
    Suppressed { peer: String, why: String },
    /// It is not shown, but its end is not believed.
    Doubted(String),
    /// It is gone, since then by uptime.
    Gone { since: Duration },
}

/// Whether one Alertmanager's silence means anything.
pub(super) struct Peer {
    /// Its own clock. Ours may differ, and only ages are the same by both; ours
    /// stands in where it does not answer.
    pub(super) now: Timestamp,
    /// Since when it has run long enough to have been told all that fires;
    /// an error unless it answers, has joined its peers and has run so long.
    warm_since: Result<Timestamp, String>,
    /// When every Watchdog had last been sent to it, or which one it lacks.
    heard: Result<Timestamp, String>,
}

impl Peer {
    pub(super) fn look(answer: &Answer<Alertmanager>, policy: &Policy, now: Now) -> Self {
        let alerts = answer.as_ref().map_or(&[][..], |answer| &answer.alerts);
        let heard = policy.watchdogs.iter().map(|watchdog| {
            let sent = alerts.iter().filter(|alert| watchdog.matches(&alert.labels));
            sent.map(|alert| alert.updated_at).max().ok_or_else(|| watchdog.to_string())
        });
        // Without a Watchdog nothing is ever heard.
        let heard = heard.reduce(|a, b| Ok(a?.min(b?))).unwrap_or(Ok(Timestamp::MIN));
        let own_clock = answer.as_ref().map_or(now.wall, |answer| answer.now);
        Self { now: own_clock, warm_since: warm_since(answer, policy), heard }
    }

    /// Whether an alert that it does not show may be gone.
    ///
    /// A Prometheus may have died after it had sent the Watchdog to a restarted
    /// Alertmanager and before it sent the rest: only a Watchdog that was sent
    /// when all had been told proves that.
    pub(super) fn believed(&self) -> Result<Timestamp, String> {
        let warm_since = self.warm_since.clone()?;
        let lacks = |watchdog| format!("does not show the Watchdog {watchdog}");
        let heard = self.heard.clone().map_err(lacks)?;
        if heard < warm_since {
            return Err(format!("has not been sent every Watchdog since {warm_since:.0}"));
        }
        Ok(heard)
    }

    /// Why it cannot be believed, if that is not for the lack of a Watchdog.
    fn own_fault(&self) -> Option<String> {
        match (&self.warm_since, &self.heard) {
            (Err(reason), _) => Some(reason.clone()),
            (Ok(_), Err(_)) => None,
            (Ok(_), Ok(_)) => self.believed().err(),
        }
    }
}

fn warm_since(answer: &Answer<Alertmanager>, policy: &Policy) -> Result<Timestamp, String> {
    let answer = answer.as_ref().map_err(|reason| format!("does not answer: {reason}"))?;
    let warm = policy.resend_delay * WARM_RESENDS;
    if !answer.settled {
        return Err("has not settled with its peers yet".into());
    }
    let at = later(earlier(answer.now, answer.uptime), warm);
    if answer.uptime <= warm {
        return Err(format!("was started too lately to know all alerts, until {at:.0}"));
    }
    Ok(at)
}

impl<'a> Round<'a> {
    /// Says which Alertmanagers and which Watchdogs cannot be believed.
    pub(super) fn name_blind_alertmanagers(&mut self) {
        let faults = self.peers.iter().filter_map(|(url, peer)| {
            peer.own_fault().map(|reason| (format!("alertmanager/{url}"), reason))
        });
        let watchdogs = self.policy.watchdogs.iter();
        let unseen = watchdogs.filter_map(|watchdog| {
            let reason = self.why_unseen(watchdog)?;
            Some((format!("watchdog/{watchdog}"), reason))
        });
        let blind: Vec<(String, String)> = faults.chain(unseen).collect();
        for (source, reason) in blind {
            self.blind(source, reason);
        }
    }

    /// Why a Watchdog is not seen at every Alertmanager that answers, if so.
    fn why_unseen(&self, watchdog: &MatcherSet) -> Option<String> {
        let answers = self.facts.alertmanagers.iter();
        let mut answers = answers.filter_map(|(url, it)| Some((url, it.as_ref().ok()?))).peekable();
        if answers.peek().is_none() {
            return Some("no Alertmanager answers".into());
        }
        let shows = |it: &Alertmanager| it.alerts.iter().any(|it| watchdog.matches(&it.labels));
        let (url, _) = answers.find(|(_, answer)| !shows(answer))?;
        Some(format!("not shown by {url}"))
    }

    /// The Alertmanagers that may have an alert of any host without its being known.
    pub(super) fn unheard_peers(&self) -> impl Iterator<Item = Block> {
        self.peers.iter().filter_map(|(url, peer)| {
            let why = peer.believed().err()?;
            Some(Block::Unheard { peer: (*url).to_owned(), why })
        })
    }

    /// Notes what each Alertmanager shows of every alert whose absence matters
    /// or may come to matter.
    pub(super) fn remember_alerts(&mut self, special: &[Known<'a>], sightings: &Sightings<'a>) {
        let shown = sightings.by_host.iter().flat_map(|OfHost { known, shown }| {
            by_alert(shown).map(|(name, alert)| (AlertKey::of_host(&known.host, name), alert))
        });
        let holding = sightings.holding.iter().map(|(key, shown)| (key.clone(), &shown[..]));
        let gone_causes = special.iter().flat_map(|known| {
            let shown = sightings.of_host(&known.host);
            let names = self.document_of(known).alert_causes().map(|(_, _, it)| &it.alertname);
            let gone = names.filter(|name| of_alert(shown, name).is_empty());
            gone.map(|name| (AlertKey::of_host(&known.host, name), &[][..]))
        });
        let holds = self.automation.holds.iter();
        let holds = holds.map(|it| AlertKey::of_hold(&it.rule, &it.alertname));
        let gone_holds = holds.filter(|key| !sightings.holding.contains_key(key));
        let gone_holds = gone_holds.map(|key| (key, &[][..]));
        let tracked = holding.chain(gone_holds).chain(shown).chain(gone_causes);
        self.memory.alerts = tracked.map(|(key, shown)| self.watched(key, shown)).collect();
    }

    fn watched(&self, key: AlertKey, sightings: &[Sighting<'_>]) -> (AlertKey, Watched) {
        let former = self.former_memory.alerts.get(&key);
        let shown = former.map_or(Vec::new(), |former| former.shown.clone());
        let mut watched = Watched { shown, ..Watched::default() };
        for (url, peer) in &self.peers {
            let here = sightings.iter().filter(|sighting| sighting.peer == *url);
            if let Some(ends_at) = here.map(|sighting| sighting.alert.ends_at).max() {
                let expires = self.now.uptime.saturating_add(since(peer.now, ends_at));
                watched.note(url, Shown { ends_at, expires, gone_at: None });
            } else if peer.believed().is_ok()
                && let Some(shown) = watched.shown_at(url)
            {
                let gone_at = shown.gone_at.or(Some(self.now.uptime));
                watched.note(url, Shown { gone_at, ..shown });
            }
        }
        (key, watched)
    }

    /// Whether an alert is there of which this is `shown`, for a cause or hold that
    /// began at `begun`.
    pub(super) fn presence(
        &mut self,
        key: &AlertKey,
        begun: Timestamp,
        shown: &[Sighting<'_>],
    ) -> Presence {
        if let Some(sighting) = shown.iter().find(|sighting| sighting.is_suppressed()) {
            let why = sighting.why_suppressed();
            return Presence::Suppressed { peer: sighting.peer.to_owned(), why };
        }
        if let Some(sighting) = shown.first() {
            return Presence::Fires { peer: sighting.peer.to_owned() };
        }
        for (url, peer) in &self.peers {
            if let Err(doubt) = self.ended_at(url, peer, key, begun) {
                return Presence::Doubted(doubt);
            }
        }
        let former = self.former_memory.alerts.get(key).and_then(|former| former.gone_since);
        let since = former.unwrap_or(self.now.uptime);
        self.memory.alerts.entry(key.clone()).or_default().gone_since = Some(since);
        Presence::Gone { since }
    }

    /// Whether one Alertmanager's silence about the alert means its end.
    fn ended_at(
        &self,
        url: &str,
        peer: &Peer,
        key: &AlertKey,
        begun: Timestamp,
    ) -> Result<(), String> {
        let heard = peer.believed().map_err(|doubt| format!("{url} {doubt}"))?;
        let shown = self.memory.alerts.get(key).and_then(|watched| watched.shown_at(url));
        // Its clock is known to the second and answers take time, so "before it
        // ran out" leaves a margin; a resolved alert keeps at least three resend delays of its time.
        let margin = self.policy.resend_delay;
        let resolved = |it: Shown| it.gone_at.is_some_and(|at| at + margin < it.expires);
        if shown.is_some_and(resolved) {
            return Ok(());
        }
        // What this process did not see counts as seen when it began to look.
        let ends_at = shown.map_or_else(
            || {
                let watched = self.now.uptime.saturating_sub(self.watch.since);
                let age = since(begun, self.now.wall).min(watched);
                later(earlier(peer.now, age), self.policy.resend_delay * EXPIRY_RESENDS)
            },
            |shown| shown.ends_at,
        );
        if heard > ends_at {
            return Ok(());
        }
        Err(format!(
            "{url} may only have let it run out; a Watchdog sent there after {ends_at:.0} would tell"
        ))
    }
}
