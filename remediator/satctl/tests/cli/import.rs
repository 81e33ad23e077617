//! `import`: what is read, what is asked, and how the answer is told. What a tree in ZooKeeper
//! is read as, the remediator's own tests show with a real one.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use axum::http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Remediator, complaint, satctl, stdout, usage_error};

const DOCUMENTS: &str = r#"{"a": {"managed-events": {}, "manual-events": {"x\/y": {"state": "ok",
    "time": 1459516800.271}}, "managed-flag": null, "manual-flag": "on"}}"#;

fn file(content: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source");
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// The one request that was made: its query and its body.
#[track_caller]
fn asked(remediator: &Remediator) -> (String, Value) {
    let [seen] = &remediator.seen()[..] else { panic!("one request") };
    assert_eq!(seen.method, Method::POST);
    (seen.uri.strip_prefix("/api/v1/import").unwrap().to_owned(), seen.body.clone())
}

#[test]
fn a_list_is_sent_as_names_and_the_difference_told_with_who_goes_off_first() {
    let remediator = Remediator::start();
    let (_folder, path) = file("b\na\n");
    let output = remediator.satctl(&["import", &path, "--reason", "CHG-1"]);
    assert_eq!(
        stdout(&output),
        format!(
            "read        {path}: a list, hosts: 2\n\
             off         1 host turned off: b\n\
             on          2 hosts turned on: c, d\n\
             new         1 host off: n1\n\
             new         2 hosts on: n2, n3\n\
             amended     1 host on or off as before: e\n\
             said        2 manual events added: a on (x/y), b off (t\\u{{1b}}[2J)\n\
             unchanged   7\n\
             left alone  3, which the source does not name\n\
             left out    a: event \"w\" says warn: neither on nor off\n"
        )
    );
    assert_eq!(asked(&remediator), (String::new(), json!({"reason": "CHG-1", "list": ["b", "a"]})));
}

#[test]
fn documents_are_sent_as_they_are_from_a_file_and_from_stdin() {
    let remediator = Remediator::start();
    let (_folder, path) = file(DOCUMENTS);
    let documents: Value = serde_json::from_str(DOCUMENTS).unwrap();
    let text = stdout(&remediator.satctl(&["import", &path, "--dry-run"]));
    assert!(
        text.starts_with(&format!("read        {path}: documents, hosts: 1\nDRY RUN     ")),
        "{text}"
    );
    let body = json!({"reason": format!("from {path}"), "documents": documents});
    assert_eq!(asked(&remediator), ("?dry_run=true".to_owned(), body));

    let mut command = satctl(&["import", "-", "--dry-run", "--force"]);
    let command = command.env("SATCTL_URL", remediator.url()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(DOCUMENTS.as_bytes()).unwrap();
    stdout(&child.wait_with_output().unwrap());
    let body = json!({"reason": "from stdin", "documents": documents});
    assert_eq!(asked(&remediator), ("?force=true&dry_run=true".to_owned(), body));
}

#[test]
fn all_on_needs_a_reason_and_no_source() {
    let remediator = Remediator::start();
    stdout(&remediator.satctl(&["import", "--all-on", "--reason", "looked at"]));
    let body = json!({"reason": "looked at", "all_on": true});
    assert_eq!(asked(&remediator), (String::new(), body));
    for wrong in [
        &["import"][..],
        &["import", "--all-on"],
        &["import", "list", "--all-on", "--reason", "r"],
        &["import", "zookeeper://zk1/satellite"],
        &["import", "http://old:5001/whitelist/all"],
    ] {
        usage_error(&remediator.satctl(wrong));
    }
    assert!(remediator.seen().is_empty());
}

#[test]
fn what_cannot_be_read_is_told_and_nothing_is_asked() {
    let remediator = Remediator::start();
    for (content, said) in [
        ("", "it is empty"),
        ("a\nb \n", "line 2"),
        ("bootstrap.invalid\n", "no host but the placeholder"),
        ("{\"a\": ", "it is not JSON"),
    ] {
        let (_folder, path) = file(content);
        let told = complaint(&remediator.satctl(&["import", &path]));
        assert!(
            told.starts_with(&format!("cannot read {path}: ")) && told.contains(said),
            "{told}"
        );
    }
    let told = complaint(&remediator.satctl(&["import", "/nowhere/list"]));
    assert!(told.contains("cannot read /nowhere/list: No such file"), "{told}");
    let told = complaint(&remediator.satctl(&["import", "zookeeper://127.0.0.1:1/satellite"]));
    assert!(told.starts_with("cannot read zookeeper://127.0.0.1:1/satellite: no server"), "{told}");
    assert!(remediator.seen().is_empty());
}

#[test]
fn the_password_of_zookeeper_is_not_shown() {
    let (_folder, path) = file("secret without a user\n");
    let source = "zookeeper://127.0.0.1:1/satellite";
    let told =
        complaint(&satctl(&["import", source, "--zookeeper-auth-file", &path]).output().unwrap());
    assert!(told.contains("is not USER:PASSWORD") && !told.contains("secret"), "{told}");
}
