//! An agent's `/state`: who it is, and who owns its containers.
//!
//! `/state` is the largest of an agent's documents and costs it most, and what is read of
//! it hardly ever changes. So it is asked when a container appears whose owner is not yet
//! known, or the agent has started anew, and not more often than every [`STATE_INTERVAL`];
//! and every [`OPEN_INTERVAL`] while there are containers whose names may become wrong.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use satellite_mesos::{
    endpoint, limits, shown,
    wire::{
        agent_state::{self, parse_agent_state},
        snapshot::Snapshot,
    },
};
use satellite_toolkit::exposition::Family;
use url::Url;

use super::{Agent, Fetched, Rules, STATE, listing::Best};
use crate::{
    families::{self, Owners},
    sources::{Outcome, SourceError, decode, rubbish},
};

/// `/state` is not asked more often, however fast containers come and go.
const STATE_INTERVAL: Duration = Duration::from_secs(5);

/// How long names may be old of which some may change by themselves: an executor of a
/// framework's own may get a second task, and its container is then no one task's.
const OPEN_INTERVAL: Duration = Duration::from_secs(60);

/// How often the state is asked for a container of which it says nothing, such as one that
/// no framework asked for.
const TRIES: u8 = 3;

/// By how much an agent's uptime may lag behind our clock, beside the time that the answer
/// was on its way, before that means that the agent has started anew.
const UPTIME_TOLERANCE: Duration = Duration::from_secs(1);

/// What was read of the state, and when; and what else is remembered of an agent.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Kept while `/state` fails: the series of a container keep the labels they had
    /// instead of becoming other series.
    owners: Arc<Owners>,
    /// `None` if it is not known of the process that runs now.
    identity: Option<Identity>,
    /// By which rules its labels were chosen.
    rules: Arc<Rules>,
    /// When the state was last asked.
    asked: Option<Instant>,
    /// Why it is not known; `None` if it is.
    error: Option<Arc<SourceError>>,
    /// Containers of which the state has said nothing, and how often.
    unowned: HashMap<String, u8>,
    process: Option<Process>,
    /// From where the list of containers comes, if not from the best endpoint there is.
    pub(super) best: Option<Best>,
}

/// The series that say who the agent is, by each naming.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    pub(super) native: Arc<[Family]>,
    pub(super) mesos_exporter: Arc<[Family]>,
}

/// The process that a snapshot came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    asked: Instant,
    took: Duration,
    uptime: Duration,
    is_registered: bool,
}

impl Process {
    pub(super) fn of(snapshot: &Snapshot<'_>, asked: Instant, took: Duration) -> Option<Self> {
        let uptime = snapshot.get("slave/uptime_secs")?;
        let uptime = Duration::try_from_secs_f64(uptime).ok()?;
        let is_registered = snapshot.get("slave/registered") == Some(1.0);
        Some(Self { asked, took, uptime, is_registered })
    }

    /// Whether `later` is of this process, and has the id that this one had.
    fn is_still(self, later: Self) -> bool {
        let passed = later.asked.saturating_duration_since(self.asked);
        later.uptime + self.took + UPTIME_TOLERANCE >= self.uptime + passed
            && later.is_registered == self.is_registered
    }
}

impl Known {
    pub(super) fn owners(&self) -> Arc<Owners> {
        Arc::clone(&self.owners)
    }

    /// From now on it is not known who the agent is.
    pub(super) fn forget(&mut self) {
        self.identity = None;
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.identity.is_none()
    }

    /// Forgets who the agent is if this is another process than the last one: its version,
    /// its attributes and its id may be others, and it may have other endpoints.
    pub(super) fn note(&mut self, process: Option<Process>) {
        if let (Some(before), Some(now)) = (self.process, process)
            && !before.is_still(now)
        {
            self.forget();
            self.best = None;
        }
        self.process = process.or(self.process);
    }

    /// Whether the state must be asked now, with these containers there.
    fn must_ask(&self, containers: &[&str], rules: &Rules, now: Instant) -> bool {
        let age = self.asked.map_or(Duration::MAX, |asked| now.saturating_duration_since(asked));
        let is_new = |container: &&str| {
            let tries = self.unowned.get(*container).copied().unwrap_or_default();
            !self.owners.knows(container) && tries < TRIES
        };
        let may_change = |container: &&str| self.owners.may_change(container);
        age >= STATE_INTERVAL
            && (self.identity.is_none()
                || *self.rules != *rules
                || containers.iter().any(is_new)
                || (age >= OPEN_INTERVAL && containers.iter().any(may_change)))
    }

    /// Who the agent is, as it was last read.
    fn told(&self, url: &Url) -> Result<Identity, Arc<SourceError>> {
        let not_read = || Arc::new(SourceError::NotRead { url: shown(url) });
        let error = || self.error.clone().unwrap_or_else(not_read);
        self.identity.clone().ok_or_else(error)
    }

    /// Takes in what was read. Of what could not be read the owners of before are kept.
    fn learn(
        &mut self,
        read: Result<(Owners, Identity), Arc<SourceError>>,
        containers: &[String],
        rules: &Arc<Rules>,
    ) -> Result<Identity, Arc<SourceError>> {
        match read {
            Ok((owners, identity)) => {
                let tries = |container: &String| self.unowned.get(container).copied().unwrap_or(0);
                let unowned = containers.iter().filter(|container| !owners.knows(container));
                let unowned = unowned.map(|it| (it.clone(), tries(it) + 1)).collect();
                // Where no containers were listed, nothing was learned of any.
                if !containers.is_empty() {
                    self.unowned = unowned;
                }
                self.owners = Arc::new(owners);
                self.identity = Some(identity.clone());
                self.rules = Arc::clone(rules);
                self.error = None;
                Ok(identity)
            }
            Err(error) => {
                self.identity = None;
                self.error = Some(Arc::clone(&error));
                Err(error)
            }
        }
    }
}

impl Agent {
    /// Who the agent is, and with it who owns its containers: asked if it must be, and told
    /// as it was last read if not. A scrape waits for `patience`.
    pub(super) async fn state(
        self: &Arc<Self>,
        containers: &[&str],
        rules: &Arc<Rules>,
        patience: Duration,
    ) -> Outcome<Identity> {
        let url = endpoint(&self.base, agent_state::PATH);
        let flight = {
            let mut known = self.known();
            let now = Instant::now();
            match self.states.under_way(&()) {
                Some(flight) => flight,
                None if known.must_ask(containers, rules, now) => {
                    known.asked = Some(now);
                    // Until it is known why.
                    known.error = None;
                    let containers = containers.iter().map(|it| (*it).to_owned()).collect();
                    let (agent, rules) = (Arc::clone(self), Arc::clone(rules));
                    // Half of the time, so that a state that is slow costs names and not
                    // the numbers that wait for them.
                    let timeout = self.timeout.min(patience) / 2;
                    let read = async move {
                        Arc::new(agent.read_state(containers, &rules, timeout).await)
                    };
                    self.states.join((), || read.boxed())
                }
                None => {
                    let result = known.told(&url);
                    return Outcome { source: STATE, url: shown(&url), duration: None, result };
                }
            }
        };
        (*flight.await).clone()
    }

    async fn read_state(
        &self,
        containers: Vec<String>,
        rules: &Arc<Rules>,
        timeout: Duration,
    ) -> Outcome<Identity> {
        let url = endpoint(&self.base, agent_state::PATH);
        let answer = self.client.get(&url, timeout, limits::AGENT_STATE);
        let answer = Fetched::measure(url.clone(), answer).await;
        let read = answer.outcome(STATE, |url, body| read(url, body, rules));
        read.map_result(|read| self.known().learn(read, &containers, rules))
    }
}

fn read(url: &Url, body: &[u8], rules: &Rules) -> Result<(Owners, Identity), SourceError> {
    let read = decode(url, body, |body| {
        let state = parse_agent_state(body)?;
        let read = || {
            let attributes = &rules.agent_attributes;
            let native = [families::agent_info(&state, attributes)];
            let old = families::old_agent_attributes(&state, attributes);
            let mesos_exporter = old.into_iter().collect();
            let identity = Identity { native: native.into(), mesos_exporter };
            (Owners::read(&state, &rules.task_labels), identity)
        };
        Ok(state.hostname.is_some().then(read))
    });
    read?.ok_or_else(|| rubbish(url, "hostname"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_rules::LabelRules;
    use satellite_mesos::wire::agent_state::AgentState;

    const SECOND: Duration = Duration::from_secs(1);

    fn owners(tasks: &str) -> Owners {
        let body = format!(
            r#"{{"frameworks":[{{"id":"f","executors":[{{"id":"e","container":"c1","tasks":[{tasks}]}}]}}]}}"#
        );
        let state: AgentState<'_> = parse_agent_state(body.as_bytes()).unwrap();
        Owners::read(&state, &LabelRules::default())
    }

    fn learn(known: &mut Known, tasks: &str, containers: &[&str]) {
        let containers: Vec<_> = containers.iter().map(|it| (*it).to_owned()).collect();
        let read = Ok((owners(tasks), Identity::default()));
        known.learn(read, &containers, &Arc::default()).unwrap();
    }

    /// A state that was read at some instant, and that instant.
    fn known(tasks: &str) -> (Known, Instant) {
        let asked = Instant::now();
        let mut known = Known { asked: Some(asked), ..Known::default() };
        learn(&mut known, tasks, &["c1"]);
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
        let rules = Rules::default();
        for tried in 0..TRIES {
            assert!(known.must_ask(&["c1", "c2"], &rules, asked + STATE_INTERVAL), "{tried}");
            learn(&mut known, COMMAND, &["c1", "c2"]);
        }
        // A read for another reason, with which no list came, changes nothing of that.
        learn(&mut known, COMMAND, &[]);
        assert!(!known.must_ask(&["c1", "c2"], &rules, asked + STATE_INTERVAL));
        assert!(known.must_ask(&["c1", "c2", "c3"], &rules, asked + STATE_INTERVAL));
    }

    #[test]
    fn names_that_may_become_wrong_are_asked_again_after_a_minute_while_they_are_there() {
        let of_own_executor = r#"{"id":"t","executor_id":"e"}"#;
        let (known, asked) = known(of_own_executor);
        let rules = Rules::default();
        assert!(!known.must_ask(&["c1"], &rules, asked + STATE_INTERVAL));
        assert!(known.must_ask(&["c1"], &rules, asked + OPEN_INTERVAL));
        assert!(!known.must_ask(&[], &rules, asked + OPEN_INTERVAL));
    }

    #[test]
    fn other_rules_for_labels_are_a_reason_to_ask() {
        let (known, asked) = known(COMMAND);
        let rules = Rules { task_labels: LabelRules::exact(["env"]), ..Rules::default() };
        assert!(known.must_ask(&["c1"], &rules, asked + STATE_INTERVAL));
    }

    #[test]
    fn a_state_that_was_given_up_is_not_told_as_read() {
        let url = Url::parse("http://h/state").unwrap();
        let mut known = Known { asked: Some(Instant::now()), ..Known::default() };
        let error = known.told(&url).unwrap_err();
        assert_eq!(error.to_string(), "http://h/state has not been read yet");
        learn(&mut known, COMMAND, &[]);
        assert!(known.told(&url).is_ok());
        known.forget();
        assert!(known.told(&url).is_err());
    }

    #[test]
    fn a_process_is_told_from_another_by_its_uptime_and_a_registration_from_none() {
        let asked = Instant::now();
        let process = |after: u32, took: u32, uptime: u32, is_registered| Process {
            asked: asked + after * SECOND,
            took: took * SECOND,
            uptime: uptime * SECOND,
            is_registered,
        };
        let quick = process(0, 0, 100, true);
        let slow = process(0, 3, 103, true);
        for (before, after, uptime, is_registered, is_still) in [
            (quick, 15, 115, true, true),
            (quick, 15, 12, true, false),
            (quick, 200, 198, true, false),
            (quick, 15, 115, false, false),
            // It read its uptime at the end of the three seconds that it took.
            (slow, 15, 115, true, true),
            (slow, 15, 113, true, false),
        ] {
            let later = process(after, 0, uptime, is_registered);
            assert_eq!(before.is_still(later), is_still, "{after} {uptime}");
        }
    }
}
