//! All that lies outside of the remediators: hosts, peers, files, the time of day.
//!
//! The world goes on whether a remediator lives in it or not. It is driven by a
//! queue of events and by one stream of random numbers, so that a seed decides
//! everything that happens.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    ops::RangeInclusive,
    panic::resume_unwind,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use fastrand::Rng;
use jiff::Timestamp;
use satellite_config::Config;
use satellite_core::HostName;
use satellite_toolkit::lifecycle::Readiness;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    chaos::{self, Ailment, Chaos},
    disk::Files,
    ensemble::Ensemble,
    oracle::Oracle,
    peers::{Alertmanager, Masters, Prometheus, Sent},
    people::Command,
    process::{Condition, Process},
};
use crate::store::Contents;

/// Milliseconds since the world began.
pub(super) type Millis = u64;
pub(super) const SECOND: Millis = 1000;
pub(super) const MINUTE: Millis = 60 * SECOND;

/// When the world began, in seconds since 1970.
const BEGIN: i64 = 1_800_000_000;
/// How often the file is compared with the documents.
const AUDIT: Millis = 5 * SECOND;

/// The paths of the configuration.
pub(super) const WHITELIST: &str = "/masters/whitelist";
pub(super) const STORE: &str = "/satellite";

/// One host as it truly is.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) rack: &'static str,
    /// Since when its check has failed.
    pub(super) sick_since: Option<Millis>,
    /// Since when its exporter has not answered.
    pub(super) silent_since: Option<Millis>,
    /// When its exporter last began to answer again.
    pub(super) heard_again: Millis,
    pub(super) agent: Agent,
    /// Counts the ids that its agent has had.
    pub(super) agent_number: u32,
}

/// What the masters have of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    Registered,
    /// Registered, and the master makes no offers of it.
    Inactive,
    /// Known from the registry, after a fail-over.
    Recovered,
    /// Not listed.
    Lost,
}

/// What happens by itself.
pub(super) enum Event {
    Scrape { prometheus: usize },
    Evaluate { prometheus: usize },
    Deliver { alertmanager: usize, alerts: Vec<Sent> },
    Trouble,
    Heal(Ailment),
    Say { who: usize, command: Command },
    Audit,
    Beat,
    GiveUp(u64),
}

/// What somebody wants of a remediator.
pub(super) enum Request {
    /// Alertmanager delivers; the number makes each delivery another one.
    Webhook { number: u64, body: String },
    /// A person says something.
    Command(Command),
    /// Somebody stops it properly.
    Stop,
}

/// Where an effect takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    Journal,
    Whitelist,
    Store,
}

impl Area {
    pub(super) fn of(path: &Path) -> Self {
        if path.starts_with(STORE) { Self::Journal } else { Self::Whitelist }
    }
}

/// What becomes of one step of the remediator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Succeeds,
    /// It has no effect and says so.
    Fails,
    /// The process dies, and the step has had no effect.
    DiesBefore,
    /// The process dies, and the step has had its effect.
    DiesAfter,
}

/// One remediator and the machine that it runs on.
pub(super) struct Instance {
    /// The process that lives there, or lived there last.
    pub(super) process: Process,
    /// What others ask of it, while it lives.
    pub(super) front: Option<Front>,
    /// What the clock shows more than it should, in milliseconds.
    pub(super) clock_error: i64,
    pub(super) files: Files,
    /// Whether a write is on its way to a store of its own.
    pub(super) is_writing: bool,
    /// What somebody has wanted of it, until that is sent.
    requests: Vec<Request>,
    pub(super) called: Arc<Notify>,
}

/// How others reach a remediator that lives.
#[derive(Clone)]
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) readiness: Readiness,
}

impl Instance {
    fn new() -> Self {
        Self {
            process: Process::dead(),
            front: None,
            clock_error: 0,
            files: Files::default(),
            is_writing: false,
            requests: Vec::new(),
            called: Arc::default(),
        }
    }
}

/// All of it.
pub(super) struct World {
    pub(super) dice: Rng,
    pub(super) config: Config,
    pub(super) now: Millis,
    pub(super) hosts: Vec<Host>,
    pub(super) prometheus: Vec<Prometheus>,
    pub(super) alertmanagers: Vec<Alertmanager>,
    pub(super) masters: Masters,
    pub(super) instances: Vec<Instance>,
    /// What is stored.
    pub(super) store: Contents,
    /// Where it is, if the remediators share it.
    pub(super) ensemble: Option<Ensemble>,
    pub(super) chaos: Chaos,
    pub(super) oracle: Oracle,
    /// Whether what is written are documents that the oracle can judge.
    pub(super) is_judged: bool,
    queue: BTreeMap<(Millis, u64), Event>,
    queued: u64,
    /// Told that something happens earlier than was known.
    pub(super) scheduled: Arc<Notify>,
    /// What happened, where somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    /// One that a seed decides, with a remediator in it.
    pub(super) fn new(seed: u64, config: &Config, traced: bool) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut config = config.clone();
        let chaos = Chaos::draw(&mut dice, &mut config);
        let hosts = chaos::hosts(&mut dice);
        let mut world = Self::of(dice, config, hosts, chaos, 1);
        world.trace = traced.then(Vec::new);
        chaos::put_first_file(&mut world);
        world.begin();
        world.after(SECOND, Event::Trouble);
        world
    }

    /// One that a seed decides, with several remediators that share a store.
    pub(super) fn of_several(seed: u64, config: &Config, traced: bool) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut config = config.clone();
        let chaos = Chaos::draw_for_several(&mut dice, &mut config);
        let (hosts, instances) = (chaos::hosts(&mut dice), dice.usize(2..=3));
        let mut world = Self::of(dice, config, hosts, chaos, instances);
        world.trace = traced.then(Vec::new);
        chaos::put_first_file(&mut world);
        world.begin();
        world.begin_ensemble();
        world.after(SECOND, Event::Trouble);
        world
    }

    /// One in which nothing goes wrong by itself, with so many remediators that share a store.
    pub(super) fn quiet(config: &Config, instances: usize) -> Self {
        let (dice, hosts) = (Rng::with_seed(0), chaos::well_hosts());
        let mut world = Self::of(dice, config.clone(), hosts, Chaos::none(), instances);
        chaos::list_all(&mut world);
        world.begin();
        if instances > 1 {
            world.begin_ensemble();
        }
        world
    }

    /// One in which nothing has happened yet. Of several remediators each is beside a master.
    fn of(dice: Rng, mut config: Config, hosts: Vec<Host>, chaos: Chaos, instances: usize) -> Self {
        if instances > 1 {
            config.masters.truncate(instances);
        }
        let prometheus = config.prometheus.iter().map(|_| Prometheus::new(hosts.len()));
        Self {
            prometheus: prometheus.collect(),
            alertmanagers: config.alertmanagers.iter().map(|_| Alertmanager::default()).collect(),
            masters: Masters::default(),
            instances: (0..instances).map(|_| Instance::new()).collect(),
            store: Contents::default(),
            ensemble: None,
            oracle: Oracle::of(instances),
            is_judged: true,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            scheduled: Arc::default(),
            trace: None,
            dice,
            config,
            hosts,
            chaos,
        }
    }

    fn begin(&mut self) {
        for prometheus in 0..self.prometheus.len() {
            let first = self.dice.u64(0..15) * SECOND;
            self.after(first, Event::Scrape { prometheus });
            let first = self.dice.u64(0..15) * SECOND;
            self.after(first, Event::Evaluate { prometheus });
        }
        self.after(AUDIT, Event::Audit);
    }

    /// Something is to happen so many milliseconds from now.
    pub(super) fn after(&mut self, delay: Millis, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), event);
        self.scheduled.notify_one();
    }

    /// Whichever of the remediators somebody turns to.
    pub(super) fn anybody(&mut self) -> usize {
        self.dice.usize(0..self.instances.len())
    }

    pub(super) fn ask(&mut self, who: usize, request: Request) {
        self.instances[who].requests.push(request);
        self.instances[who].called.notify_one();
    }

    /// What somebody has wanted of a remediator since this was last asked.
    pub(super) fn take_requests(&mut self, who: usize) -> Vec<Request> {
        std::mem::take(&mut self.instances[who].requests)
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Millis {
        self.queue.first_key_value().map_or(self.now, |((at, _), _)| *at)
    }

    /// A process begins to live.
    fn be_born(&mut self, who: usize) -> Process {
        let process = Process::start();
        self.instances[who].process = process.clone();
        let wall = self.wall(who);
        self.oracle.begin_life(who, self.now, wall);
        self.note(format_args!("remediator {who} starts"));
        process
    }

    /// The process is gone.
    pub(super) fn bury(&mut self, who: usize, with_power: bool) {
        self.instances[who].process.kill();
        self.instances[who].front = None;
        self.note(format_args!("remediator {who} is gone; power cut: {with_power}"));
        if with_power {
            let Self { instances, dice, .. } = self;
            let files = &mut instances[who].files;
            let kept = files.durable_content(Path::new(WHITELIST)).map(<[u8]>::to_vec);
            files.cut_power(dice);
            self.look_after_power_cut(who, kept.as_deref());
        }
        self.check_deliveries(who);
    }

    pub(super) fn runs(&self, who: usize) -> bool {
        self.instances[who].process.is(Condition::Running)
    }

    /// Everything happens that is due by `until`.
    pub(super) fn advance(&mut self, until: Millis) {
        while self.next_event() <= until {
            let Some(((at, _), event)) = self.queue.pop_first() else { break };
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Scrape { prometheus } => {
                self.scrape(prometheus);
                self.after(15 * SECOND, Event::Scrape { prometheus });
            }
            Event::Evaluate { prometheus } => {
                self.evaluate(prometheus);
                self.after(15 * SECOND, Event::Evaluate { prometheus });
            }
            Event::Deliver { alertmanager, alerts } => self.deliver(alertmanager, alerts),
            Event::Trouble => chaos::strike(self),
            Event::Heal(ailment) => chaos::heal(self, ailment),
            Event::Say { who, command } => self.ask(who, Request::Command(command)),
            Event::Audit => {
                (0..self.instances.len()).for_each(|who| self.audit_file(who));
                self.after(AUDIT, Event::Audit);
            }
            Event::Beat => self.beat(),
            Event::GiveUp(token) => self.oracle.forget(token),
        }
    }

    /// The time of day as it truly is.
    pub(super) fn true_time(&self) -> Timestamp {
        instant(self.now)
    }

    /// The time of day as the machine of a remediator has it.
    pub(super) fn wall(&self, who: usize) -> Timestamp {
        let error = self.instances[who].clock_error;
        let milliseconds = i64::try_from(self.now).unwrap_or(i64::MAX) + error;
        Timestamp::from_millisecond(BEGIN * 1000 + milliseconds).expect("the world is young")
    }

    pub(super) fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }

    /// Writes down what happens, if somebody wants to read it.
    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>7}.{:03} {what}", now / SECOND, now % SECOND));
        }
    }

    /// Whether a step succeeds, by the troubles that there are.
    fn fate(&mut self, who: usize, area: Area, what: &str, target: &dyn Display) -> Fate {
        let fate = self.chaos.fate(who, area, &mut self.dice);
        if fate != Fate::Succeeds {
            self.note(format_args!("remediator {who}: {what} {target}: {fate:?}"));
        }
        fate
    }
}

/// An instant of the world by a right clock.
pub(super) fn instant(at: Millis) -> Timestamp {
    let milliseconds = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(BEGIN * 1000 + milliseconds).expect("the world is young")
}

/// When an instant was, by a right clock.
pub(super) fn millis_at(instant: Timestamp) -> Millis {
    Millis::try_from(instant.as_millisecond() - BEGIN * 1000).unwrap_or(0)
}

/// The world, for a process that lives in it.
#[derive(Clone)]
pub(super) struct Shared {
    inner: Arc<Inner>,
    /// Whose process it is.
    pub(super) who: usize,
    pub(super) process: Process,
}

struct Inner {
    world: Mutex<World>,
    /// When the world began, by the clock of those who live in it.
    began: Instant,
}

impl Shared {
    /// The world, for whoever looks at it from outside.
    pub(super) fn new(world: World) -> Self {
        let inner = Inner { world: Mutex::new(world), began: Instant::now() };
        Self { inner: Arc::new(inner), who: 0, process: Process::start() }
    }

    /// The world, for a process of this remediator's that begins to live.
    pub(super) fn be_born(&self, who: usize) -> Self {
        let process = self.with(|world| world.be_born(who));
        Self { inner: Arc::clone(&self.inner), who, process }
    }

    /// Looks at the world as it is now, or changes it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        // A panic in a checker fails the run anyway.
        let world = &self.inner.world;
        let mut world = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let age = self.inner.began.elapsed().as_millis();
        world.now = Millis::try_from(age).unwrap_or(Millis::MAX);
        act(&mut world)
    }

    /// Takes a moment, in which others act. A process that is stopped then gets no further
    /// until it goes on, and one that is dead never does.
    pub(super) async fn pass(&self, milliseconds: RangeInclusive<Millis>) {
        let moment = self.with(|world| world.dice.u64(milliseconds));
        sleep(Duration::from_millis(moment)).await;
        self.process.until(Condition::Running).await;
    }

    /// What others do for this process: they go on also where it is stopped, and their answer
    /// is that of the instant at which they gave it. They take a moment to hear of it, and one
    /// to be heard.
    pub(super) async fn have<T: Send + 'static>(
        &self,
        there: RangeInclusive<Millis>,
        back: RangeInclusive<Millis>,
        act: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> T {
        let world = self.clone();
        let elsewhere = tokio::spawn(async move {
            let moment = world.with(|world| world.dice.u64(there));
            sleep(Duration::from_millis(moment)).await;
            let (done, moment) = world.with(|world| {
                let done = act(world);
                (done, world.dice.u64(back))
            });
            sleep(Duration::from_millis(moment)).await;
            done
        });
        let done = elsewhere.await.unwrap_or_else(|panic| resume_unwind(panic.into_panic()));
        self.process.until(Condition::Running).await;
        done
    }

    /// One step of the remediator: it takes a moment, and has some fate.
    pub(super) async fn face(&self, area: Area, what: &str, target: &(dyn Display + Sync)) -> Fate {
        self.pass(1..=4).await;
        self.with(|world| world.fate(self.who, area, what, target))
    }

    /// Waits for as long as a disk hangs.
    pub(super) async fn hang(&self, area: Area) {
        while self.with(|world| world.chaos.hanging.contains(&(self.who, area))) {
            self.pass(SECOND..=SECOND).await;
        }
    }

    /// The process dies here.
    pub(super) async fn die<T>(&self) -> T {
        self.process.kill();
        std::future::pending().await
    }
}
