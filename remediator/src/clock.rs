//! The clocks of this process: read here and in `main`, handed on as values.

use std::sync::Arc;

use jiff::Timestamp;
use satellite_core::Now;
use tokio::time::Instant;

/// Knows when this process began, and where the time of day is to be had.
#[derive(Clone)]
pub(crate) struct Clock {
    /// By the clock that all waits of this process run on.
    started: Instant,
    wall: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Clock {
    /// The clock of a process that begins now.
    pub(crate) fn start() -> Self {
        Self::with_wall(Timestamp::now)
    }

    /// The clock of a process that begins now and has the time of day from `wall`.
    pub(crate) fn with_wall(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { started: Instant::now(), wall: Arc::new(wall) }
    }

    /// This instant by both clocks. The wall clock is cut to microseconds, which is
    /// what the documents keep: an instant is the same before and after a restart.
    pub(crate) fn now(&self) -> Now {
        let wall = Timestamp::from_microsecond((self.wall)().as_microsecond())
            .expect("an instant without its nanoseconds is as representable as with them");
        Now { wall, uptime: self.started.elapsed() }
    }
}
