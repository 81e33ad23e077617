//! Who is there: hosts enter the store, and what the leading master says of
//! them is kept.
//!
//! Nothing here takes a host that was on out of the list. A host that is new
//! gets its place by the file that was there first, or by `new_hosts`.

use std::{collections::BTreeMap, time::Duration};

use super::Round;
use crate::{
    document::{
        AUTOMATION, AgentRecord, Cause, FirstStart, HostDocument, Listing, ListingState, Record,
        Verdict, What,
    },
    facts::{Agent, FoundFile, Mesos},
    host::HostName,
    policy::NewHosts,
    time::later,
};

/// How long after the first start a host that turns up is judged by the file
/// that was there: Mesos waits as long for agents to come back after a
/// fail-over (`--agent_reregister_timeout`, at least 10 minutes).
const ADOPTION: Duration = Duration::from_secs(600);

/// The agents of one host name.
#[derive(Default)]
struct Listed<'a> {
    registered: Vec<&'a Agent>,
    recovered: Vec<&'a Agent>,
}

impl Listed<'_> {
    fn state(&self) -> ListingState {
        if self.registered.is_empty() { ListingState::Recovered } else { ListingState::Registered }
    }

    /// The agents to remember. What a recovered agent does not say (its
    /// address) is taken from what was known of it.
    fn records(&self, known: &[AgentRecord]) -> Vec<AgentRecord> {
        let mut records: Vec<AgentRecord> = self
            .registered
            .iter()
            .chain(&self.recovered)
            .map(|agent| AgentRecord {
                id: agent.id.clone(),
                ip: agent.ip.clone().or_else(|| {
                    known.iter().find(|it| it.id == agent.id).and_then(|it| it.ip.clone())
                }),
                attributes: agent.attributes.clone(),
            })
            .collect();
        records.sort_by(|a, b| a.id.cmp(&b.id));
        records
    }
}

impl<'a> Round<'a> {
    /// Brings the documents in line with the file that was found and with what
    /// the leading master lists.
    pub(super) fn take_inventory(&mut self) {
        let mesos = match &self.facts.mesos {
            Ok(mesos) => Some(mesos),
            Err(reason) => {
                self.blind("mesos".into(), reason.clone());
                None
            }
        };
        if self.automation.first_start.is_none() && !self.begin_store(mesos.is_some()) {
            return;
        }
        if let Some(mesos) = mesos {
            self.take_listing(mesos);
        }
    }

    /// The first start. Gives every name of the file its document; without a
    /// file the leading master has to answer first, since a list made of nothing
    /// would stop all offers. Says whether the store is begun.
    fn begin_store(&mut self, has_leader: bool) -> bool {
        let found: &'a FoundFile = match &self.facts.found_file {
            Ok(found) => found,
            Err(reason) => {
                self.blind("whitelist".into(), reason.clone());
                return false;
            }
        };
        let names: &[HostName] = match found {
            FoundFile::Lists(names) => names,
            FoundFile::Missing if has_leader => &[],
            FoundFile::Missing => return false,
        };
        for host in names {
            let record = self.record(What::Enrolled, "listed in the whitelist that was found");
            self.change(host, |_| {}, Some(record));
        }
        let had_file = !names.is_empty();
        self.automation.first_start =
            Some(FirstStart { at: self.now.wall, had_file, adopt_until: None });
        true
    }

    fn take_listing(&mut self, mesos: &'a Mesos) {
        let mut listed: BTreeMap<&str, Listed<'_>> = BTreeMap::new();
        for agent in &mesos.registered {
            listed.entry(&agent.hostname).or_default().registered.push(agent);
            if !agent.active {
                self.inactive.insert(&agent.hostname);
            }
        }
        for agent in &mesos.recovered {
            listed.entry(&agent.hostname).or_default().recovered.push(agent);
        }
        let adopting = self.adopting();
        for (hostname, listed) in &listed {
            match hostname.parse::<HostName>() {
                Ok(host) => self.take_host(&host, listed, adopting),
                Err(_) => {
                    self.unlistable.insert((*hostname).to_owned());
                }
            }
        }
        self.mark_unlisted(&listed);
    }

    /// Whether a host that turns up now is judged by the file that was found.
    fn adopting(&mut self) -> bool {
        let now = self.now.wall;
        let Some(first_start) = &mut self.automation.first_start else { return false };
        first_start.had_file && now < *first_start.adopt_until.get_or_insert(later(now, ADOPTION))
    }

    fn take_host(&mut self, host: &HostName, listed: &Listed<'_>, adopting: bool) {
        let state = listed.state();
        let Some(document) = self.document(host.as_str()) else {
            return self.enrol(host, listed, adopting);
        };
        let records = listed.records(&document.agents);
        if document.listing.state == state && document.agents == records {
            return;
        }
        let now = self.now.wall;
        self.change(host, |document| relist(document, state, now, records), None);
    }

    fn enrol(&mut self, host: &HostName, listed: &Listed<'_>, adopting: bool) {
        let now = self.now.wall;
        let (state, agents) = (listed.state(), listed.records(&[]));
        let default = match (adopting, self.policy.new_hosts) {
            (true, _) | (false, NewHosts::On) => Verdict::On,
            (false, NewHosts::Off) => Verdict::Off,
        };
        let reason = match (adopting, default) {
            (true, _) => "registered, but not in the whitelist that was found: left out",
            (false, Verdict::On) => "first listed by the leading master; new_hosts: on",
            (false, Verdict::Off) => "first listed by the leading master; new_hosts: off",
        };
        let record = self.record(What::Enrolled, reason);
        let enrol = |document: &mut HostDocument| {
            *document = HostDocument::new(default, now);
            relist(document, state, now, agents);
            if adopting {
                document.causes.push(Cause::Imported { since: now });
            }
        };
        self.change(host, enrol, Some(record));
    }

    fn mark_unlisted(&mut self, listed: &BTreeMap<&str, Listed<'_>>) {
        let lost: Vec<HostName> = self
            .documents()
            .filter(|(host, document)| {
                document.listing.state != ListingState::Unlisted
                    && !listed.contains_key(host.as_str())
            })
            .map(|(host, _)| host.clone())
            .collect();
        let listing = Listing { state: ListingState::Unlisted, since: self.now.wall };
        for host in lost {
            self.change(&host, |document| document.listing = listing, None);
        }
    }

    /// Whether the leading master could offer the host if it were on.
    pub(super) fn is_reachable(&self, host: &HostName, document: &HostDocument) -> bool {
        document.listing.state == ListingState::Registered && !self.inactive.contains(host.as_str())
    }

    pub(super) fn record(&self, what: What, reason: &str) -> Record {
        Record {
            time: self.now.wall,
            what,
            by: AUTOMATION.to_owned(),
            rule: None,
            reason: reason.to_owned(),
            evidence: None,
        }
    }
}

fn relist(
    document: &mut HostDocument,
    state: ListingState,
    now: jiff::Timestamp,
    agents: Vec<AgentRecord>,
) {
    if document.listing.state != state {
        document.listing = Listing { state, since: now };
    }
    document.agents = agents;
}
