//! What a person brings along from elsewhere: a whitelist, the predecessor's documents, or
//! those of another remediator.
//!
//! It is a person's command like [`crate::manual`]'s, and passes no gate but the floor. It
//! speaks of the cause `imported` and of manual events alone: what automation holds off by
//! an alert stays off, whatever flags the source has, unless it brings a person's `on`, which
//! sets alerts aside as ever; and what people have said is only ever added to.
//! Done twice, it changes nothing the second time. Nothing is removed: a host that the
//! source does not name stays as it is, but for a list, which says of everybody whether it
//! is on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    document::{Cause, HostDocument, MAX_MANUAL_EVENTS, ManualEvent, Record, Verdict, What},
    host::HostName,
    manual::{self, Refusal},
    policy::Policy,
    predecessor::Inherited,
};

/// What is brought along.
#[derive(Debug, Clone)]
pub enum Source {
    /// The hosts that are on; whoever is not listed is not.
    List(BTreeSet<HostName>),
    /// Hosts as the predecessor kept them.
    Documents(BTreeMap<HostName, Inherited>),
    /// A person's word that whoever was out when Satellite began may come in.
    AllOn,
}

/// What an import does, complete.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// The documents to write, with what to put on record.
    pub changes: BTreeMap<HostName, Change>,
    /// The same for people.
    pub report: Report,
}

/// One document to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The new document.
    pub document: HostDocument,
    /// What was done.
    pub record: Record,
}

/// What an import does, or would do, for people and programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Hosts that were not known.
    pub added: Vec<Added>,
    /// Hosts that go on.
    pub turned_on: Vec<HostName>,
    /// Hosts that go off.
    pub turned_off: Vec<HostName>,
    /// Hosts of which more is known, and which stay on or off as they are.
    pub amended: Vec<HostName>,
    /// Manual events of all of these.
    pub events: Vec<AddedEvent>,
    /// How many hosts the source speaks of that are as it says already.
    pub unchanged: usize,
    /// How many hosts it does not speak of, which are left alone.
    pub unnamed: usize,
    /// What is not taken, or not as it was, and why.
    pub left_out: Vec<LeftOut>,
}

/// A host that was not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// Its name.
    pub host: HostName,
    /// Whether it is on.
    pub state: Verdict,
}

/// A manual event that comes with the import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddedEvent {
    /// Of which host.
    pub host: HostName,
    /// Its id.
    pub id: String,
    /// What it says.
    pub state: Verdict,
}

/// Something that is not taken, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Of which host.
    pub host: HostName,
    /// What, and why.
    pub what: String,
}

impl Report {
    /// Adds what the same import has done before, in an attempt that came only so far: of
    /// that it was found anew that it is so already.
    pub fn add(&mut self, mut earlier: Self) {
        self.unchanged = self.unchanged.saturating_sub(earlier.changed());
        self.added.append(&mut earlier.added);
        self.turned_on.append(&mut earlier.turned_on);
        self.turned_off.append(&mut earlier.turned_off);
        self.amended.append(&mut earlier.amended);
        self.events.append(&mut earlier.events);
    }

    /// How many hosts it changes.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.added.len() + self.turned_on.len() + self.turned_off.len() + self.amended.len()
    }

    /// The same of these hosts alone.
    #[must_use]
    pub fn of(mut self, is_wanted: impl Fn(&HostName) -> bool) -> Self {
        self.added.retain(|it| is_wanted(&it.host));
        self.turned_on.retain(&is_wanted);
        self.turned_off.retain(&is_wanted);
        self.amended.retain(&is_wanted);
        self.events.retain(|it| is_wanted(&it.host));
        self
    }
}

/// Decides an import: what `hosts` become by it. `author` and `reason` go on record.
#[must_use]
pub fn import(
    source: &Source,
    hosts: &BTreeMap<HostName, HostDocument>,
    author: &str,
    reason: &str,
    now: Timestamp,
) -> Import {
    let mut importing = Importing { hosts, author, reason, now, import: Import::default() };
    match source {
        Source::List(listed) => importing.take_list(listed),
        Source::Documents(documents) => importing.take_documents(documents),
        Source::AllOn => {
            for host in hosts.keys() {
                importing.change(host, end_imported);
            }
        }
    }
    importing.import
}

impl Import {
    /// Refuses it where it would leave too few hosts on.
    ///
    /// # Errors
    /// [`Refusal::BelowFloor`].
    pub fn keep_floor(
        &self,
        hosts: &BTreeMap<HostName, HostDocument>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let changed = |host: &HostName| self.changes.get(host).map(|change| &change.document);
        manual::keep_floor(hosts, changed, policy, now)
    }
}

/// An import while it is decided.
struct Importing<'a> {
    hosts: &'a BTreeMap<HostName, HostDocument>,
    author: &'a str,
    reason: &'a str,
    now: Timestamp,
    import: Import,
}

impl Importing<'_> {
    fn take_list(&mut self, listed: &BTreeSet<HostName>) {
        for host in listed {
            self.change(host, put_in);
        }
        let now = self.now;
        let unlisted = self.hosts.keys().filter(|host| !listed.contains(*host));
        for host in unlisted {
            self.change(host, |document| {
                // Whoever a person has put on or off stays that way.
                if document.ruling_event().is_none() {
                    leave_out(document, now);
                }
            });
        }
    }

    fn take_documents(&mut self, documents: &BTreeMap<HostName, Inherited>) {
        let now = self.now;
        for (host, kept) in documents {
            let kept = kept.clone().without_what_is_over(now);
            let mut left_out = kept.left_out();
            let is_known = self.hosts.contains_key(host);
            self.change(host, |document| {
                if is_known {
                    left_out.extend(add(document, &kept, now));
                } else {
                    kept.put_into(document, now);
                }
            });
            self.tell_events(host);
            let left_out = left_out.into_iter().map(|what| LeftOut { host: host.clone(), what });
            self.import.report.left_out.extend(left_out);
        }
        let named = documents.keys().filter(|host| self.hosts.contains_key(*host)).count();
        self.import.report.unnamed = self.hosts.len() - named;
    }

    /// Puts down which manual events a changed host has got.
    fn tell_events(&mut self, host: &HostName) {
        let Some(Change { document, .. }) = self.import.changes.get(host) else { return };
        let former = self.hosts.get(host).map(|document| &document.manual_events);
        // What it had may only have been put back in time.
        let had = |id: &str, event: &ManualEvent| {
            let known = former.and_then(|events| events.get(id));
            known.is_some_and(|known| says(known) == says(event) && known.time >= event.time)
        };
        let new = document.manual_events.iter().filter(|(id, event)| !had(id, event));
        let new = new.map(|(id, event)| AddedEvent {
            host: host.clone(),
            id: id.clone(),
            state: event.state,
        });
        self.import.report.events.extend(new);
    }

    /// Changes a host's document, or makes its first, and puts down what became of it.
    fn change(&mut self, host: &HostName, edit: impl FnOnce(&mut HostDocument)) {
        let former = self.hosts.get(host);
        let new = || HostDocument::new(Verdict::On, self.now);
        let mut document = former.cloned().unwrap_or_else(new);
        edit(&mut document);
        if former == Some(&document) {
            self.import.report.unchanged += 1;
            return;
        }
        let report = &mut self.import.report;
        let (before, after) = (former.map(HostDocument::verdict), document.verdict());
        let what = match (before, after) {
            (None, state) => {
                report.added.push(Added { host: host.clone(), state });
                What::Enrolled
            }
            (Some(Verdict::Off), Verdict::On) => {
                report.turned_on.push(host.clone());
                What::On
            }
            (Some(Verdict::On), Verdict::Off) => {
                report.turned_off.push(host.clone());
                What::Off
            }
            (Some(_), _) => {
                report.amended.push(host.clone());
                What::Said
            }
        };
        let record = Record {
            time: self.now,
            what,
            by: self.author.to_owned(),
            rule: None,
            reason: format!("import: {}", self.reason),
            evidence: None,
            version: None,
        };
        document.note_transition(before.unwrap_or(Verdict::On), &record);
        self.import.changes.insert(host.clone(), Change { document, record });
    }
}

/// The host is in the whitelist, as far as nothing but its absence from one stands against it.
fn put_in(document: &mut HostDocument) {
    end_imported(document);
    document.default = Verdict::On;
}

fn end_imported(document: &mut HostDocument) {
    document.causes.retain(|cause| !matches!(cause, Cause::Imported { .. }));
}

/// The host is not in the whitelist. One that automation holds off returns by itself when it
/// is well, as before.
fn leave_out(document: &mut HostDocument, now: Timestamp) {
    if document.automatic_verdict() == Verdict::On {
        document.causes.push(Cause::Imported { since: now });
    }
}

/// Adds what was kept to a document that there is, and gives what found no place.
fn add(document: &mut HostDocument, kept: &Inherited, now: Timestamp) -> Vec<String> {
    let mut left_out = Vec::new();
    let mut newest_first: Vec<_> = kept.events().iter().collect();
    newest_first.sort_by_key(|(_, event)| std::cmp::Reverse(event.time));
    let mut added = BTreeSet::new();
    for (id, event) in newest_first {
        let known = document.manual_events.get(id);
        if known.is_some_and(|known| !is_newer(event, known, now)) {
            continue;
        }
        if known.is_none() && document.manual_events.len() >= MAX_MANUAL_EVENTS {
            left_out.push(format!("event {id:?}: the host has {MAX_MANUAL_EVENTS} already"));
            continue;
        }
        document.manual_events.insert(id.clone(), event.clone());
        added.insert(id.as_str());
    }
    if !added.is_empty() {
        manual::put_before(document, now);
    }
    let ruling = document.ruling_event().filter(|(id, _)| added.contains(id));
    let is_on = ruling.is_some_and(|(_, event)| event.state == Verdict::On);
    let is_on_until = ruling.is_some_and(|(_, event)| is_on && !event.is_on_for_good());
    if is_on {
        document.causes.clear();
        document.taken_off.clear();
    }
    match kept.managed_verdict() {
        Verdict::On => put_in(document),
        Verdict::Off if document.is_said_on() && !is_on_until => {}
        Verdict::Off => leave_out(document, now),
    }
    left_out
}

/// Whether an event says something that the one of the same id does not say yet. One whose
/// clock is ahead of ours was put back when it came.
fn is_newer(event: &ManualEvent, known: &ManualEvent, now: Timestamp) -> bool {
    event.time > known.time && !(event.time >= now && says(event) == says(known))
}

/// What an event says, whenever it was said.
fn says(event: &ManualEvent) -> (Verdict, &str, Option<Timestamp>) {
    (event.state, &event.reason, event.expires_at())
}

#[cfg(test)]
mod tests;
