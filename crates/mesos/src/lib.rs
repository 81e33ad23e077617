//! The one Mesos client and its wire types.
//!
//! Whoever in Satellite talks to Mesos does it through this crate, and only this crate knows what
//! Mesos's JSON looks like. It fetches ([`Client`]), decodes ([`wire`]), and finds out who leads
//! and which agents the leader knows ([`find_leader`], [`Leader::agents`]). It also knows how to be
//! let in, by credentials and TLS ([`AccessOptions`]).
//!
//! It holds no policy: it does not follow a redirect, guess at what was left out, or keep an
//! answer. It repeats a request only where Mesos refused a token of a login (401), once, with
//! another. Everything it fails at comes back as an error that says what was asked of whom; the log
//! has only what fails no request: files of credentials and TLS that changed, and a token that
//! could not be renewed yet.
//!
//! Facts about Mesos that are stated here were observed on Mesos 1.11.0, recorded answers of which
//! lie in `tests/fixtures`.

mod access;
mod agents;
mod client;
mod leader;
pub mod wire;

pub use access::{AccessError, AccessOptions, IdentityFiles, LoginError, TlsOptions};
pub use agents::{Agent, Agents, AgentsError, Drain, DrainState, RecoveredAgent};
pub use client::{Client, ClientBuildError, ClientError, ClientOptions, endpoint, limits, shown};
pub use leader::{Leader, NoLeader, NotLeader, find_leader};
