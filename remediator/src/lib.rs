//! Takes sick hosts out of the Mesos whitelist and gives them back.
//!
//! This crate is the shell around `satellite-core`, which decides. A delivery
//! from Alertmanager or a command only wakes the loop; each round then reads
//! the facts as they are now, has the core decide, and carries the plan out:
//!
//! | module | what it does |
//! |---|---|
//! | [`daemon`] | puts everything together, starts it and ends it |
//! | [`sources`] | asks Alertmanager, Prometheus and Mesos |
//! | [`gather`] | all that one round looks at |
//! | [`reconcile`] | one round: gather, decide, write |
//! | [`ledger`] | the documents, and the one way to change them |
//! | [`store`] | where documents are kept |
//! | [`disk`] | the steps that files are written in |
//! | [`journal`] | the audit record of this instance |
//! | [`hang`] | notices what does not end |
//! | [`merge`] | writes the whitelist file, and nothing else does |
//! | [`tally`] | how often hosts went on or off |
//! | [`api`] | webhook, REST, service discovery, metrics, page |

mod api;
mod args;
mod clock;
mod daemon;
mod disk;
mod gather;
mod hang;
mod journal;
mod ledger;
mod merge;
mod reconcile;
#[cfg(test)]
mod simulation;
mod sources;
mod store;
mod tally;

pub use args::Args;
pub use daemon::run;
