//! `GET /api/v1/journal`: this instance's audit record, newest first.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use satellite_toolkit::exit::chain;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{App, error::ApiError, hosts::parse_host};
use crate::journal;

const DEFAULT_LIMIT: usize = 100;
/// An entry of a large delivery may be a megabyte.
const MAX_LIMIT: usize = 1000;

/// What is asked of the journal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    host: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

/// Entries, newest first.
#[derive(Serialize)]
pub(super) struct Records {
    records: Vec<Value>,
}

/// Shows entries.
pub(super) async fn show(
    State(app): State<App>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Json<Records>, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::Bad(chain(&rejection)))?;
    let since = query.since.as_deref().map(str::parse).transpose().map_err(|_| {
        ApiError::Bad("since is an instant such as 2026-01-31T08:00:00Z".to_owned())
    })?;
    let query = journal::Query {
        host: query.host.as_deref().map(parse_host).transpose()?,
        since,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
    };
    let journal = app.journal.clone();
    let read = tokio::task::spawn_blocking(move || journal.read(&query)).await;
    let records = read
        .map_err(|_| ApiError::Later("reading the journal was cut short".into()))?
        .map_err(|error| ApiError::Later(chain(&error)))?;
    Ok(Json(Records { records }))
}
