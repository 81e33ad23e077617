//! Where documents are kept: small pieces of JSON with versions.
//!
//! The trait has ZooKeeper's shape (compare-and-set on a version, several
//! writes in one transaction), so that a store that several remediators share
//! fits behind it. It knows nothing of what is in a document.

mod embedded;
mod shadow;

use std::{collections::BTreeMap, path::PathBuf};

use futures::future::BoxFuture;

pub(crate) use embedded::EmbeddedStore;
pub(crate) use shadow::ShadowStore;

/// One document as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// JSON.
    pub(crate) data: Vec<u8>,
    /// Counts the writes of this document, from 1.
    pub(crate) version: u64,
}

/// Everything that is stored, read in one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Counts the transactions of this store.
    pub(crate) revision: u64,
    /// By path, such as `whitelist/node1.example` or `automation`.
    pub(crate) documents: BTreeMap<String, Stored>,
}

impl Contents {
    /// Carries out all writes or none, and returns the new revision.
    pub(crate) fn apply(&mut self, writes: Vec<Write>) -> Result<u64, StoreError> {
        for Write { path, expected, .. } in &writes {
            let found = self.documents.get(path).map(|stored| stored.version);
            if found != *expected {
                let (path, expected) = (path.clone(), *expected);
                return Err(StoreError::Conflict { path, expected, found });
            }
        }
        for Write { path, expected, data } in writes {
            match data {
                Some(data) => {
                    let version = expected.unwrap_or(0) + 1;
                    self.documents.insert(path, Stored { data, version });
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

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Somebody else wrote the document meanwhile: read it again and decide anew.
    #[error("{path} has version {found:?} and not {expected:?}")]
    Conflict {
        /// Which document.
        path: String,
        /// What the writer believed.
        expected: Option<u64>,
        /// What is there.
        found: Option<u64>,
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
    /// Nobody knows what the store has, so that nothing can be decided on it.
    #[error("the last write may have been made or not, and the store cannot be read to see")]
    InDoubt {
        /// Why it cannot be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is out of reach: disk full, folder gone.
    #[error("cannot {operation} the store {}", path.display())]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// Which store.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A store of documents.
pub(crate) trait Store: Send + Sync {
    /// Reads everything.
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>>;

    /// Carries out all writes or none, durably. Returns the new revision. The
    /// version of each written document is the former one plus 1, or 1.
    fn write(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<u64, StoreError>>;
}
