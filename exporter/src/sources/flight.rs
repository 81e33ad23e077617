//! Gathering that several scrapes share while it is under way.
//!
//! Two Prometheus servers, and whoever looks with curl, ask at the same moment; Mesos is
//! asked once. Nothing outlives a flight: a scrape that comes after it starts another.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex},
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};

/// A gathering under way. It goes on as long as somebody waits for it, and is given up
/// when the last one leaves.
pub(super) type Flight<T> = Shared<BoxFuture<'static, Arc<T>>>;

/// The gatherings under way, by what they gather.
#[derive(Debug)]
pub(super) struct Flights<K, T> {
    under_way: Mutex<HashMap<K, WeakShared<BoxFuture<'static, Arc<T>>>>>,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K: Eq + Hash, T> Flights<K, T> {
    /// The flight of `key` that is under way.
    pub(super) fn under_way(&self, key: &K) -> Option<Flight<T>> {
        let under_way = self.under_way.lock().expect("no holder of this lock panics");
        under_way.get(key).and_then(WeakShared::upgrade).filter(is_under_way)
    }

    /// The flight of `key` that is under way, or the one that `start` makes.
    pub(super) fn join(
        &self,
        key: K,
        start: impl FnOnce() -> BoxFuture<'static, Arc<T>>,
    ) -> Flight<T> {
        if let Some(flight) = self.under_way(&key) {
            return flight;
        }
        let mut under_way = self.under_way.lock().expect("no holder of this lock panics");
        under_way.retain(|_, flight| flight.upgrade().as_ref().is_some_and(is_under_way));
        let flight = start().shared();
        under_way.extend(flight.downgrade().map(|weak| (key, weak)));
        flight
    }
}

fn is_under_way<T>(flight: &Flight<T>) -> bool {
    flight.peek().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    struct Source {
        flights: Flights<u8, usize>,
        started: Arc<AtomicUsize>,
        landed: Arc<Notify>,
    }

    impl Source {
        fn new() -> Self {
            Self { flights: Flights::default(), started: Arc::default(), landed: Arc::default() }
        }

        fn join(&self, key: u8) -> Flight<usize> {
            let (started, landed) = (Arc::clone(&self.started), Arc::clone(&self.landed));
            self.flights.join(key, || {
                let number = started.fetch_add(1, Ordering::Relaxed);
                async move {
                    landed.notified().await;
                    Arc::new(number)
                }
                .boxed()
            })
        }
    }

    #[tokio::test]
    async fn whoever_comes_during_a_flight_shares_it_and_whoever_comes_after_does_not() {
        let source = Source::new();
        let (first, second, other) = (source.join(1), source.join(1), source.join(2));
        source.landed.notify_one();
        assert_eq!(*first.clone().await, 0);
        assert_eq!(*second.await, 0);
        drop(other);
        let third = source.join(1);
        source.landed.notify_one();
        assert_eq!(*third.await, 2);
        assert_eq!(source.started.load(Ordering::Relaxed), 3);
        assert_eq!(source.flights.under_way.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_flight_that_everybody_left_is_given_up() {
        let source = Source::new();
        let flight = source.join(1);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), flight).await;
        assert!(waiting.is_err());
        let next = source.join(1);
        source.landed.notify_one();
        assert_eq!(*next.await, 1);
    }
}
