//! `/containers` of an agent: its running executor containers and what they use.
//!
//! `statistics` is absent when the containerizer could not tell. Which numbers it holds depends on
//! the agent's isolators: the Docker containerizer reports CPU time, memory and limits only. An
//! absent number means unknown, never zero. Nested containers are not listed by this endpoint.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess};

use super::lenient::{Field, Key, Lenient, lenient, object};
use super::snapshot::keep_first;
use super::{ParseError, parse};

/// The path below an agent's address. Unlike `/monitor/statistics`, Mesos does not throttle it.
pub const PATH: &str = "containers";

/// Reads the whole list.
pub fn parse_containers(body: &[u8]) -> Result<Vec<Container<'_>>, ParseError> {
    parse("list of containers", body).map(|List(containers)| containers)
}

/// One executor's container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Container<'a> {
    /// The container's id, as in `executors[].container` of the agent's `/state`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub container_id: Option<Cow<'a, str>>,
    /// The executor it runs.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub executor_id: Option<Cow<'a, str>>,
    /// The executor's name, a sentence for command tasks.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub executor_name: Option<Cow<'a, str>>,
    /// The framework that the executor belongs to.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub framework_id: Option<Cow<'a, str>>,
    /// Framework-defined; the task's id for command tasks.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub source: Option<Cow<'a, str>>,
    /// What it uses, where the containerizer could tell.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub statistics: Option<Statistics<'a>>,
}

/// The numbers of `ResourceStatistics`, under Mesos's field names (`cpus_user_time_secs`,
/// `mem_rss_bytes`), in the order of the body. Units are in the names; memory and disk are bytes.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics<'a> {
    /// Every field whose value is a number, `timestamp` (seconds since the epoch) among them. A
    /// field that comes twice keeps its first value.
    pub numbers: Vec<(Cow<'a, str>, f64)>,
    /// Disk use per volume; the sandbox is the one without a `persistence_id`.
    pub disks: Vec<Disk<'a>>,
}

/// One entry of `disk_statistics`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Disk<'a> {
    /// The persistent volume it is about; absent for the sandbox.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub persistence: Option<Persistence<'a>>,
    /// The quota, in bytes.
    #[serde(default, deserialize_with = "lenient")]
    pub limit_bytes: Option<f64>,
    /// What is used, in bytes.
    #[serde(default, deserialize_with = "lenient")]
    pub used_bytes: Option<f64>,
}

/// Which persistent volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Persistence<'a> {
    /// The volume's id, unique per role.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
}

object!(Container<'a>, Disk<'a>, Persistence<'a>);

impl Statistics<'_> {
    /// One number by Mesos's name for it.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(key, _)| key == name).map(|(_, number)| *number)
    }
}

impl<'de: 'a, 'a> Field<'de> for Statistics<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut statistics = Statistics::default();
        while let Some(Key(key)) = object.next_key()? {
            if key == "disk_statistics" {
                let Lenient(disks) = object.next_value()?;
                statistics.disks = disks.unwrap_or_default();
                continue;
            }
            let Lenient(number) = object.next_value()?;
            statistics.numbers.extend(number.map(|number| (key, number)));
        }
        keep_first(&mut statistics.numbers);
        Ok(Some(statistics))
    }
}

/// The document itself must be a list; only its elements are read leniently.
struct List<'a>(Vec<Container<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list: Option<_> = lenient(deserializer)?;
        list.map(List).ok_or_else(|| serde::de::Error::custom("expected a list"))
    }
}
