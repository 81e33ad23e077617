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

use super::{Contents, Store, StoreError, Stored, Write};

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
    /// `None` after a failure: redb refuses to go on after an I/O error, so the
    /// file is opened again, which checks and repairs it.
    database: Mutex<Option<Database>>,
}

impl EmbeddedStore {
    /// Opens the store in `folder`, which is made if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        fs::create_dir_all(folder)
            .map_err(|error| unavailable("create the folder of", &path, error))?;
        let database = Mutex::new(Some(open(&path)?));
        Ok(Self { file: Arc::new(File { path, database }) })
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
        self.blocking("read", |file| file.with("read", load))
    }

    fn write(&self, writes: Vec<Write>) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.blocking("write to", move |file| file.with("write to", |it| write(it, &writes)))
    }
}

impl File {
    /// Runs `work` on the open database, opening it if the last use failed.
    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        // A panic in redb leaves nothing half-written that opening does not repair.
        let mut slot = self.database.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(open(&self.path)?);
        }
        let database = slot.as_ref().expect("it was opened just now");
        work(database).map_err(|failure| match failure {
            Failure::Conflict(conflict) => conflict,
            Failure::Redb(error) => {
                *slot = None;
                unavailable(operation, &self.path, error)
            }
        })
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
    StoreError::Unavailable { operation, path: path.to_owned(), source: Box::new(source) }
}

/// Opens the file and makes sure that the tables are there.
fn open(path: &Path) -> Result<Database, StoreError> {
    let prepare = || -> Result<Database, redb::Error> {
        let database = Database::create(path)?;
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

fn load(database: &Database) -> Result<Contents, Failure> {
    let transaction = database.begin_read()?;
    let revision = transaction.open_table(COUNTERS)?.get(REVISION)?.map_or(0, |it| it.value());
    let mut documents = std::collections::BTreeMap::new();
    for entry in transaction.open_table(DOCUMENTS)?.iter()? {
        let (path, stored) = entry?;
        let (version, data) = stored.value();
        documents.insert(path.value().to_owned(), Stored { data: data.to_vec(), version });
    }
    Ok(Contents { revision, documents })
}

fn write(database: &Database, writes: &[Write]) -> Result<u64, Failure> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let revision = {
        let mut documents = transaction.open_table(DOCUMENTS)?;
        for Write { path, expected, data } in writes {
            let found = documents.get(path.as_str())?.map(|stored| stored.value().0);
            if found != *expected {
                let (path, expected) = (path.clone(), *expected);
                return Err(Failure::Conflict(StoreError::Conflict { path, expected, found }));
            }
            let version = found.unwrap_or(0) + 1;
            documents.insert(path.as_str(), (version, data.as_slice()))?;
        }
        let mut counters = transaction.open_table(COUNTERS)?;
        let revision = counters.get(REVISION)?.map_or(0, |it| it.value()) + 1;
        counters.insert(REVISION, revision)?;
        revision
    };
    transaction.commit()?;
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &str, expected: Option<u64>, data: &str) -> Write {
        Write { path: path.into(), expected, data: data.into() }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        store.write(vec![put("a", None, "1"), put("b", None, "2")]).await.unwrap();
        assert_eq!(store.write(vec![put("a", Some(1), "3")]).await.unwrap(), 2);
        drop(store);
        let contents = EmbeddedStore::open(folder.path()).unwrap().load().await.unwrap();
        assert_eq!(contents.revision, 2);
        assert_eq!(contents.documents["a"], Stored { data: b"3".to_vec(), version: 2 });
        assert_eq!(contents.documents["b"].version, 1);
    }

    #[tokio::test]
    async fn a_conflict_in_one_write_undoes_the_whole_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path()).unwrap();
        store.write(vec![put("a", None, "1")]).await.unwrap();
        for stale in [None, Some(2)] {
            let refused = store.write(vec![put("b", None, "2"), put("a", stale, "3")]).await;
            assert!(matches!(refused, Err(StoreError::Conflict { found: Some(1), .. })));
        }
        let contents = store.load().await.unwrap();
        assert_eq!(contents.documents.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(contents.documents["a"].data, b"1");
    }

    #[test]
    fn i32_a_second_opener_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _store = EmbeddedStore::open(folder.path()).unwrap();
        assert!(matches!(EmbeddedStore::open(folder.path()), Err(StoreError::InUse { .. })));
    }
}
