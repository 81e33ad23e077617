//! Keeps a session with ZooKeeper: opens it, stands for election in it, listens to what
//! others write, and opens another when it has ended.
//!
//! A session is never continued by hand: one that has expired takes its election and its
//! watches with it, and whatever was read in it is read again.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex as SyncMutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use satellite_config::{Digest, ZooKeeperStore as Config};
use tokio::sync::{Notify, mpsc};
use tracing::{error, info, warn};
use zookeeper_client::{
    Acls, AddWatchMode, Client, CreateMode, Error, EventType, LockPrefix, OwnedLockClient,
    PersistentWatcher, SessionState, WatchedEvent,
};

use super::{
    AUTOMATION, Glance, LEADER, News, REVISION, Shared, Standing, StoreError, WAKE, WHITELIST,
    WORDS, acls, alone_may_write, glance, reread, within,
};

/// A server that does not take a connection for so long is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// The rest between two attempts to open a session, or to stand for election.
const REST: Duration = Duration::from_secs(1);
/// Apache Curator's name for those who wait for a leader latch.
const LATCH: &str = "latch-";

/// One session, from when it is open until it has ended.
pub(super) struct Session {
    /// All paths begin at the root of the store.
    pub(super) client: Client,
    /// Who may read and write what is made.
    pub(super) acls: Acls<'static>,
    /// By which this process leads, if it does.
    lock: SyncMutex<Option<OwnedLockClient>>,
    /// Whether anything was answered by the connection as it is now.
    answers: AtomicBool,
    /// Told when the lock is gone although the session is not.
    unlocked: Notify,
    /// Who leads, as it calls itself.
    leader: SyncMutex<Option<String>>,
}

impl Session {
    /// The node that is there only as long as this process leads.
    pub(super) fn lock_path(&self) -> Option<String> {
        let lock = self.lock.lock().expect("no holder of this lock panics");
        lock.as_ref().map(|lock| lock.lock_path().to_owned())
    }

    /// Watches everything below the root.
    async fn watch(&self) -> Result<PersistentWatcher, Error> {
        within(self.client.watch("/", AddWatchMode::PersistentRecursive)).await
    }

    /// Has this process stand for election anew if the node by which it led is gone.
    pub(super) fn give_up_the_lead(&self) {
        self.unlocked.notify_one();
    }

    /// Deletes nodes of this session's by which it stands for election. One may be left of
    /// an attempt whose answer was lost, and nobody would ever get past it.
    async fn clear_latches(&self) -> Result<(), Error> {
        for name in within(self.client.list_children(LEADER)).await? {
            let path = format!("{LEADER}/{name}");
            let stat = within(self.client.check_stat(&path)).await?;
            if stat.is_some_and(|stat| stat.ephemeral_owner == self.client.session_id().0) {
                match within(self.client.delete(&path, None)).await {
                    Ok(()) | Err(Error::NoNode) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Whether the node by which this process leads, if it does, is still there.
    async fn has_lost_the_lead(&self) -> bool {
        let Some(path) = self.lock_path() else { return false };
        matches!(within(self.client.check_stat(&path)).await, Ok(None))
    }

    /// Looks who leads: whoever waits longest, as Curator's latches have it.
    async fn look_for_leader(&self) {
        let children = within(self.client.list_children(LEADER)).await.unwrap_or_default();
        let number = |name: &str| name.rsplit_once('-').map(|(_, number)| number.to_owned());
        let first = children.into_iter().min_by_key(|name| number(name));
        let leader = match first {
            Some(first) => within(self.client.get_data(&format!("{LEADER}/{first}"))).await.ok(),
            None => None,
        };
        let name = leader.and_then(|(name, _)| String::from_utf8(name).ok());
        *self.leader.lock().expect("no holder of this lock panics") = name;
    }

    /// Keeps by which this process leads; `None`: it does not.
    pub(super) fn set_lock(&self, lock: Option<OwnedLockClient>) {
        *self.lock.lock().expect("no holder of this lock panics") = lock;
    }

    /// Waits until ZooKeeper answers anything at all.
    async fn wait_answered(&self) {
        while !self.is_connected() || within(self.client.check_stat("/")).await.is_err() {
            tokio::time::sleep(REST).await;
        }
    }

    fn is_connected(&self) -> bool {
        self.client.state() == SessionState::SyncConnected
    }
}

/// Keeps one session after another.
pub(super) struct Keeper {
    servers: String,
    root: String,
    session_timeout: Duration,
    credentials: Option<Digest>,
    name: String,
    shared: Arc<Shared>,
    tell: mpsc::UnboundedSender<News>,
    /// Whether it was told once that others may write.
    is_warned: AtomicBool,
}

impl Keeper {
    pub(super) fn new(
        config: &Config,
        credentials: Option<Digest>,
        name: &str,
        shared: Arc<Shared>,
        tell: mpsc::UnboundedSender<News>,
    ) -> Self {
        let Config { servers, root, session_timeout, .. } = config;
        Self {
            servers: servers.join(","),
            root: root.clone(),
            session_timeout: *session_timeout,
            credentials,
            name: name.to_owned(),
            shared,
            tell,
            is_warned: AtomicBool::new(false),
        }
    }

    /// Begins anew also where the client of ZooKeeper panics.
    pub(super) async fn run_for_ever(self) {
        loop {
            if AssertUnwindSafe(self.run()).catch_unwind().await.is_err() {
                error!("The client of ZooKeeper has failed; please report this");
                self.stand(Standing::Away("its client has failed and begins anew".into()));
                *self.shared.session.lock().expect("no holder of this lock panics") = None;
            }
            tokio::time::sleep(REST).await;
        }
    }

    async fn run(&self) -> std::convert::Infallible {
        loop {
            let reason = match self.open().await {
                Ok((session, watcher)) => self.serve(Arc::new(session), watcher).await,
                Err(error) => explain(&error),
            };
            self.stand(Standing::Away(reason));
            *self.shared.session.lock().expect("no holder of this lock panics") = None;
            tokio::time::sleep(REST).await;
        }
    }

    /// Opens a session, makes the nodes that are missing, and sets the watch.
    async fn open(&self) -> Result<(Session, PersistentWatcher), Error> {
        let mut connector = Client::connector()
            .with_session_timeout(self.session_timeout)
            .with_connection_timeout(CONNECT_WITHIN)
            .with_fail_eagerly();
        if let Some(digest) = &self.credentials {
            connector = connector.with_auth("digest", digest.secret().as_bytes());
        }
        let connected = connector.connect(&self.servers);
        let connected = tokio::time::timeout(self.session_timeout, connected).await;
        let client = connected.unwrap_or(Err(Error::Timeout))?;
        let acls = acls(self.credentials.as_ref());
        let node = CreateMode::Persistent.with_acls(acls);
        within(client.mkdir(&self.root, &node)).await?;
        let client = client.chroot(self.root.as_str());
        let client = client.map_err(|_| Error::BadArguments(&"the root is no path"))?;
        for path in [WHITELIST, LEADER, WAKE, REVISION, WORDS] {
            within(client.mkdir(path, &node)).await?;
        }
        self.warn_of_open_nodes(&client).await;
        let (lock, unlocked, leader) = (SyncMutex::default(), Notify::new(), SyncMutex::default());
        let answers = AtomicBool::new(true);
        let session = Session { client, acls, lock, answers, unlocked, leader };
        let watcher = session.watch().await?;
        session.look_for_leader().await;
        Ok((session, watcher))
    }

    /// Tells once of nodes that others than the configured user may write. They were made
    /// before there was one: what is there keeps the access list that it has.
    async fn warn_of_open_nodes(&self, client: &Client) {
        let Some(digest) = &self.credentials else { return };
        let root = &self.root;
        let mut open = Vec::new();
        for node in ["/", WHITELIST, LEADER, WAKE, WORDS, REVISION, AUTOMATION] {
            match within(client.get_acl(node)).await {
                Ok((guards, _)) if alone_may_write(digest.user(), &guards) => {}
                Ok(_) => open.push(format!("{root}{}", node.trim_end_matches('/'))),
                Err(Error::NoNode) => {}
                // What is amiss shows in all else that is asked.
                Err(_) => return,
            }
        }
        if !open.is_empty() && !self.is_warned.swap(true, Ordering::Relaxed) {
            warn!(
                nodes = open.join(" "),
                "Others than the user of store.zookeeper.auth_file may write these nodes of \
                 ZooKeeper, and so turn hosts off and on. In zkCli.sh: addauth digest \
                 USER:PASSWORD, then setAcl -R {root} auth::cdrwa"
            );
        }
    }

    /// Uses a session until it has ended, and says why it has.
    async fn serve(&self, session: Arc<Session>, watcher: PersistentWatcher) -> String {
        let id = session.client.session_id();
        info!(store = self.shared.place, session = %id, "Connected to ZooKeeper");
        let slot = &self.shared.session;
        *slot.lock().expect("no holder of this lock panics") = Some(Arc::clone(&session));
        self.stand_as(&session);
        self.say(News::Unknown);
        tokio::select! {
            never = self.stand_for_election(&session) => match never {},
            never = self.heed_connection(&session) => match never {},
            reason = self.listen(&session, watcher) => reason,
        }
    }

    /// Leads whenever nobody else does, as long as the session lives.
    async fn stand_for_election(&self, session: &Session) -> std::convert::Infallible {
        loop {
            let latch = LockPrefix::new_curator(LEADER, LATCH).expect("these are good names");
            let lock = async {
                session.clear_latches().await?;
                session.client.lock(latch, self.name.as_bytes(), session.acls).await
            };
            match lock.await {
                Ok(lock) => {
                    session.set_lock(Some(lock.into_owned()));
                    self.stand_as(session);
                    loop {
                        session.unlocked.notified().await;
                        // It may have been told of an earlier lead.
                        if session.has_lost_the_lead().await {
                            break;
                        }
                    }
                    session.set_lock(None);
                    self.stand_as(session);
                }
                // The end of the session is noticed by whoever listens.
                Err(error) if session.is_connected() => {
                    warn!(%error, "Cannot stand for election; it is tried again");
                }
                Err(_) => {}
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Tells at once that the connection is lost, whatever is being asked, and that it is back
    /// once something was answered by it. The client takes it for back before that; where it
    /// is lost again at that moment, the client notices only by the next one, or when the
    /// session has run out.
    async fn heed_connection(&self, session: &Session) -> std::convert::Infallible {
        let mut state = session.client.state_watcher();
        loop {
            let answers = session.answers.load(Ordering::Relaxed);
            let is_ended = tokio::select! {
                biased;
                state = state.changed() => {
                    session.answers.store(false, Ordering::Relaxed);
                    state.is_terminated()
                }
                () = session.wait_answered(), if !answers => {
                    session.answers.store(true, Ordering::Relaxed);
                    false
                }
            };
            self.stand_as(session);
            if is_ended {
                // Whoever listens says why.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Listens to a session until it has ended, and says why it has.
    async fn listen(&self, session: &Session, mut watcher: PersistentWatcher) -> String {
        loop {
            let mut heard = Heard::default();
            heard.take(watcher.changed().await);
            heard.take_what_waits(&mut watcher);
            let mut seen = None;
            if heard.is_of_store() && session.is_connected() {
                // ZooKeeper tells what has changed before it answers with what has changed
                // since: then all that was written up to this revision is among the events.
                seen = glance(&session.client).await.ok();
                // A person wants all counted anew, whatever else has come before that.
                seen = seen.filter(|it| !(heard.revision && it.counted.is_none()));
                heard.take_what_waits(&mut watcher);
            }
            if let Some(reason) = heard.end {
                return reason;
            }
            if heard.connection {
                // The client forgets to renew watches of this kind when it connects anew.
                while session.is_connected() {
                    if let Ok(renewed) = session.watch().await {
                        watcher = renewed;
                        break;
                    }
                    tokio::time::sleep(REST).await;
                }
                if session.is_connected() && session.has_lost_the_lead().await {
                    session.give_up_the_lead();
                }
                self.say(News::Unknown);
            }
            if heard.election && session.is_connected() {
                session.look_for_leader().await;
                self.stand_as(session);
            }
            if session.lock_path().is_some_and(|path| heard.deleted.contains(&path)) {
                warn!("Somebody has deleted the node by which this remediator led");
                session.give_up_the_lead();
            }
            if heard.wake {
                self.say(News::Woken);
            }
            if heard.is_of_store() {
                let news = self.news_of(session, heard.documents, seen).await;
                self.say(news);
            }
        }
    }

    /// What is to be told of these documents, which were written up to this glance.
    async fn news_of(
        &self,
        session: &Session,
        documents: BTreeSet<String>,
        seen: Option<Glance>,
    ) -> News {
        let Some(glance) = seen else { return News::Unknown };
        let news = match self.shared.recognise(&glance) {
            Ok(()) => {
                self.shared.revisions.keep(glance.revision);
                reread(&self.shared, &session.client, documents, &glance).await
            }
            Err(StoreError::Uncounted { .. }) => return News::Unknown,
            Err(_) => Ok(News::Strange),
        };
        if matches!(news, Ok(News::Strange)) {
            self.shared.is_suspect.store(true, Ordering::SeqCst);
        }
        news.unwrap_or(News::Unknown)
    }

    fn say(&self, news: News) {
        // Nobody listens any more where the store is gone.
        self.tell.send(news).ok();
    }

    /// Tells how this process stands in a session that has not ended.
    fn stand_as(&self, session: &Session) {
        let is_connected = session.is_connected() && session.answers.load(Ordering::Relaxed);
        self.stand(if !is_connected {
            Standing::Away("the connection to ZooKeeper is lost".into())
        } else if session.lock_path().is_some() {
            Standing::Leads
        } else {
            let leader = session.leader.lock().expect("no holder of this lock panics").clone();
            Standing::Follows { leader }
        });
    }

    fn stand(&self, standing: Standing) {
        let is_news = self.shared.standing.send_if_modified(|former| {
            let is_news = *former != standing;
            former.clone_from(&standing);
            is_news
        });
        if !is_news {
            return;
        }
        let store = &self.shared.place;
        match standing {
            Standing::Away(reason) => {
                self.shared.speakers.forget();
                warn!(store, reason, "The store is away: nothing changes until it is back");
            }
            Standing::Follows { leader: Some(leader) } => info!(leader, "Another remediator leads"),
            Standing::Follows { leader: None } => info!("No remediator leads yet"),
            Standing::Leads => info!("This remediator leads"),
        }
    }
}

/// What events tell, taken together.
#[derive(Default)]
struct Heard {
    /// Documents that were written or deleted.
    documents: BTreeSet<String>,
    /// Whether there was a transaction, or somebody wants the documents counted anew.
    revision: bool,
    /// Nodes that were deleted.
    deleted: BTreeSet<String>,
    wake: bool,
    /// Whether somebody has come to the election, or gone.
    election: bool,
    /// Whether the connection was lost or is back, so that events may have been missed.
    connection: bool,
    /// Why the session has ended, if it has.
    end: Option<String>,
}

impl Heard {
    /// Whether there are news of what is stored.
    fn is_of_store(&self) -> bool {
        self.revision || !self.documents.is_empty()
    }

    /// Takes the events that have come so far. After the last of a session there is none.
    fn take_what_waits(&mut self, watcher: &mut PersistentWatcher) {
        while self.end.is_none()
            && let Some(event) = watcher.changed().now_or_never()
        {
            self.take(event);
        }
    }

    fn take(&mut self, event: WatchedEvent) {
        let WatchedEvent { event_type, session_state, path, .. } = event;
        match event_type {
            EventType::Session if session_state.is_terminated() => {
                self.end = Some(match session_state {
                    SessionState::Expired => "the session has expired".into(),
                    SessionState::AuthFailed => explain(&Error::AuthFailed),
                    _ => "the session was closed".into(),
                });
            }
            EventType::Session => self.connection = true,
            _ if path == WAKE => self.wake = true,
            _ if path == REVISION => self.revision = true,
            _ => {
                let document = path.trim_start_matches('/');
                self.election |= path.starts_with(LEADER) && path != LEADER;
                if document == "automation" || document.starts_with("whitelist/") {
                    self.documents.insert(document.to_owned());
                }
                if event_type == EventType::NodeDeleted {
                    self.deleted.insert(path);
                }
            }
        }
    }
}

/// What went wrong, for people.
fn explain(error: &Error) -> String {
    match error {
        Error::AuthFailed => {
            "ZooKeeper refuses the credentials of store.zookeeper.auth_file".into()
        }
        Error::NoAuth => "the nodes belong to another user of ZooKeeper's: see \
                          store.zookeeper.auth_file"
            .into(),
        Error::NoHosts | Error::Timeout | Error::ConnectionLoss => {
            "no server of ZooKeeper answers".into()
        }
        error => error.to_string(),
    }
}
