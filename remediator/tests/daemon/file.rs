//! The whitelist file as those who read it see it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    fake::Mood,
    peers::check_failed,
    remediator::eventually,
    world::{HOSTS, World},
};

/// Reads the file again and again, as a master does, and says what it saw that
/// is no whole list.
pub(crate) struct Reader {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What a [`Reader`] saw.
pub(crate) struct Seen {
    /// The contents, each as often as it took the place of another.
    pub(crate) contents: Vec<String>,
    /// What was wrong with one.
    pub(crate) faults: Vec<String>,
}

impl Reader {
    pub(crate) fn start(file: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen { contents: Vec::new(), faults: Vec::new() };
            while !stopped.load(Ordering::Relaxed) {
                match look(&file) {
                    Ok(content) if seen.contents.last() == Some(&content) => {}
                    Ok(content) => seen.contents.push(content),
                    Err(fault) => seen.faults.push(fault),
                }
            }
            seen
        });
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The content, if it is a whole list of known hosts.
fn look(file: &Path) -> Result<String, String> {
    let content = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let names: Vec<&str> = content.lines().collect();
    let whole = content.ends_with('\n')
        && names.is_sorted_by(|former, next| former < next)
        && names.iter().all(|name| HOSTS.contains(name) || *name == "bootstrap.invalid");
    if whole { Ok(content) } else { Err(format!("{content:?}")) }
}

#[tokio::test]
async fn i20_a_reader_sees_whole_lists_only_through_200_changes() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let reader = Reader::start(world.whitelist_file());
    for number in 0..100 {
        let host = HOSTS[number % 3];
        let path = format!("/api/v1/hosts/{host}/events/reader");
        let off = json!({"state": "off", "reason": "a change"});
        assert_eq!(remediator.put(&path, &off).await.status, 201);
        assert_eq!(remediator.delete(&path).await.status, 200);
    }
    world.wait_for_whitelist(&HOSTS).await;
    let seen = reader.end();
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    assert!(seen.contents.len() > 1, "it changed: {:?}", seen.contents);
    // The last merge may still be under way.
    eventually(async || {
        let files = fs::read_dir(world.path("")).unwrap();
        let left: Vec<_> = files.map(|it| it.unwrap().file_name()).collect();
        if left.len() == 3 { Ok(()) } else { Err(format!("something is left: {left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn i21_no_list_comes_back_after_a_newer_one_whenever_it_is_killed() {
    let world = World::new().await;
    world.start_ready().await.kill().await;
    world.wait_for_whitelist(&HOSTS).await;
    let reader = Reader::start(world.whitelist_file());
    // Each list of these is another one, so that an older one would be known.
    let [h1, h2, h3, h4] = HOSTS;
    for (host, state) in [(h1, "off"), (h2, "off"), (h3, "off"), (h1, "on"), (h2, "on")] {
        let remediator = world.start().await;
        let said = json!({"state": state, "reason": "a change"});
        let answer = remediator.put(&format!("/api/v1/hosts/{host}/events/e"), &said).await;
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        // Before, in or after the merge.
        remediator.kill().await;
    }
    let _remediator = world.start().await;
    world.wait_for_whitelist(&[h1, h2, h4]).await;
    let seen = reader.end();
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    let lists: [&[&str]; 6] = [&HOSTS, &[h2, h3, h4], &[h3, h4], &[h4], &[h1, h4], &[h1, h2, h4]];
    let mut wanted = lists.into_iter().map(|list| list.join("\n") + "\n");
    for content in &seen.contents {
        let in_order = wanted.any(|list| list == *content);
        assert!(in_order, "an older list, or one that was never wanted: {:?}", seen.contents);
    }
}

#[tokio::test]
async fn i7_a_list_that_was_changed_while_it_was_dead_is_put_right_and_says_nothing_of_hosts() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.fire(&check_failed("h1.lab"));
    world.wait_for_whitelist(&HOSTS[1..]).await;
    remediator.kill().await;
    fs::write(world.whitelist_file(), "h1.lab\nh3.lab\nintruder.lab\n").unwrap();
    // Nobody can be asked: all it has is its documents.
    world.peers.all_are(Mood::Hangs);
    let remediator = world.start().await;
    world.wait_for_whitelist(&HOSTS[1..]).await;
    world.peers.all_are(Mood::Well);
    remediator.ready().await;
    remediator.rounds(2).await;
    let views = [("h1.lab", "off"), ("h2.lab", "on"), ("h3.lab", "on")];
    for (host, state) in views {
        assert_eq!(remediator.host(host).await["state"], state, "{host}");
    }
    assert_eq!(remediator.get("/api/v1/hosts/intruder.lab").await.status, 404);
    world.wait_for_whitelist(&HOSTS[1..]).await;
}

#[tokio::test]
async fn i22_a_hand_edit_is_overwritten_counted_journalled_and_told() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    fs::write(world.whitelist_file(), "h1.lab\nintruder.lab\n").unwrap();
    world.wait_for_whitelist(&HOSTS).await;
    remediator.wait_for_metric("satellite_whitelist_foreign_edits_total", 1.0).await;
    let line = remediator.wait_for_log("Somebody else changed the whitelist").await;
    assert!(line.contains("level=warn") && line.contains("satctl off"), "{line}");
    assert!(line.contains("intruder.lab") && line.contains("h2.lab h3.lab h4.lab"), "{line}");
    let is_edit = |record: &Value| record["kind"] == "foreign-edit";
    let records = remediator.journalled("", is_edit).await;
    let record = records.iter().find(|record| is_edit(record)).unwrap();
    assert_eq!(record["removed"], json!(["intruder.lab"]), "{record}");
    assert_eq!(record["added"], json!(["h2.lab", "h3.lab", "h4.lab"]), "{record}");
    // I7: what somebody wrote into it is no host for that.
    assert_eq!(remediator.get("/api/v1/hosts/intruder.lab").await.status, 404);
    remediator.ready().await;
}

#[tokio::test]
async fn a_file_that_is_deleted_emptied_or_made_no_text_is_written_again() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    fs::remove_file(world.whitelist_file()).unwrap();
    world.wait_for_whitelist(&HOSTS).await;
    remediator.wait_for_metric("satellite_whitelist_foreign_edits_total", 1.0).await;
    fs::write(world.whitelist_file(), "").unwrap();
    world.wait_for_whitelist(&HOSTS).await;
    remediator.wait_for_metric("satellite_whitelist_foreign_edits_total", 2.0).await;
    fs::write(world.whitelist_file(), b"h1.lab # M\xfcller\n").unwrap();
    world.wait_for_whitelist(&HOSTS).await;
    remediator.wait_for_metric("satellite_whitelist_foreign_edits_total", 3.0).await;
}

#[tokio::test]
async fn what_cannot_be_written_leaves_the_old_list_whole_and_is_tried_again() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    // The new list cannot be put beside the old one.
    let beside = world.path(".whitelist.satellite");
    fs::create_dir(&beside).unwrap();
    let off = json!({"state": "off", "reason": "a change"});
    assert_eq!(remediator.put("/api/v1/hosts/h1.lab/events/e", &off).await.status, 201);
    let text = remediator.not_ready("merge: cannot write").await;
    assert!(text.contains(beside.to_str().unwrap()), "{text}");
    remediator.wait_for_log("Cannot merge the whitelist").await;
    let page = remediator.get("/").await.text;
    assert!(page.contains("cannot write"), "{page}");
    assert_eq!(world.whitelist().unwrap(), "h1.lab\nh2.lab\nh3.lab\nh4.lab\n");
    fs::remove_dir(&beside).unwrap();
    world.wait_for_whitelist(&HOSTS[1..]).await;
    remediator.ready().await;
    assert_eq!(remediator.status().await["whitelist"]["failure"], serde_json::Value::Null);
    assert_eq!(remediator.metric("satellite_whitelist_foreign_edits_total").await, Some(0.0));
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_said_and_heals() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    fs::remove_file(world.whitelist_file()).unwrap();
    // Between the two the file may have been written again.
    while fs::create_dir(world.whitelist_file()).is_err() {
        fs::remove_file(world.whitelist_file()).ok();
    }
    let text = remediator.not_ready("Is a directory").await;
    assert!(text.contains(world.whitelist_file().to_str().unwrap()), "{text}");
    fs::remove_dir(world.whitelist_file()).unwrap();
    world.wait_for_whitelist(&HOSTS).await;
    remediator.ready().await;
}

#[tokio::test]
async fn the_mode_of_the_file_stays_and_a_new_one_can_be_read_by_mesos() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mode = || fs::metadata(world.whitelist_file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o644);
    fs::set_permissions(world.whitelist_file(), fs::Permissions::from_mode(0o640)).unwrap();
    let off = json!({"state": "off", "reason": "a change"});
    assert_eq!(remediator.put("/api/v1/hosts/h1.lab/events/e", &off).await.status, 201);
    world.wait_for_whitelist(&HOSTS[1..]).await;
    assert_eq!(mode(), 0o640);
}

#[tokio::test]
async fn a_list_of_nobody_is_the_placeholder_and_never_empty() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let off = json!({"state": "off", "reason": "a drill"});
    for host in HOSTS {
        let path = format!("/api/v1/hosts/{host}/events/drill?force=true");
        assert_eq!(remediator.put(&path, &off).await.status, 201);
    }
    world.wait_for_whitelist(&["bootstrap.invalid"]).await;
    remediator.wait_for_metric("satellite_whitelist_hosts", 0.0).await;
}

/// `satctl guard-whitelist` rests on this.
#[tokio::test]
async fn the_hosts_that_are_on_and_those_that_are_kept_are_the_file_and_have_its_hash() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    // The file cannot follow until the floor has been raised.
    let beside = world.path(".whitelist.satellite");
    fs::create_dir(&beside).unwrap();
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;
    world.configure(|config| config.replace("min_hosts: 1", "min_hosts: 4"));
    assert_eq!(remediator.post("/-/reload", "").await.status, 200);
    fs::remove_dir(&beside).unwrap();
    remediator.wait_for_metric("satellite_whitelist_kept_hosts", 1.0).await;
    remediator.ready().await;

    let whitelist = remediator.status().await["whitelist"].clone();
    assert_eq!(whitelist["kept"], json!(["h1.lab"]), "{whitelist}");
    let on = remediator.get("/api/v1/hosts?state=on").await.json();
    let on = on["hosts"].as_array().unwrap().iter().map(|host| &host["host"]);
    let listed = on.chain(whitelist["kept"].as_array().unwrap());
    let mut hosts: Vec<&str> = listed.map(|host| host.as_str().unwrap()).collect();
    hosts.sort_unstable();
    let file = world.whitelist().unwrap();
    assert_eq!(hosts.join("\n") + "\n", file);
    assert_eq!(whitelist["hash"], format!("{:x}", Sha256::digest(&file)));
}
