//! `guard-whitelist`: a Mesos master does not start without a whitelist.
//!
//! Mesos decides at its start what a missing file means, and makes offers to every agent then;
//! an empty one stops all offers. So a file that lists hosts is left alone, whatever else may be
//! the case: a master must be able to start while the remediator is down. What only a person can
//! judge is told and not touched.
//!
//! What is written in place of a missing file is the remediator's own file, or nothing. The hosts
//! that are on would be less than that: the floor keeps hosts in the file that are off, and a
//! remediator that starts on a list without them would take it that they have left. And an answer
//! may be of a moment before or after a merge, of a remediator that has not made its first one, or
//! cut short. So the list is put together from what is on and what is kept, and counts only if its
//! SHA-256 is the one that the remediator says its file has.
//!
//! A list that somebody else has written meanwhile, who can only be the remediator, is not
//! replaced.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use satellite_core::HostName;
use satellite_core::facts::FoundFile;
use satellite_core::whitelist::{self, MAX_FILE_BYTES, Unreadable};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

use crate::answer::{HostNames, Status};
use crate::api::{Api, ApiError};
use crate::args::Guard;
use crate::{output, text};

/// Between two attempts to have the list: a merge that was under way is over by then.
const PAUSE: Duration = Duration::from_millis(500);
/// Mesos may run as another user and must be able to read.
const MODE: u32 = 0o644;

/// Told of a list that came while this one waited.
const WRITTEN_BY_ANOTHER: &str = "was written by somebody else meanwhile, and lists hosts";

/// What is at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A list of hosts.
    List,
    /// The line that stands for nobody, and counts as no file.
    Placeholder,
    Nothing,
}

/// Why what is at the path can be neither used nor replaced.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    System { operation: &'static str, path: PathBuf, source: io::Error },
    /// It is something else than a file.
    #[error("{} is {what}, and Mesos needs a file there: remove it", path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    /// Nobody makes offers with it, which may be a wish or an accident.
    #[error(
        "{} is empty, so that Mesos would make no offers at all: write the hosts into it, or \
         remove it to have the remediator's list", path.display()
    )]
    Empty { path: PathBuf },
    /// Mesos would take it, and not as it is meant.
    #[error(
        "{} is no whitelist, which is a host name on each line and nothing else: mend it, or \
         remove it to have the remediator's list", path.display()
    )]
    NotAList { path: PathBuf, source: Option<Unreadable> },
}

/// Why there is no list of the remediator's.
#[derive(Debug, thiserror::Error)]
enum NoList {
    /// It could not be asked.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// It would do other things than it does.
    #[error("the remediator makes a dry run: what it would write is not in force")]
    DryRun,
    /// It knows no list yet.
    #[error("the remediator has written no list since its start{}", told(failure.as_deref()))]
    NotMerged { failure: Option<String> },
    /// A merge is due, or cannot be made.
    #[error("the remediator's file is not what it should be now{}", told(failure.as_deref()))]
    NotInForce { failure: Option<String> },
    /// There is a list, and when it was to be put in place, something was there.
    #[error("somebody else has written the file meanwhile")]
    Overtaken,
    /// The time was over before there was an answer.
    #[error("the remediator has not answered in time")]
    Late,
}

fn told(failure: Option<&str>) -> String {
    failure.map_or_else(String::new, |failure| format!(": {failure}"))
}

/// Sees that a list is there, and says what came of it. The remediator is spoken to only where it
/// is needed.
pub(crate) async fn guard(
    order: &Guard,
    connect: impl FnOnce() -> Result<Api, ApiError>,
) -> anyhow::Result<()> {
    let Guard { file, bootstrap, wait } = order;
    let done = match look(file)? {
        Found::List => "lists hosts".to_owned(),
        found => match fetch(file, *wait, connect).await? {
            Ok(done) => done.to_owned(),
            Err(reason) if *bootstrap => {
                let reason = anyhow::Error::new(reason);
                format!("{} ({reason:#})", write_placeholder(file)?)
            }
            Err(reason) => {
                let found = match found {
                    Found::Placeholder => "lists nobody yet",
                    _ => "is not there, and without it Mesos makes offers to every agent",
                };
                let file = file.display();
                return Err(anyhow::Error::new(reason).context(format!(
                    "{file} {found}; the remediator's list is not to be had (--bootstrap starts \
                     with a list of nobody)"
                )));
            }
        },
    };
    let told = text::one_line(&format!("{} {done}", file.display()));
    output::print(told.as_bytes()).context("cannot write to stdout")
}

/// Tries until the time is over to put the remediator's list in place. The inner error is for
/// want of a list; the outer one says that none could be written.
async fn fetch(
    file: &Path,
    wait: Duration,
    connect: impl FnOnce() -> Result<Api, ApiError>,
) -> Result<Result<&'static str, NoList>, FileError> {
    let deadline = Instant::now() + wait;
    let api = match connect() {
        Ok(api) => api,
        Err(error) => return Ok(Err(error.into())),
    };
    let mut reason = NoList::Late;
    loop {
        match timeout_at(deadline, ask_for_list(&api)).await {
            Ok(Ok(list)) if put(file, &list)? => {
                return Ok(Ok("has the remediator's list now"));
            }
            Ok(Ok(_)) => reason = NoList::Overtaken,
            Ok(Err(why)) => reason = why,
            // What was said before tells more.
            Err(_) => {}
        }
        if look(file)? == Found::List {
            return Ok(Ok(WRITTEN_BY_ANOTHER));
        }
        if Instant::now() + PAUSE >= deadline {
            return Ok(Err(reason));
        }
        sleep(PAUSE).await;
    }
}

/// The content of the remediator's file.
async fn ask_for_list(api: &Api) -> Result<String, NoList> {
    let status: Status = api.get(&["status"], &[]).await?.read()?;
    if status.dry_run {
        return Err(NoList::DryRun);
    }
    let in_file = status.whitelist;
    if in_file.hash.is_empty() {
        return Err(NoList::NotMerged { failure: in_file.failure });
    }
    let on: HostNames = api.get(&["hosts"], &[("state", "on".to_owned())]).await?.read()?;
    let mut hosts: BTreeSet<HostName> = on.hosts.into_iter().map(|named| named.host).collect();
    hosts.extend(in_file.kept.iter().filter_map(|host| host.parse().ok()));
    let list = whitelist::render(&hosts);
    if format!("{:x}", Sha256::digest(&list)) == in_file.hash {
        Ok(list)
    } else {
        Err(NoList::NotInForce { failure: in_file.failure })
    }
}

/// Has the master start without the list that could not be had.
fn write_placeholder(file: &Path) -> Result<&'static str, FileError> {
    if look(file)? == Found::Nothing {
        put(file, &whitelist::render(&BTreeSet::new()))?;
    }
    Ok(match look(file)? {
        Found::List => WRITTEN_BY_ANOTHER,
        _ => "lists nobody: no agent gets offers until the remediator writes its list",
    })
}

/// Looks at the file as the remediator does.
fn look(file: &Path) -> Result<Found, FileError> {
    let not_a_file = |what| FileError::NotAFile { path: file.to_owned(), what };
    let metadata = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_link = fs::symlink_metadata(file).is_ok_and(|it| it.is_symlink());
            return match is_link {
                true => Err(not_a_file("a symbolic link to nothing")),
                false => Ok(Found::Nothing),
            };
        }
        metadata => metadata.map_err(failed("look at", file))?,
    };
    if metadata.is_dir() {
        return Err(not_a_file("a folder"));
    }
    if !metadata.is_file() {
        return Err(not_a_file("no plain file"));
    }
    let no_list = |source| FileError::NotAList { path: file.to_owned(), source };
    let mut content = Vec::new();
    let opened = File::open(file).map_err(failed("open", file))?;
    opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failed("read", file))?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(no_list(None));
    }
    let content = String::from_utf8(content).map_err(|_| no_list(None))?;
    match whitelist::read(&content) {
        Ok(FoundFile::Lists(_)) => Ok(Found::List),
        Ok(FoundFile::Missing) => Ok(Found::Placeholder),
        Err(Unreadable::Empty) => Err(FileError::Empty { path: file.to_owned() }),
        Err(error) => Err(no_list(Some(error))),
    }
}

/// Puts a list in place of nothing, or of the placeholder; `false`: somebody else was faster.
/// Whoever reads sees all of it or none, and a power cut afterwards does not take it away.
fn put(file: &Path, list: &str) -> Result<bool, FileError> {
    // Of a link, what it leads to is replaced.
    let path = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // No other process that lives writes under this name. The remediator has one of its own.
    let fresh = folder.join(format!(".{name}.satctl-{}", std::process::id()));
    let placed = write(&fresh, list).map_err(failed("write", &fresh)).and_then(|()| {
        // As late as can be.
        let found = look(file)?;
        place(&fresh, &path, found).map_err(failed("put a list in place of", &path))
    });
    if !matches!(placed, Ok(true)) {
        fs::remove_file(&fresh).ok();
        return placed;
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("sync the folder of", &path)).map(|()| true)
}

fn write(path: &Path, content: &str) -> io::Result<()> {
    // What a killed one has left.
    fs::remove_file(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    // The umask has taken its share of the mode.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

/// Gives a whole file its name, in place of what was found there.
fn place(fresh: &Path, path: &Path, found: Found) -> io::Result<bool> {
    let replaced = || fs::rename(fresh, path).map(|()| true);
    match found {
        Found::List => Ok(false),
        Found::Placeholder => replaced(),
        Found::Nothing => match renameat_with(CWD, fresh, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            // NFS cannot do this, for one. A moment ago there was nothing.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => replaced(),
            Err(error) => Err(error.into()),
        },
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { operation, path, source }
}
