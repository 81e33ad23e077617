//! Waiting for a condition, with a deadline and a last word.
//!
//! Nothing in the tests sleeps for a fixed time. Conditions are looked at as
//! they are now, not as they change, so a quick change is not missed for good.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at. Short against every interval in the
/// tests, long enough not to load the peers that are asked.
const POLL: Duration = Duration::from_millis(100);

/// Calls `condition` until it is `Ok`, and gives back its value.
///
/// An `Err` means "not yet" and says what was seen instead; after `within` the
/// last one is in the error.
pub fn wait_for<T, E: Display>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= within => {
                bail!("waited {:.0?} for {what}; last seen: {seen:#}", start.elapsed());
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Looks at `condition` for the whole of `during`, and fails as soon as it is
/// an `Err`: for what must *not* happen.
pub fn holds_for<E: Display>(
    what: &str,
    during: Duration,
    mut condition: impl FnMut() -> Result<(), E>,
) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < during {
        if let Err(seen) = condition() {
            bail!("{what} held for {:.1?} only; then: {seen:#}", start.elapsed());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
