//! Who leaves the store: a host that the leading master has not listed for
//! `retire_after`, and of which no person has said anything.

use super::Round;
use crate::{document::What, host::HostName, whitelist};

impl Round<'_> {
    /// Removes the documents of hosts that are gone for good. An alert does not
    /// keep one: a host that was scrapped fires for ever.
    pub(super) fn retire_hosts(&mut self) {
        if self.facts.mesos.is_err() {
            return;
        }
        let gone: Vec<HostName> = self
            .hosts
            .iter()
            .filter(|(host, document)| {
                whitelist::is_gone(document, self.policy, self.now.wall)
                    && !self.changes.contains_key(*host)
                    && document.manual_events.is_empty()
            })
            .map(|(host, _)| host.clone())
            .collect();
        for host in gone {
            let record = self.record(
                What::Retired,
                "no leading master has listed it for whitelist.retire_after",
            );
            self.retired.insert(host, record);
        }
    }
}
