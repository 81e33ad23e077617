//! Who leaves the store: a host that the leading master has not listed for
//! `retire_after`, and of which no person has said or has to say anything.

use super::{Round, watching::Begun};
use crate::{
    document::{HostDocument, What},
    whitelist,
};

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
            if is_gone && !self.is_a_persons(document) && !self.changes.contains_key(host) {
                self.retired.insert(host.clone(), self.record(What::Retired, reason));
            }
        }
    }

    /// Whether a person has said something of the host, or only a person may put it
    /// back: were it forgotten, it would come back as a new host does.
    fn is_a_persons(&self, document: &HostDocument) -> bool {
        !document.manual_events.is_empty() || document.is_imported() || self.is_given_up(document)
    }
}
