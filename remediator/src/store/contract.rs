//! What every store must do, whatever it is made of. Each store's tests run all of it.

use super::{Store, StoreError, Stored, Write, Writer};

/// A write of this text.
pub(super) fn put(path: &str, expected: Option<u64>, data: &str) -> Write {
    Write { path: path.into(), expected, data: Some(data.into()) }
}

/// Writes on all that is in the store.
pub(super) async fn write(
    store: &impl Store,
    writes: Vec<Write>,
    writer: Writer,
) -> Result<u64, StoreError> {
    let seen = store.load().await?.revision;
    store.write(writes, writer, seen).await
}

fn remove(path: &str, expected: u64) -> Write {
    Write { path: path.into(), expected: Some(expected), data: None }
}

/// Checks a store in which nothing is yet and that this process leads, and leaves things in
/// it. `reopened` gives the same store, opened by somebody else.
pub(crate) async fn holds<S: Store>(store: S, reopened: impl AsyncFnOnce(S) -> Box<dyn Store>) {
    begins_empty(&store).await;
    counts_versions_and_revisions(&store).await;
    compares_before_it_sets(&store).await;
    writes_all_or_nothing(&store).await;
    removes(&store).await;
    lets_nobody_write_on_what_is_no_longer_so(&store).await;
    let before = store.load().await.unwrap();
    let after = reopened(store).await.load().await.unwrap();
    assert_eq!(before, after);
    assert!(!after.documents.is_empty());
}

async fn begins_empty(store: &impl Store) {
    assert!(store.load().await.unwrap().documents.is_empty());
}

async fn counts_versions_and_revisions(store: &impl Store) {
    let first = vec![put("automation", None, "{}"), put("whitelist/h1", None, "1")];
    let first = write(store, first, Writer::Automation).await.unwrap();
    let again = vec![put("whitelist/h1", Some(1), "2")];
    let again = write(store, again, Writer::Person).await.unwrap();
    assert!(again > first);
    let contents = store.load().await.unwrap();
    assert!(contents.revision >= again);
    let Stored { data, version, .. } = &contents.documents["whitelist/h1"];
    assert_eq!((data.as_slice(), *version), (b"2".as_slice(), 2));
    assert_eq!(contents.documents["automation"].version, 1);
}

async fn compares_before_it_sets(store: &impl Store) {
    for (path, expected, found) in [
        ("whitelist/h1", None, Some(2)),
        ("whitelist/h1", Some(1), Some(2)),
        ("whitelist/h1", Some(3), Some(2)),
        ("whitelist/nobody", Some(1), None),
    ] {
        for one in [put(path, expected, "3"), remove(path, expected.unwrap_or(9))] {
            let refused = write(store, vec![one], Writer::Person).await.unwrap_err();
            let StoreError::Conflict { path: of, found: there, .. } = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((&*of, there.as_ref().map(|it| it.version)), (path, found));
            assert!(there.is_none_or(|there| there.data == b"2"));
        }
    }
}

async fn writes_all_or_nothing(store: &impl Store) {
    let before = store.load().await.unwrap().documents;
    for at in 0..3 {
        let mut writes = vec![
            put("whitelist/h2", None, "new"),
            put("automation", Some(1), "changed"),
            put("whitelist/fd00::2", None, "ünïcode"),
        ];
        writes[at].expected = Some(7);
        let refused = write(store, writes, Writer::Automation).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(store.load().await.unwrap().documents, before);
    }
}

async fn removes(store: &impl Store) {
    let before = store.load().await.unwrap().revision;
    let revision = write(store, vec![remove("whitelist/h1", 2)], Writer::Person).await.unwrap();
    assert!(revision > before);
    assert!(!store.load().await.unwrap().documents.contains_key("whitelist/h1"));
    let anew = vec![put("whitelist/h1", None, "anew"), put("whitelist/fd00::2", None, "")];
    assert!(write(store, anew, Writer::Person).await.unwrap() > revision);
    assert_eq!(store.load().await.unwrap().documents["whitelist/h1"].version, 1);
}

async fn lets_nobody_write_on_what_is_no_longer_so(store: &impl Store) {
    let seen = store.load().await.unwrap().revision;
    let others = vec![put("whitelist/h3", None, "others")];
    let newer = store.write(others, Writer::Person, seen).await.unwrap();
    for writer in [Writer::Automation, Writer::Person] {
        let late = vec![put("whitelist/h4", None, "late")];
        let refused = store.write(late, writer, seen).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "{refused:?}");
    }
    let contents = store.load().await.unwrap();
    assert_eq!(contents.revision, newer);
    assert!(!contents.documents.contains_key("whitelist/h4"));
}
