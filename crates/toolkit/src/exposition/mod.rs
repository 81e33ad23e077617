//! What `/metrics` answers, in either of Prometheus's text formats.
//!
//! prometheus-client writes OpenMetrics only, and does not check what it writes: a
//! newline in a help text or a dash in a label name fails a whole scrape. So a daemon's
//! own counters live in its registry, and what a scrape has gathered comes as plain data,
//! [`Family`], which cannot become a line that does not parse, and which is written
//! straight into the answer, piece by piece: of an exposition of many megabytes only a
//! piece is ever in memory.
//!
//! It does not gather, cache or decide which series there are.

mod family;
mod format;
mod write;

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use futures::stream;
use prometheus_client::{encoding::text::encode_registry, registry::Registry};
use tower_http::{CompressionLevel, compression::CompressionLayer};

pub use family::{Family, Kind, Labels, label_name};
pub use format::Format;
use write::Pieces;

/// An exposition that is being put together.
#[derive(Clone, Debug)]
pub struct Exposition {
    format: Format,
    families: Vec<Arc<[Family]>>,
    /// What registries hold, as OpenMetrics without its end.
    registered: String,
}

impl Exposition {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self { format, families: Vec::new(), registered: String::new() }
    }

    /// Adds what a source has gathered. Families of one name, such as those that a master
    /// and an agent of one node both have, are written as one: the first gives help and kind.
    #[must_use]
    pub fn families(mut self, families: impl Into<Arc<[Family]>>) -> Self {
        self.families.push(families.into());
        self
    }

    /// Adds a daemon's own metrics, whose names must be others than those of the families.
    #[must_use]
    pub fn registry(mut self, registry: &Registry) -> Self {
        encode_registry(&mut self.registered, registry).expect("writing to a string does not fail");
        self
    }

    /// An answer with it as the body, written while it is sent.
    pub fn into_response(self) -> Response {
        let format = self.format;
        let pieces = self.into_pieces().map(Ok::<_, Infallible>);
        let mut response = Response::new(Body::from_stream(stream::iter(pieces)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        response
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        let bytes: Vec<u8> = self.into_pieces().flatten().collect();
        String::from_utf8(bytes).expect("it is made of strings")
    }

    fn into_pieces(self) -> Pieces {
        let Self { format, families, registered } = self;
        Pieces::new(format, families, &registered)
    }
}

/// gzip where the client asks for it, at the fastest level: an exposition shrinks to a
/// tenth even so, and a scrape should cost the node little.
pub fn compression() -> CompressionLayer {
    CompressionLayer::new().quality(CompressionLevel::Fastest)
}
