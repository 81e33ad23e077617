//! Holds: while the cluster is in trouble, nothing more is taken from it.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    AlertKey, Block, Round,
    absence::{Presence, Subject},
    sightings::{Sighting, Sightings},
};
use crate::{
    document::Hold,
    facts::Suppression,
    policy::{Action, Rule},
};

/// A hold as it stands after a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldStatus {
    /// The hold as it is remembered.
    pub hold: Hold,
    /// Whether it blocks now.
    pub blocks: bool,
    /// Why it stands as it does, for people.
    pub note: String,
    /// When it stops blocking, whatever happens.
    pub blocks_until: Option<Timestamp>,
}

impl HoldStatus {
    pub(super) fn block(&self) -> Block {
        let (alertname, rule) = (self.hold.alertname.clone(), self.hold.rule.clone());
        Block::Hold { alertname, rule, note: self.note.clone() }
    }
}

impl Round<'_> {
    /// Begins the holds whose alert shows up, ends those whose alert is gone.
    pub(super) fn judge_holds(&mut self, sightings: &Sightings<'_>) {
        for (key, sightings) in &sightings.holding {
            if let Subject::Cluster { rule } = &key.subject {
                self.begin_hold(rule, &key.alertname, sightings);
            }
        }
        for hold in std::mem::take(&mut self.automation.holds) {
            let key = AlertKey::of_hold(&hold.rule, &hold.alertname);
            let shown = sightings.holding.get(&key).map_or(&[][..], Vec::as_slice);
            let presence = self.presence(&key, hold.since, shown);
            let silenced = is_silenced(shown);
            if let Some(status) = self.judge_hold(&key, &hold, presence, silenced) {
                self.holds.push(status);
                self.automation.holds.push(hold);
            }
        }
    }

    fn begin_hold(&mut self, rule: &str, alertname: &str, sightings: &[Sighting<'_>]) {
        let is_it = |hold: &Hold| hold.rule == rule && hold.alertname == alertname;
        let known = self.automation.holds.iter().any(is_it);
        // A person who silences the alert has said that it should not hold.
        let shown = sightings.iter().find(|it| !is_silenced(&[**it]));
        if let (false, Some(Sighting { alert, .. })) = (known, shown) {
            self.automation.holds.push(Hold {
                rule: rule.to_owned(),
                alertname: alertname.to_owned(),
                since: self.now.wall,
                labels: alert.labels.clone(),
            });
        }
    }

    /// The hold as it stands; `None` when it is over.
    fn judge_hold(
        &mut self,
        key: &AlertKey,
        hold: &Hold,
        presence: Presence,
        silenced: bool,
    ) -> Option<HoldStatus> {
        let former = self.former_memory.alerts.get(key).and_then(|former| former.held_since);
        let held_since = former.unwrap_or(self.now.uptime);
        let max_hold = max_hold(self.policy.rule_named(&hold.rule));
        let over_at = max_hold.map(|max| held_since + max);
        let (mut blocks, mut note) = match presence {
            Presence::Fires { peer } => (true, format!("it fires at {peer}")),
            Presence::Suppressed { peer, why } => (!silenced, format!("it is {why} at {peer}")),
            Presence::Doubted(doubt) => (true, format!("its end is not believed: {doubt}")),
            Presence::Gone { since } if self.now.uptime - since >= self.policy.clear_for => {
                return None;
            }
            Presence::Gone { since } => {
                let until = self.now.wall_at(since + self.policy.clear_for);
                (true, format!("it must stay gone until {until:.0}"))
            }
        };
        self.memory.alerts.entry(key.clone()).or_default().held_since = Some(held_since);
        if over_at.is_some_and(|over| self.now.uptime >= over) && blocks {
            blocks = false;
            note = format!("{note}; it has held for longer than its max_hold and blocks no more");
        }
        let blocks_until = over_at.filter(|_| blocks).map(|over| self.now.wall_at(over));
        Some(HoldStatus { hold: hold.clone(), blocks, note, blocks_until })
    }
}

fn max_hold(rule: Option<&Rule>) -> Option<Duration> {
    match rule.map(|rule| &rule.action) {
        Some(Action::Hold { max_hold }) => *max_hold,
        _ => None,
    }
}

/// Whether every showing of the alert is silenced by a person.
fn is_silenced(sightings: &[Sighting<'_>]) -> bool {
    let silenced =
        |it: &Sighting<'_>| matches!(it.alert.suppression, Some(Suppression::Silenced(_)));
    !sightings.is_empty() && sightings.iter().all(silenced)
}
