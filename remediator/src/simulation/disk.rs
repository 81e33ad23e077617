//! A disk that forgets what was not made durable, and the remediator's way to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use fastrand::Rng;
use futures::{FutureExt as _, future::BoxFuture};

use super::world::{Area, Fate, Shared};
use crate::disk::{Access, Disk, DiskFile, Step};

/// The files, as they look and as a power cut would leave them.
#[derive(Default)]
pub(super) struct Files {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
}

#[derive(Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
}

impl Files {
    /// What a reader sees.
    pub(super) fn content(&self, path: &Path) -> Option<&[u8]> {
        self.names.get(path).map(|&inode| self.inodes[inode].content.as_slice())
    }

    /// What a reader would see after a power cut that loses all it can.
    pub(super) fn durable_content(&self, path: &Path) -> Option<&[u8]> {
        self.durable_names.get(path).map(|&inode| self.inodes[inode].durable.as_slice())
    }

    /// Somebody else writes a file, durably.
    pub(super) fn put(&mut self, path: &Path, content: &[u8]) {
        let inode = self.create(path);
        self.inodes[inode] = Inode { content: content.to_vec(), durable: content.to_vec() };
        self.durable_names.insert(path.to_owned(), inode);
    }

    fn open(&mut self, path: &Path) -> usize {
        let fresh = self.inodes.len();
        let inode = *self.names.entry(path.to_owned()).or_insert(fresh);
        if inode == fresh {
            self.inodes.push(Inode::default());
        }
        inode
    }

    /// Like `O_TRUNC`: a file that is there keeps its identity.
    fn create(&mut self, path: &Path) -> usize {
        let inode = self.open(path);
        self.inodes[inode].content.clear();
        inode
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_folder(&mut self, folder: &Path) {
        let inside = |path: &PathBuf| path.parent() == Some(folder);
        self.durable_names.retain(|path, _| !inside(path));
        let names = self.names.iter().filter(|(path, _)| inside(path));
        self.durable_names.extend(names.map(|(path, inode)| (path.clone(), *inode)));
    }

    /// The power fails. Of what was not made durable anything may be left: each
    /// name by itself, each content up to any byte. What is durable stays where it
    /// was only appended to.
    pub(super) fn cut_power(&mut self, dice: &mut Rng) {
        let paths: BTreeSet<PathBuf> =
            self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for path in paths {
            let source = if dice.bool() { &self.durable_names } else { &self.names };
            match source.get(&path).copied() {
                Some(inode) => self.names.insert(path, inode),
                None => self.names.remove(&path),
            };
        }
        self.durable_names = self.names.clone();
        for inode in self.inodes.iter_mut().filter(|it| it.content != it.durable) {
            match dice.u8(0..3) {
                0 => inode.content.clone_from(&inode.durable),
                1 => {
                    let appended = inode.content.starts_with(&inode.durable);
                    let kept = if appended { inode.durable.len() } else { 0 };
                    inode.content.truncate(dice.usize(kept..=inode.content.len()));
                }
                _ => {}
            }
            inode.durable.clone_from(&inode.content);
        }
    }
}

/// The remediator's way to the files of the world.
pub(super) struct SimulatedDisk(pub(super) Shared);

impl SimulatedDisk {
    fn step<'a, T: Send>(
        &'a self,
        what: &'static str,
        path: &'a Path,
        act: impl FnOnce(&mut Files) -> io::Result<T> + Send + 'a,
    ) -> Step<'a, T> {
        step(&self.0, what, path, act)
    }
}

/// One step: it takes a moment, in which anything may happen; it may fail, and it
/// may be the last one.
fn step<'a, T: Send>(
    shared: &'a Shared,
    what: &'static str,
    path: &'a Path,
    act: impl FnOnce(&mut Files) -> io::Result<T> + Send + 'a,
) -> Step<'a, T> {
    async move {
        shared.hang(Area::of(path)).await;
        let fate = shared.face(Area::of(path), what, &path.display()).await;
        let outcome = match fate {
            Fate::Fails => return Err(io::ErrorKind::StorageFull.into()),
            Fate::DiesBefore => None,
            Fate::Succeeds | Fate::DiesAfter => Some(shared.with(|world| {
                let outcome = act(&mut world.instances[shared.who].files);
                world.look_at_whitelist(shared.who);
                outcome
            })),
        };
        match (fate, outcome) {
            (Fate::Succeeds, Some(outcome)) => outcome,
            _ => shared.die().await,
        }
    }
    .boxed()
}

impl Disk for SimulatedDisk {
    fn read<'a>(&'a self, path: &'a Path, limit: u64) -> Step<'a, Option<Vec<u8>>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.step("read", path, move |files| {
            let content = files.content(path);
            Ok(content.map(|it| it[..it.len().min(limit)].to_vec()))
        })
    }

    fn resolve<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, (PathBuf, Option<Access>)> {
        std::future::ready((path.to_owned(), None)).boxed()
    }

    fn create<'a>(&'a self, path: &'a Path, _mode: u32) -> Step<'a, Box<dyn DiskFile>> {
        let (shared, owned) = (self.0.clone(), path.to_owned());
        self.step("create", path, move |files| {
            let inode = files.create(&owned);
            Ok(Box::new(SimulatedFile { shared, path: owned, inode }) as Box<dyn DiskFile>)
        })
    }

    fn open<'a>(&'a self, path: &'a Path) -> Step<'a, Box<dyn DiskFile>> {
        let (shared, owned) = (self.0.clone(), path.to_owned());
        self.step("open", path, move |files| {
            let inode = files.open(&owned);
            Ok(Box::new(SimulatedFile { shared, path: owned, inode }) as Box<dyn DiskFile>)
        })
    }

    fn exists<'a>(&'a self, path: &'a Path) -> Step<'a, bool> {
        self.step("look for", path, move |files| Ok(files.content(path).is_some()))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Step<'a, ()> {
        self.step("rename to", to, move |files| files.rename(from, to))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Step<'a, ()> {
        self.step("remove", path, move |files| {
            files.names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    fn make_folder<'a>(&'a self, folder: &'a Path) -> Step<'a, ()> {
        self.step("make", folder, |_| Ok(()))
    }

    fn sync_folder<'a>(&'a self, folder: &'a Path) -> Step<'a, ()> {
        self.step("sync", folder, move |files| {
            files.sync_folder(folder);
            Ok(())
        })
    }
}

struct SimulatedFile {
    shared: Shared,
    path: PathBuf,
    inode: usize,
}

impl SimulatedFile {
    fn step<'a, T: Send>(
        &'a self,
        what: &'static str,
        act: impl FnOnce(&mut Inode) -> T + Send + 'a,
    ) -> Step<'a, T> {
        let inode = self.inode;
        step(&self.shared, what, &self.path, move |files| Ok(act(&mut files.inodes[inode])))
    }
}

impl DiskFile for SimulatedFile {
    fn append<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a, ()> {
        let half = bytes.len() / 2;
        let this = &*self;
        async move {
            // A crash or a full disk may leave a part of it.
            this.step("append half to", |inode| inode.content.extend(&bytes[..half])).await?;
            this.step("append to", |inode| inode.content.extend(&bytes[half..])).await
        }
        .boxed()
    }

    fn give(&mut self, _owner: u32, _group: u32) -> Step<'_, ()> {
        std::future::ready(Ok(())).boxed()
    }

    fn sync(&mut self) -> Step<'_, ()> {
        self.step("sync", |inode| inode.durable.clone_from(&inode.content))
    }

    fn cut(&mut self, length: u64) -> Step<'_, ()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.step("cut", move |inode| inode.content.truncate(length))
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> Step<'a, bool> {
        let inode = self.inode;
        step(&self.shared, "look for", path, move |files| Ok(files.names.get(path) == Some(&inode)))
    }

    fn end(&mut self) -> Step<'_, (u64, Option<u8>)> {
        self.step("look at the end of", |inode| {
            (inode.content.len() as u64, inode.content.last().copied())
        })
    }
}
