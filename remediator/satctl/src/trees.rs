//! The predecessor's trees in ZooKeeper, read only.
//!
//! Its second generation has one tree, `<root>/whitelist/HOST`, with a JSON document in each
//! node; what a remediator of ours keeps reads the same. Its first generation has three at the
//! root of ZooKeeper, with the text `:on` or `:off` in each node: `/manual-whitelist`, what
//! people said; `/managed-whitelist`, what its recipes said; and `/whitelist`, what it had made
//! of both. Which one it is shows in what is there. The first becomes documents like the
//! second's here, so that the remediator has one kind to read.
//!
//! A node that is deleted while the others are read is not there. With a predecessor that
//! still runs, this is no picture of one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use satellite_config::Digest;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::timeout;
use zookeeper_client::{Client, Error};

use crate::source::{Found, MAX_BYTES, Place, Reading};
use crate::text::enumerated;

/// Reading takes a second or so for thousands of hosts.
const DEADLINE: Duration = Duration::from_secs(60);
const SESSION: Duration = Duration::from_secs(10);
/// A server that does not take a connection for so long is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How many nodes are asked for at once.
const AT_ONCE: usize = 64;
/// How many hosts a tree may have: more than any cluster of Mesos's.
const MAX_HOSTS: usize = 100_000;

/// What the first generation had made of both others; the documents of the second.
const MERGED: &str = "/whitelist";
const MANUAL: &str = "/manual-whitelist";
const MANAGED: &str = "/managed-whitelist";

/// What a `PUT` of the first generation becomes: the event that one of ours is.
const PUT_EVENT: &str = "whitelist-put";
/// It had no place for a reason.
const NO_REASON: &str = "by the predecessor, without a reason";

/// One node: what is in it, and when that was written, in milliseconds since 1970.
struct Node {
    data: Vec<u8>,
    written: i64,
}

type Tree = BTreeMap<String, Node>;

/// Reads the tree at a place, whichever it is.
pub(crate) async fn read(place: &Place, auth: Option<&Digest>) -> anyhow::Result<Reading> {
    let read = timeout(DEADLINE, read_in_time(place, auth)).await;
    read.unwrap_or_else(|_| bail!("it took longer than {} s", DEADLINE.as_secs()))
}

async fn read_in_time(place: &Place, auth: Option<&Digest>) -> anyhow::Result<Reading> {
    let mut connector = Client::connector()
        .with_session_timeout(SESSION)
        .with_connection_timeout(CONNECT_WITHIN)
        .with_fail_eagerly();
    if let Some(auth) = auth {
        connector = connector.with_auth("digest", auth.secret().as_bytes());
    }
    let client = connector.connect(&place.servers).await.context("no server answers")?;
    let node = |name: &str| format!("{}{name}", place.path);
    // A server may be behind the others.
    client.sync("/").await.context("no server answers")?;
    let mut room = MAX_BYTES;
    let merged = read_tree(&client, &node(MERGED), &mut room).await?;
    let manual = read_tree(&client, &node(MANUAL), &mut room).await?;
    let managed = read_tree(&client, &node(MANAGED), &mut room).await?;
    let is_text = |tree: &Tree| tree.values().any(|node| node.data.starts_with(b":"));
    let is_first = manual.is_some() || managed.is_some() || merged.as_ref().is_some_and(is_text);
    let Some(merged) = merged else {
        bail!(
            "there is no node {}: is that the root of the predecessor, its zookeeper-root, or \
             without a path for its first generation?",
            node(MERGED)
        );
    };
    if is_first {
        if let Some(host) = document_among(&merged) {
            bail!(
                "{0}/{host} is a document of the second generation, and other nodes are of the \
                 first: stop whichever runs, and delete the trees of the one that is over",
                node(MERGED)
            );
        }
        let trees = [merged, manual.unwrap_or_default(), managed.unwrap_or_default()];
        return first_generation(place, &trees);
    }
    ensure!(!merged.is_empty(), "{} has no hosts", node(MERGED));
    let (mut documents, told) = (BTreeMap::new(), told(place, "second", merged.len()));
    for (host, Node { data, .. }) in merged {
        let document = String::from_utf8(data).ok().and_then(|it| RawValue::from_string(it).ok());
        let document = document.with_context(|| {
            format!("{}/{host} is no JSON; mend the node or delete it", node(MERGED))
        })?;
        documents.insert(host, document);
    }
    Ok(Reading { found: Found::Documents(documents), told: vec![told] })
}

/// A host whose node has a document.
fn document_among(tree: &Tree) -> Option<&String> {
    tree.iter().find(|(_, node)| node.data.trim_ascii_start().starts_with(b"{")).map(|(it, _)| it)
}

fn told(place: &Place, generation: &str, hosts: usize) -> (&'static str, String) {
    let Place { servers, path } = place;
    let what = format!("the predecessor's {generation} generation, hosts: {hosts}");
    ("read", format!("zookeeper://{servers}{path}: {what}"))
}

/// All children of a node; `None`: there is no such node. What is read takes of the `room`,
/// in bytes, that is left for all trees.
async fn read_tree(client: &Client, path: &str, room: &mut usize) -> anyhow::Result<Option<Tree>> {
    let failed = || format!("cannot read {path}");
    let names = match client.list_children(path).await {
        Ok(names) => names,
        Err(Error::NoNode) => return Ok(None),
        Err(error) => return Err(error).with_context(failed),
    };
    ensure!(names.len() <= MAX_HOSTS, "{path} has more than {MAX_HOSTS} nodes");
    let read = stream::iter(names).map(|name| async move {
        let found = client.get_data(&format!("{path}/{name}")).await;
        found.map(|(data, stat)| Some((name, Node { data, written: stat.mtime }))).or_else(
            |error| match error {
                Error::NoNode => Ok(None),
                error => Err(error),
            },
        )
    });
    let mut read = read.buffer_unordered(AT_ONCE);
    let mut tree = Tree::new();
    while let Some(found) = read.try_next().await.with_context(failed)? {
        let Some((name, node)) = found else { continue };
        let left = room.checked_sub(name.len() + node.data.len());
        *room =
            left.with_context(|| format!("up to {path} there are more than {MAX_BYTES} bytes"))?;
        tree.insert(name, node);
    }
    Ok(Some(tree))
}

/// Makes documents of the three trees: what was merged, what people said, what recipes said.
///
/// Its merge wrote what people said, else what recipes said, and left a host alone of which
/// neither said anything: such a one stayed as it was last.
fn first_generation(place: &Place, trees: &[Tree; 3]) -> anyhow::Result<Reading> {
    let hosts: BTreeSet<&String> = trees.iter().flat_map(|tree| tree.keys()).collect();
    let mut told = vec![told(place, "first", hosts.len())];
    let (mut documents, mut differ) = (BTreeMap::new(), Vec::new());
    for host in hosts {
        let [merged, manual, managed] = [0, 1, 2].map(|at| trees[at].get(host));
        let flag_of = |name: &str, node: Option<&Node>| {
            let path = format!("{}{name}/{host}", place.path);
            node.map(|node| flag(&path, &node.data)).transpose()
        };
        let (was, said) = (flag_of(MERGED, merged)?, flag_of(MANUAL, manual)?);
        let ran = flag_of(MANAGED, managed)?;
        if was.is_some() && said.or(ran).is_some_and(|now| Some(now) != was) {
            differ.push(host.clone());
        }
        let events = manual.zip(said).map(|(node, flag)| {
            let state = if flag == "on" { "ok" } else { "critical" };
            let time = Duration::from_millis(u64::try_from(node.written).unwrap_or(0));
            json!({PUT_EVENT: {"state": state, "time": time.as_secs_f64(), "description": NO_REASON}})
        });
        let document = json!({
            "managed-events": {}, "managed-flag": ran.or(was),
            "manual-events": events.unwrap_or_else(|| json!({})), "manual-flag": said,
        });
        documents.insert(host.clone(), to_raw_value(&document)?);
    }
    ensure!(!documents.is_empty(), "{}{MERGED} has no hosts", place.path);
    if !differ.is_empty() {
        let names = enumerated(&differ);
        let what = format!("{MERGED} was not yet what {MANUAL} and {MANAGED} say, which count");
        told.push(("differ", format!("{names}: {}{what}", place.path)));
    }
    Ok(Reading { found: Found::Documents(documents), told })
}

fn flag(path: &str, data: &[u8]) -> anyhow::Result<&'static str> {
    match data {
        b":on" => Ok("on"),
        b":off" => Ok("off"),
        _ => {
            let found: String = String::from_utf8_lossy(data).chars().take(20).collect();
            bail!("{path} says {found:?}, and should say :on or :off; mend the node or delete it")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn tree(nodes: &[(&str, &str)]) -> Tree {
        let nodes = nodes.iter().map(|(host, text)| {
            let node = Node { data: text.as_bytes().to_vec(), written: 1_459_516_800_250 };
            ((*host).to_owned(), node)
        });
        nodes.collect()
    }

    fn place() -> Place {
        Place { servers: "zk1:2181".into(), path: String::new() }
    }

    #[test]
    fn the_first_generation_becomes_documents_that_say_the_same() {
        let merged = tree(&[("a", ":on"), ("b", ":off"), ("c", ":on"), ("d", ":on"), ("e", ":on")]);
        let manual = tree(&[("b", ":off"), ("c", ":on"), ("f", ":off")]);
        let managed = tree(&[("a", ":on"), ("b", ":on"), ("c", ":off"), ("e", ":off")]);
        let reading = first_generation(&place(), &[merged, manual, managed]).unwrap();
        let Found::Documents(documents) = &reading.found else { panic!("{:?}", reading.found) };
        for (host, managed, manual) in [
            ("a", json!("on"), json!(null)),
            ("b", json!("on"), json!("off")),
            ("c", json!("off"), json!("on")),
            // Added by hand and deleted by hand, it stayed as it was last.
            ("d", json!("on"), json!(null)),
            ("e", json!("off"), json!(null)),
            ("f", json!(null), json!("off")),
        ] {
            let document: Value = serde_json::from_str(documents[host].get()).unwrap();
            assert_eq!((&document["managed-flag"], &document["manual-flag"]), (&managed, &manual));
            let event = &document["manual-events"][PUT_EVENT];
            assert_eq!(event.is_null(), manual.is_null(), "{host}");
            if !event.is_null() {
                assert_eq!(event["time"], 1_459_516_800.25);
            }
            satellite_core::predecessor::Inherited::read(documents[host].get().as_bytes()).unwrap();
        }
        let told: Vec<_> =
            reading.told.iter().map(|(key, what)| format!("{key}: {what}")).collect();
        assert_eq!(
            told,
            [
                "read: zookeeper://zk1:2181: the predecessor's first generation, hosts: 6",
                "differ: e: /whitelist was not yet what /manual-whitelist and \
                 /managed-whitelist say, which count"
            ]
        );
    }

    #[test]
    fn a_node_that_says_something_else_is_named() {
        for text in ["", "on", ":On", ":on\n", "{}"] {
            let trees = [tree(&[]), tree(&[("h1", text)]), tree(&[])];
            let error = first_generation(&place(), &trees).unwrap_err().to_string();
            assert!(error.starts_with("/manual-whitelist/h1 says "), "{error}");
        }
        let nothing = first_generation(&place(), &[tree(&[]), tree(&[]), tree(&[])]);
        assert!(nothing.unwrap_err().to_string().contains("/whitelist has no hosts"));
    }
}
