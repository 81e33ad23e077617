//! The clocks of this process: read here and in `main`, handed on as values.

use std::time::Instant;

use jiff::Timestamp;
use satellite_core::Now;

/// Knows when this process began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock of a process that begins now.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// This instant by both clocks. The wall clock is cut to microseconds, which is
    /// what the documents keep: an instant is the same before and after a restart.
    pub(crate) fn now(&self) -> Now {
        let wall = Timestamp::from_microsecond(Timestamp::now().as_microsecond())
            .expect("an instant without its nanoseconds is as representable as with them");
        Now { wall, uptime: self.started.elapsed() }
    }
}
