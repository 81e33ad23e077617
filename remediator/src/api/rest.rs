//! `POST /api/v1/pause` and `POST /api/v1/resume`: a person lets automation rest.
//!
//! A pause never stops a person's commands, and it always ends. Resuming also
//! ends a storm, and accepts a clock that is behind the records: the person has
//! looked.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use satellite_core::{Automation, HostDocument, HostName, document::Pause, manual, time::later};
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::{
    App,
    command::{Author, parse_reason, parse_ttl, put_on_record, refuse_in_dry_run, to_the_end},
    error::ApiError,
    hosts::require_begun,
    status::{Status, status},
};
use crate::{journal::Entry, ledger::Batch, store::Writer};

/// As long as somebody looks for a fault; then automation helps again.
const DEFAULT_TTL: Duration = Duration::from_secs(4 * 3600);

/// What is to be paused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseRequest {
    #[serde(default)]
    all: bool,
    reason: String,
    ttl: Option<String>,
}

/// Pauses automation, or replaces the pause there is.
pub(super) async fn pause(
    State(app): State<App>,
    Author(author): Author,
    request: Result<Json<PauseRequest>, JsonRejection>,
) -> Result<Json<Status>, ApiError> {
    let Json(request) = request?;
    let reason = parse_reason("reason", request.reason)?;
    let ttl = parse_ttl(request.ttl.as_deref())?.unwrap_or(DEFAULT_TTL);
    let since = app.clock.now().wall;
    let (all, by) = (request.all, author);
    let pause = Pause { all, since, until: later(since, ttl), by, reason };
    let details = json!({"what": "pause", "pause": pause});
    change(app, details, move |automation, _| automation.pause = Some(pause.clone())).await
}

/// Lets automation go on, whatever made it rest.
pub(super) async fn resume(
    State(app): State<App>,
    Author(author): Author,
) -> Result<Json<Status>, ApiError> {
    let details = json!({"what": "resume", "by": author});
    let now = app.clock.now().wall;
    change(app, details, move |automation, hosts| manual::resume(automation, hosts, now)).await
}

async fn change(
    app: App,
    details: serde_json::Value,
    edit: impl Fn(&mut Automation, &BTreeMap<HostName, HostDocument>) + Clone + Send + Sync + 'static,
) -> Result<Json<Status>, ApiError> {
    refuse_in_dry_run(&app)?;
    to_the_end(&app.clone(), move || change_once(app.clone(), details.clone(), edit.clone())).await
}

async fn change_once(
    app: App,
    details: serde_json::Value,
    edit: impl Fn(&mut Automation, &BTreeMap<HostName, HostDocument>),
) -> Result<Json<Status>, ApiError> {
    let desk = app.ledger.desk().await.map_err(ApiError::Store)?;
    let automation = {
        let documents = desk.read();
        require_begun(&documents)?;
        let mut automation = documents.automation.clone();
        edit(&mut automation, &documents.hosts);
        automation
    };
    let batch = Batch { automation: Some(&automation), ..Batch::default() };
    desk.commit(&batch, Writer::Person).await.map_err(ApiError::Store)?;
    drop(desk);
    info!(command = details.to_string(), "A person's command");
    let entry = Entry::new(app.clock.now().wall, "automation", details);
    put_on_record(&app, &[entry]).await;
    Ok(Json(status(&app)))
}
