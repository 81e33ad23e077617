//! What Mesos reads: the hosts that are on, sorted, one a line.
//!
//! The file is an output. It follows from the documents; the previous content
//! matters only where the floor has to be kept.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    document::{HostDocument, ListingState, Verdict},
    facts::FoundFile,
    host::{HostName, InvalidHostName},
    policy::Policy,
    time,
};

/// The only line of a list without hosts. It matches no agent (`.invalid` is
/// reserved by RFC 2606), while an empty file stops Mesos with a warning and a
/// missing one lets every host in.
pub const PLACEHOLDER: &str = "bootstrap.invalid";

/// The list that should be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The hosts to list, sorted.
    pub hosts: BTreeSet<HostName>,
    /// Hosts that automation wants out and that stay, since fewer than
    /// `whitelist.min_hosts` would be left.
    pub kept: BTreeSet<HostName>,
}

impl Merge {
    /// The bytes of the file: each host on a line of its own, LF after each.
    #[must_use]
    pub fn render(&self) -> String {
        if self.hosts.is_empty() {
            return format!("{PLACEHOLDER}\n");
        }
        self.hosts.iter().flat_map(|host| [host.as_str(), "\n"]).collect()
    }
}

/// Derives the list from the documents. `previous` is the list in force.
///
/// A merge removes only hosts whose document says why. Additions are not
/// limited. What people took out leaves, whatever the floor says: they were
/// asked when they said it.
#[must_use]
pub fn merge(
    documents: &BTreeMap<HostName, HostDocument>,
    previous: &BTreeSet<HostName>,
    policy: &Policy,
    now: Timestamp,
) -> Merge {
    let is_on = |document: &HostDocument| document.verdict() == Verdict::On;
    let mut hosts: BTreeSet<HostName> =
        documents.iter().filter(|(_, it)| is_on(it)).map(|(host, _)| host.clone()).collect();
    let inventory = documents.values().filter(|it| in_inventory(it, policy, now)).count();
    let mut kept = BTreeSet::new();
    if hosts.len() < policy.min_hosts.floor(inventory) {
        let by_automation = |host: &HostName| {
            documents.get(host).is_some_and(|it| !is_on(it) && it.ruling_event().is_none())
        };
        kept = previous.iter().filter(|host| by_automation(host)).cloned().collect();
        hosts.extend(kept.iter().cloned());
    }
    Merge { hosts, kept }
}

/// Whether a host counts: listed by the leading master, or lost only lately.
#[must_use]
pub fn in_inventory(document: &HostDocument, policy: &Policy, now: Timestamp) -> bool {
    document.listing.state != ListingState::Unlisted
        || time::since(document.listing.since, now) < policy.retire_after
}

/// Why a file that was found cannot be taken as a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Mesos makes no offers at all with it, which may be a wish or an accident.
    #[error(
        "it is empty, and only a person can tell whether that is meant: remove it to start \
         without a list, or write the hosts into it"
    )]
    Empty,
    /// The line matches no agent in Mesos either, so somebody should look.
    #[error("line {line}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why it is no host.
        #[source]
        source: InvalidHostName,
    },
}

/// Reads a list as Mesos does: LF between names, empty lines dropped, nothing
/// trimmed.
///
/// # Errors
/// [`Unreadable`], where taking the content at its word could lose hosts.
pub fn read(content: &str) -> Result<FoundFile, Unreadable> {
    let names: Vec<HostName> = content
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            line.parse().map_err(|source| Unreadable::Line { line: index + 1, source })
        })
        .collect::<Result<_, _>>()?;
    match names.as_slice() {
        [] => Err(Unreadable::Empty),
        [only] if only.as_str() == PLACEHOLDER => Ok(FoundFile::Missing),
        _ => Ok(FoundFile::Lists(names)),
    }
}
