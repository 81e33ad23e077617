//! Who is there: hosts enter the store, and what the leading master says of
//! them is kept.
//!
//! Nothing here takes a host that was on out of the list. A host that is new
//! gets its place by the file that was there first, or by `new_hosts`.

use std::time::Duration;

use super::Round;
use crate::{
    document::{
        AUTOMATION, AgentRecord, Cause, FirstStart, HostDocument, Listing, ListingState, Record,
        Verdict, What,
    },
    facts::{Agent, FoundFile, Mesos},
    host::HostName,
    time::later,
};

/// How long after the first start a host that turns up is judged by the file
/// that was there: Mesos waits as long for agents to come back after a
/// fail-over (`--agent_reregister_timeout`, at least 10 minutes).
const ADOPTION: Duration = Duration::from_secs(600);

/// The agents of one host name.
struct Listed<'a, 'b>(&'b [Entry<'a>]);

/// One agent of the leading master's list.
struct Entry<'a> {
    hostname: &'a str,
    is_recovered: bool,
    agent: &'a Agent,
}

/// All that the leading master lists, sorted as documents are.
fn entries<'a>(mesos: &'a Mesos) -> Vec<Entry<'a>> {
    let entry =
        |agent: &'a Agent, is_recovered| Entry { hostname: &agent.hostname, is_recovered, agent };
    let registered = mesos.registered.iter().map(|agent| entry(agent, false));
    let recovered = mesos.recovered.iter().map(|agent| entry(agent, true));
    let mut entries: Vec<Entry<'_>> = registered.chain(recovered).collect();
    entries.sort_unstable_by_key(|entry| entry.hostname);
    entries
}

impl Listed<'_, '_> {
    fn state(&self) -> ListingState {
        let only_recovered = self.0.iter().all(|entry| entry.is_recovered);
        if only_recovered { ListingState::Recovered } else { ListingState::Registered }
    }

    /// Whether these are the agents that are remembered. Nearly every host is asked
    /// in nearly every round, and one agent is the rule.
    fn is_known(&self, known: &[AgentRecord]) -> bool {
        match (self.0, known) {
            ([Entry { agent, .. }], [known]) => {
                agent.id == known.id
                    && agent.attributes == known.attributes
                    && (agent.ip.is_none() || agent.ip == known.ip)
            }
            _ => self.records(known) == known,
        }
    }

    /// The agents to remember. What a recovered agent does not say (its
    /// address) is taken from what was known of it.
    fn records(&self, known: &[AgentRecord]) -> Vec<AgentRecord> {
        let mut records: Vec<AgentRecord> = self
            .0
            .iter()
            .map(|Entry { agent, .. }| AgentRecord {
                id: agent.id.clone(),
                ip: agent.ip.or_else(|| known.iter().find(|it| it.id == agent.id)?.ip),
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
        if !self.is_begun() && !self.begin_store(mesos.is_some()) {
            return;
        }
        if let Some(mesos) = mesos {
            self.take_listing(mesos);
        }
    }

    /// The first start. Gives every name of the file its document; without a
    /// file the leading master has to answer first, since a list made of nothing
    /// would stop all offers. Says whether the store is begun.
    ///
    /// What the predecessor has left in the store is continued, and goes before the file,
    /// which it had made of that.
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
            FoundFile::Missing if has_leader || self.continues() => &[],
            FoundFile::Missing => return false,
        };
        self.continue_what_was_kept(names);
        let unknown = names.iter().filter(|host| !self.inherited.contains_key(*host));
        for host in unknown {
            let record = self.record(What::Enrolled, "listed in the whitelist that was found");
            self.change(host, |_| {}, Some(record));
        }
        let had_file = !names.is_empty() || self.continues();
        self.automation.first_start =
            Some(FirstStart { at: self.now.wall, had_file, adopt_until: None });
        true
    }

    fn take_listing(&mut self, mesos: &'a Mesos) {
        let inactive = mesos.registered.iter().filter(|agent| !agent.active);
        self.inactive.extend(inactive.map(|agent| agent.hostname.as_str()));
        let adopting = self.adopting();
        let entries = entries(mesos);
        // Both are sorted, so that one pass over the documents finds every host of
        // the list, and every one that is not in it.
        let mut known = self.hosts.iter().peekable();
        for agents in entries.chunk_by(|a, b| a.hostname == b.hostname) {
            let (hostname, listed) = (agents[0].hostname, Listed(agents));
            while let Some(unlisted) = known.next_if(|(host, _)| host.as_str() < hostname) {
                self.unlisted.push(unlisted);
            }
            if let Some((host, document)) = known.next_if(|(host, _)| host.as_str() == hostname) {
                self.take_host(host, document, &listed, adopting);
            } else if let Ok(host) = hostname.parse() {
                self.take_new_host(&host, &listed, adopting);
            } else {
                self.unlistable.insert(hostname.to_owned());
            }
        }
        self.unlisted.extend(known);
        self.mark_unlisted();
    }

    /// Whether a host that turns up now is judged by the file that was found.
    fn adopting(&mut self) -> bool {
        let now = self.now.wall;
        let Some(first_start) = &mut self.automation.first_start else { return false };
        first_start.had_file && now < *first_start.adopt_until.get_or_insert(later(now, ADOPTION))
    }

    fn take_host(
        &mut self,
        host: &HostName,
        document: &HostDocument,
        listed: &Listed<'_, '_>,
        adopting: bool,
    ) {
        if document.awaits_enrolment {
            return self.enrol(host, listed, adopting);
        }
        let state = listed.state();
        if document.listing.state == state && listed.is_known(&document.agents) {
            return;
        }
        let records = listed.records(&document.agents);
        let now = self.now.wall;
        self.change(host, |document| relist(document, state, now, records), None);
    }

    /// A host that the store does not know; this round may have read it in the file.
    fn take_new_host(&mut self, host: &HostName, listed: &Listed<'_, '_>, adopting: bool) {
        match self.document(host.as_str()).cloned() {
            Some(document) => self.take_host(host, &document, listed, adopting),
            None => self.enrol(host, listed, adopting),
        }
    }

    /// A host comes for the first time. People may have spoken of it before, and what
    /// they said stands.
    fn enrol(&mut self, host: &HostName, listed: &Listed<'_, '_>, adopting: bool) {
        let now = self.now.wall;
        let (state, agents) = (listed.state(), listed.records(&[]));
        let default = if adopting { Verdict::On } else { self.policy.new_hosts.verdict() };
        let reason = match (adopting, default) {
            (true, _) => "registered, but not in the whitelist that was found: left out",
            (false, Verdict::On) => "first listed by the leading master; new_hosts: on",
            (false, Verdict::Off) => "first listed by the leading master; new_hosts: off",
        };
        let record = self.record(What::Enrolled, reason);
        let enrol = |document: &mut HostDocument| {
            document.default = default;
            document.awaits_enrolment = false;
            relist(document, state, now, agents);
            // A person's on ends that for good, also where it was said before.
            if adopting && !document.is_said_on() {
                document.causes.push(Cause::Imported { since: now });
            }
        };
        self.change(host, enrol, Some(record));
    }

    fn mark_unlisted(&mut self) {
        let listing = Listing { state: ListingState::Unlisted, since: self.now.wall };
        let was_listed = |it: &HostDocument| it.listing.state != ListingState::Unlisted;
        let lost = self.unlisted.iter().filter(|(_, document)| was_listed(document));
        let lost: Vec<&HostName> = lost.map(|&(host, _)| host).collect();
        for host in lost {
            self.change(host, |document| document.listing = listing, None);
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
            version: None,
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
