//! All that lies outside of the remediator: hosts, peers, files, the time of day.
//!
//! The world goes on whether a remediator lives in it or not. It is driven by a
//! queue of events and by one stream of random numbers, so that a seed decides
//! everything that happens.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use jiff::Timestamp;
use satellite_config::Config;
use satellite_core::HostName;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    chaos::{self, Ailment, Chaos},
    disk::Files,
    oracle::Oracle,
    peers::{Alertmanager, Masters, Prometheus, Sent},
    people::Command,
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
    Say(Command),
    Audit,
}

/// What somebody wants of the remediator.
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

/// All of it.
pub(super) struct World {
    pub(super) dice: Rng,
    pub(super) config: Config,
    pub(super) now: Millis,
    /// When the present life began, by its own clock and by the world's.
    life: Option<(Instant, Millis)>,
    pub(super) dead: bool,
    /// What the remediator's clock shows more than it should, in milliseconds.
    pub(super) clock_error: i64,
    pub(super) hosts: Vec<Host>,
    pub(super) prometheus: Vec<Prometheus>,
    pub(super) alertmanagers: Vec<Alertmanager>,
    pub(super) masters: Masters,
    pub(super) files: Files,
    pub(super) store: Contents,
    pub(super) chaos: Chaos,
    pub(super) oracle: Oracle,
    queue: BTreeMap<(Millis, u64), Event>,
    queued: u64,
    requests: Vec<Request>,
    /// What happened, where somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, config: &Config, traced: bool) -> Self {
        let mut dice = Rng::with_seed(seed);
        let mut config = config.clone();
        let chaos = Chaos::draw(&mut dice, &mut config);
        let hosts = chaos::hosts(&mut dice);
        let prometheus = config.prometheus.iter().map(|_| Prometheus::new(hosts.len()));
        let mut world = Self {
            prometheus: prometheus.collect(),
            alertmanagers: config.alertmanagers.iter().map(|_| Alertmanager::default()).collect(),
            masters: Masters::default(),
            files: Files::default(),
            store: Contents::default(),
            oracle: Oracle::default(),
            now: 0,
            life: None,
            dead: false,
            clock_error: 0,
            queue: BTreeMap::new(),
            queued: 0,
            requests: Vec::new(),
            trace: traced.then(Vec::new),
            dice,
            config,
            hosts,
            chaos,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        chaos::put_first_file(self);
        for prometheus in 0..self.prometheus.len() {
            let first = self.dice.u64(0..15) * SECOND;
            self.after(first, Event::Scrape { prometheus });
            let first = self.dice.u64(0..15) * SECOND;
            self.after(first, Event::Evaluate { prometheus });
        }
        self.after(SECOND, Event::Trouble);
        self.after(AUDIT, Event::Audit);
    }

    /// Something is to happen so many milliseconds from now.
    pub(super) fn after(&mut self, delay: Millis, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), event);
    }

    pub(super) fn ask(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// What somebody has wanted of the remediator since this was last asked.
    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Millis {
        self.queue.first_key_value().map_or(self.now, |((at, _), _)| *at)
    }

    /// A process begins to live.
    pub(super) fn be_born(&mut self) {
        self.life = Some((Instant::now(), self.now));
        self.dead = false;
        let wall = self.wall();
        self.oracle.begin_life(self.now, wall);
        self.note(format_args!("the remediator starts"));
    }

    /// The process is gone.
    pub(super) fn bury(&mut self, with_power: bool) {
        self.catch_up();
        self.life = None;
        self.note(format_args!("the remediator is gone; power cut: {with_power}"));
        if with_power {
            let kept = self.files.durable_content(Path::new(WHITELIST)).map(<[u8]>::to_vec);
            let Self { files, dice, .. } = self;
            files.cut_power(dice);
            self.look_after_power_cut(kept.as_deref());
        }
        self.check_deliveries();
    }

    pub(super) fn is_alive(&self) -> bool {
        self.life.is_some() && !self.dead
    }

    /// Moves the time on to that of the process that lives.
    fn catch_up(&mut self) {
        if let Some((born, at)) = self.life {
            let age = born.elapsed().as_millis();
            self.now = at + Millis::try_from(age).unwrap_or(Millis::MAX);
        }
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
            Event::Say(command) => self.ask(Request::Command(command)),
            Event::Audit => {
                self.audit_file();
                self.after(AUDIT, Event::Audit);
            }
        }
    }

    /// The time of day as it truly is.
    pub(super) fn true_time(&self) -> Timestamp {
        instant(self.now)
    }

    /// The time of day as the remediator's machine has it.
    pub(super) fn wall(&self) -> Timestamp {
        let milliseconds = i64::try_from(self.now).unwrap_or(i64::MAX) + self.clock_error;
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
    fn fate(&mut self, area: Area, what: &str, target: &dyn Display) -> Fate {
        let fate = self.chaos.fate(area, &mut self.dice);
        if fate != Fate::Succeeds {
            self.note(format_args!("{what} {target}: {fate:?}"));
        }
        fate
    }
}

/// An instant of the world by a right clock.
pub(super) fn instant(at: Millis) -> Timestamp {
    let milliseconds = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(BEGIN * 1000 + milliseconds).expect("the world is young")
}

/// The world, for everything that lives in it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    died: Notify,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self(Arc::new(Inner { world: Mutex::new(world), died: Notify::new() }))
    }

    /// Looks at the world as it is now, or changes it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        // A panic in a checker fails the run anyway.
        let mut world = self.0.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        world.catch_up();
        act(&mut world)
    }

    /// Takes a moment, in which others act. A process that is dead by then never
    /// gets any further.
    pub(super) async fn pass(&self, milliseconds: std::ops::RangeInclusive<Millis>) {
        let moment = self.with(|world| world.dice.u64(milliseconds));
        sleep(Duration::from_millis(moment)).await;
        if self.with(|world| world.dead) {
            std::future::pending::<()>().await;
        }
    }

    /// One step of the remediator: it takes a moment, and has some fate.
    pub(super) async fn face(&self, area: Area, what: &str, target: &(dyn Display + Sync)) -> Fate {
        self.pass(1..=4).await;
        self.with(|world| world.fate(area, what, target))
    }

    /// Waits for as long as a disk hangs.
    pub(super) async fn hang(&self, area: Area) {
        let hangs = |world: &mut World| {
            // While the remediator starts nobody else does.
            world.advance(world.now);
            world.chaos.hanging.contains(&area)
        };
        while self.with(hangs) {
            self.pass(SECOND..=SECOND).await;
        }
    }

    /// The process dies here.
    pub(super) async fn die<T>(&self) -> T {
        self.with(|world| world.dead = true);
        self.0.died.notify_one();
        std::future::pending().await
    }

    /// Until the process dies.
    pub(super) async fn death(&self) {
        self.0.died.notified().await;
    }
}
