//! The one way to change documents.

use std::{
    collections::BTreeMap,
    sync::{RwLockReadGuard, atomic::Ordering},
};

use satellite_core::{HostDocument, HostName};
use satellite_toolkit::exit::chain;
use tokio::sync::MutexGuard;

use super::{
    Batch, Documents, Ledger,
    documents::{AUTOMATION, path_of},
};
use crate::store::{StoreError, Write, Writer};

/// One's turn to change documents: what is read while it is held is what the
/// next write is decided on.
pub(crate) struct Desk<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) _turn: MutexGuard<'a, ()>,
}

impl Desk<'_> {
    /// The documents as they are now. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Documents> {
        self.ledger.read()
    }

    /// Writes the batch durably: in one transaction, or none of it. A batch that no
    /// transaction can take is written in several, see [`Batch::parts`].
    pub(crate) async fn commit(&self, batch: &Batch<'_>, writer: Writer) -> Result<(), StoreError> {
        let parts = batch.parts(self.ledger.store.max_write(), self.read().is_begun());
        let term = self.ledger.term();
        for (at, part) in parts.iter().enumerate() {
            // The rest of what was decided in one lead is not written in the next.
            let is_late = writer == Writer::Automation && self.ledger.term() != term;
            let written = match is_late {
                true => Err(StoreError::NotLeading),
                false => self.commit_one(part, writer).await,
            };
            if let Err(error) = written {
                self.note_written(&parts[..at]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps what the first parts of a batch have done for whoever puts it on record: the
    /// batch as a whole has failed.
    fn note_written(&self, parts: &[Batch<'_>]) {
        let documents = self.read();
        for host in parts.iter().flat_map(|part| part.hosts.keys()) {
            let version = documents.version(host);
            let transitions = documents.hosts.get(*host).into_iter().flat_map(|it| &it.transitions);
            let written = transitions.filter(|it| it.version == Some(version));
            self.ledger.belated().extend(written.map(|it| ((*host).clone(), it.clone())));
        }
    }

    async fn commit_one(&self, batch: &Batch<'_>, writer: Writer) -> Result<(), StoreError> {
        let changed = self.changed(batch);
        let writes = self.writes(batch, &changed);
        if writes.is_empty() {
            return Ok(());
        }
        let versions: Vec<(String, Option<u64>)> = writes.iter().map(version_after).collect();
        // Until it is known to have succeeded, or to have failed.
        self.ledger.in_doubt.store(true, Ordering::SeqCst);
        self.ledger.doubted().extend(changed.iter().map(|(host, _)| (*host).clone()));
        let seen = self.read().revision;
        let write = self.ledger.store.write(writes, writer, seen);
        let written = self.ledger.wait_for_store(write).await;
        let revision = match written {
            Ok(revision) => revision,
            Err(error) => {
                self.note_failure(&error);
                return Err(error);
            }
        };
        {
            let documents = &self.ledger.documents;
            let mut documents = documents.write().expect("no writer of the documents panics");
            documents.take_written(batch, changed, versions, revision);
        }
        self.settled();
        self.ledger.tell_trouble(None);
        let revision = self.read().revision;
        self.ledger.tell_revision(revision);
        Ok(())
    }

    /// What was not written for sure leaves no doubt; what stands in its way is known now.
    fn note_failure(&self, error: &StoreError) {
        match error {
            StoreError::Conflict { path, found: Some(found), .. } => {
                let revision = self.read().revision;
                self.settled();
                let found = BTreeMap::from([(path.clone(), Some(found.as_ref().clone()))]);
                self.ledger.take_news(found, revision, revision);
            }
            // Only who reads all of it sees whether a remediator has deleted it.
            StoreError::Conflict { found: None, .. } => {
                self.settled();
                self.ledger.doubt();
            }
            StoreError::Overtaken { .. } | StoreError::NotLeading | StoreError::TooLarge { .. } => {
                self.settled();
            }
            error => self.ledger.tell_trouble(Some(chain(error))),
        }
    }

    fn settled(&self) {
        self.ledger.doubted().clear();
        self.ledger.in_doubt.store(false, Ordering::SeqCst);
    }

    /// The documents to write, as they will be stored: one that is as it was is left
    /// alone.
    fn changed<'b>(&self, batch: &Batch<'b>) -> Vec<(&'b HostName, HostDocument)> {
        let documents = self.read();
        let hosts = batch.hosts.iter().map(|(host, document)| (*host, *document));
        let changed = hosts.filter(|(host, it)| documents.hosts.get(*host) != Some(*it));
        changed.map(|(host, it)| (host, it.in_version(documents.version(host) + 1))).collect()
    }

    fn writes(&self, batch: &Batch<'_>, changed: &[(&HostName, HostDocument)]) -> Vec<Write> {
        let documents = self.read();
        let write = |path: String, data: Option<Vec<u8>>| Write {
            expected: documents.known_version(&path),
            path,
            data,
        };
        let hosts = changed.iter().map(|(host, it)| write(path_of(host), Some(it.encode())));
        let removed = batch.removed.iter().filter(|host| documents.hosts.contains_key(**host));
        let removed = removed.map(|host| write(path_of(host), None));
        let automation = batch.automation.map(|automation| {
            let data = serde_json::to_vec(automation)
                .expect("automation's document holds only text keys and finite numbers");
            write(AUTOMATION.to_owned(), Some(data))
        });
        hosts.chain(removed).chain(automation).collect()
    }
}

/// The version that a document has after the write; `None`: it is gone.
fn version_after(write: &Write) -> (String, Option<u64>) {
    let version = write.data.as_ref().map(|_| write.expected.unwrap_or(0) + 1);
    (write.path.clone(), version)
}
