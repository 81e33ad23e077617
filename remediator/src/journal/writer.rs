//! The task that writes.
//!
//! It takes all that waits, writes it, and lets the disk confirm it once, so that a
//! burst of deliveries shares one `fsync`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::{error, warn};

use super::{FILE_NAME, JournalError, KEPT_FILES, QUEUE, aside};
use crate::disk::{Disk, DiskFile};

/// A file that has grown beyond this is put aside.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of what was done that are kept while they cannot be written: some 30 000
/// transitions.
const MAX_OWED: usize = 16 * 1024 * 1024;
/// How often it is tried to write what is owed.
const OWED_RETRY: Duration = Duration::from_secs(10);

/// Lines to append, and who waits for it.
pub(super) struct Append {
    lines: Vec<u8>,
    /// Whether it is written later where it cannot be written now.
    is_owed: bool,
    pub(super) done: oneshot::Sender<Result<(), JournalError>>,
    /// Its share of [`super::QUEUE_BYTES`], until it is written.
    _place: OwnedSemaphorePermit,
}

impl Append {
    /// The lines as the writer takes them, and where it says what became of them.
    pub(super) fn of(
        lines: Vec<u8>,
        is_owed: bool,
        place: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<Result<(), JournalError>>) {
        let (done, outcome) = oneshot::channel();
        (Self { lines, is_owed, done, _place: place }, outcome)
    }
}

/// Has the file in its hands.
pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file: Box<dyn DiskFile>,
    bytes: u64,
    /// Whether what a failed write has left may stand behind those bytes.
    has_leftover: bool,
    /// What was done and could not be written yet.
    owed: Vec<u8>,
}

impl Writer {
    pub(super) async fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(FILE_NAME);
        let open = async {
            disk.make_folder(folder).await?;
            let file = open_file(disk.as_ref(), folder).await?;
            let (disk, folder) = (Arc::clone(&disk), folder.to_owned());
            let owed = Vec::new();
            let mut writer = Self { disk, folder, file, bytes: 0, has_leftover: false, owed };
            writer.end_torn_line().await?;
            Ok(writer)
        };
        let opened: io::Result<Self> = open.await;
        opened.map_err(|source| JournalError::File { operation: "open", path, source })
    }

    /// A crash may have cut the last line: what follows must begin a new one.
    async fn end_torn_line(&mut self) -> io::Result<()> {
        let (bytes, last) = self.file.end().await?;
        self.bytes = bytes;
        if last.is_some_and(|it| it != b'\n') {
            self.file.append(b"\n").await?;
            self.bytes += 1;
        }
        Ok(())
    }

    /// Writes what comes, and counts what fails.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Append>, failures: Arc<AtomicU64>) {
        let mut batch = Vec::with_capacity(QUEUE);
        loop {
            let received = queue.recv_many(&mut batch, QUEUE);
            let received = match self.owed.is_empty() {
                true => Ok(received.await),
                false => tokio::time::timeout(OWED_RETRY, received).await,
            };
            let outcome = self.write_batch(&batch).await.map_err(Arc::new);
            failures.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
            for append in batch.drain(..) {
                // A sender that left does not want to know.
                append.done.send(outcome.clone().map_err(JournalError::Write)).ok();
            }
            if received == Ok(0) {
                return;
            }
        }
    }

    /// Writes what is owed and what has come, all of it or nothing.
    async fn write_batch(&mut self, batch: &[Append]) -> io::Result<()> {
        let fresh = batch.iter().map(|append| append.lines.as_slice());
        let lines = std::iter::once(self.owed.as_slice()).chain(fresh).collect::<Vec<_>>().concat();
        if lines.is_empty() {
            return Ok(());
        }
        let written = self.write(&lines).await;
        match &written {
            Ok(()) => self.owed.clear(),
            Err(_) => batch.iter().filter(|it| it.is_owed).for_each(|it| self.owe(&it.lines)),
        }
        written
    }

    fn owe(&mut self, lines: &[u8]) {
        if self.owed.len() + lines.len() > MAX_OWED {
            error!("The journal cannot be written for so long that entries are lost");
            return;
        }
        self.owed.extend_from_slice(lines);
    }

    pub(super) async fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.keep_hold().await?;
        self.take_back().await?;
        if self.bytes > MAX_FILE_BYTES {
            self.rotate().await?;
        }
        let written = self.append_durably(lines).await;
        if written.is_ok() {
            self.bytes += lines.len() as u64;
        } else {
            // What is told is why it could not be written, and not why it could not be
            // taken back.
            self.has_leftover = true;
            self.take_back().await.ok();
        }
        written
    }

    /// What is written into a file that somebody has moved or removed is nowhere.
    async fn keep_hold(&mut self) -> io::Result<()> {
        if self.file.is_at(&self.folder.join(FILE_NAME)).await? {
            return Ok(());
        }
        warn!("The journal's file is not in its place any more: a new one is begun");
        self.file = open_file(self.disk.as_ref(), &self.folder).await?;
        self.has_leftover = false;
        self.end_torn_line().await
    }

    /// What a write that failed has left must not stand before the next one: it may be
    /// half a line, and what is owed would be there twice.
    async fn take_back(&mut self) -> io::Result<()> {
        if self.has_leftover {
            self.file.cut(self.bytes).await?;
            self.has_leftover = false;
        }
        Ok(())
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
    pub(super) async fn rotate(&mut self) -> io::Result<()> {
        let path = self.folder.join(FILE_NAME);
        // Else an earlier attempt got as far as this, or somebody took it away.
        if self.disk.exists(&path).await? {
            self.make_place().await?;
            self.disk.rename(&path, &aside(&self.folder, 1)).await?;
        }
        self.file = open_file(self.disk.as_ref(), &self.folder).await?;
        self.bytes = 0;
        Ok(())
    }
}

/// The file to append to. An entry is no more durable than the name of its file.
async fn open_file(disk: &dyn Disk, folder: &Path) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.open(&folder.join(FILE_NAME)).await?;
    disk.sync_folder(folder).await?;
    Ok(file)
}
