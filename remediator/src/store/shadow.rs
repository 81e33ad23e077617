//! The store of a dry run: it begins as the true one stands and keeps what is
//! written in memory alone.
//!
//! So a dry run decides exactly as it would (a host that it would have taken off
//! counts against the budget in the next round), and nothing is done.

use std::sync::Mutex;

use futures::future::BoxFuture;

use super::{Contents, Store, StoreError, Write, Writer};

/// Documents in memory.
pub(crate) struct ShadowStore {
    contents: Mutex<Contents>,
}

impl ShadowStore {
    /// A store that stands as `contents`.
    pub(crate) fn new(contents: Contents) -> Self {
        Self { contents: Mutex::new(contents) }
    }
}

impl Store for ShadowStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        let contents = self.contents.lock().expect("no holder of this lock panics").clone();
        Box::pin(std::future::ready(Ok(contents)))
    }

    fn write(
        &self,
        writes: Vec<Write>,
        _: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        let mut contents = self.contents.lock().expect("no holder of this lock panics");
        Box::pin(std::future::ready(contents.apply(writes, seen)))
    }
}
