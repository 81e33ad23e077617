//! The one Mesos client and its wire types.
//!
//! Whoever in Satellite talks to Mesos does it through this crate, and only this crate knows what
//! Mesos's JSON looks like. It fetches ([`Client`]), decodes ([`wire`]), and finds out who leads
//! and which agents the leader knows ([`find_leader`], [`Leader::agents`]).
//!
//! It holds no policy: it does not retry, cache, log, follow a redirect, or guess at what was left
//! out. Everything it fails at comes back as an error that says what was asked of whom.
//!
//! Facts about Mesos that are stated here were observed on Mesos 1.11.0, recorded answers of which
//! lie in `tests/fixtures`.

mod agents;
mod client;
mod leader;
pub mod wire;

pub use agents::{Agent, Agents, AgentsError, Drain, DrainState, RecoveredAgent};
pub use client::{Client, ClientBuildError, ClientError, ClientOptions, endpoint, limits, shown};
pub use leader::{Leader, NoLeader, NotLeader, find_leader};
