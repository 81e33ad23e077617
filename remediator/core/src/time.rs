//! Time as the core sees it: handed in, never read.

use std::time::Duration;

use jiff::Timestamp;

/// The instant of one round, by both clocks.
///
/// What is told to people and kept in documents is wall time. What this process
/// waits for runs on the monotonic clock, so that a clock that is set forward
/// never shortens a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// How long this process has run, by the monotonic clock.
    pub uptime: Duration,
}

impl Now {
    /// The wall time at which a wait that ends at `uptime` is over.
    #[must_use]
    pub fn wall_at(&self, uptime: Duration) -> Timestamp {
        later(self.wall, uptime.saturating_sub(self.uptime))
    }

    /// When this process began, by the wall clock.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        earlier(self.wall, self.uptime)
    }
}

/// `time + wait`, held at the end of representable time.
#[must_use]
pub fn later(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// `time - wait`, held at the beginning of representable time.
#[must_use]
pub fn earlier(time: Timestamp, wait: Duration) -> Timestamp {
    time.checked_sub(wait).unwrap_or(Timestamp::MIN)
}

/// How long before `now` the instant `then` was; zero if it lies ahead.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or(Duration::ZERO)
}

/// A duration as people write it, cut to whole seconds: `1h 30m`, `45s`.
#[must_use]
pub fn brief(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}
