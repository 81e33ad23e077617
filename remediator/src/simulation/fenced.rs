//! A remediator's way to the store that it shares with others, as the true one goes it
//! (`store/zookeeper/`): one session after another, an election in each, news that come late.
//!
//! What a process does not know yet is what this is about. It learns of the end of its session
//! later than others do, and what it has sent arrives also when it is stopped meanwhile.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Arc, Mutex as SyncMutex},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::AbortHandle,
    time::timeout,
};

use super::{
    ensemble::{Lost, Outlook, SESSION_TIMEOUT, Transaction, unavailable},
    world::{Area, Fate, Millis, SECOND, STORE, Shared, World},
};
use crate::store::{Contents, News, Standing, Store, StoreError, Words, Write, Writer};

/// How long one request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// The rest between two sessions.
const REST: Millis = SECOND;
/// How long a way to the ensemble takes, and one to a server that hangs.
const WAY: RangeInclusive<Millis> = 1..=15;
const LONG_WAY: RangeInclusive<Millis> = SECOND..=20 * SECOND;
/// How long it takes to notice that nothing comes any more.
const SILENCE: RangeInclusive<Millis> = SECOND..=6 * SECOND;

/// A store that others share.
pub(super) struct FencedStore {
    link: Arc<Link>,
    news: Mutex<mpsc::UnboundedReceiver<News>>,
    /// Ends with the store.
    keeper: AbortHandle,
}

/// What the store and the keeper of its session share.
struct Link {
    world: Shared,
    session: SyncMutex<Option<Session>>,
    standing: SyncMutex<Standing>,
    /// Who was last heard to say something, and since when these and no others.
    speakers: SyncMutex<Option<(BTreeSet<u64>, Millis)>>,
    /// Who is told how this process stands, each by a channel of its own: who of several at
    /// one channel is told first is left to chance.
    listeners: SyncMutex<Vec<watch::Sender<Standing>>>,
}

/// A session, as its client has it.
#[derive(Clone, Copy)]
struct Session {
    number: u64,
    /// By which this process leads, as far as it knows.
    latch: Option<u64>,
    /// When the last of its requests arrives: none overtakes another.
    last_arrival: Millis,
}

impl FencedStore {
    /// Begins to connect.
    pub(super) fn open(world: Shared) -> Self {
        let standing = SyncMutex::new(Standing::Away("no server has answered yet".into()));
        let (session, listeners) = (SyncMutex::default(), SyncMutex::default());
        let speakers = SyncMutex::default();
        let link = Arc::new(Link { world, session, standing, speakers, listeners });
        let (tell, news) = mpsc::unbounded_channel();
        let keeper = tokio::spawn(Arc::clone(&link).keep(tell)).abort_handle();
        Self { link, news: Mutex::new(news), keeper }
    }
}

impl Drop for FencedStore {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Link {
    fn session(&self) -> Option<Session> {
        *self.session.lock().expect("no holder of this lock panics")
    }

    fn set_session(&self, session: Option<Session>) {
        *self.session.lock().expect("no holder of this lock panics") = session;
    }

    /// The session, if it can be used at this moment.
    fn usable(&self, operation: &'static str) -> Result<Session, StoreError> {
        if let Standing::Away(reason) = self.standing() {
            return Err(unavailable(operation, reason));
        }
        self.session().ok_or_else(|| unavailable(operation, "the session has ended"))
    }

    /// How long the next request is on its way.
    fn way(&self) -> Millis {
        let mut session = self.session.lock().expect("no holder of this lock panics");
        self.world.with(|world| {
            let hangs = world.chaos.hanging.contains(&(self.world.who, Area::Store));
            let way = world.dice.u64(if hangs { LONG_WAY } else { WAY });
            let Some(session) = session.as_mut() else { return way };
            session.last_arrival = (world.now + way).max(session.last_arrival + 1);
            session.last_arrival - world.now
        })
    }

    /// Asks the ensemble for something.
    async fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut World) -> Result<T, Lost> + Send + 'static,
    ) -> Result<T, StoreError> {
        let way = self.way();
        let answer = self.world.have(way..=way, WAY, act);
        match timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Lost::SessionExpired)) => Err(unavailable(operation, "the session has expired")),
            Ok(Err(Lost::OnItsWay)) | Err(_) => Err(unavailable(operation, "no server answers")),
        }
    }

    /// Whether these sessions, and no others, were heard for so long that all are alive.
    fn are_alone(&self, speakers: BTreeSet<u64>) -> bool {
        let now = self.world.with(|world| world.now);
        let mut heard = self.speakers.lock().expect("no holder of this lock panics");
        let (_, since) = match heard.take() {
            Some(same) if same.0 == speakers => heard.insert(same),
            _ => heard.insert((speakers, now)),
        };
        now - *since > SESSION_TIMEOUT * 3 / 2
    }

    /// Keeps one session after another.
    async fn keep(self: Arc<Self>, tell: mpsc::UnboundedSender<News>) {
        loop {
            self.world.pass(WAY).await;
            let (who, process) = (self.world.who, &self.world.process);
            let mut reason = "no server of ZooKeeper answers";
            if let Some(number) = self.world.with(|world| world.open_session(who, process)) {
                self.set_session(Some(Session { number, latch: None, last_arrival: 0 }));
                reason = self.serve(number, &tell).await;
            }
            self.set_session(None);
            self.stand(&Standing::Away(reason.into()));
            self.world.pass(REST..=REST).await;
        }
    }

    /// Uses a session until it has ended, and says why it has.
    async fn serve(&self, session: u64, tell: &mpsc::UnboundedSender<News>) -> &'static str {
        let mut changes = self.world.with(|world| world.ensemble().changes());
        let mut may_have_missed = true;
        loop {
            self.world.with(|world| world.ensemble().stand(session));
            changes.mark_unchanged();
            match self.world.with(|world| world.look(self.world.who, session)) {
                Outlook::CutOff => {
                    self.world.pass(SILENCE).await;
                    if self.world.with(|world| world.ensemble().is_cut_off(self.world.who)) {
                        self.stand(&Standing::Away("the connection to ZooKeeper is lost".into()));
                        may_have_missed = true;
                    }
                }
                Outlook::Expired => return "the session has expired",
                Outlook::Stands { latch, leader, written, revision, is_woken } => {
                    self.note_latch(latch);
                    let follows = Standing::Follows { leader };
                    self.stand(if latch.is_some() { &Standing::Leads } else { &follows });
                    if is_woken {
                        tell.send(News::Woken).ok();
                    }
                    if std::mem::take(&mut may_have_missed) {
                        tell.send(News::Unknown).ok();
                    } else if !written.is_empty() {
                        // What is read now may be newer than what was told.
                        self.world.pass(WAY).await;
                        let news = self.world.with(|world| {
                            let stumbles = (self.world.who, Area::Store);
                            match world.chaos.failing.contains(&stumbles) {
                                true => News::Unknown,
                                false => world.reread(written, revision),
                            }
                        });
                        tell.send(news).ok();
                    }
                }
            }
            changes.changed().await.ok();
            let lateness = self.world.with(|world| world.chaos.lateness.clone());
            self.world.pass(lateness).await;
        }
    }

    /// Keeps by which node this process leads.
    fn note_latch(&self, latch: Option<u64>) {
        let mut session = self.session.lock().expect("no holder of this lock panics");
        let Some(session) = session.as_mut() else { return };
        if latch.is_some() && session.latch != latch {
            self.world.with(|world| world.begin_lead(self.world.who));
        }
        session.latch = latch;
    }

    fn standing(&self) -> Standing {
        self.standing.lock().expect("no holder of this lock panics").clone()
    }

    fn stand(&self, standing: &Standing) {
        if self.standing() == *standing {
            return;
        }
        self.standing.lock().expect("no holder of this lock panics").clone_from(standing);
        let listeners = self.listeners.lock().expect("no holder of this lock panics");
        listeners.iter().for_each(|it| drop(it.send_replace(standing.clone())));
        self.world.with(|world| world.note(format_args!("{}: {standing:?}", self.world.who)));
    }

    fn listen(&self) -> watch::Receiver<Standing> {
        let (tell, standing) = watch::channel(self.standing());
        let mut listeners = self.listeners.lock().expect("no holder of this lock panics");
        listeners.retain(|it| !it.is_closed());
        listeners.push(tell);
        standing
    }

    async fn write(
        &self,
        writes: Vec<Write>,
        writer: Writer,
        seen: u64,
    ) -> Result<u64, StoreError> {
        let Session { number, latch, .. } = self.usable("write to")?;
        let fence = match writer {
            Writer::Automation => Some(latch.ok_or(StoreError::NotLeading)?),
            Writer::Person => None,
        };
        let fate = self.world.face(Area::Store, "commit", &STORE).await;
        // A failure may come after all was written: nobody can tell then.
        let in_doubt = fate == Fate::Fails && self.world.with(|world| world.dice.bool());
        match fate {
            Fate::DiesBefore => self.world.die().await,
            Fate::Fails if !in_doubt => return Err(unavailable("write to", "it stumbles")),
            _ => {}
        }
        let view = self.world.with(|world| world.oracle.view(self.world.who));
        let transaction = Transaction { writes, fence, seen, view };
        let commit = move |world: &mut World| world.commit(number, transaction);
        let outcome = self.ask("write to", commit).await;
        match fate {
            Fate::Succeeds => outcome?,
            Fate::Fails => Err(unavailable("write to", "it stumbles")),
            Fate::DiesBefore | Fate::DiesAfter => self.world.die().await,
        }
    }

    async fn load(&self) -> Result<Contents, StoreError> {
        let Session { number, .. } = self.usable("read")?;
        match self.world.face(Area::Store, "load", &STORE).await {
            Fate::Succeeds => {
                // What is written meanwhile may be among it or not.
                let list = self.ask("read", move |world| world.list(number)).await;
                let (revision, paths) = list?;
                let documents = self.ask("read", move |world| world.read(number, paths)).await?;
                Ok(Contents { revision, documents, ..Contents::default() })
            }
            Fate::Fails => Err(unavailable("read", "it stumbles")),
            Fate::DiesBefore | Fate::DiesAfter => self.world.die().await,
        }
    }
}

impl Store for FencedStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        self.link.load().boxed()
    }

    fn write(
        &self,
        writes: Vec<Write>,
        writer: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.link.write(writes, writer, seen).boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn news(&self) -> BoxFuture<'_, News> {
        async {
            match self.news.lock().await.recv().await {
                Some(news) => news,
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn wake(&self) -> BoxFuture<'_, ()> {
        async {
            let Ok(Session { number, .. }) = self.link.usable("write to") else { return };
            let wake = move |world: &mut World| world.wake_the_leader(number);
            self.link.ask("write to", wake).await.ok();
        }
        .boxed()
    }

    fn exchange(&self, subject: String, word: String) -> BoxFuture<'_, Result<Words, StoreError>> {
        async {
            let Session { number, .. } = self.link.usable("write to")?;
            let exchange = move |world: &mut World| world.exchange(number, subject, word);
            let words = self.link.ask("write to", exchange).await?;
            let are_settled = self.link.are_alone(words.keys().copied().collect());
            Ok(Words { by_subject: words.into_values().collect(), are_settled })
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.keeper.abort();
            let Ok(Session { number, .. }) = self.link.usable("write to") else { return };
            let step_down = move |world: &mut World| world.step_down(number);
            self.link.ask("write to", step_down).await.ok();
        }
        .boxed()
    }

    fn term(&self) -> Option<String> {
        self.link.session()?.latch.map(|latch| latch.to_string())
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.link.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::{config, world::World};
    use crate::store::contract;

    async fn leading(world: &Shared, who: usize) -> FencedStore {
        let store = FencedStore::open(world.be_born(who));
        store.standing().wait_for(|standing| *standing == Standing::Leads).await.unwrap();
        store
    }

    #[tokio::test(start_paused = true)]
    async fn it_holds_what_every_store_must() {
        let world = Shared::new(World::quiet(config(), 2));
        world.with(|world| world.is_judged = false);
        contract::holds(leading(&world, 0).await, async |store| {
            store.close().await;
            Box::new(leading(&world, 1).await) as Box<dyn Store>
        })
        .await;
    }
}
