//! Who leaves the store: a host that the leading master has not listed for
//! `retire_after`, and of which no person has said anything.

use super::{Round, watching::Begun};
use crate::{document::What, whitelist};

impl Round<'_> {
    /// Removes the documents of hosts that are gone for good. An alert does not
    /// keep one: a host that was scrapped fires for ever.
    pub(super) fn retire_hosts(&mut self) {
        let reason = "no leading master has listed it for whitelist.retire_after";
        for (host, document) in self.unlisted.clone() {
            // By the clock that does not jump: what is retired is forgotten for good.
            let begun = Begun::Unlisted(host.clone());
            let is_gone = self.age_of(begun, document.listing.since) >= self.policy.retire_after
                && whitelist::is_gone(document, self.policy, self.now.wall);
            let is_left = document.manual_events.is_empty() && !self.changes.contains_key(host);
            if is_gone && is_left {
                self.retired.insert(host.clone(), self.record(What::Retired, reason));
            }
        }
    }
}
