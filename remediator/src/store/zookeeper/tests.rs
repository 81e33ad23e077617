//! Against a real ZooKeeper.

mod size;

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use satellite_tests::{run::Run, way::Way, zookeeper::ZooKeeper};
use satellite_toolkit::exit::chain;

use super::*;
use crate::store::contract::{self, put};

const SESSION: Duration = Duration::from_secs(4);

fn start(name: &str) -> (Arc<Run>, ZooKeeper) {
    let run = Run::start(name).unwrap();
    let zookeeper = ZooKeeper::start(&run).unwrap();
    (run, zookeeper)
}

fn config(server: &str) -> Config {
    Config {
        servers: vec![server.to_owned()],
        root: "/satellite/lab".into(),
        session_timeout: SESSION,
        auth_file: None,
        journal_path: PathBuf::new(),
    }
}

async fn stands(store: &ZooKeeperStore, wanted: impl Fn(&Standing) -> bool) -> Standing {
    let mut standing = store.standing();
    let found = tokio::time::timeout(4 * SESSION, standing.wait_for(wanted)).await;
    found
        .unwrap_or_else(|_| panic!("it stands otherwise: {:?}", store.standing().borrow()))
        .unwrap()
        .clone()
}

/// A store, once it leads.
async fn leading(server: &str) -> ZooKeeperStore {
    let store = ZooKeeperStore::open(&config(server), None, "first");
    stands(&store, |standing| *standing == Standing::Leads).await;
    store
}

/// A store, once it knows that [`leading`] does.
async fn following(server: &str) -> ZooKeeperStore {
    let store = ZooKeeperStore::open(&config(server), None, "second");
    stands(&store, |standing| *standing == follows("first")).await;
    store
}

fn follows(leader: &str) -> Standing {
    Standing::Follows { leader: Some(leader.to_owned()) }
}

/// The next news that are of documents.
async fn heard(store: &ZooKeeperStore) -> BTreeMap<String, Option<Stored>> {
    loop {
        let news = tokio::time::timeout(SESSION, store.news()).await.expect("there are news");
        if let News::Documents { documents, .. } = news {
            return documents;
        }
    }
}

/// All that is in the store, once it can be read.
async fn loaded(store: &ZooKeeperStore) -> Contents {
    let loaded = async {
        loop {
            match store.load().await {
                Ok(contents) => return contents,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(4 * SESSION, loaded).await.expect("it can be read")
}

/// Hears all that there is to hear so far.
async fn hear_all(store: &ZooKeeperStore) {
    let quiet = Duration::from_millis(300);
    while tokio::time::timeout(quiet, store.news()).await.is_ok() {}
}

/// A way to a server.
fn way(zookeeper: &ZooKeeper) -> Way {
    Way::to(&zookeeper.addresses(), Ipv4Addr::LOCALHOST).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_a_store_needs_zookeeper() {
    let (run, zookeeper) = start("store-contract");
    let server = zookeeper.address().to_owned();
    let store = leading(&server).await;
    contract::holds(store, async |store| {
        drop(store);
        Box::new(leading(&server).await) as Box<dyn Store>
    })
    .await;
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_writes_the_other_hears_and_only_one_leads_needs_zookeeper() {
    let (run, zookeeper) = start("store-two");
    let leader = leading(zookeeper.address()).await;
    let other = following(zookeeper.address()).await;
    let refused =
        contract::write(&other, vec![put("automation", None, "{}")], Writer::Automation).await;
    assert!(matches!(refused, Err(StoreError::NotLeading)), "{refused:?}");
    contract::write(&other, vec![put("whitelist/h1", None, "1")], Writer::Person).await.unwrap();
    let news = heard(&leader).await;
    let stored = news["whitelist/h1"].as_ref().unwrap();
    assert_eq!((stored.data.as_slice(), stored.version), (b"1".as_slice(), 1));
    let contents = leader.load().await.unwrap();
    assert_eq!(contents, other.load().await.unwrap());
    assert_eq!(contents.documents["whitelist/h1"], *stored);
    let remove = Write { path: "whitelist/h1".into(), expected: Some(1), data: None };
    contract::write(&leader, vec![remove], Writer::Automation).await.unwrap();
    while heard(&other).await.get("whitelist/h1") != Some(&None) {}
    other.wake().await;
    let woken = async { while !matches!(leader.news().await, News::Woken) {} };
    tokio::time::timeout(SESSION, woken).await.unwrap();
    leader.close().await;
    assert!(leader.term().is_none() || other.term().is_none());
    stands(&other, |standing| *standing == Standing::Leads).await;
    contract::write(&other, vec![put("automation", None, "{}")], Writer::Automation).await.unwrap();
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_cut_off_for_too_long_leads_no_more_and_knows_it_needs_zookeeper() {
    let (run, zookeeper) = start("store-cut");
    let way = way(&zookeeper);
    let first = leading(&way.addresses()[0]).await;
    let second = following(zookeeper.address()).await;
    let stale = first.shared.session().unwrap();
    hear_all(&first).await;
    way.cut();
    stands(&first, |standing| matches!(standing, Standing::Away(_))).await;
    let refused =
        contract::write(&first, vec![put("automation", None, "{}")], Writer::Automation).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert!(first.load().await.is_err());
    stands(&second, |standing| *standing == Standing::Leads).await;
    contract::write(&second, vec![put("automation", None, "of the second")], Writer::Automation)
        .await
        .unwrap();
    way.mend();
    stands(&first, |standing| *standing == follows("second")).await;
    let fence = stale.lock_path().unwrap();
    let late = [put("automation", Some(1), "of the first")];
    let session = first.shared.session().unwrap();
    let seen = first.load().await.unwrap().revision;
    let refused = first.commit(&session, &late, &fence, seen).await;
    assert!(matches!(refused, Err(StoreError::NotLeading)), "{refused:?}");
    let missed = async { while !matches!(first.news().await, News::Unknown) {} };
    tokio::time::timeout(SESSION, missed).await.unwrap();
    let contents = first.load().await.unwrap();
    assert_eq!(contents.documents["automation"].data, b"of the second");
    run.succeed();
}

/// No connection ends: both ends have to find out by themselves, and this one first.
#[tokio::test(flavor = "multi_thread")]
async fn who_hears_nothing_more_leads_no_more_before_another_does_needs_zookeeper() {
    let (run, zookeeper) = start("store-silent");
    let way = way(&zookeeper);
    let first = leading(&way.addresses()[0]).await;
    let second = following(zookeeper.address()).await;
    contract::write(&first, vec![put("automation", None, "of the first")], Writer::Automation)
        .await
        .unwrap();
    let seen = first.load().await.unwrap().revision;
    way.silence();
    // It may be on its way, and never arrives: its session ends first.
    let late = vec![put("automation", Some(1), "late")];
    let refused = first.write(late, Writer::Automation, seen).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    stands(&second, |standing| *standing == Standing::Leads).await;
    let standing = first.standing().borrow().clone();
    assert!(matches!(standing, Standing::Away(_)), "two lead: {standing:?}");
    way.mend();
    stands(&first, |standing| *standing == follows("second")).await;
    let contents = second.load().await.unwrap();
    assert_eq!(contents.documents["automation"].data, b"of the first");
    assert_eq!(first.load().await.unwrap(), contents);
    run.succeed();
}

/// The session goes on by another server, and so does the lead: what is still on its way to
/// the first is refused by nobody but ZooKeeper.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_a_server_that_fell_silent_never_arrives_needs_zookeeper() {
    let run = Run::start("store-server").unwrap();
    let zookeeper = ZooKeeper::start_ensemble(&run, 3).unwrap();
    let way = |server| Way::to(&[server], Ipv4Addr::LOCALHOST).unwrap();
    let ways: Vec<Way> = zookeeper.addresses().into_iter().map(way).collect();
    let servers: Vec<&str> = ways.iter().map(|way| way.addresses()[0].as_str()).collect();
    let store = leading(&servers.join(",")).await;
    let mut written = Vec::new();
    for (at, way) in ways.iter().enumerate() {
        let host = format!("whitelist/h{at}");
        way.silence();
        match contract::write(&store, vec![put(&host, None, "1")], Writer::Automation).await {
            Ok(_) => written.push(host),
            Err(StoreError::Unavailable { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        let has_only_what_was_answered = |contents: Contents| {
            assert!(contents.documents.into_keys().eq(written.iter().cloned()), "{written:?}");
        };
        has_only_what_was_answered(loaded(&store).await);
        way.mend();
        let until = tokio::time::Instant::now() + SESSION / 4;
        while tokio::time::Instant::now() < until {
            has_only_what_was_answered(loaded(&store).await);
        }
        stands(&store, |standing| *standing == Standing::Leads).await;
    }
    assert!(written.len() < ways.len(), "one of them was in use");
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_break_costs_no_lead_and_what_was_missed_is_read_again_needs_zookeeper() {
    let (run, zookeeper) = start("store-break");
    let way = way(&zookeeper);
    let first = leading(&way.addresses()[0]).await;
    let second = following(zookeeper.address()).await;
    hear_all(&first).await;
    way.cut();
    stands(&first, |standing| matches!(standing, Standing::Away(_))).await;
    contract::write(&second, vec![put("whitelist/h1", None, "1")], Writer::Person).await.unwrap();
    way.mend();
    stands(&first, |standing| *standing == Standing::Leads).await;
    let missed = async { while !matches!(first.news().await, News::Unknown) {} };
    tokio::time::timeout(SESSION, missed).await.unwrap();
    assert_eq!(first.load().await.unwrap().documents["whitelist/h1"].data, b"1");
    contract::write(&second, vec![put("whitelist/h1", Some(1), "2")], Writer::Person)
        .await
        .unwrap();
    assert_eq!(heard(&first).await["whitelist/h1"].as_ref().unwrap().data, b"2");
    contract::write(&first, vec![put("automation", None, "{}")], Writer::Automation).await.unwrap();
    run.succeed();
}

/// It is asking something whenever it has just connected.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_again_at_once_is_noticed_at_once_needs_zookeeper() {
    let (run, zookeeper) = start("store-again");
    let way = way(&zookeeper);
    let store = leading(&way.addresses()[0]).await;
    for _ in 0..20 {
        way.cut();
        let mut standing = store.standing();
        let away = standing.wait_for(|standing| matches!(standing, Standing::Away(_)));
        let away = tokio::time::timeout(SESSION / 2, away).await;
        away.expect("it leads, and its session runs out").unwrap();
        way.mend();
        stands(&store, |standing| *standing == Standing::Leads).await;
    }
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_password_alone_reads_and_writes_needs_zookeeper() {
    let (run, zookeeper) = start("store-digest");
    let credentials = |text: &str| Some(Digest::parse(text).unwrap());
    let config = config(zookeeper.address());
    let owner = ZooKeeperStore::open(&config, credentials("satellite:secret\n"), "owner");
    stands(&owner, |standing| *standing == Standing::Leads).await;
    contract::write(&owner, vec![put("whitelist/h1", None, "1")], Writer::Person).await.unwrap();
    for other in [None, credentials("satellite:guessed")] {
        let other = ZooKeeperStore::open(&config, other, "other");
        let refused =
            stands(&other, |it| matches!(it, Standing::Away(why) if why.contains("auth_file")))
                .await;
        assert!(!format!("{refused:?}").contains("guessed"));
        assert!(other.load().await.is_err());
    }
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_takes_as_much_as_it_says_and_no_more_needs_zookeeper() {
    let (run, zookeeper) = start("store-size");
    let store = leading(zookeeper.address()).await;
    let documents = |count: usize| -> Vec<Write> {
        let data = "x".repeat(1_000);
        (0..count).map(|at| put(&format!("whitelist/host-{at:035}"), None, &data)).collect()
    };
    let fits = MAX_WRITE / size(&documents(1)[0]);
    let refused = contract::write(&store, documents(fits + 1), Writer::Automation).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    contract::write(&store, documents(fits), Writer::Automation).await.unwrap();
    assert_eq!(store.load().await.unwrap().documents.len(), fits);
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_take_less_than_by_default_are_told_of_needs_zookeeper() {
    let run = Run::start("store-low").unwrap();
    let zookeeper = ZooKeeper::start_with(&run, &["-Djute.maxbuffer=100000"]).unwrap();
    let store = leading(zookeeper.address()).await;
    let large = "x".repeat(10_000);
    let writes = (0..20).map(|at| put(&format!("whitelist/h{at}"), None, &large)).collect();
    let refused = contract::write(&store, writes, Writer::Automation).await.unwrap_err();
    let told = chain(&refused);
    assert!(told.contains("jute.maxbuffer"), "{told}");
    // It goes on, with a new connection, and has nothing of it.
    let contents = loaded(&store).await;
    assert!(contents.documents.is_empty(), "{contents:?}");
    stands(&store, |standing| *standing == Standing::Leads).await;
    contract::write(&store, vec![put("automation", None, "{}")], Writer::Automation).await.unwrap();
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_node_is_deleted_leads_no_more_and_stands_again_needs_zookeeper() {
    let (run, zookeeper) = start("store-deleted");
    let store = leading(zookeeper.address()).await;
    let term = store.term().unwrap();
    let client = Client::connect(zookeeper.address()).await.unwrap();
    client.delete(&format!("/satellite/lab{term}"), None).await.unwrap();
    let mut standing = store.standing();
    let anew = standing.wait_for(|standing| {
        *standing == Standing::Leads && store.term().is_some_and(|now| now != term)
    });
    tokio::time::timeout(4 * SESSION, anew).await.expect("it leads anew").unwrap();
    contract::write(&store, vec![put("automation", None, "{}")], Writer::Automation).await.unwrap();
    run.succeed();
}

/// As an attempt leaves it whose answer was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_left_of_an_attempt_stands_in_nobody_s_way_needs_zookeeper() {
    let (run, zookeeper) = start("store-left");
    let store = leading(zookeeper.address()).await;
    let session = store.shared.session().unwrap();
    let left = format!("{LEADER}/_c_0-latch-0000000000");
    let ephemeral = CreateMode::Ephemeral.with_acls(session.acls);
    session.client.create(&left, b"", &ephemeral).await.unwrap();
    let term = store.term().unwrap();
    session.client.delete(&term, None).await.unwrap();
    let mut standing = store.standing();
    let anew = standing.wait_for(|standing| {
        *standing == Standing::Leads && store.term().is_some_and(|now| now != term)
    });
    tokio::time::timeout(4 * SESSION, anew).await.expect("it leads anew").unwrap();
    run.succeed();
}

/// A client that is no remediator's.
async fn stranger(zookeeper: &ZooKeeper) -> Client {
    let client = Client::connect(zookeeper.address()).await.unwrap();
    client.chroot("/satellite/lab").unwrap()
}

async fn until_in_doubt(store: &ZooKeeperStore) {
    let doubt = async { while !matches!(store.news().await, News::Strange) {} };
    tokio::time::timeout(SESSION, doubt).await.expect("it hears of it");
}

/// All that is stored is to be read again.
async fn until_unknown(store: &ZooKeeperStore) {
    let unknown = async { while !matches!(store.news().await, News::Unknown) {} };
    tokio::time::timeout(SESSION, unknown).await.expect("it hears of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_stranger_deletes_is_missed_needs_zookeeper() {
    let (run, zookeeper) = start("store-missed");
    let first = leading(zookeeper.address()).await;
    let second = following(zookeeper.address()).await;
    let hosts = ["automation", "whitelist/h1", "whitelist/h2"];
    let writes = hosts.map(|host| put(host, None, "1")).to_vec();
    let seen = contract::write(&first, writes, Writer::Automation).await.unwrap();
    for store in [&first, &second] {
        hear_all(store).await;
    }
    let stranger = stranger(&zookeeper).await;
    stranger.delete("/whitelist/h1", None).await.unwrap();
    for store in [&first, &second] {
        until_in_doubt(store).await;
        let refused = store.load().await;
        assert!(
            matches!(refused, Err(StoreError::Miscounted { counted: 3, found: 2, .. })),
            "{refused:?}"
        );
    }
    // Whoever has heard of it writes nothing that could hide it.
    let other = vec![put("whitelist/h4", None, "1")];
    let refused = first.write(other.clone(), Writer::Person, seen).await;
    assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "{refused:?}");
    stranger.set_data(REVISION, b"", None).await.unwrap();
    let seen = second.load().await.unwrap().revision;
    second.write(other, Writer::Person, seen).await.unwrap();
    // Counted anew, at once.
    stranger.delete("/whitelist/h2", None).await.unwrap();
    let refused = second.load().await;
    assert!(
        matches!(&refused, Err(StoreError::Miscounted { counted: 3, found: 2, .. })),
        "{refused:?}"
    );
    stranger.delete(REVISION, None).await.unwrap();
    let refused = second.load().await;
    assert!(matches!(refused, Err(StoreError::Remade { .. })), "{refused:?}");
    run.succeed();
}

/// Else it would begin a store anew that is not new, and forget a pause.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_starts_misses_what_automation_knew_needs_zookeeper() {
    let (run, zookeeper) = start("store-automation");
    let store = leading(zookeeper.address()).await;
    let stranger = stranger(&zookeeper).await;
    let loaded_afresh = async || {
        let fresh = ZooKeeperStore::open(&config(zookeeper.address()), None, "fresh");
        stands(&fresh, |standing| *standing == follows("first")).await;
        fresh.load().await
    };
    // Before it has begun nothing is missed: whoever else writes may be the predecessor.
    contract::write(&store, vec![put("whitelist/h1", None, "1")], Writer::Person).await.unwrap();
    stranger.delete("/whitelist/h1", None).await.unwrap();
    assert!(loaded_afresh().await.unwrap().documents.is_empty());
    let begun = ["automation", "whitelist/h2"].map(|path| put(path, None, "1")).to_vec();
    contract::write(&store, begun, Writer::Automation).await.unwrap();
    stranger.delete("/automation", None).await.unwrap();
    let missed = loaded_afresh().await;
    let Err(StoreError::Miscounted { counted: 2, found: 1, there, .. }) = &missed else {
        panic!("{missed:?}")
    };
    assert!(there.iter().eq(["whitelist/h2"]), "{there:?}");
    until_in_doubt(&store).await;
    stranger.set_data(REVISION, b"", None).await.unwrap();
    until_unknown(&store).await;
    assert!(loaded_afresh().await.unwrap().documents.keys().eq(["whitelist/h2"]));
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_a_stranger_writes_or_puts_in_the_place_of_another_is_seen_needs_zookeeper()
{
    let (run, zookeeper) = start("store-strangers");
    let store = leading(zookeeper.address()).await;
    let stranger = stranger(&zookeeper).await;
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    // Before a store is begun they may be the predecessor's.
    stranger.create("/whitelist/h1", b"1", &open).await.unwrap();
    assert!(store.load().await.unwrap().strangers.is_empty());
    let begun = ["automation", "whitelist/h2"].map(|path| put(path, None, "1")).to_vec();
    contract::write(&store, begun, Writer::Automation).await.unwrap();
    let count_anew = async || {
        stranger.set_data(REVISION, b"", None).await.unwrap();
        let contents = store.load().await.unwrap();
        assert!(contents.strangers.is_empty(), "{contents:?}");
        hear_all(&store).await;
        contents.documents
    };
    count_anew().await;
    // Counted anew of itself, too: what is deleted next must be missed.
    stranger.set_data(REVISION, b"", None).await.unwrap();
    until_unknown(&store).await;
    count_anew().await;
    let seen = store.load().await.unwrap().revision;
    stranger.set_data("/whitelist/h1", b"2", None).await.unwrap();
    // Nothing is decided on what a stranger wrote, nor made to look like ours.
    let late = vec![put("whitelist/h1", Some(1), "3")];
    let refused = store.write(late, Writer::Person, seen).await;
    assert!(
        matches!(
            refused,
            Err(StoreError::Conflict { found: None, .. } | StoreError::Overtaken { .. })
        ),
        "{refused:?}"
    );
    until_in_doubt(&store).await;
    let other = vec![put("whitelist/h9", None, "1")];
    let refused = store.write(other, Writer::Person, seen).await;
    assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "{refused:?}");
    assert!(store.load().await.unwrap().strangers.iter().eq(["whitelist/h1"]));
    assert_eq!(count_anew().await["whitelist/h1"].data, b"2");
    stranger.delete("/whitelist/h1", None).await.unwrap();
    stranger.create("/whitelist/h3", b"1", &open).await.unwrap();
    until_in_doubt(&store).await;
    let refused = store.load().await;
    let Err(StoreError::Miscounted { counted: 3, found: 3, there, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert!(there.iter().eq(["automation", "whitelist/h2", "whitelist/h3"]), "{there:?}");
    assert!(count_anew().await.contains_key("whitelist/h3"));
    // What remediators make and remove is on count.
    let writes = vec![put("whitelist/h1", None, "1"), put("whitelist/h4", None, "1")];
    contract::write(&store, writes, Writer::Automation).await.unwrap();
    let gone = Write { path: "whitelist/h3".into(), expected: Some(1), data: None };
    contract::write(&store, vec![gone], Writer::Person).await.unwrap();
    assert_eq!(store.load().await.unwrap().documents.len(), 4);
    run.succeed();
}

/// Whenever it comes: before, between and after the requests of which reading consists.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_deletes_while_all_is_read_is_missed_needs_zookeeper() {
    const HOSTS: usize = 3_000;
    const DELETED: usize = 50;
    let (run, zookeeper) = start("store-reading");
    let store = leading(zookeeper.address()).await;
    let host = |at: usize| format!("whitelist/h{at}");
    contract::write(&store, vec![put("automation", None, "{}")], Writer::Automation).await.unwrap();
    for first in (0..HOSTS).step_by(1_000) {
        let writes = (first..first + 1_000).map(|at| put(&host(at), None, "1")).collect();
        contract::write(&store, writes, Writer::Automation).await.unwrap();
    }
    let stranger = stranger(&zookeeper).await;
    let open = CreateMode::Persistent.with_acls(Acls::anyone_all());
    for delay in (0..50).step_by(2).map(Duration::from_millis) {
        let delete = async {
            tokio::time::sleep(delay).await;
            let deleted = (0..DELETED).map(|at| stranger.delete(&format!("/{}", host(at)), None));
            futures::future::try_join_all(deleted).await.unwrap();
        };
        match futures::join!(store.load(), delete).0 {
            Ok(contents) => assert_eq!(contents.documents.len(), HOSTS + 1, "after {delay:?}"),
            Err(StoreError::Miscounted { counted, .. }) => assert_eq!(counted, HOSTS + 1),
            Err(error) => panic!("{error:?}"),
        }
        for at in 0..DELETED {
            stranger.create(&format!("/{}", host(at)), b"1", &open).await.unwrap();
        }
    }
    run.succeed();
}

/// Its node is there until its session has run out.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_died_is_not_taken_for_one_that_lives_needs_zookeeper() {
    let (run, zookeeper) = start("store-words");
    let way = way(&zookeeper);
    let dead = leading(&way.addresses()[0]).await;
    let alive = following(zookeeper.address()).await;
    let say = async |store: &ZooKeeperStore, name: &str| {
        store.exchange(name.to_owned(), "list".to_owned()).await.unwrap()
    };
    say(&dead, "dead").await;
    way.cut();
    let first = say(&alive, "alive").await;
    assert!(!first.are_settled && first.by_subject.len() == 2, "{first:?}");
    let settled = async {
        loop {
            let words = say(&alive, "alive").await;
            if words.are_settled {
                return words.by_subject;
            }
            tokio::time::sleep(SESSION / 20).await;
        }
    };
    let settled = tokio::time::timeout(6 * SESSION, settled).await.expect("it is sure once");
    assert!(settled.keys().eq(["alive"]), "{settled:?}");
    run.succeed();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_made_anew_is_another_one_needs_zookeeper() {
    let (run, zookeeper) = start("store-anew");
    let server = zookeeper.address();
    let store = leading(server).await;
    contract::write(&store, vec![put("whitelist/h1", None, "1")], Writer::Person).await.unwrap();
    let stranger = stranger(&zookeeper).await;
    stranger.delete("/whitelist/h1", None).await.unwrap();
    stranger.delete(REVISION, None).await.unwrap();
    assert!(store.load().await.is_err());
    let fresh = ZooKeeperStore::open(&config(server), None, "second");
    stands(&fresh, |standing| *standing == follows("first")).await;
    assert!(fresh.load().await.unwrap().documents.is_empty());
    let refused = store.load().await;
    assert!(matches!(refused, Err(StoreError::Remade { .. })), "{refused:?}");
    run.succeed();
}
