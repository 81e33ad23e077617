//! Writes the whitelist file. Nothing else does, but `satctl guard-whitelist` where there
//! is none.
//!
//! The file is an output of the documents. It is replaced in one step (a new
//! file beside it, `fsync`, `rename`, `fsync` of the folder), so that Mesos,
//! which reads it every 5 s without any lock, never sees half a list. Whatever
//! somebody else wrote into it is overwritten and reported.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use satellite_config::Config;
use satellite_core::{
    HostName, Policy,
    facts::FoundFile,
    first_list::Sighting,
    whitelist::{self, MAX_FILE_BYTES},
};
use satellite_toolkit::{exit::chain, lifecycle::Readiness};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    clock::Clock,
    disk::{Access, Disk},
    journal::{Entry, Journal},
    ledger::Ledger,
};

/// How many hosts a log line names.
const MAX_SHOWN: usize = 20;
/// Mesos may run as another user and must be able to read.
const MODE: u32 = 0o644;
/// What readiness calls this part. The list that was found at the first start is
/// a source, and has its own name.
pub(crate) const MERGE: &str = "merge";

/// What is known of the file, for metrics and status.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileStatus {
    /// The revision of the documents that the file is of; `None` before the first merge.
    pub(crate) generation: Option<u64>,
    /// SHA-256 of its content, in hex.
    pub(crate) hash: String,
    /// When it was last found right or put right.
    pub(crate) merged_at: Option<Timestamp>,
    /// How many hosts it lists.
    pub(crate) hosts: usize,
    /// Hosts that automation wants out and that the floor keeps in.
    pub(crate) kept: BTreeSet<HostName>,
    /// How often somebody else had changed it.
    pub(crate) foreign_edits: u64,
    /// How often it could not be read or written.
    pub(crate) failures: u64,
    /// Why the last attempt failed, if it did.
    pub(crate) failure: Option<String>,
}

impl FileStatus {
    /// Whether somebody has yet to be told that these hosts are kept in.
    fn is_news(&self, kept: &BTreeSet<HostName>) -> bool {
        !kept.is_empty() && *kept != self.kept
    }
}

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no whitelist.
    #[error("{} is larger than {MAX_FILE_BYTES} bytes or not UTF-8", path.display())]
    NotAList {
        /// Which.
        path: PathBuf,
    },
    /// It is a whitelist that only a person can judge.
    #[error("{} cannot be taken as the list to begin with", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: whitelist::Unreadable,
    },
}

/// Keeps the file in step with the documents.
pub(crate) struct Merger {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) journal: Journal,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) readiness: Readiness,
    pub(crate) status: watch::Sender<FileStatus>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Clock,
}

/// A list, in every shape in which it is needed again.
struct List {
    hosts: BTreeSet<HostName>,
    content: String,
    /// SHA-256 of the content, in hex.
    hash: String,
}

/// What this process has left in the file.
#[derive(Default)]
struct Last {
    /// The last list that it wrote, or found to be right.
    list: Option<List>,
    /// Whether a power cut would leave it there.
    is_durable: bool,
    /// Whether it was told that the file is no longer whose it was.
    told_owner: bool,
}

/// What the documents want, beside what is in the file.
struct Step {
    /// The revision of the documents.
    generation: u64,
    /// Whether all of them are of that revision.
    is_whole: bool,
    list: List,
    /// Hosts that only the floor keeps in.
    kept: BTreeSet<HostName>,
    /// `None`: the file is as it should be.
    difference: Option<Difference>,
}

/// What the list changes in the file.
struct Difference {
    added: Vec<HostName>,
    removed: Vec<HostName>,
    /// Whether somebody else has changed the file.
    is_foreign: bool,
    /// Whether it is the list that was there when this process started.
    is_first: bool,
}

impl Merger {
    /// Merges whenever a document changes, every `merge_interval` and after a
    /// reload, until the token is cancelled.
    pub(crate) async fn run(self, token: CancellationToken) {
        let (mut changed, mut config) = (self.ledger.watch(), self.config.clone());
        let mut last = Last::default();
        loop {
            changed.mark_unchanged();
            config.mark_unchanged();
            if let Err(error) = self.merge(&mut last).await {
                self.fail(&error);
            }
            let interval = self.config.borrow().whitelist.merge_interval;
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                _ = changed.changed() => {}
                Ok(()) = config.changed() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// One merge, after what the last one has left.
    async fn merge(&self, last: &mut Last) -> Result<(), FileError> {
        let config = Arc::clone(&self.config.borrow());
        let (disk, path) = (self.disk.as_ref(), &config.whitelist.file);
        let dry_run = config.policy.dry_run;
        let found = read(disk, path).await?;
        let Some(step) = self.whole_step(&config.policy, last, found.as_deref()).await else {
            return Ok(());
        };
        match &step.difference {
            Some(Difference { added, removed, .. }) if dry_run => {
                let hosts = step.list.hosts.len();
                let (added, removed) = (shown(added), shown(removed));
                if last.is_news(&step.list) {
                    info!(hosts, added, removed, "Dry run: the whitelist would be written");
                }
            }
            Some(difference) => {
                last.is_durable = false;
                let kept = replace(disk, path, &step.list.content).await?;
                if let Some(error) = last.owner_news(kept) {
                    let (error, file) = (chain(&error), path.display());
                    warn!(error, %file, "Cannot keep the owner and group of the whitelist: see that Mesos may still read it");
                }
                // Readers see it from now on, whether or not it outlives a power cut.
                let synced = sync_folder(disk, path).await;
                self.report(&step, difference).await;
                if synced.is_err() {
                    last.list = Some(step.list);
                    return synced;
                }
            }
            // Whoever wrote it may have died, or failed, before it was durable.
            None if !dry_run && !last.is_durable => make_durable(disk, path).await?,
            None => {}
        }
        self.note(&step);
        (last.list, last.is_durable) = (Some(step.list), true);
        self.readiness.set(MERGE, None);
        Ok(())
    }

    /// What is to be done about the file, in which `found` is; `None` while nothing may
    /// be written. It is not changed by documents of which a part is newer than the rest.
    async fn whole_step(
        &self,
        policy: &Policy,
        last: &mut Last,
        found: Option<&[u8]>,
    ) -> Option<Step> {
        let step = self.next_step(policy, last, found)?;
        if step.is_whole || step.difference.is_none() {
            return Some(step);
        }
        if !self.ledger.become_whole().await {
            return None;
        }
        // Others may have written since.
        self.next_step(policy, last, found).filter(|step| step.is_whole)
    }

    /// The same by the documents as they are now.
    fn next_step(&self, policy: &Policy, last: &mut Last, found: Option<&[u8]>) -> Option<Step> {
        let is_last = |list: &List| found == Some(list.content.as_bytes());
        let is_ours = last.list.as_ref().is_some_and(is_last);
        // A list that is as it should be and that somebody else wrote is not durable yet.
        last.is_durable &= is_ours;
        // What is no list is overwritten like any other edit, and not waited for.
        let in_file = names(&String::from_utf8_lossy(found.unwrap_or_default()));
        // What somebody else wrote into the file is no list that was ever in force.
        let in_force = last.list.as_ref().map_or(&in_file, |list| &list.hosts);
        let (generation, is_whole, merge) = self.wanted(policy, in_force)?;
        let whitelist::Merge { hosts, kept } = merge;
        let list = List::of(hosts);
        let without = |a: &BTreeSet<HostName>, b| a.difference(b).cloned().collect();
        let difference = (found != Some(list.content.as_bytes())).then(|| Difference {
            added: without(&list.hosts, &in_file),
            removed: without(&in_file, &list.hosts),
            is_foreign: last.list.is_some() && !is_ours,
            is_first: last.list.is_none(),
        });
        Some(Step { generation, is_whole, list, kept, difference })
    }

    /// The revision of the documents, whether they are wholly of it, and the list that they
    /// want; `None` while nothing may be written.
    fn wanted(
        &self,
        policy: &Policy,
        previous: &BTreeSet<HostName>,
    ) -> Option<(u64, bool, whitelist::Merge)> {
        let documents = self.ledger.read();
        if !documents.is_begun() {
            return None;
        }
        let now = self.clock.now().wall;
        let merge = whitelist::merge(&documents.hosts, previous, policy, now);
        Some((documents.revision, documents.are_whole(), merge))
    }

    /// Says in the status what is in the file now.
    fn note(&self, step: &Step) {
        let Step { generation, list, kept, .. } = step;
        self.status.send_modify(|status| {
            if status.is_news(kept) {
                let kept: Vec<&str> = kept.iter().map(HostName::as_str).collect();
                error!(kept = kept.join(" "), "The whitelist keeps hosts that should be off: fewer than whitelist.min_hosts would be left");
            }
            status.generation = Some(*generation);
            status.hash.clone_from(&list.hash);
            status.merged_at = Some(self.clock.now().wall);
            status.hosts = list.hosts.len();
            status.kept.clone_from(kept);
            status.failure = None;
        });
    }

    fn fail(&self, failure: &FileError) {
        let reason = chain(failure);
        error!(
            reason,
            "Cannot merge the whitelist: the file stays as it is, and it is tried again"
        );
        self.status.send_modify(|status| {
            status.failures += 1;
            status.failure = Some(reason.clone());
        });
        self.readiness.set(MERGE, Some(reason));
    }

    async fn report(&self, step: &Step, difference: &Difference) {
        let Step { generation, list, .. } = step;
        let Difference { added, removed, is_foreign, is_first } = difference;
        let (shown_added, shown_removed) = (shown(added), shown(removed));
        if *is_foreign {
            self.status.send_modify(|status| status.foreign_edits += 1);
            warn!(
                put_back = shown_added,
                taken_out = shown_removed,
                "Somebody else changed the whitelist file; it was put right. `satctl on HOST` and `satctl off HOST` do it properly"
            );
        } else {
            if *is_first && !removed.is_empty() {
                warn!(
                    removed = shown_removed,
                    "The whitelist that was found at the start had hosts that are not on"
                );
            }
            info!(
                generation,
                hosts = list.hosts.len(),
                added = shown_added,
                removed = shown_removed,
                "Wrote the whitelist"
            );
        }
        let kind = if *is_foreign { "foreign-edit" } else { "merge" };
        let details = json!({
            "generation": generation, "hosts": list.hosts.len(), "added": added, "removed": removed,
        });
        let entry = Entry::new(self.clock.now().wall, kind, details);
        if let Err(error) = self.journal.append(&[entry]).await {
            error!(error = chain(&error), "A merge is not in the journal yet: it is tried again");
        }
    }
}

impl Last {
    /// Why the file is no longer whose it was, where that was not told yet.
    fn owner_news(&mut self, kept: io::Result<()>) -> Option<io::Error> {
        kept.err().filter(|_| !std::mem::replace(&mut self.told_owner, true))
    }

    /// Whether this is not the list that it had last.
    fn is_news(&self, list: &List) -> bool {
        self.list.as_ref().is_none_or(|last| last.content != list.content)
    }
}

impl List {
    fn of(hosts: BTreeSet<HostName>) -> Self {
        let content = whitelist::render(&hosts);
        let hash = format!("{:x}", Sha256::digest(&content));
        Self { hosts, content, hash }
    }
}

/// The first of the hosts, for a line of the log; `None`: there are none.
fn shown(hosts: &[HostName]) -> Option<String> {
    let first: Vec<&str> = hosts.iter().take(MAX_SHOWN).map(HostName::as_str).collect();
    (!first.is_empty()).then(|| first.join(" "))
}

/// The names in a content, without the lines that are none.
fn names(content: &str) -> BTreeSet<HostName> {
    let names = content.split('\n').filter_map(|line| line.parse().ok());
    names.filter(|name: &HostName| name.as_str() != whitelist::PLACEHOLDER).collect()
}

/// The file as it is before the store is begun.
pub(crate) async fn find(disk: &dyn Disk, path: &Path) -> Result<FoundFile, FileError> {
    let Some(content) = read(disk, path).await? else { return Ok(FoundFile::Missing) };
    let too_large = content.len() as u64 > MAX_FILE_BYTES;
    let content = String::from_utf8(content).ok().filter(|_| !too_large);
    let content = content.ok_or_else(|| FileError::NotAList { path: path.to_owned() })?;
    let path = path.to_owned();
    whitelist::read(&content).map_err(|source| FileError::Unreadable { path, source })
}

/// What others are shown of the file.
pub(crate) fn sighting(found: &FoundFile) -> Sighting {
    match found {
        FoundFile::Missing => Sighting::None,
        FoundFile::Lists(names) => {
            let list = List::of(names.iter().cloned().collect());
            Sighting::List { hosts: list.hosts.len(), sha256: list.hash }
        }
    }
}

/// The content of the file, up to one byte more than a list may have; `None` where
/// there is none.
async fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    disk.read(path, MAX_FILE_BYTES + 1).await.map_err(failed("read", path))
}

/// Replaces the file in one step, for all who read it. Its mode is kept, and its owner and
/// group where that is permitted, which is what it returns; a link keeps pointing to it.
async fn replace(disk: &dyn Disk, path: &Path, content: &str) -> Result<io::Result<()>, FileError> {
    let (path, access) = disk.resolve(path).await;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Always the same name, so that what a crash leaves is used up by the next merge.
    let fresh = folder.join(format!(".{name}.satellite"));
    let written = write(disk, &fresh, access, content).await;
    if written.is_err() {
        // A full disk is not made fuller by half a list; it is written anew anyway.
        disk.remove(&fresh).await.ok();
    }
    let kept = written.map_err(failed("write", &fresh))?;
    disk.rename(&fresh, &path).await.map_err(failed("replace", &path))?;
    Ok(kept)
}

/// Makes the file's name, and so which content it stands for, survive a power cut.
async fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    let (path, _) = disk.resolve(path).await;
    let folder = path.parent().unwrap_or(Path::new("/"));
    disk.sync_folder(folder).await.map_err(failed("sync the folder of", &path))
}

/// Makes what is in the file survive a power cut.
async fn make_durable(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    let (path, _) = disk.resolve(path).await;
    let sync = async { disk.open(&path).await?.sync().await };
    sync.await.map_err(failed("sync", &path))?;
    sync_folder(disk, &path).await
}

/// Writes a file that nobody reads yet, durably. Returns whether it is whose it is to be.
/// What has its name is not written into: a power cut in the middle of a rename may have
/// left it as a second name of the list.
async fn write(
    disk: &dyn Disk,
    path: &Path,
    access: Option<Access>,
    content: &str,
) -> io::Result<io::Result<()>> {
    disk.remove(path).await.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = disk.create(path, access.map_or(MODE, |it| it.mode)).await?;
    let given = match access {
        Some(access) => file.give(access.owner, access.group).await,
        None => Ok(()),
    };
    file.append(content.as_bytes()).await?;
    file.sync().await.map(|()| given)
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { operation, path, source }
}

#[cfg(test)]
mod tests;
