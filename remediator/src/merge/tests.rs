use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};
use satellite_core::{Automation, HostDocument, Verdict, document::FirstStart};

use super::*;
use crate::{
    disk::{self, DiskFile, OsDisk},
    ledger::Batch,
    store::{Contents, ShadowStore},
};

#[tokio::test]
async fn replacing_keeps_owner_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whitelist");
    fs::write(&file, "old.lab\n").unwrap();
    // Only root may give a file away; else it is at least not taken from its owner.
    std::os::unix::fs::chown(&file, Some(4711), Some(4712)).ok();
    let owner = || fs::metadata(&file).map(|it| (it.uid(), it.gid())).unwrap();
    let before = owner();
    replace(&OsDisk, &file, "new.lab\n").await.unwrap().unwrap();
    assert_eq!(owner(), before);
}

#[tokio::test]
async fn i20_replacing_keeps_mode_and_link_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whitelist");
    let link = folder.path().join("link");
    fs::write(&file, "old.lab\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    replace(&OsDisk, &link, "new.lab\n").await.unwrap().unwrap();
    assert_eq!(read(&OsDisk, &file).await.unwrap().unwrap(), b"new.lab\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// With a rename half made durable, both names are of one file, and writing under the
/// one would show half a list under the other.
#[tokio::test]
async fn i20_a_second_name_of_the_list_is_not_written_into() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whitelist");
    fs::write(&file, "old.lab\n").unwrap();
    fs::hard_link(&file, folder.path().join(".whitelist.satellite")).unwrap();
    let mut reader = fs::File::open(&file).unwrap();
    replace(&OsDisk, &file, "new.lab\n").await.unwrap().unwrap();
    assert_eq!(std::io::read_to_string(&mut reader).unwrap(), "old.lab\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new.lab\n");
}

#[tokio::test]
async fn a_link_in_place_of_the_fresh_file_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("whitelist"), folder.path().join("other"));
    fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, folder.path().join(".whitelist.satellite")).unwrap();
    replace(&OsDisk, &file, "h.lab\n").await.unwrap().unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"precious");
    assert_eq!(fs::read(&file).unwrap(), b"h.lab\n");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone/whitelist");
    let error = replace(&OsDisk, &file, "h.lab\n").await.unwrap_err();
    assert!(chain(&error).contains("gone/.whitelist.satellite"), "{}", chain(&error));
    assert_eq!(read(&OsDisk, &file).await.unwrap(), None);
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_an_error_and_not_an_empty_list() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read(&OsDisk, folder.path()).await.is_err());
}

#[tokio::test]
async fn a_found_file_is_taken_only_if_its_meaning_is_plain() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whitelist");
    assert_eq!(find(&OsDisk, &file).await.unwrap(), FoundFile::Missing);
    fs::write(&file, "bootstrap.invalid\n").unwrap();
    assert_eq!(find(&OsDisk, &file).await.unwrap(), FoundFile::Missing);
    for content in [&b"\n"[..], b"a.lab\n\xff\n"] {
        fs::write(&file, content).unwrap();
        assert!(find(&OsDisk, &file).await.is_err());
    }
    fs::write(&file, "a.lab\nb.lab \n").unwrap();
    let error = chain(&find(&OsDisk, &file).await.unwrap_err());
    assert!(error.contains("line 2") && error.contains("b.lab "), "{error}");
    fs::write(&file, "a.lab\nb.lab").unwrap();
    let Ok(FoundFile::Lists(names)) = find(&OsDisk, &file).await else { panic!("it is a list") };
    assert_eq!(names.len(), 2);
}

#[tokio::test]
async fn a_million_names_of_60_characters_are_a_list_and_what_is_above_the_limit_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("whitelist");
    let line = "h".repeat(56) + ".lab\n";
    let limit = usize::try_from(MAX_FILE_BYTES).unwrap();
    let mut content = line.repeat(limit / line.len() + 1);
    content.truncate(limit + 1);
    fs::write(&file, &content).unwrap();
    let error = find(&OsDisk, &file).await.unwrap_err();
    assert!(matches!(error, FileError::NotAList { .. }), "{error}");
    content.truncate(limit);
    fs::write(&file, &content).unwrap();
    let Ok(FoundFile::Lists(names)) = find(&OsDisk, &file).await else { panic!("it is a list") };
    assert!(names.len() > 1_000_000, "{}", names.len());
}

/// The disk of this machine, which writes down what it has made durable and can be made
/// to refuse that to folders.
#[derive(Clone, Default)]
struct Witness {
    durable: Arc<Mutex<Vec<PathBuf>>>,
    refuses: Arc<AtomicBool>,
}

impl Witness {
    fn file(&self, path: &Path, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(WitnessFile { path: path.to_owned(), file, durable: Arc::clone(&self.durable) })
    }
}

impl Disk for Witness {
    fn read<'a>(&'a self, path: &'a Path, limit: u64) -> disk::Step<'a, Option<Vec<u8>>> {
        OsDisk.read(path, limit)
    }

    fn resolve<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, (PathBuf, Option<Access>)> {
        OsDisk.resolve(path)
    }

    fn create<'a>(&'a self, path: &'a Path, mode: u32) -> disk::Step<'a, Box<dyn DiskFile>> {
        OsDisk.create(path, mode).map_ok(|file| self.file(path, file)).boxed()
    }

    fn open<'a>(&'a self, path: &'a Path) -> disk::Step<'a, Box<dyn DiskFile>> {
        OsDisk.open(path).map_ok(|file| self.file(path, file)).boxed()
    }

    fn exists<'a>(&'a self, path: &'a Path) -> disk::Step<'a, bool> {
        OsDisk.exists(path)
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> disk::Step<'a, ()> {
        OsDisk.rename(from, to)
    }

    fn remove<'a>(&'a self, path: &'a Path) -> disk::Step<'a, ()> {
        OsDisk.remove(path)
    }

    fn make_folder<'a>(&'a self, folder: &'a Path) -> disk::Step<'a, ()> {
        OsDisk.make_folder(folder)
    }

    fn sync_folder<'a>(&'a self, folder: &'a Path) -> disk::Step<'a, ()> {
        if self.refuses.load(Ordering::Relaxed) {
            return std::future::ready(Err(io::ErrorKind::StorageFull.into())).boxed();
        }
        self.durable.lock().unwrap().push(folder.to_owned());
        OsDisk.sync_folder(folder)
    }
}

struct WitnessFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    durable: Arc<Mutex<Vec<PathBuf>>>,
}

impl DiskFile for WitnessFile {
    fn append<'a>(&'a mut self, bytes: &'a [u8]) -> disk::Step<'a, ()> {
        self.file.append(bytes)
    }

    fn give(&mut self, owner: u32, group: u32) -> disk::Step<'_, ()> {
        self.file.give(owner, group)
    }

    fn sync(&mut self) -> disk::Step<'_, ()> {
        self.durable.lock().unwrap().push(self.path.clone());
        self.file.sync()
    }

    fn cut(&mut self, length: u64) -> disk::Step<'_, ()> {
        self.file.cut(length)
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> disk::Step<'a, bool> {
        self.file.is_at(path)
    }

    fn end(&mut self) -> disk::Step<'_, (u64, Option<u8>)> {
        self.file.end()
    }
}

/// A merger that has a folder of its own, and what it remembers from merge to merge.
struct World {
    folder: tempfile::TempDir,
    disk: Witness,
    merger: Merger,
    last: Last,
}

impl World {
    /// The documents have `h1.lab` on, and there is no file yet.
    async fn new(dry_run: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ShadowStore::new(Contents::default());
        let ledger = Ledger::load(Box::new(ledger), Readiness::default()).await.unwrap();
        let disk = Witness::default();
        let merger = Merger {
            ledger: Arc::new(ledger),
            journal: Journal::open(Arc::new(OsDisk), folder.path()).await.unwrap(),
            config: watch::Sender::new(Arc::new(config(folder.path(), dry_run))).subscribe(),
            readiness: Readiness::default(),
            status: watch::Sender::default(),
            disk: Arc::new(disk.clone()),
            clock: Clock::start(),
        };
        let world = Self { folder, disk, merger, last: Last::default() };
        world.turn_on("h1.lab").await;
        world
    }

    /// The host is on from now on, by the documents.
    async fn turn_on(&self, host: &str) {
        let at = Timestamp::UNIX_EPOCH;
        let (host, document) = (host.parse().unwrap(), HostDocument::new(Verdict::On, at));
        let mut automation = Automation::default();
        automation.first_start = Some(FirstStart { at, had_file: false, adopt_until: None });
        let batch = Batch { automation: Some(&automation), ..Batch::of_host(&host, &document) };
        self.merger
            .ledger
            .desk()
            .await
            .unwrap()
            .commit(&batch, crate::store::Writer::Person)
            .await
            .unwrap();
    }

    /// One merge, and what it has made durable.
    async fn merge(&mut self) -> (Result<(), FileError>, Vec<PathBuf>) {
        let outcome = self.merger.merge(&mut self.last).await;
        (outcome, std::mem::take(&mut self.disk.durable.lock().unwrap()))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("whitelist")
    }

    /// What makes the file durable that is there.
    fn file_and_folder(&self) -> [PathBuf; 2] {
        let folder = self.folder.path().canonicalize().unwrap();
        [folder.join("whitelist"), folder]
    }
}

fn config(folder: &Path, dry_run: bool) -> Config {
    let file = folder.join("remediator.yml");
    let folder = folder.display();
    let config = format!(
        r#"listen: 127.0.0.1:5001
store: {{ embedded: {{ path: {folder} }} }}
mesos: {{ masters: ["http://127.0.0.1:5050"] }}
alertmanagers: ["http://127.0.0.1:9093"]
prometheus: ["http://127.0.0.1:9090"]
whitelist: {{ file: {folder}/whitelist }}
policy:
  dry_run: {dry_run}
  rules:
    - {{ name: host, matchers: ['remediate="host"'], action: "off" }}
"#
    );
    fs::write(&file, config).unwrap();
    satellite_config::load(&file).unwrap()
}

#[tokio::test]
async fn a_right_list_that_was_found_is_made_durable_once() {
    let mut world = World::new(false).await;
    fs::write(world.file(), "h1.lab\n").unwrap();
    let (outcome, durable) = world.merge().await;
    outcome.unwrap();
    assert_eq!(durable, world.file_and_folder());
    let (outcome, durable) = world.merge().await;
    outcome.unwrap();
    assert!(durable.is_empty(), "{durable:?}");
}

#[tokio::test]
async fn a_list_that_somebody_else_has_put_right_is_made_durable() {
    let mut world = World::new(false).await;
    world.merge().await.0.unwrap();
    world.turn_on("h2.lab").await;
    fs::write(world.file(), "h1.lab\nh2.lab\n").unwrap();
    let (outcome, durable) = world.merge().await;
    outcome.unwrap();
    assert_eq!(durable, world.file_and_folder());
}

#[tokio::test]
async fn a_list_that_could_not_be_made_durable_is_made_so_by_the_next_merge() {
    let mut world = World::new(false).await;
    world.disk.refuses.store(true, Ordering::Relaxed);
    world.merge().await.0.unwrap_err();
    assert_eq!(fs::read_to_string(world.file()).unwrap(), "h1.lab\n");
    world.disk.refuses.store(false, Ordering::Relaxed);
    let (outcome, durable) = world.merge().await;
    outcome.unwrap();
    assert_eq!(durable, world.file_and_folder());
}

#[tokio::test]
async fn a_dry_run_leaves_a_right_list_alone() {
    let mut world = World::new(true).await;
    fs::write(world.file(), "h1.lab\n").unwrap();
    let (outcome, durable) = world.merge().await;
    outcome.unwrap();
    assert!(durable.is_empty(), "{durable:?}");
}

#[tokio::test]
async fn what_a_dry_run_would_write_is_news_until_it_was_told() {
    let mut world = World::new(true).await;
    let list = |hosts: &str| List::of(names(hosts));
    assert!(world.last.is_news(&list("h1.lab")));
    world.merge().await.0.unwrap();
    assert!(!world.last.is_news(&list("h1.lab")));
    assert!(world.last.is_news(&list("h1.lab\nh2.lab")));
    assert!(!world.file().exists());
}

#[test]
fn that_the_file_is_no_longer_whose_it_was_is_news_once() {
    let mut last = Last::default();
    let denied = || Err(io::ErrorKind::PermissionDenied.into());
    assert!(last.owner_news(Ok(())).is_none());
    assert!(last.owner_news(denied()).is_some());
    assert!(last.owner_news(denied()).is_none());
}

#[test]
fn hosts_that_are_kept_in_are_news_until_they_were_told() {
    let (nobody, [one, other]) = (BTreeSet::new(), ["h1.lab", "h2.lab"].map(names));
    let mut status = FileStatus::default();
    assert!(status.is_news(&one) && !status.is_news(&nobody));
    status.kept = one.clone();
    assert!(!status.is_news(&one) && !status.is_news(&nobody) && status.is_news(&other));
}
