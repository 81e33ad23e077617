//! Where the documents are kept: in a file of this remediator's, or in ZooKeeper, which
//! several remediators share.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;

use super::{
    Complaints,
    raw::{self, List},
    value::Text,
};

/// Files that the embedded store and the journal keep in their folder.
const OWN_FILES: [&str; 2] = ["store.redb", "journal.jsonl"];
const DEFAULT_ROOT: &str = "/satellite";
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// A server of ZooKeeper's defaults grants from 4 s to 40 s, and takes what lies outside of
/// that for the nearest. A shorter one loses its leader at each pause of a server.
const SESSION_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(4)..=Duration::from_secs(40);

/// Where the documents are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// With this remediator alone.
    Embedded(EmbeddedStore),
    /// With all remediators of the cluster.
    ZooKeeper(ZooKeeperStore),
}

/// The store of a remediator that is alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedStore {
    /// Its folder.
    pub path: PathBuf,
    /// Whether somebody has said that no other remediator serves this cluster.
    pub single_writer: bool,
}

/// A store that several remediators share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZooKeeperStore {
    /// Every server of the ensemble, as `HOST:PORT`.
    pub servers: Vec<String>,
    /// The node below which everything lies: `/satellite`. Never `/`.
    pub root: String,
    /// After so long without a sign of it a remediator no longer leads; 4 s to 40 s.
    pub session_timeout: Duration,
    /// A file with `USER:PASSWORD` for ZooKeeper's scheme `digest`; without it everybody
    /// who reaches ZooKeeper may change the documents.
    pub auth_file: Option<PathBuf>,
    /// The folder of this remediator's journal.
    pub journal_path: PathBuf,
}

impl Store {
    /// The folder of what this remediator keeps for itself: its journal, and the embedded
    /// store.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Embedded(store) => &store.path,
            Self::ZooKeeper(store) => &store.journal_path,
        }
    }

    /// Whether a file is, or may come to be, one of those that are kept there. A journal
    /// that was put aside, and what is left of a half-written one, has a longer name.
    pub(super) fn keeps(&self, file: &Path) -> bool {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        file.parent() == Some(self.folder()) && OWN_FILES.iter().any(|it| name.starts_with(it))
    }

    /// Makes each path one that holds wherever the daemon was started: what is relative is
    /// so to `folder`, the configuration's.
    pub(super) fn relative_to(&mut self, folder: &Path) {
        if let Self::ZooKeeper(ZooKeeperStore { auth_file: Some(file), .. }) = self {
            *file = folder.join(&file);
        }
    }
}

/// The store that the configuration names; one, and one only.
pub(super) fn store(
    raw: Option<raw::Store>,
    masters: Option<&[Url]>,
    complaints: &mut Complaints,
) -> Option<Store> {
    let raw = raw.unwrap_or_default();
    match (raw.embedded, raw.zookeeper) {
        (Some(_), Some(_)) => {
            let say = "stands beside embedded: the documents are in one place; remove one of them";
            complaints.add("store.zookeeper", say);
            None
        }
        (None, Some(raw)) => zookeeper(raw, complaints).map(Store::ZooKeeper),
        (raw, None) => embedded(raw.unwrap_or_default(), masters, complaints).map(Store::Embedded),
    }
}

fn embedded(
    raw: raw::Embedded,
    masters: Option<&[Url]>,
    complaints: &mut Complaints,
) -> Option<EmbeddedStore> {
    let single_writer = raw.single_writer.unwrap_or(false);
    let addresses: BTreeSet<_> = masters.unwrap_or_default().iter().map(Url::host_str).collect();
    if addresses.len() > 1 && !single_writer && !complaints.has("store.embedded.single_writer") {
        complaints.add(
            "store.embedded.single_writer",
            "must be true, since the masters are on several addresses: it says that no other \
             remediator serves this cluster and that its whitelist file reaches every master; \
             with a remediator beside each master, use store.zookeeper",
        );
    }
    let path = own_folder("store.embedded.path", raw.path, complaints)?;
    Some(EmbeddedStore { path, single_writer })
}

fn zookeeper(raw: raw::ZooKeeper, complaints: &mut Complaints) -> Option<ZooKeeperStore> {
    let servers = servers(raw.servers, complaints);
    let root = raw.root.unwrap_or_else(|| DEFAULT_ROOT.into());
    if !is_a_root(&root) {
        let say = "must be the path of a node such as /satellite, and not / itself";
        complaints.add("store.zookeeper.root", say);
    }
    let session_timeout = raw.session_timeout.map_or(DEFAULT_SESSION_TIMEOUT, |Text(wait)| wait);
    if !SESSION_TIMEOUTS.contains(&session_timeout) {
        complaints.add("store.zookeeper.session_timeout", "must be from 4s to 40s");
    }
    if raw.auth_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        complaints.add("store.zookeeper.auth_file", "is empty; give a path, or remove the key");
    }
    let journal_path = own_folder("store.zookeeper.journal_path", raw.journal_path, complaints);
    Some(ZooKeeperStore {
        servers: servers?,
        root,
        session_timeout,
        auth_file: raw.auth_file,
        journal_path: journal_path?,
    })
}

fn servers(raw: Option<List<String>>, complaints: &mut Complaints) -> Option<Vec<String>> {
    const KEY: &str = "store.zookeeper.servers";
    let raw = raw.unwrap_or_default();
    if raw.is_empty() && !complaints.has(KEY) {
        complaints.add(KEY, "is required; list every server, such as \"zk1:2181\"");
        return None;
    }
    let mut servers: Vec<String> = Vec::new();
    for (index, server) in raw.into_iter().enumerate() {
        let Some(server) = server else { continue };
        let key = || format!("{KEY}[{index}]");
        if !is_a_server(&server) {
            complaints.add(key(), format!("{server:?} is not HOST:PORT, such as zk1:2181"));
        } else if servers.contains(&server) {
            complaints.add(key(), "is listed twice; keep one");
        }
        servers.push(server);
    }
    Some(servers)
}

fn is_a_server(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = !host.is_empty() && host.chars().all(is_host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_v6 = bare.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    (is_name || is_v6) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// What ZooKeeper takes for a path, as far as anybody needs it.
fn is_a_root(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !matches!(part, "" | "." | ".." | "zookeeper") && part.chars().all(is_plain)
    };
    text.strip_prefix('/').is_some_and(|parts| parts.split('/').all(is_part))
}

fn own_folder(key: &str, path: Option<PathBuf>, complaints: &mut Complaints) -> Option<PathBuf> {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    match &path {
        None if !complaints.has(key) => complaints.add(key, "is required; give a path"),
        Some(path) if !path.is_absolute() => {
            let say =
                "must be an absolute path: started from another folder, it would be an empty one";
            complaints.add(key, say);
        }
        _ => {}
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for good in ["zk1:2181", "10.0.0.1:2181", "[::1]:2181", "a-b.example:1"] {
            assert!(is_a_server(good), "{good}");
        }
        for bad in ["zk1", "zk1:", ":2181", "zk1:0", "zk1:99999", "::1:2181", "a b:1", "a/b:1"] {
            assert!(!is_a_server(bad), "{bad}");
        }
    }

    #[test]
    fn a_root_is_a_node_of_its_own() {
        for good in ["/satellite", "/a/b-c.d_e"] {
            assert!(is_a_root(good), "{good}");
        }
        for bad in ["", "/", "satellite", "/a/", "//a", "/a/../b", "/zookeeper", "/a b"] {
            assert!(!is_a_root(bad), "{bad}");
        }
    }
}
