//! What one run of the tests or of the demo owns: a folder, a block of loopback
//! addresses, and a reaper that ends its processes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::address::AddressBlock;
use crate::reaper::{Reaper, marked_processes};
use crate::{address, layout};

/// Folders of failed runs are kept for a person to look at, but not for ever.
const KEEP_FOLDERS_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// One run. Every process of it holds an `Arc` of this, so it ends last.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    addresses: AddressBlock,
    // `Option` to be dropped before the folder is removed.
    reaper: Mutex<Option<Reaper>>,
    succeeded: AtomicBool,
}

impl Run {
    /// Makes the folder `target/runs/NAME-…`, claims addresses, starts the reaper.
    pub fn start(name: &str) -> Result<Arc<Self>> {
        let now = Timestamp::now();
        let runs = layout::target_dir()?.join("runs");
        remove_old(&runs, now);
        let folder = runs.join(format!(
            "{name}-{}-{}",
            now.strftime("%Y%m%dT%H%M%S%3f"),
            std::process::id()
        ));
        std::fs::create_dir_all(&runs).with_context(|| format!("make {}", runs.display()))?;
        // Not `_all`: the folder must be new.
        std::fs::create_dir(&folder).with_context(|| format!("make {}", folder.display()))?;
        let seed = u64::from(std::process::id()).wrapping_mul(2_654_435_761)
            ^ u64::from(now.subsec_nanosecond().unsigned_abs());
        let addresses = AddressBlock::claim(seed)?;
        let reaper = Reaper::start(&folder, addresses.share_lock()?)?;
        Ok(Arc::new(Self {
            folder,
            addresses,
            reaper: Mutex::new(Some(reaper)),
            succeeded: AtomicBool::new(false),
        }))
    }

    /// The run's folder: one folder per peer, each with its `log`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a peer, made on first use.
    pub fn peer_folder(&self, peer: &str) -> Result<PathBuf> {
        let folder = self.folder.join(peer);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// The run's own address that ends in `host`.
    pub fn ip(&self, host: u8) -> Ipv4Addr {
        self.addresses.ip(host)
    }

    /// A port that is free at the run's address that ends in `host`.
    pub fn free_port(&self, host: u8) -> Result<u16> {
        address::free_port(self.ip(host))
    }

    /// Says that all went well: the folder is removed at the end. Without it the
    /// folder is kept, and its path is printed.
    pub fn succeed(&self) {
        self.succeeded.store(true, Ordering::Relaxed);
    }

    /// Lets the run's processes and its folder outlive it. Whoever asks for it
    /// must also `mem::forget` what holds the processes, since dropping a
    /// process stops it.
    pub fn keep_running(&self) -> Result<()> {
        let mut reaper = self.reaper.lock().expect("no holder of this lock can panic");
        reaper.as_mut().context("the run has no reaper any more")?.release()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Ok(reaper) = self.reaper.get_mut() {
            *reaper = None; // returns when the last process is gone
        }
        let keep = std::thread::panicking() || !self.succeeded.load(Ordering::Relaxed);
        if keep {
            eprintln!("logs of this run: {}", self.folder.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Removes what old failed runs left, except where something still runs. It is
/// housekeeping: what cannot be removed now will be tried again next time.
fn remove_old(runs: &Path, now: Timestamp) {
    let Ok(entries) = std::fs::read_dir(runs) else { return };
    for folder in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let modified = folder.metadata().and_then(|data| data.modified()).ok();
        let age = modified
            .and_then(|time| Timestamp::try_from(time).ok())
            .map_or(Duration::ZERO, |time| now.duration_since(time).unsigned_abs());
        let idle = marked_processes(&folder).is_ok_and(|left| left.is_empty());
        if age > KEEP_FOLDERS_FOR && idle {
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
}
