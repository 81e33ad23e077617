//! The containers of an agent and what they use, as its three endpoints tell it.
//!
//! | endpoint | who is in it |
//! |---|---|
//! | `POST /api/v1` `GET_CONTAINERS` (Mesos 1.2 and later) | executors', nested and standalone containers |
//! | `/containers` (1.0 and later) | executors' containers |
//! | `/monitor/statistics` | executors' containers that have statistics, without their ids; 2 requests/s |
//!
//! `statistics` is absent when the containerizer could not tell. Which numbers it holds depends on
//! the agent's isolators: the Docker containerizer reports CPU time, memory and limits only. An
//! absent number means unknown, never zero.
//!
//! The fields are those of `ResourceStatistics` in Mesos's `mesos.proto`.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::MapAccess;

use super::lenient::{Field, Key, Lenient, lenient, lenient_or_empty, object};
use super::operator::Text;
use super::snapshot::keep_first;
use super::{ParseError, parse, parse_as};

/// The path of the list below an agent's address.
pub const PATH: &str = "containers";
/// The path of the list that knows no container ids. Mesos answers it twice a second at most.
pub const STATISTICS_PATH: &str = "monitor/statistics";

/// Reads `/containers`, or `/monitor/statistics`, whose entries have no container id.
pub fn parse_containers(body: &[u8]) -> Result<Vec<Container<'_>>, ParseError> {
    parse_as("a list", "list of containers", body)
}

/// Reads the answer to [`Call::GetContainers`](super::operator::Call::GetContainers).
pub fn parse_get_containers(body: &[u8]) -> Result<Vec<Container<'_>>, ParseError> {
    let answer = parse("answer to GET_CONTAINERS", body)?;
    let GetContainersResponse { kind, get_containers } = answer;
    // Mesos leaves out an empty list, and the object around it: an agent that runs nothing
    // answers `{"type":"GET_CONTAINERS"}`.
    let containers = match get_containers {
        Some(Lenient(Some(list))) => list.containers,
        None if kind.as_deref() == Some("GET_CONTAINERS") => Vec::new(),
        _ => {
            let source = serde::de::Error::custom("expected the object get_containers");
            return Err(ParseError { document: "answer to GET_CONTAINERS", source });
        }
    };
    Ok(containers.into_iter().map(Container::from).collect())
}

/// One container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Container<'a> {
    /// The container's id, as in `executors[].container` of the agent's `/state`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub container_id: Option<Cow<'a, str>>,
    /// The id of the container that it is nested in; only `GET_CONTAINERS` lists such ones.
    #[serde(skip)]
    pub parent_container_id: Option<Cow<'a, str>>,
    /// The executor it runs; none for nested and standalone ones.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub executor_id: Option<Cow<'a, str>>,
    /// The framework that the executor belongs to.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub framework_id: Option<Cow<'a, str>>,
    /// Framework-defined; the task's id for command tasks. `GET_CONTAINERS` does not tell it.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub source: Option<Cow<'a, str>>,
    /// What it uses, where the containerizer could tell.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub statistics: Option<Statistics<'a>>,
}

#[derive(Deserialize)]
struct GetContainersResponse<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "lenient")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    get_containers: Option<Lenient<GetContainers<'a>>>,
}

#[derive(Deserialize)]
struct GetContainers<'a> {
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    containers: Vec<Entry<'a>>,
}

/// A container as `GET_CONTAINERS` writes it.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default, deserialize_with = "lenient")]
    container_id: Option<ContainerId<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    container_status: Option<Status<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    executor_id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    framework_id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    resource_statistics: Option<Statistics<'a>>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow, default, deserialize_with = "lenient")]
    container_id: Option<ContainerId<'a>>,
}

#[derive(Deserialize)]
struct ContainerId<'a> {
    #[serde(borrow, default, deserialize_with = "lenient")]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "lenient")]
    parent: Option<Text<'a>>,
}

impl<'a> From<Entry<'a>> for Container<'a> {
    fn from(entry: Entry<'a>) -> Self {
        // Mesos 1.11 names the parent in the status alone.
        let of_id = |id: Option<ContainerId<'a>>| {
            id.map(|id| (id.value, id.parent.and_then(|parent| parent.value))).unwrap_or_default()
        };
        let (id, parent) = of_id(entry.container_id);
        let (_, parent_of_status) = of_id(entry.container_status.and_then(|it| it.container_id));
        Self {
            container_id: id,
            parent_container_id: parent.or(parent_of_status),
            executor_id: entry.executor_id.and_then(|id| id.value),
            framework_id: entry.framework_id.and_then(|id| id.value),
            source: None,
            statistics: entry.resource_statistics,
        }
    }
}

/// Numbers under Mesos's names for them, in the order of the body. A name that comes twice keeps
/// its first number; what is no number is left out.
pub type Numbers<'a> = Vec<(Cow<'a, str>, f64)>;

/// `ResourceStatistics`. Units are in the names; memory and disk are bytes.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Statistics<'a> {
    /// Every field that is a number (`cpus_user_time_secs`, `mem_rss_bytes`), `timestamp` (seconds
    /// since the epoch) among them.
    pub numbers: Numbers<'a>,
    /// `disk_statistics`: disk use per volume; the sandbox is the one without a volume's id.
    pub disks: Vec<Disk<'a>>,
    /// `blkio_statistics`, by policy: `cfq`, `cfq_recursive`, `throttling`.
    pub blkio: Vec<(Cow<'a, str>, Vec<Blkio<'a>>)>,
    /// `perf`: what the processor counted in `duration` seconds.
    pub perf: Vec<(Cow<'a, str>, f64)>,
    /// `net_traffic_control_statistics`, per queue.
    pub traffic_control: Vec<TrafficControl<'a>>,
    /// `net_snmp_statistics`, by protocol: `ip_stats`, `icmp_stats`, `tcp_stats`, `udp_stats`.
    pub snmp: Vec<(Cow<'a, str>, Numbers<'a>)>,
}

/// One entry of `disk_statistics`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Disk<'a> {
    /// The disk it lies on; absent for the agent's own work directory.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub source: Option<DiskSource<'a>>,
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

/// A disk of an agent, as `Resource.DiskInfo.Source`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct DiskSource<'a> {
    /// `PATH`, `MOUNT`, `BLOCK` or `RAW`.
    #[serde(rename = "type", borrow, default, deserialize_with = "lenient")]
    pub kind: Option<Cow<'a, str>>,
    /// The id that its resource provider gave it.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
    /// Where a `PATH` disk is.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub path: Option<DiskRoot<'a>>,
    /// Where a `MOUNT` disk is.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub mount: Option<DiskRoot<'a>>,
}

/// Where a disk is mounted.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct DiskRoot<'a> {
    /// The directory.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub root: Option<Cow<'a, str>>,
}

impl DiskSource<'_> {
    /// What tells it from the agent's other disks: where it is, or its id, or at least its kind.
    pub fn name(&self) -> &str {
        let root =
            [&self.path, &self.mount].into_iter().flatten().find_map(|it| it.root.as_deref());
        root.or(self.id.as_deref()).or(self.kind.as_deref()).unwrap_or_default()
    }
}

/// Which persistent volume.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Persistence<'a> {
    /// The volume's id, unique per role.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub id: Option<Cow<'a, str>>,
}

/// What one block device did for a container.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Blkio<'a> {
    /// The device's numbers, major and minor; absent where the entry is about all devices.
    pub device: Option<(f64, f64)>,
    /// `sectors` and `time` (milliseconds).
    pub numbers: Numbers<'a>,
    /// `io_serviced` and the other lists: a number for each operation, such as `READ` or `TOTAL`.
    pub operations: Vec<(Cow<'a, str>, Vec<Operation<'a>>)>,
}

/// A number of one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Operation<'a> {
    /// `TOTAL`, `READ`, `WRITE`, `SYNC`, `ASYNC` or `DISCARD`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub op: Option<Cow<'a, str>>,
    /// How many: operations, bytes or nanoseconds.
    #[serde(default, deserialize_with = "lenient")]
    pub value: Option<f64>,
}

#[derive(Deserialize)]
struct Device {
    #[serde(default, deserialize_with = "lenient")]
    major_number: Option<f64>,
    #[serde(default, deserialize_with = "lenient")]
    minor_number: Option<f64>,
}

/// One entry of `net_traffic_control_statistics`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TrafficControl<'a> {
    /// Which queue: `bw_limit`, `fq_codel`.
    pub id: Option<Cow<'a, str>>,
    /// `backlog`, `bytes`, `drops` and the like.
    pub numbers: Numbers<'a>,
}

object!(
    Container<'a>,
    Disk<'a>,
    Persistence<'a>,
    DiskSource<'a>,
    DiskRoot<'a>,
    Operation<'a>,
    Device
);
object!(GetContainersResponse<'a>, GetContainers<'a>, Entry<'a>, Status<'a>, ContainerId<'a>);

impl Statistics<'_> {
    /// One number by Mesos's name for it.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|(key, _)| key == name).map(|(_, number)| *number)
    }
}

impl<'de: 'a, 'a> Field<'de> for Statistics<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut all = Statistics { numbers: Vec::with_capacity(32), ..Self::default() };
        while let Some(Key(key)) = object.next_key()? {
            match key.as_ref() {
                "disk_statistics" => all.disks = or_empty(&mut object)?,
                "blkio_statistics" => all.blkio = or_empty::<_, ByName<'_, _>>(&mut object)?.0,
                "perf" => all.perf = or_empty::<_, ByName<'_, _>>(&mut object)?.0,
                "net_traffic_control_statistics" => all.traffic_control = or_empty(&mut object)?,
                "net_snmp_statistics" => {
                    let protocols: ByName<'_, ByName<'_, f64>> = or_empty(&mut object)?;
                    let plain = protocols.0.into_iter().map(|(name, ByName(all))| (name, all));
                    all.snmp = plain.collect();
                }
                _ => {
                    let Lenient(number) = object.next_value()?;
                    all.numbers.extend(number.map(|number| (key, number)));
                }
            }
        }
        keep_first(&mut all.numbers);
        Ok(Some(all))
    }
}

/// The next value of `object`, or nothing where it is not what it should be.
fn or_empty<'de, A: MapAccess<'de>, T: Field<'de> + Default>(
    object: &mut A,
) -> Result<T, A::Error> {
    let Lenient(value) = object.next_value()?;
    Ok(value.unwrap_or_default())
}

/// The fields of an object that are a `T`, each name once.
struct ByName<'a, T>(Vec<(Cow<'a, str>, T)>);

impl<T> Default for ByName<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de: 'a, 'a, T: Field<'de>> Field<'de> for ByName<'a, T> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut fields = Vec::new();
        while let Some((Key(name), Lenient(value))) = object.next_entry()? {
            fields.extend(value.map(|value| (name, value)));
        }
        keep_first(&mut fields);
        Ok(Some(Self(fields)))
    }
}

impl<'de: 'a, 'a> Field<'de> for Blkio<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut blkio = Blkio::default();
        while let Some(Key(key)) = object.next_key()? {
            if key == "device" {
                let Lenient(device) = object.next_value::<Lenient<Device>>()?;
                blkio.device = device.and_then(|it| it.major_number.zip(it.minor_number));
                continue;
            }
            match object.next_value()? {
                Lenient(Some(NumberOr::Number(number))) => blkio.numbers.push((key, number)),
                Lenient(Some(NumberOr::Operations(all))) => blkio.operations.push((key, all)),
                Lenient(None) => {}
            }
        }
        keep_first(&mut blkio.numbers);
        keep_first(&mut blkio.operations);
        Ok(Some(blkio))
    }
}

enum NumberOr<'a> {
    Number(f64),
    Operations(Vec<Operation<'a>>),
}

impl<'de: 'a, 'a> Field<'de> for NumberOr<'a> {
    fn from_number(number: f64) -> Option<Self> {
        Some(Self::Number(number))
    }
    fn from_list<A: serde::de::SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        Ok(Vec::from_list(list)?.map(Self::Operations))
    }
}

impl<'de: 'a, 'a> Field<'de> for TrafficControl<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut queue = TrafficControl::default();
        while let Some(Key(key)) = object.next_key()? {
            if key == "id" {
                Lenient(queue.id) = object.next_value()?;
            } else {
                let Lenient(number) = object.next_value()?;
                queue.numbers.extend(number.map(|number| (key, number)));
            }
        }
        keep_first(&mut queue.numbers);
        Ok(Some(queue))
    }
}
