//! The few things that this program does to files, step by step.
//!
//! They are few so that their order can be judged, and behind a trait so that a
//! simulation can stop the machine between any two of them. The store is a
//! library's and has its own trait.

use std::{
    fs,
    io::{self, SeekFrom},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use futures::{FutureExt as _, future::BoxFuture};
use rustix::fs::OFlags;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

/// A step that may take as long as the disk wants.
pub(crate) type Step<'a, T> = BoxFuture<'a, io::Result<T>>;

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) owner: u32,
    pub(crate) group: u32,
}

/// Folders and the files in them.
pub(crate) trait Disk: Send + Sync {
    /// The content of a file, up to `limit` bytes; `None` where there is none.
    fn read<'a>(&'a self, path: &'a Path, limit: u64) -> Step<'a, Option<Vec<u8>>>;

    /// Where the path leads if it is a link, and whose what is there is.
    fn resolve<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, (PathBuf, Option<Access>)>;

    /// An empty file with that mode, in place of any that was there.
    fn create<'a>(&'a self, path: &'a Path, mode: u32) -> Step<'a, Box<dyn DiskFile>>;

    /// The file to append to, made if it is not there.
    fn open<'a>(&'a self, path: &'a Path) -> Step<'a, Box<dyn DiskFile>>;

    /// Whether something is there.
    fn exists<'a>(&'a self, path: &'a Path) -> Step<'a, bool>;

    /// Gives a file another name, in one step, in place of any that has it.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Step<'a, ()>;

    /// Removes a file.
    fn remove<'a>(&'a self, path: &'a Path) -> Step<'a, ()>;

    /// Makes the folder, where it is not there.
    fn make_folder<'a>(&'a self, folder: &'a Path) -> Step<'a, ()>;

    /// Makes the names in a folder durable.
    fn sync_folder<'a>(&'a self, folder: &'a Path) -> Step<'a, ()>;
}

/// A file that is open for writing.
pub(crate) trait DiskFile: Send + Sync {
    /// Appends. It is visible then, and not yet durable.
    fn append<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a, ()>;

    /// Gives it to an owner and a group, or, where that is not permitted, to the group
    /// alone, which is an error all the same.
    fn give(&mut self, owner: u32, group: u32) -> Step<'_, ()>;

    /// Makes the content durable.
    fn sync(&mut self) -> Step<'_, ()>;

    /// Cuts it to so many bytes.
    fn cut(&mut self, length: u64) -> Step<'_, ()>;

    /// Whether that path still leads to it: somebody may have moved or removed it.
    fn is_at<'a>(&'a self, path: &'a Path) -> Step<'a, bool>;

    /// How long it is, and its last byte.
    fn end(&mut self) -> Step<'_, (u64, Option<u8>)>;
}

/// The disk of this machine.
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn read<'a>(&'a self, path: &'a Path, limit: u64) -> Step<'a, Option<Vec<u8>>> {
        async move {
            let file = match tokio::fs::File::open(path).await {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let mut content = Vec::new();
            file.take(limit).read_to_end(&mut content).await?;
            Ok(Some(content))
        }
        .boxed()
    }

    fn resolve<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, (PathBuf, Option<Access>)> {
        async move {
            let path = tokio::fs::canonicalize(path).await.unwrap_or_else(|_| path.to_owned());
            let metadata = tokio::fs::metadata(&path).await.ok();
            let access = metadata.map(|it| Access {
                mode: it.permissions().mode() & 0o7777,
                owner: it.uid(),
                group: it.gid(),
            });
            (path, access)
        }
        .boxed()
    }

    fn create<'a>(&'a self, path: &'a Path, mode: u32) -> Step<'a, Box<dyn DiskFile>> {
        async move {
            let mut options = tokio::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(mode);
            // A link in its place would have another file emptied and given away.
            options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            let file = options.open(path).await?;
            // The process's umask has taken its share of the mode.
            file.set_permissions(fs::Permissions::from_mode(mode)).await?;
            Ok(Box::new(OsFile(file)) as Box<dyn DiskFile>)
        }
        .boxed()
    }

    fn open<'a>(&'a self, path: &'a Path) -> Step<'a, Box<dyn DiskFile>> {
        async move {
            let mut options = tokio::fs::OpenOptions::new();
            let file = options.create(true).read(true).append(true).open(path).await?;
            Ok(Box::new(OsFile(file)) as Box<dyn DiskFile>)
        }
        .boxed()
    }

    fn exists<'a>(&'a self, path: &'a Path) -> Step<'a, bool> {
        tokio::fs::try_exists(path).boxed()
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> Step<'a, ()> {
        tokio::fs::rename(from, to).boxed()
    }

    fn remove<'a>(&'a self, path: &'a Path) -> Step<'a, ()> {
        tokio::fs::remove_file(path).boxed()
    }

    fn make_folder<'a>(&'a self, folder: &'a Path) -> Step<'a, ()> {
        tokio::fs::create_dir_all(folder).boxed()
    }

    fn sync_folder<'a>(&'a self, folder: &'a Path) -> Step<'a, ()> {
        async move { tokio::fs::File::open(folder).await?.sync_all().await }.boxed()
    }
}

struct OsFile(tokio::fs::File);

impl DiskFile for OsFile {
    fn append<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a, ()> {
        async move {
            self.0.write_all(bytes).await?;
            // What a write has left undone shows here at the latest.
            self.0.flush().await
        }
        .boxed()
    }

    fn give(&mut self, owner: u32, group: u32) -> Step<'_, ()> {
        async move {
            let file = self.0.try_clone().await?.into_std().await;
            let give = move || {
                let given = fchown(&file, Some(owner), Some(group));
                given.or_else(|error| fchown(&file, None, Some(group)).and(Err(error)))
            };
            tokio::task::spawn_blocking(give).await?
        }
        .boxed()
    }

    fn sync(&mut self) -> Step<'_, ()> {
        self.0.sync_all().boxed()
    }

    fn cut(&mut self, length: u64) -> Step<'_, ()> {
        self.0.set_len(length).boxed()
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> Step<'a, bool> {
        async move {
            let there = match tokio::fs::metadata(path).await {
                Ok(there) => there,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            };
            let ours = self.0.metadata().await?;
            Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        }
        .boxed()
    }

    fn end(&mut self) -> Step<'_, (u64, Option<u8>)> {
        async move {
            let length = self.0.seek(SeekFrom::End(0)).await?;
            if length == 0 {
                return Ok((0, None));
            }
            self.0.seek(SeekFrom::End(-1)).await?;
            let last = self.0.read_u8().await?;
            Ok((length, Some(last)))
        }
        .boxed()
    }
}
