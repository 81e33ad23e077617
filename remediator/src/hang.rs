//! What lasts longer than it ever should, and may never end.
//!
//! A disk that does not answer fails nothing: whoever waits for it waits, and what
//! was known before goes on to be shown as if it were so. Nobody can end such a wait,
//! which the kernel has in its hands. It can be said, and it is here.

use std::{pin::pin, time::Duration};

use tokio::time::timeout;

/// Sources that do not answer make a round last some 22 s at most, one deadline after
/// the other, and a write takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `work` to its end. Where that takes longer than [`PATIENCE`], `tell` is
/// given `true` then, and `false` once it has ended.
pub(crate) async fn watched<T>(work: impl Future<Output = T>, tell: impl Fn(bool)) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(PATIENCE, &mut work).await {
        return done;
    }
    tell(true);
    let done = work.await;
    tell(false);
    done
}
