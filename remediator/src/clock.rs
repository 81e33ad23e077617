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

    /// This instant by both clocks.
    pub(crate) fn now(&self) -> Now {
        Now { wall: Timestamp::now(), uptime: self.started.elapsed() }
    }
}
