//! Where documents are kept: small pieces of JSON with versions.
//!
//! The trait has ZooKeeper's shape: compare-and-set on a version, several writes in one
//! transaction, word of what others write. One store is a file of this process's
//! ([`EmbeddedStore`]), the other lies in ZooKeeper and is shared ([`ZooKeeperStore`]);
//! both pass the same tests (`contract.rs`). It knows nothing of what is in a document.

#[cfg(test)]
pub(crate) mod contract;
mod embedded;
mod shadow;
mod zookeeper;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use futures::future::BoxFuture;
use tokio::sync::watch;

pub(crate) use embedded::EmbeddedStore;
pub(crate) use shadow::ShadowStore;
pub(crate) use zookeeper::ZooKeeperStore;

/// One document as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// JSON.
    pub(crate) data: Vec<u8>,
    /// Counts the writes of this document, from 1.
    pub(crate) version: u64,
    /// The revision of the store that wrote it; 0 where the store is not shared, so that
    /// nobody needs to know.
    pub(crate) revision: u64,
}

/// Everything that is stored, read in one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Grows with every transaction; the same for all who share the store.
    pub(crate) revision: u64,
    /// By path, such as `whitelist/node1.example` or `automation`.
    pub(crate) documents: BTreeMap<String, Stored>,
    /// Which of them were last written by no remediator.
    pub(crate) strangers: BTreeSet<String>,
}

impl Contents {
    /// Carries out all writes or none, and returns the new revision. They were decided on
    /// the revision `seen`.
    pub(crate) fn apply(&mut self, writes: Vec<Write>, seen: u64) -> Result<u64, StoreError> {
        for Write { path, expected, .. } in &writes {
            let found = self.documents.get(path);
            if found.map(|stored| stored.version) != *expected {
                return Err(StoreError::conflict(path, *expected, found.cloned()));
            }
        }
        if seen != self.revision {
            return Err(StoreError::Overtaken { seen });
        }
        for Write { path, expected, data } in writes {
            match data {
                Some(data) => {
                    let version = expected.unwrap_or(0) + 1;
                    let revision = self.revision + 1;
                    self.documents.insert(path, Stored { data, version, revision });
                }
                None => drop(self.documents.remove(&path)),
            }
        }
        self.revision += 1;
        Ok(self.revision)
    }
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// Which document.
    pub(crate) path: String,
    /// The version it must have now; `None`: it must not exist.
    pub(crate) expected: Option<u64>,
    /// The new content; `None` removes the document.
    pub(crate) data: Option<Vec<u8>>,
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A round. It is refused unless this process leads, and that is part of the transaction.
    Automation,
    /// Somebody who gave a command, at whichever remediator.
    Person,
}

/// How this process stands to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The store is out of reach, for this reason.
    Away(String),
    /// Another remediator leads, or none yet.
    Follows {
        /// Who leads, as it calls itself.
        leader: Option<String>,
    },
    /// Automation's writes are this process's.
    Leads,
}

/// What others have written.
#[derive(Debug)]
pub(crate) enum News {
    /// These documents are as here, or were at some moment since they were written.
    Documents {
        /// By path; `None`: gone.
        documents: BTreeMap<String, Option<Stored>>,
        /// The revision at which those that are gone were so.
        gone_at: u64,
        /// The revision of which everything is known with these.
        revision: u64,
    },
    /// Something may have been missed: everything has to be read again.
    Unknown,
    /// Somebody has written who is no remediator: whoever reads everything is told what.
    Strange,
    /// Nothing; another remediator has been told something that is the leader's to look at.
    Woken,
}

/// What all who share a store say.
#[derive(Debug)]
pub(crate) struct Words {
    /// What each says, by subject.
    pub(crate) by_subject: BTreeMap<String, String>,
    /// Whether it is sure that all of them are alive: one that has died is heard for a while.
    pub(crate) are_settled: bool,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Somebody else wrote the document meanwhile: decide anew on what is there.
    #[error(
        "{path} was written by somebody else meanwhile: it has version {} and not {}",
        version(found.as_ref().map(|found| found.version)), version(*expected)
    )]
    Conflict {
        /// Which document.
        path: String,
        /// What the writer believed.
        expected: Option<u64>,
        /// What is there.
        found: Option<Box<Stored>>,
    },
    /// Somebody else wrote another document meanwhile: decide anew on that, too.
    #[error("others have written since revision {seen} of the store")]
    Overtaken {
        /// The revision that the writer knew.
        seen: u64,
    },
    /// Automation's writes are another remediator's by now.
    #[error("this remediator does not lead, or does no longer")]
    NotLeading,
    /// It does not fit into one transaction.
    #[error("the write has {size} bytes, and the store takes {limit} at once")]
    TooLarge {
        /// How large it is, in bytes.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// It was out of reach since the start.
    #[error("the store has not been read yet, so that it is not known which hosts there are")]
    Unread {
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Two would overwrite each other's whitelist.
    #[error(
        "another process has the store {} open: end that one, or, if it serves another cluster, \
         give this one a store.embedded.path of its own",
        path.display()
    )]
    InUse {
        /// Which store.
        path: PathBuf,
    },
    /// The file is not the store that this process has written.
    #[error(
        "the store {} was replaced: it has revision {found}, and {known} was seen; put the right \
         one back, or restart to go on from what is there",
        path.display()
    )]
    Replaced {
        /// Which store.
        path: PathBuf,
        /// What it has.
        found: u64,
        /// What it had.
        known: u64,
    },
    /// It has forgotten what was known of it, and to go on from there would undo what people
    /// said.
    #[error(
        "the store was emptied or put back to an older state: it has revision {found}, and {known} \
         was seen; put the right one back, or restart every remediator to go on from what is there"
    )]
    Forgetful {
        /// What it has.
        found: u64,
        /// What it had.
        known: u64,
    },
    /// What was in it is gone, and to go on from there would undo what people said.
    #[error(
        "the store {place} was deleted, or made anew, since this process began: put the right one \
         back, or restart every remediator to go on from what is there"
    )]
    Remade {
        /// Which store.
        place: String,
    },
    /// A document that is gone does not say why its host should leave the whitelist.
    #[error(
        "the store {place} has {found} documents, and {counted} were written: somebody else has \
         deleted some, or made some. Put it right; or, to go on from what is there, have them \
         counted anew: set {node} to nothing (in zkCli: `set {node} ''`)"
    )]
    Miscounted {
        /// Which store.
        place: String,
        /// The node in which the count stands.
        node: String,
        /// How many there should be.
        counted: usize,
        /// How many there are.
        found: usize,
        /// Which these are, as far as that could be read.
        there: BTreeSet<String>,
        /// Which of them were last written by no remediator.
        strangers: BTreeSet<String>,
    },
    /// A person has just asked for it.
    #[error("the documents of the store {place} are being counted anew")]
    Uncounted {
        /// Which store.
        place: String,
    },
    /// Others have waited for longer than anybody should.
    #[error("too many wait for the store, which takes long to answer")]
    Busy,
    /// Nobody knows what the store has, so that nothing can be decided on it.
    #[error("the last write may have been made or not, and the store cannot be read to see")]
    InDoubt {
        /// Why it cannot be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is out of reach: disk full, folder gone, no server that answers.
    #[error("cannot {operation} the store {place}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Which store: its file, or its servers and node.
        place: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    fn conflict(path: &str, expected: Option<u64>, found: Option<Stored>) -> Self {
        Self::Conflict { path: path.to_owned(), expected, found: found.map(Box::new) }
    }
}

/// As people read it.
fn version(version: Option<u64>) -> String {
    version.map_or_else(|| "none".into(), |version| version.to_string())
}

/// A store of documents.
pub(crate) trait Store: Send + Sync {
    /// Reads everything.
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>>;

    /// Carries out all writes or none, durably, unless anything was written after the
    /// revision `seen`: budgets and floors are judged over all documents. Returns the new
    /// revision. The version of each written document is the former one plus 1, or 1.
    fn write(
        &self,
        writes: Vec<Write>,
        writer: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// How many bytes of paths and documents go into one transaction.
    fn max_write(&self) -> usize {
        usize::MAX
    }

    /// Whether other remediators have it, too, so that it may be away for a while.
    fn is_shared(&self) -> bool {
        false
    }

    /// Waits until others have, or may have, written. What this process itself has written
    /// may come, too. Nothing is lost where the wait is broken off.
    fn news(&self) -> BoxFuture<'_, News> {
        Box::pin(std::future::pending())
    }

    /// Has whoever leads look at the facts.
    fn wake(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Has all who share it know what this process says on a subject, instead of what it said
    /// before and as long as it lives; and gives what each of them says.
    fn exchange(&self, subject: String, word: String) -> BoxFuture<'_, Result<Words, StoreError>> {
        let by_subject = BTreeMap::from([(subject, word)]);
        Box::pin(std::future::ready(Ok(Words { by_subject, are_settled: true })))
    }

    /// Lets go of it at the end of the process, so that another can lead at once.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Which lead it is, where this process leads; the same as long as nobody else has led.
    fn term(&self) -> Option<String> {
        None
    }

    /// How this process stands to it, and whenever that changes.
    fn standing(&self) -> watch::Receiver<Standing> {
        // Of a store that nobody shares whoever has it leads.
        watch::Sender::new(Standing::Leads).subscribe()
    }
}
