//! A master: its metrics snapshot, and its version and flags.
//!
//! All three are answered by every master itself, whether it leads or not.

use std::time::Duration;

use satellite_mesos::{
    Client, endpoint, limits, shown,
    wire::{
        master::{FLAGS_PATH, VERSION_PATH, parse_flags, parse_version},
        snapshot,
    },
};
use satellite_toolkit::exposition::Family;
use url::Url;

use super::{Outcome, SourceError, rubbish};
use crate::{catalogue::Component, families};

/// Asks a master for everything, side by side.
pub(crate) async fn gather(client: &Client, base: &Url, timeout: Duration) -> [Outcome; 2] {
    let url = endpoint(base, snapshot::PATH);
    let numbers = super::snapshot(client, &url, Component::Master, timeout);
    let (numbers, info) = futures::join!(
        Outcome::measure("master", &url, numbers),
        Outcome::measure("master_info", base, info(client, base, timeout)),
    );
    [numbers, info]
}

async fn info(client: &Client, base: &Url, timeout: Duration) -> Result<Vec<Family>, SourceError> {
    let version_url = endpoint(base, VERSION_PATH);
    let flags_url = endpoint(base, FLAGS_PATH);
    let (version, flags) = futures::try_join!(
        client.get(&version_url, timeout, limits::SMALL),
        client.get(&flags_url, timeout, limits::SMALL),
    )?;
    let unreadable = |url: &Url, source| SourceError::Decode { url: shown(url), source };
    let version = parse_version(&version).map_err(|source| unreadable(&version_url, source))?;
    let flags = parse_flags(&flags).map_err(|source| unreadable(&flags_url, source))?;
    if version.version.is_none() {
        return Err(rubbish(&version_url, "version"));
    }
    if flags.flags.0.is_empty() {
        return Err(rubbish(&flags_url, "flags"));
    }
    Ok(vec![families::master_info(&version, &flags)])
}
