//! Not to ask faster than Mesos answers.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Mesos answers `/metrics/snapshot` and `/monitor/statistics` twice a second each and
/// lets further requests wait, also those of others (libprocess's rate limiters). Whoever
/// asks no faster never waits there, and leaves the queue to them.
const INTERVAL: Duration = Duration::from_millis(500);

/// Spaces the requests to one such endpoint.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: Mutex<Option<Instant>>,
}

impl Pace {
    /// Waits until it is this caller's turn.
    pub(super) async fn turn(&self) {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + INTERVAL).await;
        }
        *last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_half_a_second_apart_and_the_first_waits_for_nothing() {
        let pace = Pace::default();
        let started = Instant::now();
        let mut turns = Vec::new();
        for _ in 0..3 {
            pace.turn().await;
            turns.push(started.elapsed().as_millis());
        }
        assert_eq!(turns, [0, 500, 1000]);
        tokio::time::advance(INTERVAL * 3).await;
        pace.turn().await;
        assert_eq!(started.elapsed().as_millis(), 2500);
    }
}
