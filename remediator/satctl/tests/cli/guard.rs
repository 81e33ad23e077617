//! `guard-whitelist`: what may be at the path, and what the remediator may say.
//!
//! Where a list is never to be had, the program waits until its time is over; [`WAIT`] is far more
//! than an answer takes, and such cases wait side by side.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Remediator, complaint, ok, refusal, satctl, stdout};

/// SHA-256 of `a\nb\nc\n` by sha256sum.
const HASH_OF_ABC: &str = "880553fca8fcea94e325ee2cfb48e5a985cc797f39a14cc6d3cedecfeb2ae4d2";
/// SHA-256 of `bootstrap.invalid\n` by sha256sum.
const HASH_OF_NOBODY: &str = "ce05e7e865e810b2e5a4927858134ec532f06c2f8e065d5df4ff1c4c9d318945";

/// For a list that never comes.
const WAIT: [&str; 2] = ["--wait", "5s"];

/// A remediator whose file lists `a`, `b` and `c`, of which `b` is off and kept by the floor.
struct Merged {
    on: Value,
    kept: Value,
    hash: String,
    failure: Value,
    dry_run: bool,
    /// How often it was asked for its status.
    asked: usize,
    /// From which time on it has merged; before that it says that it has not.
    merged_after: usize,
    /// What it does before it tells who is on.
    meanwhile: Box<dyn FnMut() + Send>,
}

impl Default for Merged {
    fn default() -> Self {
        Self {
            on: json!([{"host": "c", "state": "on"}, {"host": "a", "state": "on"}]),
            kept: json!(["b"]),
            hash: HASH_OF_ABC.to_owned(),
            failure: Value::Null,
            dry_run: false,
            asked: 0,
            merged_after: 0,
            meanwhile: Box::new(|| {}),
        }
    }
}

impl Merged {
    fn status(&mut self) -> Value {
        self.asked += 1;
        let hash = if self.asked > self.merged_after { self.hash.as_str() } else { "" };
        json!({
            "cluster": "lab", "mesos_leader": null, "sources": [], "hosts": {"on": 2, "off": 1},
            "budget": {"inventory": 3, "limit": 1, "away": 1, "remaining": 0, "offs_last_hour": 1, "max_off_per_hour": 10},
            "holds": [], "storm": null, "pause": null, "dry_run": self.dry_run,
            "whitelist": {"file": "/w", "hash": hash, "hosts": 3, "merged_at": null, "kept": self.kept, "failure": self.failure},
            "last_round": null, "failure": null
        })
    }
}

async fn answer(State(merged): State<Arc<Mutex<Merged>>>, uri: Uri) -> Response {
    let mut merged = merged.lock().unwrap();
    match uri.to_string().as_str() {
        "/api/v1/status" => ok(&merged.status()),
        "/api/v1/hosts?state=on" => {
            (merged.meanwhile)();
            ok(&json!({"hosts": merged.on}))
        }
        _ => refusal(StatusCode::IM_A_TEAPOT, "teapot", "no such thing"),
    }
}

/// A folder in which a master looks for its whitelist.
struct Master(TempDir);

impl Master {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(content: impl AsRef<[u8]>) -> Self {
        let master = Self::new();
        fs::write(master.file(), content).unwrap();
        master
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("whitelist")
    }

    fn content(&self) -> Option<String> {
        fs::read_to_string(self.file()).ok()
    }

    /// The names of all that is in the folder.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        names.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn command(&self, url: &str, flags: &[&str]) -> Command {
        let file = self.file();
        satctl(&[&["guard-whitelist", file.to_str().unwrap(), "--url", url], flags].concat())
    }

    /// Where the remediator is as it says, for as long as it takes.
    fn guard(&self, merged: Merged, flags: &[&str]) -> Output {
        let app = Router::new().fallback(answer).with_state(Arc::new(Mutex::new(merged)));
        let remediator = Remediator::serving(app);
        self.command(&remediator.url(), flags).output().unwrap()
    }

    /// Where nobody listens.
    fn guard_alone(&self, flags: &[&str]) -> Output {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.command(&format!("http://{free}"), &[flags, &WAIT].concat()).output().unwrap()
    }
}

#[test]
fn a_file_that_lists_hosts_is_left_alone_and_nobody_is_asked() {
    for content in ["a\nb\n", "b\na", "\n10.0.0.1\n\n", "bootstrap.invalid\na\n"] {
        let master = Master::with(content);
        // Not even what it takes to ask is looked at.
        let output = master.guard_alone(&["--token-file", "/nowhere/token", "--bootstrap"]);
        assert_eq!(stdout(&output), format!("{} lists hosts\n", master.file().display()));
        assert_eq!(master.content().unwrap(), content);
    }
}

#[test]
fn i23_a_missing_file_is_written_as_the_remediator_has_it_with_the_hosts_of_the_floor() {
    let master = Master::new();
    let output = master.guard(Merged::default(), &[]);
    let told = format!("{} has the remediator's list now\n", master.file().display());
    assert_eq!(stdout(&output), told);
    assert_eq!(master.content().unwrap(), "a\nb\nc\n");
    assert_eq!(master.names(), ["whitelist"], "nothing is left beside it");
}

#[test]
fn a_file_that_is_written_can_be_read_by_mesos_whatever_the_umask_is() {
    let master = Master::new();
    let app = Router::new().fallback(answer).with_state(Arc::new(Mutex::new(Merged::default())));
    let remediator = Remediator::serving(app);
    let direct = master.command(&remediator.url(), &[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"umask 077; exec "$@""#, "sh"]).arg(direct.get_program());
    stdout(&command.args(direct.get_args()).env_clear().output().unwrap());
    assert_eq!(fs::metadata(master.file()).unwrap().permissions().mode() & 0o7777, 0o644);
}

#[test]
fn a_remediator_that_has_just_started_is_waited_for() {
    let master = Master::new();
    stdout(&master.guard(Merged { merged_after: 2, ..Merged::default() }, &[]));
    assert_eq!(master.content().unwrap(), "a\nb\nc\n");
}

#[test]
fn a_list_of_nobody_is_a_list() {
    let nobody = || Merged {
        on: json!([]),
        kept: json!([]),
        hash: HASH_OF_NOBODY.into(),
        ..Merged::default()
    };
    for master in [Master::new(), Master::with("bootstrap.invalid\n")] {
        stdout(&master.guard(nobody(), &[]));
        assert_eq!(master.content().unwrap(), "bootstrap.invalid\n");
    }
}

/// What a remediator may say that is not, for certain, the list in its file.
fn not_the_list() -> Vec<(Merged, &'static str)> {
    let merged = Merged::default;
    vec![
        (Merged { merged_after: usize::MAX, ..merged() }, "has written no list since its start"),
        (
            Merged { merged_after: usize::MAX, failure: json!("disk full"), ..merged() },
            "since its start: disk full",
        ),
        (Merged { dry_run: true, ..merged() }, "a dry run"),
        // Too few, as from before a merge or of an answer that is not whole; none; too many.
        (Merged { on: json!([{"host": "a"}]), ..merged() }, "not what it should be now"),
        (Merged { on: json!([]), kept: json!([]), ..merged() }, "not what it should be now"),
        (Merged { kept: json!([]), failure: json!("disk full"), ..merged() }, "now: disk full"),
        (Merged { kept: json!(["b", "d"]), ..merged() }, "not what it should be now"),
        (Merged { on: json!([{"host": "a\nb"}]), ..merged() }, "cannot be read"),
        (Merged { on: json!("all"), ..merged() }, "cannot be read"),
    ]
}

/// Judges what comes of each of these, side by side.
fn each_that_is_not_the_list(flags: &[&str], judge: impl Fn(&Master, &Output, &str) + Sync) {
    std::thread::scope(|scope| {
        for (merged, reason) in not_the_list() {
            let judge = &judge;
            scope.spawn(move || {
                let master = Master::new();
                let output = master.guard(merged, &[flags, &WAIT].concat());
                judge(&master, &output, reason);
            });
        }
        scope.spawn(|| {
            let master = Master::new();
            judge(&master, &master.guard_alone(flags), "cannot reach the remediator");
        });
    });
}

#[test]
fn i23_what_is_not_surely_the_list_is_not_written() {
    each_that_is_not_the_list(&[], |master, output, reason| {
        let line = complaint(output);
        for part in ["without it Mesos makes offers to every agent", "--bootstrap", reason] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(master.names(), [""; 0]);
    });
    let master = Master::new();
    let line = complaint(&master.guard_alone(&["--token-file", "/nowhere/token"]));
    assert!(line.contains("cannot read the token file /nowhere/token"), "{line}");
    assert_eq!(master.names(), [""; 0]);
}

#[test]
fn with_bootstrap_a_master_starts_with_a_list_of_nobody_and_the_reason_is_told() {
    each_that_is_not_the_list(&["--bootstrap"], |master, output, reason| {
        let told = stdout(output);
        assert!(told.contains("no agent gets offers until") && told.contains(reason), "{told}");
        assert_eq!(master.content().unwrap(), "bootstrap.invalid\n");
        assert_eq!(master.names(), ["whitelist"]);
    });
}

#[test]
fn with_bootstrap_too_the_list_is_taken_where_it_can_be_had() {
    let master = Master::new();
    stdout(&master.guard(Merged { merged_after: 1, ..Merged::default() }, &["--bootstrap"]));
    assert_eq!(master.content().unwrap(), "a\nb\nc\n");
}

#[test]
fn a_list_of_nobody_that_is_there_counts_as_no_file() {
    let master = Master::with("bootstrap.invalid\n");
    let line = complaint(&master.guard_alone(&[]));
    assert!(line.contains("lists nobody yet"), "{line}");
    let inode = || fs::metadata(master.file()).unwrap().ino();
    let before = inode();
    let told = stdout(&master.guard_alone(&["--bootstrap"]));
    assert!(told.contains("lists nobody"), "{told}");
    assert_eq!((master.content().unwrap().as_str(), inode()), ("bootstrap.invalid\n", before));
    stdout(&master.guard(Merged::default(), &[]));
    assert_eq!(master.content().unwrap(), "a\nb\nc\n");
    assert_eq!(master.names(), ["whitelist"]);
}

#[test]
fn through_a_link_the_file_is_replaced_and_the_link_stays() {
    let master = Master::new();
    let target = master.0.path().join("target");
    fs::write(&target, "bootstrap.invalid\n").unwrap();
    symlink(&target, master.file()).unwrap();
    stdout(&master.guard(Merged::default(), &[]));
    assert_eq!(fs::read_to_string(&target).unwrap(), "a\nb\nc\n");
    assert!(fs::symlink_metadata(master.file()).unwrap().is_symlink());
}

#[test]
fn i5_what_only_a_person_can_judge_is_told_and_left_alone() {
    let large = vec![b'\n'; 64 * 1024 * 1024 + 1];
    let cases: [(&[u8], &str); 7] = [
        (b"", "is empty, so that Mesos would make no offers at all: write the hosts into it, or"),
        (b"\n\n", "is empty"),
        (b"a\nb \n", "no whitelist, which is a host name on each line and nothing else"),
        (b"# our hosts\na\n", "line 1"),
        (b"a\r\n", "line 1"),
        (b"a\n\xfc\n", "no whitelist"),
        (&large, "no whitelist"),
    ];
    for (content, reason) in cases {
        let master = Master::with(content);
        for flags in [&[][..], &["--bootstrap"]] {
            let line = complaint(&master.guard(Merged::default(), flags));
            let file = master.file();
            assert!(line.contains(reason) && line.contains(file.to_str().unwrap()), "{line}");
            assert!(line.contains("remove it"), "{line}");
            assert!(fs::read(file).unwrap() == content);
        }
    }
}

/// Makes something that is no file.
type Make = fn(&Path);

#[test]
fn what_is_no_file_is_told_and_left_alone() {
    let cases: [(Make, &str); 3] = [
        (|file| fs::create_dir(file).unwrap(), "is a folder"),
        (|file| symlink("/nowhere/whitelist", file).unwrap(), "is a symbolic link to nothing"),
        (|file| drop(UnixListener::bind(file).unwrap()), "is no plain file"),
    ];
    for (make, reason) in cases {
        let master = Master::new();
        make(&master.file());
        let kind = || fs::symlink_metadata(master.file()).unwrap().file_type();
        let before = kind();
        let line = complaint(&master.guard(Merged::default(), &["--bootstrap"]));
        assert!(line.contains(reason) && line.contains("remove it"), "{line}");
        assert_eq!(kind(), before);
    }
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let master = Master::new();
    let file = master.0.path().join("gone/whitelist");
    let app = Router::new().fallback(answer).with_state(Arc::new(Mutex::new(Merged::default())));
    let remediator = Remediator::serving(app);
    for flags in [&[][..], &["--bootstrap"]] {
        let args =
            [&["guard-whitelist", file.to_str().unwrap(), "--url", &remediator.url()], flags];
        let line = complaint(&satctl(&args.concat()).output().unwrap());
        assert!(line.contains("cannot write") && line.contains("gone/.whitelist"), "{line}");
    }
}

#[test]
fn i21_a_list_that_the_remediator_writes_meanwhile_is_not_replaced() {
    for flags in [&[][..], &["--bootstrap"]] {
        // It is there between the answer and the writing; or while it is waited for.
        for hash in [HASH_OF_ABC, "of another list"] {
            let master = Master::new();
            let file = master.file();
            let meanwhile = Box::new(move || fs::write(&file, "a\nb\nc\nd\n").unwrap());
            let merged = Merged { meanwhile, hash: hash.to_owned(), ..Merged::default() };
            let told = stdout(&master.guard(merged, flags));
            assert!(told.contains("written by somebody else meanwhile"), "{told}");
            assert_eq!(master.content().unwrap(), "a\nb\nc\nd\n");
            assert_eq!(master.names(), ["whitelist"]);
        }
    }
}

#[test]
fn an_empty_file_that_appears_meanwhile_lets_no_master_start() {
    let master = Master::new();
    let file = master.file();
    let meanwhile = Box::new(move || fs::write(&file, "").unwrap());
    let line =
        complaint(&master.guard(Merged { meanwhile, ..Merged::default() }, &["--bootstrap"]));
    assert!(line.contains("is empty"), "{line}");
    assert_eq!(master.content().unwrap(), "");
}
