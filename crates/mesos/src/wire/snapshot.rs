//! `/metrics/snapshot` of masters and agents: one flat object of numbers.
//!
//! `{"master/uptime_secs":1.5,"master/elected":1.0,…}`. Every value is a double; an absent key means
//! that Mesos does not know the value, never zero. What a key means is the exporter's to know.

use std::borrow::Cow;

use serde::de::MapAccess;

use super::lenient::{Field, Key, Lenient};
use super::{ParseError, parse};

/// The path below a master's or agent's address.
pub const PATH: &str = "metrics/snapshot";

/// Reads a whole snapshot.
pub fn parse_snapshot(body: &[u8]) -> Result<Snapshot<'_>, ParseError> {
    parse("metrics snapshot", body)
}

/// Keys and numbers in the order of the body, each key once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot<'a> {
    /// The key, with its slashes, and its value.
    pub pairs: Vec<(Cow<'a, str>, f64)>,
    /// How many entries were left out because their value is not a number, or their key has come
    /// before (the first is kept).
    pub skipped: usize,
}

impl Snapshot<'_> {
    /// The value of one key. A linear search: for a look at one or two keys.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }
}

/// Drops every pair whose key has come before, and says how many these were.
pub(super) fn keep_first<T>(pairs: &mut Vec<(Cow<'_, str>, T)>) -> usize {
    // Mesos 1.11 writes its keys sorted, and sorted keys show at a glance that none repeats.
    if pairs.is_sorted_by(|(a, _), (b, _)| a < b) {
        return 0;
    }
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    // A stable sort: among equal keys the first of the body stays first.
    order.sort_by(|&a, &b| pairs[a].0.cmp(&pairs[b].0));
    let mut repeated = vec![false; pairs.len()];
    for two in order.windows(2) {
        repeated[two[1]] = pairs[two[0]].0 == pairs[two[1]].0;
    }
    let mut repeated = repeated.into_iter();
    let before = pairs.len();
    pairs.retain(|_| !repeated.next().unwrap_or(false));
    before - pairs.len()
}

impl<'de: 'a, 'a> Field<'de> for Snapshot<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut snapshot = Snapshot::default();
        while let Some((Key(key), Lenient(value))) = object.next_entry()? {
            match value {
                Some(number) => snapshot.pairs.push((key, number)),
                None => snapshot.skipped += 1,
            }
        }
        snapshot.skipped += keep_first(&mut snapshot.pairs);
        Ok(Some(snapshot))
    }
}
