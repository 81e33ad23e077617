//! The documents as they are in memory, and of which version and revision each of them is.

use std::collections::{BTreeMap, BTreeSet};

use satellite_core::{
    Automation, HostDocument, HostName, State,
    document::{Record, Undecodable},
    host::InvalidHostName,
    predecessor::Inherited,
};

use super::Batch;
use crate::store::{Contents, Store, StoreError, Stored};

/// Below this path lies one document per host, named by it.
const HOSTS: &str = "whitelist/";
/// The path of automation's own document.
pub(super) const AUTOMATION: &str = "automation";
/// How many documents an error names.
const MAX_NAMED: usize = 20;

/// All documents, decoded.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// The store's revision that they are of.
    pub(crate) revision: u64,
    /// Every host's.
    pub(crate) hosts: BTreeMap<HostName, HostDocument>,
    /// Automation's own.
    pub(crate) automation: Automation,
    /// What the predecessor has left, by host, until the store is begun and each has a
    /// document.
    inherited: BTreeMap<HostName, Inherited>,
    /// What the store has, by path.
    known: BTreeMap<String, Known>,
    /// What this process has removed, and in which revision: what it hears of that
    /// afterwards may be older.
    removed: BTreeMap<String, u64>,
    /// The revision at which everything was read last: what was not there then and is no
    /// newer is gone.
    read_at: u64,
    /// The revision in which this process last wrote a host's document.
    written_in: BTreeMap<HostName, u64>,
}

/// What is known of a document beside what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    version: u64,
    /// The store's revision that wrote it.
    revision: u64,
}

impl Documents {
    /// Reads and decodes all that the store has.
    pub(super) async fn load(store: &dyn Store) -> Result<Self, LedgerError> {
        let Contents { revision, documents: stored, strangers } = store.load().await?;
        let mut documents = Self { revision, read_at: revision, ..Self::default() };
        let decoded = stored.into_iter().try_for_each(|(path, stored)| {
            documents.take(&path, &stored.data)?;
            documents.note(path, Some(stored.version), stored.revision);
            Ok(())
        });
        if strangers.is_empty() {
            return decoded.map(|()| documents);
        }
        let what = format!("written: {}", named(&strangers));
        Err(LedgerError::ByHand { what, source: decoded.err().map(Box::new) })
    }

    /// The documents as the core wants them.
    pub(crate) fn state(&self) -> State<'_> {
        State { hosts: &self.hosts, automation: &self.automation, inherited: &self.inherited }
    }

    /// Names what is known here and not among these, what is among them and not known, and
    /// what else strangers have written, in a store that was begun. Before anything was read
    /// nobody knows which hosts are gone or new.
    pub(super) fn differences_to(
        &self,
        there: &BTreeSet<String>,
        strangers: &BTreeSet<String>,
    ) -> String {
        let mut known: BTreeSet<String> = self.known.keys().cloned().collect();
        let mut new = there - &known;
        if known.is_empty() {
            // Nothing was read yet: all that is known is that there is to be this one.
            known.insert(AUTOMATION.to_owned());
            new.clear();
        }
        let gone = &known - there;
        let written = strangers - &new;
        let kinds = [("gone", gone), ("new", new), ("written", written)];
        let kinds = kinds.iter().filter(|(_, paths)| !paths.is_empty());
        kinds
            .map(|(kind, paths)| format!("{kind}: {}", named(paths)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Whether the store has been begun: before that no list follows from it.
    pub(crate) fn is_begun(&self) -> bool {
        self.automation.first_start.is_some()
    }

    /// Whether they are those of one revision. A document may be heard of before what was
    /// written with it or before it, and of a part of that no list may follow.
    pub(crate) fn are_whole(&self) -> bool {
        self.known.values().all(|known| known.revision <= self.revision)
    }

    /// Whether this process has written the host's document after that revision.
    pub(crate) fn was_written_after(&self, revision: u64, host: &HostName) -> bool {
        self.written_in.get(host).is_some_and(|&written| written > revision)
    }

    /// Goes on from what was known of when each document was last written.
    pub(super) fn succeed(&mut self, former: &mut Self) {
        let mut written_in = std::mem::take(&mut former.written_in);
        written_in.retain(|host, _| self.hosts.contains_key(host));
        let changed = self.hosts.keys().filter(|host| self.version(host) != former.version(host));
        written_in.extend(changed.map(|host| (host.clone(), self.revision)));
        self.written_in = written_in;
    }

    /// The transitions that led from the documents that `former` has to these.
    pub(super) fn transitions_after(&self, former: &Self) -> Vec<(HostName, Record)> {
        let hosts = self.hosts.iter();
        hosts.flat_map(|(host, it)| transitions(host, former.hosts.get(host), it)).collect()
    }

    /// The version of a host's document; 0 where there is none.
    pub(crate) fn version(&self, host: &HostName) -> u64 {
        self.known.get(&path_of(host)).map_or(0, |known| known.version)
    }

    /// Notes of which version a document is; `None`: it is gone.
    fn note(&mut self, path: String, version: Option<u64>, revision: u64) {
        if let Some(version) = version {
            self.removed.remove(&path);
            self.known.insert(path, Known { version, revision });
        } else {
            self.known.remove(&path);
            self.removed.insert(path, revision);
        }
    }

    /// Takes over what somebody else may have written; `None`: at this revision the document
    /// was gone. Gives the transitions that it tells of, or `None` where what is known is
    /// newer.
    pub(super) fn hear(
        &mut self,
        path: &str,
        stored: Option<Stored>,
        revision: u64,
    ) -> Result<Option<Vec<(HostName, Record)>>, LedgerError> {
        let written = stored.as_ref().map_or(revision, |stored| stored.revision);
        let known = self.known.get(path).map(|known| known.revision);
        let known = known.or(self.removed.get(path).copied()).unwrap_or(self.read_at);
        if known >= written {
            return Ok(None);
        }
        let host = path.strip_prefix(HOSTS).and_then(|name| name.parse::<HostName>().ok());
        let mut newer = Vec::new();
        match stored {
            Some(stored) => {
                let former = host.as_ref().and_then(|host| self.hosts.get(host).cloned());
                self.take(path, &stored.data)?;
                self.note(path.to_owned(), Some(stored.version), written);
                if let Some(host) = host
                    && let Some(document) = self.hosts.get(&host)
                {
                    newer = transitions(&host, former.as_ref(), document);
                    self.written_in.insert(host, written);
                }
            }
            None if path == AUTOMATION => {
                self.automation = Automation::default();
                self.known.remove(path);
            }
            None => {
                self.known.remove(path);
                if let Some(host) = host {
                    self.hosts.remove(&host);
                    self.inherited.remove(&host);
                    self.written_in.remove(&host);
                }
            }
        }
        Ok(Some(newer))
    }

    fn take(&mut self, path: &str, data: &[u8]) -> Result<(), LedgerError> {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Document {
            path: path.to_owned(),
            source,
        };
        if path == AUTOMATION {
            self.automation =
                serde_json::from_slice(data).map_err(|error| unreadable(error.into()))?;
        } else if let Some(name) = path.strip_prefix(HOSTS) {
            let is_begun = self.is_begun();
            let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
                let path = path.to_owned();
                if is_begun {
                    LedgerError::Document { path, source }
                } else {
                    LedgerError::Inherited { path, source }
                }
            };
            let host: HostName =
                name.parse().map_err(|error: InvalidHostName| unusable(error.into()))?;
            match HostDocument::decode(data) {
                Ok(document) => {
                    self.inherited.remove(&host);
                    self.hosts.insert(host, document);
                }
                Err(_) if !is_begun => {
                    let kept = Inherited::read(data).map_err(|error| unusable(error.into()))?;
                    self.hosts.remove(&host);
                    self.inherited.insert(host, kept);
                }
                Err(Undecodable::Foreign(why)) => {
                    return Err(LedgerError::Foreign { path: path.to_owned(), why });
                }
                Err(error) => return Err(unusable(error.into())),
            }
        }
        // Other paths belong to other versions and are left alone.
        Ok(())
    }

    /// Takes over what this process has written in this revision: these hosts' documents as
    /// they are stored, and the rest of the batch; with the versions that all of it has now.
    pub(super) fn take_written(
        &mut self,
        batch: &Batch<'_>,
        changed: Vec<(&HostName, HostDocument)>,
        versions: Vec<(String, Option<u64>)>,
        revision: u64,
    ) {
        for (path, version) in versions {
            self.note(path, version, revision);
        }
        for (host, document) in changed {
            self.written_in.insert(host.clone(), revision);
            self.inherited.remove(host);
            self.hosts.insert(host.clone(), document);
        }
        for host in &batch.removed {
            self.hosts.remove(*host);
            self.written_in.remove(*host);
        }
        if let Some(automation) = batch.automation {
            self.automation = automation.clone();
        }
        self.revision = self.revision.max(revision);
    }

    /// The version that a write of the document is decided on; `None`: there is none.
    pub(super) fn known_version(&self, path: &str) -> Option<u64> {
        self.known.get(path).map(|known| known.version)
    }
}

/// Why the documents could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not what this version writes. Nothing is done without it:
    /// its host would look as if nobody had ever taken it off.
    #[error("document {path} of the store cannot be read")]
    Document {
        /// Which.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A node of a store that is not begun is neither ours nor the predecessor's.
    #[error(
        "{path} of the store is no document of the predecessor's, so that nothing is begun: \
         with the predecessor stopped, mend the node or delete it"
    )]
    Inherited {
        /// Which.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nobody put on record who did it, and why.
    #[error(
        "documents of the store were changed by hand, or by another program ({what}): put right \
         what is wrong; then, to go on from all that is there, set the node `revision` to nothing"
    )]
    ByHand {
        /// The first of them, by what became of them.
        what: String,
        /// What else is wrong with them.
        #[source]
        source: Option<Box<LedgerError>>,
    },
    /// Two that write the same documents would undo each other's work.
    #[error(
        "document {path} of the store was written by the predecessor, which must not run beside \
         the remediator ({why}): stop it on every master; then put the document back and set the \
         node `revision` to nothing; or, to go on from all as it is, delete the node `automation`, \
         too, while no remediator runs"
    )]
    Foreign {
        /// Which.
        path: String,
        /// How that is known.
        why: String,
    },
}

/// The first of these, and how many more there are.
fn named(paths: &BTreeSet<String>) -> String {
    let first: Vec<&str> = paths.iter().take(MAX_NAMED).map(String::as_str).collect();
    let more = paths.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    first.join(", ") + &more
}

/// The transitions that led from one document of a host to another. Versions alone do not
/// tell: a document that was removed and made anew counts them from 1.
fn transitions(
    host: &HostName,
    former: Option<&HostDocument>,
    document: &HostDocument,
) -> Vec<(HostName, Record)> {
    let key = |it: &Record| (it.version, it.time, it.what);
    let known: BTreeSet<_> = former.into_iter().flat_map(|it| &it.transitions).map(key).collect();
    let newer =
        document.transitions.iter().filter(|it| it.version.is_some() && !known.contains(&key(it)));
    newer.map(|record| (host.clone(), record.clone())).collect()
}

/// Where a host's document lies.
pub(super) fn path_of(host: &HostName) -> String {
    format!("{HOSTS}{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    use jiff::Timestamp;
    use satellite_core::{Verdict, document::ManualEvent, manual};

    fn stored(version: u64, revision: u64, verdict: Verdict) -> Option<Stored> {
        let data = HostDocument::new(verdict, Timestamp::UNIX_EPOCH).encode();
        Some(Stored { data, version, revision })
    }

    #[test]
    fn i34_a_document_that_was_made_anew_meanwhile_tells_all_that_led_to_it() {
        let mut documents = Documents::default();
        let host: HostName = "h1.lab".parse().unwrap();
        let path = path_of(&host);
        let mut hear = |version: u64, revision: u64, seconds: i64| {
            let time = Timestamp::from_second(seconds).unwrap();
            let mut document = HostDocument::new(Verdict::On, time);
            let reason = "number 1".to_owned();
            let (author, ttl) = ("somebody".to_owned(), None);
            let event = ManualEvent { state: Verdict::Off, reason, author, time, ttl };
            let record = manual::say(&mut document, "a", event).unwrap();
            let data = document.in_version(version).encode();
            let stored = Some(Stored { data, version, revision });
            let heard = documents.hear(&path, stored, revision).unwrap().unwrap();
            (record.what, heard.into_iter().map(|(_, it)| (it.what, it.time)).collect::<Vec<_>>())
        };
        let (off, heard) = hear(8, 10, 100);
        assert_eq!(heard, [(off, Timestamp::from_second(100).unwrap())]);
        let (_, heard) = hear(1, 12, 200);
        assert_eq!(heard, [(off, Timestamp::from_second(200).unwrap())]);
    }

    #[test]
    fn what_is_heard_counts_where_it_is_newer_than_what_is_known() {
        let mut documents = Documents { read_at: 10, ..Documents::default() };
        let host: HostName = "h1.lab".parse().unwrap();
        let path = path_of(&host);
        let mut hear =
            |stored, revision| documents.hear(&path, stored, revision).unwrap().is_some();
        // It was not there when everything was read.
        assert!(!hear(stored(1, 9, Verdict::On), 0));
        assert!(hear(stored(1, 12, Verdict::On), 0));
        assert!(!hear(stored(1, 12, Verdict::On), 0));
        assert!(!hear(None, 11));
        assert!(hear(None, 13));
        // Made anew, it counts from 1.
        assert!(hear(stored(1, 14, Verdict::Off), 0));
        assert_eq!(documents.version(&host), 1);
        // What this process removed itself it may hear of later, as it was.
        documents.note(path.clone(), None, 15);
        assert!(documents.hear(&path, stored(1, 14, Verdict::Off), 0).unwrap().is_none());
        assert!(documents.hear(&path, stored(1, 16, Verdict::On), 0).unwrap().is_some());
    }
}
