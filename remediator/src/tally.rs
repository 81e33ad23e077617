//! How often hosts went on or off since the start, by where to and by whose rule.
//!
//! Rounds and commands count here alike, once what they did is written. It is for
//! the metrics alone: nothing is decided by it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use satellite_core::document::{Record, What};

/// Where to, and by which rule; the rule is empty for what a person said, or what
/// ended of it.
type Key = (&'static str, String);

/// Counts, each from 0.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<Key, u64>>);

impl Tally {
    /// Counts what was done, if it put a host on or off.
    pub(crate) fn note(&self, record: &Record) {
        let to = match record.what {
            What::On => "on",
            What::Off => "off",
            _ => return,
        };
        let rule = record.rule.clone().unwrap_or_default();
        *self.counts().entry((to, rule)).or_insert(0) += 1;
    }

    /// Every count there is, and one of 0 for each direction of `rules` that was
    /// not counted yet: only a series that exists shows its first increase.
    pub(crate) fn with<'a>(&self, rules: impl IntoIterator<Item = &'a str>) -> BTreeMap<Key, u64> {
        let mut counts = self.counts().clone();
        for rule in rules {
            for to in ["on", "off"] {
                counts.entry((to, rule.to_owned())).or_insert(0);
            }
        }
        counts
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Key, u64>> {
        self.0.lock().expect("nobody panics while counting")
    }
}
