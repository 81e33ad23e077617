//! Who is there, who is away and who is on.
//!
//! Nearly every host is simply on, with nothing said of it and nothing against it.
//! One pass over the documents counts these and sets the others aside, so that
//! the steps that follow look at few hosts and not at all of them again.

use std::collections::BTreeMap;

use super::{Budget, Known, Round};
use crate::{
    document::{HostDocument, Verdict},
    host::HostName,
    whitelist,
};

/// Hosts of the inventory, counted.
#[derive(Default)]
pub(super) struct Stock {
    pub(super) budget: Budget,
    /// How many are away, by attribute and value, where a limit is set.
    away_by_attribute: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Stock {
    /// Notes that a host with these attribute values is away.
    pub(super) fn note_away(&mut self, groups: &[(&str, &str)]) {
        self.budget.away += 1;
        for &(attribute, value) in groups {
            let values = self.away_by_attribute.entry(attribute.to_owned()).or_default();
            *values.entry(value.to_owned()).or_default() += 1;
        }
    }

    /// How many hosts with this value of a limited attribute are away.
    pub(super) fn away_with(&self, attribute: &str, value: &str) -> usize {
        let values = self.away_by_attribute.get(attribute);
        values.and_then(|values| values.get(value)).copied().unwrap_or(0)
    }
}

impl<'a> Round<'a> {
    /// Counts the hosts that are simply on. Gives the others, which are judged one
    /// by one: those that are off, and those of which a person has said something.
    /// No other host has a cause.
    pub(super) fn take_stock(&mut self) -> Vec<Known<'a>> {
        let (mut stock, mut special) = (Stock::default(), Vec::new());
        for (host, document) in self.documents() {
            let counts = self.is_in_inventory(document);
            stock.budget.inventory += usize::from(counts);
            if document.verdict() == Verdict::Off || !document.manual_events.is_empty() {
                special.extend(self.known(host.as_str()));
            } else if counts {
                self.count(&mut stock, host, document, true);
            }
        }
        stock.budget.offs_last_hour = self.automation.offs.len();
        stock.budget.limit = self.policy.max_off.limit(stock.budget.inventory);
        stock.budget.floor = self.policy.min_hosts.floor(stock.budget.inventory);
        self.stock = stock;
        special
    }

    /// Counts the others as well, now that they are judged. One that went off counts
    /// as away already, and one that comes back counts as away still: readers may
    /// see one document before the other.
    pub(super) fn count_special(&mut self, special: &[Known<'a>]) {
        let mut stock = std::mem::take(&mut self.stock);
        for known in special {
            let document = self.document_of(known);
            if self.is_in_inventory(document) {
                let was_off = known.stored.is_some_and(|it| it.verdict() == Verdict::Off);
                let is_on = document.verdict() == Verdict::On && !was_off;
                self.count(&mut stock, &known.host, document, is_on);
            }
        }
        self.stock = stock;
    }

    fn count(&self, stock: &mut Stock, host: &HostName, document: &HostDocument, is_on: bool) {
        stock.budget.on += usize::from(is_on);
        if !is_on || !self.is_reachable(host, document) {
            stock.note_away(&self.limited_groups(document));
        }
    }

    /// The attribute values of the host that a limit is set for.
    pub(super) fn limited_groups<'d>(&self, document: &'d HostDocument) -> Vec<(&'d str, &'d str)> {
        let attributes = document.agents.iter().flat_map(|agent| &agent.attributes);
        let limited = attributes.filter(|(name, _)| self.policy.per_attribute.contains_key(*name));
        let mut groups: Vec<_> =
            limited.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Several agents of one host may share a value.
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    pub(super) fn is_in_inventory(&self, document: &HostDocument) -> bool {
        whitelist::in_inventory(document, self.policy, self.now.wall)
    }
}
