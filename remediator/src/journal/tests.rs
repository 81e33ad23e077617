use std::{collections::BTreeMap, fs};

use satellite_core::{HostDocument, Verdict, document::What};

use super::*;
use crate::disk::OsDisk;

async fn open(folder: &Path) -> Journal {
    Journal::open(Arc::new(OsDisk), folder).await.unwrap()
}

async fn writer(folder: &Path) -> Writer {
    Writer::open(Arc::new(OsDisk), folder).await.unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn entry(number: i64) -> Entry {
    let host = if number % 2 == 0 { "even.lab" } else { "odd.lab" };
    let padding = "x".repeat(500);
    Entry::new(at(number), "test", serde_json::json!({"host": host, "n": number, "p": padding}))
}

fn entries(found: &[String]) -> Vec<Value> {
    found.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(found: &[String]) -> Vec<i64> {
    entries(found).iter().map(|entry| entry["n"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn entries_come_back_newest_first_across_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let entries: Vec<Entry> = (0..500).map(entry).collect();
    journal.append(&entries).await.unwrap();
    let all = journal.read(&Query { limit: 1000, ..Query::default() }).unwrap();
    assert_eq!(numbers(&all), (0..500).rev().collect::<Vec<_>>());
    let query = Query { limit: 2, host: Some("odd.lab".parse().unwrap()), since: None };
    assert_eq!(numbers(&journal.read(&query).unwrap()), [499, 497]);
    let query = Query { limit: 99, host: None, since: Some(at(498)) };
    assert_eq!(numbers(&journal.read(&query).unwrap()), [499, 498]);
}

#[tokio::test]
async fn lines_far_longer_than_a_chunk_are_read_and_those_of_others_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let long = |number: i64| {
        let (host, padding) = (format!("h{number}.lab"), "x".repeat(3_000_000));
        // The name of one host in the entry of another makes it no entry of that host.
        let near = format!("h{}.lab", number + 1);
        Entry::new(
            at(number),
            "test",
            serde_json::json!({"host": host, "n": number, "near": near, "p": padding}),
        )
    };
    journal.append(&[long(1), entry(2), long(3), long(4), entry(5)]).await.unwrap();
    let all = journal.read(&Query { limit: 9, ..Query::default() }).unwrap();
    assert_eq!(numbers(&all), [5, 4, 3, 2, 1]);
    let query = Query { limit: 9, host: Some("h4.lab".parse().unwrap()), since: None };
    assert_eq!(numbers(&journal.read(&query).unwrap()), [4]);
}

#[tokio::test]
async fn i34_while_deliveries_are_refused_what_was_done_waits_for_a_place() {
    let (appends, mut queue) = mpsc::channel(1);
    let journal = Journal::on(PathBuf::new(), appends);
    let (first, second) = (entry(1), [entry(2)]);
    let mut taken = Box::pin(journal.take(&first));
    assert!(futures::poll!(&mut taken).is_pending(), "it waits for the disk");
    assert!(matches!(journal.take(&first).await, Err(JournalError::Full)));
    let mut done = Box::pin(journal.append(&second));
    assert!(futures::poll!(&mut done).is_pending());
    for _ in 0..2 {
        tokio::select! {
            _ = &mut done => panic!("nobody has written it"),
            append = queue.recv() => append.unwrap().done.send(Ok(())).unwrap(),
        }
    }
    assert!(taken.await.is_ok() && done.await.is_ok());
}

#[tokio::test]
async fn a_delivery_is_refused_where_too_many_bytes_wait_for_the_disk() {
    let (appends, mut queue) = mpsc::channel(QUEUE);
    let journal = Journal::on(PathBuf::new(), appends);
    let large = "x".repeat(QUEUE_BYTES as usize);
    let large = Entry::new(at(0), "test", serde_json::json!({"p": large}));
    let mut taken = Box::pin(journal.take(&large));
    assert!(futures::poll!(&mut taken).is_pending(), "alone it has a place");
    assert!(matches!(journal.take(&entry(1)).await, Err(JournalError::Full)));
    let done = [entry(2)];
    let mut done = Box::pin(journal.append(&done));
    assert!(futures::poll!(&mut done).is_pending(), "what was done waits");
    queue.recv().await.unwrap().done.send(Ok(())).unwrap();
    assert!(taken.await.is_ok());
    tokio::select! {
        _ = &mut done => panic!("nobody has written it"),
        append = queue.recv() => append.unwrap().done.send(Ok(())).unwrap(),
    }
    assert!(done.await.is_ok());
}

#[tokio::test]
async fn putting_aside_again_after_a_failure_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path()).await;
    let put_aside = async |writer: &mut Writer, number: i64| {
        writer.write(&entry(number).0).await.unwrap();
        writer.rotate().await.unwrap();
    };
    for number in 0..i64::try_from(KEPT_FILES).unwrap() {
        put_aside(&mut writer, number).await;
    }
    // As if the new file could not be made, several times over.
    for _ in 0..3 {
        fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        writer.rotate().await.unwrap();
    }
    let journal = open(folder.path()).await;
    let query = Query { limit: 99, ..Query::default() };
    assert_eq!(numbers(&journal.read(&query).unwrap()), [7, 6, 5, 4, 3, 2, 1, 0]);
    // As if the full file could not be moved after two others were.
    fs::remove_file(aside(folder.path(), 3)).unwrap();
    put_aside(&mut writer, 8).await;
    assert_eq!(numbers(&journal.read(&query).unwrap()), [8, 7, 6, 4, 3, 2, 1, 0]);
}

#[tokio::test]
async fn a_line_cut_by_a_crash_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), "{\"time\":\"2026-01-01T00:00:00Z\",\"n\":").unwrap();
    let journal = open(folder.path()).await;
    journal.append(&[entry(7)]).await.unwrap();
    let found = journal.read(&Query { limit: 9, ..Query::default() }).unwrap();
    assert_eq!(numbers(&found), [7]);
}

#[tokio::test]
async fn a_full_file_is_put_aside_and_still_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path()).await;
    for number in 0..3 {
        writer.write(&entry(number).0).await.unwrap();
        writer.rotate().await.unwrap();
    }
    let journal = open(folder.path()).await;
    let found = journal.read(&Query { limit: 9, ..Query::default() }).unwrap();
    assert_eq!(numbers(&found), [2, 1, 0]);
}

/// A host that went off at one instant and on at another.
fn off_and_on() -> BTreeMap<HostName, HostDocument> {
    let mut document = HostDocument::new(Verdict::On, at(0));
    let record = |what, seconds, version| Record {
        time: at(seconds),
        what,
        by: "ops".into(),
        rule: None,
        reason: "disk swap".into(),
        evidence: None,
        version: Some(version),
    };
    document.transitions = vec![record(What::Off, 10, 2), record(What::On, 20, 5)];
    BTreeMap::from([("h1.lab".parse().unwrap(), document)])
}

async fn missing(folder: &Path) -> Vec<Entry> {
    let recorded = Recorded::read(&OsDisk, folder).await.unwrap();
    recorded.missing(&off_and_on())
}

#[tokio::test]
async fn i34_a_transition_that_a_killed_process_did_not_write_down_is_put_on_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let (host, document) = off_and_on().pop_first().unwrap();
    let journal = open(folder.path()).await;
    journal.append(&[Entry::of_host(&host, &document.transitions[0], 1), entry(15)]).await.unwrap();
    journal.append(&missing(folder.path()).await).await.unwrap();
    assert_eq!(missing(folder.path()).await, []);
    let found = entries(&journal.read(&Query { limit: 9, ..Query::default() }).unwrap());
    let whats: Vec<_> = found.iter().map(|it| it["what"].as_str().unwrap_or("")).collect();
    assert_eq!(whats, ["on", "", "off"]);
    let expected = serde_json::json!({"before": 4, "after": 5});
    assert_eq!((&found[0]["version"], &found[0]["recovered"]), (&expected, &true.into()));
}

#[tokio::test]
async fn a_line_that_was_recovered_late_hides_none_that_was_written_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(&[entry(500)]).await.unwrap();
    journal.append(&missing(folder.path()).await).await.unwrap();
    let query = Query { limit: 9, host: None, since: Some(at(400)) };
    assert_eq!(numbers(&journal.read(&query).unwrap()), [500]);
}

#[tokio::test]
async fn what_may_be_in_older_files_is_not_put_on_record_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(folder.path()).await;
    for number in [1, 15, 30] {
        writer.write(&entry(number).0).await.unwrap();
        writer.rotate().await.unwrap();
    }
    // The files that are read begin with the entry of 30, and two older ones are there.
    assert_eq!(missing(folder.path()).await, []);
    fs::remove_file(aside(folder.path(), 2)).unwrap();
    assert_eq!(missing(folder.path()).await.len(), 2, "the journal is whole");
}
