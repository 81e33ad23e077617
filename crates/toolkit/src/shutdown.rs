//! How a daemon is asked to end, and how long it may take.
//!
//! One [`Shutdown`] owns the cancellation token that every long-lived task watches and
//! the tracker that counts them. SIGTERM and SIGINT cancel the token; a second one
//! ends the waiting at once.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// How long a daemon may take to end. Supervisors kill after 10 s or more
/// (docker stop: 10 s), and a kill loses what a clean end would have kept.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long threads that block (a file system call, say) may outlive the daemon's end.
const BLOCKING_GRACE: Duration = Duration::from_millis(500);

/// The owner of a daemon's tasks and of its end.
#[derive(Debug)]
pub struct Shutdown {
    token: CancellationToken,
    aborted: CancellationToken,
    tracker: TaskTracker,
    signals: JoinHandle<()>,
}

/// How the waiting for a daemon's tasks ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every task has ended.
    Cleanly,
    /// The grace was over before this many tasks had ended.
    TooSlow(usize),
    /// A second signal came before this many tasks had ended.
    Aborted(usize),
}

impl Shutdown {
    /// Listens for SIGTERM and SIGINT from now on. Needs a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let token = CancellationToken::new();
        let aborted = CancellationToken::new();
        let signals = tokio::spawn(watch(terminate, interrupt, token.clone(), aborted.clone()));
        Ok(Self { token, aborted, tracker: TaskTracker::new(), signals })
    }

    /// What every task watches; cancelled when the daemon is to end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Counts tasks that are spawned elsewhere and must end before the daemon does.
    pub fn tracker(&self) -> TaskTracker {
        self.tracker.clone()
    }

    /// Starts a task that [`drain`](Self::drain) waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// Tells every task to end and waits for them, for `grace` (at most [`GRACE`]).
    pub async fn drain(self, grace: Duration) -> Drained {
        self.token.cancel();
        self.tracker.close();
        let drained = tokio::select! {
            () = self.tracker.wait() => Drained::Cleanly,
            () = self.aborted.cancelled() => Drained::Aborted(self.tracker.len()),
            () = tokio::time::sleep(grace.min(GRACE)) => Drained::TooSlow(self.tracker.len()),
        };
        match drained {
            Drained::Cleanly => info!("Ended"),
            Drained::TooSlow(tasks) => warn!(tasks, "Ended before all tasks were done"),
            Drained::Aborted(tasks) => warn!(tasks, "Ended at once, as a second signal asked"),
        }
        drained
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        self.signals.abort();
    }
}

/// The first signal cancels `token`, the second `aborted`.
async fn watch(
    mut terminate: Signal,
    mut interrupt: Signal,
    token: CancellationToken,
    aborted: CancellationToken,
) {
    for stage in [token, aborted] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "Ending");
        stage.cancel();
    }
}

/// On how many threads a daemon does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// On its only one: for a daemon that shall take little of a machine that is there for
    /// others. What is allocated and freed on one thread fits into half of the memory.
    One,
    /// On one for each processor.
    Many,
}

/// Runs a daemon to its end.
///
/// `#[tokio::main]` waits for blocked threads without bound when it drops its runtime;
/// here they get a named limit.
pub fn block_on<F: Future>(threads: Threads, daemon: F) -> io::Result<F::Output> {
    let mut runtime = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Many => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.enable_all().build()?;
    let output = runtime.block_on(daemon);
    runtime.shutdown_timeout(BLOCKING_GRACE);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_tasks_that_end_on_the_token() {
        let shutdown = Shutdown::on_signals().unwrap();
        let token = shutdown.token();
        let task = shutdown.spawn(async move {
            token.cancelled().await;
            "done"
        });
        assert_eq!(shutdown.drain(GRACE).await, Drained::Cleanly);
        assert_eq!(task.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn drain_ends_when_the_grace_is_over() {
        let shutdown = Shutdown::on_signals().unwrap();
        let task = shutdown.spawn(std::future::pending::<()>());
        assert_eq!(shutdown.drain(Duration::from_millis(10)).await, Drained::TooSlow(1));
        task.abort();
    }
}
