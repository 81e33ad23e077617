//! The operator API, `POST /api/v1`: the calls this crate makes and their answers.
//!
//! Only a leading master answers them; the others redirect. Mesos leaves out repeated fields that
//! are empty where it prints a message as a whole (an agent without tasks has no
//! `allocated_resources`), and writes them where it streams a list (`"recovered_agents":[]`, seen on
//! 1.11). What that means for an absent list is decided where it is turned into domain types.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::lenient::{lenient, lenient_or_empty, object};
use super::{ParseError, parse};

/// A call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Call {
    /// Who leads, and since when.
    GetMaster,
    /// All agents the leader knows.
    GetAgents,
    /// All containers of an agent; see [`containers`](super::containers).
    GetContainers {
        /// Which it tells beside the executors' own.
        get_containers: Show,
    },
}

/// Which containers an agent tells beside its executors' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Show {
    /// Those within an executor's container: the tasks of a task group, and debug sessions.
    pub show_nested: bool,
    /// Those that no framework asked for, such as a storage plugin's.
    pub show_standalone: bool,
}

/// Reads the answer to [`Call::GetMaster`].
pub fn parse_get_master(body: &[u8]) -> Result<GetMasterResponse<'_>, ParseError> {
    parse("answer to GET_MASTER", body)
}

/// Reads the answer to [`Call::GetAgents`].
pub fn parse_get_agents(body: &[u8]) -> Result<GetAgentsResponse<'_>, ParseError> {
    parse("answer to GET_AGENTS", body)
}

/// The answer to [`Call::GetMaster`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GetMasterResponse<'a> {
    /// The payload.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub get_master: Option<GetMaster<'a>>,
}

/// The payload of [`GetMasterResponse`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GetMaster<'a> {
    /// Who answers.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub master_info: Option<MasterInfo<'a>>,
    /// When it was elected, in seconds since the epoch; absent in older versions.
    #[serde(default, deserialize_with = "lenient")]
    pub elected_time: Option<f64>,
}

/// A master.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct MasterInfo<'a> {
    /// Its id, new with each start.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// `master@10.0.0.1:5050`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub pid: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub hostname: Option<Cow<'a, str>>,
    /// `1.11.0`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub version: Option<Cow<'a, str>>,
}

/// The answer to [`Call::GetAgents`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GetAgentsResponse<'a> {
    /// The payload.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub get_agents: Option<GetAgents<'a>>,
}

/// The payload of [`GetAgentsResponse`]. Unreachable agents are in neither list.
///
/// An element that is not an object stays in its list as `None`: an agent left out would look like
/// an agent that is gone.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct GetAgents<'a> {
    /// Agents that have registered with this leader. `None` if the field is not there at all.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub agents: Option<Vec<Option<AgentEntry<'a>>>>,
    /// Agents that the registry has, and that have not yet registered again since the failover.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub recovered_agents: Option<Vec<Option<AgentInfo<'a>>>>,
}

/// A registered agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AgentEntry<'a> {
    /// Who it is.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub agent_info: Option<AgentInfo<'a>>,
    /// Whether it is connected and not deactivated.
    #[serde(default, deserialize_with = "lenient")]
    pub active: Option<bool>,
    /// Whether an operator (or a drain) deactivated it; Mesos 1.9 and later.
    #[serde(default, deserialize_with = "lenient")]
    pub deactivated: Option<bool>,
    /// `1.11.0`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub version: Option<Cow<'a, str>>,
    /// `slave(1)@10.0.0.1:5051`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub pid: Option<Cow<'a, str>>,
    /// Its drain, if one was asked for; Mesos 1.9 and later.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub drain_info: Option<DrainInfo<'a>>,
}

/// What an agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AgentInfo<'a> {
    /// Its id.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Text<'a>>,
    /// The name it registered with, which is what the whitelist matches.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub hostname: Option<Cow<'a, str>>,
    /// Its attributes.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub attributes: Vec<Attribute<'a>>,
}

/// An id or a text in protobuf's wrapping: `{"value":"…-S0"}`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Text<'a> {
    /// The text.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub value: Option<Cow<'a, str>>,
}

/// An attribute: exactly one of the four values is set.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Attribute<'a> {
    /// Its name.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub name: Option<Cow<'a, str>>,
    /// Of type `TEXT`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub text: Option<Text<'a>>,
    /// Of type `SCALAR`.
    #[serde(default, deserialize_with = "lenient")]
    pub scalar: Option<Scalar>,
    /// Of type `RANGES`.
    #[serde(default, deserialize_with = "lenient")]
    pub ranges: Option<Ranges>,
    /// Of type `SET`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub set: Option<Set<'a>>,
}

/// A number in protobuf's wrapping.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Scalar {
    /// The number.
    #[serde(default, deserialize_with = "lenient")]
    pub value: Option<f64>,
}

/// Ranges of whole numbers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Ranges {
    /// In Mesos's order.
    #[serde(default, deserialize_with = "lenient_or_empty")]
    pub range: Vec<Range>,
}

/// One range, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Range {
    /// The first number.
    #[serde(default, deserialize_with = "lenient")]
    pub begin: Option<f64>,
    /// The last number.
    #[serde(default, deserialize_with = "lenient")]
    pub end: Option<f64>,
}

/// A set of texts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Set<'a> {
    /// Its items.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub item: Vec<Cow<'a, str>>,
}

/// How far a drain is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct DrainInfo<'a> {
    /// `DRAINING` or `DRAINED`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub state: Option<Cow<'a, str>>,
    /// With what it was asked for.
    #[serde(default, deserialize_with = "lenient")]
    pub config: Option<DrainConfig>,
}

/// What a drain was asked for with.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct DrainConfig {
    /// Whether the agent is to be marked gone once it is drained.
    #[serde(default, deserialize_with = "lenient")]
    pub mark_gone: Option<bool>,
}

object!(GetMasterResponse<'a>, GetAgentsResponse<'a>);
object!(GetMaster<'a>, MasterInfo<'a>, GetAgents<'a>, AgentEntry<'a>, AgentInfo<'a>, Text<'a>);
object!(Attribute<'a>, Scalar, Ranges, Range, Set<'a>, DrainInfo<'a>, DrainConfig);
