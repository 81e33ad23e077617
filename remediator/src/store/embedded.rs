//! The store of a cluster with one remediator: one file, one process.
//!
//! redb locks its file, so that a second remediator on the same folder does not
//! start. Every transaction is on disk before it is answered.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures::future::BoxFuture;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Contents, Store, StoreError, Stored, Write, Writer};

/// Path to version and content.
const DOCUMENTS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("documents");
/// `revision` counts the transactions.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const REVISION: &str = "revision";
const FILE_NAME: &str = "store.redb";

/// A store in a file of its own.
pub(crate) struct EmbeddedStore {
    file: Arc<File>,
}

struct File {
    path: PathBuf,
    slot: Mutex<Slot>,
}

struct Slot {
    /// `None` after a failure: redb refuses to go on after an I/O error, so the
    /// file is opened again, which checks and repairs it.
    database: Option<Database>,
    /// The newest revision that was seen. A file of less is not this store: a
    /// volume may be gone, or somebody has put a copy in its place, and to go on
    /// from there would forget what people said.
    revision: u64,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, which is made if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        fs::create_dir_all(folder)
            .map_err(|error| unavailable("create the folder of", &path, error))?;
        let database = open(&path, |path| Database::create(path))?;
        let revision = revision(&database).map_err(|error| unavailable("read", &path, error))?;
        let slot = Mutex::new(Slot { database: Some(database), revision });
        Ok(Self { file: Arc::new(File { path, slot }) })
    }

    fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&File) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (file, path) = (Arc::clone(&self.file), self.file.path.clone());
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&file)).await;
            done.map_err(|error| unavailable(operation, &path, error))?
        })
    }
}

impl Store for EmbeddedStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        self.blocking("read", |file| {
            file.with("read", |database| {
                let contents = load(database)?;
                Ok((contents.revision, contents))
            })
        })
    }

    fn write(
        &self,
        writes: Vec<Write>,
        _: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.blocking("write to", move |file| {
            file.with("write to", |database| {
                let revision = write(database, &writes, seen)?;
                Ok((revision, revision))
            })
        })
    }
}

impl File {
    /// Runs `work` on the open database, opening it if the last use failed. `work`
    /// returns the revision that it saw besides its result.
    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<(u64, T), Failure>,
    ) -> Result<T, StoreError> {
        // A panic in redb leaves nothing half-written that opening does not repair.
        let mut slot = self.slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slot.database.is_none() {
            slot.database = Some(self.reopen(slot.revision)?);
        }
        let database = slot.database.as_ref().expect("it was opened just now");
        match work(database) {
            Ok((revision, result)) => {
                slot.revision = revision;
                Ok(result)
            }
            Err(Failure::Conflict(conflict)) => Err(conflict),
            Err(Failure::Redb(error)) => {
                slot.database = None;
                Err(unavailable(operation, &self.path, error))
            }
        }
    }

    /// Opens the file again, and never makes a new one.
    fn reopen(&self, known: u64) -> Result<Database, StoreError> {
        let database = open(&self.path, |path| Database::open(path))?;
        let found = revision(&database).map_err(|error| unavailable("read", &self.path, error))?;
        if found < known {
            let path = self.path.clone();
            return Err(StoreError::Replaced { path, found, known });
        }
        Ok(database)
    }
}

/// A failed use of the database: a conflict leaves it as it was, anything else
/// makes it suspect.
enum Failure {
    Conflict(StoreError),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

fn unavailable(
    operation: &'static str,
    path: &Path,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    let place = path.display().to_string();
    StoreError::Unavailable { operation, place, source: Box::new(source) }
}

/// Opens the file and makes sure that the tables are there.
fn open(
    path: &Path,
    how: impl FnOnce(&Path) -> Result<Database, redb::DatabaseError>,
) -> Result<Database, StoreError> {
    let prepare = || -> Result<Database, redb::Error> {
        let database = how(path)?;
        let transaction = database.begin_write()?;
        transaction.open_table(DOCUMENTS)?;
        transaction.open_table(COUNTERS)?;
        transaction.commit()?;
        Ok(database)
    };
    prepare().map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
        error => unavailable("open", path, error),
    })
}

fn revision(database: &Database) -> Result<u64, redb::Error> {
    let counters = database.begin_read()?.open_table(COUNTERS)?;
    Ok(counters.get(REVISION)?.map_or(0, |it| it.value()))
}

fn load(database: &Database) -> Result<Contents, Failure> {
    let transaction = database.begin_read()?;
    let revision = transaction.open_table(COUNTERS)?.get(REVISION)?.map_or(0, |it| it.value());
    let mut documents = std::collections::BTreeMap::new();
    for entry in transaction.open_table(DOCUMENTS)?.iter()? {
        let (path, stored) = entry?;
        let (version, data) = stored.value();
        let stored = Stored { data: data.to_vec(), version, revision: 0 };
        documents.insert(path.value().to_owned(), stored);
    }
    Ok(Contents { revision, documents, ..Contents::default() })
}

fn write(database: &Database, writes: &[Write], seen: u64) -> Result<u64, Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let revision = {
        let mut documents = transaction.open_table(DOCUMENTS)?;
        for Write { path, expected, data } in writes {
            let found = documents.get(path.as_str())?.map(|stored| {
                let (version, data) = stored.value();
                Stored { version, data: data.to_vec(), revision: 0 }
            });
            if found.as_ref().map(|found| found.version) != *expected {
                return Err(Failure::Conflict(StoreError::conflict(path, *expected, found)));
            }
            match data {
                Some(data) => {
                    let version = expected.unwrap_or(0) + 1;
                    documents.insert(path.as_str(), (version, data.as_slice()))?;
                }
                None => drop(documents.remove(path.as_str())?),
            }
        }
        let mut counters = transaction.open_table(COUNTERS)?;
        let former = counters.get(REVISION)?.map_or(0, |it| it.value());
        if former != seen {
            return Err(Failure::Conflict(StoreError::Overtaken { seen }));
        }
        let revision = former + 1;
        counters.insert(REVISION, revision)?;
        revision
    };
    transaction.commit()?;
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{self, put};

    #[tokio::test]
    async fn it_is_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        contract::holds(store, async |store| {
            drop(store);
            Box::new(EmbeddedStore::open(folder.path()).unwrap()) as Box<dyn Store>
        })
        .await;
    }

    /// As after an I/O error.
    fn fail(store: &EmbeddedStore) {
        store.file.slot.lock().unwrap().database = None;
    }

    #[tokio::test]
    async fn after_a_failure_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        contract::write(&store, vec![put("a", None, "1")], Writer::Person).await.unwrap();
        fail(&store);
        assert_eq!(
            contract::write(&store, vec![put("a", Some(1), "2")], Writer::Person).await.unwrap(),
            2
        );
    }

    #[tokio::test]
    async fn a_store_that_is_gone_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        contract::write(&store, vec![put("a", None, "1")], Writer::Person).await.unwrap();
        fail(&store);
        fs::rename(folder.path().join(FILE_NAME), folder.path().join("away")).unwrap();
        assert!(store.load().await.is_err());
        assert!(!folder.path().join(FILE_NAME).exists());
        fs::rename(folder.path().join("away"), folder.path().join(FILE_NAME)).unwrap();
        assert_eq!(store.load().await.unwrap().documents["a"].data, b"1");
    }

    #[tokio::test]
    async fn an_older_copy_is_not_taken_for_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        drop(EmbeddedStore::open(other.path()).unwrap());
        let store = EmbeddedStore::open(folder.path()).unwrap();
        contract::write(&store, vec![put("a", None, "1")], Writer::Person).await.unwrap();
        fail(&store);
        fs::copy(other.path().join(FILE_NAME), folder.path().join(FILE_NAME)).unwrap();
        let refused = store.load().await;
        assert!(matches!(refused, Err(StoreError::Replaced { found: 0, known: 1, .. })));
    }

    #[tokio::test]
    async fn a_removed_document_is_gone_and_may_be_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        contract::write(&store, vec![put("a", None, "1")], Writer::Person).await.unwrap();
        let remove = Write { data: None, ..put("a", Some(1), "") };
        contract::write(&store, vec![remove], Writer::Person).await.unwrap();
        assert!(store.load().await.unwrap().documents.is_empty());
        contract::write(&store, vec![put("a", None, "2")], Writer::Person).await.unwrap();
        assert_eq!(store.load().await.unwrap().documents["a"].version, 1);
    }

    #[test]
    fn i32_a_second_opener_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _store = EmbeddedStore::open(folder.path()).unwrap();
        assert!(matches!(EmbeddedStore::open(folder.path()), Err(StoreError::InUse { .. })));
    }
}
