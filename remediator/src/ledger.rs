//! The documents as the store has them, and the one way to change them.
//!
//! Whoever wants to change a document takes the [`Desk`]: automation's rounds
//! and people's commands follow each other, so that each is decided on what the
//! other has written. Reading needs no desk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use satellite_core::{
    Automation, HostDocument, HostName, Plan, State, Verdict, document::Record, time::brief,
};
use satellite_toolkit::{exit::chain, lifecycle::Readiness};
use tokio::{
    sync::{Mutex, MutexGuard, Notify, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    hang::{self, watched},
    journal::{Entry, Recorded},
    store::{News, Standing, Store, StoreError, Stored, Write, Writer},
    tally::Tally,
};

/// Below this path lies one document per host, named by it.
const HOSTS: &str = "whitelist/";
/// What others write is heard of within milliseconds.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);
/// What could not be read is read again so often: it is every document, from a ZooKeeper
/// that may have trouble and in which Mesos may elect its leader.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// Who waits for longer for a turn at a store that is shared is told to come again: a
/// command is answered within 10 s, and the store itself may take some of them.
const TURN_WITHIN: Duration = Duration::from_secs(4);
/// What a store may add to each document of a transaction, in bytes.
const PER_WRITE: usize = 128;
/// The path of automation's own document.
const AUTOMATION: &str = "automation";

/// What readiness calls the store.
pub(crate) const STORE: &str = "store";

/// All documents, decoded.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// The store's revision that they are of.
    pub(crate) revision: u64,
    /// Every host's.
    pub(crate) hosts: BTreeMap<HostName, HostDocument>,
    /// Automation's own.
    pub(crate) automation: Automation,
    /// What the store has, by path.
    known: BTreeMap<String, Known>,
    /// What this process has removed, and in which revision: what it hears of that
    /// afterwards may be older.
    removed: BTreeMap<String, u64>,
    /// The revision at which everything was read last: what was not there then and is no
    /// newer is gone.
    read_at: u64,
    /// The revision in which this process last wrote a host's document.
    written_in: BTreeMap<HostName, u64>,
}

/// What is known of a document beside what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    version: u64,
    /// The store's revision that wrote it.
    revision: u64,
}

impl Documents {
    /// The documents as the core wants them.
    pub(crate) fn state(&self) -> State<'_> {
        State { hosts: &self.hosts, automation: &self.automation }
    }

    /// Whether the store has been begun: before that no list follows from it.
    pub(crate) fn is_begun(&self) -> bool {
        self.automation.first_start.is_some()
    }

    /// Whether this process has written the host's document after that revision.
    pub(crate) fn was_written_after(&self, revision: u64, host: &HostName) -> bool {
        self.written_in.get(host).is_some_and(|&written| written > revision)
    }

    /// When this process last wrote each document, where `former` is what it knew of.
    fn writes_after(&self, former: &mut Self) -> BTreeMap<HostName, u64> {
        let mut written_in = std::mem::take(&mut former.written_in);
        written_in.retain(|host, _| self.hosts.contains_key(host));
        let changed = self.hosts.keys().filter(|host| self.version(host) != former.version(host));
        written_in.extend(changed.map(|host| (host.clone(), self.revision)));
        written_in
    }

    /// The transitions that led to newer versions of documents than `former` has.
    fn transitions_after(&self, former: &Self) -> Vec<(HostName, Record)> {
        let hosts = self.hosts.iter().flat_map(|(host, document)| {
            let known = former.version(host);
            let newer = document.transitions.iter().filter(move |it| it.version > Some(known));
            newer.map(|record| (host.clone(), record.clone()))
        });
        hosts.collect()
    }

    /// The version of a host's document; 0 where there is none.
    pub(crate) fn version(&self, host: &HostName) -> u64 {
        self.known.get(&path_of(host)).map_or(0, |known| known.version)
    }
}

/// Why the documents could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document is not what this version writes. Nothing is done without it:
    /// its host would look as if nobody had ever taken it off.
    #[error("document {path} of the store cannot be read")]
    Document {
        /// Which.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Keeps the documents in memory in step with the store.
pub(crate) struct Ledger {
    store: Box<dyn Store>,
    documents: RwLock<Documents>,
    turn: Mutex<()>,
    revision: watch::Sender<u64>,
    /// Whether the documents were read at all.
    is_read: AtomicBool,
    /// Whether a write of this process failed that may have been made all the same.
    in_doubt: AtomicBool,
    /// How often others may have written unheard; and how often that was when everything was
    /// last read. Where these differ, what is in memory may be older than what is stored.
    missed: AtomicU64,
    made_good: AtomicU64,
    /// Why the store could not be used when that was last tried, if so.
    trouble: std::sync::Mutex<Option<String>>,
    /// The hosts of such a write.
    doubted: std::sync::Mutex<BTreeSet<HostName>>,
    /// What such a write turned out to have done. Its writer was told that it failed, so
    /// that nobody has put it on record.
    belated: std::sync::Mutex<Vec<(HostName, Record)>>,
    /// What the journal lacks of all else: what others have done, here or before the start.
    elsewhere: std::sync::Mutex<Vec<Entry>>,
    /// What the journal had at the start, until the documents are read that tell what it
    /// lacks.
    recorded: std::sync::Mutex<Option<Recorded>>,
    /// Whether the store has been waited for longer than it ever takes.
    hangs: AtomicBool,
    readiness: Readiness,
    /// What was written, counted by whoever wrote it.
    pub(crate) tally: Tally,
}

impl Ledger {
    /// One that has read nothing yet; the first desk does that. Readiness is told of a
    /// store that is away or hangs.
    pub(crate) fn unread(store: Box<dyn Store>, readiness: Readiness) -> Self {
        Self {
            store,
            revision: watch::Sender::new(0),
            documents: RwLock::default(),
            turn: Mutex::new(()),
            is_read: AtomicBool::new(false),
            in_doubt: AtomicBool::new(false),
            missed: AtomicU64::new(1),
            made_good: AtomicU64::new(0),
            trouble: std::sync::Mutex::default(),
            doubted: std::sync::Mutex::default(),
            belated: std::sync::Mutex::default(),
            elsewhere: std::sync::Mutex::default(),
            recorded: std::sync::Mutex::default(),
            hangs: AtomicBool::new(false),
            readiness,
            tally: Tally::default(),
        }
    }

    /// Reads every document, as [`Ledger::unread`] does later.
    pub(crate) async fn load(
        store: Box<dyn Store>,
        readiness: Readiness,
    ) -> Result<Self, LedgerError> {
        let ledger = Self::unread(store, readiness);
        let documents = Documents::load(ledger.store.as_ref()).await?;
        ledger.take_all(documents, 1);
        Ok(ledger)
    }

    /// Whether the documents were ever read. Before that nothing that is read here means
    /// anything.
    pub(crate) fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// How this process stands to the store, and whenever that changes.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.store.standing()
    }

    /// Has whoever leads look at the facts.
    pub(crate) async fn wake_the_leader(&self) {
        self.store.wake().await;
    }

    /// Others may have written unheard: everything is read again before anything is decided
    /// on it.
    pub(crate) fn doubt(&self) {
        self.missed.fetch_add(1, Ordering::SeqCst);
    }

    fn is_in_doubt(&self) -> bool {
        let missed = self.missed.load(Ordering::SeqCst);
        self.in_doubt.load(Ordering::SeqCst) || missed != self.made_good.load(Ordering::SeqCst)
    }

    /// Where what is in memory is in doubt, the store is read again before anything is
    /// decided on it. Where that fails nothing can be written: what is in memory may be
    /// older than what is stored.
    async fn settle(&self) -> Result<(), StoreError> {
        if !self.is_in_doubt() {
            return Ok(());
        }
        // What is missed while it is read is not made good by that.
        let missed = self.missed.load(Ordering::SeqCst);
        let load = self.wait_for_store(Documents::load(self.store.as_ref()));
        let documents = load.await.map_err(|error| {
            let source = Box::new(error);
            self.tell_trouble(Some(chain(&source)));
            if self.is_read() {
                warn!(error = chain(&source), "Cannot read the store again yet");
                StoreError::InDoubt { source }
            } else {
                StoreError::Unread { source }
            }
        })?;
        let (found, known) = (documents.revision, self.read().revision);
        if found < known {
            let error = StoreError::Forgetful { found, known };
            self.tell_trouble(Some(chain(&error)));
            return Err(error);
        }
        self.take_all(documents, missed);
        self.tell_trouble(None);
        Ok(())
    }

    /// Keeps why the store could not be used, or that it could.
    fn tell_trouble(&self, trouble: Option<String>) {
        let is_news = {
            let mut known = self.trouble.lock().expect("nobody panics while holding it");
            let former = std::mem::replace(&mut *known, trouble);
            former != *known
        };
        if is_news && self.store.is_shared() {
            self.readiness.set(STORE, self.absence());
        }
    }

    /// Puts what was read in the place of all that was known, after others had written
    /// unheard so many times.
    fn take_all(&self, mut documents: Documents, missed: u64) {
        let revision = documents.revision;
        {
            let mut known = self.documents.write().expect("no writer of the documents panics");
            if self.is_read() {
                self.note_transitions(documents.transitions_after(&known));
            } else if let Some(recorded) = self.recorded().take() {
                self.elsewhere().extend(recorded.missing(&documents.hosts));
            }
            self.doubted().clear();
            documents.written_in = documents.writes_after(&mut known);
            *known = documents;
        }
        self.in_doubt.store(false, Ordering::SeqCst);
        self.made_good.store(missed, Ordering::SeqCst);
        if !self.is_read.swap(true, Ordering::Relaxed) {
            self.readiness.set(STORE, self.absence());
        }
        self.revision.send_replace(revision);
    }

    /// Keeps transitions that were found in documents for the journal: those of a write of
    /// this process that had seemed to fail, and those of others.
    fn note_transitions(&self, transitions: Vec<(HostName, Record)>) {
        let doubted = self.doubted();
        for (host, record) in transitions {
            if doubted.contains(&host) {
                self.belated().push((host, record));
            } else {
                let before = record.version.unwrap_or(1).saturating_sub(1);
                self.elsewhere().push(Entry::of_elsewhere(&host, &record, before));
            }
        }
    }

    /// Keeps in step with what others write, and tells `heard` of it, until the token is
    /// cancelled.
    pub(crate) async fn follow(&self, heard: &Notify, token: CancellationToken) {
        let mut standing = self.standing();
        let mut again = interval(READ_AGAIN_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.readiness.set(STORE, self.absence());
        loop {
            let news = tokio::select! {
                biased;
                () = token.cancelled() => return,
                Ok(()) = standing.changed() => {
                    self.readiness.set(STORE, self.absence());
                    continue;
                }
                news = self.store.news() => news,
                // Who follows may have nobody else who reads again what could not be read.
                _ = again.tick() => {
                    if !self.is_to_be_read_again() {
                        continue;
                    }
                    News::Unknown
                }
            };
            match news {
                News::Documents { documents, gone_at, revision } => {
                    let _turn = self.turn.lock().await;
                    // What this process has written itself comes back, too.
                    if !self.take_news(documents, gone_at, revision) {
                        continue;
                    }
                }
                News::Unknown => {
                    self.doubt();
                    if let Err(error) = self.desk().await {
                        debug!(error = chain(&error), "Cannot read what others have written yet");
                        continue;
                    }
                }
                News::Woken => {}
            }
            heard.notify_one();
        }
    }

    /// Takes over what others have written, as far as it is newer than what is known, and
    /// says whether anything was. What is gone was so at `gone_at`; with these, everything is
    /// known of `revision`.
    fn take_news(
        &self,
        news: BTreeMap<String, Option<Stored>>,
        gone_at: u64,
        revision: u64,
    ) -> bool {
        let (mut is_news, mut is_whole) = (false, true);
        let mut documents = self.documents.write().expect("no writer of the documents panics");
        for (path, stored) in news {
            match documents.hear(&path, stored, gone_at) {
                Ok(None) => {}
                Ok(Some(transitions)) => {
                    self.note_transitions(transitions);
                    is_news = true;
                }
                Err(error) => {
                    error!(error = chain(&error), "Somebody else has written what cannot be read");
                    self.doubt();
                    is_whole = false;
                }
            }
        }
        let former = documents.revision;
        if is_whole {
            documents.revision = former.max(revision);
        }
        let revision = documents.revision;
        drop(documents);
        if is_news || revision != former {
            self.revision.send_replace(revision);
        }
        is_news
    }

    /// Of a store of its own a process reads again in its next round.
    fn is_to_be_read_again(&self) -> bool {
        let is_away = matches!(&*self.standing().borrow(), Standing::Away(_));
        self.store.is_shared() && !is_away && self.is_in_doubt()
    }

    /// Why the store is out of reach, if it is.
    pub(crate) fn absence(&self) -> Option<String> {
        match &*self.standing().borrow() {
            Standing::Away(reason) => Some(reason.clone()),
            _ if !self.is_read() => Some("it was not read yet".into()),
            _ if self.store.is_shared() => self
                .hang()
                .or_else(|| self.trouble.lock().expect("nobody panics while holding it").clone()),
            _ => self.hang(),
        }
    }

    /// Waits for the store, and tells if it hangs: until it answers nobody else gets a
    /// turn, so that no round ends and no command is answered.
    async fn wait_for_store<T>(&self, work: impl Future<Output = T>) -> T {
        let tell = |hangs: bool| {
            self.hangs.store(hangs, Ordering::Relaxed);
            self.readiness.set(STORE, self.absence());
            if hangs {
                error!("The store does not answer: nothing changes until it does");
            } else {
                info!("The store answers again");
            }
        };
        watched(work, tell).await
    }

    /// How the store hangs, if it does.
    pub(crate) fn hang(&self) -> Option<String> {
        let hangs = self.hangs.load(Ordering::Relaxed);
        hangs.then(|| format!("it has not answered for over {}", brief(hang::PATIENCE)))
    }

    /// The documents as they are now. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Documents> {
        self.documents.read().expect("no writer of the documents panics")
    }

    /// The transitions that nobody has put on record, since their write had seemed to
    /// fail: whoever takes them does.
    pub(crate) fn take_belated(&self) -> Vec<(HostName, Record)> {
        std::mem::take(&mut self.belated())
    }

    /// The entries that the journal lacks of what others have done: whoever takes them
    /// writes them.
    pub(crate) fn take_elsewhere(&self) -> Vec<Entry> {
        std::mem::take(&mut self.elsewhere())
    }

    /// What the journal had at the start; before the documents are read.
    pub(crate) fn remember(&self, recorded: Recorded) {
        *self.recorded() = Some(recorded);
    }

    fn elsewhere(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.elsewhere.lock().expect("nobody panics while holding it")
    }

    fn recorded(&self) -> std::sync::MutexGuard<'_, Option<Recorded>> {
        self.recorded.lock().expect("nobody panics while holding it")
    }

    fn doubted(&self) -> std::sync::MutexGuard<'_, BTreeSet<HostName>> {
        self.doubted.lock().expect("nobody panics while holding it")
    }

    fn belated(&self) -> std::sync::MutexGuard<'_, Vec<(HostName, Record)>> {
        self.belated.lock().expect("nobody panics while holding it")
    }

    /// Changes whenever a document did.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Waits for one's turn to change documents.
    ///
    /// # Errors
    /// Where a write has failed and the store cannot be read to see what came of it.
    pub(crate) async fn desk(&self) -> Result<Desk<'_>, StoreError> {
        let turn = self.turn.lock();
        let turn = if self.store.is_shared() {
            // Where every request takes as long as it may, those who wait would wait for all
            // who came before.
            let turn = tokio::time::timeout(TURN_WITHIN, turn).await;
            turn.map_err(|_| StoreError::Busy)?
        } else {
            turn.await
        };
        self.settle().await?;
        Ok(Desk { ledger: self, _turn: turn })
    }

    /// Waits until what others have written since this revision is known; or has everything
    /// read again.
    pub(crate) async fn catch_up(&self, seen: u64) {
        let mut revision = self.revision.subscribe();
        let newer = revision.wait_for(|revision| *revision > seen);
        if tokio::time::timeout(CATCH_UP_WITHIN, newer).await.is_err() {
            self.doubt();
        }
    }

    /// Lets go of the store, so that another remediator can lead at once.
    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    /// Which lead it is, where this process leads; the same as long as nobody else has led.
    pub(crate) fn term(&self) -> Option<String> {
        self.store.term()
    }
}

/// One's turn to change documents: what is read while it is held is what the
/// next write is decided on.
pub(crate) struct Desk<'a> {
    ledger: &'a Ledger,
    _turn: MutexGuard<'a, ()>,
}

impl Desk<'_> {
    /// The documents as they are now. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Documents> {
        self.ledger.read()
    }

    /// Writes the batch durably: in one transaction, or none of it. A batch that no
    /// transaction can take is written in several, see [`Batch::parts`].
    pub(crate) async fn commit(&self, batch: &Batch<'_>, writer: Writer) -> Result<(), StoreError> {
        let parts = batch.parts(self.ledger.store.max_write(), self.read().is_begun());
        for (at, part) in parts.iter().enumerate() {
            if let Err(error) = self.commit_one(part, writer).await {
                self.note_written(&parts[..at]);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps what the first parts of a batch have done for whoever puts it on record: the
    /// batch as a whole has failed.
    fn note_written(&self, parts: &[Batch<'_>]) {
        let documents = self.read();
        for host in parts.iter().flat_map(|part| part.hosts.keys()) {
            let version = documents.version(host);
            let transitions = documents.hosts.get(*host).into_iter().flat_map(|it| &it.transitions);
            let written = transitions.filter(|it| it.version == Some(version));
            self.ledger.belated().extend(written.map(|it| ((*host).clone(), it.clone())));
        }
    }

    async fn commit_one(&self, batch: &Batch<'_>, writer: Writer) -> Result<(), StoreError> {
        let changed = self.changed(batch);
        let writes = self.writes(batch, &changed);
        if writes.is_empty() {
            return Ok(());
        }
        let versions: Vec<(String, Option<u64>)> = writes.iter().map(version_after).collect();
        // Until it is known to have succeeded, or to have failed.
        self.ledger.in_doubt.store(true, Ordering::SeqCst);
        self.ledger.doubted().extend(changed.iter().map(|(host, _)| (*host).clone()));
        let seen = self.read().revision;
        let write = self.ledger.store.write(writes, writer, seen);
        let written = self.ledger.wait_for_store(write).await;
        let revision = match written {
            Ok(revision) => revision,
            Err(error) => {
                self.note_failure(&error);
                return Err(error);
            }
        };
        {
            let mut documents =
                self.ledger.documents.write().expect("no writer of the documents panics");
            for (path, version) in versions {
                documents.note(path, version, revision);
            }
            for (host, document) in changed {
                documents.written_in.insert(host.clone(), revision);
                documents.hosts.insert(host.clone(), document);
            }
            for host in &batch.removed {
                documents.hosts.remove(*host);
                documents.written_in.remove(*host);
            }
            if let Some(automation) = batch.automation {
                documents.automation = automation.clone();
            }
            documents.revision = documents.revision.max(revision);
        }
        self.settled();
        self.ledger.tell_trouble(None);
        self.ledger.revision.send_replace(self.read().revision);
        Ok(())
    }

    /// What was not written for sure leaves no doubt; what stands in its way is known now.
    fn note_failure(&self, error: &StoreError) {
        match error {
            StoreError::Conflict { path, found, .. } => {
                let found = found.as_deref().cloned();
                let revision = self.read().revision;
                self.settled();
                self.ledger.take_news(BTreeMap::from([(path.clone(), found)]), revision, revision);
            }
            StoreError::Overtaken { .. } | StoreError::NotLeading | StoreError::TooLarge { .. } => {
                self.settled();
            }
            error => self.ledger.tell_trouble(Some(chain(error))),
        }
    }

    fn settled(&self) {
        self.ledger.doubted().clear();
        self.ledger.in_doubt.store(false, Ordering::SeqCst);
    }

    /// The documents to write, as they will be stored: one that is as it was is left
    /// alone.
    fn changed<'b>(&self, batch: &Batch<'b>) -> Vec<(&'b HostName, HostDocument)> {
        let documents = self.read();
        let hosts = batch.hosts.iter().map(|(host, document)| (*host, *document));
        let changed = hosts.filter(|(host, it)| documents.hosts.get(*host) != Some(*it));
        changed.map(|(host, it)| (host, it.in_version(documents.version(host) + 1))).collect()
    }

    fn writes(&self, batch: &Batch<'_>, changed: &[(&HostName, HostDocument)]) -> Vec<Write> {
        let documents = self.read();
        let write = |path: String, data: Option<Vec<u8>>| Write {
            expected: documents.known.get(&path).map(|known| known.version),
            path,
            data,
        };
        let hosts = changed.iter().map(|(host, it)| write(path_of(host), Some(it.encode())));
        let removed = batch.removed.iter().filter(|host| documents.hosts.contains_key(**host));
        let removed = removed.map(|host| write(path_of(host), None));
        let automation = batch.automation.map(|automation| {
            let data = serde_json::to_vec(automation)
                .expect("automation's document holds only text keys and finite numbers");
            write(AUTOMATION.to_owned(), Some(data))
        });
        hosts.chain(removed).chain(automation).collect()
    }
}

/// What is written together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch<'a> {
    /// Documents of hosts, new or changed.
    pub(crate) hosts: BTreeMap<&'a HostName, &'a HostDocument>,
    /// Hosts whose document is removed.
    pub(crate) removed: Vec<&'a HostName>,
    /// Automation's own document, where it changes.
    pub(crate) automation: Option<&'a Automation>,
}

impl<'a> Batch<'a> {
    /// All that a plan wants written.
    pub(crate) fn of_plan(plan: &'a Plan) -> Self {
        Self {
            hosts: plan.changes.iter().map(|(host, it)| (host, &it.document)).collect(),
            removed: plan.retired.keys().collect(),
            automation: plan.automation.as_ref(),
        }
    }

    /// What can be written at once, where a transaction takes so many bytes. Where it has to
    /// be more than one, the documents that put nobody off come first, and automation's own
    /// record of who goes off with the first of those; so that the budget never forgets
    /// anybody. A store that is only begun is begun when all is in it.
    fn parts(&self, limit: usize, is_begun: bool) -> Vec<Self> {
        let size_of_removal = |host: &HostName| path_of(host).len() + PER_WRITE;
        let size = |host: &HostName, document: &HostDocument| {
            size_of_removal(host) + document.encode().len()
        };
        // Automation's record has its place in whichever part it comes to be in.
        let limit = limit / 2;
        let hosts: usize = self.hosts.iter().map(|(host, document)| size(host, document)).sum();
        let removed: usize = self.removed.iter().map(|host| size_of_removal(host)).sum();
        if hosts + removed <= limit {
            return vec![self.clone()];
        }
        let (on, off): (Vec<_>, Vec<_>) =
            self.hosts.iter().partition(|(_, document)| document.verdict() == Verdict::On);
        let of_hosts = |hosts: &[(&&'a HostName, &&'a HostDocument)]| {
            let mut parts = vec![(0, Self::default())];
            for (host, document) in hosts {
                let more = size(host, document);
                if parts.last().is_some_and(|(taken, _)| taken + more > limit) {
                    parts.push((0, Self::default()));
                }
                if let Some((taken, part)) = parts.last_mut() {
                    *taken += more;
                    part.hosts.insert(host, document);
                }
            }
            parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>()
        };
        let (mut parts, mut offs) = (of_hosts(&on), of_hosts(&off));
        let record = if is_begun { offs.first_mut() } else { offs.last_mut() };
        if let Some(part) = record {
            part.automation = self.automation;
        }
        parts.append(&mut offs);
        let longest = self.removed.iter().map(|host| size_of_removal(host)).max().unwrap_or(1);
        let removed = self.removed.chunks((limit / longest).max(1));
        parts.extend(removed.map(|removed| Self { removed: removed.to_vec(), ..Self::default() }));
        parts
    }

    /// One host's document.
    pub(crate) fn of_host(host: &'a HostName, document: &'a HostDocument) -> Self {
        Self { hosts: BTreeMap::from([(host, document)]), ..Self::default() }
    }
}

/// The version that a document has after the write; `None`: it is gone.
fn version_after(write: &Write) -> (String, Option<u64>) {
    let version = write.data.as_ref().map(|_| write.expected.unwrap_or(0) + 1);
    (write.path.clone(), version)
}

impl Documents {
    async fn load(store: &dyn Store) -> Result<Self, LedgerError> {
        let contents = store.load().await?;
        let revision = contents.revision;
        let mut documents = Self { revision, read_at: revision, ..Self::default() };
        for (path, stored) in contents.documents {
            documents.take(&path, &stored.data)?;
            documents.note(path, Some(stored.version), stored.revision);
        }
        Ok(documents)
    }

    /// Notes of which version a document is; `None`: it is gone.
    fn note(&mut self, path: String, version: Option<u64>, revision: u64) {
        if let Some(version) = version {
            self.removed.remove(&path);
            self.known.insert(path, Known { version, revision });
        } else {
            self.known.remove(&path);
            self.removed.insert(path, revision);
        }
    }

    /// Takes over what somebody else may have written; `None`: at this revision the document
    /// was gone. Gives the transitions that it tells of, or `None` where what is known is
    /// newer.
    fn hear(
        &mut self,
        path: &str,
        stored: Option<Stored>,
        revision: u64,
    ) -> Result<Option<Vec<(HostName, Record)>>, LedgerError> {
        let written = stored.as_ref().map_or(revision, |stored| stored.revision);
        let known = self.known.get(path).map(|known| known.revision);
        let known = known.or(self.removed.get(path).copied()).unwrap_or(self.read_at);
        if known >= written {
            return Ok(None);
        }
        let host = path.strip_prefix(HOSTS).and_then(|name| name.parse::<HostName>().ok());
        let mut transitions = Vec::new();
        match stored {
            Some(stored) => {
                let former = self.known.get(path).map_or(0, |known| known.version);
                self.take(path, &stored.data)?;
                self.note(path.to_owned(), Some(stored.version), written);
                if let Some(host) = host {
                    let document = &self.hosts[&host];
                    let newer = document.transitions.iter().filter(|it| it.version > Some(former));
                    transitions.extend(newer.map(|record| (host.clone(), record.clone())));
                    self.written_in.insert(host, written);
                }
            }
            None if path == AUTOMATION => {
                self.automation = Automation::default();
                self.known.remove(path);
            }
            None => {
                self.known.remove(path);
                if let Some(host) = host {
                    self.hosts.remove(&host);
                    self.written_in.remove(&host);
                }
            }
        }
        Ok(Some(transitions))
    }

    fn take(&mut self, path: &str, data: &[u8]) -> Result<(), LedgerError> {
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| LedgerError::Document {
            path: path.to_owned(),
            source,
        };
        if path == AUTOMATION {
            self.automation =
                serde_json::from_slice(data).map_err(|error| unreadable(error.into()))?;
        } else if let Some(name) = path.strip_prefix(HOSTS) {
            let host: HostName = name
                .parse()
                .map_err(|error: satellite_core::host::InvalidHostName| unreadable(error.into()))?;
            let document = HostDocument::decode(data).map_err(|error| unreadable(error.into()))?;
            self.hosts.insert(host, document);
        }
        // Other paths belong to other versions and are left alone.
        Ok(())
    }
}

fn path_of(host: &HostName) -> String {
    format!("{HOSTS}{host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Contents;
    use std::sync::Arc;

    use futures::{FutureExt as _, future::BoxFuture};
    use jiff::Timestamp;

    /// A store that takes what it is given, and says that it has not.
    #[derive(Default)]
    struct InDoubt(std::sync::Mutex<Contents>);

    impl Store for InDoubt {
        fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
            std::future::ready(Ok(self.0.lock().unwrap().clone())).boxed()
        }

        fn write(
            &self,
            writes: Vec<Write>,
            _: Writer,
            seen: u64,
        ) -> BoxFuture<'_, Result<u64, StoreError>> {
            self.0.lock().unwrap().apply(writes, seen).unwrap();
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
            let error = StoreError::Unavailable { operation: "write", place: "s".into(), source };
            std::future::ready(Err(error)).boxed()
        }
    }

    #[tokio::test]
    async fn what_a_write_in_doubt_has_changed_is_newer_than_what_was_known_of_it() {
        let ledger = Ledger::load(Box::<InDoubt>::default(), Readiness::default()).await.unwrap();
        let [changed, other]: [HostName; 2] = ["h1.lab", "h2.lab"].map(|it| it.parse().unwrap());
        let known = ledger.read().revision;
        let document = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
        let desk = ledger.desk().await.unwrap();
        desk.commit(&Batch::of_host(&changed, &document), Writer::Person).await.unwrap_err();
        drop(desk);
        drop(ledger.desk().await.unwrap());
        let documents = ledger.read();
        assert!(documents.was_written_after(known, &changed));
        assert!(!documents.was_written_after(known, &other));
    }

    fn stored(version: u64, revision: u64, verdict: Verdict) -> Option<Stored> {
        let data = HostDocument::new(verdict, Timestamp::UNIX_EPOCH).encode();
        Some(Stored { data, version, revision })
    }

    #[test]
    fn what_is_heard_counts_where_it_is_newer_than_what_is_known() {
        let mut documents = Documents { read_at: 10, ..Documents::default() };
        let host: HostName = "h1.lab".parse().unwrap();
        let path = path_of(&host);
        let mut hear =
            |stored, revision| documents.hear(&path, stored, revision).unwrap().is_some();
        // It was not there when everything was read.
        assert!(!hear(stored(1, 9, Verdict::On), 0));
        assert!(hear(stored(1, 12, Verdict::On), 0));
        assert!(!hear(stored(1, 12, Verdict::On), 0));
        assert!(!hear(None, 11));
        assert!(hear(None, 13));
        // Made anew, it counts from 1.
        assert!(hear(stored(1, 14, Verdict::Off), 0));
        assert_eq!(documents.version(&host), 1);
        // What this process removed itself it may hear of later, as it was.
        documents.note(path.clone(), None, 15);
        assert!(documents.hear(&path, stored(1, 14, Verdict::Off), 0).unwrap().is_none());
        assert!(documents.hear(&path, stored(1, 16, Verdict::On), 0).unwrap().is_some());
    }

    #[test]
    fn a_batch_that_is_too_large_puts_nobody_off_before_it_is_on_record() {
        let name = |at: usize| format!("h{at}.lab").parse::<HostName>().unwrap();
        let names: Vec<HostName> = (0..60).map(name).collect();
        let on = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
        let off = HostDocument::new(Verdict::Off, Timestamp::UNIX_EPOCH);
        let documents = names.iter().enumerate();
        let hosts = documents.map(|(at, host)| (host, if at % 3 == 0 { &off } else { &on }));
        let automation = Automation::default();
        let gone: Vec<HostName> = (100..140).map(name).collect();
        let batch = Batch {
            hosts: hosts.collect(),
            removed: gone.iter().collect(),
            automation: Some(&automation),
        };
        assert_eq!(batch.parts(usize::MAX, true).len(), 1);
        let limit = 4_000;
        for is_begun in [true, false] {
            let parts = batch.parts(limit, is_begun);
            assert!(parts.len() > 5, "{}", parts.len());
            let recorded = parts.iter().position(|part| part.automation.is_some()).unwrap();
            let has_off = |part: &Batch<'_>| part.hosts.values().any(|it| **it == off);
            let first_off = parts.iter().position(has_off).unwrap();
            let last_off = parts.iter().rposition(has_off).unwrap();
            assert_eq!(recorded, if is_begun { first_off } else { last_off });
            let mut all = Batch::default();
            for part in &parts {
                let bytes: usize = part.hosts.values().map(|it| it.encode().len()).sum();
                assert!(bytes + PER_WRITE * (part.hosts.len() + part.removed.len()) < limit);
                all.hosts.extend(&part.hosts);
                all.removed.extend(&part.removed);
            }
            assert_eq!((all.hosts, all.removed), (batch.hosts.clone(), batch.removed.clone()));
        }
    }

    /// A store of which somebody else holds what is in it.
    struct Lent(Arc<std::sync::Mutex<Contents>>);

    impl Store for Lent {
        fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
            std::future::ready(Ok(self.0.lock().unwrap().clone())).boxed()
        }

        fn write(
            &self,
            writes: Vec<Write>,
            _: Writer,
            seen: u64,
        ) -> BoxFuture<'_, Result<u64, StoreError>> {
            std::future::ready(self.0.lock().unwrap().apply(writes, seen)).boxed()
        }
    }

    #[tokio::test]
    async fn a_store_that_has_forgotten_what_was_known_of_it_is_not_gone_on_from() {
        let contents = Arc::<std::sync::Mutex<Contents>>::default();
        let store = Box::new(Lent(Arc::clone(&contents)));
        let ledger = Ledger::load(store, Readiness::default()).await.unwrap();
        let host: HostName = "h1.lab".parse().unwrap();
        let document = HostDocument::new(Verdict::Off, Timestamp::UNIX_EPOCH);
        let desk = ledger.desk().await.unwrap();
        desk.commit(&Batch::of_host(&host, &document), Writer::Person).await.unwrap();
        drop(desk);
        *contents.lock().unwrap() = Contents::default();
        ledger.doubt();
        assert!(matches!(ledger.desk().await.err(), Some(StoreError::Forgetful { .. })));
        assert!(ledger.read().hosts.contains_key(&host));
    }

    #[tokio::test]
    async fn nothing_is_written_on_what_is_no_longer_so() {
        let contents = Arc::<std::sync::Mutex<Contents>>::default();
        let store = Box::new(Lent(Arc::clone(&contents)));
        let ledger = Ledger::load(store, Readiness::default()).await.unwrap();
        let [own, other]: [HostName; 2] = ["h1.lab", "h2.lab"].map(|it| it.parse().unwrap());
        let document = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
        let desk = ledger.desk().await.unwrap();
        let write = Write { path: path_of(&other), expected: None, data: Some(document.encode()) };
        contents.lock().unwrap().apply(vec![write], 0).unwrap();
        let batch = Batch::of_host(&own, &document);
        let refused = desk.commit(&batch, Writer::Person).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { seen: 0 })), "{refused:?}");
        drop(desk);
        ledger.catch_up(0).await;
        let desk = ledger.desk().await.unwrap();
        assert!(desk.read().hosts.contains_key(&other));
        desk.commit(&batch, Writer::Person).await.unwrap();
    }
}
