//! `GET /api/v1/hosts` and `GET /api/v1/hosts/{host}`.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
};
use jiff::Timestamp;
use satellite_core::{
    Cause, HostDocument, HostName, Verdict,
    document::{AgentRecord, Evidence, Record},
    explain::explain,
    plan::Outlook,
};
use serde::{Deserialize, Serialize};

use super::{App, error::ApiError};
use crate::ledger::Documents;

/// What a list is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<Verdict>,
}

/// Several hosts.
#[derive(Serialize)]
pub(super) struct HostList {
    hosts: Vec<HostView>,
}

/// One host, as the API shows it.
#[derive(Serialize)]
pub(super) struct HostView {
    pub(super) host: HostName,
    pub(super) state: Verdict,
    pub(super) off_since: Option<Timestamp>,
    pub(super) causes: Vec<CauseView>,
    pub(super) blocked_by: Vec<String>,
    pub(super) next: Option<Timestamp>,
    pub(super) explain: String,
    pub(super) events: Vec<EventView>,
    listing: satellite_core::document::Listing,
    agents: Vec<AgentRecord>,
    drain: Option<()>,
    pub(super) transitions: Vec<Record>,
}

/// Why a host is off, or is kept on by a person.
#[derive(Serialize)]
pub(super) struct CauseView {
    pub(super) kind: &'static str,
    pub(super) rule: Option<String>,
    pub(super) since: Timestamp,
    pub(super) until: Option<Timestamp>,
    pub(super) evidence: Option<Evidence>,
}

/// A manual event.
#[derive(Serialize)]
pub(super) struct EventView {
    id: String,
    state: Verdict,
    reason: String,
    author: String,
    time: Timestamp,
    ttl: Option<String>,
}

/// Lists hosts, sorted by name.
pub(super) async fn list(
    State(app): State<App>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<HostList>, ApiError> {
    let Query(query) =
        query.map_err(|_| ApiError::Bad("state is on or off; there is no other filter".into()))?;
    let now = app.clock.now().wall;
    let (report, deferral) = (app.report(), app.deferral());
    let documents = app.ledger.read();
    let wanted = |document: &HostDocument| query.state.is_none_or(|it| document.verdict() == it);
    let hosts = documents.hosts.iter().filter(|(_, document)| wanted(document));
    let hosts = hosts
        .map(|(host, document)| {
            let outlook = report.outlook(host, &documents);
            view(host, document, outlook.as_ref(), deferral.as_deref(), now)
        })
        .collect();
    Ok(Json(HostList { hosts }))
}

/// Shows one host.
pub(super) async fn show(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<HostView>, ApiError> {
    let Path(host) = path?;
    let host = parse_host(&host)?;
    view_of(&app, &host).map(Json)
}

/// A host name of a path.
pub(super) fn parse_host(text: &str) -> Result<HostName, ApiError> {
    text.parse()
        .map_err(|error: satellite_core::host::InvalidHostName| ApiError::Bad(error.to_string()))
}

/// Refuses to speak of hosts before it is known which there are: that nobody is there,
/// or not the one who is asked for, would be an invention.
pub(super) fn require_begun(documents: &Documents) -> Result<(), ApiError> {
    if documents.is_begun() {
        return Ok(());
    }
    let reason = "the store is not begun yet: /-/ready says what it waits for, of several \
                  remediators at the one that leads";
    Err(ApiError::Later(reason.into()))
}

/// One host as it is now.
pub(super) fn view_of(app: &App, host: &HostName) -> Result<HostView, ApiError> {
    let documents = app.ledger.read();
    let document = documents.hosts.get(host).ok_or_else(|| unknown(host, &documents.hosts))?;
    let outlook = app.report().outlook(host, &documents);
    let deferral = app.deferral();
    Ok(view(host, document, outlook.as_ref(), deferral.as_deref(), app.clock.now().wall))
}

/// Names are compared to the letter, as Mesos does; where only the case differs,
/// or the domain is left out, the person is told.
pub(super) fn unknown(host: &HostName, hosts: &BTreeMap<HostName, HostDocument>) -> ApiError {
    let said = host.as_str();
    let short = |it: &&HostName| {
        let (first, _) = it.as_str().split_once('.').unwrap_or_default();
        first.eq_ignore_ascii_case(said)
    };
    let near = hosts.keys().find(|it| it.as_str().eq_ignore_ascii_case(said));
    let near = near.or_else(|| hosts.keys().find(short));
    ApiError::NotFound(match near {
        Some(near) => format!("{host} is not in the inventory; did you mean {near}?"),
        None => format!("{host} is not in the inventory"),
    })
}

/// One host. `deferral` is why this remediator decides nothing, where it does not.
pub(super) fn view(
    host: &HostName,
    document: &HostDocument,
    outlook: Option<&Outlook>,
    deferral: Option<&str>,
    now: Timestamp,
) -> HostView {
    let blocks = outlook.map_or(&[][..], |outlook| &outlook.blocked_by);
    // A host that nobody has said anything of waits for nothing.
    let waits = document.verdict() == Verdict::Off || document.ruling_event().is_some();
    let deferral = deferral.filter(|_| waits).map(str::to_owned);
    let blocks = blocks.iter().map(ToString::to_string).chain(deferral);
    HostView {
        host: host.clone(),
        state: document.verdict(),
        off_since: document.off_since,
        causes: causes(document),
        blocked_by: blocks.collect(),
        next: outlook.and_then(|outlook| outlook.next),
        explain: explain(host, document, outlook, now),
        events: events(document),
        listing: document.listing,
        agents: document.agents.clone(),
        drain: None,
        transitions: document.transitions.clone(),
    }
}

fn causes(document: &HostDocument) -> Vec<CauseView> {
    let manual = document.ruling_event().map(|(_, event)| CauseView {
        kind: "manual",
        rule: None,
        since: event.time,
        until: event.expires_at(),
        evidence: None,
    });
    let others = document.causes.iter().map(|cause| match cause {
        Cause::Alert { rule, since, evidence } => CauseView {
            kind: "alert",
            rule: Some(rule.clone()),
            since: *since,
            until: None,
            evidence: Some(evidence.clone()),
        },
        Cause::Imported { since } => {
            CauseView { kind: "imported", rule: None, since: *since, until: None, evidence: None }
        }
    });
    manual.into_iter().chain(others).collect()
}

fn events(document: &HostDocument) -> Vec<EventView> {
    let events = document.manual_events.iter().map(|(id, event)| EventView {
        id: id.clone(),
        state: event.state,
        reason: event.reason.clone(),
        author: event.author.clone(),
        time: event.time,
        ttl: event.ttl.map(satellite_config::write_duration),
    });
    events.collect()
}
