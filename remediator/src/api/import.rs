//! `POST /api/v1/import`: a person brings along what another program knew of the hosts.
//!
//! The body says what, in one of three ways: `list`, the names that are on; `documents`,
//! hosts as the predecessor kept and showed them, which is also how `GET /whitelist/all`
//! shows them here; or `all_on`. What comes of it is decided in the core, written through
//! the desk like every command, and answered as a difference. With `?dry_run=true` the same
//! is answered and nothing is written, which is why a remediator in a dry run does that, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, FromRequest as _, Query, Request, State, rejection::QueryRejection,
    },
    routing::post,
};
use satellite_core::{
    HostName,
    import::{Change, Import, Report, Source, import},
    predecessor::Inherited,
    whitelist::PLACEHOLDER,
};
use satellite_toolkit::exit::chain;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tracing::{error, info};

use super::{
    App,
    command::{
        Author, is_decided_anew, parse_reason, put_on_record, refuse_in_dry_run, to_the_end,
    },
    error::ApiError,
    events::refused,
    hosts::parse_host,
};
use crate::{
    journal::Entry,
    ledger::{Batch, Desk},
    store::Writer,
};

/// The largest body: more than 100 000 hosts with some events each. One is taken at a time,
/// and needs several times its size until it is read.
const MAX_IMPORT_BYTES: usize = 64 * 1024 * 1024;
/// The kind of the entry that says that there was an import.
const KIND: &str = "import";

/// What is brought along, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reason: String,
    list: Option<BTreeSet<HostName>>,
    documents: Option<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    all_on: bool,
}

/// How it is meant.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportQuery {
    /// Whether fewer hosts than `min_hosts` may be left.
    #[serde(default)]
    force: bool,
    /// Whether nothing is to be done.
    #[serde(default)]
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Serialize)]
struct Answer {
    dry_run: bool,
    #[serde(flatten)]
    report: Report,
}

/// What is to be imported, and by whom.
struct Order {
    source: Source,
    reason: String,
    author: String,
    query: ImportQuery,
    /// What attempts that came only half-way have done.
    done: Mutex<Done>,
}

/// What was done of an import.
#[derive(Default)]
struct Done {
    report: Report,
    /// What the ledger does not keep for the journal: what turned nobody on or off.
    entries: Vec<Entry>,
}

impl Order {
    /// What was done so far, for whoever puts it on record.
    fn take_done(&self) -> Done {
        std::mem::take(&mut *self.done.lock().expect("nobody panics while holding it"))
    }
}

/// Its route, which has its own limit.
pub(super) fn route() -> Router<App> {
    let limit = DefaultBodyLimit::max(MAX_IMPORT_BYTES);
    Router::new().route("/api/v1/import", post(take).layer(limit))
}

async fn take(
    State(app): State<App>,
    query: Result<Query<ImportQuery>, QueryRejection>,
    Author(author): Author,
    request: Request,
) -> Result<Json<Answer>, ApiError> {
    let Query(query) = query
        .map_err(|_| ApiError::Bad("the parameters are dry_run=true and force=true".into()))?;
    if !query.dry_run {
        refuse_in_dry_run(&app)?;
    }
    let turn = Arc::clone(app.importers()).try_acquire_owned();
    let turn = turn.map_err(|_| ApiError::Later("another import is under way".into()))?;
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|rejection| ApiError::of_body(rejection.status(), MAX_IMPORT_BYTES, &rejection))?;
    let cut_short = |_| ApiError::Later("reading the import was cut short".into());
    let read = tokio::task::spawn_blocking(move || (read(&body), turn)).await;
    let (read, turn) = read.map_err(cut_short)?;
    let (source, reason) = read?;
    let order = Arc::new(Order { source, reason, author, query, done: Mutex::default() });
    let turn = Arc::new(turn);
    to_the_end(&app.clone(), move || {
        let (app, order, turn) = (app.clone(), Arc::clone(&order), Arc::clone(&turn));
        async move {
            let _until_it_is_done = turn;
            match import_once(&app, &order).await {
                Err(error) if !is_decided_anew(&error) => Err(tell_half(&app, &order, error).await),
                outcome => outcome,
            }
        }
    })
    .await
    .map(Json)
}

fn read(body: &[u8]) -> Result<(Source, String), ApiError> {
    let said: Said = serde_json::from_slice(body).map_err(|error| ApiError::Bad(chain(&error)))?;
    let reason = parse_reason("reason", said.reason)?;
    let source = match (said.list, said.documents, said.all_on) {
        (Some(list), None, false) if list.iter().any(|it| it.as_str() == PLACEHOLDER) => {
            let why = format!("{PLACEHOLDER} stands where a list has no host: it is none itself");
            return Err(ApiError::Bad(why));
        }
        (Some(list), None, false) if !list.is_empty() => Source::List(list),
        (None, Some(documents), false) if !documents.is_empty() => {
            let read =
                documents.into_iter().map(|(host, document)| read_document(&host, &document));
            Source::Documents(read.collect::<Result<_, _>>()?)
        }
        (None, None, true) => Source::AllOn,
        _ => {
            let how = "say what to import: list (names), documents (by host), or all_on (true), \
                       one of these and not empty";
            return Err(ApiError::Bad(how.into()));
        }
    };
    Ok((source, reason))
}

fn read_document(host: &str, document: &RawValue) -> Result<(HostName, Inherited), ApiError> {
    let host = parse_host(host)?;
    let kept = Inherited::read(document.get().as_bytes())
        .map_err(|error| ApiError::Bad(format!("the document of {host}: {}", chain(&error))))?;
    Ok((host, kept))
}

async fn import_once(app: &App, order: &Order) -> Result<Answer, ApiError> {
    let desk = app.ledger.desk().await.map_err(ApiError::Store)?;
    let Import { changes, report } = decide(app, &desk, order)?;
    let dry_run = order.query.dry_run;
    if dry_run {
        return Ok(Answer { dry_run, report });
    }
    let hosts = changes.iter().map(|(host, change)| (host, &change.document)).collect();
    let versions: BTreeMap<&HostName, u64> =
        changes.keys().map(|host| (host, desk.read().version(host))).collect();
    let batch = Batch { hosts, ..Batch::default() };
    if let Err(error) = desk.commit(&batch, Writer::Person).await {
        note_half(order, &desk, &changes, &versions, report);
        return Err(ApiError::Store(error));
    }
    drop(desk);
    let (mut report, done) = (report, order.take_done());
    report.add(done.report);
    let mut entries = vec![summary(app, order, "import", &report)];
    entries.extend(done.entries);
    for (host, change) in &changes {
        app.ledger.tally.note(&change.record);
        entries.push(Entry::of_host(host, &change.record, versions[host]));
    }
    info!(by = order.author, reason = order.reason, hosts = report.changed(), "A person's import");
    put_on_record(app, &entries).await;
    Ok(Answer { dry_run, report })
}

fn decide(app: &App, desk: &Desk<'_>, order: &Order) -> Result<Import, ApiError> {
    let documents = desk.read();
    if !documents.is_begun() {
        let why = "the store is not begun yet, and what is imported now would not count: wait \
                   for the first start, or mend what /-/ready says";
        return Err(ApiError::Later(why.into()));
    }
    let now = app.clock.now().wall;
    let Order { source, reason, author, query, .. } = order;
    let import = import(source, &documents.hosts, author, reason, now);
    if !query.force {
        import.keep_floor(&documents.hosts, &app.config().policy, now).map_err(refused)?;
    }
    Ok(import)
}

/// Keeps what was written of a batch that is too large for one transaction. What is left of
/// it is decided anew, and whoever sent it is told of all.
fn note_half(
    order: &Order,
    desk: &Desk<'_>,
    changes: &BTreeMap<HostName, Change>,
    versions: &BTreeMap<&HostName, u64>,
    report: Report,
) {
    let documents = desk.read();
    let is_written = |host: &HostName| {
        let (planned, before) = (&changes[host].document, versions[host]);
        documents.hosts.get(host) == Some(&planned.in_version(before + 1))
    };
    let is_kept = |change: &Change| change.document.transitions.last() == Some(&change.record);
    let written = changes.iter().filter(|(host, change)| is_written(host) && !is_kept(change));
    let entries = written.map(|(host, it)| Entry::of_host(host, &it.record, versions[host]));
    let mut done = order.done.lock().expect("nobody panics while holding it");
    done.entries.extend(entries);
    done.report.add(report.of(is_written));
}

/// Puts on record how far an import has come that goes no further, and tells whoever sent it.
async fn tell_half(app: &App, order: &Order, error: ApiError) -> ApiError {
    let Done { report, mut entries } = order.take_done();
    let hosts = report.changed();
    if hosts == 0 {
        return error;
    }
    entries.insert(0, summary(app, order, "import-broken-off", &report));
    put_on_record(app, &entries).await;
    let why = chain(&error);
    let told = format!("{why}; hosts imported before: {hosts}; send it again for the rest");
    error!(by = order.author, reason = order.reason, told, "An import was broken off");
    match error {
        ApiError::Conflict(_) => ApiError::Conflict(told),
        _ => ApiError::Later(told),
    }
}

/// That there was an import, for the journal.
fn summary(app: &App, order: &Order, what: &str, report: &Report) -> Entry {
    let details = json!({
        "what": what, "by": order.author, "reason": order.reason,
        "added": report.added.len(), "on": report.turned_on.len(), "off": report.turned_off.len(),
        "amended": report.amended.len(), "events": report.events.len(),
        "unchanged": report.unchanged,
    });
    Entry::new(app.clock.now().wall, KIND, details)
}
