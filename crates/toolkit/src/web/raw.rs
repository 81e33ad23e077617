//! The file as it is written: every key of the format, all of them optional.
//!
//! An element of a list is `None` where it was of the wrong type, which has been complained
//! of. Nothing here can be printed: it holds keys and hashes.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

pub(super) type List<T> = Vec<Option<T>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "the blocks of a web configuration")]
pub(super) struct Raw {
    pub(super) tls_server_config: Option<Tls>,
    pub(super) http_server_config: Option<Http>,
    pub(super) basic_auth_users: Option<BTreeMap<String, String>>,
    pub(super) rate_limit: Option<RateLimit>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "the keys of TLS")]
pub(super) struct Tls {
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) client_auth_type: Option<String>,
    pub(super) client_ca: Option<String>,
    pub(super) client_ca_file: Option<PathBuf>,
    pub(super) client_allowed_sans: Option<List<String>>,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
    pub(super) cipher_suites: Option<List<String>>,
    pub(super) prefer_server_cipher_suites: Option<bool>,
    pub(super) curve_preferences: Option<List<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "http2 or headers")]
pub(super) struct Http {
    /// Taken and without effect: HTTP/1.1 is all that is spoken, which every client of
    /// HTTP/2 falls back to.
    http2: Option<bool>,
    pub(super) headers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "interval and burst")]
pub(super) struct RateLimit {
    pub(super) interval: Option<Interval>,
    pub(super) burst: Option<u32>,
}

/// `1s`, or 0 for no limit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "invalid type, expected a duration such as \"1s\", or 0")]
pub(super) enum Interval {
    Number(u64),
    Text(String),
}
