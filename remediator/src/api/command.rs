//! What every command has in common: who says it, why, for how long, and that it
//! is carried out to its end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use http::{HeaderMap, request::Parts};
use satellite_core::document::MAX_REASON_LENGTH;
use satellite_toolkit::{exit::chain, web::User};
use tracing::error;

use super::{App, error::ApiError};
use crate::{journal::Entry, store::StoreError};

/// Who has no name in the web configuration, where a key may be empty. Nobody's word would be
/// taken for one of another program's.
const NAMELESS: &str = "a user without a name";
/// How much is taken of the name that a client says.
const MAX_USER_LENGTH: usize = 64;
/// Longer is what an event without a ttl is for.
const MAX_TTL: Duration = Duration::from_secs(366 * 24 * 3600);
/// Where a client on loopback says who its user is. Nobody verifies it.
const USER_HEADER: &str = "x-satellite-user";

/// How often a command is decided. Of those who write a document at once one succeeds and
/// all others are told so at once; so many never do.
const ATTEMPTS: usize = 100;

/// Carries a command out in a task of its own. A client that hangs up ends its
/// request wherever that stands, and between a write and what follows it the
/// store would have what nobody in memory knows of.
///
/// It is decided anew where somebody at another remediator has written the document
/// meanwhile.
pub(super) async fn to_the_end<T, F>(
    app: &App,
    command: impl Fn() -> F + Send + 'static,
) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ApiError>> + Send + 'static,
{
    let ledger = Arc::clone(&app.ledger);
    let attempts = async move {
        for _ in 1..ATTEMPTS {
            match command().await {
                Err(ApiError::Store(StoreError::Overtaken { seen })) => ledger.catch_up(seen).await,
                Err(error) if is_decided_anew(&error) => {}
                outcome => return outcome,
            }
        }
        command().await
    };
    let done = tokio::spawn(attempts).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Whether somebody else has written meanwhile, and nothing else stood in the way.
pub(super) fn is_decided_anew(error: &ApiError) -> bool {
    matches!(error, ApiError::Store(StoreError::Conflict { .. } | StoreError::Overtaken { .. }))
}

/// In a dry run a command would be forgotten at the end, so that none is taken.
pub(super) fn refuse_in_dry_run(app: &App) -> Result<(), ApiError> {
    if app.config().policy.dry_run {
        let reason = "this is a dry run (policy.dry_run): commands are not taken";
        return Err(ApiError::Conflict(reason.into()));
    }
    Ok(())
}

/// Puts a command on record and wakes the loop to look at what it changed.
pub(super) async fn put_on_record(app: &App, entries: &[Entry]) {
    if let Err(error) = app.journal.append(entries).await {
        // The document has it, durably; only the audit record lacks a line.
        error!(error = chain(&error), "A command is not in the journal yet: it is tried again");
    }
    app.wake.notify_one();
}

/// Who gives the command: the user of the web configuration, or without users whoever the
/// client says, as far as anybody knows.
pub(super) struct Author(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Author {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let verified = parts.extensions.get::<User>().map(|user| match user.name() {
            "" => NAMELESS.to_owned(),
            name => name.to_owned(),
        });
        Ok(Self(verified.unwrap_or_else(|| unverified(&parts.headers))))
    }
}

fn unverified(headers: &HeaderMap) -> String {
    let said = headers.get(USER_HEADER).and_then(|value| value.to_str().ok());
    let said = said.filter(|user| !user.trim().is_empty());
    let user: String = said
        .unwrap_or("somebody on this machine")
        .chars()
        .filter(|it| !it.is_control())
        .take(MAX_USER_LENGTH)
        .collect();
    format!("{user} (unverified)")
}

/// Why, as the person says it in that field: one line.
pub(super) fn parse_reason(field: &str, reason: String) -> Result<String, ApiError> {
    let empty = reason.trim().is_empty();
    if empty || reason.chars().count() > MAX_REASON_LENGTH || reason.contains(char::is_control) {
        let limit = MAX_REASON_LENGTH;
        let how = format!("{field}: say why, on one line, in 1 to {limit} characters");
        return Err(ApiError::Bad(how));
    }
    Ok(reason)
}

/// For how long; `None`: nothing was said of it.
pub(super) fn parse_ttl(ttl: Option<&str>) -> Result<Option<Duration>, ApiError> {
    ttl.map(|text| judge_ttl(text, text)).transpose()
}

/// The ttl that was said as `text` and is `duration` in Prometheus's way of writing.
pub(super) fn judge_ttl(text: &str, duration: &str) -> Result<Duration, ApiError> {
    match satellite_config::read_duration(duration) {
        Ok(ttl) if !ttl.is_zero() && ttl <= MAX_TTL => Ok(ttl),
        _ => Err(ApiError::Bad(format!(
            "ttl: {text:?} is not a duration above 0 and up to 366d, such as 30m, 2h or 7d"
        ))),
    }
}
