//! What a client is told when its request is not carried out.
//!
//! A 4xx says what to change. A 503 says that the same request may work later;
//! its cause is in the log.

use axum::{
    extract::rejection::{BytesRejection, JsonRejection, PathRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use satellite_toolkit::{exit::chain, serve::json_error};
use tracing::error;

use super::{MAX_BODY_BYTES, MAX_COMMAND_BYTES};
use crate::{journal::JournalError, store::StoreError};

/// Why a request is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The request cannot be read or makes no sense: 400.
    #[error("{0}")]
    Bad(String),
    /// The body is larger than any may be: 413.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// There is no such thing: 404.
    #[error("{0}")]
    NotFound(String),
    /// It makes sense, but not now: 409.
    #[error("{0}")]
    Conflict(String),
    /// It is not done here, now or later: 501.
    #[error("{0}")]
    NotDoneHere(String),
    /// Not ready, or overloaded: 503.
    #[error("{0}")]
    Later(String),
    /// The store refused: 503.
    #[error("the store did not take it; look what there is before you repeat it")]
    Store(#[source] StoreError),
    /// The journal refused: 503.
    #[error("the journal cannot be written; the delivery was not taken")]
    Journal(#[source] JournalError),
}

/// Of a delivery.
impl From<BytesRejection> for ApiError {
    fn from(rejection: BytesRejection) -> Self {
        Self::of_body(rejection.status(), MAX_BODY_BYTES, &rejection)
    }
}

/// Of a command.
impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::of_body(rejection.status(), MAX_COMMAND_BYTES, &rejection)
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::Bad(chain(&rejection))
    }
}

impl ApiError {
    /// Of a body that may be so long.
    pub(super) fn of_body(
        status: StatusCode,
        limit: usize,
        rejection: &(dyn std::error::Error + 'static),
    ) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge(limit),
            _ => Self::Bad(chain(rejection)),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::NotDoneHere(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Later(_) | Self::Store(_) | Self::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        if matches!(self, Self::Store(_) | Self::Journal(_)) {
            error!(error = chain(&self), "Refused a request");
        }
        json_error(status, &self.to_string())
    }
}
