//! Which list a store that several remediators share is begun with.
//!
//! Each master has a file of its own, and only whoever leads begins the store. Before it
//! does, every remediator shows the others what it has found, so that no list is begun with
//! that another master does not have: its hosts would leave that one's file, and nobody would
//! have said why. Files that are the same need nobody; files that differ need a person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::{Answer, FoundFile};

/// What a remediator has found where its master's whitelist is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sighting {
    /// No file, or only the placeholder.
    None,
    /// A list.
    List {
        /// Of how many hosts.
        hosts: usize,
        /// SHA-256 of the list as a remediator would write it, in hex.
        sha256: String,
    },
    /// Something that only a person can judge.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Sighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("no list"),
            Self::List { hosts, sha256 } => {
                let begin = sha256.get(..8).unwrap_or(sha256);
                let hosts = if *hosts == 1 { "1 host".into() } else { format!("{hosts} hosts") };
                write!(f, "a list of {hosts} (sha256 {begin}…)")
            }
            Self::Unreadable { reason } => write!(f, "what cannot be read: {reason}"),
        }
    }
}

/// What every remediator has found, this one among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sightings {
    /// By the file's name, with the machine's.
    pub by_file: BTreeMap<String, Sighting>,
    /// Whether it is sure that all of these remediators are alive. One that has died and
    /// come again under another name would count as two.
    pub are_settled: bool,
}

/// The list to begin with where `own` was found here and `all` by every remediator that
/// runs. There is to be one beside each master.
///
/// # Errors
/// Why the store cannot be begun yet, and what to do.
pub fn agree(own: FoundFile, all: &Sightings, masters: usize) -> Answer<FoundFile> {
    let Sightings { by_file: all, are_settled } = all;
    let told: Vec<String> = all.iter().map(|(file, found)| format!("{file}: {found}")).collect();
    let told = told.join("; ");
    if all.len() < masters {
        return Err(format!(
            "there are {masters} masters, and the remediators of {} have shown so far which \
             whitelist they have: start the others, each on a machine with a name of its own. \
             {told}",
            all.len()
        ));
    }
    let mut lists = all.values().filter(|found| **found != Sighting::None);
    let first = lists.next();
    if lists.any(|found| Some(found) != first) || matches!(first, Some(Sighting::Unreadable { .. }))
    {
        return Err(format!(
            "the whitelists of the masters differ, or one cannot be read: put the right one on \
             every machine, or remove the wrong ones. {told}"
        ));
    }
    if first.is_some() && own == FoundFile::Missing {
        return Err(format!(
            "there is a whitelist, but not on the machine of the remediator that leads: put it \
             there, too. {told}"
        ));
    }
    if !are_settled {
        return Err(format!(
            "all have shown which whitelist they have, and it waits until it is sure that all of \
             them are alive, which takes a little longer than store.zookeeper.session_timeout. \
             {told}"
        ));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(sha256: &str) -> Sighting {
        Sighting::List { hosts: 2, sha256: sha256.repeat(16) }
    }

    fn own_of(found: &Sighting) -> FoundFile {
        match found {
            Sighting::List { .. } => FoundFile::Lists(vec!["h1.lab".parse().unwrap()]),
            _ => FoundFile::Missing,
        }
    }

    /// What the leader, the first, does in a cluster of three masters.
    fn leader_of(found: &[Sighting]) -> Answer<FoundFile> {
        agree(own_of(&found[0]), &sightings(found), 3)
    }

    fn sightings(found: &[Sighting]) -> Sightings {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let by_file = names.into_iter().zip(found.iter().cloned()).collect();
        Sightings { by_file, are_settled: true }
    }

    #[test]
    fn nothing_is_begun_before_it_is_sure_who_is_alive() {
        for found in [vec![list("ab"); 3], vec![Sighting::None; 3]] {
            let unsure = Sightings { are_settled: false, ..sightings(&found) };
            let why = agree(own_of(&found[0]), &unsure, 3).unwrap_err();
            assert!(why.contains("all of them are alive"), "{why}");
        }
    }

    #[test]
    fn what_all_have_is_begun_with() {
        let unreadable = || Sighting::Unreadable { reason: "it is empty".into() };
        for (found, outcome) in [
            (vec![list("ab"), list("ab"), list("ab")], Ok(())),
            (vec![Sighting::None, Sighting::None, Sighting::None], Ok(())),
            // A machine that is new has none yet.
            (vec![list("ab"), Sighting::None, list("ab")], Ok(())),
            (vec![list("ab"), list("ab"), list("ab"), list("ab")], Ok(())),
            (vec![list("ab"), list("ab")], Err("remediators of 2 have shown")),
            (
                vec![list("ab"), list("ab"), list("cd")],
                Err("c: a list of 2 hosts (sha256 cdcdcdcd…)"),
            ),
            (vec![list("ab"), list("ab"), list("ab"), list("cd")], Err("differ")),
            (vec![list("ab"), unreadable(), Sighting::None], Err("b: what cannot be read: it is")),
            (vec![Sighting::None, unreadable(), Sighting::None], Err("cannot be read")),
            (vec![Sighting::None, list("ab"), list("ab")], Err("not on the machine")),
        ] {
            match (leader_of(&found), outcome) {
                (Ok(begun), Ok(())) => assert_eq!(begun, own_of(&found[0])),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (other, _) => panic!("{found:?}: {other:?}"),
            }
        }
    }
}
