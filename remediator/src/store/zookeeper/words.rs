//! What each remediator says to the others as long as it lives: an ephemeral node of its
//! session's, as in ZooKeeper's recipe for group membership.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zookeeper_client::{CreateMode, Error};

use super::{WORDS, session::Session, within};

/// What is in a node.
#[derive(Serialize, Deserialize)]
struct Said {
    subject: String,
    word: String,
}

/// Says a word on a subject, instead of the last one, and gives what each says, by subject.
pub(super) async fn exchange(
    session: &Session,
    subject: String,
    word: String,
) -> Result<BTreeMap<String, String>, Error> {
    let said = Said { subject, word };
    let data = serde_json::to_vec(&said).expect("two texts have a JSON form");
    let node = format!("{WORDS}/{}", session.client.session_id());
    match within(session.client.set_data(&node, &data, None)).await {
        Ok(_) => {}
        Err(Error::NoNode) => {
            let ephemeral = CreateMode::Ephemeral.with_acls(session.acls);
            within(session.client.create(&node, &data, &ephemeral)).await?;
        }
        Err(error) => return Err(error),
    }
    heard(session).await
}

async fn heard(session: &Session) -> Result<BTreeMap<String, String>, Error> {
    let mut words = Vec::new();
    for node in within(session.client.list_children(WORDS)).await? {
        match within(session.client.get_data(&format!("{WORDS}/{node}"))).await {
            Ok((data, stat)) => words.push((stat.czxid, data)),
            Err(Error::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
    // The node of a process that has died may be there for a while beside its successor's,
    // which speaks of the same.
    words.sort_unstable();
    let words = words.into_iter().filter_map(|(_, data)| serde_json::from_slice(&data).ok());
    Ok(words.map(|Said { subject, word }| (subject, word)).collect())
}
