//! What Mesos reads: the hosts that are on, sorted, one a line.
//!
//! The file is an output. It follows from the documents; the previous content
//! matters only where the floor has to be kept.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    document::{HostDocument, ListingState, Verdict},
    facts::FoundFile,
    host::{HostName, InvalidHostName},
    policy::Policy,
    time,
};

/// The only line of a list without hosts. It matches no agent (`.invalid` is
/// reserved by RFC 2606), while an empty file stops Mesos with a warning and a
/// missing one lets every host in.
pub const PLACEHOLDER: &str = "bootstrap.invalid";

/// A larger file is no list: one of a million hosts of 60 characters would fit.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The list that should be in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The hosts to list, sorted.
    pub hosts: BTreeSet<HostName>,
    /// Hosts that automation wants out and that stay, since fewer than
    /// `whitelist.min_hosts` would be left.
    pub kept: BTreeSet<HostName>,
}

/// The bytes of the file: each host on a line of its own, LF after each.
#[must_use]
pub fn render(hosts: &BTreeSet<HostName>) -> String {
    if hosts.is_empty() {
        return format!("{PLACEHOLDER}\n");
    }
    let length = hosts.iter().map(|host| host.as_str().len() + 1).sum();
    let mut file = String::with_capacity(length);
    for host in hosts {
        file.push_str(host.as_str());
        file.push('\n');
    }
    file
}

/// Derives the list from the documents. `previous` is the list in force.
///
/// A merge removes only hosts whose document says why. Additions are not
/// limited. What people took out leaves, whatever the floor says: they were
/// asked when they said it, or when they imported what they had.
#[must_use]
pub fn merge(
    documents: &BTreeMap<HostName, HostDocument>,
    previous: &BTreeSet<HostName>,
    policy: &Policy,
    now: Timestamp,
) -> Merge {
    let is_on = |document: &HostDocument| document.verdict() == Verdict::On;
    let (mut hosts, mut inventory, mut on) = (Vec::with_capacity(documents.len()), 0, 0);
    for (host, document) in documents {
        let (is_on, counts) = (is_on(document), in_inventory(document, policy, now));
        inventory += usize::from(counts);
        on += usize::from(counts && is_on);
        if is_on {
            hosts.push(host.clone());
        }
    }
    let mut hosts = BTreeSet::from_iter(hosts);
    let mut kept = BTreeSet::new();
    if on < policy.min_hosts.floor(inventory) {
        let by_automation = |host: &HostName| {
            let is_wanted_out =
                |it: &HostDocument| !is_on(it) && it.ruling_event().is_none() && !it.is_imported();
            documents.get(host).is_some_and(is_wanted_out)
        };
        kept = previous.iter().filter(|host| by_automation(host)).cloned().collect();
        hosts.extend(kept.iter().cloned());
    }
    Merge { hosts, kept }
}

/// Whether a host counts: listed by the leading master, or lost only lately. A
/// name that no leading master ever listed, out of an old file or mistyped, is
/// no host that anybody could miss.
#[must_use]
pub fn in_inventory(document: &HostDocument, policy: &Policy, now: Timestamp) -> bool {
    document.was_ever_listed() && !is_gone(document, policy, now)
}

/// Whether no leading master has listed the host for `retire_after`.
#[must_use]
pub fn is_gone(document: &HostDocument, policy: &Policy, now: Timestamp) -> bool {
    document.listing.state == ListingState::Unlisted
        && time::since(document.listing.since, now) >= policy.retire_after
}

/// Why a file that was found cannot be taken as a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Mesos makes no offers at all with it, which may be a wish or an accident.
    #[error(
        "it is empty, and only a person can tell whether that is meant: remove it to start \
         without a list, or write the hosts into it"
    )]
    Empty,
    /// The line matches no agent in Mesos either, so somebody should look.
    #[error("line {line}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why it is no host.
        #[source]
        source: InvalidHostName,
    },
}

/// Reads a list as Mesos does: LF between names, empty lines dropped, nothing
/// trimmed. The placeholder is no host, beside others neither.
///
/// # Errors
/// [`Unreadable`], where taking the content at its word could lose hosts.
pub fn read(content: &str) -> Result<FoundFile, Unreadable> {
    let names: Vec<HostName> = content
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            line.parse().map_err(|source| Unreadable::Line { line: index + 1, source })
        })
        .collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err(Unreadable::Empty);
    }
    let hosts: Vec<HostName> = names.into_iter().filter(|it| it.as_str() != PLACEHOLDER).collect();
    Ok(if hosts.is_empty() { FoundFile::Missing } else { FoundFile::Lists(hosts) })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        document::{AgentRecord, Cause, Evidence, Listing},
        manual,
        policy::{MaxOff, MinHosts, NewHosts, Share},
    };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    pub(crate) fn policy(min_hosts: MinHosts) -> Policy {
        Policy {
            host_label: "host".into(),
            watchdogs: Vec::new(),
            clear_for: Duration::from_secs(120),
            resend_delay: Duration::from_secs(60),
            max_off: MaxOff { count: 10, share: Share::ALL },
            max_off_per_hour: 10,
            min_hosts,
            new_hosts: NewHosts::On,
            retire_after: Duration::from_secs(7 * 86400),
            dry_run: false,
            per_attribute: BTreeMap::new(),
            storm: crate::policy::StormPolicy {
                threshold: Share::ALL,
                within: Duration::from_secs(300),
                calm: Duration::from_secs(600),
            },
            relapse: crate::policy::RelapsePolicy {
                double_up_to: Duration::from_secs(86400),
                give_up_after: 4,
                within: Duration::from_secs(86400),
            },
            rules: Vec::new(),
        }
    }

    fn names<'a>(hosts: impl IntoIterator<Item = &'a str>) -> BTreeSet<HostName> {
        hosts.into_iter().map(|host| host.parse().unwrap()).collect()
    }

    fn registered() -> HostDocument {
        let mut document = HostDocument::new(Verdict::On, at(0));
        document.listing = Listing { state: ListingState::Registered, since: at(0) };
        document
    }

    fn agent() -> AgentRecord {
        AgentRecord { id: "a1".into(), ip: None, attributes: Default::default() }
    }

    /// A host that automation has taken off.
    fn off() -> HostDocument {
        let mut document = registered();
        let evidence = Evidence {
            alertname: "DiskFull".into(),
            labels: Default::default(),
            starts_at: at(0),
            fingerprint: String::new(),
            value: None,
            seen_at: "am1".into(),
        };
        document.causes.push(Cause::Alert { rule: "r".into(), since: at(0), evidence });
        document
    }

    /// A host that was out of a list that somebody has brought along.
    fn imported() -> HostDocument {
        let mut document = registered();
        document.causes.push(Cause::Imported { since: at(0) });
        document
    }

    /// A host that a person has taken off.
    fn said_off() -> HostDocument {
        let mut document = registered();
        let event = crate::document::ManualEvent {
            state: Verdict::Off,
            reason: "disk swap".into(),
            author: "ops".into(),
            time: at(1),
            ttl: None,
        };
        manual::say(&mut document, "e", event).unwrap();
        document
    }

    type Documents = BTreeMap<HostName, HostDocument>;

    fn documents<const N: usize>(documents: [(&str, HostDocument); N]) -> Documents {
        documents.map(|(host, document)| (host.parse().unwrap(), document)).into()
    }

    fn merged(documents: &Documents, previous: &[&str], min_hosts: MinHosts) -> Merge {
        merge(documents, &names(previous.iter().copied()), &policy(min_hosts), at(10))
    }

    #[test]
    fn the_hosts_that_are_on_are_listed_sorted_by_bytes() {
        let documents = documents([
            ("h10", registered()),
            ("h2", registered()),
            ("H3", registered()),
            ("10.0.0.1", registered()),
            ("h1", off()),
        ]);
        let merge = merged(&documents, &[], MinHosts::Count(0));
        assert_eq!(render(&merge.hosts), "10.0.0.1\nH3\nh10\nh2\n");
        assert!(merge.kept.is_empty());
    }

    #[test]
    fn without_any_host_the_list_is_the_placeholder_and_never_empty() {
        for documents in [documents([]), documents([("h1", said_off())])] {
            let merge = merged(&documents, &["h1"], MinHosts::Count(5));
            assert_eq!(render(&merge.hosts), "bootstrap.invalid\n");
        }
    }

    #[test]
    fn what_automation_wants_out_leaves_while_the_floor_is_kept() {
        let documents = documents([("h1", off()), ("h2", registered()), ("h3", registered())]);
        let merge = merged(&documents, &["h1", "h2", "h3"], MinHosts::Count(2));
        assert_eq!((merge.hosts, merge.kept), (names(["h2", "h3"]), names([])));
    }

    #[test]
    fn below_the_floor_what_automation_wants_out_is_kept_and_the_rest_applied() {
        let documents = documents([
            ("h1", off()),
            ("h2", off()),
            ("h3", said_off()),
            ("h4", registered()),
            ("h5", registered()),
            ("h6", imported()),
        ]);
        let previous = ["h1", "h3", "h4", "h6"];
        let merge = merged(&documents, &previous, MinHosts::Share("60%".parse().unwrap()));
        assert_eq!(merge.kept, names(["h1"]), "h2 was out already: nothing puts it back");
        assert_eq!(merge.hosts, names(["h1", "h4", "h5"]), "a person beats the floor");
    }

    #[test]
    fn a_floor_that_nobody_can_reach_keeps_and_invents_nothing() {
        let documents = documents([("h1", off()), ("h2", said_off())]);
        let merge = merged(&documents, &["h1", "h2"], MinHosts::Count(50));
        assert_eq!((merge.hosts, merge.kept), (names(["h1"]), names(["h1"])));
    }

    #[test]
    fn a_name_without_a_document_leaves_whatever_the_floor_says() {
        let documents = documents([("h1", registered())]);
        let merge = merged(&documents, &["h1", "by-hand"], MinHosts::Count(2));
        assert_eq!(merge.hosts, names(["h1"]), "the file is an output");
    }

    #[test]
    fn merging_again_changes_nothing() {
        let documents = documents([("h1", off()), ("h2", registered()), ("h3", said_off())]);
        for floor in 0..4 {
            let first = merged(&documents, &["h1", "h2", "h3"], MinHosts::Count(floor));
            let previous: Vec<&str> = first.hosts.iter().map(HostName::as_str).collect();
            assert_eq!(merged(&documents, &previous, MinHosts::Count(floor)), first, "{floor}");
        }
    }

    #[test]
    fn what_was_kept_leaves_once_the_floor_is_reached_without_it() {
        let before = documents([("h1", off()), ("h2", registered())]);
        assert_eq!(merged(&before, &["h1", "h2"], MinHosts::Count(2)).kept, names(["h1"]));
        let after = documents([("h1", off()), ("h2", registered()), ("h3", registered())]);
        let merge = merged(&after, &["h1", "h2"], MinHosts::Count(2));
        assert_eq!((merge.hosts, merge.kept), (names(["h2", "h3"]), names([])));
    }

    #[test]
    fn hosts_that_were_lost_long_ago_do_not_hold_up_the_floor() {
        let mut lost = registered();
        lost.agents.push(agent());
        lost.listing = Listing { state: ListingState::Unlisted, since: at(-8 * 86400) };
        let documents = documents([("gone", lost), ("h1", off()), ("h2", registered())]);
        let merge = merged(&documents, &["gone", "h1", "h2"], MinHosts::Count(2));
        assert_eq!(merge.kept, names(["h1"]), "of the two that are left, both must stay");
        assert!(merge.hosts.contains("gone"), "nothing says that it should leave");
    }

    #[test]
    fn a_host_counts_for_retire_after_once_it_is_lost() {
        let (week, policy) = (7 * 86400, policy(MinHosts::Count(0)));
        let mut document = registered();
        assert!(in_inventory(&document, &policy, at(10 * week)));
        document.agents.push(agent());
        document.listing = Listing { state: ListingState::Unlisted, since: at(0) };
        assert!(in_inventory(&document, &policy, at(week - 1)));
        assert!(!in_inventory(&document, &policy, at(week)));
    }

    #[test]
    fn a_name_that_no_master_ever_listed_counts_for_nothing_and_is_gone_in_the_end() {
        let (week, policy) = (7 * 86400, policy(MinHosts::Count(0)));
        let document = HostDocument::new(Verdict::On, at(0));
        assert!(!in_inventory(&document, &policy, at(0)));
        assert!(!is_gone(&document, &policy, at(week - 1)));
        assert!(is_gone(&document, &policy, at(week)));
    }

    #[test]
    fn a_list_is_read_as_mesos_reads_it() {
        let lists = |hosts: &[&str]| {
            Ok(FoundFile::Lists(hosts.iter().map(|host| host.parse().unwrap()).collect()))
        };
        assert_eq!(read("b\na\n"), lists(&["b", "a"]));
        assert_eq!(read("\n\na\n\nb"), lists(&["a", "b"]));
        assert_eq!(read("bootstrap.invalid\n"), Ok(FoundFile::Missing));
        assert_eq!(read("\nbootstrap.invalid"), Ok(FoundFile::Missing));
    }

    #[test]
    fn the_placeholder_is_no_host_beside_others_either() {
        let only = FoundFile::Lists(vec!["a".parse().unwrap()]);
        assert_eq!(read("bootstrap.invalid\na\n"), Ok(only));
        assert_eq!(read("bootstrap.invalid\nbootstrap.invalid\n"), Ok(FoundFile::Missing));
    }

    #[test]
    fn i5_what_could_lose_hosts_is_refused_with_the_line() {
        for empty in ["", "\n", "\n\n\n"] {
            assert_eq!(read(empty), Err(Unreadable::Empty));
        }
        for (content, wanted) in
            [(" \n", 1), ("a\r\nb\r\n", 1), ("a\nb \n", 2), ("a\n\n# c\n", 3), ("a\n*\n", 2)]
        {
            let line = match read(content) {
                Err(Unreadable::Line { line, .. }) => line,
                other => panic!("{content:?} is read as {other:?}"),
            };
            assert_eq!(line, wanted, "{content:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let documents = documents([("h1", registered()), ("::1", registered()), ("h2", off())]);
        let merge = merged(&documents, &[], MinHosts::Count(0));
        let FoundFile::Lists(back) = read(&render(&merge.hosts)).unwrap() else {
            panic!("it lists")
        };
        assert_eq!(back.into_iter().collect::<BTreeSet<_>>(), merge.hosts);
    }
}
