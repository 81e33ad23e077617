//! The audit record of this instance: one JSON object a line, appended. Where several
//! remediators share a store, it has what the others did to hosts, too, as they hear of it:
//! each journal is whole, and any that is left tells everything.
//!
//! Nothing is derived from it. What must survive is in the documents; this is
//! for people who ask afterwards what happened and why. A webhook delivery is
//! answered only after it is in here, on disk.
//!
//! One task writes ([`writer`]). Any number read, from the end backwards
//! ([`reading`]). What was done and could not be written is kept and tried again;
//! what a process dies with, the next one finds in the documents ([`recorded`]).

mod reading;
mod recorded;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use satellite_core::{HostName, document::Record};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use self::writer::{Append, Writer};
pub(crate) use self::{reading::Query, recorded::Recorded};
use crate::disk::Disk;

/// Appends that may wait for the disk. One more delivery is refused, and its
/// sender tries again.
const QUEUE: usize = 128;
/// Bytes that may wait for the disk, for the same reason: one delivery may be 8 MiB.
/// What is larger than all of it waits until it is alone.
const QUEUE_BYTES: u32 = 64 * 1024 * 1024;
/// Files that were put aside and are kept: about half a GiB in all.
const KEPT_FILES: usize = 8;
const FILE_NAME: &str = "journal.jsonl";
/// The kind of an entry about one host.
pub(crate) const HOST_KIND: &str = "host";

/// One line of the journal, complete: a delivery may be megabytes, and is put into
/// its last shape at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry(Vec<u8>);

#[derive(Serialize)]
struct Line<'a, D> {
    time: Timestamp,
    kind: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(flatten)]
    details: D,
}

impl Entry {
    /// An entry of a kind, with the fields of `details`.
    ///
    /// # Panics
    /// Where `details` is neither a struct nor a map with text keys.
    pub(crate) fn new(time: Timestamp, kind: &str, details: impl Serialize) -> Self {
        Self::of(&Line { time, kind, dry_run: false, details })
    }

    /// The same, and says that nothing was done: it is what a dry run would have done.
    pub(crate) fn of_dry_run(time: Timestamp, kind: &str, details: impl Serialize) -> Self {
        Self::of(&Line { time, kind, dry_run: true, details })
    }

    /// What was done to a host, whose document had version `before` until then.
    pub(crate) fn of_host(host: &HostName, record: &Record, before: u64) -> Self {
        Self::new(record.time, HOST_KIND, host_details(host, record, Some(before)))
    }

    /// The same of what another remediator has done.
    pub(crate) fn of_elsewhere(host: &HostName, record: &Record, before: u64) -> Self {
        let mut details = host_details(host, record, Some(before));
        details["elsewhere"] = true.into();
        Self::new(record.time, HOST_KIND, details)
    }

    fn of(line: &impl Serialize) -> Self {
        let mut bytes = serde_json::to_vec(line).expect("the details are fields with text keys");
        bytes.push(b'\n');
        Self(bytes)
    }
}

/// What an entry says of what was done to a host, whose document had version `before`
/// until then.
pub(crate) fn host_details(host: &HostName, record: &Record, before: Option<u64>) -> Value {
    json!({
        "host": host, "what": record.what, "by": record.by, "rule": record.rule,
        "reason": record.reason, "evidence": record.evidence,
        "version": before.map(|before| json!({"before": before, "after": before + 1})),
    })
}

/// Why an entry is not on record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// More entries wait than may.
    #[error("the journal's queue is full")]
    Full,
    /// The writer has ended.
    #[error("the journal is closed")]
    Closed,
    /// The disk refused.
    #[error("cannot write the journal: {0}")]
    Write(Arc<io::Error>),
    /// The file cannot be opened or read.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Hands entries to the task that writes, and reads what is written.
#[derive(Clone)]
pub(crate) struct Journal {
    folder: Arc<PathBuf>,
    appends: mpsc::Sender<Append>,
    /// The bytes that may still be queued.
    room: Arc<Semaphore>,
    failures: Arc<AtomicU64>,
}

impl Journal {
    /// Opens the journal in `folder` and starts its writer, which ends when the
    /// last handle is dropped.
    pub(crate) async fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, JournalError> {
        let (appends, queue) = mpsc::channel(QUEUE);
        let writer = Writer::open(disk, folder).await?;
        let journal = Self::on(folder.to_owned(), appends);
        tokio::spawn(writer.run(queue, Arc::clone(&journal.failures)));
        Ok(journal)
    }

    fn on(folder: PathBuf, appends: mpsc::Sender<Append>) -> Self {
        let room = Semaphore::new(QUEUE_BYTES as usize);
        Self { folder: Arc::new(folder), appends, room: Arc::new(room), failures: Arc::default() }
    }

    /// Appends what was done and waits until it is on disk. It waits for a place
    /// in the queue, too, and what the disk refuses is tried again, whatever is
    /// answered here: nobody would say it again.
    pub(crate) async fn append(&self, entries: &[Entry]) -> Result<(), JournalError> {
        let (lines, bytes) = lines_of(entries);
        let place = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let (append, outcome) = Append::of(lines, true, place.map_err(|_| JournalError::Closed)?);
        self.appends.send(append).await.map_err(|_| JournalError::Closed)?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// Appends what comes from outside and waits until it is on disk; refuses it
    /// where too much waits already, since its sender tries again.
    pub(crate) async fn take(&self, entry: &Entry) -> Result<(), JournalError> {
        let (lines, bytes) = lines_of(std::slice::from_ref(entry));
        let place = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let (append, outcome) = Append::of(lines, false, place.map_err(|_| JournalError::Full)?);
        self.appends.try_send(append).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => JournalError::Full,
            mpsc::error::TrySendError::Closed(_) => JournalError::Closed,
        })?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// How often it could not be written.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// What the journal holds, newest first, each entry as its line of JSON. Blocks.
    pub(crate) fn read(&self, query: &Query) -> Result<Vec<String>, JournalError> {
        reading::read(&self.folder, query)
    }
}

/// The entries as lines, and how many bytes of the queue they take.
fn lines_of(entries: &[Entry]) -> (Vec<u8>, u32) {
    let mut lines = Vec::new();
    entries.iter().for_each(|entry| lines.extend_from_slice(&entry.0));
    let bytes = u32::try_from(lines.len()).unwrap_or(u32::MAX).min(QUEUE_BYTES);
    (lines, bytes)
}

fn aside(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{FILE_NAME}.{number}"))
}

#[cfg(test)]
mod tests;
