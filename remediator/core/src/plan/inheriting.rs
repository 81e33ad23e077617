//! What the predecessor has left in the store is continued, once, at the first start.
//!
//! Each host that it kept gets a document that lists it exactly if the predecessor did. What
//! its recipes had put off, or never on, stays off until a person says otherwise: why is not
//! known here. Nothing is decided on its alerts; they come anew.
//!
//! A first start of very many hosts is written in several transactions, and may be broken off
//! between them. Then some hosts have their document already, and the others are continued
//! as if nothing had been.

use super::Round;
use crate::{
    document::{HostDocument, Verdict, What},
    host::HostName,
};

/// How many hosts a note names.
const MAX_NAMED: usize = 20;

impl Round<'_> {
    /// Whether the predecessor has left anything. Before the store is begun nobody but it
    /// can have said anything of a host or have taken one out.
    pub(super) fn continues(&self) -> bool {
        let is_of_it = |it: &HostDocument| it.is_imported() || !it.manual_events.is_empty();
        !self.inherited.is_empty() || self.hosts.values().any(is_of_it)
    }

    /// Makes documents of what was kept. `listed` is the whitelist that was found.
    pub(super) fn continue_what_was_kept(&mut self, listed: &[HostName]) {
        let now = self.now.wall;
        let inherited = self.inherited;
        for (host, kept) in inherited {
            let mut reason = format!("the predecessor had it {}: {}", kept.verdict(), kept.why());
            for left_out in kept.left_out() {
                reason += &format!("; {left_out}");
            }
            let record = self.record(What::Enrolled, &reason);
            self.change(host, |document| kept.put_into(document, now), Some(record));
        }
        self.note_differences(listed);
    }

    /// The predecessor made the file of what it kept, so that they differ where somebody has
    /// edited one of them, or where it could not write any more.
    fn note_differences(&mut self, listed: &[HostName]) {
        let inherited = self.inherited;
        if inherited.is_empty() {
            return;
        }
        let was = |host: &HostName| inherited.get(host).map(|kept| kept.verdict());
        let listed_and_off = listed.iter().filter(|host| was(host) == Some(Verdict::Off));
        self.note(
            "lists hosts that the predecessor's documents have off, and that stay off",
            listed_and_off,
        );
        let known = self.hosts;
        let unknown = |host: &&HostName| was(host).is_none() && !known.contains_key(*host);
        let unknown = listed.iter().filter(unknown);
        self.note("lists hosts of which the predecessor had no document, and that are on", unknown);
        if listed.is_empty() {
            return;
        }
        let mut sorted: Vec<&HostName> = listed.iter().collect();
        sorted.sort_unstable();
        let is_missing = |host: &&HostName| sorted.binary_search(host).is_err();
        let on = inherited.iter().filter(|(_, kept)| kept.verdict() == Verdict::On);
        let missing = on.map(|(host, _)| host).filter(is_missing);
        self.note("lacks hosts that the predecessor's documents have on, and that are on", missing);
    }

    fn note<'b>(&mut self, what: &str, hosts: impl Iterator<Item = &'b HostName>) {
        let hosts: Vec<&str> = hosts.map(HostName::as_str).collect();
        if hosts.is_empty() {
            return;
        }
        let named = hosts[..hosts.len().min(MAX_NAMED)].join(", ");
        let more = hosts.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        self.notes.push(format!("the whitelist that was found {what}: {named}{more}"));
    }
}
