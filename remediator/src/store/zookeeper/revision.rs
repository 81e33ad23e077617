//! What is known of the store as a whole at each of its revisions.
//!
//! The node of revisions is written with every transaction, and in it stands how many
//! documents there are then. So a document that somebody else deletes is missed: without
//! that its host would look as if it had been forgotten, and leave every master's file.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex as SyncMutex,
        atomic::{AtomicBool, Ordering},
    },
};

use zookeeper_client::{Client, Error, MultiReadResult, Stat};

use super::{AUTOMATION, REVISION, WHITELIST, Write, revision_of, within};

/// Whoever decides on an older revision than these is told to decide anew.
const KEPT: usize = 1_000;

/// One revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revision {
    pub(super) number: u64,
    /// The version that its node had.
    pub(super) version: i32,
    /// How many documents there were.
    pub(super) documents: usize,
}

impl Revision {
    /// The revision that these writes on this one led to.
    pub(super) fn after(self, writes: &[Write], node: &Stat) -> Self {
        let documents = self.documents_after(writes);
        Self { number: revision_of(node), version: node.version, documents }
    }

    /// How many documents there are after these writes.
    pub(super) fn documents_after(self, writes: &[Write]) -> usize {
        let made = writes.iter().filter(|it| it.expected.is_none() && it.data.is_some()).count();
        let removed = writes.iter().filter(|it| it.data.is_none()).count();
        (self.documents + made).saturating_sub(removed)
    }
}

/// The store as a whole, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    /// With as many documents as are there.
    pub(super) revision: Revision,
    /// How many there should be; `None`: nobody has counted them yet, or a person wants them
    /// counted anew.
    counted: Option<usize>,
    /// Whether automation's document is there. Without it a store is to be begun, from
    /// whatever there is.
    has_automation: bool,
    /// The transaction that made or deleted a host's document last.
    pub(super) children_at: u64,
    /// The transaction that made the node of revisions: another one's is another store.
    born: i64,
}

impl Glance {
    /// The same where so many documents were found instead.
    pub(super) fn with(self, documents: usize) -> Self {
        Self { revision: Revision { documents, ..self.revision }, ..self }
    }
}

/// Looks at the store, and has its documents counted where a person wants that: whatever is
/// deleted from then on is missed.
pub(super) async fn counted(client: &Client) -> Result<Glance, Error> {
    let seen = glance(client).await?;
    if seen.counted.is_some() || !seen.has_automation {
        return Ok(seen);
    }
    let Revision { version, documents, .. } = seen.revision;
    let documents = documents.to_string();
    let count = client.set_data(REVISION, documents.as_bytes(), Some(version));
    match within(count).await {
        // Whoever was first has counted the same.
        Ok(_) | Err(Error::BadVersion) => glance(client).await,
        Err(error) => Err(error),
    }
}

/// Looks at the store: in one request, between any two transactions.
pub(super) async fn glance(client: &Client) -> Result<Glance, Error> {
    let mut reader = client.new_multi_reader();
    for path in [REVISION, WHITELIST, AUTOMATION] {
        reader.add_get_data(path)?;
    }
    let read = within(reader.commit()).await?;
    let mut nodes = read.into_iter().map(|result| match result {
        MultiReadResult::Data { data, stat } => Ok(Some((data, stat))),
        MultiReadResult::Error { err: Error::NoNode } => Ok(None),
        MultiReadResult::Error { err } => Err(err),
        _ => Ok(None),
    });
    let mut next = || nodes.next().unwrap_or(Ok(None));
    let (data, node) = next()?.ok_or(Error::NoNode)?;
    let (_, hosts) = next()?.ok_or(Error::NoNode)?;
    let automation = next()?;
    let there = usize::try_from(hosts.num_children).unwrap_or(0);
    let documents = there + usize::from(automation.is_some());
    Ok(Glance {
        revision: Revision { number: revision_of(&node), version: node.version, documents },
        counted: std::str::from_utf8(&data).ok().and_then(|it| it.parse().ok()),
        children_at: u64::try_from(hosts.pzxid).unwrap_or(0),
        has_automation: automation.is_some(),
        born: node.czxid,
    })
}

/// The newest revisions that were told.
#[derive(Default)]
pub(super) struct Revisions {
    told: SyncMutex<BTreeMap<u64, Revision>>,
    born: SyncMutex<Option<i64>>,
    /// Whether automation's document was ever seen.
    had_automation: AtomicBool,
}

impl Revisions {
    /// Keeps what is known of a revision, and gives its number.
    pub(super) fn keep(&self, revision: Revision) -> u64 {
        let mut told = self.told.lock().expect("no holder of this lock panics");
        told.insert(revision.number, revision);
        if told.len() > KEPT {
            told.pop_first();
        }
        revision.number
    }

    pub(super) fn get(&self, number: u64) -> Option<Revision> {
        self.told.lock().expect("no holder of this lock panics").get(&number).copied()
    }

    /// Whether this is the store that was seen first.
    pub(super) fn is_of_same_store(&self, glance: &Glance) -> bool {
        let mut born = self.born.lock().expect("no holder of this lock panics");
        *born.get_or_insert(glance.born) == glance.born
    }

    /// How many documents there should be, where there are more or fewer.
    pub(super) fn miscount(&self, glance: &Glance) -> Option<usize> {
        if glance.has_automation {
            self.had_automation.store(true, Ordering::Relaxed);
        }
        let is_to_count = self.had_automation.load(Ordering::Relaxed);
        glance.counted.filter(|counted| is_to_count && *counted != glance.revision.documents)
    }
}
