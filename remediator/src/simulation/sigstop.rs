//! `kill -STOP` of the remediator that leads, at every point at which it can wait.
//!
//! It is about to change a host. For each point anew it is stopped there; what its decision
//! rests on changes; its session runs out and another one leads; and it goes on. Then nothing
//! of what it had decided may come to be, whatever it believes. Where it is stopped for so
//! short a time that it still leads, its decision is one on what is no longer so. One that has
//! the store for itself leads however long it is stopped.
//!
//! What goes wrong by itself is not here: that is what the seeds are for.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use satellite_core::Verdict;
use tokio::time::sleep;

use super::{
    config,
    ensemble::SESSION_TIMEOUT,
    life::{self, populate, watch},
    peers::Source,
    people::Command,
    process::Condition,
    world::{MINUTE, Millis, Request, SECOND, Shared, WHITELIST, World},
};

/// The host that the leader is about to change, and another one.
const HOST: usize = 0;
const OTHER: usize = 1;
/// Before this the remediators have begun.
const BEGUN: Millis = 30 * SECOND;
/// A whole round before that of the decision is gone through, too.
const BEFORE: Millis = 16 * SECOND;
/// After so long everybody knows everything.
const SETTLED: Millis = 2 * MINUTE;
/// No decision takes longer than this to be made.
const DECIDED: Millis = 60 * MINUTE;

/// What the leader is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    TakeOff,
    GiveBack,
}

/// What makes that wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A person says that the host is to stay as it is.
    Said,
    /// A person takes another host off, and with it the budget.
    BudgetUsed,
    /// The host's alert is silenced.
    Silenced,
    /// The host falls sick again.
    SickAgain,
}

/// For how long it is stopped, and how soon it learns what has happened since.
#[derive(Debug, Clone, Copy)]
struct Stop {
    length: Millis,
    learns: Learns,
    /// Whether somebody deletes the node by which it leads, while its session lives on.
    is_deposed: bool,
    other: Other,
}

/// What becomes of the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Other {
    /// It leads once the session of the one that is stopped has run out.
    Lives,
    /// It is cut off meanwhile, so that nobody leads until the one that was stopped does again.
    /// That comes before it has the answers for which it waits: the Alertmanagers are slow.
    CutOff,
    /// There is none, and the store is of the one process.
    None,
}

#[derive(Debug, Clone, Copy)]
enum Learns {
    AtOnce,
    /// Only after it has tried to write.
    Late,
}

/// It leads still when it goes on.
const SHORT: Stop =
    Stop { length: 3 * SECOND, learns: Learns::AtOnce, is_deposed: false, other: Other::Lives };
/// Another one leads by then.
const LONG: Stop = Stop { length: 15 * SECOND, ..SHORT };
const LONG_AND_LATE: Stop = Stop { learns: Learns::Late, ..LONG };
const DEPOSED: Stop = Stop { learns: Learns::Late, is_deposed: true, ..SHORT };
/// What was about to be done is surely wrong by then.
const VERY_LONG: Stop = Stop { length: 3 * MINUTE, ..LONG };
/// Sick for so long, a host is surely seen to be, and no alert fires yet.
const UNTIL_IT_PENDS: Stop = Stop { length: 100 * SECOND, other: Other::CutOff, ..LONG };
const UNTIL_IT_PENDS_ALONE: Stop = Stop { other: Other::None, ..UNTIL_IT_PENDS };

#[test]
fn i32_a_leader_that_is_stopped_before_it_takes_a_host_off_does_not_do_so_when_it_goes_on() {
    let changes = [Change::Said, Change::BudgetUsed, Change::Silenced];
    stop_everywhere(Act::TakeOff, &changes, &[SHORT, LONG, LONG_AND_LATE, DEPOSED]);
}

#[test]
fn i32_a_leader_that_is_stopped_before_it_gives_a_host_back_does_not_do_so_when_it_goes_on() {
    stop_everywhere(Act::GiveBack, &[Change::Said], &[SHORT, LONG, LONG_AND_LATE, DEPOSED]);
    let long = [VERY_LONG, UNTIL_IT_PENDS, UNTIL_IT_PENDS_ALONE];
    stop_everywhere(Act::GiveBack, &[Change::SickAgain], &long);
}

/// Each change, each way of being stopped, each point.
fn stop_everywhere(act: Act, changes: &[Change], stops: &[Stop]) {
    for &change in changes {
        for &stop in stops {
            let decision = Story::new(act, stop.other).run(async |it| Ok(it.decision().await));
            let points = stop_at_each(act, decision.unwrap() - BEFORE, change, stop);
            println!("{act:?}, {change:?}, {stop:?}: stopped at each of {points} points");
            // Asking the sources, the store and the files takes so many at the least.
            let least = if stop.other == Other::None { 25 } else { 30 };
            assert!(points > least, "{points} points are not all that there are");
        }
    }
}

/// Stops the leader at every point from `begin` until all is done, and says how many there are.
fn stop_at_each(act: Act, begin: Millis, change: Change, stop: Stop) -> u64 {
    let (next, points) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    let explore = || {
        loop {
            let point = next.fetch_add(1, Ordering::Relaxed);
            if point > points.load(Ordering::Relaxed) {
                return;
            }
            let was_stopped = Story::new(act, stop.other).run(async |story| {
                story.go_to(begin).await;
                story.stop_at(point, change, stop).await
            });
            let was_stopped = was_stopped.unwrap_or_else(|wrong| {
                panic!("{wrong}\n{act:?}, {change:?}, {stop:?}, stopped at point {point}")
            });
            if !was_stopped {
                points.fetch_min(point - 1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(explore)).collect();
        running.into_iter().for_each(|it| it.join().unwrap());
    });
    points.into_inner()
}

/// Two remediators or one, a host that one of them is about to change, and what comes between.
struct Story {
    world: World,
    act: Act,
}

/// The story while it is told.
struct Told<'a> {
    world: &'a Shared,
    act: Act,
}

impl Story {
    fn new(act: Act, other: Other) -> Self {
        let mut config = config().clone();
        config.policy.max_off.count = 1;
        let remediators = if other == Other::None { 1 } else { 2 };
        let mut world = World::quiet(&config, remediators);
        world.trace = Some(Vec::new());
        Self { world, act }
    }

    /// Tells it. Where something is seen that must never be, it says what, after all that has
    /// happened.
    fn run<T>(self, tell: impl AsyncFnOnce(&Told<'_>) -> Result<T, String>) -> Result<T, String> {
        life::runtime().block_on(async {
            let (world, act) = (Shared::new(self.world), self.act);
            let _lives = populate(&world);
            let story = Told { world: &world, act };
            let told = tokio::select! {
                biased;
                () = watch(&world) => Err("the oracle has seen it".into()),
                told = tell(&story) => told,
            };
            told.map_err(|wrong| {
                let story = world.with(|world| world.trace.take()).unwrap_or_default();
                format!("{}\n{wrong}", story.join("\n"))
            })
        })
    }
}

impl Told<'_> {
    /// The host falls sick, and is well again where it is to be given back.
    async fn begin(&self) {
        self.wait_until(BEGUN).await;
        self.world.with(|world| world.hosts[HOST].sick_since = Some(world.now));
        if self.act == Act::GiveBack {
            self.wait_for(|world| verdict(world, HOST) == Some(Verdict::Off)).await;
            self.world.with(|world| world.hosts[HOST].sick_since = None);
        }
    }

    /// When the host is changed where nobody comes between.
    async fn decision(&self) -> Millis {
        self.begin().await;
        let aim = self.act.aim();
        self.wait_for(|world| verdict(world, HOST) == Some(aim)).await;
        self.world.with(|world| world.now)
    }

    async fn go_to(&self, time: Millis) {
        self.begin().await;
        self.wait_until(time).await;
    }

    /// Stops the leader at a point, makes its decision wrong meanwhile, and looks what comes
    /// of it when it goes on. Says whether it came to that point at all.
    async fn stop_at(&self, point: u64, change: Change, stop: Stop) -> Result<bool, String> {
        let leader = self.world.with(|world| world.leader().expect("one leads"));
        let process = self.world.with(|world| world.instances[leader].process.clone());
        process.stop_after(point);
        tokio::select! {
            biased;
            () = process.until(Condition::Stopped) => {}
            () = self.wait_for(|world| self.is_done(world)) => return Ok(false),
        }
        if self.world.with(|world| world.instances[leader].is_writing) {
            // What has gone to a disk of its own nobody can call back; what goes to ZooKeeper is
            // on its way there, and arrives when it was decided.
            process.go_on();
            return Ok(true);
        }
        self.world.with(|world| {
            world.chaos.lateness = match stop.learns {
                Learns::AtOnce => 1..=15,
                Learns::Late => 2 * SECOND..=3 * SECOND,
            };
            if stop.is_deposed {
                world.ensemble().depose();
            }
            if stop.other == Other::CutOff {
                world.ensemble().cut_off(1 - leader, true);
                let alertmanagers = 0..world.alertmanagers.len();
                world.chaos.slow = alertmanagers.map(Source::Alertmanager).collect();
            }
            world.note(format_args!("{leader} is stopped"));
            self.change(world, change, 1 - leader);
        });
        sleep(Duration::from_millis(stop.length)).await;
        let leads = self.world.with(|world| world.leader());
        if leads != stop.leader_after(leader) {
            return Err(format!("{leads:?} leads"));
        }
        self.world.with(|world| world.note(format_args!("{leader} goes on")));
        process.go_on();
        sleep(Duration::from_millis(SETTLED)).await;
        if stop.other == Other::CutOff {
            self.world.with(|world| {
                world.ensemble().cut_off(1 - leader, false);
                world.chaos.slow.clear();
            });
            sleep(Duration::from_millis(SETTLED)).await;
        }
        self.world.with(|world| self.judge(world, change)).map_or(Ok(true), Err)
    }

    /// Whether the host is changed, everywhere.
    fn is_done(&self, world: &mut World) -> bool {
        let is_changed = verdict(world, HOST) == Some(self.act.aim());
        is_changed && unknown_somewhere(world).is_none()
    }

    fn change(&self, world: &mut World, change: Change, at: usize) {
        let say = |host: usize, on: bool| {
            let (host, reason) = (world.hosts[host].name.to_string(), "I say so".to_owned());
            Request::Command(Command::Say { host, id: "word", on, reason, ttl: None })
        };
        match change {
            Change::Said => {
                let word = say(HOST, self.act == Act::TakeOff);
                world.ask(at, word);
            }
            Change::BudgetUsed => {
                let word = say(OTHER, false);
                world.ask(at, word);
            }
            Change::Silenced => drop(world.chaos.silenced.insert(HOST)),
            Change::SickAgain => world.hosts[HOST].sick_since = Some(world.now),
        }
    }

    /// What is wrong in the end: what people said must be so, and all must have the same.
    fn judge(&self, world: &mut World, change: Change) -> Option<String> {
        let (host, wanted) = match (change, self.act) {
            (Change::Said, Act::TakeOff) => (HOST, Verdict::On),
            (Change::Said, Act::GiveBack) => (HOST, Verdict::Off),
            (Change::BudgetUsed, _) => (OTHER, Verdict::Off),
            // What was about to be done may have been done just before.
            (Change::Silenced | Change::SickAgain, _) => return unknown_somewhere(world),
        };
        let found = verdict(world, host);
        let unheard = (found != Some(wanted)).then(|| format!("I9: the host is {found:?}"));
        unheard.or_else(|| unknown_somewhere(world))
    }

    async fn wait_until(&self, time: Millis) {
        let now = self.world.with(|world| world.now);
        sleep(Duration::from_millis(time.saturating_sub(now))).await;
    }

    async fn wait_for(&self, is_so: impl Fn(&mut World) -> bool) {
        while !self.world.with(&is_so) {
            assert!(self.world.with(|world| world.now) < DECIDED, "it does not come");
            sleep(Duration::from_millis(SECOND / 10)).await;
        }
    }
}

impl Stop {
    /// Who leads when the one that was stopped is about to go on.
    fn leader_after(self, stopped: usize) -> Option<usize> {
        let keeps_the_lead = self.length < SESSION_TIMEOUT && !self.is_deposed;
        match self.other {
            Other::Lives if !keeps_the_lead => Some(1 - stopped),
            Other::CutOff if !keeps_the_lead => None,
            _ => Some(stopped),
        }
    }
}

impl Act {
    /// What it makes of the host.
    fn aim(self) -> Verdict {
        match self {
            Self::TakeOff => Verdict::Off,
            Self::GiveBack => Verdict::On,
        }
    }
}

fn verdict(world: &World, host: usize) -> Option<Verdict> {
    world.oracle.verdict(&world.hosts[host].name)
}

/// Where not all is known: every file must have the list that is wanted, and every journal all
/// that was done, once.
fn unknown_somewhere(world: &mut World) -> Option<String> {
    let wanted = world.oracle.wanted_list().unwrap_or_default().to_owned();
    (0..world.instances.len()).find_map(|who| {
        let file = world.instances[who].files.durable_content(Path::new(WHITELIST));
        let file = String::from_utf8_lossy(file.unwrap_or_default()).into_owned();
        if file != wanted {
            return Some(format!("I24: the file of {who} has {file:?} and should have {wanted:?}"));
        }
        world.unrecorded(who).map(|it| format!("I34: {who} has not on record: {it}"))
    })
}
