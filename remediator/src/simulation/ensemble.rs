//! ZooKeeper, as far as remediators can tell it from a real one: sessions that run out, who
//! leads, and transactions that the lead is part of.
//!
//! It is where it is and goes on whoever is stopped, dead or cut off from it. What its
//! clients make of it is in [`super::fenced`]. It has one server, which never fails: what a
//! failing one does, others see as a break of their connections.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use super::{
    oracle::View,
    process::{Condition, Process},
    world::{Event, Millis, SECOND, STORE, World},
};
use crate::store::{News, StoreError, Stored, Write};

/// The one document that is looked for without being listed.
const AUTOMATION: &str = "automation";
/// After so long without a sign of a client its session is over.
pub(super) const SESSION_TIMEOUT: Millis = 10 * SECOND;
/// How often a client gives a sign, and it is looked whose are missing.
const BEAT: Millis = SECOND;

/// What all share.
#[derive(Default)]
pub(super) struct Ensemble {
    sessions: BTreeMap<u64, Session>,
    /// Who stands for election, by number: the session whose is the lowest leads.
    latches: BTreeMap<u64, u64>,
    numbered: u64,
    /// Those who cannot reach it.
    cut_off: BTreeSet<usize>,
    /// Told of all that a session may hear of, in the order in which they came.
    changes: Vec<watch::Sender<()>>,
}

struct Session {
    who: usize,
    process: Process,
    last_sign: Millis,
    /// What was written since it was last told.
    unheard: BTreeSet<String>,
    is_woken: bool,
    /// What it says on which subject.
    word: Option<(String, String)>,
}

/// How a session stands.
pub(super) enum Outlook {
    /// Nothing is heard of it.
    CutOff,
    Expired,
    Stands {
        /// The node by which it leads, if it does.
        latch: Option<u64>,
        leader: Option<String>,
        /// What was written since it last looked.
        written: BTreeSet<String>,
        /// Of which everything is known with that.
        revision: u64,
        is_woken: bool,
    },
}

/// What is written together, and on what.
pub(super) struct Transaction {
    pub(super) writes: Vec<Write>,
    /// The node that must be there.
    pub(super) fence: Option<u64>,
    /// The revision on which it was decided.
    pub(super) seen: u64,
    /// What its writer knew.
    pub(super) view: View,
}

/// Why a request was not answered.
pub(super) enum Lost {
    OnItsWay,
    SessionExpired,
}

impl Ensemble {
    /// A channel for each: who of several at one channel is told first is left to chance.
    pub(super) fn changes(&mut self) -> watch::Receiver<()> {
        self.changes.retain(|it| !it.is_closed());
        let (tell, changes) = watch::channel(());
        self.changes.push(tell);
        changes
    }

    fn tell_change(&self) {
        self.changes.iter().for_each(|it| it.send_replace(()));
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// The session that leads, and the node by which it does.
    fn lead(&self) -> Option<(u64, u64)> {
        self.latches.first_key_value().map(|(latch, session)| (*session, *latch))
    }

    /// The remediator that leads.
    pub(super) fn leader(&self) -> Option<usize> {
        self.lead().map(|(session, _)| self.sessions[&session].who)
    }

    /// Cuts a remediator off from it, or lets it come back.
    pub(super) fn cut_off(&mut self, who: usize, is_cut_off: bool) {
        match is_cut_off {
            true => self.cut_off.insert(who),
            false => self.cut_off.remove(&who),
        };
        self.tell_change();
    }

    pub(super) fn is_cut_off(&self, who: usize) -> bool {
        self.cut_off.contains(&who)
    }

    /// Whether a remediator can use it.
    pub(super) fn serves(&self, who: usize) -> bool {
        let has_session =
            self.sessions.values().any(|it| it.who == who && it.process.is(Condition::Running));
        has_session && !self.is_cut_off(who)
    }

    /// Deletes the node by which somebody leads, as a person can.
    pub(super) fn depose(&mut self) {
        self.latches.pop_first();
        self.tell_change();
    }

    /// Stands for election, once.
    pub(super) fn stand(&mut self, session: u64) {
        if self.sessions.contains_key(&session) && !self.latches.values().any(|it| *it == session) {
            let latch = self.number();
            self.latches.insert(latch, session);
            self.tell_change();
        }
    }

    /// Lets go of the lead.
    fn step_down(&mut self, session: u64) {
        self.latches.retain(|_, it| *it != session);
        self.tell_change();
    }

    /// Has whoever leads look at the facts.
    fn wake(&mut self) {
        self.sessions.values_mut().for_each(|it| it.is_woken = true);
        self.tell_change();
    }

    fn tell_written(&mut self, writes: &[Write]) {
        let paths = writes.iter().map(|write| &write.path);
        for session in self.sessions.values_mut() {
            session.unheard.extend(paths.clone().cloned());
        }
        self.tell_change();
    }

    fn expire(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.step_down(session);
    }
}

impl World {
    pub(super) fn ensemble(&mut self) -> &mut Ensemble {
        self.ensemble.as_mut().expect("only who shares a store asks for it")
    }

    /// Begins to look who is still there.
    pub(super) fn begin_ensemble(&mut self) {
        self.ensemble = Some(Ensemble::default());
        self.after(BEAT, Event::Beat);
    }

    /// Who has given no sign for too long has no session any more.
    pub(super) fn beat(&mut self) {
        let now = self.now;
        let ensemble = self.ensemble();
        let mut expired = Vec::new();
        for (number, session) in &mut ensemble.sessions {
            let is_here = !ensemble.cut_off.contains(&session.who);
            if is_here && session.process.is(Condition::Running) {
                session.last_sign = now;
            } else if now - session.last_sign > SESSION_TIMEOUT {
                expired.push((*number, session.who));
            }
        }
        for (number, who) in expired {
            self.ensemble().expire(number);
            self.note(format_args!("a session of {who} has expired"));
        }
        self.after(BEAT, Event::Beat);
    }

    /// A new session; `None`: nobody answers.
    pub(super) fn open_session(&mut self, who: usize, process: &Process) -> Option<u64> {
        let (last_sign, process) = (self.now, process.clone());
        let ensemble = self.ensemble();
        if ensemble.is_cut_off(who) {
            return None;
        }
        let number = ensemble.number();
        let (unheard, is_woken) = (BTreeSet::new(), false);
        let session = Session { who, process, last_sign, unheard, is_woken, word: None };
        ensemble.sessions.insert(number, session);
        Some(number)
    }

    /// A client looks how its session stands, and hears what it has not heard yet.
    pub(super) fn look(&mut self, who: usize, number: u64) -> Outlook {
        let revision = self.store.revision;
        let ensemble = self.ensemble();
        let lead = ensemble.lead();
        let leader = ensemble.leader().map(name);
        if ensemble.is_cut_off(who) {
            return Outlook::CutOff;
        }
        let Some(session) = ensemble.sessions.get_mut(&number) else { return Outlook::Expired };
        let written = std::mem::take(&mut session.unheard);
        let is_woken = std::mem::take(&mut session.is_woken);
        let latch = lead.and_then(|(session, latch)| (session == number).then_some(latch));
        Outlook::Stands { latch, leader, written, revision, is_woken }
    }

    /// A request of a session's has come, if it has. What a process has sent that has died
    /// since is gone with its connection.
    fn receive(&mut self, number: u64) -> Result<usize, Lost> {
        let ensemble = self.ensemble();
        let session = ensemble.sessions.get(&number).ok_or(Lost::SessionExpired)?;
        let is_dead = session.process.is(Condition::Dead);
        if is_dead || ensemble.is_cut_off(session.who) {
            return Err(Lost::OnItsWay);
        }
        Ok(session.who)
    }

    pub(super) fn wake_the_leader(&mut self, session: u64) -> Result<(), Lost> {
        self.receive(session)?;
        self.ensemble().wake();
        Ok(())
    }

    /// Says a word on a subject, and hears what each session says.
    pub(super) fn exchange(
        &mut self,
        number: u64,
        subject: String,
        word: String,
    ) -> Result<BTreeMap<u64, (String, String)>, Lost> {
        self.receive(number)?;
        let sessions = &mut self.ensemble().sessions;
        if let Some(session) = sessions.get_mut(&number) {
            session.word = Some((subject, word));
        }
        let speakers = sessions.iter().filter_map(|(number, it)| Some((*number, it.word.clone()?)));
        Ok(speakers.collect())
    }

    pub(super) fn step_down(&mut self, session: u64) -> Result<(), Lost> {
        self.receive(session)?;
        self.ensemble().step_down(session);
        Ok(())
    }

    /// The revision, and which documents there are.
    pub(super) fn list(&mut self, session: u64) -> Result<(u64, BTreeSet<String>), Lost> {
        self.receive(session)?;
        Ok((self.store.revision, self.store.documents.keys().cloned().collect()))
    }

    /// These documents as they are now; those that are there.
    pub(super) fn read(
        &mut self,
        session: u64,
        mut paths: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Stored>, Lost> {
        self.receive(session)?;
        paths.insert(AUTOMATION.to_owned());
        let found = self.store.documents.iter().filter(|(path, _)| paths.contains(*path));
        Ok(found.map(|(path, stored)| (path.clone(), stored.clone())).collect())
    }

    /// These documents as they are now, which is no earlier than at `revision`.
    pub(super) fn reread(&self, paths: BTreeSet<String>, revision: u64) -> News {
        let documents = paths.into_iter().map(|path| {
            let stored = self.store.documents.get(&path).cloned();
            (path, stored)
        });
        News::Documents { documents: documents.collect(), gone_at: revision, revision }
    }

    /// One transaction: all is written or nothing, and nothing where the node `fence` is not
    /// there at this moment. What was decided is judged by what its writer knew when it sent
    /// this.
    pub(super) fn commit(
        &mut self,
        session: u64,
        Transaction { writes, fence, seen, view }: Transaction,
    ) -> Result<Result<u64, StoreError>, Lost> {
        let who = match self.receive(session) {
            // By then its client may have another session, in which it says so.
            Err(Lost::SessionExpired) if fence.is_some() && self.dice.bool() => {
                return Ok(Err(StoreError::NotLeading));
            }
            received => received?,
        };
        let is_there = |latch: u64| self.ensemble().latches.contains_key(&latch);
        if !fence.is_none_or(is_there) {
            self.note(format_args!("{who} does not lead any more"));
            return Ok(Err(StoreError::NotLeading));
        }
        let outcome = self.store.apply(writes.clone(), seen);
        if outcome.is_ok() {
            if self.is_judged {
                let known_since = self.oracle.look_back(who, view);
                self.check_commit(who, &writes);
                self.oracle.look_back(who, known_since);
            }
            self.ensemble().tell_written(&writes);
        }
        Ok(outcome)
    }
}

/// What a remediator calls itself.
fn name(who: usize) -> String {
    format!("remediator {who}")
}

/// The place that errors name.
pub(super) fn unavailable(operation: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Unavailable { operation, place: STORE.into(), source: reason.into().into() }
}
