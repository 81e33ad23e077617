//! `rate_limit`: so many requests at once, and then one in each interval, whoever asks.

use std::{sync::Mutex, time::Duration};

use satellite_yaml::Complaints;
use tokio::time::Instant;

use super::raw::{Interval, RateLimit};

/// A daemon that answers less often answers nobody. It also keeps the sums below in bounds.
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// More requests at once are no limit.
const MAX_BURST: u32 = 1_000_000;

/// A bucket that holds `burst` requests and gains one in each interval.
///
/// Kept as the time at which it will be full again: one number, and no task that fills it.
#[derive(Debug)]
pub(super) struct Rate {
    interval: Duration,
    burst: u32,
    full_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// Takes one request out, if there is one.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock().expect("no holder of this lock panics");
        let from = full_at.map_or(now, |full_at| full_at.max(now));
        let next = from + self.interval;
        let admits = next - now <= self.interval * self.burst;
        if admits {
            *full_at = Some(next);
        }
        admits
    }
}

/// The limit, if there is to be one.
pub(super) fn judge(raw: RateLimit, complaints: &mut Complaints) -> Option<Rate> {
    let interval = match raw.interval {
        None | Some(Interval::Number(0)) => Duration::ZERO,
        Some(Interval::Number(_)) => {
            complaints.add("rate_limit.interval", "needs a unit, such as \"1s\"");
            return None;
        }
        Some(Interval::Text(text)) => match humantime::parse_duration(&text) {
            Ok(interval) => interval,
            Err(_) => {
                let problem = format!("{text:?} is not a duration such as \"1s\" or \"100ms\"");
                complaints.add("rate_limit.interval", problem);
                return None;
            }
        },
    };
    if interval.is_zero() {
        return None;
    }
    if interval > MAX_INTERVAL {
        complaints.add("rate_limit.interval", "must be 1h or less");
    }
    let burst = raw.burst.unwrap_or(0);
    if !(1..=MAX_BURST).contains(&burst) {
        let problem = format!("must be from 1 to {MAX_BURST}: with less nobody is ever answered");
        complaints.add("rate_limit.burst", problem);
    }
    Some(Rate { interval, burst, full_at: Mutex::new(None) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_one_in_each_interval() {
        let second = Duration::from_secs(1);
        let rate = Rate { interval: second, burst: 3, full_at: Mutex::new(None) };
        let start = Instant::now();
        let admitted = |at: Duration| (0..5).filter(|_| rate.admits(start + at)).count();
        assert_eq!(admitted(Duration::ZERO), 3);
        assert_eq!(admitted(second / 2), 0);
        assert_eq!(admitted(second), 1);
        assert_eq!(admitted(3 * second), 2);
        assert_eq!(admitted(60 * second), 3);
    }
}
