//! A store that nobody shares, whose transactions may fail, be left in doubt, or be the last thing
//! that happens. What it has taken is durable.

use std::io;

use futures::{FutureExt as _, future::BoxFuture};

use super::world::{Area, Fate, STORE, Shared};
use crate::store::{Contents, Store, StoreError, Write, Writer};

/// The remediator's way to the store of the world.
pub(super) struct SimulatedStore(pub(super) Shared);

fn unavailable(operation: &'static str) -> StoreError {
    let source = Box::new(io::Error::from(io::ErrorKind::StorageFull));
    StoreError::Unavailable { operation, place: STORE.into(), source }
}

impl Store for SimulatedStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        async move {
            self.0.hang(Area::Store).await;
            match self.0.face(Area::Store, "load", &STORE).await {
                Fate::Succeeds => Ok(self.0.with(|world| world.store.clone())),
                Fate::Fails => Err(unavailable("read")),
                Fate::DiesBefore | Fate::DiesAfter => self.0.die().await,
            }
        }
        .boxed()
    }

    fn write(
        &self,
        writes: Vec<Write>,
        _: Writer,
        seen: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let note = |is_writing| {
                self.0.with(|world| world.instances[self.0.who].is_writing = is_writing);
            };
            note(true);
            let fate = self.0.face(Area::Store, "commit", &STORE).await;
            note(false);
            // A failure may come after all was written: nobody can tell then.
            let in_doubt = fate == Fate::Fails && self.0.with(|world| world.dice.bool());
            if fate == Fate::DiesBefore || (fate == Fate::Fails && !in_doubt) {
                return match fate {
                    Fate::Fails => Err(unavailable("write to")),
                    _ => self.0.die().await,
                };
            }
            let outcome = self.0.with(|world| {
                let outcome = world.store.apply(writes.clone(), seen);
                if outcome.is_ok() {
                    world.check_commit(self.0.who, &writes);
                }
                outcome
            });
            // It is written, and what was decided is as old as that.
            self.0.hang(Area::Store).await;
            match fate {
                Fate::Succeeds => outcome,
                Fate::Fails => Err(unavailable("write to")),
                Fate::DiesBefore | Fate::DiesAfter => self.0.die().await,
            }
        }
        .boxed()
    }
}
