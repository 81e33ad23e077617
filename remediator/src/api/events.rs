//! `PUT` and `DELETE /api/v1/hosts/{host}/events/{id}`: what people say.
//!
//! A command is carried out in the document, durably, before it is answered;
//! the file follows at once, and the loop is woken to look at the host anew.
//! Whatever path it came by ([`super::predecessor`] has others), [`say`] and
//! [`take_back`] are the only ways in.

use std::time::Duration;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
};
use http::StatusCode;
use satellite_core::{
    HostDocument, HostName, Verdict,
    document::{MAX_EVENT_ID_LENGTH, ManualEvent, Record},
    manual::{self, Refusal},
    whitelist::is_gone,
};
use serde::Deserialize;
use tracing::info;

use super::{
    App,
    command::{Author, parse_reason, parse_ttl, put_on_record, refuse_in_dry_run, to_the_end},
    error::ApiError,
    hosts::{HostView, parse_host, require_begun, unknown, view_of},
};
use crate::{
    journal::Entry,
    ledger::{Batch, Desk},
    store::Writer,
};

/// The body of a manual event.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    state: Verdict,
    reason: String,
    ttl: Option<String>,
}

/// How a command is meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandQuery {
    #[serde(default)]
    force: bool,
}

/// What a person says of a host.
#[derive(Clone)]
pub(super) struct Word {
    pub(super) host: HostName,
    /// The event's.
    pub(super) id: String,
    pub(super) state: Verdict,
    pub(super) reason: String,
    pub(super) ttl: Option<Duration>,
    pub(super) author: String,
    /// Whether fewer hosts than `min_hosts` may be left.
    pub(super) force: bool,
}

/// What a person takes back.
#[derive(Clone)]
pub(super) struct Withdrawal {
    pub(super) host: HostName,
    /// The event's.
    pub(super) id: String,
    pub(super) author: String,
    /// Whether fewer hosts than `min_hosts` may be left.
    pub(super) force: bool,
}

/// Adds or replaces a manual event.
pub(super) async fn put(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
    Author(author): Author,
    said: Result<Json<Said>, JsonRejection>,
) -> Result<(StatusCode, Json<HostView>), ApiError> {
    let (host, id) = parse_path(path)?;
    let Json(said) = said?;
    let reason = parse_reason("reason", said.reason)?;
    let ttl = parse_ttl(said.ttl.as_deref())?;
    let force = parse_force(query)?;
    let word = Word { host, id, state: said.state, reason, ttl, author, force };
    let (is_new, host) = say(app, word).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(host)))
}

/// Deletes a manual event.
pub(super) async fn delete(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
    Author(author): Author,
) -> Result<Json<HostView>, ApiError> {
    let (host, id) = parse_path(path)?;
    let force = parse_force(query)?;
    take_back(app, Withdrawal { host, id, author, force }).await.map(Json)
}

/// Adds or replaces a manual event. Gives whether it is new, and the host as it is then.
pub(super) async fn say(app: App, word: Word) -> Result<(bool, HostView), ApiError> {
    refuse_in_dry_run(&app)?;
    to_the_end(&app.clone(), move || say_once(app.clone(), word.clone())).await
}

async fn say_once(app: App, word: Word) -> Result<(bool, HostView), ApiError> {
    let Word { host, id, state, reason, ttl, author, force } = word;
    let desk = app.ledger.desk().await.map_err(ApiError::Store)?;
    let time = app.clock.now().wall;
    let event = ManualEvent { state, reason, author, time, ttl };
    let mut document = document_for(&app, &desk, &host, state)?;
    let is_new = !document.manual_events.contains_key(&id);
    let record = manual::say(&mut document, &id, event).map_err(refused)?;
    if !force {
        keep_floor(&app, &desk, &host, &document)?;
    }
    carry_out(&app, desk, &host, document, record).await?;
    Ok((is_new, view_of(&app, &host)?))
}

/// Takes a manual event back. Gives the host as it is then.
pub(super) async fn take_back(app: App, withdrawal: Withdrawal) -> Result<HostView, ApiError> {
    refuse_in_dry_run(&app)?;
    to_the_end(&app.clone(), move || take_back_once(app.clone(), withdrawal.clone())).await
}

async fn take_back_once(app: App, withdrawal: Withdrawal) -> Result<HostView, ApiError> {
    let Withdrawal { host, id, author, force } = withdrawal;
    let desk = app.ledger.desk().await.map_err(ApiError::Store)?;
    let now = app.clock.now().wall;
    require_begun(&desk.read())?;
    let document = desk.read().hosts.get(&host).cloned();
    let mut document = document.ok_or_else(|| unknown(&host, &desk.read().hosts))?;
    let record = manual::take_back(&mut document, &id, &author, now).map_err(refused)?;
    if !force {
        keep_floor(&app, &desk, &host, &document)?;
    }
    carry_out(&app, desk, &host, document, record).await?;
    view_of(&app, &host)
}

/// The document to say something of. A host that nobody lists can still be
/// turned off; to be turned on it must be known and not be gone.
fn document_for(
    app: &App,
    desk: &Desk<'_>,
    host: &HostName,
    state: Verdict,
) -> Result<HostDocument, ApiError> {
    let documents = desk.read();
    require_begun(&documents)?;
    let (config, now) = (app.config(), app.clock.now().wall);
    let known = documents.hosts.get(host);
    let present = known.is_some_and(|it| !is_gone(it, &config.policy, now));
    match (known, state) {
        (Some(document), Verdict::Off) => Ok(document.clone()),
        (Some(document), Verdict::On) if present => Ok(document.clone()),
        (None, Verdict::Off) => Ok(HostDocument::named(config.policy.new_hosts, now)),
        _ => Err(unknown(host, &documents.hosts)),
    }
}

/// Refuses a document that turns its host off, where too few would be left.
fn keep_floor(
    app: &App,
    desk: &Desk<'_>,
    host: &HostName,
    document: &HostDocument,
) -> Result<(), ApiError> {
    let (config, now) = (app.config(), app.clock.now().wall);
    let changed = |name: &HostName| (name == host).then_some(document);
    let documents = desk.read();
    manual::keep_floor(&documents.hosts, changed, &config.policy, now).map_err(refused)
}

pub(super) fn refused(refusal: Refusal) -> ApiError {
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
    desk.commit(&Batch::of_host(host, &document), Writer::Person).await.map_err(ApiError::Store)?;
    drop(desk);
    app.ledger.tally.note(&record);
    info!(%host, by = record.by, reason = record.reason, "A person's command");
    put_on_record(app, &[Entry::of_host(host, &record, version)]).await;
    Ok(())
}

/// The host and the event's id.
pub(super) fn parse_path(
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(HostName, String), ApiError> {
    let Path((host, id)) = path?;
    let host = parse_host(&host)?;
    let plain = |it: char| it.is_ascii_graphic() || it == ' ';
    if id.is_empty() || id.len() > MAX_EVENT_ID_LENGTH || !id.chars().all(plain) {
        let limit = MAX_EVENT_ID_LENGTH;
        return Err(ApiError::Bad(format!(
            "an event id is 1 to {limit} printable ASCII characters"
        )));
    }
    Ok((host, id))
}

/// Whether a command is to be carried out below the floor, too.
pub(super) fn parse_force(
    query: Result<Query<CommandQuery>, QueryRejection>,
) -> Result<bool, ApiError> {
    let Query(CommandQuery { force }) =
        query.map_err(|_| ApiError::Bad("the one parameter is force=true".into()))?;
    Ok(force)
}
