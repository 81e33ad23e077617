//! What an earlier process did and died before it could write down.
//!
//! A transition is in its host's document before it is in the journal. A process that
//! is killed in between leaves it out, and so does a store that had seemed to refuse
//! what it then had after all. The document tells.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use satellite_core::{
    HostDocument, HostName,
    document::{Record, What},
};
use serde::Deserialize;

use super::{Entry, FILE_NAME, HOST_KIND, JournalError, aside, host_details};
use crate::disk::Disk;

/// More than a file ever has: it is put aside once it is full, after the one append
/// that filled it.
const MAX_READ_BYTES: u64 = 256 * 1024 * 1024;

/// What the newest files of a journal have of hosts that went on or off.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    transitions: BTreeSet<(HostName, Timestamp, What)>,
    /// What is older may be in files that were not read; `None`: there are none.
    since: Option<Timestamp>,
}

/// What is read of any line.
#[derive(Deserialize)]
struct Head<'a> {
    time: Timestamp,
    #[serde(borrow)]
    kind: Cow<'a, str>,
}

/// What is read of a line about a host.
#[derive(Deserialize)]
struct HostLine {
    host: HostName,
    what: What,
}

impl Recorded {
    /// Reads the file that is in use and the one put aside before it. More is not
    /// needed: what a process can have died with is the newest that there is.
    pub(crate) async fn read(disk: &dyn Disk, folder: &Path) -> Result<Self, JournalError> {
        let failed =
            |path: PathBuf| move |source| JournalError::File { operation: "read", path, source };
        let mut recorded = Self::default();
        for path in [folder.join(FILE_NAME), aside(folder, 1)] {
            let content = disk.read(&path, MAX_READ_BYTES).await.map_err(failed(path))?;
            let mut first = None;
            for line in content.as_deref().unwrap_or_default().split(|&byte| byte == b'\n') {
                // What a crash has cut is no entry.
                let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else { continue };
                first = first.or(Some(head.time));
                if head.kind == HOST_KIND
                    && let Ok(HostLine { host, what }) = serde_json::from_slice(line)
                {
                    recorded.transitions.insert((host, head.time, what));
                }
            }
            recorded.since = first.or(recorded.since);
        }
        let older = aside(folder, 2);
        if !disk.exists(&older).await.map_err(failed(older.clone()))? {
            recorded.since = None;
        }
        Ok(recorded)
    }

    /// The entries of transitions that the documents have and the journal has not: an
    /// earlier process was killed after it had written them into the store.
    pub(crate) fn missing(&self, hosts: &BTreeMap<HostName, HostDocument>) -> Vec<Entry> {
        let transitions = hosts.iter().flat_map(|(host, document)| {
            document.transitions.iter().map(move |transition| (host, transition))
        });
        let mut missing: Vec<(&HostName, &Record)> = transitions
            .filter(|(_, record)| self.since.is_none_or(|since| record.time >= since))
            .filter(|(host, record)| {
                !self.transitions.contains(&((*host).clone(), record.time, record.what))
            })
            .collect();
        missing.sort_by_key(|(_, record)| record.time);
        missing.into_iter().map(|(host, record)| recovered(host, record)).collect()
    }
}

/// An entry that is written long after its time, by another process.
fn recovered(host: &HostName, record: &Record) -> Entry {
    let version = record.version.map(|after| after.saturating_sub(1));
    let mut details = host_details(host, record, version);
    details["recovered"] = true.into();
    Entry::new(record.time, HOST_KIND, details)
}
