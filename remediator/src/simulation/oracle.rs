//! What must never be seen, looked at after every step.
//!
//! The oracle knows what the remediator cannot: how the hosts truly are, what was
//! asked and answered, what the disk would keep. It says nothing of how a decision
//! is made, only what no decision may come to. The numbers are those of the
//! invariants in `docs/safety.md`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    path::Path,
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use satellite_core::{
    Automation, Cause, HostDocument, HostName, Verdict,
    document::{AUTOMATION, ListingState, ManualEvent, Pause, Record, What},
    facts::{self, Answer, Mesos},
    time::since,
    whitelist,
};
use serde_json::Value;

use super::{
    people::Command,
    world::{Agent, Event, MINUTE, Millis, SECOND, WHITELIST, World, instant, millis_at},
};
use crate::store::Write;

/// A host that has been sick for so long without a break cannot have looked well:
/// it is scraped and judged every 15 s, and the slowest answer takes 10 s.
const SURELY_SICK: Millis = 90 * SECOND;
/// After so long without any trouble the file must be what the documents say.
const FILE_LAG: Millis = MINUTE;
/// `min_off` of the rule and `policy.clear_for`, but for what lies between a decision
/// and its transaction.
const MIN_OFF: Millis = 5 * MINUTE - SECOND;
const CLEAR_FOR: Millis = 2 * MINUTE - SECOND;
/// The longest that an exporter's silence can matter for who fell sick when.
const SILENCE_MATTERS: Millis = 15 * MINUTE;
/// After so long nothing that was sent is on its way any more.
const LATEST: Millis = 30 * SECOND;
/// Lists of so many revisions back may still be on their way to the file.
const KEPT_LISTS: usize = 8;

/// What the oracle has seen.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) violation: Option<String>,
    pub(super) counts: Counts,
    documents: BTreeMap<HostName, HostDocument>,
    automation: Automation,
    /// What it has seen of each remediator.
    views: Vec<View>,
    /// When people truly said what documents say they said at some instant; `None`: they
    /// were told that it had failed, and nobody counts on its time.
    said_at: BTreeMap<Timestamp, Option<Millis>>,
    /// When the commands were sent that are not answered yet.
    sent_at: BTreeMap<u64, Millis>,
    /// The lists that the documents asked for lately, by revision.
    lists: VecDeque<(u64, String)>,
    /// When automation took hosts off. Over restarts the hourly rate is kept by the time
    /// of day, so that a clock that had jumped by then may have cut it short.
    offs: Vec<Millis>,
    has_clock_jumped: bool,
    off_at: BTreeMap<HostName, Millis>,
    dismissed_at: Option<Millis>,
    /// What people have said and not been answered, and at which remediator.
    commands: BTreeMap<u64, (usize, Command)>,
    /// Which of those have had their effect.
    carried_out: BTreeSet<u64>,
    tokens: u64,
    max_clock_error: i64,
}

/// What the oracle has seen of one remediator.
#[derive(Clone, Default)]
pub(super) struct View {
    /// Since when it has watched what it is told.
    born: Millis,
    /// What its clock showed then.
    born_at: Timestamp,
    /// What each Alertmanager last answered it.
    alerts: BTreeMap<usize, Answer<Vec<Shown>>>,
    /// How often it has asked each since it asked the masters.
    asked: BTreeMap<usize, u32>,
    /// Since when, by the alert, each host that is shown sick is so without a break.
    shown_since: BTreeMap<HostName, Timestamp>,
    last_shown: BTreeMap<HostName, Millis>,
    held_since: Option<Millis>,
    /// The hosts that the leading master lists, and which of them it offers.
    agents: Option<BTreeMap<String, bool>>,
    delivered: BTreeSet<u64>,
    /// What is in its file.
    seen: Option<Vec<u8>>,
    /// The revision whose list the file has.
    seen_revision: u64,
    by_hand: Option<Vec<u8>>,
    last_right: Millis,
    last_trouble: Millis,
}

/// How much a run has seen: a run in which nothing happens shows nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) lives: u64,
    pub(super) leads: u64,
    pub(super) stops: u64,
    pub(super) commits: u64,
    pub(super) offs: u64,
    pub(super) give_backs: u64,
    pub(super) commands: u64,
    pub(super) deliveries: u64,
    pub(super) merges: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.lives += other.lives;
        self.leads += other.leads;
        self.stops += other.stops;
        self.commits += other.commits;
        self.offs += other.offs;
        self.give_backs += other.give_backs;
        self.commands += other.commands;
        self.deliveries += other.deliveries;
        self.merges += other.merges;
    }
}

/// An alert as a remediator was shown it.
#[derive(Clone)]
struct Shown {
    /// `None`: it is the whole cluster's.
    host: Option<HostName>,
    suppressed: bool,
    starts_at: Timestamp,
}

impl Oracle {
    /// One that looks at so many remediators.
    pub(super) fn of(instances: usize) -> Self {
        let views = (0..instances).map(|_| View::default()).collect();
        Self { views, ..Self::default() }
    }

    pub(super) fn begin_life(&mut self, who: usize, now: Millis, wall: Timestamp) {
        self.counts.lives += 1;
        if std::mem::take(&mut self.has_clock_jumped) {
            self.offs.clear();
        }
        self.begin_to_watch(who, now, wall);
        // Whom nobody has answered, nobody will.
        let unanswered = self.commands.iter().filter(|(_, (at, _))| *at == who);
        let unanswered: Vec<u64> = unanswered.map(|(token, _)| *token).collect();
        unanswered.into_iter().for_each(|token| self.forget(token));
    }

    /// Nothing more comes of a command.
    pub(super) fn forget(&mut self, token: u64) {
        self.commands.remove(&token);
        self.sent_at.remove(&token);
        self.carried_out.remove(&token);
    }

    /// A remediator knows nothing of what was shown before.
    fn begin_to_watch(&mut self, who: usize, now: Millis, wall: Timestamp) {
        // A hold of an earlier life goes on, and its time begins anew.
        let held_since = (!self.automation.holds.is_empty()).then_some(now);
        let view = &mut self.views[who];
        view.born = now;
        view.born_at = wall;
        view.last_trouble = now;
        view.alerts.clear();
        view.shown_since.clear();
        view.held_since = held_since;
    }

    /// What a remediator knows now.
    pub(super) fn view(&self, who: usize) -> View {
        self.views[who].clone()
    }

    /// Goes back to what a remediator knew, or on to what it knows now; gives the other.
    pub(super) fn look_back(&mut self, who: usize, view: View) -> View {
        std::mem::replace(&mut self.views[who], view)
    }

    pub(super) fn clock_jumped(&mut self, who: usize, now: Millis, wall: Timestamp) {
        self.has_clock_jumped = true;
        let view = &mut self.views[who];
        // The first round of a process may be still to come.
        if view.alerts.is_empty() || now - view.born < MINUTE {
            self.offs.retain(|&off| off >= view.born);
            view.born_at = view.born_at.max(wall - Duration::from_millis(now - view.born));
        }
    }

    pub(super) fn edited_by_hand(&mut self, who: usize, content: Vec<u8>) {
        self.views[who].by_hand = Some(content);
    }

    /// The farthest that the clock was ahead when something was written by it.
    pub(super) fn latest_clock_error(&self, now: i64) -> i64 {
        self.max_clock_error.max(now)
    }

    /// What the document of a host says of it.
    pub(super) fn verdict(&self, host: &HostName) -> Option<Verdict> {
        self.documents.get(host).map(HostDocument::verdict)
    }

    /// The list that the documents ask for now.
    pub(super) fn wanted_list(&self) -> Option<&str> {
        self.lists.back().map(|(_, list)| list.as_str())
    }

    /// What people have said and not been answered.
    fn said(&self) -> impl Iterator<Item = &Command> {
        self.commands.values().map(|(_, command)| command)
    }
}

impl View {
    fn firing(&self) -> impl Iterator<Item = &Shown> {
        let answers = self.alerts.values().filter_map(|answer| answer.as_ref().ok());
        answers.flatten().filter(|shown| !shown.suppressed)
    }

    fn host_fires(&self, host: &HostName) -> bool {
        self.firing().any(|shown| shown.host.as_ref() == Some(host))
    }
}

/// What a remediator was told.
impl World {
    /// It leads from now on, and does not know what others have seen meanwhile.
    pub(super) fn begin_lead(&mut self, who: usize) {
        self.note(format_args!("{who} knows that it leads"));
        let (now, wall) = (self.now, self.wall(who));
        self.oracle.begin_to_watch(who, now, wall);
        self.oracle.counts.leads += 1;
    }

    pub(super) fn saw_agents(&mut self, who: usize, answer: &Answer<Mesos>) {
        let view = &mut self.oracle.views[who];
        view.asked.clear();
        view.agents = answer.as_ref().ok().map(|mesos| {
            let registered = mesos.registered.iter().map(|it| (it.hostname.clone(), it.active));
            let recovered = mesos.recovered.iter().map(|it| (it.hostname.clone(), false));
            registered.chain(recovered).collect()
        });
    }

    pub(super) fn saw_alerts(
        &mut self,
        who: usize,
        number: usize,
        answer: &Answer<facts::Alertmanager>,
    ) {
        let (now, host_label) = (self.now, self.config.policy.host_label.clone());
        let shown = answer.as_ref().map_err(Clone::clone).map(|answer| {
            let marked = answer.alerts.iter().filter(|it| it.labels.contains_key("remediate"));
            let shown = marked.map(|alert| Shown {
                host: alert.labels.get(&host_label).and_then(|it| it.parse().ok()),
                suppressed: alert.suppression.is_some(),
                starts_at: alert.starts_at,
            });
            shown.collect::<Vec<_>>()
        });
        let view = &mut self.oracle.views[who];
        *view.asked.entry(number).or_default() += 1;
        view.alerts.insert(number, shown);
        let mut since: BTreeMap<HostName, Timestamp> = BTreeMap::new();
        for shown in view.firing() {
            let Some(host) = &shown.host else { continue };
            let known = view.shown_since.get(host).copied();
            let earliest = since.entry(host.clone()).or_insert(known.unwrap_or(shown.starts_at));
            *earliest = shown.starts_at.min(*earliest);
        }
        let all = view.alerts.values().filter_map(|answer| answer.as_ref().ok()).flatten();
        let of_hosts = all.clone().filter_map(|shown| shown.host.clone());
        view.last_shown.extend(of_hosts.map(|host| (host, now)));
        if all.into_iter().any(|shown| shown.host.is_none()) {
            view.held_since.get_or_insert(now);
        }
        view.shown_since = since;
    }
}

/// What remediators have written.
impl World {
    pub(super) fn violate(&mut self, what: fmt::Arguments<'_>) {
        self.note(format_args!("VIOLATION {what}"));
        self.oracle.violation.get_or_insert_with(|| what.to_string());
    }

    /// A transaction of this remediator's is durable.
    pub(super) fn check_commit(&mut self, who: usize, writes: &[Write]) {
        self.oracle.counts.commits += 1;
        self.oracle.views.iter_mut().for_each(|view| view.last_trouble = self.now);
        let clock_error = self.instances[who].clock_error;
        self.oracle.max_clock_error = self.oracle.max_clock_error.max(clock_error);
        if self.config.policy.dry_run {
            self.violate(format_args!("I35: a dry run has written the store"));
        }
        let former = self.oracle.automation.clone();
        if let Some(automation) = writes.iter().find(|write| write.path == "automation") {
            self.take_automation(who, automation.data.as_deref().unwrap_or_default());
        }
        let mut offs = Vec::new();
        for write in writes {
            let Some(host) = write.path.strip_prefix("whitelist/") else { continue };
            let host: HostName = host.parse().expect("documents have the names of hosts");
            let before = self.oracle.documents.get(&host).cloned();
            let Some(data) = &write.data else {
                self.check_removal(&host);
                continue;
            };
            let after = HostDocument::decode(data).expect("it was encoded just now");
            self.note(format_args!("document of {host}: {}", String::from_utf8_lossy(data)));
            if self.check_document(who, &host, before.as_ref(), &after, &former) {
                offs.push(host.clone());
            }
            self.oracle.documents.insert(host, after);
        }
        if !offs.is_empty() {
            self.check_budget(who, &offs);
            self.check_storm(who, &offs);
        }
        let oracle = &mut self.oracle;
        let done = oracle
            .commands
            .iter()
            .filter(|(_, (_, it))| holds(it, &oracle.documents, &oracle.automation));
        oracle.carried_out.extend(done.map(|(token, _)| *token));
        self.remember_list(who);
    }

    fn take_automation(&mut self, who: usize, data: &[u8]) {
        let after: Automation = serde_json::from_slice(data).expect("it was encoded just now");
        let now = self.now;
        let before = &self.oracle.automation;
        let said = |wanted: fn(&Command) -> bool| self.oracle.said().any(wanted);
        let began = after.pause.is_some() && after.pause != before.pause;
        let is_over =
            |pause: &Pause| self.has_passed(who, pause.since, since(pause.since, pause.until));
        let ended =
            after.pause.is_none() && before.pause.as_ref().is_some_and(|pause| !is_over(pause));
        let unsaid = began && !said(|it| matches!(it, Command::Pause { .. }))
            || ended && !said(|it| matches!(it, Command::Resume));
        if after.storm_dismissed != before.storm_dismissed {
            self.oracle.dismissed_at = Some(now);
        }
        if let Some(pause) = &after.pause {
            let said_at = self.oracle.sent_at.values().min().copied().unwrap_or(now);
            self.oracle.said_at.entry(pause.since).or_insert(Some(said_at));
        }
        if after.holds.is_empty() {
            self.oracle.views.iter_mut().for_each(|view| view.held_since = None);
        }
        if unsaid {
            self.violate(format_args!("I6: nobody has said this of the pause: {:?}", after.pause));
        }
        self.note(format_args!("automation: {}", String::from_utf8_lossy(data)));
        self.oracle.automation = after;
    }

    fn check_removal(&mut self, host: &HostName) {
        let asked =
            |it: &Command| matches!(it, Command::Forget { host: it } if it == host.as_str());
        if !self.oracle.said().any(asked) {
            self.violate(format_args!("I34: {host} was removed, and nobody has asked for it"));
        }
        self.oracle.documents.remove(host);
        self.oracle.off_at.remove(host);
    }

    /// Says whether automation took the host off.
    fn check_document(
        &mut self,
        who: usize,
        host: &HostName,
        before: Option<&HostDocument>,
        after: &HostDocument,
        former: &Automation,
    ) -> bool {
        self.check_manual_events(who, host, before, after);
        let manual_on = after.ruling_event().is_some_and(|(_, it)| it.state == Verdict::On);
        if after.verdict() == Verdict::On && !manual_on && !after.causes.is_empty() {
            self.violate(format_args!("I8: {host} is on, and something holds it off: {after:?}"));
        }
        let record = after.transitions.last().cloned();
        let fresh = before.is_none_or(|it| it.transitions.last() != record.as_ref());
        let record = record.filter(|_| fresh);
        if record.as_ref().is_some_and(|it| it.by == AUTOMATION) {
            self.check_lead(who, host);
        }
        // A host that enters the store goes nowhere.
        let moved = before.is_some_and(|before| before.verdict() != after.verdict());
        if !moved {
            return false;
        }
        if after.verdict() == Verdict::Off {
            // Where a store is shared it may have been on its way for long.
            let decided = record.as_ref().filter(|_| self.ensemble.is_some());
            let off_at = decided.map_or(self.now, |record| millis_at(record.time));
            self.oracle.off_at.insert(host.clone(), off_at.min(self.now));
        }
        let Some(record) = record else {
            self.violate(format_args!("I34: {host} went {} without a record", after.verdict()));
            return false;
        };
        if record.by != AUTOMATION {
            if !self.oracle.said().any(|it| it.host() == Some(host.as_str())) {
                self.violate(format_args!("I6: nobody has said this of {host}: {record:?}"));
            }
            return false;
        }
        let by_person =
            before.is_some_and(|it| it.ruling_event().is_some()) && after.ruling_event().is_some();
        match (record.what, before) {
            // An older word of a person takes over.
            _ if by_person => false,
            (What::On, Some(before)) => {
                self.check_give_back(who, host, before);
                false
            }
            // What a host was by default before a person spoke.
            (What::Off, Some(before)) if before.ruling_event().is_some() => false,
            // It comes for the first time, and was but a name.
            (What::Enrolled, Some(before)) if !before.was_ever_listed() => false,
            (What::Off, _) => {
                self.check_off(who, host, former);
                true
            }
            _ => {
                self.violate(format_args!("I34: {host} went by {record:?}"));
                false
            }
        }
    }

    /// What automation writes is written by whoever leads at that moment.
    fn check_lead(&mut self, who: usize, host: &HostName) {
        let Some(ensemble) = &self.ensemble else { return };
        let leader = ensemble.leader();
        if leader != Some(who) {
            self.violate(format_args!("I32: {who} has changed {host}, and {leader:?} leads"));
        }
    }

    /// Only people change what people said, and time ends it.
    fn check_manual_events(
        &mut self,
        who: usize,
        host: &HostName,
        before: Option<&HostDocument>,
        after: &HostDocument,
    ) {
        let none = BTreeMap::new();
        let before = before.map_or(&none, |it| &it.manual_events);
        let said = |wanted: &dyn Fn(&Command) -> bool| {
            let mut of_host = self.oracle.said().filter(|it| it.host() == Some(host.as_str()));
            of_host.any(wanted)
        };
        let mut wrong = Vec::new();
        for (id, event) in &after.manual_events {
            let by = |it: &Command| {
                matches!(it, Command::Say { id: said, reason, on, .. }
                    if said == id && *reason == event.reason
                        && *on == (event.state == Verdict::On))
            };
            // Where the clock was set back, the newest word stays the newest by its time, and
            // every other still ends when it was to end.
            let same = before.get(id).is_some_and(|before| {
                let ManualEvent { time, ttl, .. } = *event;
                before.time >= time
                    && before.expires_at() == event.expires_at()
                    && *event == ManualEvent { time, ttl, ..before.clone() }
            });
            if !same && !said(&by) {
                wrong.push(format!("{id} is {event:?}"));
            }
        }
        for (id, event) in before.iter().filter(|(id, _)| !after.manual_events.contains_key(*id)) {
            let by = |it: &Command| matches!(it, Command::TakeBack { id: said, .. } if said == id);
            let expired = event.ttl.is_some_and(|ttl| self.has_passed(who, event.time, ttl));
            if !expired && !said(&by) {
                wrong.push(format!("{id} is gone, which was {event:?}"));
            }
        }
        for what in wrong {
            self.violate(format_args!("I6: nobody has said this of {host}: {what}"));
        }
        let said_at = self.oracle.sent_at.values().min().copied().unwrap_or(self.now);
        for event in after.manual_events.values() {
            self.oracle.said_at.entry(event.time).or_insert(Some(said_at));
        }
    }

    /// Whether so much time has passed since something was said, by the clock of a remediator
    /// that does not jump. Only what an earlier process heard is as old as the time of day
    /// says.
    fn has_passed(&self, who: usize, said: Timestamp, length: Duration) -> bool {
        let Some(said_at) = self.oracle.said_at.get(&said).copied().flatten() else { return true };
        let View { born, born_at, .. } = self.oracle.views[who];
        let age = match said_at >= born {
            true => Duration::from_millis(self.now - said_at),
            false => since(said, born_at) + Duration::from_millis(self.now - born),
        };
        age + Duration::from_secs(1) >= length
    }

    fn check_off(&mut self, who: usize, host: &HostName, former: &Automation) {
        self.oracle.counts.offs += 1;
        let now = self.now;
        let view = &self.oracle.views[who];
        let listed = view.agents.is_some();
        let looked_twice = view.alerts.iter().any(|(number, answer)| {
            let shows = |it: &Vec<Shown>| {
                it.iter().any(|it| it.host.as_ref() == Some(host) && !it.suppressed)
            };
            answer.as_ref().is_ok_and(shows) && view.asked.get(number) >= Some(&2)
        });
        let paused = former.pause.as_ref();
        let paused =
            paused.is_some_and(|it| !self.has_passed(who, it.since, since(it.since, it.until)));
        let held = view.firing().any(|shown| shown.host.is_none())
            && view.held_since.is_some_and(|since| now - since < 10 * MINUTE);
        let fires = view.host_fires(host);
        if !listed {
            self.violate(format_args!("I16: {host} went off without a leading master"));
        }
        if !fires {
            self.violate(format_args!("I18: {host} went off, and no alert of it fires"));
        } else if !looked_twice {
            self.violate(format_args!("I18: {host} went off on alerts that were read only once"));
        }
        if paused {
            self.violate(format_args!("I4: {host} went off during a pause"));
        }
        if held {
            self.violate(format_args!("I4: {host} went off during a hold"));
        }
    }

    /// After automation took hosts off.
    fn check_storm(&mut self, who: usize, offs: &[HostName]) {
        let threshold = self.config.policy.storm.hosts(self.inventory().count());
        for host in offs {
            let storm = self.fell_sick_together(who, host, offs);
            if storm >= threshold {
                self.violate(format_args!(
                    "I3: {host} went off as one of {storm} that fell sick together"
                ));
            }
        }
    }

    /// How many hosts, the leaving one among them, have fallen sick within the time that
    /// makes a storm, for sure: those whose exporter went silent before may count from
    /// then on. Whether anybody looked at the time does not matter.
    fn fell_sick_together(&self, who: usize, leaving: &HostName, offs: &[HostName]) -> usize {
        let (oracle, view) = (&self.oracle, &self.oracle.views[who]);
        let within = self.config.policy.storm.within;
        let fell = view.shown_since.iter().filter(|(name, since)| {
            let Some(host) = self.host(name.as_str()) else { return false };
            let heard = host.silent_since.is_none()
                && (host.heard_again == 0 || self.now - host.heard_again > SILENCE_MATTERS);
            let document = oracle.documents.get(*name);
            let could_go = offs.contains(name)
                || document.is_some_and(|it| it.verdict() == Verdict::On && it.was_ever_listed());
            // Who was sick when a person had automation go on makes no storm, though another
            // Alertmanager may show it since later.
            let was_sick = |at: Millis| host.sick_since.is_some_and(|since| since <= at);
            let dismissed =
                oracle.dismissed_at.is_some_and(|at| **since <= instant(at) || was_sick(at));
            // One that ended and began again fell sick once or twice, by who looks.
            let starts = view.firing().filter(|it| it.host.as_ref() == Some(*name));
            let is_plain = starts.map(|it| it.starts_at).min() == Some(**since);
            heard && could_go && is_plain && !dismissed
        });
        let fell: Vec<(&HostName, Timestamp)> = fell.map(|(host, since)| (host, *since)).collect();
        let Some((_, own)) = fell.iter().find(|(host, _)| *host == leaving) else { return 0 };
        let windows = fell.iter().map(|(_, first)| {
            let inside = |at: Timestamp| at >= *first && since(*first, at) < within;
            if inside(*own) { fell.iter().filter(|(_, at)| inside(*at)).count() } else { 0 }
        });
        windows.max().unwrap_or_default()
    }

    fn inventory(&self) -> impl Iterator<Item = (&HostName, &HostDocument)> {
        self.oracle
            .documents
            .iter()
            .filter(|(_, it)| it.listing.state != ListingState::Unlisted || !it.agents.is_empty())
    }

    /// After automation took hosts off.
    fn check_budget(&mut self, who: usize, offs: &[HostName]) {
        let now = self.now;
        self.oracle.offs.extend(std::iter::repeat_n(now, offs.len()));
        let recent = |off: &&Millis| now - **off < 60 * MINUTE - SECOND;
        let in_the_hour = self.oracle.offs.iter().filter(recent).count();
        let agents = self.oracle.views[who].agents.clone().unwrap_or_default();
        let is_away = |host: &HostName, document: &HostDocument| {
            document.verdict() == Verdict::Off || agents.get(host.as_str()) != Some(&true)
        };
        let rack = |host: &HostName| self.host(host.as_str()).map_or("", |host| host.rack);
        let away: Vec<HostName> = self
            .inventory()
            .filter(|(host, it)| is_away(host, it))
            .map(|(host, _)| host.clone())
            .collect();
        // A rack may be over its limit for other reasons than those who went now.
        let of_rack = |host: &HostName| away.iter().filter(|it| rack(it) == rack(host)).count();
        let in_rack = offs.iter().map(of_rack).max().unwrap_or(0);
        let policy = &self.config.policy;
        let limit = policy.max_off.limit(self.inventory().count());
        let rack_limit = policy.per_attribute.get("rack").copied().unwrap_or(usize::MAX);
        let (away, per_hour) = (away.len(), policy.max_off_per_hour);
        if away > limit {
            self.violate(format_args!("I1: {away} hosts are away, and {limit} may be"));
        }
        if in_rack > rack_limit {
            self.violate(format_args!("I1: {in_rack} of a rack are away, {rack_limit} may be"));
        }
        if in_the_hour > per_hour {
            self.violate(format_args!("I2: {in_the_hour} went within an hour, {per_hour} may"));
        }
    }

    fn check_give_back(&mut self, who: usize, host: &HostName, before: &HostDocument) {
        self.oracle.counts.give_backs += 1;
        let now = self.now;
        let Some(truth) = self.host(host.as_str()).cloned() else {
            return self.violate(format_args!("I15: {host} is given back, and there is none"));
        };
        let (oracle, view) = (&self.oracle, &self.oracle.views[who]);
        let bad_since = [truth.sick_since, truth.silent_since].into_iter().flatten().min();
        let all_answer = view.alerts.len() == self.alertmanagers.len()
            && view.alerts.values().all(Result::is_ok);
        let shown = view.host_fires(host);
        let registered =
            view.agents.as_ref().is_some_and(|it| it.get(host.as_str()) == Some(&true));
        let watched_since =
            |since: Option<&Millis>| now - since.copied().unwrap_or_default().max(view.born);
        let off_for = watched_since(oracle.off_at.get(host));
        let gone_for = watched_since(view.last_shown.get(host));
        let by_alert = before.causes.iter().any(|it| matches!(it, Cause::Alert { .. }));
        let imported = before.is_imported();
        if let Some(bad_since) = bad_since.filter(|since| now - since >= SURELY_SICK) {
            self.violate(format_args!(
                "I15: {host} is given back, and it is sick since {bad_since}"
            ));
        }
        if !all_answer || shown {
            self.violate(format_args!(
                "I16: {host} is given back, and not every Alertmanager lets it"
            ));
        }
        if !registered {
            self.violate(format_args!("I15: {host} is given back, and its agent is not there"));
        }
        if by_alert && off_for < MIN_OFF {
            self.violate(format_args!("I19: {host} is given back after {off_for} ms"));
        }
        if by_alert && gone_for < CLEAR_FOR {
            self.violate(format_args!("I15: {host} is given back {gone_for} ms after its alert"));
        }
        if imported {
            self.violate(format_args!("I8: {host} is given back, which somebody had taken out"));
        }
    }
}

/// The files.
impl World {
    /// The list that the documents ask for, as the store has them now.
    fn remember_list(&mut self, who: usize) {
        if self.oracle.automation.first_start.is_none() {
            return;
        }
        let seen = self.oracle.views[who].seen.as_deref().unwrap_or_default();
        let seen = String::from_utf8_lossy(seen);
        let previous = seen.lines().filter_map(|line| line.parse().ok()).collect();
        let (policy, wall) = (&self.config.policy, self.wall(who));
        let list = whitelist::merge(&self.oracle.documents, &previous, policy, wall).hosts;
        let list = whitelist::render(&list);
        self.oracle.lists.push_back((self.store.revision, list));
        // Who stood still goes on with a list of any age.
        let is_shared = self.ensemble.is_some();
        if self.oracle.lists.len() > KEPT_LISTS && !is_shared {
            self.oracle.lists.pop_front();
        }
    }

    /// After every step that may have touched it.
    pub(super) fn look_at_whitelist(&mut self, who: usize) {
        let content = self.instances[who].files.content(Path::new(WHITELIST));
        let view = &mut self.oracle.views[who];
        if content == view.seen.as_deref() {
            return;
        }
        let content = content.map(<[u8]>::to_vec);
        let former = std::mem::replace(&mut view.seen, content.clone());
        view.last_trouble = self.now;
        if content == view.by_hand || (former.is_none() && self.store.revision == 0) {
            return;
        }
        let seen = view.seen_revision;
        let shown = String::from_utf8_lossy(content.as_deref().unwrap_or_default()).into_owned();
        self.note(format_args!("the whitelist of {who} is {shown:?}"));
        // Several revisions may ask for one list: the oldest that is no step back is as
        // good as any, and leaves the most that may follow.
        let lists = self.oracle.lists.iter();
        let matches = |(_, list): &&(u64, String)| *list == shown;
        let forward = lists.clone().filter(|(revision, _)| *revision >= seen);
        let matching = forward.clone().find(matches).or_else(|| lists.rev().find(matches));
        match matching.map(|(revision, _)| *revision) {
            None => self.violate(format_args!("I20: no documents ask for this list: {shown:?}")),
            Some(revision) if revision < seen => {
                self.violate(format_args!("I21: the list is of {revision}, and was of {seen}"));
            }
            Some(revision) => {
                self.oracle.views[who].seen_revision = revision;
                self.oracle.counts.merges += 1;
            }
        }
    }

    /// After a power cut: the file is as it was last seen, or as it was when it was
    /// last durable.
    pub(super) fn look_after_power_cut(&mut self, who: usize, durable: Option<&[u8]>) {
        let content = self.instances[who].files.content(Path::new(WHITELIST)).map(<[u8]>::to_vec);
        let view = &mut self.oracle.views[who];
        if content == view.seen {
            return;
        }
        if content.as_deref() != durable {
            let shown = String::from_utf8_lossy(content.as_deref().unwrap_or_default());
            let shown = shown.into_owned();
            return self.violate(format_args!("I20: the power cut has left {shown:?}"));
        }
        view.seen = content;
        // It may be that of any revision before.
        view.seen_revision = 0;
    }

    /// From time to time: what is written must be right, and durable.
    pub(super) fn audit_file(&mut self, who: usize) {
        let disk_is_ill = !self.chaos.failing.is_empty() || !self.chaos.hanging.is_empty();
        let has_store = self.ensemble.as_ref().is_none_or(|it| it.serves(who));
        if !self.runs(who) || !has_store || disk_is_ill || self.config.policy.dry_run {
            self.oracle.views[who].last_trouble = self.now;
        }
        let Some((_, wanted)) = self.oracle.lists.back() else {
            // Until the store is begun no list is late.
            self.oracle.views[who].last_right = self.now;
            return;
        };
        let (path, files) = (Path::new(WHITELIST), &self.instances[who].files);
        let is_right = |content: Option<&[u8]>| content == Some(wanted.as_bytes());
        let visible = is_right(files.content(path));
        let durable = is_right(files.durable_content(path));
        let view = &mut self.oracle.views[who];
        if visible && durable {
            view.last_right = self.now;
        }
        let quiet_since = view.last_right.max(view.last_trouble);
        if self.now - quiet_since > FILE_LAG {
            let wanted = wanted.clone();
            let promise = if self.ensemble.is_some() { "I24" } else { "I22" };
            self.violate(format_args!(
                "{promise}: the file of {who} should be {wanted:?}; visible {visible}, durable {durable}"
            ));
        }
    }
}

/// What people and Alertmanagers were told.
impl World {
    /// A command is on its way. Returns what to give [`Self::answered`].
    pub(super) fn said(&mut self, who: usize, command: Command) -> u64 {
        self.note(format_args!("somebody says {command:?} to {who}"));
        self.oracle.tokens += 1;
        self.oracle.commands.insert(self.oracle.tokens, (who, command));
        self.oracle.sent_at.insert(self.oracle.tokens, self.now);
        self.oracle.tokens
    }

    pub(super) fn answered(&mut self, token: u64, status: StatusCode) {
        let Some((_, command)) = self.oracle.commands.get(&token) else { return };
        let command = command.clone();
        self.note(format_args!("answered {status}: {command:?}"));
        if status.is_server_error() && self.ensemble.is_some() {
            // It may still be on its way.
            return self.after(LATEST, Event::GiveUp(token));
        }
        let is_carried_out = self.oracle.carried_out.contains(&token);
        self.oracle.forget(token);
        if status.is_success() {
            self.oracle.counts.commands += 1;
            if !is_carried_out {
                self.violate(format_args!("I6: answered {status}, and not written: {command:?}"));
            }
        } else {
            self.count_on_nothing(&command);
        }
    }

    /// A command was refused, and may have been written all the same.
    fn count_on_nothing(&mut self, command: &Command) {
        let Self { oracle, .. } = self;
        let events = oracle.documents.values().flat_map(|it| it.manual_events.values());
        for event in events {
            if matches!(command, Command::Say { reason, .. } if *reason == event.reason) {
                oracle.said_at.insert(event.time, None);
            }
        }
        if let (Command::Pause { .. }, Some(pause)) = (command, &oracle.automation.pause) {
            oracle.said_at.insert(pause.since, None);
        }
    }

    pub(super) fn delivered(&mut self, who: usize, number: u64, status: StatusCode) {
        if status.is_success() {
            self.oracle.counts.deliveries += 1;
            self.oracle.views[who].delivered.insert(number);
        }
        if status.is_client_error() {
            self.violate(format_args!("I12: a good delivery was answered {status}"));
        }
    }

    fn journal(&self, who: usize) -> Cow<'_, str> {
        let path = Path::new(super::world::STORE).join("journal.jsonl");
        String::from_utf8_lossy(self.instances[who].files.content(&path).unwrap_or_default())
    }

    /// Each transition of a host is on record, and once; the one that is not, if so. It
    /// may be about to be written down.
    pub(super) fn unrecorded(&mut self, who: usize) -> Option<String> {
        let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
        let entries =
            self.journal(who).lines().map(serde_json::from_str::<Value>).collect::<Vec<_>>();
        for entry in entries.into_iter().flatten().filter(|it| it["kind"] == "host") {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let key = format!("{} {} at {}", text("host"), text("what"), text("time"));
            *recorded.entry(key).or_default() += 1;
        }
        let mut transitions: BTreeMap<String, usize> = BTreeMap::new();
        for (host, document) in &self.oracle.documents {
            for Record { what, time, .. } in &document.transitions {
                let what = format!("{what:?}").to_lowercase();
                *transitions.entry(format!("{host} {what} at {time}")).or_default() += 1;
            }
        }
        let times = |key: &String| recorded.get(key).copied().unwrap_or_default();
        if let Some((twice, _)) = transitions.iter().find(|(key, often)| times(key) > **often) {
            self.violate(format_args!("I34: {twice} is in the journal of {who} more than once"));
        }
        let (lost, _) = transitions.iter().find(|(key, often)| times(key) < **often)?;
        Some(lost.clone())
    }

    /// Every delivery that was taken is on record, whatever happened since.
    pub(super) fn check_deliveries(&mut self, who: usize) {
        let journal = self.journal(who);
        let delivered = &self.oracle.views[who].delivered;
        let lost = delivered.iter().find(|it| !journal.contains(&format!("delivery-{it}.")));
        if let Some(lost) = lost.copied() {
            self.violate(format_args!("I10: delivery {lost} was taken and is not on record"));
        }
    }

    /// A host whose document is not what the truth asks for, when all has been well
    /// for long; `None`: there is none. `blocked` says what stands in a host's way.
    pub(super) fn unsettled(&self, blocked: &BTreeMap<HostName, Vec<String>>) -> Option<String> {
        let is_settled = |host: &super::world::Host| {
            let Some(document) = self.oracle.documents.get(&host.name) else {
                return host.agent == Agent::Lost;
            };
            let blocks = blocked.get(&host.name).map_or(&[][..], Vec::as_slice);
            let gave_up = blocks.iter().any(|it| it.contains("taken off again"));
            let on = document.verdict() == Verdict::On;
            match document.ruling_event() {
                Some((_, event)) => event.expires_at().is_none(),
                None if host.sick_since.is_some() => !on || !blocks.is_empty(),
                None => on || document.is_imported() || (gave_up && !blocks.is_empty()),
            }
        };
        let host = self.hosts.iter().find(|host| !is_settled(host))?;
        let document = self.oracle.documents.get(&host.name);
        let blocks = blocked.get(&host.name);
        Some(format!("{host:?} is not settled: {document:?}, blocked by {blocks:?}"))
    }
}

/// Whether the documents are as the command wants them.
fn holds(
    command: &Command,
    documents: &BTreeMap<HostName, HostDocument>,
    automation: &Automation,
) -> bool {
    let document = |host: &str| documents.iter().find(|(name, _)| name.as_str() == host);
    match command {
        Command::Say { host, id, reason, .. } => document(host).is_some_and(|(_, it)| {
            it.manual_events.get(*id).is_some_and(|event| event.reason == *reason)
        }),
        Command::TakeBack { host, id } => {
            document(host).is_some_and(|(_, it)| !it.manual_events.contains_key(*id))
        }
        Command::Forget { host } => document(host).is_none(),
        Command::Pause { .. } => automation.pause.is_some(),
        Command::Resume => automation.pause.is_none(),
    }
}
