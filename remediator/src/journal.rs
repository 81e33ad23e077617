//! The audit record of this instance: one JSON object a line, appended.
//!
//! Nothing is derived from it. What must survive is in the documents; this is
//! for people who ask afterwards what happened and why. A webhook delivery is
//! answered only after it is in here, on disk.
//!
//! One task writes. It takes all that waits, writes it, and lets the disk
//! confirm it once, so that a burst of deliveries shares one `fsync`.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use satellite_core::{HostName, time::earlier};
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::disk::{Disk, DiskFile};

/// Appends that may wait for the disk. One more delivery is refused, and its
/// sender tries again.
const QUEUE: usize = 128;
/// Bytes that may wait for the disk, for the same reason: one delivery may be 8 MiB.
/// What is larger than all of it waits until it is alone.
const QUEUE_BYTES: u32 = 64 * 1024 * 1024;
/// A file that has grown beyond this is put aside.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Files that were put aside and are kept: about half a GiB in all.
const KEPT_FILES: usize = 8;
const FILE_NAME: &str = "journal.jsonl";
/// How much is read at a time, from the end backwards.
const READ_CHUNK: u64 = 64 * 1024;
/// After so many bytes an answer takes no further entry, whatever its limit: the
/// entry of one delivery may be as large as half of this.
const MAX_READ_BYTES: usize = 16 * 1024 * 1024;
/// How long after its time an entry may have been written: a later one may then
/// stand before it.
const LATENESS: Duration = Duration::from_secs(60);

/// One line of the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry(Map<String, Value>);

impl Entry {
    /// An entry of a kind, made of the fields of `details`, which is an object.
    pub(crate) fn new(time: Timestamp, kind: &str, details: Value) -> Self {
        let mut fields = Map::new();
        fields.insert("time".into(), time.to_string().into());
        fields.insert("kind".into(), kind.into());
        match details {
            Value::Object(details) => fields.extend(details),
            other => drop(fields.insert("details".into(), other)),
        }
        Self(fields)
    }

    /// Says that nothing was done: it is what a dry run would have done.
    pub(crate) fn mark_dry_run(&mut self) {
        self.0.insert("dry_run".into(), true.into());
    }

    fn write_to(&self, buffer: &mut Vec<u8>) {
        serde_json::to_writer(&mut *buffer, &self.0).expect("text keys and a buffer cannot fail");
        buffer.push(b'\n');
    }
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

struct Append {
    lines: Vec<u8>,
    done: oneshot::Sender<Result<(), JournalError>>,
    /// Its share of [`QUEUE_BYTES`], until it is written.
    _place: OwnedSemaphorePermit,
}

impl Append {
    /// The lines as the writer takes them, and where it says what became of them.
    fn of(
        lines: Vec<u8>,
        place: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<Result<(), JournalError>>) {
        let (done, outcome) = oneshot::channel();
        (Self { lines, done, _place: place }, outcome)
    }
}

/// The entries as lines, and how many bytes of the queue they take.
fn lines_of(entries: &[Entry]) -> (Vec<u8>, u32) {
    let mut lines = Vec::new();
    entries.iter().for_each(|entry| entry.write_to(&mut lines));
    let bytes = u32::try_from(lines.len()).unwrap_or(u32::MAX).min(QUEUE_BYTES);
    (lines, bytes)
}

/// What to read of the journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// Only entries of this host.
    pub(crate) host: Option<HostName>,
    /// Only entries of this instant or later.
    pub(crate) since: Option<Timestamp>,
    /// At most so many.
    pub(crate) limit: usize,
}

/// Hands entries to the task that writes, and reads what is written.
#[derive(Clone)]
pub(crate) struct Journal {
    folder: Arc<PathBuf>,
    appends: mpsc::Sender<Append>,
    /// The bytes that may still be queued.
    room: Arc<Semaphore>,
}

impl Journal {
    /// Opens the journal in `folder` and starts its writer, which ends when the
    /// last handle is dropped.
    pub(crate) async fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, JournalError> {
        let (appends, queue) = mpsc::channel(QUEUE);
        let writer = Writer::open(disk, folder).await?;
        tokio::spawn(writer.run(queue));
        Ok(Self::on(folder.to_owned(), appends))
    }

    fn on(folder: PathBuf, appends: mpsc::Sender<Append>) -> Self {
        let room = Semaphore::new(QUEUE_BYTES as usize);
        Self { folder: Arc::new(folder), appends, room: Arc::new(room) }
    }

    /// Appends what was done and waits until it is on disk. It waits for a place
    /// in the queue, too: nobody would say it again.
    pub(crate) async fn append(&self, entries: &[Entry]) -> Result<(), JournalError> {
        let (lines, bytes) = lines_of(entries);
        let place = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let (append, outcome) = Append::of(lines, place.map_err(|_| JournalError::Closed)?);
        self.appends.send(append).await.map_err(|_| JournalError::Closed)?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// Appends what comes from outside and waits until it is on disk; refuses it
    /// where too much waits already, since its sender tries again.
    pub(crate) async fn take(&self, entry: &Entry) -> Result<(), JournalError> {
        let (lines, bytes) = lines_of(std::slice::from_ref(entry));
        let place = Arc::clone(&self.room).try_acquire_many_owned(bytes);
        let (append, outcome) = Append::of(lines, place.map_err(|_| JournalError::Full)?);
        self.appends.try_send(append).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => JournalError::Full,
            mpsc::error::TrySendError::Closed(_) => JournalError::Closed,
        })?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// What the journal holds, newest first. Blocks.
    pub(crate) fn read(&self, query: &Query) -> Result<Vec<Value>, JournalError> {
        let mut found = Found::default();
        for path in files(&self.folder) {
            match read_file(&path, query, &mut found) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(JournalError::File { operation: "read", path, source }),
            }
        }
        Ok(found.entries)
    }
}

/// What was read so far.
#[derive(Default)]
struct Found {
    entries: Vec<Value>,
    bytes: usize,
}

/// The files of the journal, newest first.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let aside = (1..=KEPT_FILES).map(|number| aside(folder, number));
    std::iter::once(folder.join(FILE_NAME)).chain(aside)
}

fn aside(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("{FILE_NAME}.{number}"))
}

struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file: Box<dyn DiskFile>,
    bytes: u64,
    /// Whether half a line may stand at the end of the file.
    torn: bool,
}

impl Writer {
    async fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(FILE_NAME);
        let open = async {
            disk.make_folder(folder).await?;
            let file = disk.open(&path).await?;
            // An entry is no more durable than the name of its file.
            disk.sync_folder(folder).await?;
            let (disk, folder) = (Arc::clone(&disk), folder.to_owned());
            // A crash may have cut the last line.
            let mut writer = Self { disk, folder, file, bytes: 0, torn: true };
            writer.end_torn_line().await?;
            Ok(writer)
        };
        let opened: io::Result<Self> = open.await;
        opened.map_err(|source| JournalError::File { operation: "open", path, source })
    }

    /// Where the last line may have been cut, what follows must begin a new one.
    async fn end_torn_line(&mut self) -> io::Result<()> {
        if !self.torn {
            return Ok(());
        }
        let (bytes, last) = self.file.end().await?;
        self.bytes = bytes;
        if last.is_some_and(|it| it != b'\n') {
            self.file.append(b"\n").await?;
            self.bytes += 1;
        }
        self.torn = false;
        Ok(())
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        let mut batch = Vec::with_capacity(QUEUE);
        while queue.recv_many(&mut batch, QUEUE).await > 0 {
            let lines = batch.iter().map(|append| append.lines.as_slice()).collect::<Vec<_>>();
            let outcome = self.write(&lines.concat()).await.map_err(Arc::new);
            for append in batch.drain(..) {
                // A sender that left does not want to know.
                append.done.send(outcome.clone().map_err(JournalError::Write)).ok();
            }
        }
    }

    async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.bytes > MAX_FILE_BYTES {
            self.rotate().await?;
        }
        self.end_torn_line().await?;
        let written = self.append_durably(lines).await;
        if written.is_ok() {
            self.bytes += lines.len() as u64;
        } else {
            // Half a line must not stay before the next one. What is told is why it
            // could not be written, and not why it could not be taken back.
            self.torn = self.file.cut(self.bytes).await.is_err();
        }
        written
    }

    async fn append_durably(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.append(lines).await?;
        self.file.sync().await
    }

    /// Frees the first place of those put aside. Only what stands before the first
    /// gap moves on; without a gap the oldest file is overwritten.
    async fn make_place(&self) -> io::Result<()> {
        let mut last = 1;
        while last < KEPT_FILES && self.disk.exists(&aside(&self.folder, last)).await? {
            last += 1;
        }
        for number in (1..last).rev() {
            let (from, to) = (aside(&self.folder, number), aside(&self.folder, number + 1));
            self.disk.rename(&from, &to).await?;
        }
        Ok(())
    }

    /// Puts the full file aside and begins a new one. Any step may fail, and the
    /// next append tries again: a file moves on only where the next place is needed,
    /// so that no number of attempts loses more than the oldest one.
    async fn rotate(&mut self) -> io::Result<()> {
        let path = self.folder.join(FILE_NAME);
        // Else an earlier attempt got as far as this, or somebody took it away.
        if self.disk.exists(&path).await? {
            self.make_place().await?;
            self.disk.rename(&path, &aside(&self.folder, 1)).await?;
        }
        self.file = self.disk.open(&path).await?;
        self.bytes = 0;
        self.disk.sync_folder(&self.folder).await
    }
}

/// Reads one file backwards into `found`. Says whether an older file may hold more.
fn read_file(path: &Path, query: &Query, found: &mut Found) -> io::Result<bool> {
    let oldest = query.since.map(|since| earlier(since, LATENESS));
    let mut file = File::open(path)?;
    let mut position = file.seek(SeekFrom::End(0))?;
    // The beginning of a line whose end was read before.
    let mut tail: Vec<u8> = Vec::new();
    while position > 0 {
        let length = READ_CHUNK.min(position);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let mut chunk = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact(&mut chunk)?;
        chunk.append(&mut tail);
        let mut lines: Vec<&[u8]> = chunk.split(|&byte| byte == b'\n').collect();
        let first = if position > 0 { lines.remove(0).to_vec() } else { Vec::new() };
        for line in lines.iter().rev() {
            // What a crash has cut is no entry.
            let Ok(entry) = serde_json::from_slice::<Value>(line) else { continue };
            let time = entry["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
            let full = found.entries.len() >= query.limit || found.bytes >= MAX_READ_BYTES;
            if full || oldest.is_some_and(|oldest| time < Some(oldest)) {
                return Ok(false);
            }
            let recent = query.since.is_none_or(|since| time >= Some(since));
            if recent && query.host.as_ref().is_none_or(|host| entry["host"] == host.as_str()) {
                found.bytes += line.len();
                found.entries.push(entry);
            }
        }
        tail = first;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::OsDisk;

    async fn open(folder: &Path) -> Journal {
        Journal::open(Arc::new(OsDisk), folder).await.unwrap()
    }

    async fn writer(folder: &Path) -> Writer {
        Writer::open(Arc::new(OsDisk), folder).await.unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn entry(number: i64) -> Entry {
        let host = if number % 2 == 0 { "even.lab" } else { "odd.lab" };
        let padding = "x".repeat(500);
        Entry::new(at(number), "test", serde_json::json!({"host": host, "n": number, "p": padding}))
    }

    fn numbers(found: &[Value]) -> Vec<i64> {
        found.iter().map(|entry| entry["n"].as_i64().unwrap()).collect()
    }

    #[tokio::test]
    async fn entries_come_back_newest_first_across_chunks() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path()).await;
        let entries: Vec<Entry> = (0..500).map(entry).collect();
        journal.append(&entries).await.unwrap();
        let all = journal.read(&Query { limit: 1000, ..Query::default() }).unwrap();
        assert_eq!(numbers(&all), (0..500).rev().collect::<Vec<_>>());
        let query = Query { limit: 2, host: Some("odd.lab".parse().unwrap()), since: None };
        assert_eq!(numbers(&journal.read(&query).unwrap()), [499, 497]);
        let query = Query { limit: 99, host: None, since: Some(at(498)) };
        assert_eq!(numbers(&journal.read(&query).unwrap()), [499, 498]);
    }

    #[tokio::test]
    async fn i34_while_deliveries_are_refused_what_was_done_waits_for_a_place() {
        let (appends, mut queue) = mpsc::channel(1);
        let journal = Journal::on(PathBuf::new(), appends);
        let (first, second) = (entry(1), [entry(2)]);
        let mut taken = Box::pin(journal.take(&first));
        assert!(futures::poll!(&mut taken).is_pending(), "it waits for the disk");
        assert!(matches!(journal.take(&first).await, Err(JournalError::Full)));
        let mut done = Box::pin(journal.append(&second));
        assert!(futures::poll!(&mut done).is_pending());
        for _ in 0..2 {
            tokio::select! {
                _ = &mut done => panic!("nobody has written it"),
                append = queue.recv() => append.unwrap().done.send(Ok(())).unwrap(),
            }
        }
        assert!(taken.await.is_ok() && done.await.is_ok());
    }

    #[tokio::test]
    async fn a_delivery_is_refused_where_too_many_bytes_wait_for_the_disk() {
        let (appends, mut queue) = mpsc::channel(QUEUE);
        let journal = Journal::on(PathBuf::new(), appends);
        let large = "x".repeat(QUEUE_BYTES as usize);
        let large = Entry::new(at(0), "test", serde_json::json!({"p": large}));
        let mut taken = Box::pin(journal.take(&large));
        assert!(futures::poll!(&mut taken).is_pending(), "alone it has a place");
        assert!(matches!(journal.take(&entry(1)).await, Err(JournalError::Full)));
        let done = [entry(2)];
        let mut done = Box::pin(journal.append(&done));
        assert!(futures::poll!(&mut done).is_pending(), "what was done waits");
        queue.recv().await.unwrap().done.send(Ok(())).unwrap();
        assert!(taken.await.is_ok());
        tokio::select! {
            _ = &mut done => panic!("nobody has written it"),
            append = queue.recv() => append.unwrap().done.send(Ok(())).unwrap(),
        }
        assert!(done.await.is_ok());
    }

    #[tokio::test]
    async fn putting_aside_again_after_a_failure_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path()).await;
        let put_aside = async |writer: &mut Writer, number: i64| {
            let mut line = Vec::new();
            entry(number).write_to(&mut line);
            writer.write(&line).await.unwrap();
            writer.rotate().await.unwrap();
        };
        for number in 0..i64::try_from(KEPT_FILES).unwrap() {
            put_aside(&mut writer, number).await;
        }
        // As if the new file could not be made, several times over.
        for _ in 0..3 {
            fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
            writer.rotate().await.unwrap();
        }
        let journal = open(folder.path()).await;
        let query = Query { limit: 99, ..Query::default() };
        assert_eq!(numbers(&journal.read(&query).unwrap()), [7, 6, 5, 4, 3, 2, 1, 0]);
        // As if the full file could not be moved after two others were.
        fs::remove_file(aside(folder.path(), 3)).unwrap();
        put_aside(&mut writer, 8).await;
        assert_eq!(numbers(&journal.read(&query).unwrap()), [8, 7, 6, 4, 3, 2, 1, 0]);
    }

    #[tokio::test]
    async fn a_line_cut_by_a_crash_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE_NAME), "{\"time\":\"2026-01-01T00:00:00Z\",\"n\":")
            .unwrap();
        let journal = open(folder.path()).await;
        journal.append(&[entry(7)]).await.unwrap();
        let found = journal.read(&Query { limit: 9, ..Query::default() }).unwrap();
        assert_eq!(numbers(&found), [7]);
    }

    #[tokio::test]
    async fn a_full_file_is_put_aside_and_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path()).await;
        for number in 0..3 {
            let mut line = Vec::new();
            entry(number).write_to(&mut line);
            writer.write(&line).await.unwrap();
            writer.rotate().await.unwrap();
        }
        let journal = open(folder.path()).await;
        let found = journal.read(&Query { limit: 9, ..Query::default() }).unwrap();
        assert_eq!(numbers(&found), [2, 1, 0]);
    }
}
