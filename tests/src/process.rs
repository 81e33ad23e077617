//! A child process of the harness.
//!
//! It leads a process group of its own, so Ctrl-C reaches the harness alone; its
//! environment is small and the same everywhere, so that a proxy or a locale of
//! the caller changes nothing; its output goes to `log` in its peer's folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::reaper::MARKER;
use crate::run::Run;
use crate::wait::wait_for;

/// From SIGTERM to SIGKILL: what Satellite's daemons promise for a graceful end,
/// and more than any other peer takes.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Worth a remark: nothing in the tests has that much to finish.
const SLOW_STOP: Duration = Duration::from_secs(3);

/// How much of a log is shown when its process ended unexpectedly.
const TAIL_LINES: usize = 15;

/// The variables that a process takes over from the caller.
const INHERITED: [&str; 3] = ["HOME", "PATH", "USER"];

/// A process that can be stopped and started again with the same command. It is
/// stopped when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: Command,
    child: Option<Child>,
    log: PathBuf,
    /// Where in the log the present start begins.
    log_start: u64,
    // The run must outlive its processes.
    _run: Arc<Run>,
}

impl Process {
    /// Starts `command` as the peer `name` of `run`, in the peer's folder.
    pub fn spawn(run: &Arc<Run>, name: &str, mut command: Command) -> Result<Self> {
        let folder = run.peer_folder(name)?;
        command.current_dir(&folder).env_clear().process_group(0).stdin(Stdio::null());
        for variable in INHERITED {
            if let Some(value) = std::env::var_os(variable) {
                command.env(variable, value);
            }
        }
        command.env("LC_ALL", "C.UTF-8").env(MARKER, run.folder());
        let log = folder.join("log");
        let mut process = Self {
            name: name.to_owned(),
            command,
            child: None,
            log,
            log_start: 0,
            _run: Arc::clone(run),
        };
        process.start()?;
        Ok(process)
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), with
    /// the same arguments; the log goes on in the same file.
    pub fn start(&mut self) -> Result<()> {
        if let Some(child) = &self.child {
            bail!("{} runs already, as process {}", self.name, child.id());
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        self.log_start =
            log.metadata().with_context(|| format!("size of {}", self.log.display()))?.len();
        let errors = log.try_clone().context("open the log twice")?;
        self.command.stdout(log).stderr(errors);
        let child = self.command.spawn().with_context(|| {
            format!("start {} ({})", self.name, self.command.get_program().display())
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// The peer's name in this run.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The id of the process that runs.
    pub fn id(&self) -> Result<u32> {
        let child = self.child.as_ref().with_context(|| format!("{} is not started", self.name))?;
        Ok(child.id())
    }

    /// What it has printed since its last start.
    pub fn output(&self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut file =
            File::open(&self.log).with_context(|| format!("open {}", self.log.display()))?;
        file.seek(SeekFrom::Start(self.log_start)).context("seek in the log")?;
        file.read_to_end(&mut bytes).with_context(|| format!("read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An error with the end of the log if it does not run (any more).
    pub fn check_running(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { bail!("{} is not started", self.name) };
        let Some(status) = child.try_wait().context("look at a child")? else { return Ok(()) };
        let output = self.output().unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        bail!("{} ended by itself ({status}); {}:\n    {tail}", self.name, self.log.display());
    }

    /// Waits until `condition` is `Ok`, as [`wait_for`], but fails at once when
    /// the process ends.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        // An `Err` of wait_for's condition means "not yet", so the end of the
        // process goes round it as an `Ok`.
        wait_for(what, within, || match self.check_running() {
            Err(ended) => Ok(Err(ended)),
            Ok(()) => condition(self).map(Ok),
        })?
    }

    /// SIGTERM, then, if that does not end it in time, SIGKILL for its group.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ended = child.try_wait().context("look at a child")?;
        if ended.is_some() {
            return Ok(());
        }
        let pid = pid_of(&child);
        kill_process(pid, Signal::TERM).with_context(|| format!("stop {}", self.name))?;
        // A frozen process takes the SIGTERM only once it goes on.
        kill_process(pid, Signal::CONT).with_context(|| format!("continue {}", self.name))?;
        let start = Instant::now();
        while child.try_wait().context("look at a child")?.is_none() {
            if start.elapsed() > STOP_WITHIN {
                eprintln!("{} does not heed SIGTERM: killed", self.name);
                kill_process_group(pid, Signal::KILL).context("kill a process group")?;
                child.wait().context("wait for a child")?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if start.elapsed() > SLOW_STOP {
            eprintln!("{} took {:.1?} to stop", self.name, start.elapsed());
        }
        Ok(())
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().with_context(|| format!("kill {}", self.name))?;
        child.wait().context("wait for a child")?;
        Ok(())
    }

    /// Sends any signal: SIGHUP to reload, SIGSTOP to freeze, SIGCONT to go on.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} is not started", self.name))?;
        kill_process(pid_of(child), signal)
            .with_context(|| format!("send {signal:?} to {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            // The reaper will have it.
            eprintln!("{error:#}");
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}
