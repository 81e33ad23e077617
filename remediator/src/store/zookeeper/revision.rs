//! What is known of the store as a whole at each of its revisions, by which it is seen whether
//! somebody else has written.
//!
//! The node of revisions is written with every transaction, and in it stands how many
//! documents of hosts there are then, how often one was made or deleted until then, which
//! ZooKeeper counts, too, and whether automation has begun. So a document that somebody else
//! deletes is missed, also where another one is made: without that its host would look as if
//! it had been forgotten, and leave every master's file. And what is newer than the last
//! transaction is nobody's of ours.

use std::{collections::BTreeMap, sync::Mutex as SyncMutex};

use zookeeper_client::{Client, Error, MultiReadResult, Stat};

use super::{AUTOMATION, REVISION, Stored, WHITELIST, Write, revision_of, within};

/// How it is said whether automation's document is there.
const BEGUN: &str = "begun";
const NOT_BEGUN: &str = "not-begun";

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

/// Which documents there are, as far as that can be said in a line, and what led to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    hosts: usize,
    /// Whether automation's document is there. Without it a store is to be begun, from
    /// whatever there is.
    has_automation: bool,
    /// How often a host's was made or deleted, as ZooKeeper counts it: the `cversion` of the
    /// node above them, which begins anew above 2^31.
    changes: i32,
}

impl Count {
    /// The count after these writes.
    pub(super) fn after(self, writes: &[Write]) -> Self {
        let (of_automation, of_hosts): (Vec<_>, Vec<_>) =
            writes.iter().partition(|it| it.path == AUTOMATION[1..]);
        let is_made = |it: &&&Write| it.expected.is_none() && it.data.is_some();
        let made = of_hosts.iter().filter(is_made).count();
        let removed = of_hosts.iter().filter(|it| it.data.is_none()).count();
        let changes = i32::try_from(made + removed).unwrap_or(i32::MAX);
        let automation = of_automation.last().map(|it| it.data.is_some());
        Self {
            hosts: (self.hosts + made).saturating_sub(removed),
            has_automation: automation.unwrap_or(self.has_automation),
            changes: self.changes.wrapping_add(changes),
        }
    }

    pub(super) fn documents(self) -> usize {
        self.hosts + usize::from(self.has_automation)
    }

    fn read(data: &[u8]) -> Option<Self> {
        let words: Vec<_> = std::str::from_utf8(data).ok()?.split(' ').collect();
        let [hosts, changes, state] = words[..] else { return None };
        let has_automation = match state {
            BEGUN => true,
            NOT_BEGUN => false,
            _ => return None,
        };
        Some(Self { hosts: hosts.parse().ok()?, has_automation, changes: changes.parse().ok()? })
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = if self.has_automation { BEGUN } else { NOT_BEGUN };
        write!(f, "{} {} {state}", self.hosts, self.changes)
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
    /// The transaction that made or deleted a host's document last.
    pub(super) children_at: u64,
    /// The transaction that made the node of revisions: another one's is another store.
    born: i64,
}

impl Glance {
    /// The same where these are the documents that were found.
    pub(super) fn with(self, documents: &BTreeMap<String, Stored>) -> Self {
        let has_automation = documents.contains_key(&AUTOMATION[1..]);
        let hosts = documents.len() - usize::from(has_automation);
        let count = Count { hosts, has_automation, ..self.revision.count };
        Self { revision: Revision { count, ..self.revision }, ..self }
    }

    /// Whether documents are nobody's but ours to write: until automation has begun they may
    /// be the predecessor's.
    fn are_ours(&self) -> bool {
        let counted = self.counted.is_some_and(|counted| counted.has_automation);
        counted || self.revision.count.has_automation
    }

    /// Whether somebody else has written a document, as it was read before this.
    pub(super) fn shows_strange(&self, stored: &Stored) -> bool {
        self.are_ours() && stored.revision > self.revision.number
    }

    /// Whether nobody has counted yet what is ours.
    pub(super) fn is_uncounted(&self) -> bool {
        self.counted.is_none() && self.are_ours()
    }

    /// The count that there should be, where it is another one.
    pub(super) fn miscount(&self) -> Option<Count> {
        self.counted.filter(|counted| self.are_ours() && *counted != self.revision.count)
    }
}

/// Looks at the store, and has its documents counted where a person wants that: whatever is
/// deleted from then on is missed.
pub(super) async fn counted(client: &Client) -> Result<Glance, Error> {
    let seen = glance(client).await?;
    if !seen.is_uncounted() {
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
    let count = Count {
        hosts: usize::try_from(hosts.num_children).unwrap_or(0),
        has_automation: automation.is_some(),
        changes: hosts.cversion,
    };
    Ok(Glance {
        revision: Revision { number: revision_of(&node), version: node.version, count },
        counted: Count::read(&data),
        children_at: u64::try_from(hosts.pzxid).unwrap_or(0),
        born: node.czxid,
    })
}

/// The newest revisions that were told.
#[derive(Default)]
pub(super) struct Revisions {
    told: SyncMutex<BTreeMap<u64, Revision>>,
    born: SyncMutex<Option<i64>>,
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
}
