//! `/roles` of the leading master: what each role has, and what it may have.
//!
//! A follower answers with a redirect.

use std::borrow::Cow;

use serde::Deserialize;

use super::lenient::{lenient, object};
use super::state_summary::Resources;
use super::{ParseError, parse};

/// The path below a master's address.
pub const PATH: &str = "roles";

/// Reads the whole list.
pub fn parse_roles(body: &[u8]) -> Result<Roles<'_>, ParseError> {
    parse("list of roles", body)
}

/// The roles that have a weight, a quota, a framework or a reservation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Roles<'a> {
    /// Each role; `None` if the field is not there at all.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub roles: Option<Vec<Role<'a>>>,
}

/// One role. Resources that Mesos leaves out of an amount are not there, which is none of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Role<'a> {
    /// Its name, `*` or `eng/web`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub name: Option<Cow<'a, str>>,
    /// Its weight.
    #[serde(default, deserialize_with = "lenient")]
    pub weight: Option<f64>,
    /// What is allocated or offered to it.
    #[serde(default, deserialize_with = "lenient")]
    pub resources: Option<Resources>,
    /// What its frameworks use; Mesos 1.10 and later, as are the next two.
    #[serde(default, deserialize_with = "lenient")]
    pub allocated: Option<Resources>,
    /// What is offered to its frameworks.
    #[serde(default, deserialize_with = "lenient")]
    pub offered: Option<Resources>,
    /// What is reserved for it.
    #[serde(default, deserialize_with = "lenient")]
    pub reserved: Option<Resources>,
    /// Its quota.
    #[serde(default, deserialize_with = "lenient")]
    pub quota: Option<Quota>,
    /// The ids of its frameworks.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub frameworks: Option<Vec<Cow<'a, str>>>,
}

/// What a role may have.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Quota {
    /// What is kept free for it.
    #[serde(default, deserialize_with = "lenient")]
    pub guarantee: Option<Resources>,
    /// What it may have at most; a resource that is not there is not limited.
    #[serde(default, deserialize_with = "lenient")]
    pub limit: Option<Resources>,
    /// What counts against the limit.
    #[serde(default, deserialize_with = "lenient")]
    pub consumed: Option<Resources>,
}

object!(Roles<'a>, Role<'a>, Quota);
