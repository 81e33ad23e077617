//! `DELETE /api/v1/hosts/{host}`: a host leaves the store.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use satellite_core::{
    HostName,
    document::{ListingState, Record, What},
};
use serde_json::{Value, json};
use tracing::info;

use super::{
    App,
    command::{Author, put_on_record, refuse_in_dry_run, to_the_end},
    error::ApiError,
    hosts::{parse_host, require_begun, unknown},
};
use crate::{journal::Entry, ledger::Batch, store::Writer};

/// Forgets a host.
pub(super) async fn delete(
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
    Author(author): Author,
) -> Result<Json<Value>, ApiError> {
    let Path(host) = path?;
    let host = parse_host(&host)?;
    forget(app, host.clone(), author).await?;
    Ok(Json(json!({"host": host, "forgotten": true})))
}

/// Forgets a host that the leading master does not list. A listed one would be
/// back in the next round, as a new host, with all that was said of it lost.
pub(super) async fn forget(app: App, host: HostName, author: String) -> Result<(), ApiError> {
    refuse_in_dry_run(&app)?;
    to_the_end(&app.clone(), move || forget_once(app.clone(), host.clone(), author.clone())).await
}

async fn forget_once(app: App, host: HostName, author: String) -> Result<(), ApiError> {
    let desk = app.ledger.desk().await.map_err(ApiError::Store)?;
    require_begun(&desk.read())?;
    let version = desk.read().version(&host);
    let listing = desk.read().hosts.get(&host).map(|document| document.listing.state);
    match listing {
        None => return Err(unknown(&host, &desk.read().hosts)),
        Some(ListingState::Unlisted) => {}
        Some(_) => {
            return Err(ApiError::Conflict(format!(
                "the leading master lists {host}, which would be back at once as a new host: \
                 stop its agent first, or turn it off; what was said of it is taken back \
                 event by event"
            )));
        }
    }
    let batch = Batch { removed: vec![&host], ..Batch::default() };
    desk.commit(&batch, Writer::Person).await.map_err(ApiError::Store)?;
    drop(desk);
    info!(%host, by = author, "Forgot a host");
    let record = Record {
        time: app.clock.now().wall,
        what: What::Retired,
        by: author,
        rule: None,
        reason: "a person's command".into(),
        evidence: None,
        version: None,
    };
    put_on_record(&app, &[Entry::of_host(&host, &record, version)]).await;
    Ok(())
}
