//! What `import` brings along: read whole, with limits, before the remediator is asked for
//! anything.
//!
//! Nothing is decided here, and of documents nothing is looked at: whether they are good is
//! for the remediator to say, which names the host and the key.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail, ensure};
use satellite_config::Digest;
use satellite_core::HostName;
use satellite_core::facts::FoundFile;
use satellite_core::whitelist;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::trees;

/// The largest source, in bytes: the remediator takes no larger request.
pub(crate) const MAX_BYTES: usize = 60 * 1024 * 1024;

/// Where it is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
    /// A tree in ZooKeeper.
    ZooKeeper(Place),
}

/// A node of ZooKeeper and the servers that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `HOST:PORT`, with commas between.
    pub(crate) servers: String,
    /// `/satellite`; empty for the root of all.
    pub(crate) path: String,
}

/// What was found: hosts that are on, or hosts with all that was known of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    List(Vec<HostName>),
    Documents(BTreeMap<String, Box<RawValue>>),
}

/// What was found, and what there is to say of it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) found: Found,
    /// Lines for people: a key and what it is.
    pub(crate) told: Vec<(&'static str, String)>,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "write zookeeper://HOST:PORT[,HOST:PORT…]/PATH";
        match text.split_once("://") {
            _ if text == "-" => Ok(Self::Stdin),
            Some(("zookeeper", rest)) => {
                let (servers, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let path = path.trim_end_matches('/');
                let is_server = |server: &str| {
                    let parts = server.rsplit_once(':');
                    parts
                        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                };
                let names = path.strip_prefix('/').map(|path| path.split('/'));
                let is_path = names.is_none_or(|mut names| names.all(|it| !it.is_empty()));
                if !servers.split(',').all(is_server) || !is_path {
                    return Err(example.to_owned());
                }
                Ok(Self::ZooKeeper(Place { servers: servers.to_owned(), path: path.to_owned() }))
            }
            Some(_) => Err(format!("it is no source; {example}, a file, or - for stdin")),
            None if text.is_empty() => Err("it is empty".to_owned()),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::File(path) => path.display().fmt(f),
            Self::ZooKeeper(Place { servers, path }) => write!(f, "zookeeper://{servers}{path}"),
        }
    }
}

/// Reads all of it. `auth_file` holds what ZooKeeper wants to know.
pub(crate) async fn read(source: &Source, auth_file: Option<&Path>) -> anyhow::Result<Reading> {
    ensure!(
        auth_file.is_none() || matches!(source, Source::ZooKeeper(_)),
        "--zookeeper-auth-file is for zookeeper://… alone, and this is {source}"
    );
    let content = match source {
        Source::ZooKeeper(place) => {
            let auth = auth_file.map(read_digest).transpose()?;
            let read = trees::read(place, auth.as_ref()).await;
            return read.with_context(|| format!("cannot read {source}"));
        }
        Source::Stdin => limited(std::io::stdin().lock()),
        Source::File(path) => File::open(path).map_err(Into::into).and_then(limited),
    };
    let read = content.and_then(|content| understand(&content));
    let found = read.with_context(|| format!("cannot read {source}"))?;
    let told = match &found {
        Found::List(hosts) => format!("{source}: a list, hosts: {}", hosts.len()),
        Found::Documents(hosts) => format!("{source}: documents, hosts: {}", hosts.len()),
    };
    Ok(Reading { found, told: vec![("read", told)] })
}

fn limited(source: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = u64::try_from(MAX_BYTES)?;
    source.take(limit + 1).read_to_end(&mut content)?;
    if content.len() > MAX_BYTES {
        bail!("it is larger than {MAX_BYTES} bytes");
    }
    Ok(content)
}

/// A JSON object is documents by host, whatever else is a list as Mesos reads it.
fn understand(content: &[u8]) -> anyhow::Result<Found> {
    if content.trim_ascii_start().starts_with(b"{") {
        let documents = serde_json::from_slice(content);
        return Ok(Found::Documents(documents.context("it is not JSON")?));
    }
    let text = std::str::from_utf8(content).context("it is neither a list nor JSON")?;
    match whitelist::read(text)? {
        FoundFile::Lists(hosts) => Ok(Found::List(hosts)),
        FoundFile::Missing => bail!("it lists no host but the placeholder"),
    }
}

/// User and password of ZooKeeper's scheme `digest`, which are never shown.
fn read_digest(path: &Path) -> anyhow::Result<Digest> {
    Digest::read(path).map_err(|problem| anyhow!("{}: {problem}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(servers: &str, path: &str) -> Source {
        Source::ZooKeeper(Place { servers: servers.into(), path: path.into() })
    }

    #[test]
    fn a_source_is_a_file_stdin_or_a_node() {
        for (text, wanted) in [
            ("-", Source::Stdin),
            ("whitelist", Source::File("whitelist".into())),
            ("./-", Source::File("./-".into())),
            ("zookeeper://zk1:2181/satellite", tree("zk1:2181", "/satellite")),
            ("zookeeper://zk1:2181,10.0.0.1:2181/a/b/", tree("zk1:2181,10.0.0.1:2181", "/a/b")),
            ("zookeeper://zk1:2181", tree("zk1:2181", "")),
            ("zookeeper://zk1:2181/", tree("zk1:2181", "")),
        ] {
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "zookeeper://",
            "zookeeper:///satellite",
            "zookeeper://zk1/satellite",
            "zookeeper://zk1:port,zk2:port/satellite",
            "zookeeper://zk1:2181,/satellite",
            "zookeeper://zk1:2181//satellite",
            "zk://zk1:2181/satellite",
            "http://127.0.0.1:5001/whitelist/all",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_read_is_a_list_or_documents() {
        let found = |text: &str| understand(text.as_bytes());
        assert!(matches!(found("b\na\n").unwrap(), Found::List(hosts) if hosts.len() == 2));
        let documents = found(" \n{\"a\": {\"manual-flag\": null}}").unwrap();
        let body = serde_json::to_string(&documents).unwrap();
        assert_eq!(body, r#"{"documents":{"a":{"manual-flag": null}}}"#);
        for (text, said) in [
            ("", "it is empty"),
            ("bootstrap.invalid\n", "no host but the placeholder"),
            ("a\r\n", "line 1"),
            ("{", "it is not JSON"),
            ("[1]", "line 1"),
        ] {
            let error = found(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
