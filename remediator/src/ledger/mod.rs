//! The documents as the store has them, and the one way to change them.
//!
//! Whoever wants to change a document takes the [`Desk`]: automation's rounds
//! and people's commands follow each other, so that each is decided on what the
//! other has written. Reading needs no desk.

mod batch;
mod desk;
mod documents;
mod following;

use std::{
    collections::BTreeSet,
    sync::{
        RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use satellite_core::{
    HostName,
    document::Record,
    first_list::{Sighting, Sightings},
    time::brief,
};
use satellite_toolkit::{exit::chain, lifecycle::Readiness};
use tokio::sync::{Mutex, Notify, watch};
use tracing::{error, info, warn};

pub(crate) use batch::Batch;
pub(crate) use desk::Desk;
pub(crate) use documents::{Documents, LedgerError};

use crate::{
    hang::{self, watched},
    journal::{Entry, Recorded},
    store::{Standing, Store, StoreError, Words},
    tally::Tally,
};

/// Who waits for longer for a turn at a store that is shared is told to come again: a
/// command is answered within 10 s, and the store itself may take some of them.
const TURN_WITHIN: Duration = Duration::from_secs(4);

/// What readiness calls the store.
pub(crate) const STORE: &str = "store";

/// Keeps the documents in memory in step with the store.
pub(crate) struct Ledger {
    store: Box<dyn Store>,
    documents: RwLock<Documents>,
    turn: Mutex<()>,
    revision: watch::Sender<u64>,
    /// Told of a newer revision, too: who waited first gets on first, which a watch leaves to
    /// chance.
    newer: Notify,
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
            newer: Notify::new(),
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

    /// Whether other remediators have the store, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Shows all who share the store what was found where `file` names a whitelist, and gives
    /// what each of them has shown of its own.
    pub(crate) async fn compare(
        &self,
        file: String,
        found: &Sighting,
    ) -> Result<Sightings, StoreError> {
        let word = serde_json::to_string(found).expect("it holds only texts and numbers");
        let Words { by_subject, are_settled } = self.store.exchange(file, word).await?;
        let sighting = |word: String| {
            let reason = "it runs another version, which says it in other words".to_owned();
            serde_json::from_str(&word).unwrap_or(Sighting::Unreadable { reason })
        };
        let by_file = by_subject.into_iter().map(|(file, word)| (file, sighting(word))).collect();
        Ok(Sightings { by_file, are_settled })
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
            let source = Box::new(self.name_what_is_strange(error));
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

    /// What somebody else has done a person may put right, who has to know of all of it.
    fn name_what_is_strange(&self, error: LedgerError) -> LedgerError {
        let LedgerError::Store(StoreError::Miscounted { there, strangers, .. }) = &error else {
            return error;
        };
        let what = self.read().differences_to(there, strangers);
        if there.is_empty() || what.is_empty() {
            return error;
        }
        LedgerError::ByHand { what, source: Some(Box::new(error)) }
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
            documents.succeed(&mut known);
            *known = documents;
        }
        self.in_doubt.store(false, Ordering::SeqCst);
        self.made_good.store(missed, Ordering::SeqCst);
        if !self.is_read.swap(true, Ordering::Relaxed) {
            self.readiness.set(STORE, self.absence());
        }
        self.tell_revision(revision);
    }

    fn tell_revision(&self, revision: u64) {
        self.revision.send_replace(revision);
        self.newer.notify_waiters();
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

    /// Why the store is out of reach, if it is.
    pub(crate) fn absence(&self) -> Option<String> {
        match &*self.standing().borrow() {
            Standing::Away(reason) => Some(reason.clone()),
            _ if self.store.is_shared() => {
                let unread = || (!self.is_read()).then(|| "it was not read yet".to_owned());
                self.hang().or_else(|| self.trouble()).or_else(unread)
            }
            _ => self.hang(),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("nobody panics while holding it").clone()
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

    /// Lets go of the store, so that another remediator can lead at once.
    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    /// Which lead it is, where this process leads; the same as long as nobody else has led.
    pub(crate) fn term(&self) -> Option<String> {
        self.store.term()
    }
}

#[cfg(test)]
mod tests;
