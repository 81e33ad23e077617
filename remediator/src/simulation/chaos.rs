//! What goes wrong, when, and when it is well again.
//!
//! Each seed draws its own set of troubles, its own policy and its own cluster:
//! a run in which everything fails at once finds less than many in which a few
//! things fail often.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::Path,
};

use fastrand::Rng;
use satellite_config::Config;
use satellite_core::policy::{MaxOff, MinHosts, Share};

use super::{
    peers::{Key, Source},
    people,
    process::Condition,
    world::{Agent, Area, Event, Fate, Host, MINUTE, Millis, Request, SECOND, WHITELIST, World},
};

/// Something that is ill and gets well by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ailment {
    Host(usize),
    Exporter(usize),
    Agent(usize),
    Prometheus(usize),
    Rules(usize),
    Link { prometheus: usize, alertmanager: usize },
    Alertmanager(usize),
    Reach(Source),
    Slowness(Source),
    Leader,
    TasksLost,
    Silence(usize),
    Disk(usize, Area),
    Hang(usize, Area),
    Stopped(usize),
    CutOff(usize),
}

/// What may happen in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sickness,
    ManySick,
    Silent,
    LostAgent,
    InactiveAgent,
    DeadPrometheus,
    BrokenRules,
    CutLink,
    DeadAlertmanager,
    OutOfReach,
    Slow,
    FailOver,
    ClockJump,
    FailingDisk,
    HangingDisk,
    Kill,
    PowerCut,
    Stop,
    Webhook,
    Manual,
    Pause,
    HandEdit,
    Silence,
    TasksLost,
    StopProcess,
    CutOff,
    Depose,
}

use Kind::{
    BrokenRules, ClockJump, CutLink, DeadAlertmanager, DeadPrometheus, FailOver, FailingDisk,
    HandEdit, HangingDisk, InactiveAgent, Kill, LostAgent, Manual, ManySick, OutOfReach, Pause,
    PowerCut, Sickness, Silent, Slow, Stop, Webhook,
};

/// How often each is drawn, against the others.
const WEIGHTS: [(Kind, usize); 24] = [
    (Sickness, 12),
    (ManySick, 3),
    (Silent, 3),
    (LostAgent, 3),
    (InactiveAgent, 1),
    (DeadPrometheus, 4),
    (BrokenRules, 2),
    (CutLink, 3),
    (DeadAlertmanager, 4),
    (OutOfReach, 4),
    (Slow, 3),
    (FailOver, 2),
    (ClockJump, 3),
    (FailingDisk, 3),
    (HangingDisk, 1),
    (Kill, 6),
    (PowerCut, 3),
    (Stop, 1),
    (Webhook, 10),
    (Manual, 6),
    (Pause, 2),
    (HandEdit, 2),
    (Kind::Silence, 2),
    (Kind::TasksLost, 1),
];

/// And where several share a store.
const WEIGHTS_OF_SEVERAL: [(Kind, usize); 3] =
    [(Kind::StopProcess, 10), (Kind::CutOff, 5), (Kind::Depose, 2)];

/// For how long things go wrong.
const TROUBLED: RangeInclusive<Millis> = 15 * MINUTE..=45 * MINUTE;
/// A process that is to die does so within so many steps.
const MAX_STEPS_LEFT: u32 = 60;
/// A process that is to be stopped is so when its tasks have come to wait so often.
const MAX_WAITS_LEFT: u64 = 60;

/// The troubles of a run, as they are now.
pub(super) struct Chaos {
    kinds: Vec<Kind>,
    /// Whether no more comes.
    pub(super) is_over: bool,
    /// When no more may come.
    pub(super) until: Millis,
    pub(super) tasks_lost: bool,
    pub(super) silenced: BTreeSet<usize>,
    pub(super) out_of_reach: BTreeSet<Source>,
    pub(super) slow: BTreeSet<Source>,
    /// Where steps fail, by remediator.
    pub(super) failing: BTreeSet<(usize, Area)>,
    /// Where no step ends.
    pub(super) hanging: BTreeSet<(usize, Area)>,
    /// How long it takes until the store tells what has changed.
    pub(super) lateness: RangeInclusive<Millis>,
    /// Which processes are to die.
    doomed: BTreeMap<usize, Doom>,
    /// Counts what people and Alertmanagers send.
    pub(super) sent: u64,
}

/// How a process is to die.
struct Doom {
    /// After so many steps.
    steps_left: u32,
    /// Whether its death is that of the machine.
    with_power: bool,
    /// Whether it has come.
    is_done: bool,
}

impl Chaos {
    /// Draws the troubles of a run, and a configuration to have them with.
    pub(super) fn draw(dice: &mut Rng, config: &mut Config) -> Self {
        draw_config(dice, config);
        let kinds = draw_kinds(dice, &WEIGHTS);
        Self { kinds, until: dice.u64(TROUBLED), ..Self::none() }
    }

    /// The same for several that share a store. Their clocks go right: what each of them has
    /// of the time has its seeds where it is alone.
    pub(super) fn draw_for_several(dice: &mut Rng, config: &mut Config) -> Self {
        let mut chaos = Self::draw(dice, config);
        config.policy.dry_run = false;
        chaos.kinds.retain(|kind| *kind != ClockJump);
        chaos.kinds.extend(draw_kinds(dice, &WEIGHTS_OF_SEVERAL));
        if dice.bool() {
            chaos.lateness = 1..=2 * SECOND;
        }
        chaos
    }

    /// No trouble.
    pub(super) fn none() -> Self {
        Self {
            kinds: Vec::new(),
            is_over: false,
            until: 0,
            tasks_lost: false,
            silenced: BTreeSet::new(),
            out_of_reach: BTreeSet::new(),
            slow: BTreeSet::new(),
            failing: BTreeSet::new(),
            hanging: BTreeSet::new(),
            lateness: 1..=15,
            doomed: BTreeMap::new(),
            sent: 0,
        }
    }

    /// What becomes of a step.
    pub(super) fn fate(&mut self, who: usize, area: Area, dice: &mut Rng) -> Fate {
        if let Some(doom) = self.doomed.get_mut(&who).filter(|doom| !doom.is_done) {
            if doom.steps_left == 0 {
                doom.is_done = true;
                return if dice.bool() { Fate::DiesBefore } else { Fate::DiesAfter };
            }
            doom.steps_left -= 1;
        }
        // A disk that is nearly full takes some of what it is given.
        let is_ill = self.failing.contains(&(who, area));
        if is_ill && dice.u8(0..4) > 0 { Fate::Fails } else { Fate::Succeeds }
    }

    /// Says whether the death of a process was that of its machine, and has it over.
    pub(super) fn was_with_power(&mut self, who: usize) -> bool {
        let doom = self.doomed.remove(&who);
        let with_power = doom.as_ref().is_some_and(|doom| doom.is_done && doom.with_power);
        // One that has not come yet is the next one's.
        self.doomed.extend(doom.filter(|doom| !doom.is_done).map(|doom| (who, doom)));
        with_power
    }

    pub(super) fn is_silenced(&self, (_, subject): Key) -> bool {
        subject.is_some_and(|host| self.silenced.contains(&host))
    }

    /// The number of the next thing that somebody sends.
    pub(super) fn number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }
}

fn draw_kinds(dice: &mut Rng, weights: &[(Kind, usize)]) -> Vec<Kind> {
    // Without sickness nothing would be at stake.
    let drawn = weights.iter().filter(|(kind, _)| *kind == Sickness || dice.bool());
    drawn.flat_map(|(kind, weight)| std::iter::repeat_n(*kind, *weight)).collect()
}

fn draw_config(dice: &mut Rng, config: &mut Config) {
    config.prometheus.truncate(dice.usize(1..=2));
    config.alertmanagers.truncate(dice.usize(1..=2));
    let policy = &mut config.policy;
    policy.watchdogs.truncate(config.prometheus.len());
    let share = |text: &str| text.parse::<Share>().expect("it is a share");
    let shares = ["13%", "25%", "50%"];
    policy.max_off = MaxOff { count: dice.usize(1..=4), share: share(shares[dice.usize(0..3)]) };
    // The floor has tests of its own; here it would hide what the budget does.
    policy.min_hosts = MinHosts::Count(1);
    policy.max_off_per_hour = dice.usize(2..=8);
    policy.storm.threshold = share(["30%", "45%", "60%"][dice.usize(0..3)]);
    if dice.bool() {
        policy.per_attribute = BTreeMap::from([("rack".to_owned(), dice.usize(1..=2))]);
    }
    policy.dry_run = dice.u8(0..20) == 0;
}

/// The hosts of a run; some of them turn up later.
pub(super) fn hosts(dice: &mut Rng) -> Vec<Host> {
    let mut hosts = well_hosts();
    for host in &mut hosts {
        host.agent = if dice.u8(0..8) == 0 { Agent::Lost } else { Agent::Registered };
    }
    hosts
}

/// Hosts that are all there and well.
pub(super) fn well_hosts() -> Vec<Host> {
    let host = |number: usize| Host {
        name: format!("h{number}.lab").parse().expect("it is a host's name"),
        rack: ["r1", "r2", "r3"][number % 3],
        sick_since: None,
        silent_since: None,
        heard_again: 0,
        agent: Agent::Registered,
        agent_number: 1,
    };
    (1..=8).map(host).collect()
}

/// The whitelist as the remediators find it.
pub(super) fn put_first_file(world: &mut World) {
    let names = names(world);
    let listed = match world.dice.u8(0..5) {
        0 => return,
        1 => vec!["bootstrap.invalid".to_owned()],
        2 => names.into_iter().skip(1).collect(),
        _ => names,
    };
    put_file(world, &listed);
}

/// A whitelist that has every host.
pub(super) fn list_all(world: &mut World) {
    put_file(world, &names(world));
}

/// What every host is called.
pub(super) fn names(world: &World) -> Vec<String> {
    world.hosts.iter().map(|host| host.name.to_string()).collect()
}

fn put_file(world: &mut World, listed: &[String]) {
    let content = listed.iter().map(|name| format!("{name}\n")).collect::<String>();
    for who in 0..world.instances.len() {
        world.instances[who].files.put(Path::new(WHITELIST), content.as_bytes());
        world.look_at_whitelist(who);
    }
}

/// Something goes wrong, or it is enough.
pub(super) fn strike(world: &mut World) {
    if world.now >= world.chaos.until {
        return calm(world);
    }
    let kind = world.chaos.kinds[world.dice.usize(0..world.chaos.kinds.len())];
    one(world, kind);
    let next = world.dice.u64(SECOND..=50 * SECOND);
    world.after(next, Event::Trouble);
}

fn one(world: &mut World, kind: Kind) {
    let host = world.dice.usize(0..world.hosts.len());
    let prometheus = world.dice.usize(0..world.prometheus.len());
    let alertmanager = world.dice.usize(0..world.alertmanagers.len());
    let source = match world.dice.u8(0..3) {
        0 => Source::Alertmanager(alertmanager),
        1 => Source::Prometheus(prometheus),
        _ => Source::Mesos,
    };
    let areas = [Area::Journal, Area::Whitelist, Area::Store];
    let area = areas[world.dice.usize(0..areas.len())];
    let who = world.anybody();
    match kind {
        Sickness => ail(world, Ailment::Host(host), 20 * MINUTE),
        ManySick => {
            let first = world.dice.usize(0..3);
            for host in (first..world.hosts.len()).step_by(2) {
                ail(world, Ailment::Host(host), 20 * MINUTE);
            }
        }
        Silent => ail(world, Ailment::Exporter(host), 15 * MINUTE),
        LostAgent => ail(world, Ailment::Agent(host), 15 * MINUTE),
        InactiveAgent => world.hosts[host].agent = Agent::Inactive,
        DeadPrometheus => ail(world, Ailment::Prometheus(prometheus), 12 * MINUTE),
        BrokenRules => ail(world, Ailment::Rules(prometheus), 5 * MINUTE),
        CutLink => ail(world, Ailment::Link { prometheus, alertmanager }, 10 * MINUTE),
        DeadAlertmanager => ail(world, Ailment::Alertmanager(alertmanager), 5 * MINUTE),
        OutOfReach => ail(world, Ailment::Reach(source), 5 * MINUTE),
        Slow => ail(world, Ailment::Slowness(source), 5 * MINUTE),
        FailOver => ail(world, Ailment::Leader, MINUTE),
        ClockJump => jump(world, who),
        FailingDisk => ail(world, Ailment::Disk(who, area), 4 * MINUTE),
        HangingDisk => ail(world, Ailment::Hang(who, area), 4 * MINUTE),
        Kill | PowerCut => {
            let steps_left = world.dice.u32(0..MAX_STEPS_LEFT);
            let doom = Doom { steps_left, with_power: kind == PowerCut, is_done: false };
            world.chaos.doomed.insert(who, doom);
        }
        Stop => world.ask(who, Request::Stop),
        Webhook => people::deliver(world, who),
        Manual => people::command(world),
        Pause => people::pause_or_resume(world, who),
        HandEdit => people::edit_file(world, who),
        Kind::Silence => ail(world, Ailment::Silence(host), 10 * MINUTE),
        Kind::TasksLost => ail(world, Ailment::TasksLost, 5 * MINUTE),
        Kind::StopProcess => ail(world, Ailment::Stopped(who), 2 * MINUTE),
        Kind::CutOff => ail(world, Ailment::CutOff(who), MINUTE),
        Kind::Depose => world.ensemble().depose(),
    }
}

/// Something falls ill, and gets well within `longest`.
fn ail(world: &mut World, ailment: Ailment, longest: Millis) {
    world.note(format_args!("ill: {ailment:?}"));
    let now = world.now;
    match ailment {
        Ailment::Host(host) => {
            world.hosts[host].sick_since.get_or_insert(now);
        }
        Ailment::Exporter(host) => {
            world.hosts[host].silent_since.get_or_insert(now);
        }
        Ailment::Agent(host) => world.hosts[host].agent = Agent::Lost,
        Ailment::Prometheus(prometheus) => world.prometheus[prometheus].die(),
        Ailment::Rules(prometheus) => world.prometheus[prometheus].broken = true,
        Ailment::Link { prometheus, alertmanager } => {
            world.prometheus[prometheus].cut_off.insert(alertmanager);
        }
        Ailment::Alertmanager(alertmanager) => world.alertmanagers[alertmanager].die(),
        Ailment::Reach(source) => drop(world.chaos.out_of_reach.insert(source)),
        Ailment::Slowness(source) => drop(world.chaos.slow.insert(source)),
        Ailment::Leader => world.masters.headless = true,
        Ailment::TasksLost => world.chaos.tasks_lost = true,
        Ailment::Silence(host) => drop(world.chaos.silenced.insert(host)),
        Ailment::Disk(who, area) => drop(world.chaos.failing.insert((who, area))),
        Ailment::Hang(who, area) => drop(world.chaos.hanging.insert((who, area))),
        Ailment::Stopped(who) => {
            let waits = world.dice.u64(1..=MAX_WAITS_LEFT);
            // Nobody stops one that starts, or is told to end.
            if world.instances[who].front.is_some() {
                world.instances[who].process.stop_after(waits);
            }
        }
        Ailment::CutOff(who) => world.ensemble().cut_off(who, true),
    }
    let until = world.dice.u64(SECOND..=longest);
    world.after(until, Event::Heal(ailment));
}

/// Something is well again.
pub(super) fn heal(world: &mut World, ailment: Ailment) {
    world.note(format_args!("well: {ailment:?}"));
    let now = world.now;
    match ailment {
        Ailment::Host(host) => world.hosts[host].sick_since = None,
        Ailment::Exporter(host) => {
            world.hosts[host].silent_since = None;
            world.hosts[host].heard_again = now;
        }
        Ailment::Agent(host) => register(world, host),
        Ailment::Prometheus(prometheus) => world.prometheus[prometheus].up = true,
        Ailment::Rules(prometheus) => world.prometheus[prometheus].broken = false,
        Ailment::Link { prometheus, alertmanager } => {
            world.prometheus[prometheus].cut_off.remove(&alertmanager);
        }
        Ailment::Alertmanager(alertmanager) => {
            let it = &mut world.alertmanagers[alertmanager];
            if it.down {
                it.down = false;
                it.started = now;
            }
        }
        Ailment::Reach(source) => drop(world.chaos.out_of_reach.remove(&source)),
        Ailment::Slowness(source) => drop(world.chaos.slow.remove(&source)),
        Ailment::Leader => elect(world),
        Ailment::TasksLost => world.chaos.tasks_lost = false,
        Ailment::Silence(host) => drop(world.chaos.silenced.remove(&host)),
        Ailment::Disk(who, area) => drop(world.chaos.failing.remove(&(who, area))),
        Ailment::Hang(who, area) => drop(world.chaos.hanging.remove(&(who, area))),
        Ailment::Stopped(who) => {
            let process = &world.instances[who].process;
            world.oracle.counts.stops += u64::from(process.is(Condition::Stopped));
            process.go_on();
        }
        Ailment::CutOff(who) => world.ensemble().cut_off(who, false),
    }
}

/// The agent registers, sometimes as another one.
fn register(world: &mut World, host: usize) {
    let is_new = world.dice.bool();
    let host = &mut world.hosts[host];
    host.agent_number += u32::from(is_new && host.agent != Agent::Recovered);
    host.agent = Agent::Registered;
}

/// A master is elected; it knows the agents from the registry, and they come back
/// one by one.
fn elect(world: &mut World) {
    if !std::mem::take(&mut world.masters.headless) {
        return;
    }
    world.masters.leader += 1;
    for host in 0..world.hosts.len() {
        if world.hosts[host].agent != Agent::Lost {
            world.hosts[host].agent = Agent::Recovered;
            let back = world.dice.u64(SECOND..=90 * SECOND);
            world.after(back, Event::Heal(Ailment::Agent(host)));
        }
    }
}

/// Somebody sets the clock of a remediator's machine, or a machine without one
/// finds out the time.
fn set_clock(world: &mut World, who: usize, error: i64) {
    world.instances[who].clock_error = error;
    let (now, wall) = (world.now, world.wall(who));
    world.oracle.clock_jumped(who, now, wall);
}

fn jump(world: &mut World, who: usize) {
    let seconds = world.dice.i64(-1800..=3600);
    set_clock(world, who, world.instances[who].clock_error + seconds * 1000);
    world.note(format_args!("the clock of remediator {who} jumps by {seconds} s"));
}

/// Nothing goes wrong any more, and but for a host or two all is well.
fn calm(world: &mut World) {
    world.note(format_args!("nothing goes wrong any more"));
    world.chaos.is_over = true;
    world.chaos.doomed.clear();
    let still_sick: Vec<usize> =
        (0..world.hosts.len()).filter(|_| world.dice.u8(0..8) == 0).collect();
    for host in 0..world.hosts.len() {
        for ailment in [
            Ailment::Host(host),
            Ailment::Exporter(host),
            Ailment::Agent(host),
            Ailment::Silence(host),
        ] {
            heal(world, ailment);
        }
        if still_sick.contains(&host) {
            let now = world.now;
            world.hosts[host].sick_since = Some(now);
        }
    }
    for prometheus in 0..world.prometheus.len() {
        heal(world, Ailment::Prometheus(prometheus));
        heal(world, Ailment::Rules(prometheus));
        world.prometheus[prometheus].cut_off.clear();
    }
    for alertmanager in 0..world.alertmanagers.len() {
        heal(world, Ailment::Alertmanager(alertmanager));
    }
    heal(world, Ailment::TasksLost);
    heal(world, Ailment::Leader);
    world.chaos.out_of_reach.clear();
    world.chaos.slow.clear();
    world.chaos.failing.clear();
    world.chaos.hanging.clear();
    // What was written by a clock that was ahead must not lie in the future.
    for who in 0..world.instances.len() {
        if world.ensemble.is_some() {
            heal(world, Ailment::Stopped(who));
            heal(world, Ailment::CutOff(who));
        }
        let error = world.oracle.latest_clock_error(world.instances[who].clock_error);
        set_clock(world, who, error);
    }
    if !world.store.documents.contains_key("automation") {
        people::put_one_list_everywhere(world);
    }
    people::resume(world);
}
