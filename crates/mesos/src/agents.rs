//! The agents a leading master knows, as the rest of Satellite sees them.
//!
//! Automation acts on this list, so that here, unlike in [`wire`](crate::wire), nothing essential
//! may be missing: an entry without id or name makes the whole list unreadable. An agent that was
//! dropped quietly would look like an agent that is gone.

use std::net::{IpAddr, SocketAddr};

use litemap::LiteMap;

use crate::client::ClientError;
use crate::wire::operator::{
    AgentEntry, AgentInfo, Attribute, DrainInfo, GetAgents, GetAgentsResponse, Ranges,
};

/// All agents of one leader at one moment. Unreachable agents are in neither list, and neither are
/// agents that were marked gone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agents {
    /// Registered with this leader.
    pub registered: Vec<Agent>,
    /// Known from the registry, and not yet back since the failover: not gone.
    pub recovered: Vec<RecoveredAgent>,
}

/// A registered agent.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Agent {
    /// Its id, new when its work folder is wiped.
    pub id: String,
    /// The name it registered with, verbatim: what the whitelist matches. Several agents may share it.
    pub hostname: String,
    /// `slave(1)@10.0.0.1:5051`, where it listens.
    pub pid: Option<String>,
    /// The address of `pid`, if it is one.
    pub ip: Option<IpAddr>,
    /// Its attributes as Mesos prints them: `r1`, `2.5`, `[1-2, 5-9]`, `{a, b}`. Of attributes with
    /// the same name the first counts.
    pub attributes: LiteMap<String, String>,
    /// Whether it is connected and not deactivated. Stays true for a host that the whitelist lacks.
    pub active: bool,
    /// Whether an operator or a drain deactivated it. False where Mesos is older than 1.9 and
    /// cannot do so.
    pub deactivated: bool,
    /// `1.11.0`.
    pub version: Option<String>,
    /// Its drain, if one was asked for; stays until the agent is reactivated.
    pub drain: Option<Drain>,
}

/// An agent that has not registered again since the failover. Mesos tells no address of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecoveredAgent {
    /// Its id.
    pub id: String,
    /// The name it had registered with, verbatim.
    pub hostname: String,
    /// Its attributes, as in [`Agent::attributes`].
    pub attributes: LiteMap<String, String>,
}

/// A drain that Mesos carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drain {
    /// How far it is.
    pub state: DrainState,
    /// Whether the agent is marked gone, irreversibly, when it is drained.
    pub mark_gone: bool,
}

/// How far a drain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrainState {
    /// Tasks or operations remain, or a framework has not acknowledged the end of one.
    Draining,
    /// Nothing runs there any more.
    Drained,
    /// A state that this program does not know.
    Other(String),
}

/// Why there is no list of agents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentsError {
    /// The request failed. [`ClientError::Redirected`] means that leadership has moved.
    #[error("asking the leading master for its agents")]
    Request(#[source] ClientError),
    /// The answer has no list of agents.
    #[error("the leading master's answer has no {field}")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// An agent lacks what it cannot be handled without.
    #[error("entry {index} of the leading master's {list} has no {field}")]
    Incomplete {
        /// Which list.
        list: &'static str,
        /// Which entry of it, from 0.
        index: usize,
        /// Which field.
        field: &'static str,
    },
}

impl Agents {
    /// Turns Mesos's answer into agents, or says what it lacks.
    pub(crate) fn from_wire(response: &GetAgentsResponse<'_>) -> Result<Self, AgentsError> {
        let GetAgents { agents, recovered_agents, .. } =
            response.get_agents.as_ref().ok_or(AgentsError::Missing { field: "get_agents" })?;
        // Mesos 1.11 writes both lists even when they are empty. A version that left out an empty
        // list of agents would be read as blind while a cluster has none, which harms nobody: an
        // answer that was cut short must not be read as a cluster without agents.
        let agents = agents.as_ref().ok_or(AgentsError::Missing { field: "get_agents.agents" })?;
        let registered = agents
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                entry
                    .as_ref()
                    .map_or(Err("object"), agent)
                    .map_err(|field| AgentsError::Incomplete { list: "agents", index, field })
            })
            .collect::<Result<_, _>>()?;
        // Older masters have no such list, and then no agent is in it.
        let recovered = recovered_agents
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, info)| {
                info.as_ref().map_or(Err("object"), recovered_agent).map_err(|field| {
                    AgentsError::Incomplete { list: "recovered_agents", index, field }
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { registered, recovered })
    }
}

/// An agent, or the name of the field it lacks.
fn agent(entry: &AgentEntry<'_>) -> Result<Agent, &'static str> {
    let info = entry.agent_info.as_ref().ok_or("agent_info")?;
    let RecoveredAgent { id, hostname, attributes } = recovered_agent(info)?;
    let pid = entry.pid.as_deref().map(str::to_owned);
    Ok(Agent {
        id,
        hostname,
        ip: pid.as_deref().and_then(ip_of_pid),
        pid,
        attributes,
        active: entry.active.ok_or("active")?,
        deactivated: entry.deactivated.unwrap_or(false),
        version: entry.version.as_deref().map(str::to_owned),
        drain: entry.drain_info.as_ref().map(drain),
    })
}

fn recovered_agent(info: &AgentInfo<'_>) -> Result<RecoveredAgent, &'static str> {
    let id = info.id.as_ref().and_then(|id| id.value.as_deref());
    let id = id.filter(|id| !id.is_empty()).ok_or("id")?;
    let hostname = info.hostname.as_deref().filter(|name| !name.is_empty()).ok_or("hostname")?;
    let mut attributes = LiteMap::new();
    for attribute in &info.attributes {
        if let (Some(name), Some(value)) = (attribute.name.as_deref(), printed(attribute)) {
            attributes.entry(name.to_owned()).or_insert(value);
        }
    }
    Ok(RecoveredAgent { id: id.to_owned(), hostname: hostname.to_owned(), attributes })
}

fn drain(info: &DrainInfo<'_>) -> Drain {
    let state = match info.state.as_deref().unwrap_or_default() {
        "DRAINING" => DrainState::Draining,
        "DRAINED" => DrainState::Drained,
        other => DrainState::Other(other.to_owned()),
    };
    let mark_gone = info.config.as_ref().and_then(|config| config.mark_gone).unwrap_or(false);
    Drain { state, mark_gone }
}

/// The address in `slave(1)@10.0.0.1:5051`.
fn ip_of_pid(pid: &str) -> Option<IpAddr> {
    let (_, address) = pid.rsplit_once('@')?;
    address.parse().ok().map(|address: SocketAddr| address.ip())
}

/// An attribute's value as Mesos prints it.
fn printed(attribute: &Attribute<'_>) -> Option<String> {
    let Attribute { text, scalar, ranges, set, .. } = attribute;
    let text = text.as_ref().and_then(|text| text.value.as_deref()).map(str::to_owned);
    let scalar = || scalar.as_ref().and_then(|scalar| scalar.value).map(|value| value.to_string());
    let set = || set.as_ref().map(|set| format!("{{{}}}", set.item.join(", ")));
    text.or_else(scalar).or_else(|| ranges.as_ref().map(printed_ranges)).or_else(set)
}

fn printed_ranges(ranges: &Ranges) -> String {
    let ranges: Vec<String> = ranges
        .range
        .iter()
        .filter_map(|range| Some(format!("{}-{}", range.begin?, range.end?)))
        .collect();
    format!("[{}]", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::operator::parse_get_agents;

    fn agents(body: &str) -> Result<Agents, AgentsError> {
        Agents::from_wire(&parse_get_agents(body.as_bytes()).unwrap())
    }

    #[test]
    fn a_recorded_list_is_read_in_full() {
        let agents = agents(include_str!("../tests/fixtures/leader_v1_GET_AGENTS.json")).unwrap();
        assert_eq!(agents.recovered, []);
        let hosts: Vec<&str> = agents.registered.iter().map(|a| a.hostname.as_str()).collect();
        assert_eq!(hosts, ["127.0.2.4", "127.0.2.1", "127.0.2.3", "127.0.2.2"]);
        assert_eq!(
            agents.registered[0],
            Agent {
                id: "0bbad478-a866-46ba-b58d-3bbeae70e5e3-S3".to_owned(),
                hostname: "127.0.2.4".to_owned(),
                pid: Some("slave(1)@127.0.2.4:5051".to_owned()),
                ip: Some("127.0.2.4".parse().unwrap()),
                attributes: LiteMap::from_iter([("rack".to_owned(), "r4".to_owned())]),
                active: true,
                deactivated: false,
                version: Some("1.11.0".to_owned()),
                drain: None,
            }
        );
    }

    #[test]
    fn a_recorded_drain_goes_from_draining_to_drained() {
        for (body, expected) in [
            (include_str!("../tests/fixtures/draining_v1_GET_AGENTS.json"), DrainState::Draining),
            (include_str!("../tests/fixtures/drained_v1_GET_AGENTS.json"), DrainState::Drained),
        ] {
            let agents = agents(body).unwrap();
            let drained: Vec<_> = agents.registered.iter().filter(|a| a.drain.is_some()).collect();
            let [agent] = drained[..] else { panic!("one agent drains") };
            assert_eq!(agent.hostname, "127.0.2.2");
            assert_eq!(agent.drain, Some(Drain { state: expected, mark_gone: false }));
            assert!(agent.deactivated && !agent.active);
        }
    }

    #[test]
    fn attributes_are_printed_as_mesos_prints_them() {
        let agents = agents(
            r#"{"get_agents":{"agents":[],"recovered_agents":[{"id":{"value":"S0"},"hostname":"h","attributes":[
                {"name":"rack","type":"TEXT","text":{"value":"r1"}},
                {"name":"rack","type":"TEXT","text":{"value":"second"}},
                {"name":"slots","type":"SCALAR","scalar":{"value":4.0}},
                {"name":"load","type":"SCALAR","scalar":{"value":0.125}},
                {"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":2},{"begin":5,"end":9}]}},
                {"name":"disks","type":"SET","set":{"item":["ssd","hdd"]}},
                {"name":"odd","type":"TEXT","text":7}]}]}}"#,
        )
        .unwrap();
        let attributes = &agents.recovered[0].attributes;
        let attributes: Vec<_> =
            attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            attributes,
            [
                ("disks", "{ssd, hdd}"),
                ("load", "0.125"),
                ("ports", "[1-2, 5-9]"),
                ("rack", "r1"),
                ("slots", "4"),
            ]
        );
    }

    #[test]
    fn an_answer_without_a_list_is_an_error_and_not_an_empty_cluster() {
        for body in ["{}", r#"{"get_agents":null}"#, r#"{"get_agents":{"recovered_agents":[]}}"#] {
            assert!(matches!(agents(body), Err(AgentsError::Missing { .. })), "{body}");
        }
        assert_eq!(agents(r#"{"get_agents":{"agents":[]}}"#).unwrap(), Agents::default());
    }

    #[test]
    fn an_agent_that_cannot_be_named_makes_the_list_unreadable() {
        for (entry, missing) in [
            ("null", "object"),
            ("7", "object"),
            ("{}", "agent_info"),
            (r#"{"agent_info":{"hostname":"h"},"active":true}"#, "id"),
            (r#"{"agent_info":{"id":{"value":"S0"},"hostname":1},"active":true}"#, "hostname"),
            (r#"{"agent_info":{"id":{"value":"S0"},"hostname":"h"}}"#, "active"),
        ] {
            let error = agents(&format!(r#"{{"get_agents":{{"agents":[{entry}]}}}}"#)).unwrap_err();
            let AgentsError::Incomplete { list: "agents", index: 0, field } = error else {
                panic!("{entry}: {error}")
            };
            assert_eq!(field, missing, "{entry}");
        }
    }

    #[test]
    fn a_pid_that_is_no_address_costs_only_the_address() {
        assert_eq!(ip_of_pid("slave(1)@10.0.0.1:5051"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(ip_of_pid("slave(1)@[::1]:5051"), Some("::1".parse().unwrap()));
        assert_eq!(ip_of_pid("slave(1)@host:5051"), None);
        assert_eq!(ip_of_pid("slave(1)"), None);
    }
}
