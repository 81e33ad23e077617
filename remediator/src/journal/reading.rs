//! Reads the journal backwards, for people who ask.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use satellite_core::{HostName, time::earlier};
use serde::Deserialize;

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

/// What the journal in the folder holds, newest first, line by line as it was written.
pub(super) fn read(folder: &Path, query: &Query) -> Result<Vec<String>, JournalError> {
    let mut found = Found::default();
    for path in files(folder) {
        match read_file(&path, query, &mut found) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(JournalError::File { operation: "read", path, source }),
        }
    }
    Ok(found.lines)
}

/// What was read so far.
#[derive(Default)]
struct Found {
    lines: Vec<String>,
    bytes: usize,
}

/// What is read of an entry. It is shown as it was written.
#[derive(Deserialize)]
struct Head {
    time: Timestamp,
    host: Option<HostName>,
    #[serde(default)]
    recovered: bool,
}

/// The files of the journal, newest first.
fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let aside = (1..=KEPT_FILES).map(|number| aside(folder, number));
    std::iter::once(folder.join(FILE_NAME)).chain(aside)
}

/// Reads one file backwards into `found`. Says whether an older file may hold more.
fn read_file(path: &Path, query: &Query, found: &mut Found) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut position = file.seek(SeekFrom::End(0))?;
    // The beginning of what follows, up to the first end of a line: it may go on before.
    let mut tail: Vec<u8> = Vec::new();
    while position > 0 {
        // As much again as is left of a long line, so that each byte is moved a few times
        // at most.
        let length = READ_CHUNK.max(tail.len() as u64).min(position);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let mut chunk = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact(&mut chunk)?;
        chunk.append(&mut tail);
        let first_end = chunk.iter().position(|&byte| byte == b'\n').unwrap_or(chunk.len());
        let begun = if position > 0 { first_end } else { 0 };
        for line in chunk[begun..].rsplit(|&byte| byte == b'\n') {
            if !take(line, query, found) {
                return Ok(false);
            }
        }
        chunk.truncate(begun);
        tail = chunk;
    }
    Ok(true)
}

/// Takes a line if it is asked for. Says whether an older one may be asked for, too.
fn take(line: &[u8], query: &Query, found: &mut Found) -> bool {
    if found.lines.len() >= query.limit || found.bytes >= MAX_READ_BYTES {
        return false;
    }
    let Ok(line) = str::from_utf8(line) else { return true };
    // Most lines are of others, and to find a name is far quicker than to read a line.
    // With an instant to stop at, each has to be read.
    let names = |host: &HostName| line.contains(host.as_str());
    if query.since.is_none() && !query.host.as_ref().is_none_or(names) {
        return true;
    }
    // What a crash has cut is no entry.
    let Ok(head) = serde_json::from_str::<Head>(line) else { return true };
    let oldest = query.since.map(|since| earlier(since, LATENESS));
    // One that was recovered says nothing of when those before it were written.
    if !head.recovered && oldest.is_some_and(|oldest| head.time < oldest) {
        return false;
    }
    let is_recent = query.since.is_none_or(|since| head.time >= since);
    if is_recent && query.host.as_ref().is_none_or(|host| head.host.as_ref() == Some(host)) {
        found.bytes += line.len();
        found.lines.push(line.to_owned());
    }
    true
}
