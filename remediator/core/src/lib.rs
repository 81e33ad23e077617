//! Every decision of the remediator, as pure functions.
//!
//! Facts, documents, a policy and the time go in; a [`plan::Plan`] comes out:
//! plain data that an executor carries out without deciding anything. Nothing
//! here does I/O, reads a clock or draws a random number, and Cargo.toml keeps
//! it so: the same input gives the same plan, which is what the tests and the
//! simulation rest on.
//!
//! Read in this order: [`facts`] (what was seen), [`document`] (what is
//! remembered), [`policy`] (what is wanted), [`mod@plan`] (what is done about it),
//! [`whitelist`] (what Mesos reads of it), [`explain`] (how it is told). [`first_list`],
//! [`predecessor`] and [`import`] are of the day on which a cluster is taken over.

pub mod document;
pub mod explain;
pub mod facts;
pub mod first_list;
pub mod host;
pub mod import;
pub mod manual;
pub mod matcher;
pub mod plan;
pub mod policy;
pub mod predecessor;
pub mod time;
pub mod whitelist;

pub use document::{Automation, Cause, HostDocument, Verdict};
pub use facts::Facts;
pub use host::HostName;
pub use plan::{Memory, Plan, State, plan};
pub use policy::Policy;
pub use time::Now;
