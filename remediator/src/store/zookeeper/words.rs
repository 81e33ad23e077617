//! What each remediator says to the others as long as it lives: an ephemeral node of its
//! session's, as in ZooKeeper's recipe for group membership.
//!
//! The node of one that has died is there until its session has run out. So it is sure who is
//! alive only once the same nodes were there for longer than that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex as SyncMutex,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zookeeper_client::{CreateMode, Error};

use super::{WORDS, Words, session::Session, within};

/// What is in a node.
#[derive(Serialize, Deserialize)]
struct Said {
    subject: String,
    word: String,
}

/// Whose nodes were there when it was last looked, and since when these and no others.
#[derive(Default)]
pub(super) struct Speakers(SyncMutex<Option<(BTreeSet<String>, Instant)>>);

impl Speakers {
    /// Begins anew: who has died meanwhile may seem to live for as long as at first.
    pub(super) fn forget(&self) {
        *self.0.lock().expect("no holder of this lock panics") = None;
    }

    /// For how long these have been there, and no others, as far as was seen.
    fn are_alone_for(&self, nodes: BTreeSet<String>) -> Duration {
        let mut seen = self.0.lock().expect("no holder of this lock panics");
        let (_, since) = match seen.take() {
            Some(same) if same.0 == nodes => seen.insert(same),
            _ => seen.insert((nodes, Instant::now())),
        };
        since.elapsed()
    }
}

/// Says a word on a subject, instead of the last one, and gives what each says.
pub(super) async fn exchange(
    session: &Session,
    subject: String,
    word: String,
    speakers: &Speakers,
) -> Result<Words, Error> {
    let client = &session.client;
    let said = Said { subject, word };
    let data = serde_json::to_vec(&said).expect("two texts have a JSON form");
    let node = format!("{WORDS}/{}", client.session_id());
    match within(client.set_data(&node, &data, None)).await {
        Ok(_) => {}
        Err(Error::NoNode) => {
            // Somebody may have deleted it with all that was in it.
            within(client.mkdir(WORDS, &CreateMode::Persistent.with_acls(session.acls))).await?;
            let ephemeral = CreateMode::Ephemeral.with_acls(session.acls);
            within(client.create(&node, &data, &ephemeral)).await?;
        }
        Err(error) => return Err(error),
    }
    let (by_subject, nodes) = heard(session).await?;
    // A server looks only now and then whose session has run out.
    let runs_out_within = client.session_timeout() * 3 / 2;
    let are_settled = speakers.are_alone_for(nodes) > runs_out_within;
    Ok(Words { by_subject, are_settled })
}

/// What is said by subject, and the nodes in which it is.
async fn heard(session: &Session) -> Result<(BTreeMap<String, String>, BTreeSet<String>), Error> {
    let (mut words, mut nodes) = (Vec::new(), BTreeSet::new());
    for node in within(session.client.list_children(WORDS)).await? {
        match within(session.client.get_data(&format!("{WORDS}/{node}"))).await {
            Ok((data, stat)) => {
                words.push((stat.czxid, data));
                nodes.insert(node);
            }
            Err(Error::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
    // The node of a process that has died may be there for a while beside its successor's,
    // which speaks of the same.
    words.sort_unstable();
    let words = words.into_iter().filter_map(|(_, data)| serde_json::from_slice(&data).ok());
    Ok((words.map(|Said { subject, word }| (subject, word)).collect(), nodes))
}
