//! `GET /sd/exporters`: where Prometheus finds the exporters.
//!
//! A dead host stays listed, so that its silence is noticed. While the store is
//! not loaded the answer is 503, since Prometheus keeps its targets then and
//! would drop them at an empty list.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{Json, extract::State};
use satellite_core::document::{HostDocument, ListingState};
use serde::Serialize;
use url::Url;

use super::{App, error::ApiError};

/// One group of targets, as Prometheus's HTTP service discovery wants it.
#[derive(Serialize)]
pub(super) struct TargetGroup {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

/// What is at one address.
#[derive(Default)]
struct Node {
    master: bool,
    agent: bool,
    labels: BTreeMap<String, String>,
}

/// Lists every exporter there should be, one for each address.
pub(super) async fn exporters(State(app): State<App>) -> Result<Json<Vec<TargetGroup>>, ApiError> {
    let config = app.config();
    let documents = app.ledger.read();
    if !documents.is_begun() {
        return Err(ApiError::Later("the inventory is not known yet".into()));
    }
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for master in &config.masters {
        nodes.entry(address(master)).or_default().master = true;
    }
    // Two names at one address cannot both be its label. The address of a machine
    // that is gone may be another's by now, so whoever is there comes first.
    for wanted in [ListingState::Registered, ListingState::Recovered, ListingState::Unlisted] {
        let hosts = documents.hosts.iter().filter(|(_, it)| it.listing.state == wanted);
        for (host, document) in hosts {
            for agent in &document.agents {
                let Some(ip) = agent.ip else { continue };
                let node = nodes.entry(bracketed(ip)).or_default();
                if !node.agent {
                    node.agent = true;
                    node.labels = labels(host.as_str(), document, agent);
                }
            }
        }
    }
    let port = config.exporter_port;
    let groups = nodes.into_iter().map(|(address, node)| {
        let mut labels = node.labels;
        labels.insert("__meta_mesos_role".into(), role(node.master, node.agent).into());
        TargetGroup { targets: [format!("{address}:{port}")], labels }
    });
    Ok(Json(groups.collect()))
}

fn labels(
    host: &str,
    document: &HostDocument,
    agent: &satellite_core::document::AgentRecord,
) -> BTreeMap<String, String> {
    let state = match document.listing.state {
        ListingState::Registered => "registered",
        ListingState::Recovered => "recovered",
        ListingState::Unlisted => "unreachable",
    };
    let mut labels = BTreeMap::from([
        ("__meta_mesos_hostname".to_owned(), host.to_owned()),
        ("__meta_mesos_agent_id".to_owned(), agent.id.clone()),
        ("__meta_mesos_agent_state".to_owned(), state.to_owned()),
    ]);
    for (name, value) in &agent.attributes {
        let name = satellite_toolkit::exposition::label_name(name);
        labels.entry(format!("__meta_mesos_attribute_{name}")).or_insert_with(|| value.clone());
    }
    labels
}

/// Commas around each, so that a relabelling rule can match `.*,master,.*`.
fn role(master: bool, agent: bool) -> &'static str {
    match (master, agent) {
        (true, true) => ",master,agent,",
        (true, false) => ",master,",
        (false, _) => ",agent,",
    }
}

fn address(master: &Url) -> String {
    master.host_str().unwrap_or_default().to_owned()
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
