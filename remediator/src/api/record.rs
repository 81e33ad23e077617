//! `GET /api/v1/journal`: this instance's audit record, newest first.

use std::{convert::Infallible, iter, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    response::IntoResponse,
};
use futures::stream;
use http::header::CONTENT_TYPE;
use satellite_toolkit::exit::chain;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use super::{App, error::ApiError, hosts::parse_host};
use crate::journal;

/// Answers that are in memory at once, each up to some 24 MiB, from the first byte read
/// to the last one sent. Whoever comes then waits: a person rather waits than asks again,
/// and a request that waits costs nothing and has a timeout.
pub(super) const READERS: usize = 4;
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

/// Shows entries.
pub(super) async fn show(
    State(app): State<App>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::Bad(chain(&rejection)))?;
    let since = query.since.as_deref().map(str::parse).transpose().map_err(|_| {
        ApiError::Bad("since is an instant such as 2026-01-31T08:00:00Z".to_owned())
    })?;
    let query = journal::Query {
        host: query.host.as_deref().map(parse_host).transpose()?,
        since,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
    };
    let cut_short = || ApiError::Later("reading the journal was cut short".into());
    let turn = Arc::clone(app.readers()).acquire_owned().await.map_err(|_| cut_short())?;
    let journal = app.journal.clone();
    // It reads to its end also for a client that has left, and has its turn until then.
    let read = tokio::task::spawn_blocking(move || (journal.read(&query), turn)).await;
    let (records, turn) = read.map_err(|_| cut_short())?;
    let records = records.map_err(|error| ApiError::Later(chain(&error)))?;
    Ok(([(CONTENT_TYPE, "application/json")], body(records, turn)))
}

/// The lines as they are, in an array. The turn is over when the last one was sent.
fn body(records: Vec<String>, turn: OwnedSemaphorePermit) -> Body {
    let mut records = records.into_iter();
    let first = records.next();
    let parts = iter::once(r#"{"records":["#.to_owned())
        .chain(first)
        .chain(records.flat_map(|record| [",".to_owned(), record]))
        .chain(iter::once("]}".to_owned()));
    Body::from_stream(stream::iter(parts.map(move |part| {
        let _held = &turn;
        Ok::<_, Infallible>(Bytes::from(part))
    })))
}
