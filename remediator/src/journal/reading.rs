//! Reads the journal backwards, for people who ask.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use satellite_core::{HostName, time::earlier};
use serde_json::Value;

use super::{FILE_NAME, JournalError, KEPT_FILES, aside};

/// How much is read at a time, from the end backwards.
const READ_CHUNK: u64 = 64 * 1024;
/// After so many bytes an answer takes no further entry, whatever its limit: the
/// entry of one delivery may be as large as half of this.
const MAX_READ_BYTES: usize = 16 * 1024 * 1024;
/// How long after its time an entry may have been written: a later one may then
/// stand before it.
const LATENESS: Duration = Duration::from_secs(60);

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

/// What the journal in the folder holds, newest first.
pub(super) fn read(folder: &Path, query: &Query) -> Result<Vec<Value>, JournalError> {
    let mut found = Found::default();
    for path in files(folder) {
        match read_file(&path, query, &mut found) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(JournalError::File { operation: "read", path, source }),
        }
    }
    Ok(found.entries)
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
            // One that was recovered says nothing of when those before it were written.
            let is_in_order = entry["recovered"] != true;
            if full || (is_in_order && oldest.is_some_and(|oldest| time < Some(oldest))) {
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
