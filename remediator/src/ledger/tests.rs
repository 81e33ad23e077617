use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use satellite_core::{Automation, HostDocument, Verdict};
use tokio_util::sync::CancellationToken;

use super::{documents::path_of, *};
use crate::store::{Contents, News, Stored, Write, Writer};

/// Automation's document in a store that is begun.
const BEGUN: &[u8] = br#"{"schema":1,"first-start":{"at":"2027-01-15T08:00:00Z","had-file":true,
    "adopt-until":"2027-01-15T08:10:00Z"},"holds":[],"offs":[]}"#;

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

/// The predecessor's document of a host, as it wrote it.
fn of_the_predecessor(managed: &str) -> Vec<u8> {
    let flags = format!(r#""managed-flag":"{managed}","manual-flag":null"#);
    format!(r#"{{"managed-events":{{}},"manual-events":{{}},{flags}}}"#).into_bytes()
}

#[tokio::test]
async fn what_the_predecessor_writes_while_it_is_continued_is_decided_on_anew() {
    let contents = Arc::<std::sync::Mutex<Contents>>::default();
    let host: HostName = "h1.lab".parse().unwrap();
    let put = |expected, data: Vec<u8>| {
        let mut contents = contents.lock().unwrap();
        let write = Write { path: path_of(&host), expected, data: Some(data) };
        let seen = contents.revision;
        contents.apply(vec![write], seen).unwrap();
    };
    put(None, of_the_predecessor("on"));
    let store = Box::new(Lent(Arc::clone(&contents)));
    let ledger = Ledger::load(store, Readiness::default()).await.unwrap();
    let kept = |ledger: &Ledger| ledger.read().state().inherited[&host].verdict();
    assert_eq!(kept(&ledger), Verdict::On);
    let desk = ledger.desk().await.unwrap();
    put(Some(1), of_the_predecessor("off"));
    let document = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
    let batch = Batch::of_host(&host, &document);
    let refused = desk.commit(&batch, Writer::Automation).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(kept(&ledger), Verdict::Off, "the next attempt is decided on this");
    ledger.doubt();
    drop(desk);
    let desk = ledger.desk().await.unwrap();
    desk.commit(&batch, Writer::Automation).await.unwrap();
    assert!(desk.read().state().inherited.is_empty());
    assert_eq!(desk.read().version(&host), 3);
}

#[tokio::test]
async fn once_begun_what_the_predecessor_writes_is_not_taken() {
    let contents = Arc::<std::sync::Mutex<Contents>>::default();
    let begun = br#"{"schema":1,"first-start":{"at":"2026-01-01T00:00:00Z","had-file":true}}"#;
    let writes = [("automation", begun.to_vec()), ("whitelist/h1.lab", of_the_predecessor("on"))];
    let writes = writes.map(|(path, data)| Write {
        path: path.to_owned(),
        expected: None,
        data: Some(data),
    });
    contents.lock().unwrap().apply(writes.into(), 0).unwrap();
    let store = Box::new(Lent(Arc::clone(&contents)));
    let refused = Ledger::load(store, Readiness::default()).await.err().unwrap();
    assert!(matches!(&refused, LedgerError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("whitelist/h1.lab"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn i23_documents_of_which_a_part_is_newer_are_made_whole_before_a_list_follows() {
    let contents = Arc::<std::sync::Mutex<Contents>>::default();
    let store = Box::new(Lent(Arc::clone(&contents)));
    let ledger = Ledger::load(store, Readiness::default()).await.unwrap();
    let host: HostName = "h1.lab".parse().unwrap();
    let document = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH).encode();
    let put = |path: &str, data: &[u8]| Write {
        path: path.to_owned(),
        expected: None,
        data: Some(data.to_vec()),
    };
    // Another one begins the store.
    let begun = vec![put("automation", BEGUN), put("whitelist/h1.lab", &document)];
    contents.lock().unwrap().apply(begun, 0).unwrap();
    let automation = Automation::default();
    let desk = ledger.desk().await.unwrap();
    let batch = Batch { automation: Some(&automation), ..Batch::default() };
    let refused = desk.commit(&batch, Writer::Person).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    drop(desk);
    // Of all that it has written, this is one.
    assert!(ledger.read().is_begun() && !ledger.read().are_whole());
    assert!(ledger.become_whole().await);
    let documents = ledger.read();
    assert!(documents.are_whole() && documents.hosts.contains_key(&host));
}

/// A shared store of which somebody else has deleted what is written next.
struct Robbed(Lent);

impl Store for Robbed {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        if self.0.0.lock().unwrap().documents.len() == 2 {
            return self.0.load();
        }
        let (place, node) = ("s".to_owned(), "n".to_owned());
        let there = BTreeSet::from(["automation".to_owned()]);
        let strangers = BTreeSet::new();
        let error = StoreError::Miscounted { place, node, counted: 2, found: 1, there, strangers };
        std::future::ready(Err(error)).boxed()
    }

    fn write(
        &self,
        writes: Vec<Write>,
        writer: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.0.lock().unwrap().documents.remove(&writes[0].path);
        self.0.write(writes, writer, seen)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn i5_a_document_that_is_gone_at_a_write_is_not_forgotten_before_all_is_read() {
    let host: HostName = "h1.lab".parse().unwrap();
    let on = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
    let contents = Arc::<std::sync::Mutex<Contents>>::default();
    let writes = [("automation".to_owned(), BEGUN.to_vec()), (path_of(&host), on.encode())];
    let writes = writes.map(|(path, data)| Write { path, expected: None, data: Some(data) });
    contents.lock().unwrap().apply(writes.into(), 0).unwrap();
    let store = Box::new(Robbed(Lent(contents)));
    let ledger = Ledger::load(store, Readiness::default()).await.unwrap();
    let off = HostDocument::new(Verdict::Off, Timestamp::UNIX_EPOCH);
    let desk = ledger.desk().await.unwrap();
    let refused = desk.commit(&Batch::of_host(&host, &off), Writer::Person).await;
    assert!(matches!(refused, Err(StoreError::Conflict { found: None, .. })), "{refused:?}");
    drop(desk);
    let refused = chain(&ledger.desk().await.err().unwrap());
    assert!(refused.contains("(gone: whitelist/h1.lab)"), "{refused}");
    assert!(ledger.read().hosts.contains_key(&host), "a list without it would follow");
}

/// A shared store that cannot be read, and tells what somebody has written.
struct Heard(std::sync::Mutex<Option<News>>);

impl Store for Heard {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let error = StoreError::Unavailable { operation: "read", place: "s".into(), source };
        std::future::ready(Err(error)).boxed()
    }

    fn write(&self, _: Vec<Write>, _: Writer, seen: u64) -> BoxFuture<'_, Result<u64, StoreError>> {
        std::future::ready(Err(StoreError::Overtaken { seen })).boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn news(&self) -> BoxFuture<'_, News> {
        match self.0.lock().unwrap().take() {
            Some(news) => std::future::ready(news).boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

#[tokio::test]
async fn i5_beside_what_cannot_be_read_nothing_is_taken_for_gone() {
    let [known, gone]: [HostName; 2] = ["h1.lab", "h2.lab"].map(|it| it.parse().unwrap());
    let on = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH).encode();
    let contents = Arc::<std::sync::Mutex<Contents>>::default();
    let writes = [("automation".to_owned(), BEGUN), (path_of(&known), &on), (path_of(&gone), &on)];
    let writes =
        writes.map(|(path, data)| Write { path, expected: None, data: Some(data.to_vec()) });
    contents.lock().unwrap().apply(writes.into(), 0).unwrap();
    let ledger = Ledger::load(Box::new(Lent(contents)), Readiness::default()).await.unwrap();
    let data = of_the_predecessor("on");
    let foreign = Some(Stored { data, version: 1, revision: 9 });
    let news = BTreeMap::from([(path_of(&gone), None), ("whitelist/h9.lab".to_owned(), foreign)]);
    ledger.take_news(news, 9, 9);
    assert!(ledger.is_in_doubt() && ledger.read().hosts.contains_key(&gone));
}

#[tokio::test(start_paused = true)]
async fn i23_nothing_follows_from_what_is_heard_before_all_was_read() {
    let host = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH).encode();
    let stored = |data: &[u8]| Some(Stored { data: data.to_vec(), version: 9, revision: 9 });
    let documents = [("automation", stored(BEGUN)), ("whitelist/h1.lab", stored(&host))];
    let documents = documents.map(|(path, stored)| (path.to_owned(), stored)).into();
    let news = News::Documents { documents, gone_at: 9, revision: 9 };
    let store = Box::new(Heard(std::sync::Mutex::new(Some(news))));
    let ledger = Ledger::unread(store, Readiness::default());
    let heard = Notify::new();
    let follow = ledger.follow(&heard, CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(60), follow).await.unwrap_err();
    let documents = ledger.read();
    assert!(!documents.is_begun() && documents.hosts.is_empty());
}
