//! Files that are read again when they change.
//!
//! Tokens and certificates are renewed by whoever issues them, and nobody tells the
//! daemons. So each file is looked at before a request, though not for each, and what
//! it says is made anew when it is another file than before. Where that fails the
//! former stays in use: a half-written file is no reason to be shut out.

use std::{
    fmt,
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use satellite_yaml::Problem;
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{info, warn};

/// How often the files are looked at, at most. A scrape makes a few requests at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a request waits for a disk to say whether a file has changed: a fraction of the
/// two seconds that the most impatient request has. A disk that is slower may not keep
/// requests back, for what was read before is mostly good still.
const PATIENCE: Duration = Duration::from_millis(500);

/// By what a file is known to be another than before. The inode tells a replaced file,
/// the time of its last change one that was given an older time of modification.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    /// `None` where there is nothing to be seen.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        })
    }
}

/// The files that something was made from, as each was just before it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading(Vec<(PathBuf, Option<Stamp>)>);

impl Reading {
    /// Reads a whole file of at most `limit` bytes.
    pub(super) fn bytes(&mut self, path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
        // Taken first: a change in between is seen at the next look.
        self.0.push((path.to_owned(), Stamp::of(path)));
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|error| problem(path, format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > limit {
            return Err(problem(path, format!("is larger than {limit} bytes")));
        }
        Ok(bytes)
    }

    /// Reads a whole file that is text.
    pub(super) fn text(&mut self, path: &Path, limit: u64) -> Result<String, Problem> {
        String::from_utf8(self.bytes(path, limit)?).map_err(|_| problem(path, "is not UTF-8"))
    }

    fn is_as_it_was(&self) -> bool {
        self.0.iter().all(|(path, stamp)| Stamp::of(path) == *stamp)
    }
}

/// Something that is wrong with a file as a whole.
pub(super) fn problem(path: &Path, message: impl Into<String>) -> Problem {
    Problem { file: path.to_owned(), place: None, message: message.into() }
}

/// Makes the value from its files.
type Read<T> = dyn Fn(&mut Reading) -> Result<T, Vec<Problem>> + Send + Sync;

/// What came of making the value once more.
struct Made<T> {
    from: Reading,
    value: Result<T, Vec<Problem>>,
}

/// A value that is made from files.
pub(super) struct Watched<T> {
    read: Arc<Read<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    from: Reading,
    looked: Instant,
    /// A look that has not ended. `None` of it: nothing has changed.
    look: Option<JoinHandle<Option<Made<T>>>>,
    /// Whether somebody has waited for that look in vain.
    is_slow: bool,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is made from such files is mostly a secret.
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl<T: Clone + Send + 'static> Watched<T> {
    /// Makes the value for the first time, on this thread.
    pub(super) fn new(
        read: impl Fn(&mut Reading) -> Result<T, Vec<Problem>> + Send + Sync + 'static,
    ) -> Result<Self, Vec<Problem>> {
        let mut from = Reading::default();
        let value = read(&mut from)?;
        let looked = Instant::now();
        let state = State { value, from, looked, look: None, is_slow: false };
        Ok(Self { read: Arc::new(read), state: Mutex::new(state) })
    }

    /// The value by its files as they are now, or the last good one.
    pub(super) async fn get(&self) -> T {
        let mut state = self.state.lock().await;
        if state.look.is_none() && state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            state.look = Some(self.look(state.from.clone()));
        }
        // If this is dropped here, whoever comes next goes on waiting.
        state.settle().await;
        state.value.clone()
    }

    fn look(&self, before: Reading) -> JoinHandle<Option<Made<T>>> {
        let read = Arc::clone(&self.read);
        tokio::task::spawn_blocking(move || {
            if before.is_as_it_was() {
                return None;
            }
            let mut from = Reading::default();
            let value = read(&mut from);
            Some(Made { from, value })
        })
    }
}

impl<T> State<T> {
    /// Takes over what the look found, if it ends soon enough.
    async fn settle(&mut self) {
        let Some(look) = &mut self.look else { return };
        let patience = if self.is_slow { Duration::ZERO } else { PATIENCE };
        let Ok(found) = timeout(patience, look).await else {
            if !self.is_slow {
                warn!(files = self.files(), "The disk does not say whether these have changed");
            }
            self.is_slow = true;
            return;
        };
        self.look = None;
        self.is_slow = false;
        match found {
            Ok(None) => {}
            Ok(Some(Made { from, value: Ok(value) })) => {
                self.value = value;
                self.from = from;
                info!(files = self.files(), "Read again, since it has changed");
            }
            Ok(Some(Made { from, value: Err(problems) })) => {
                // Once for each change, since the bad file is what is compared with now.
                self.from = from;
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                let error = problems.join("; ");
                warn!(error, "A changed file cannot be used, so what it said before still is");
            }
            Err(panicked) => warn!(error = %panicked, "Reading changed files was broken off"),
        }
    }

    fn files(&self) -> String {
        let files: Vec<_> =
            self.from.0.iter().map(|(path, _)| path.display().to_string()).collect();
        files.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets the clock past the next look.
    async fn later() {
        tokio::time::pause();
        tokio::time::advance(LOOK_EVERY).await;
        tokio::time::resume();
    }

    fn watch(path: &Path) -> Result<Watched<String>, Vec<Problem>> {
        let path = path.to_owned();
        Watched::new(move |reading| {
            let text = reading.text(&path, 8).map_err(|problem| vec![problem])?;
            if text == "bad" { Err(vec![problem(&path, "is bad")]) } else { Ok(text) }
        })
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_bad_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "one").unwrap();
        let watched = watch(&path).unwrap();
        assert_eq!(watched.get().await, "one");
        fs::write(&path, "two").unwrap();
        later().await;
        assert_eq!(watched.get().await, "two");
        for bad in [&b"bad"[..], b"larger than the limit", b"\xff"] {
            fs::write(&path, bad).unwrap();
            later().await;
            assert_eq!(watched.get().await, "two");
        }
        fs::remove_file(&path).unwrap();
        later().await;
        assert_eq!(watched.get().await, "two");
        fs::write(&path, "three").unwrap();
        later().await;
        assert_eq!(watched.get().await, "three");
    }

    #[tokio::test]
    async fn a_replaced_file_of_the_same_size_and_time_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("f"), folder.path().join("g"));
        fs::write(&path, "one").unwrap();
        fs::write(&other, "two").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        let watched = watch(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        later().await;
        assert_eq!(watched.get().await, "two");
    }

    #[tokio::test]
    async fn the_files_are_not_looked_at_for_each_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "one").unwrap();
        tokio::time::pause();
        let watched = watch(&path).unwrap();
        fs::write(&path, "two").unwrap();
        tokio::time::advance(LOOK_EVERY / 2).await;
        assert_eq!(watched.get().await, "one");
        tokio::time::advance(LOOK_EVERY / 2).await;
        assert_eq!(watched.get().await, "two");
    }

    #[tokio::test]
    async fn a_disk_that_hangs_keeps_one_request_waiting_and_one_thread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "one").unwrap();
        let (answer, hangs) = std::sync::mpsc::channel();
        let hangs = std::sync::Mutex::new(hangs);
        answer.send("first").unwrap();
        let watched = Watched::new(move |reading: &mut Reading| {
            reading.bytes(&path, 8).map_err(|problem| vec![problem])?;
            Ok(hangs.lock().unwrap().recv().unwrap())
        })
        .unwrap();
        fs::write(folder.path().join("f"), "two").unwrap();
        later().await;
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(watched.get().await, "first");
        }
        assert!(began.elapsed() < PATIENCE * 10, "{:?}", began.elapsed());
        answer.send("second").unwrap();
        // One look was begun, so that one answer is enough.
        let look = watched.state.lock().await.look.take().unwrap();
        assert_eq!(look.await.unwrap().unwrap().value.unwrap(), "second");
    }
}
