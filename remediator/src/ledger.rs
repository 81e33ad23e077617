//! The documents as the store has them, and the one way to change them.
//!
//! Whoever wants to change a document takes the [`Desk`]: automation's rounds
//! and people's commands follow each other, so that each is decided on what the
//! other has written. Reading needs no desk.

use std::{
    collections::BTreeMap,
    sync::{
        RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use satellite_core::{
    Automation, HostDocument, HostName, Plan, State, document::Record, time::brief,
};
use satellite_toolkit::{exit::chain, lifecycle::Readiness};
use tokio::sync::{Mutex, MutexGuard, watch};
use tracing::{error, info, warn};

use crate::{
    hang::{self, watched},
    store::{Store, StoreError, Write},
    tally::Tally,
};

/// Below this path lies one document per host, named by it.
const HOSTS: &str = "whitelist/";
/// The path of automation's own document.
const AUTOMATION: &str = "automation";

/// What readiness calls the store.
pub(crate) const STORE: &str = "store";

/// All documents, decoded.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// The store's revision that they are of.
    pub(crate) revision: u64,
    /// Every host's.
    pub(crate) hosts: BTreeMap<HostName, HostDocument>,
    /// Automation's own.
    pub(crate) automation: Automation,
    versions: BTreeMap<String, u64>,
    /// The revision in which this process last wrote a host's document.
    written_in: BTreeMap<HostName, u64>,
}

impl Documents {
    /// The documents as the core wants them.
    pub(crate) fn state(&self) -> State<'_> {
        State { hosts: &self.hosts, automation: &self.automation }
    }

    /// Whether the store has been begun: before that no list follows from it.
    pub(crate) fn is_begun(&self) -> bool {
        self.automation.first_start.is_some()
    }

    /// Whether this process has written the host's document after that revision.
    pub(crate) fn was_written_after(&self, revision: u64, host: &HostName) -> bool {
        self.written_in.get(host).is_some_and(|&written| written > revision)
    }

    /// When this process last wrote each document, where `former` is what it knew of.
    fn writes_after(&self, former: &mut Self) -> BTreeMap<HostName, u64> {
        let mut written_in = std::mem::take(&mut former.written_in);
        written_in.retain(|host, _| self.hosts.contains_key(host));
        let changed = self.hosts.keys().filter(|host| self.version(host) != former.version(host));
        written_in.extend(changed.map(|host| (host.clone(), self.revision)));
        written_in
    }

    /// The transitions that led to newer versions of documents than `former` has.
    fn transitions_after(&self, former: &Self) -> Vec<(HostName, Record)> {
        let hosts = self.hosts.iter().flat_map(|(host, document)| {
            let known = former.version(host);
            let newer = document.transitions.iter().filter(move |it| it.version > Some(known));
            newer.map(|record| (host.clone(), record.clone()))
        });
        hosts.collect()
    }

    /// The version of a host's document; 0 where there is none.
    pub(crate) fn version(&self, host: &HostName) -> u64 {
        self.versions.get(&path_of(host)).copied().unwrap_or(0)
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
}

/// Keeps the documents in memory in step with the store.
pub(crate) struct Ledger {
    store: Box<dyn Store>,
    documents: RwLock<Documents>,
    turn: Mutex<()>,
    revision: watch::Sender<u64>,
    /// Whether a write failed: it may still have reached the disk.
    in_doubt: AtomicBool,
    /// What such a write turned out to have done. Its writer was told that it failed, so
    /// that nobody has put it on record.
    belated: std::sync::Mutex<Vec<(HostName, Record)>>,
    /// Whether the store has been waited for longer than it ever takes.
    hangs: AtomicBool,
    readiness: Readiness,
    /// What was written, counted by whoever wrote it.
    pub(crate) tally: Tally,
}

impl Ledger {
    /// Reads every document. Readiness is told of a store that hangs.
    pub(crate) async fn load(
        store: Box<dyn Store>,
        readiness: Readiness,
    ) -> Result<Self, LedgerError> {
        let documents = Documents::load(store.as_ref()).await?;
        Ok(Self {
            store,
            revision: watch::Sender::new(documents.revision),
            documents: RwLock::new(documents),
            turn: Mutex::new(()),
            in_doubt: AtomicBool::new(false),
            belated: std::sync::Mutex::default(),
            hangs: AtomicBool::new(false),
            readiness,
            tally: Tally::default(),
        })
    }

    /// After a failed write the store is read again before anything is decided on
    /// it. Where that fails, too, nothing can be written: what is in memory may be
    /// older than what is stored.
    async fn settle(&self) -> Result<(), StoreError> {
        if !self.in_doubt.load(Ordering::Relaxed) {
            return Ok(());
        }
        let load = self.wait_for_store(Documents::load(self.store.as_ref()));
        let mut documents = load.await.map_err(|error| {
            warn!(error = chain(&error), "Cannot read the store again yet");
            StoreError::InDoubt { source: Box::new(error) }
        })?;
        let revision = documents.revision;
        {
            let mut known = self.documents.write().expect("no writer of the documents panics");
            self.belated().extend(documents.transitions_after(&known));
            documents.written_in = documents.writes_after(&mut known);
            *known = documents;
        }
        self.in_doubt.store(false, Ordering::Relaxed);
        self.revision.send_replace(revision);
        Ok(())
    }

    /// Waits for the store, and tells if it hangs: until it answers nobody else gets a
    /// turn, so that no round ends and no command is answered.
    async fn wait_for_store<T>(&self, work: impl Future<Output = T>) -> T {
        let tell = |hangs: bool| {
            self.hangs.store(hangs, Ordering::Relaxed);
            self.readiness.set(STORE, self.hang());
            if hangs {
                error!("The store does not answer: nothing changes until it does");
            } else {
                info!("The store answers again");
            }
        };
        watched(work, tell).await
    }

    /// How the store hangs, if it does.
    pub(crate) fn hang(&self) -> Option<String> {
        let hangs = self.hangs.load(Ordering::Relaxed);
        hangs.then(|| format!("it has not answered for over {}", brief(hang::PATIENCE)))
    }

    /// The documents as they are now. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Documents> {
        self.documents.read().expect("no writer of the documents panics")
    }

    /// The transitions that nobody has put on record, since their write had seemed to
    /// fail: whoever takes them does.
    pub(crate) fn take_belated(&self) -> Vec<(HostName, Record)> {
        std::mem::take(&mut self.belated())
    }

    fn belated(&self) -> std::sync::MutexGuard<'_, Vec<(HostName, Record)>> {
        self.belated.lock().expect("nobody panics while holding it")
    }

    /// Changes whenever a document did.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits for one's turn to change documents.
    ///
    /// # Errors
    /// Where a write has failed and the store cannot be read to see what came of it.
    pub(crate) async fn desk(&self) -> Result<Desk<'_>, StoreError> {
        let turn = self.turn.lock().await;
        self.settle().await?;
        Ok(Desk { ledger: self, _turn: turn })
    }
}

/// One's turn to change documents: what is read while it is held is what the
/// next write is decided on.
pub(crate) struct Desk<'a> {
    ledger: &'a Ledger,
    _turn: MutexGuard<'a, ()>,
}

impl Desk<'_> {
    /// The documents as they are now. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Documents> {
        self.ledger.read()
    }

    /// Writes the batch in one transaction, durably, or none of it.
    pub(crate) async fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let changed = self.changed(batch);
        let writes = self.writes(batch, &changed);
        if writes.is_empty() {
            return Ok(());
        }
        let versions: Vec<(String, Option<u64>)> = writes.iter().map(version_after).collect();
        // Until it is known to have succeeded.
        self.ledger.in_doubt.store(true, Ordering::Relaxed);
        let write = self.ledger.store.write(writes);
        let revision = self.ledger.wait_for_store(write).await?;
        {
            let mut documents =
                self.ledger.documents.write().expect("no writer of the documents panics");
            for (path, version) in versions {
                match version {
                    Some(version) => documents.versions.insert(path, version),
                    None => documents.versions.remove(&path),
                };
            }
            for (host, document) in changed {
                documents.written_in.insert(host.clone(), revision);
                documents.hosts.insert(host.clone(), document);
            }
            for host in &batch.removed {
                documents.hosts.remove(*host);
                documents.written_in.remove(*host);
            }
            if let Some(automation) = batch.automation {
                documents.automation = automation.clone();
            }
            documents.revision = revision;
        }
        self.ledger.in_doubt.store(false, Ordering::Relaxed);
        self.ledger.revision.send_replace(revision);
        Ok(())
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
            expected: documents.versions.get(&path).copied(),
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

/// What is written in one transaction.
#[derive(Debug, Default)]
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

    /// One host's document.
    pub(crate) fn of_host(host: &'a HostName, document: &'a HostDocument) -> Self {
        Self { hosts: BTreeMap::from([(host, document)]), ..Self::default() }
    }
}

/// The version that a document has after the write; `None`: it is gone.
fn version_after(write: &Write) -> (String, Option<u64>) {
    let version = write.data.as_ref().map(|_| write.expected.unwrap_or(0) + 1);
    (write.path.clone(), version)
}

impl Documents {
    async fn load(store: &dyn Store) -> Result<Self, LedgerError> {
        let contents = store.load().await?;
        let mut documents = Self { revision: contents.revision, ..Self::default() };
        for (path, stored) in contents.documents {
            documents.take(&path, &stored.data)?;
            documents.versions.insert(path, stored.version);
        }
        Ok(documents)
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
            let host: HostName = name
                .parse()
                .map_err(|error: satellite_core::host::InvalidHostName| unreadable(error.into()))?;
            let document = HostDocument::decode(data).map_err(|error| unreadable(error.into()))?;
            self.hosts.insert(host, document);
        }
        // Other paths belong to other versions and are left alone.
        Ok(())
    }
}

fn path_of(host: &HostName) -> String {
    format!("{HOSTS}{host}")
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::BoxFuture};
    use jiff::Timestamp;
    use satellite_core::Verdict;

    use super::*;
    use crate::store::Contents;

    /// A store that takes what it is given, and says that it has not.
    #[derive(Default)]
    struct InDoubt(std::sync::Mutex<Contents>);

    impl Store for InDoubt {
        fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
            std::future::ready(Ok(self.0.lock().unwrap().clone())).boxed()
        }

        fn write(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<u64, StoreError>> {
            self.0.lock().unwrap().apply(writes).unwrap();
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
            let error = StoreError::Unavailable { operation: "write", path: "s".into(), source };
            std::future::ready(Err(error)).boxed()
        }
    }

    #[tokio::test]
    async fn what_a_write_in_doubt_has_changed_is_newer_than_what_was_known_of_it() {
        let ledger = Ledger::load(Box::<InDoubt>::default(), Readiness::default()).await.unwrap();
        let [changed, other]: [HostName; 2] = ["h1.lab", "h2.lab"].map(|it| it.parse().unwrap());
        let known = ledger.read().revision;
        let document = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
        let desk = ledger.desk().await.unwrap();
        desk.commit(&Batch::of_host(&changed, &document)).await.unwrap_err();
        drop(desk);
        drop(ledger.desk().await.unwrap());
        let documents = ledger.read();
        assert!(documents.was_written_after(known, &changed));
        assert!(!documents.was_written_after(known, &other));
    }
}
