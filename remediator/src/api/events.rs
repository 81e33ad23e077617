//! `PUT` and `DELETE /api/v1/hosts/{host}/events/{id}`: what people say.
//!
//! A command is carried out in the document, durably, before it is answered;
//! the file follows at once, and the loop is woken to look at the host anew.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
};
use http::{HeaderMap, StatusCode};
use satellite_core::{
    HostDocument, HostName, Verdict,
    document::{ManualEvent, Record},
    manual::{self, Refusal},
    plan::Change,
    whitelist::in_inventory,
};
use satellite_toolkit::exit::chain;
use serde::Deserialize;
use tracing::{error, info};

use super::{
    App,
    error::ApiError,
    hosts::{HostView, parse_host, unknown, view_of},
};
use crate::{ledger::Desk, reconcile::host_entry};

/// Long enough for any generated id.
const MAX_ID_LENGTH: usize = 128;
/// A reason is a sentence, shown in tables.
const MAX_REASON_LENGTH: usize = 1000;
const MAX_AUTHOR_LENGTH: usize = 64;
/// Longer is what an event without a ttl is for.
const MAX_TTL: Duration = Duration::from_secs(366 * 24 * 3600);
/// Where a client on loopback says who its user is. Nobody verifies it.
const USER_HEADER: &str = "x-satellite-user";

/// What a person says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    state: Verdict,
    reason: String,
    ttl: Option<String>,
}

/// How it is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SayQuery {
    #[serde(default)]
    force: bool,
}

/// Adds or replaces a manual event.
pub(super) async fn say(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<SayQuery>, QueryRejection>,
    headers: HeaderMap,
    said: Result<Json<Said>, JsonRejection>,
) -> Result<(StatusCode, Json<HostView>), ApiError> {
    let (host, id) = parse_path(path)?;
    let Json(said) = said.map_err(|rejection| ApiError::Bad(chain(&rejection)))?;
    let (reason, ttl) = (parse_reason(said.reason)?, parse_ttl(said.ttl.as_deref())?);
    let (force, author) = (parse_force(query)?, author(&headers));
    to_the_end(async move {
        let desk = app.ledger.desk().await;
        let time = app.clock.now().wall;
        let event = ManualEvent { state: said.state, reason, author, time, ttl };
        let mut document = document_for(&app, &desk, &host, said.state)?;
        let replaced = document.manual_events.contains_key(&id);
        let record = manual::say(&mut document, &id, event).map_err(refused)?;
        if !force {
            keep_floor(&app, &desk, &host, &document)?;
        }
        carry_out(&app, desk, &host, document, record).await?;
        let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
        Ok((status, Json(view_of(&app, &host)?)))
    })
    .await
}

/// Takes a manual event back.
pub(super) async fn take_back(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<SayQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<HostView>, ApiError> {
    let (host, id) = parse_path(path)?;
    let (force, author) = (parse_force(query)?, author(&headers));
    to_the_end(async move {
        let desk = app.ledger.desk().await;
        let now = app.clock.now().wall;
        let document = desk.read().hosts.get(&host).cloned();
        let mut document = document.ok_or_else(|| unknown(&host, &desk.read().hosts))?;
        let record = manual::take_back(&mut document, &id, &author, now).map_err(refused)?;
        if !force {
            keep_floor(&app, &desk, &host, &document)?;
        }
        carry_out(&app, desk, &host, document, record).await?;
        view_of(&app, &host).map(Json)
    })
    .await
}

/// Carries a command out in a task of its own. A client that hangs up ends its
/// request wherever that stands, and between a write and what follows it the
/// store would have what nobody in memory knows of.
async fn to_the_end<T: Send + 'static>(
    command: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(command).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// The document to say something of. A host that nobody lists can still be
/// turned off; to be turned on it must be in the inventory.
fn document_for(
    app: &App,
    desk: &Desk<'_>,
    host: &HostName,
    state: Verdict,
) -> Result<HostDocument, ApiError> {
    let documents = desk.read();
    if !documents.is_begun() {
        let reason =
            "the store is not begun yet: no leading master was seen and no whitelist found";
        return Err(ApiError::Later(reason.into()));
    }
    let now = app.clock.now().wall;
    let known = documents.hosts.get(host);
    let present = known.is_some_and(|it| in_inventory(it, &app.config().policy, now));
    match (known, state) {
        (Some(document), Verdict::Off) => Ok(document.clone()),
        (Some(document), Verdict::On) if present => Ok(document.clone()),
        (None, Verdict::Off) => Ok(HostDocument::new(Verdict::On, now)),
        _ => Err(unknown(host, &documents.hosts)),
    }
}

/// Refuses a document that turns its host off, where too few would be left. A
/// host that nobody lists any more costs nobody a host.
fn keep_floor(
    app: &App,
    desk: &Desk<'_>,
    host: &HostName,
    document: &HostDocument,
) -> Result<(), ApiError> {
    let config = app.config();
    let now = app.clock.now().wall;
    let documents = desk.read();
    let counts =
        |it: &&HostDocument| it.verdict() == Verdict::On && in_inventory(it, &config.policy, now);
    if document.verdict() == Verdict::On || documents.hosts.get(host).filter(counts).is_none() {
        return Ok(());
    }
    let present = documents.hosts.iter().filter(|(_, it)| in_inventory(it, &config.policy, now));
    let (mut inventory, mut left) = (0, 0);
    for (name, document) in present {
        inventory += 1;
        left += usize::from(name != host && document.verdict() == Verdict::On);
    }
    manual::keep_floor(left, config.policy.min_hosts.floor(inventory)).map_err(refused)
}

fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::NoSuchEvent => ApiError::NotFound(refusal.to_string()),
        Refusal::BelowFloor { .. } => ApiError::Conflict(format!("{refusal} (?force=true)")),
        Refusal::TooManyEvents => ApiError::Conflict(refusal.to_string()),
    }
}

async fn carry_out(
    app: &App,
    desk: Desk<'_>,
    host: &HostName,
    document: HostDocument,
    record: Record,
) -> Result<(), ApiError> {
    let version = desk.read().version(host);
    let records = vec![record.clone()];
    let change = Change { document, records, rests_on_alert: false };
    let changes = BTreeMap::from([(host.clone(), change)]);
    desk.commit(&changes, None).await.map_err(ApiError::Store)?;
    drop(desk);
    info!(%host, by = record.by, reason = record.reason, "A person's command");
    if let Err(error) = app.journal.append(&[host_entry(host, &record, version)]).await {
        // The document has it, durably; only the audit record lacks a line.
        error!(error = chain(&error), "A command is not in the journal");
    }
    app.wake.notify_one();
    Ok(())
}

fn author(headers: &HeaderMap) -> String {
    let said = headers.get(USER_HEADER).and_then(|value| value.to_str().ok());
    let said = said.filter(|user| !user.trim().is_empty());
    let user: String = said
        .unwrap_or("somebody on this machine")
        .chars()
        .filter(|it| !it.is_control())
        .take(MAX_AUTHOR_LENGTH)
        .collect();
    format!("{user} (unverified)")
}

/// The host and the event's id.
fn parse_path(
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(HostName, String), ApiError> {
    let Path((host, id)) = path.map_err(|rejection| ApiError::Bad(chain(&rejection)))?;
    let host = parse_host(&host)?;
    let plain = |it: char| it.is_ascii_graphic() || it == ' ';
    if id.is_empty() || id.len() > MAX_ID_LENGTH || !id.chars().all(plain) {
        let limit = MAX_ID_LENGTH;
        return Err(ApiError::Bad(format!(
            "an event id is 1 to {limit} printable ASCII characters"
        )));
    }
    Ok((host, id))
}

fn parse_force(query: Result<Query<SayQuery>, QueryRejection>) -> Result<bool, ApiError> {
    let Query(SayQuery { force }) =
        query.map_err(|_| ApiError::Bad("the one parameter is force=true".into()))?;
    Ok(force)
}

fn parse_reason(reason: String) -> Result<String, ApiError> {
    let empty = reason.trim().is_empty();
    if empty || reason.chars().count() > MAX_REASON_LENGTH || reason.contains(char::is_control) {
        let limit = MAX_REASON_LENGTH;
        let how = format!("reason: say why, on one line, in 1 to {limit} characters");
        return Err(ApiError::Bad(how));
    }
    Ok(reason)
}

fn parse_ttl(ttl: Option<&str>) -> Result<Option<Duration>, ApiError> {
    let Some(text) = ttl else { return Ok(None) };
    match humantime::parse_duration(text) {
        Ok(ttl) if !ttl.is_zero() && ttl <= MAX_TTL => Ok(Some(ttl)),
        _ => Err(ApiError::Bad(format!(
            "ttl: {text:?} is not a duration above 0 and up to 366d, such as 30m, 2h or 7d"
        ))),
    }
}
