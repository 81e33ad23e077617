//! The paths of Two Sigma's Satellite, for what already speaks to it: `/whitelist`,
//! `/metrics/snapshot` and `/state.json`, with the statuses that its README promises.
//!
//! There is nothing behind them that the API has not. What is written here goes
//! through [`events::say`], [`events::take_back`] and [`forget::forget`], and so
//! through the same desk, the same checks and into the same journal; what is read is
//! the documents. A host is `on` or `off` as its document says, which is also what
//! `GET /api/v1/hosts` shows; hosts that the floor keeps in the file are off here.
//!
//! `PUT /whitelist/host/{host}/{on|off}` is the manual event [`PUT_EVENT`], of which a
//! host has one at most.
//!
//! `DELETE /whitelist/host/{host}` forgets the host, as `DELETE /api/v1/hosts/{host}`
//! does, and only a host that the leading master does not list: otherwise it is 409. To
//! the predecessor's README it was the way to take a `PUT` back, and in its last version
//! it threw away both lists, upon which the host left the file until its next event. One
//! of these would put a host back that the other takes out, so that whoever sends it
//! gets the wrong one. And of a host that is listed, both lists cannot go at all: in the
//! next round it would be new, and on, with every reason gone why automation or a person
//! held it off. As it is, a `DELETE` of a host never adds a line to the file. What was
//! said is taken back event by event, that of `PUT` like any other.
//!
//! Lists are 503, and not empty, until it is known which hosts there are. `HEAD` is
//! answered wherever `GET` is, as HTTP wants it; to the predecessor it was a wrong
//! method. `Accept` is not looked at: there is JSON, or nothing.
//! What the predecessor got wrong besides, and how it is here, is in docs/predecessor.md.

mod document;
mod event;

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    routing::{get, post, put},
};
use http::StatusCode;
use satellite_core::{HostName, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::{document::Listed, event::SaidEvent};
use super::{
    App,
    command::Author,
    error::ApiError,
    events::{self, CommandQuery, Withdrawal, Word, parse_force, parse_path},
    forget,
    hosts::{parse_host, require_begun, unknown},
};

/// The id of the event that a `PUT` of on or off is. It is not reserved against being
/// posted or deleted by its name: that is how it is seen and taken back.
const PUT_EVENT: &str = "whitelist-put";

/// The reason where none was sent: a `PUT` has no place for one.
const NO_REASON: &str = "by /whitelist, without a reason";

/// All of them.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/whitelist/{flag}", get(list))
        .route("/whitelist/host/{host}", get(show).delete(delete_host))
        .route("/whitelist/host/{host}/{flag}", put(turn))
        .route("/whitelist/host/{host}/event/{id}", post(say).delete(take_back))
        .route("/metrics/snapshot", get(snapshot))
        .route("/state.json", get(task))
}

/// What came of a command.
#[derive(Serialize)]
struct Done {
    host: HostName,
    /// As the host is now, whoever has said so.
    state: Verdict,
    message: String,
}

/// Lists the hosts that are on, those that are off, or all.
async fn list(
    State(app): State<App>,
    flag: Result<Path<String>, PathRejection>,
) -> Result<Json<BTreeMap<HostName, Listed>>, ApiError> {
    let Path(flag) = flag?;
    let wanted = match flag.as_str() {
        "all" => None,
        flag => Some(parse_flag(flag, "on, off or all")?),
    };
    let documents = app.ledger.read();
    require_begun(&documents)?;
    let hosts = documents.hosts.iter();
    let hosts = hosts.filter(|(_, it)| wanted.is_none_or(|wanted| it.verdict() == wanted));
    Ok(Json(hosts.map(|(host, document)| (host.clone(), Listed::of(host, document))).collect()))
}

/// Shows one host.
async fn show(
    State(app): State<App>,
    host: Result<Path<String>, PathRejection>,
) -> Result<Json<Listed>, ApiError> {
    let Path(host) = host?;
    let host = parse_host(&host)?;
    let documents = app.ledger.read();
    require_begun(&documents)?;
    let document = documents.hosts.get(&host).ok_or_else(|| unknown(&host, &documents.hosts))?;
    Ok(Json(Listed::of(&host, document)))
}

/// Turns a host on or off, until that is taken back.
async fn turn(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
    Author(author): Author,
) -> Result<(StatusCode, Json<Done>), ApiError> {
    let Path((host, flag)) = path?;
    let host = parse_host(&host)?;
    let state = parse_flag(&flag, "on or off")?;
    let force = parse_force(query)?;
    let (id, reason) = (PUT_EVENT.to_owned(), NO_REASON.to_owned());
    let word = Word { host, id, state, reason, ttl: None, author, force };
    carry_out(app, word, |host, state| format!("{host} is now {state}.")).await
}

/// Adds or replaces a manual event.
async fn say(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
    Author(author): Author,
    said: Result<Json<SaidEvent>, JsonRejection>,
) -> Result<(StatusCode, Json<Done>), ApiError> {
    let (host, id) = parse_path(path)?;
    let Json(said) = said?;
    let (state, reason, ttl) = said.read()?;
    let reason = reason.unwrap_or_else(|| NO_REASON.to_owned());
    let word = Word { host, id, state, reason, ttl, author, force: parse_force(query)? };
    carry_out(app, word, |host, state| format!("{host} updated: it is {state}.")).await
}

/// 201 also where the event was there before: its clients look at nothing but the status.
async fn carry_out(
    app: App,
    word: Word,
    tell: impl Fn(&HostName, Verdict) -> String,
) -> Result<(StatusCode, Json<Done>), ApiError> {
    let (_, view) = events::say(app, word).await?;
    let message = tell(&view.host, view.state);
    Ok((StatusCode::CREATED, Json(Done { host: view.host, state: view.state, message })))
}

/// Takes a manual event back.
async fn take_back(
    State(app): State<App>,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<CommandQuery>, QueryRejection>,
    Author(author): Author,
) -> Result<Json<Done>, ApiError> {
    let (host, id) = parse_path(path)?;
    let message = format!("The event {id} of {host} is deleted.");
    let withdrawal = Withdrawal { host, id, author, force: parse_force(query)? };
    let view = events::take_back(app, withdrawal).await?;
    Ok(Json(Done { host: view.host, state: view.state, message }))
}

/// Forgets a host that the leading master does not list.
async fn delete_host(
    State(app): State<App>,
    host: Result<Path<String>, PathRejection>,
    Author(author): Author,
) -> Result<Json<Value>, ApiError> {
    let Path(host) = host?;
    let host = parse_host(&host)?;
    forget::forget(app, host.clone(), author).await?;
    let message = format!("{host} is deleted, with all that was known of it.");
    Ok(Json(json!({"host": host, "message": message})))
}

/// How many hosts are on, of how many.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Snapshot {
    num_hosts_up: usize,
    num_available_hosts: usize,
    /// Absent until it is known which hosts there are, as it was to the predecessor
    /// until it had first written its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    prop_available_hosts: Option<f64>,
}

async fn snapshot(State(app): State<App>) -> Json<Snapshot> {
    let documents = app.ledger.read();
    let all = documents.hosts.len();
    let up = documents.hosts.values().filter(|it| it.verdict() == Verdict::On).count();
    Json(Snapshot {
        num_hosts_up: up,
        num_available_hosts: all,
        prop_available_hosts: documents.is_begun().then(|| proportion(up, all)),
    })
}

/// 0 of nothing, as the predecessor had it.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn proportion(up: usize, all: usize) -> f64 {
    if all == 0 { 0.0 } else { up as f64 / all as f64 }
}

/// Whose metadata is wanted. Other parameters were never looked at.
#[derive(Deserialize)]
struct TaskQuery {
    task: Option<String>,
}

/// The predecessor looked a task up in Riak, where one was configured. A 404 would say
/// that there was no such task.
async fn task(query: Result<Query<TaskQuery>, QueryRejection>) -> Result<Json<Value>, ApiError> {
    let query = query.map_err(|_| ApiError::Bad("the one parameter is task=ID".into()))?;
    match query.0.task.filter(|task| !task.is_empty()) {
        None => Err(ApiError::Bad("the query parameter task is required: ?task=ID".into())),
        Some(_) => Err(ApiError::NotDoneHere(
            "no task store is configured: nothing is known here of any task; the Mesos masters \
             tell of theirs at /tasks"
                .into(),
        )),
    }
}

fn parse_flag(flag: &str, flags: &str) -> Result<Verdict, ApiError> {
    match flag {
        "on" => Ok(Verdict::On),
        "off" => Ok(Verdict::Off),
        _ => Err(ApiError::Bad(format!("unsupported flag: it is {flags}"))),
    }
}
