//! What is written together, and how what is too large for one transaction is parted.

use std::collections::BTreeMap;

use satellite_core::{Automation, HostDocument, HostName, Plan, Verdict};

use super::documents::path_of;

/// What a store may add to each document of a transaction, in bytes.
pub(super) const PER_WRITE: usize = 128;

/// What is written together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch<'a> {
    /// Documents of hosts, new or changed.
    pub(crate) hosts: BTreeMap<&'a HostName, &'a HostDocument>,
    /// Hosts whose document is removed.
    pub(crate) removed: Vec<&'a HostName>,
    /// Automation's own document, where it changes.
    pub(crate) automation: Option<&'a Automation>,
}

impl<'a> Batch<'a> {
    /// All that a plan wants written.
    pub(crate) fn of_plan(plan: &'a Plan) -> Self {
        Self {
            hosts: plan.changes.iter().map(|(host, it)| (host, &it.document)).collect(),
            removed: plan.retired.keys().collect(),
            automation: plan.automation.as_ref(),
        }
    }

    /// What can be written at once, where a transaction takes so many bytes. Where it has to
    /// be more than one, the documents that put nobody off come first, and automation's own
    /// record of who goes off with the first of those; so that the budget never forgets
    /// anybody. A store that is only begun is begun when all is in it.
    pub(super) fn parts(&self, limit: usize, is_begun: bool) -> Vec<Self> {
        let size_of_removal = |host: &HostName| path_of(host).len() + PER_WRITE;
        let size = |host: &HostName, document: &HostDocument| {
            size_of_removal(host) + document.encode().len()
        };
        // Automation's record has its place in whichever part it comes to be in.
        let limit = limit / 2;
        let hosts: usize = self.hosts.iter().map(|(host, document)| size(host, document)).sum();
        let removed: usize = self.removed.iter().map(|host| size_of_removal(host)).sum();
        if hosts + removed <= limit {
            return vec![self.clone()];
        }
        let (on, off): (Vec<_>, Vec<_>) =
            self.hosts.iter().partition(|(_, document)| document.verdict() == Verdict::On);
        let of_hosts = |hosts: &[(&&'a HostName, &&'a HostDocument)]| {
            let mut parts = vec![(0, Self::default())];
            for (host, document) in hosts {
                let more = size(host, document);
                if parts.last().is_some_and(|(taken, _)| taken + more > limit) {
                    parts.push((0, Self::default()));
                }
                if let Some((taken, part)) = parts.last_mut() {
                    *taken += more;
                    part.hosts.insert(host, document);
                }
            }
            parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>()
        };
        let (mut parts, mut offs) = (of_hosts(&on), of_hosts(&off));
        let record = if is_begun { offs.first_mut() } else { offs.last_mut() };
        if let Some(part) = record {
            part.automation = self.automation;
        }
        parts.append(&mut offs);
        let longest = self.removed.iter().map(|host| size_of_removal(host)).max().unwrap_or(1);
        let removed = self.removed.chunks((limit / longest).max(1));
        parts.extend(removed.map(|removed| Self { removed: removed.to_vec(), ..Self::default() }));
        parts
    }

    /// One host's document.
    pub(crate) fn of_host(host: &'a HostName, document: &'a HostDocument) -> Self {
        Self { hosts: BTreeMap::from([(host, document)]), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use jiff::Timestamp;

    #[test]
    fn a_batch_that_is_too_large_puts_nobody_off_before_it_is_on_record() {
        let name = |at: usize| format!("h{at}.lab").parse::<HostName>().unwrap();
        let names: Vec<HostName> = (0..60).map(name).collect();
        let on = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
        let off = HostDocument::new(Verdict::Off, Timestamp::UNIX_EPOCH);
        let documents = names.iter().enumerate();
        let hosts = documents.map(|(at, host)| (host, if at % 3 == 0 { &off } else { &on }));
        let automation = Automation::default();
        let gone: Vec<HostName> = (100..140).map(name).collect();
        let batch = Batch {
            hosts: hosts.collect(),
            removed: gone.iter().collect(),
            automation: Some(&automation),
        };
        assert_eq!(batch.parts(usize::MAX, true).len(), 1);
        let limit = 4_000;
        for is_begun in [true, false] {
            let parts = batch.parts(limit, is_begun);
            assert!(parts.len() > 5, "{}", parts.len());
            let recorded = parts.iter().position(|part| part.automation.is_some()).unwrap();
            let has_off = |part: &Batch<'_>| part.hosts.values().any(|it| **it == off);
            let first_off = parts.iter().position(has_off).unwrap();
            let last_off = parts.iter().rposition(has_off).unwrap();
            assert_eq!(recorded, if is_begun { first_off } else { last_off });
            let mut all = Batch::default();
            for part in &parts {
                let bytes: usize = part.hosts.values().map(|it| it.encode().len()).sum();
                assert!(bytes + PER_WRITE * (part.hosts.len() + part.removed.len()) < limit);
                all.hosts.extend(&part.hosts);
                all.removed.extend(&part.removed);
            }
            assert_eq!((all.hosts, all.removed), (batch.hosts.clone(), batch.removed.clone()));
        }
    }
}
