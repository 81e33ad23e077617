//! What is known of the store as a whole at each of its revisions, by which it is seen whether
//! somebody else has written.
//!
//! The node of revisions is written with every transaction, and in it stands how many
//! documents there are then, and how often one of a host was made or deleted until then, which
//! ZooKeeper counts, too. So a document that somebody else deletes is missed, also where
//! another one is made: without that its host would look as if it had been forgotten, and
//! leave every master's file. And what is newer than the last transaction is nobody's of ours.

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
    pub(super) count: Count,
}

impl Revision {
    /// The revision that these writes on this one led to.
    pub(super) fn after(self, writes: &[Write], node: &Stat) -> Self {
        let count = self.count.after(writes);
        Self { number: revision_of(node), version: node.version, count }
    }
}

/// How many documents there are, and what led to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) documents: usize,
    /// How often a host's was made or deleted, as ZooKeeper counts it: the `cversion` of the
    /// node above them, which begins anew above 2^31.
    changes: i32,
}

impl Count {
    /// The count after these writes.
    pub(super) fn after(self, writes: &[Write]) -> Self {
        let is_made = |it: &&Write| it.expected.is_none() && it.data.is_some();
        let made = writes.iter().filter(is_made).count();
        let removed = writes.iter().filter(|it| it.data.is_none()).count();
        let of_host = writes.iter().filter(|it| it.path != AUTOMATION[1..]);
        let changes = of_host.filter(|it| is_made(it) || it.data.is_none()).count();
        Self {
            documents: (self.documents + made).saturating_sub(removed),
            changes: self.changes.wrapping_add(i32::try_from(changes).unwrap_or(i32::MAX)),
        }
    }

    fn read(data: &[u8]) -> Option<Self> {
        let (documents, changes) = std::str::from_utf8(data).ok()?.split_once(' ')?;
        Some(Self { documents: documents.parse().ok()?, changes: changes.parse().ok()? })
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.documents, self.changes)
    }
}

/// The store as a whole, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    /// With as many documents as are there.
    pub(super) revision: Revision,
    /// The count that there should be; `None`: nobody has counted yet, or a person wants
    /// that anew.
    pub(super) counted: Option<Count>,
    /// Whether automation's document is there. Without it a store is to be begun, from
    /// whatever there is.
    pub(super) has_automation: bool,
    /// The transaction that made or deleted a host's document last.
    pub(super) children_at: u64,
    /// The transaction that made the node of revisions: another one's is another store.
    born: i64,
}

impl Glance {
    /// The same where so many documents were found instead.
    pub(super) fn with(self, documents: usize) -> Self {
        let count = Count { documents, ..self.revision.count };
        Self { revision: Revision { count, ..self.revision }, ..self }
    }
}

/// Looks at the store, and has its documents counted where a person wants that: whatever is
/// deleted from then on is missed.
pub(super) async fn counted(client: &Client) -> Result<Glance, Error> {
    let seen = glance(client).await?;
    if seen.counted.is_some() || !seen.has_automation {
        return Ok(seen);
    }
    let Revision { version, count, .. } = seen.revision;
    let count = count.to_string();
    match within(client.set_data(REVISION, count.as_bytes(), Some(version))).await {
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
    let count = Count { documents, changes: hosts.cversion };
    Ok(Glance {
        revision: Revision { number: revision_of(&node), version: node.version, count },
        counted: Count::read(&data),
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

    /// The count that there should be, where it is another one.
    pub(super) fn miscount(&self, glance: &Glance) -> Option<Count> {
        if glance.has_automation {
            self.had_automation.store(true, Ordering::Relaxed);
        }
        glance.counted.filter(|counted| self.are_ours() && *counted != glance.revision.count)
    }

    /// Whether documents are nobody's but ours to write: until automation has begun they may
    /// be the predecessor's.
    pub(super) fn are_ours(&self) -> bool {
        self.had_automation.load(Ordering::Relaxed)
    }
}
