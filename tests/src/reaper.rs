//! Ending every process of a run, whatever became of the run.
//!
//! Each process that the harness starts carries [`MARKER`] in its environment,
//! and hands it down to its children: host checks, Mesos executors, tasks. The
//! reaper is a small program that holds the reading end of a pipe from the
//! harness. When the harness is gone (done, panicked, interrupted, killed by
//! SIGKILL) the pipe closes, and the reaper kills whatever carries the mark of
//! this one run.
//!
//! A mark rather than a list of process ids: it cannot miss a process that was
//! started just before the end, nor one that a peer started, and it cannot hit
//! a stranger that got the number of a dead one. A process is held by a pidfd
//! while its mark is read and the signal is sent, so both mean the same process.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setsid};

use crate::layout;

/// The environment variable whose value is the run's folder.
pub const MARKER: &str = "SATELLITE_TEST_RUN";

/// What the harness writes into the pipe to have the processes left alone.
const KEEP: u8 = b'k';

/// A process that was just forked shows its mark only once it has called exec;
/// so the reaper is done when it found nothing for this long.
const QUIET: Duration = Duration::from_millis(300);

/// Killed processes vanish at once; if some do not (stuck in the kernel), the
/// reaper does not wait for them for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at the process list.
const POLL: Duration = Duration::from_millis(50);

/// Between two looks at a cluster that was left running.
const KEEP_POLL: Duration = Duration::from_secs(1);

/// The harness's end: the reaper acts when this is dropped.
#[derive(Debug)]
pub struct Reaper {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Reaper {
    /// Starts the reaper of the run in `folder`. It holds `lock` until it ends.
    pub fn start(folder: &Path, lock: File) -> Result<Self> {
        let log = File::create(folder.join("reaper.log")).context("make the reaper's log")?;
        let mut child = Command::new(layout::built("satellite-reaper")?)
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(log)
            .spawn()
            .context("start the reaper")?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Lets all processes of the run live. The reaper stays until they are gone,
    /// since it holds the run's addresses.
    pub fn release(&mut self) -> Result<()> {
        use std::io::Write;
        let mut pipe = self.pipe.take().context("the reaper was released before")?;
        pipe.write_all(&[KEEP]).context("tell the reaper to keep the processes")
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // Closing the pipe is the sign. Released, it outlives us.
        if self.pipe.take().is_some()
            && let Err(error) = self.child.wait()
        {
            eprintln!("the reaper cannot be waited for: {error}");
        }
    }
}

/// The reaper's main: waits for the end of the harness, then acts.
pub fn guard(folder: &Path, mut pipe: impl Read) -> Result<()> {
    // Away from the terminal's session: Ctrl-C and a hang-up are for the harness.
    // It fails only where this process leads a group, started by hand: no matter.
    let _ = setsid();
    let mut message = [0];
    // An error of the pipe is its end as well.
    if pipe.read(&mut message).unwrap_or(0) == 1 && message[0] == KEEP {
        while !marked_processes(folder)?.is_empty() {
            std::thread::sleep(KEEP_POLL);
        }
        return Ok(());
    }
    reap(folder)
}

/// Kills every process of the run in `folder` and returns when none is left.
pub fn reap(folder: &Path) -> Result<()> {
    let start = Instant::now();
    let mut last_seen = start;
    while last_seen.elapsed() < QUIET {
        for process in marked_processes(folder)? {
            last_seen = Instant::now();
            // It may have ended in between, which is all that is wanted.
            let _ = pidfd_send_signal(&process.handle, Signal::KILL);
        }
        if start.elapsed() > PATIENCE {
            let left: Vec<_> = marked_processes(folder)?.iter().map(|p| p.pid).collect();
            anyhow::bail!("killed, but still there after {PATIENCE:?}: {left:?}");
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A process that carries the mark of a run.
#[derive(Debug)]
pub struct MarkedProcess {
    /// Its process id.
    pub pid: i32,
    handle: OwnedFd,
}

/// Every process that carries the mark of the run in `folder`.
pub fn marked_processes(folder: &Path) -> Result<Vec<MarkedProcess>> {
    let mark = mark_of(folder);
    let entries = std::fs::read_dir("/proc").context("list /proc")?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| open_marked(pid, &mark)).collect())
}

fn mark_of(folder: &Path) -> Vec<u8> {
    let mut mark = format!("{MARKER}=").into_bytes();
    mark.extend_from_slice(folder.as_os_str().as_encoded_bytes());
    mark
}

/// `None` for a process that is not ours, or no longer there.
fn open_marked(pid: i32, mark: &[u8]) -> Option<MarkedProcess> {
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let environment = std::fs::read(PathBuf::from(format!("/proc/{pid}/environ"))).ok()?;
    environment.split(|byte| *byte == 0).any(|variable| variable == mark).then_some(())?;
    Some(MarkedProcess { pid, handle })
}
