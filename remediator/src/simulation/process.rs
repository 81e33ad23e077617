//! A process of the operating system: its tasks get on only while it runs.
//!
//! What `kill -STOP` does can come between any two instructions. What a process does is seen
//! outside only by what it asks for, and there it waits: so it is stopped where it waits, and
//! all that lies between two waits is done as if it were at the first.
//! It knows nothing of what its tasks do.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

/// One process. Every copy is the same one.
#[derive(Clone)]
pub(super) struct Process(Arc<Mutex<State>>);

struct State {
    condition: Condition,
    /// How often its tasks have come to wait.
    waits: u64,
    /// At which wait it is stopped.
    stop_at: Option<u64>,
    /// Who waits for another condition.
    waiting: Vec<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Running,
    /// As `kill -STOP` leaves it.
    Stopped,
    /// It never gets any further.
    Dead,
}

impl Process {
    pub(super) fn start() -> Self {
        Self::new(Condition::Running)
    }

    /// One that was never there.
    pub(super) fn dead() -> Self {
        Self::new(Condition::Dead)
    }

    fn new(condition: Condition) -> Self {
        let state = State { condition, waits: 0, stop_at: None, waiting: Vec::new() };
        Self(Arc::new(Mutex::new(state)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn is(&self, condition: Condition) -> bool {
        self.with(|state| state.condition == condition)
    }

    /// Stops it when its tasks have come to wait so many times from now.
    pub(super) fn stop_after(&self, waits: u64) {
        self.with(|state| state.stop_at = Some(state.waits + waits));
    }

    pub(super) fn go_on(&self) {
        self.with(|state| {
            state.stop_at = None;
            state.turn(Condition::Running);
        });
    }

    pub(super) fn kill(&self) {
        self.with(|state| state.turn(Condition::Dead));
    }

    /// Waits until it is in this condition.
    pub(super) async fn until(&self, condition: Condition) {
        poll_fn(|context| self.with(|state| state.wait_for(condition, context))).await;
    }

    /// One of its tasks, which is polled only while it runs, and whose waits are counted.
    pub(super) async fn hold<T>(self, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        poll_fn(|context| {
            if self.with(|state| state.wait_for(Condition::Running, context)).is_pending() {
                return Poll::Pending;
            }
            let polled = task.as_mut().poll(context);
            if polled.is_pending() {
                self.with(State::count);
            }
            polled
        })
        .await
    }
}

impl State {
    /// Nothing follows on death.
    fn turn(&mut self, condition: Condition) {
        if self.condition != Condition::Dead {
            self.condition = condition;
        }
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wait_for(&mut self, condition: Condition, context: &Context<'_>) -> Poll<()> {
        if self.condition == condition {
            return Poll::Ready(());
        }
        if !self.waiting.iter().any(|it| it.will_wake(context.waker())) {
            self.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    fn count(&mut self) {
        self.waits += 1;
        if self.stop_at == Some(self.waits) {
            self.stop_at = None;
            self.turn(Condition::Stopped);
        }
    }
}
