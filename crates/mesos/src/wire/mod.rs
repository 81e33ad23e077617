//! Mesos's JSON, as it comes: one module per endpoint, decoded in one pass; and [`recordio`], the
//! framing of its streams.
//!
//! Strings are borrowed from the body where they hold no escape, and what nobody needs (finished
//! tasks and executors above all, which are the bulk of `/state`) is skipped while decoding.
//!
//! Decoding is tolerant: an absent field is `None`, a field of another type than Mesos documents
//! costs that field, a list element that is not an object costs that element. A body that is not
//! JSON, or not even the right kind of document, is a [`ParseError`].
//!
//! These are not domain types: nothing here is checked or promised beyond what the body says.

pub mod agent_state;
pub mod containers;
mod lenient;
pub mod master;
pub mod operator;
pub mod recordio;
pub mod roles;
pub mod snapshot;
pub mod state_summary;

use lenient::{Field, Lenient};

/// A body that is not the document it should be.
#[derive(Debug, thiserror::Error)]
#[error("not a readable {document}")]
pub struct ParseError {
    /// Which document was expected: `metrics snapshot`.
    pub document: &'static str,
    /// What is wrong, with line and column.
    #[source]
    pub source: serde_json::Error,
}

/// Reads a body that is to be an object. The types themselves would be made of a list as well: serde
/// takes its elements for the fields.
fn parse<'a, T: Field<'a>>(document: &'static str, body: &'a [u8]) -> Result<T, ParseError> {
    parse_as("an object", document, body)
}

/// Reads a body that is to be of this kind of JSON value.
fn parse_as<'a, T: Field<'a>>(
    kind: &str,
    document: &'static str,
    body: &'a [u8],
) -> Result<T, ParseError> {
    // Text is looked at once as a whole, and not again with each string in it. Where it is no
    // UTF-8 the reader says where.
    std::str::from_utf8(body)
        .map_or_else(|_| serde_json::from_slice(body), serde_json::from_str)
        .and_then(|Lenient(read)| {
            read.ok_or_else(|| serde::de::Error::custom(format_args!("expected {kind}")))
        })
        .map_err(|source| ParseError { document, source })
}
