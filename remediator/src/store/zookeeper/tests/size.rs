//! As many hosts as a very large cluster has, in a ZooKeeper with its own limits.
//!
//! With `SATELLITE_LONG_CASES=1` there are 30 000 of them, in an ensemble of three servers:
//! what one of them passes on to the others is limited, too.

use std::sync::Arc;

use jiff::Timestamp;
use satellite_core::{Automation, HostDocument, HostName, Verdict, document::FirstStart};
use satellite_toolkit::lifecycle::Readiness;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ledger::{Batch, Ledger};

/// More than a transaction takes.
const MANY: usize = 4_000;
/// More than a program of ZooKeeper's own reads the names of.
const VERY_MANY: usize = 30_000;
/// Each document is read by itself.
const READ_WITHIN: Duration = Duration::from_secs(60);

fn is_long() -> bool {
    std::env::var_os("SATELLITE_LONG_CASES").is_some()
}

/// Names of 40 characters.
fn hosts() -> Vec<HostName> {
    let name = |at| format!("node-{at:06}.rack-0001.zone-a.example.com");
    let count = if is_long() { VERY_MANY } else { MANY };
    let names: Vec<String> = (0..count).map(name).collect();
    assert!(names.iter().all(|name| name.len() == 40), "{}", names[0]);
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// A ledger on the store, and what keeps it in step with what others write.
fn ledger(store: ZooKeeperStore) -> (Arc<Ledger>, JoinHandle<()>) {
    let ledger = Arc::new(Ledger::unread(Box::new(store), Readiness::default()));
    let follow = Arc::clone(&ledger);
    let follow = async move { follow.follow(&Notify::new(), CancellationToken::new()).await };
    (ledger, tokio::spawn(follow))
}

/// Waits until the ledger knows what is looked for.
async fn knows(ledger: &Ledger, what: impl Fn(&Ledger) -> bool) {
    let mut revision = ledger.watch();
    let known = async {
        while !what(ledger) {
            revision.changed().await.unwrap();
        }
    };
    tokio::time::timeout(READ_WITHIN, known).await.expect("it never knew");
}

/// What each transaction has written, in bytes, by its revision.
fn transactions(contents: &Contents) -> BTreeMap<u64, usize> {
    let mut transactions = BTreeMap::new();
    for (path, stored) in &contents.documents {
        let size = path.len() + stored.data.len() + OVERHEAD;
        *transactions.entry(stored.revision).or_default() += size;
    }
    transactions
}

#[tokio::test(flavor = "multi_thread")]
async fn very_many_hosts_are_written_read_and_heard_of_needs_zookeeper() {
    let run = Run::start("store-many").unwrap();
    let zookeeper = ZooKeeper::start_ensemble(&run, if is_long() { 3 } else { 1 }).unwrap();
    let hosts = hosts();
    let (first, following_first) = ledger(leading(zookeeper.address()).await);
    let on = HostDocument::new(Verdict::On, Timestamp::UNIX_EPOCH);
    let off = HostDocument::new(Verdict::Off, Timestamp::UNIX_EPOCH);
    let begun = FirstStart { at: Timestamp::UNIX_EPOCH, had_file: false, adopt_until: None };
    let mut automation = Automation::default();
    automation.first_start = Some(begun);
    let batch = Batch {
        hosts: hosts.iter().map(|host| (host, &on)).collect(),
        removed: Vec::new(),
        automation: Some(&automation),
    };
    first.desk().await.unwrap().commit(&batch, Writer::Automation).await.unwrap();

    let store = following(zookeeper.address()).await;
    let transactions = transactions(&store.load().await.unwrap());
    assert!(transactions.len() > 1 && transactions.values().all(|size| *size <= MAX_WRITE));
    let (second, following_second) = ledger(store);
    knows(&second, |second| second.read().hosts.len() == hosts.len()).await;
    assert!(second.read().hosts.keys().eq(hosts.iter()), "it has other hosts");
    assert!(second.read().is_begun(), "the store is begun with the last of them");

    let one = Batch::of_host(&hosts[7], &off);
    second.desk().await.unwrap().commit(&one, Writer::Person).await.unwrap();
    let is_off = |ledger: &Ledger| ledger.read().hosts[&hosts[7]].verdict() == Verdict::Off;
    knows(&first, is_off).await;

    // And all of it again, by one who has missed something.
    first.doubt();
    drop(first.desk().await.unwrap());
    assert_eq!(first.read().hosts, second.read().hosts);
    following_first.abort();
    following_second.abort();
    run.succeed();
}
