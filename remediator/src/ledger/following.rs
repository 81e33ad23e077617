//! Keeps the documents in step with what others write: by what the store tells of it, and by
//! reading everything again wherever something may have been missed.

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt as _;
use satellite_toolkit::exit::chain;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::{Documents, Ledger, STORE};
use crate::store::{News, Standing, Stored};

/// What others write is heard of within milliseconds.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(1);
/// What could not be read is read again so often: it is every document, from a ZooKeeper
/// that may have trouble and in which Mesos may elect its leader.
const READ_AGAIN_EVERY: Duration = Duration::from_secs(10);

impl Ledger {
    /// Keeps in step with what others write, and tells `heard` of it, until the token is
    /// cancelled.
    pub(crate) async fn follow(&self, heard: &Notify, token: CancellationToken) {
        let mut standing = self.standing();
        let mut last_read: Option<Instant> = None;
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
                    let turn = self.turn.lock().await;
                    // A part of what is stored, beside what is older or unknown, is nothing
                    // that any list may follow from.
                    let is_news = if self.is_in_doubt() {
                        drop(turn);
                        self.read_again_once_due(&mut last_read).await
                    } else {
                        // What this process has written itself comes back, too.
                        self.take_news(documents, gone_at, revision)
                    };
                    if !is_news {
                        continue;
                    }
                }
                News::Strange => {
                    self.doubt();
                    if !self.read_again_once_due(&mut last_read).await {
                        continue;
                    }
                }
                News::Unknown => {
                    // What waits is older than what will be read.
                    let mut is_woken = false;
                    while let Some(news) = self.store.news().now_or_never() {
                        is_woken |= matches!(news, News::Woken);
                    }
                    if !self.read_again().await && !is_woken {
                        continue;
                    }
                }
                News::Woken => {}
            }
            heard.notify_one();
        }
    }

    /// Reads everything again, but not as often as others may write, and says whether that
    /// was done.
    async fn read_again_once_due(&self, last: &mut Option<Instant>) -> bool {
        if last.is_some_and(|last| last.elapsed() < READ_AGAIN_EVERY) {
            return false;
        }
        *last = Some(Instant::now());
        self.read_again().await
    }

    /// Reads everything again, and says whether that was possible.
    async fn read_again(&self) -> bool {
        self.doubt();
        let desk = self.desk().await;
        if let Err(error) = &desk {
            debug!(error = chain(error), "Cannot read what others have written yet");
        }
        desk.is_ok()
    }

    /// Takes over what others have written, as far as it is newer than what is known, and
    /// says whether anything was. What is gone was so at `gone_at`; with these, everything is
    /// known of `revision`. Where a part of it cannot be read, nothing is taken for gone: a list
    /// that lacks it might follow.
    pub(super) fn take_news(
        &self,
        news: BTreeMap<String, Option<Stored>>,
        gone_at: u64,
        revision: u64,
    ) -> bool {
        let (mut is_news, mut is_whole) = (false, true);
        let mut documents = self.documents.write().expect("no writer of the documents panics");
        let (written, gone): (Vec<_>, Vec<_>) =
            news.into_iter().partition(|(_, stored)| stored.is_some());
        for (path, stored) in written.into_iter().chain(gone) {
            if stored.is_none() && !is_whole {
                break;
            }
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
            self.tell_revision(revision);
        }
        is_news
    }

    /// Of a store of its own a process reads again in its next round.
    fn is_to_be_read_again(&self) -> bool {
        let is_away = matches!(&*self.standing().borrow(), Standing::Away(_));
        self.store.is_shared() && !is_away && self.is_in_doubt()
    }

    /// Waits until what others have written since this revision is known; or has everything
    /// read again.
    pub(crate) async fn catch_up(&self, seen: u64) {
        if !self.come_to(|documents| documents.revision > seen).await {
            self.doubt();
        }
    }

    /// Waits until the documents are those of one revision, or reads everything again, and
    /// says whether a list may follow from them.
    pub(crate) async fn become_whole(&self) -> bool {
        self.come_to(Documents::are_whole).await
            || self.read_again().await && self.come_to(Documents::are_whole).await
    }

    /// Waits for news after which the documents are so, and says whether they have come.
    async fn come_to(&self, are_so: impl Fn(&Documents) -> bool) -> bool {
        let news = async {
            loop {
                let newer = self.newer.notified();
                if are_so(&self.read()) {
                    return;
                }
                newer.await;
            }
        };
        tokio::time::timeout(CATCH_UP_WITHIN, news).await.is_ok()
    }
}
