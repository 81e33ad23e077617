//! The store of a cluster with several remediators: nodes in ZooKeeper.
//!
//! Below the root lie `whitelist/HOST`, one document per host, as the predecessor kept
//! them; `automation`; `leader`, where the remediators stand for election; `wake`, which is
//! written to have the leader look at the facts; `words`, what each says until there is
//! anything; and `revision`, which is written with every
//! transaction, since ZooKeeper's answer tells the number of one only where it writes to a
//! node that was there (ZOOKEEPER-4026), and by which it is seen whether somebody else writes.
//!
//! A transaction is one `multi`. Automation's begins with a check of the node by which this
//! process leads: ZooKeeper removes that node with the session, so that whoever was paused
//! for too long writes nothing. People's are compared and set alone.
//!
//! A session that ends takes all with it that was waiting for it. [`session`] opens a new
//! one, for as long as it takes; meanwhile every call fails at once.

mod revision;
mod session;
#[cfg(test)]
mod tests;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex as SyncMutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use satellite_config::{Digest, ZooKeeperStore as Config};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::AbortHandle,
};
use tracing::warn;
use zookeeper_client::{
    Acl, Acls, CheckWriteError, Client, CreateMode, Error, MultiWriteResult, Permission, Stat,
};

use self::{
    revision::{Glance, Revisions, counted, glance},
    session::{Keeper, Session},
    words::Speakers,
};
use super::{Contents, News, Standing, Store, StoreError, Stored, Words, Write, Writer};

const WHITELIST: &str = "/whitelist";
const AUTOMATION: &str = "/automation";
const LEADER: &str = "/leader";
const WAKE: &str = "/wake";
const REVISION: &str = "/revision";
const WORDS: &str = "/words";

/// How long one request may take. ZooKeeper answers in milliseconds; a server that hangs is
/// found out by the session's own heartbeat after two thirds of its time-out, which may be
/// later.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// What a server takes of one request, `jute.maxbuffer`, is 1 048 575 bytes by default. A
/// sixteenth is left for what surrounds paths and documents.
const MAX_WRITE: usize = 0xF_FFFF / 16 * 15;

/// A server closes the connection on a request that is larger than it takes. No server is
/// sensibly told to take less than this, so that a connection that is lost at a smaller
/// write is lost for another reason.
const TAKEN_BY_ALL: usize = 0xFFFF;

/// Beside each operation of a transaction: its header, lengths, version and access list.
const OVERHEAD: usize = 96;

/// How many documents are asked for at once.
const AT_ONCE: usize = 256;

/// A store in ZooKeeper.
pub(crate) struct ZooKeeperStore {
    shared: Arc<Shared>,
    news: Mutex<mpsc::UnboundedReceiver<News>>,
    /// Ends with the store.
    keeper: AbortHandle,
}

/// What the store and the keeper of its session share.
struct Shared {
    /// The servers and the root, for people.
    place: String,
    /// `None` while there is none that could be used.
    session: SyncMutex<Option<Arc<Session>>>,
    standing: watch::Sender<Standing>,
    speakers: Speakers,
    /// Whether somebody else may have written since everything was last read.
    is_suspect: AtomicBool,
    /// The node of revisions, for people.
    revision_node: String,
    revisions: Revisions,
}

impl ZooKeeperStore {
    /// Begins to connect. Whether there is a ZooKeeper shows in [`Store::standing`]. `name`
    /// is what others call this process by where it leads.
    pub(crate) fn open(config: &Config, credentials: Option<Digest>, name: &str) -> Self {
        let place = format!("ZooKeeper at {}{}", config.servers.join(","), config.root);
        let standing = watch::Sender::new(Standing::Away("no server has answered yet".into()));
        let session = SyncMutex::default();
        let revision_node = format!("{}{REVISION}", config.root);
        let revisions = Revisions::default();
        let speakers = Speakers::default();
        let is_suspect = AtomicBool::new(false);
        let shared =
            Shared { place, session, standing, speakers, is_suspect, revision_node, revisions };
        let shared = Arc::new(shared);
        let (tell, news) = mpsc::unbounded_channel();
        let keeper = Keeper::new(config, credentials, name, Arc::clone(&shared), tell);
        let keeper = tokio::spawn(keeper.run_for_ever()).abort_handle();
        Self { shared, news: Mutex::new(news), keeper }
    }
}

impl Drop for ZooKeeperStore {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().expect("no holder of this lock panics").clone()
    }

    fn unavailable(
        &self,
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Unavailable { operation, place: self.place.clone(), source: source.into() }
    }

    /// What a failure means where the nodes are read that every store has.
    fn failed_to_read(&self, error: Error) -> StoreError {
        match error {
            Error::NoNode => StoreError::Remade { place: self.place.clone() },
            error => self.unavailable("read", error),
        }
    }

    /// Refuses a store that is another one by now, or of which somebody else has taken
    /// documents away.
    fn recognise(&self, glance: &Glance) -> Result<(), StoreError> {
        let (place, node) = (|| self.place.clone(), || self.revision_node.clone());
        if !self.revisions.is_of_same_store(glance) {
            return Err(StoreError::Remade { place: place() });
        }
        if let Some(counted) = glance.miscount() {
            return Err(StoreError::Miscounted {
                place: place(),
                node: node(),
                counted: counted.documents(),
                found: glance.revision.count.documents(),
                there: BTreeSet::new(),
                strangers: BTreeSet::new(),
            });
        }
        // What is deleted until it is counted would not be missed.
        if glance.is_uncounted() {
            return Err(StoreError::Uncounted { place: place() });
        }
        Ok(())
    }

    /// The session, if it can be used at this moment.
    fn usable(&self, operation: &'static str) -> Result<Arc<Session>, StoreError> {
        if let Standing::Away(reason) = &*self.standing.borrow() {
            return Err(self.unavailable(operation, reason.clone()));
        }
        self.session().ok_or_else(|| self.unavailable(operation, "the session has ended"))
    }
}

impl Store for ZooKeeperStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        Box::pin(async {
            let was_strange = self.shared.is_suspect.swap(false, Ordering::SeqCst);
            let loaded = self.load_all().await;
            if was_strange && loaded.as_ref().map_or(true, |it| !it.strangers.is_empty()) {
                self.shared.is_suspect.store(true, Ordering::SeqCst);
            }
            loaded
        })
    }

    fn write(
        &self,
        writes: Vec<Write>,
        writer: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.write_all(writes, writer, seen))
    }

    fn max_write(&self) -> usize {
        MAX_WRITE
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.keeper.abort();
            let Some(session) = self.shared.session() else { return };
            let Some(path) = session.lock_path() else { return };
            // It leads no more from before another one may.
            session.set_lock(None);
            match within(session.client.delete(&path, None)).await {
                Ok(()) | Err(Error::NoNode) => {}
                Err(error) => {
                    warn!(%error, "Another remediator leads only once this session has run out");
                }
            }
        })
    }

    fn term(&self) -> Option<String> {
        self.shared.session().and_then(|session| session.lock_path())
    }

    fn news(&self) -> BoxFuture<'_, News> {
        Box::pin(async {
            match self.news.lock().await.recv().await {
                Some(news) => news,
                None => std::future::pending().await,
            }
        })
    }

    fn wake(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Ok(session) = self.shared.usable("write to") else { return };
            // Whoever leads looks at the facts by itself, too, only later.
            if let Err(error) = within(session.client.set_data(WAKE, b"", None)).await {
                warn!(%error, "Cannot wake the remediator that leads");
            }
        })
    }

    fn exchange(&self, subject: String, word: String) -> BoxFuture<'_, Result<Words, StoreError>> {
        Box::pin(async move {
            let session = self.shared.usable("write to")?;
            let speakers = &self.shared.speakers;
            words::exchange(&session, subject, word, speakers).await.map_err(|error| {
                speakers.forget();
                self.shared.unavailable("write to", error)
            })
        })
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }
}

impl ZooKeeperStore {
    async fn load_all(&self) -> Result<Contents, StoreError> {
        let session = self.shared.usable("read")?;
        let client = &session.client;
        let failed = |error| self.shared.failed_to_read(error);
        within(client.sync("/")).await.map_err(failed)?;
        let before = counted(client).await.map_err(failed)?;
        if let Err(error) = self.shared.recognise(&before) {
            return Err(with_names(client, error, &before).await);
        }
        let documents = load(client).await.map_err(failed)?;
        // What somebody else deletes meanwhile is not among them, and is missed here.
        let after = glance(client).await.map_err(failed)?;
        self.shared.recognise(&after)?;
        let revision = self.shared.revisions.keep(before.revision);
        let mut strangers = BTreeSet::new();
        if after.revision.number == revision {
            self.shared.recognise(&after.with(&documents))?;
            strangers = paths_of(&documents, |stored| after.shows_strange(stored));
        }
        Ok(Contents { revision, documents, strangers })
    }

    async fn write_all(
        &self,
        writes: Vec<Write>,
        writer: Writer,
        seen: u64,
    ) -> Result<u64, StoreError> {
        let size = writes.iter().map(size).sum::<usize>();
        if size > MAX_WRITE {
            return Err(StoreError::TooLarge { size, limit: MAX_WRITE });
        }
        let session = self.shared.usable("write to")?;
        if self.shared.is_suspect.load(Ordering::SeqCst) {
            // A transaction would make what somebody else has written look like ours.
            return Err(StoreError::Overtaken { seen });
        }
        let fence = match writer {
            Writer::Automation => session.lock_path().ok_or(StoreError::NotLeading)?,
            Writer::Person => WHITELIST.to_owned(),
        };
        let committed = self.commit(&session, &writes, &fence, seen).await;
        if matches!(committed, Err(StoreError::NotLeading)) {
            session.give_up_the_lead();
        }
        committed
    }

    /// Writes all or nothing, and nothing unless the node `fence` is there and everything is
    /// as it was at the revision `seen`.
    async fn commit(
        &self,
        session: &Session,
        writes: &[Write],
        fence: &str,
        seen: u64,
    ) -> Result<u64, StoreError> {
        let base = self.shared.revisions.get(seen).ok_or(StoreError::Overtaken { seen })?;
        let unavailable = |error: Error| self.shared.unavailable("write to", error);
        let mut transaction = session.client.new_check_writer(fence, None).map_err(unavailable)?;
        let options = CreateMode::Persistent.with_acls(session.acls);
        for Write { path, expected, data } in writes {
            let node = format!("/{path}");
            let version = expected.map(node_version);
            let added = match (data, version) {
                (Some(data), None) => transaction.add_create(&node, data, &options),
                (Some(data), version) => transaction.add_set_data(&node, data, version),
                (None, version) => transaction.add_delete(&node, version),
            };
            added.map_err(unavailable)?;
        }
        let count = base.count.after(writes).to_string();
        transaction
            .add_set_data(REVISION, count.as_bytes(), Some(base.version))
            .map_err(unavailable)?;
        let outcome = tokio::time::timeout(ANSWER_WITHIN, transaction.commit()).await;
        match outcome.unwrap_or(Err(CheckWriteError::RequestFailed { source: Error::Timeout })) {
            Ok(results) => match results.last() {
                Some(MultiWriteResult::SetData { stat }) => {
                    Ok(self.shared.revisions.keep(base.after(writes, stat)))
                }
                _ => Err(self.shared.unavailable("write to", "ZooKeeper's answer is cut short")),
            },
            Err(CheckWriteError::CheckFailed { source: Error::NoNode }) => {
                Err(StoreError::NotLeading)
            }
            Err(CheckWriteError::OperationFailed {
                index,
                source: Error::NoNode | Error::NodeExists | Error::BadVersion,
            }) => {
                let Some(Write { path, expected, .. }) = writes.get(index) else {
                    return Err(StoreError::Overtaken { seen });
                };
                let found = get(&session.client, path).await.map_err(unavailable)?;
                let glance = glance(&session.client).await.map_err(unavailable)?;
                let found = found.filter(|found| !glance.shows_strange(found));
                Err(StoreError::conflict(path, *expected, found))
            }
            Err(error) => Err(self.shared.unavailable("write to", lost_at(writes, error.into()))),
        }
    }
}

/// The connection was lost at a write that is large, but not too large by default.
#[derive(Debug, thiserror::Error)]
#[error(
    "the connection was lost at a write of {size} bytes; if that happens each time, \
     jute.maxbuffer of the servers is too low: {} is its default",
    0xF_FFFF
)]
struct LostAtWrite {
    size: usize,
    source: Error,
}

/// Says what may be wrong where a connection was lost at a large write.
fn lost_at(writes: &[Write], source: Error) -> Box<dyn std::error::Error + Send + Sync> {
    let size = writes.iter().map(size).sum();
    // The latter where the system has told of it first.
    let is_lost = matches!(source, Error::ConnectionLoss | Error::Custom(_));
    if is_lost && size > TAKEN_BY_ALL {
        Box::new(LostAtWrite { size, source })
    } else {
        Box::new(source)
    }
}

/// What a write takes of a transaction, in bytes.
fn size(write: &Write) -> usize {
    write.path.len() + write.data.as_ref().map_or(0, Vec::len) + OVERHEAD
}

async fn within<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or(Err(Error::Timeout))
}

/// Reads every document. What is written meanwhile may be among it or not; the watch, which
/// is older than this, tells of it. Whoever asks has to see whether all were there.
async fn load(client: &Client) -> Result<BTreeMap<String, Stored>, Error> {
    let found = get_all(client, list(client).await?);
    let found = found.try_filter_map(async |(path, found)| Ok(found.map(|found| (path, found))));
    found.try_collect().await
}

fn paths_of(
    documents: &BTreeMap<String, Stored>,
    is_wanted: impl Fn(&Stored) -> bool,
) -> BTreeSet<String> {
    let wanted = documents.iter().filter(|(_, stored)| is_wanted(stored));
    wanted.map(|(path, _)| path.clone()).collect()
}

/// Says with the error which documents there are, so that it can be told which are not; and
/// which somebody else has written since this glance's revision.
async fn with_names(client: &Client, mut error: StoreError, glance: &Glance) -> StoreError {
    if let StoreError::Miscounted { there, strangers, .. } = &mut error
        && let Ok(documents) = load(client).await
    {
        *strangers = paths_of(&documents, |it| it.revision > glance.revision.number);
        *there = documents.into_keys().collect();
    }
    error
}

/// Which documents there are.
async fn list(client: &Client) -> Result<BTreeSet<String>, Error> {
    let hosts = within(client.list_children(WHITELIST)).await?;
    let mut paths: BTreeSet<_> =
        hosts.into_iter().map(|host| format!("{}/{host}", &WHITELIST[1..])).collect();
    if within(client.check_stat(AUTOMATION)).await?.is_some() {
        paths.insert(AUTOMATION[1..].to_owned());
    }
    Ok(paths)
}

/// Reads these documents as they are now: all that were written up to the revision that was
/// glanced at, and since it was last told.
async fn reread(
    shared: &Shared,
    client: &Client,
    paths: BTreeSet<String>,
    before: &Glance,
) -> Result<News, Error> {
    let documents: BTreeMap<_, _> = get_all(client, paths).try_collect().await?;
    let Glance { revision, children_at, .. } = *before;
    let is_newer = |stored: &Option<Stored>| {
        stored.as_ref().is_none_or(|stored| stored.revision > revision.number)
    };
    if documents.values().any(is_newer) {
        // Somebody else may have done it since.
        let after = glance(client).await?;
        let is_strange = documents.values().flatten().any(|stored| after.shows_strange(stored));
        if is_strange || shared.recognise(&after).is_err() {
            return Ok(News::Strange);
        }
    }
    Ok(News::Documents { documents, gone_at: children_at, revision: revision.number })
}

/// These documents; `None` for those that are not there.
fn get_all(
    client: &Client,
    paths: impl IntoIterator<Item = String>,
) -> impl Stream<Item = Result<(String, Option<Stored>), Error>> {
    stream::iter(paths)
        .map(|path| async { get(client, &path).await.map(|found| (path, found)) })
        .buffer_unordered(AT_ONCE)
}

async fn get(client: &Client, path: &str) -> Result<Option<Stored>, Error> {
    match within(client.get_data(&format!("/{path}"))).await {
        Ok((data, stat)) => {
            let (version, revision) = (document_version(&stat), revision_of(&stat));
            Ok(Some(Stored { data, version, revision }))
        }
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// ZooKeeper counts the versions of a node from 0, and begins anew where it is made anew.
fn document_version(stat: &Stat) -> u64 {
    u64::try_from(stat.version).unwrap_or(0) + 1
}

fn node_version(version: u64) -> i32 {
    i32::try_from(version - 1).unwrap_or(i32::MAX)
}

/// The transaction that wrote a node last. They are numbered through for the whole ensemble.
fn revision_of(stat: &Stat) -> u64 {
    u64::try_from(stat.mzxid).unwrap_or(0)
}

/// Who may read and write what is made.
const fn acls(credentials: Option<&Digest>) -> Acls<'static> {
    if credentials.is_some() { Acls::creator_all() } else { Acls::anyone_all() }
}

/// Whether nobody but this user may change what is guarded so. ZooKeeper keeps a digest of
/// the password with the user's name; whoever has got so far has the right one.
fn alone_may_write(user: &str, guards: &[Acl]) -> bool {
    guards.iter().all(|guard| {
        let is_ours = guard.scheme() == "digest"
            && guard.id().split_once(':').is_some_and(|(name, _)| name == user);
        is_ours || Permission::READ.has(guard.permission())
    })
}
