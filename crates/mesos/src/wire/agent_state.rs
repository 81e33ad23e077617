//! `/state` of an agent: who it is, and which tasks its executors run.
//!
//! Read for the names that `/containers` lacks. What has finished (`completed_frameworks`,
//! `completed_executors`, `completed_tasks`) is the bulk of the document and is skipped while
//! decoding. Join with `/containers` on [`Executor::container`], or on framework and executor id.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::MapAccess;

use super::lenient::{Field, Key, Lenient, lenient, lenient_or_empty, object};
use super::operator::Text;
use super::{ParseError, parse};

/// The path below an agent's address.
pub const PATH: &str = "state";

/// Reads the whole state.
pub fn parse_agent_state(body: &[u8]) -> Result<AgentState<'_>, ParseError> {
    parse("agent state", body)
}

/// The agent itself.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct AgentState<'a> {
    /// The id the master gave it; absent until it has registered for the first time.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// The name it registers with (`--hostname`), which is what the whitelist matches.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub hostname: Option<Cow<'a, str>>,
    /// The Mesos version, `1.11.0`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub version: Option<Cow<'a, str>>,
    /// `slave(1)@10.0.0.1:5051`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub pid: Option<Cow<'a, str>>,
    /// Its attributes, as text. Mesos gives scalars as numbers and the rest as it prints it.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub attributes: Attributes<'a>,
    /// The frameworks that run something here.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub frameworks: Vec<Framework<'a>>,
}

/// Attributes by name, each rendered as Mesos prints it: `rack` → `r1`, `ports` → `[1-2, 5-9]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes<'a>(pub BTreeMap<Cow<'a, str>, Cow<'a, str>>);

/// A framework with executors on this agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Framework<'a> {
    /// Its id.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// Its name, which several frameworks may share.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub name: Option<Cow<'a, str>>,
    /// The principal it authenticated as.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub principal: Option<Cow<'a, str>>,
    /// Its role, where it has just one and says so.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub role: Option<Cow<'a, str>>,
    /// Its running executors.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub executors: Vec<Executor<'a>>,
}

/// A running executor, which owns one container and any number of tasks.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Executor<'a> {
    /// Its id; equal to the task's id for a command task.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub name: Option<Cow<'a, str>>,
    /// Framework-defined; the task's id for command tasks.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub source: Option<Cow<'a, str>>,
    /// The id of its container.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub container: Option<Cow<'a, str>>,
    /// The role its resources are allocated to.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub role: Option<Cow<'a, str>>,
    /// Its labels.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub labels: Vec<Label<'a>>,
    /// The tasks it runs now.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub tasks: Vec<Task<'a>>,
    /// The tasks that it will be given once it has registered. Completed ones are not read.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub queued_tasks: Vec<Task<'a>>,
}

/// A task that its executor runs, or will run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Task<'a> {
    /// Its id.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// Its name.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub name: Option<Cow<'a, str>>,
    /// The id of its executor. Empty for a command task, whose executor Mesos makes for it alone and
    /// gives the task's id.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub executor_id: Option<Cow<'a, str>>,
    /// `TASK_RUNNING` and the like.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub state: Option<Cow<'a, str>>,
    /// What became of it, the latest last.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub statuses: Vec<TaskStatus<'a>>,
    /// The role its resources are allocated to.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub role: Option<Cow<'a, str>>,
    /// Its labels.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub labels: Vec<Label<'a>>,
}

impl Task<'_> {
    /// The id of the container that it runs in: its executor's, or one nested in that. Known from the
    /// first status that tells it.
    pub fn container_id(&self) -> Option<&str> {
        let statuses = self.statuses.iter().rev();
        let mut ids =
            statuses.filter_map(|status| status.container_status.as_ref()?.container_id.as_ref());
        ids.find_map(|id| id.value.as_deref())
    }
}

/// One status update of a task.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct TaskStatus<'a> {
    /// Of the container that it runs in.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub container_status: Option<ContainerStatus<'a>>,
}

/// Which container a status is about.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct ContainerStatus<'a> {
    /// Its id.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub container_id: Option<Text<'a>>,
}

/// One label. Mesos allows a key without a value, and the same key more than once.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Label<'a> {
    /// Its key.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub key: Option<Cow<'a, str>>,
    /// Its value.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub value: Option<Cow<'a, str>>,
}

object!(
    AgentState<'a>,
    Framework<'a>,
    Executor<'a>,
    Task<'a>,
    TaskStatus<'a>,
    ContainerStatus<'a>,
    Label<'a>
);

impl<'de: 'a, 'a> Field<'de> for Attributes<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some((Key(name), Lenient(value))) = object.next_entry()? {
            if let Some(Printed(text)) = value {
                attributes.entry(name).or_insert(text);
            }
        }
        Ok(Some(Attributes(attributes)))
    }
}

/// An attribute's value as text: scalars come as numbers.
struct Printed<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Field<'de> for Printed<'a> {
    fn from_number(number: f64) -> Option<Self> {
        Some(Printed(number.to_string().into()))
    }
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Printed(text))
    }
}
