//! An agent: its metrics snapshot, its containers, and its state for their names.
//!
//! `/state` is the largest of an agent's documents and costs it most, and what is read of
//! it hardly ever changes. So it is asked when a container appears whose owner is not yet
//! known, or the agent has started anew, and not more often than every [`STATE_INTERVAL`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use satellite_mesos::{
    Client, ClientError, endpoint, limits, shown,
    wire::{
        agent_state::{self, parse_agent_state},
        containers::{self, parse_containers, parse_get_containers},
        operator::{Call, Show},
        snapshot::{self, Snapshot},
    },
};
use satellite_toolkit::exposition::Family;
use url::Url;

use super::{Joined, Outcome, SourceError, decode, flight::Flights, pace::Pace, rubbish};
use crate::{
    catalogue::{Component, Naming},
    families::{self, Listing, Owners},
    groups::{Group, Groups},
    label_rules::LabelRules,
    scrape::Wanted,
};

/// The groups of an agent's snapshot.
const SNAPSHOT: [Group; 9] = [
    Group::Agent,
    Group::Resources,
    Group::System,
    Group::Tasks,
    Group::Messages,
    Group::Containerizer,
    Group::PortMapping,
    Group::ResourceProviders,
    Group::Unknown,
];
/// Those of its containers.
const CONTAINERS: [Group; 7] = [
    Group::Containers,
    Group::Volumes,
    Group::Blkio,
    Group::Perf,
    Group::Tcp,
    Group::TrafficControl,
    Group::Snmp,
];

/// `/state` is not asked more often, however fast containers come and go.
const STATE_INTERVAL: Duration = Duration::from_secs(5);

/// How long names may be old of which some may change by themselves: an executor of a
/// framework's own may get a second task, and its container is then no one task's.
const OPEN_INTERVAL: Duration = Duration::from_secs(60);

/// How often the state is asked for a container of which it says nothing, such as one that
/// no framework asked for.
const TRIES: u8 = 3;

/// How far an agent's uptime may lag behind our clock before that means that it has
/// started anew: more than an answer may take on its way, less than a start takes.
const UPTIME_TOLERANCE: Duration = Duration::from_secs(2);

/// Where the list of containers comes from: the first that the agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Endpoint {
    Api,
    Containers,
    Statistics,
}

/// The agent of this node, and what was last known of its containers' owners.
#[derive(Debug)]
pub(crate) struct Agent {
    client: Client,
    base: Url,
    timeout: Duration,
    pace: Pace,
    statistics_pace: Pace,
    /// The [`Endpoint`] that answered last.
    endpoint: AtomicU8,
    known: Mutex<Known>,
    flights: Flights<(Part, Wanted), Vec<Outcome>>,
}

/// What an agent is asked for, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Snapshot,
    /// The containers, and the state where they need it.
    Containers,
}

/// What was read of the state, and when.
#[derive(Debug, Default)]
struct Known {
    /// Kept while `/state` fails: the series of a container keep the labels they had
    /// instead of becoming other series.
    owners: Arc<Owners>,
    /// Who the agent is; `None` if that is not known of the process that runs now.
    info: Option<Info>,
    /// By which rules its labels were chosen.
    rules: Arc<Rules>,
    /// When the state was last asked.
    asked: Option<Instant>,
    /// Why the last attempt failed; `None` if it did not.
    error: Option<Arc<SourceError>>,
    /// Containers of which the state has said nothing, and how often.
    unowned: HashMap<String, u8>,
    /// When the agent's process started, as its last snapshot has it.
    process: Option<Process>,
}

/// The series that say who the agent is, by each naming.
#[derive(Clone, Debug, Default)]
struct Info {
    native: Arc<[Family]>,
    mesos_exporter: Arc<[Family]>,
}

/// Which labels of tasks and which attributes of agents are told.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rules {
    pub(crate) task_labels: LabelRules,
    pub(crate) agent_attributes: Arc<LabelRules>,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    seen: Instant,
    uptime: Duration,
    is_registered: bool,
}

impl Process {
    fn of(snapshot: &Snapshot<'_>, seen: Instant) -> Option<Self> {
        let uptime = snapshot.get("slave/uptime_secs")?;
        let uptime = Duration::try_from_secs_f64(uptime).ok()?;
        Some(Self { seen, uptime, is_registered: snapshot.get("slave/registered") == Some(1.0) })
    }

    /// Whether `later` is of this process, and has the id that this one had.
    fn is_still(self, later: Self) -> bool {
        let passed = later.seen.saturating_duration_since(self.seen);
        later.uptime + UPTIME_TOLERANCE >= self.uptime + passed
            && later.is_registered == self.is_registered
    }
}

impl Agent {
    pub(crate) fn new(client: Client, base: Url, timeout: Duration) -> Self {
        Self {
            client,
            base,
            timeout,
            pace: Pace::default(),
            statistics_pace: Pace::default(),
            endpoint: AtomicU8::new(Endpoint::Api as u8),
            known: Mutex::default(),
            flights: Flights::default(),
        }
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for everything that is wanted, side by side, or joins those who are asking.
    pub(crate) fn gather(self: &Arc<Self>, wanted: Wanted, rules: &Arc<Rules>) -> Vec<Joined> {
        let of_containers = [&CONTAINERS[..], &[Group::Agent]].concat();
        let parts =
            [(Part::Snapshot, wanted.of(&SNAPSHOT)), (Part::Containers, wanted.of(&of_containers))];
        let joined = parts.into_iter().filter_map(|(part, wanted)| Some((part, wanted?)));
        joined.map(|(part, wanted)| self.join(part, wanted, rules)).collect()
    }

    fn join(self: &Arc<Self>, part: Part, wanted: Wanted, rules: &Arc<Rules>) -> Joined {
        let (sources, path): (&'static [&'static str], _) = match part {
            Part::Snapshot => (&["agent"], snapshot::PATH),
            Part::Containers => (&["containers", "agent_state"], containers::PATH),
        };
        let url = endpoint(&self.base, path);
        let shown = shown(&url);
        let (agent, rules) = (Arc::clone(self), Arc::clone(rules));
        let flight = self.flights.join((part, wanted), || match part {
            Part::Snapshot => {
                async move { Arc::new(vec![agent.snapshot(&url, wanted).await]) }.boxed()
            }
            Part::Containers => {
                async move { Arc::new(agent.containers(wanted, &rules).await) }.boxed()
            }
        });
        Joined { sources, url: shown, flight }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }
}

// What follows is one scrape of the snapshot.

impl Agent {
    async fn snapshot(self: &Arc<Self>, url: &Url, wanted: Wanted) -> Outcome {
        let agent = Arc::clone(self);
        let note = move |snapshot: &Snapshot<'_>| agent.note(Process::of(snapshot, Instant::now()));
        let of = (Component::Agent, wanted);
        self.pace.turn().await;
        let numbers = super::snapshot(&self.client, url, self.timeout, of, note);
        Outcome::measure("agent", url, numbers).await
    }

    /// Forgets who the agent is if this is another process than the last one: its version,
    /// its attributes and its id may be others.
    fn note(&self, process: Option<Process>) {
        let mut known = self.known();
        if let (Some(before), Some(now)) = (known.process, process)
            && !before.is_still(now)
        {
            known.info = None;
            self.endpoint.store(Endpoint::Api as u8, Ordering::Relaxed);
        }
        known.process = process.or(known.process);
    }
}

// What follows is one scrape of the containers.

impl Agent {
    async fn containers(&self, wanted: Wanted, rules: &Arc<Rules>) -> Vec<Outcome> {
        let groups = wanted.groups.of(&CONTAINERS);
        let listing = if groups.is_empty() { None } else { Some(self.listing(groups).await) };
        let mut keys: Vec<&str> = Vec::new();
        match listing.as_ref().map(|outcome| &outcome.result) {
            Some(Ok(listing)) => keys.extend(listing.keys()),
            // Of an agent that may be gone, who it was is not told unless it says so again.
            Some(Err(_)) => self.known().info = None,
            None => {}
        }
        let state = self.state(&keys, rules).await;
        let owners = Arc::clone(&self.known().owners);
        let containers = listing
            .map(|outcome| outcome.map(|listing| Arc::from(listing.families(&owners, wanted))));
        let state = state.map(|info| match wanted.naming {
            _ if !wanted.groups.has(Group::Agent) => Arc::default(),
            Naming::Native => info.native,
            Naming::MesosExporter => info.mesos_exporter,
        });
        containers.into_iter().chain([state]).collect()
    }

    /// The containers, from the first endpoint that the agent has.
    async fn listing(&self, wanted: Groups) -> Outcome<Listing> {
        loop {
            let from = self.endpoint();
            let url = self.listing_url(from);
            if from == Endpoint::Statistics {
                self.statistics_pace.turn().await;
            }
            let listing = self.listing_from(from, &url, wanted);
            let outcome = Outcome::measure("containers", &url, listing).await;
            let next = match from {
                Endpoint::Api => Endpoint::Containers,
                Endpoint::Containers => Endpoint::Statistics,
                Endpoint::Statistics => return outcome,
            };
            if !outcome.result.as_ref().is_err_and(|error| is_unknown_there(error)) {
                return outcome;
            }
            self.endpoint.store(next as u8, Ordering::Relaxed);
        }
    }

    fn endpoint(&self) -> Endpoint {
        let known = [Endpoint::Api, Endpoint::Containers];
        let last = self.endpoint.load(Ordering::Relaxed);
        known.into_iter().find(|it| *it as u8 == last).unwrap_or(Endpoint::Statistics)
    }

    fn listing_url(&self, from: Endpoint) -> Url {
        endpoint(
            &self.base,
            match from {
                Endpoint::Api => "api/v1",
                Endpoint::Containers => containers::PATH,
                Endpoint::Statistics => containers::STATISTICS_PATH,
            },
        )
    }

    async fn listing_from(
        &self,
        from: Endpoint,
        url: &Url,
        wanted: Groups,
    ) -> Result<Listing, SourceError> {
        let Self { client, base, timeout, .. } = self;
        let body = match from {
            Endpoint::Api => {
                let get_containers = Show { show_nested: true, show_standalone: true };
                let call = Call::GetContainers { get_containers };
                client.post_operator(base, &call, *timeout, limits::CONTAINERS).await?
            }
            Endpoint::Containers | Endpoint::Statistics => {
                client.get(url, *timeout, limits::CONTAINERS).await?
            }
        };
        decode(url, &body, |body| {
            let containers = match from {
                Endpoint::Api => parse_get_containers(body)?,
                Endpoint::Containers | Endpoint::Statistics => parse_containers(body)?,
            };
            Ok(Listing::read(&containers, wanted))
        })
    }
}

/// Whether an agent has answered that it does not have this endpoint, or not this call.
fn is_unknown_there(error: &SourceError) -> bool {
    let SourceError::Fetch(ClientError::Status { status, .. }) = error else { return false };
    matches!(status, 400 | 404 | 405 | 501)
}

// What follows is one look at the state.

impl Agent {
    /// Who the agent is, and with it who owns its containers: asked if it must be, and told
    /// as it was last read if not.
    async fn state(&self, containers: &[&str], rules: &Arc<Rules>) -> Outcome<Info> {
        let url = endpoint(&self.base, agent_state::PATH);
        let now = Instant::now();
        let told = {
            let mut known = self.known();
            if known.must_ask(containers, rules, now) {
                known.asked = Some(now);
                None
            } else {
                let result = known.error.clone().map_or(Ok(known.info.clone()), Err);
                Some(result.map(Option::unwrap_or_default))
            }
        };
        if let Some(result) = told {
            return Outcome { source: "agent_state", url: shown(&url), duration: None, result };
        }
        let outcome = Outcome::measure("agent_state", &url, self.read_state(&url, rules)).await;
        self.known().learn(outcome, containers, rules)
    }

    /// Reads the state. It has half of the time, so that one that is slow costs names and
    /// not the numbers that wait for them.
    async fn read_state(&self, url: &Url, rules: &Rules) -> Result<(Owners, Info), SourceError> {
        let body = self.client.get(url, self.timeout / 2, limits::AGENT_STATE).await?;
        let read = decode(url, &body, |body| {
            let state = parse_agent_state(body)?;
            let read = || {
                let attributes = &rules.agent_attributes;
                let native = families::agent_info(&state, attributes);
                let old = families::old_agent_attributes(&state, attributes);
                let info =
                    Info { native: [native].into(), mesos_exporter: old.into_iter().collect() };
                (Owners::read(&state, &rules.task_labels), info)
            };
            Ok(state.hostname.is_some().then(read))
        });
        read?.ok_or_else(|| rubbish(url, "hostname"))
    }
}

impl Known {
    /// Whether the state must be asked now, with these containers there.
    fn must_ask(&self, containers: &[&str], rules: &Rules, now: Instant) -> bool {
        let age = self.asked.map_or(Duration::MAX, |asked| now.saturating_duration_since(asked));
        let is_new = |container: &&str| {
            let tries = self.unowned.get(*container).copied().unwrap_or_default();
            !self.owners.knows(container) && tries < TRIES
        };
        age >= STATE_INTERVAL
            && (self.info.is_none()
                || *self.rules != *rules
                || containers.iter().any(is_new)
                || (self.owners.may_change() && age >= OPEN_INTERVAL))
    }

    /// Takes in what was read. Of what could not be read the owners of before are kept.
    fn learn(
        &mut self,
        outcome: Outcome<(Owners, Info)>,
        containers: &[&str],
        rules: &Arc<Rules>,
    ) -> Outcome<Info> {
        outcome.map_result(|result| match result {
            Ok((owners, info)) => {
                let unowned = containers.iter().filter(|container| !owners.knows(container));
                let tries =
                    |container: &&str| self.unowned.get(*container).copied().unwrap_or_default();
                self.unowned = unowned.map(|it| ((*it).to_owned(), tries(it) + 1)).collect();
                self.owners = Arc::new(owners);
                self.info = Some(info.clone());
                self.rules = Arc::clone(rules);
                self.error = None;
                Ok(info)
            }
            Err(error) => {
                self.info = None;
                self.error = Some(Arc::clone(&error));
                Err(error)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use satellite_mesos::wire::agent_state::AgentState;

    const SECOND: Duration = Duration::from_secs(1);

    fn owners(tasks: &str) -> Owners {
        let body = format!(
            r#"{{"frameworks":[{{"id":"f","executors":[{{"id":"e","container":"c1","tasks":[{tasks}]}}]}}]}}"#
        );
        let state: AgentState<'_> = parse_agent_state(body.as_bytes()).unwrap();
        Owners::read(&state, &LabelRules::default())
    }

    /// A state that was read at some instant, and that instant.
    fn known(tasks: &str) -> (Known, Instant) {
        let asked = Instant::now();
        let mut known = Known { asked: Some(asked), ..Known::default() };
        let url = "http://h/state".to_owned();
        let result = Ok((owners(tasks), Info::default()));
        let outcome = Outcome { source: "agent_state", url, duration: None, result };
        known.learn(outcome, &["c1"], &Arc::default()).result.unwrap();
        (known, asked)
    }

    const COMMAND: &str = r#"{"id":"e","executor_id":""}"#;

    #[test]
    fn the_state_is_asked_at_the_start_and_when_a_container_is_new_and_not_more_often() {
        let rules = Rules::default();
        assert!(Known::default().must_ask(&[], &rules, Instant::now()));
        let (known, asked) = known(COMMAND);
        let must_ask =
            |containers: &[&str], after| known.must_ask(containers, &rules, asked + after);
        assert!(!must_ask(&["c1"], 1000 * SECOND));
        assert!(must_ask(&["c1", "c2"], STATE_INTERVAL));
        assert!(!must_ask(&["c1", "c2"], STATE_INTERVAL - Duration::from_millis(1)));
    }

    #[test]
    fn a_container_of_which_the_state_says_nothing_is_asked_for_three_times() {
        let (mut known, asked) = known(COMMAND);
        let rules = Arc::default();
        for tried in 0..TRIES {
            assert!(known.must_ask(&["c1", "c2"], &rules, asked + STATE_INTERVAL), "{tried}");
            let result = Ok((owners(COMMAND), Info::default()));
            let url = String::new();
            let outcome = Outcome { source: "agent_state", url, duration: None, result };
            known.learn(outcome, &["c1", "c2"], &rules).result.unwrap();
        }
        assert!(!known.must_ask(&["c1", "c2"], &rules, asked + STATE_INTERVAL));
        assert!(known.must_ask(&["c1", "c2", "c3"], &rules, asked + STATE_INTERVAL));
    }

    #[test]
    fn names_that_may_become_wrong_are_asked_again_after_a_minute() {
        let of_own_executor = r#"{"id":"t","executor_id":"e"}"#;
        let (known, asked) = known(of_own_executor);
        let rules = Rules::default();
        assert!(!known.must_ask(&["c1"], &rules, asked + STATE_INTERVAL));
        assert!(known.must_ask(&["c1"], &rules, asked + OPEN_INTERVAL));
    }

    #[test]
    fn other_rules_for_labels_are_a_reason_to_ask() {
        let (known, asked) = known(COMMAND);
        let rules = Rules { task_labels: LabelRules::exact(["env"]), ..Rules::default() };
        assert!(known.must_ask(&["c1"], &rules, asked + STATE_INTERVAL));
    }

    #[test]
    fn a_process_is_told_from_another_by_its_uptime_and_a_registration_from_none() {
        let seen = Instant::now();
        let process = |after: Duration, uptime: Duration, is_registered| Process {
            seen: seen + after,
            uptime,
            is_registered,
        };
        let before = process(Duration::ZERO, 100 * SECOND, true);
        for (after, uptime, is_registered, is_still) in [
            (15, 115, true, true),
            // An answer was on its way for a second.
            (15, 114, true, true),
            (15, 12, true, false),
            (200, 199, true, false),
            (15, 115, false, false),
        ] {
            let later = process(after * SECOND, uptime * SECOND, is_registered);
            assert_eq!(before.is_still(later), is_still, "{after} {uptime}");
        }
    }
}
