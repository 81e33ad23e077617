//! One life of a remediator after the other, until all is well everywhere.

use std::{collections::BTreeMap, panic::resume_unwind, sync::Arc, time::Duration};

use axum::Router;
use futures::{FutureExt as _, future::BoxFuture};
use prometheus_client::registry::Registry;
use satellite_core::HostName;
use serde_json::Value;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    disk::SimulatedDisk,
    ensemble::Ensemble,
    fenced::FencedStore,
    oracle::Counts,
    peers::Peers,
    people::{self, Command},
    process::Condition,
    store::SimulatedStore,
    world::{Area, Front, MINUTE, Millis, Request, SECOND, Shared, World},
};
use crate::{
    api,
    clock::Clock,
    daemon::{Outside, Parts},
    store::{ShadowStore, Store},
};

/// After so long without any trouble every wait is over: the alerts' own, the
/// doubled `min_off` of a host that fell sick again and again, the hourly rate.
const PATIENCE: Millis = 180 * MINUTE;
/// How often it is looked whether all is well.
const LOOK: Millis = MINUTE;
/// A part that is told to end must have ended by then.
const GRACE: Duration = Duration::from_secs(60);

/// How a life ends.
enum End {
    /// Killed, or the machine lost its power.
    Death,
    /// It could not start, or was told to stop.
    Exit,
}

/// What is wrong, with all that happened where that was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) violation: String,
    pub(super) trace: Vec<String>,
}

/// Lives through the world of one seed.
pub(super) fn run(world: World) -> Result<Counts, Failure> {
    let shared = live_through(world);
    shared.with(|world| match world.oracle.violation.take() {
        None => Ok(world.oracle.counts),
        Some(violation) => {
            Err(Failure { violation, trace: world.trace.take().unwrap_or_default() })
        }
    })
}

/// All that happens in the world of one seed.
pub(super) fn history(world: World) -> Vec<String> {
    live_through(world).with(|world| world.trace.take().unwrap_or_default())
}

fn live_through(world: World) -> Shared {
    // With the runtime goes all that processes had in memory.
    runtime().block_on(async {
        let world = Shared::new(world);
        let mut lives = populate(&world);
        tokio::select! {
            biased;
            () = watch(&world) => {}
            Some(Err(panic)) = lives.join_next() => resume_unwind(panic.into_panic()),
        }
        world
    })
}

/// One whose clock goes on when everybody waits.
pub(super) fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O needs nothing")
}

/// Remediators live in the world, each for itself.
pub(super) fn populate(world: &Shared) -> JoinSet<()> {
    let mut lives = JoinSet::new();
    for who in 0..world.with(|world| world.instances.len()) {
        lives.spawn(live_on(world.clone(), who));
    }
    lives
}

/// One life after the other.
async fn live_on(world: Shared, who: usize) {
    loop {
        let life = world.be_born(who);
        let end = live(&life).await;
        let while_dead = world.with(|world| {
            let with_power = matches!(end, End::Death) && world.chaos.was_with_power(who);
            world.bury(who, with_power);
            world.while_dead()
        });
        sleep(Duration::from_millis(while_dead)).await;
        // Nobody hears what is said meanwhile.
        world.with(|world| world.take_requests(who));
    }
}

async fn live(world: &Shared) -> End {
    let parts = tokio::select! {
        biased;
        () = world.process.until(Condition::Dead) => return End::Death,
        parts = assemble(world) => parts,
    };
    let Ok(Parts { app, reconciler, merger, ledger, heard, readiness, .. }) = parts else {
        return End::Exit;
    };
    let front = Front { router: api::router(app), readiness };
    world.with(|it| it.instances[world.who].front = Some(front.clone()));
    let token = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let hold = |task: BoxFuture<'static, ()>| world.process.clone().hold(task);
    tasks.spawn(hold(reconciler.run(token.clone()).boxed()));
    tasks.spawn(hold(merger.run(token.clone()).boxed()));
    let (followed, follower) = (Arc::clone(&ledger), token.clone());
    tasks.spawn(hold(async move { followed.follow(&heard, follower).await }.boxed()));
    let end = serve(world, &front.router, &mut tasks).await;
    if matches!(end, End::Death) {
        return end;
    }
    world.with(|it| it.instances[world.who].front = None);
    world.process.go_on();
    let hung = world.with(|world| !world.chaos.hanging.is_empty());
    token.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        biased;
        () = world.process.until(Condition::Dead) => return End::Death,
        ended = tokio::time::timeout(GRACE, ended) => world.with(|world| {
            // The daemon cuts off what waits for a disk, or did so until just now.
            if ended.is_err() && !hung && world.chaos.hanging.is_empty() {
                world.violate(format_args!("I31: it does not end"));
            }
        }),
    }
    ledger.close().await;
    end
}

/// Sends what somebody wants of the remediator, until it ends.
async fn serve(world: &Shared, router: &Router, tasks: &mut JoinSet<()>) -> End {
    let called = world.with(|it| Arc::clone(&it.instances[world.who].called));
    loop {
        tokio::select! {
            biased;
            () = world.process.until(Condition::Dead) => return End::Death,
            Some(ended) = tasks.join_next() => {
                world.with(|world| world.violate(format_args!("a part has ended: {ended:?}")));
            }
            () = called.notified() => {}
        }
        for request in world.with(|it| it.take_requests(world.who)) {
            if matches!(request, Request::Stop) {
                return End::Exit;
            }
            tokio::spawn(people::send(world.clone(), router.clone(), request));
        }
    }
}

async fn assemble(shared: &Shared) -> anyhow::Result<Parts> {
    let config = shared.with(|world| world.config.clone());
    let store = SimulatedStore(shared.clone());
    let store: Box<dyn Store> = if shared.with(|world| world.ensemble.is_some()) {
        Box::new(FencedStore::open(shared.clone()))
    } else if config.policy.dry_run {
        Box::new(ShadowStore::new(store.load().await?))
    } else {
        Box::new(store)
    };
    let of_day = shared.clone();
    let outside = Outside {
        store,
        disk: Arc::new(SimulatedDisk(shared.clone())),
        sources: Arc::new(Peers(shared.clone())),
        clock: Clock::with_wall(move || of_day.with(|world| world.wall(of_day.who))),
        machine: format!("machine {}", shared.who),
    };
    Parts::assemble(config, outside, Registry::default()).await
}

/// The world goes on, and somebody looks, until all is well or something is wrong that must
/// never be.
pub(super) async fn watch(world: &Shared) {
    let scheduled = world.with(|world| Arc::clone(&world.scheduled));
    let mut look = LOOK;
    loop {
        let (now, next, is_wrong) = world.with(|world| {
            world.advance(world.now);
            (world.now, world.next_event(), world.oracle.violation.is_some())
        });
        if is_wrong {
            return;
        }
        if now >= look {
            look += LOOK;
            if is_over(world).await {
                return;
            }
        }
        tokio::select! {
            biased;
            () = scheduled.notified() => {}
            () = sleep(Duration::from_millis(next.min(look).saturating_sub(now))) => {}
        }
    }
}

/// Whether all is well after all that went wrong, or should be by now.
async fn is_over(world: &Shared) -> bool {
    if !world.with(|world| world.chaos.is_over) {
        return false;
    }
    if world.with(|world| world.config.policy.dry_run) {
        return true;
    }
    let Some(wrong) = what_is_wrong(world).await else { return true };
    world.with(|world| {
        let late = world.now > world.chaos.until + PATIENCE;
        if late {
            world.violate(format_args!("{wrong}"));
        } else {
            // Somebody who was not heard says it again.
            people::resume(world);
        }
        late
    })
}

/// What is not as it should be, and which invariant wants it.
async fn what_is_wrong(world: &Shared) -> Option<String> {
    let instances = world.with(|world| world.instances.len());
    for who in 0..instances {
        let Some(front) = world.with(|world| world.instances[who].front.clone()) else {
            return Some(format!("I37: {who} does not live"));
        };
        if let Some(reason) = front.readiness.reasons().first() {
            return Some(format!("I37: {who} is not ready: {reason}"));
        }
        let (_, status) = people::get(&front.router, "/api/v1/status").await;
        let sources = status["sources"].as_array().cloned().unwrap_or_default();
        if let Some(blind) = sources.iter().find(|it| it["blind"] == true) {
            return Some(format!("I37: a source is blind for {who}: {blind}"));
        }
    }
    let Some(leader) = world.with(|world| world.leader()) else {
        return Some("I37: nobody leads".into());
    };
    let front = world.with(|world| world.instances[leader].front.clone())?;
    let blocked = blocked(&front.router).await;
    world.with(|world| {
        let unsettled = world.unsettled(&blocked).map(|it| format!("I37: {it}"));
        let unrecorded =
            |who| Some(format!("I34: {who} has not on record: {}", world.unrecorded(who)?));
        unsettled.or_else(|| (0..instances).find_map(unrecorded))
    })
}

/// What stands in the way of each host, as a remediator says.
async fn blocked(router: &Router) -> BTreeMap<HostName, Vec<String>> {
    let (_, hosts) = people::get(router, "/api/v1/hosts").await;
    let hosts = hosts["hosts"].as_array().cloned().unwrap_or_default();
    let blocks = |host: &Value| {
        let blocks = host["blocked_by"].as_array().cloned().unwrap_or_default();
        blocks.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let named = |host: &Value| Some((host["host"].as_str()?.parse().ok()?, blocks(host)));
    hosts.iter().filter_map(named).collect()
}

impl World {
    /// Whose the decisions are.
    pub(super) fn leader(&self) -> Option<usize> {
        self.ensemble.as_ref().map_or(Some(0), Ensemble::leader)
    }

    /// For how long nobody lives: a service manager starts it again at once, a
    /// machine takes minutes, a person longer than alerts live.
    fn while_dead(&mut self) -> Millis {
        match self.dice.u8(0..8) {
            0 => self.dice.u64(5 * MINUTE..=20 * MINUTE),
            1 => self.dice.u64(30 * SECOND..=5 * MINUTE),
            _ => self.dice.u64(SECOND..=10 * SECOND),
        }
    }
}

/// The store hangs while a person's command is written, and answers in the end.
pub(super) async fn through_a_hanging_store(shared: &Shared) {
    let shared = &shared.be_born(0);
    let parts = assemble(shared).await.expect("nothing is wrong yet");
    let router = api::router(parts.app);
    let token = CancellationToken::new();
    tokio::spawn(parts.reconciler.run(token.clone()));
    let waits_for = |part: &str| parts.readiness.reasons().iter().any(|it| it.starts_with(part));
    let is_told = async |parts: &[&str], told: bool| {
        while parts.iter().any(|part| waits_for(part) != told) {
            sleep(Duration::from_secs(1)).await;
        }
        let status = people::get(&router, "/api/v1/status").await.1;
        assert_eq!((status["failure"] != Value::Null, &status["overdue"]), (told, &told.into()));
        let up = format!("satellite_store_up {}\n", u8::from(!told));
        assert!(people::text(&router, "/metrics").await.contains(&up));
        people::text(&router, "/").await
    };
    is_told(&["store: ", "round: "], false).await;
    shared.with(|world| world.chaos.hanging.insert((0, Area::Store)));
    let command = Request::Command(Command::Pause { all: false, ttl: "10m" });
    let command = tokio::spawn(people::send(shared.clone(), router.clone(), command));
    let page = is_told(&["store: ", "round: "], true).await;
    assert!(page.contains("Cannot record") && page.contains("it has not answered"), "{page}");
    assert!(!command.is_finished());
    shared.with(|world| world.chaos.hanging.clear());
    let page = is_told(&["store: ", "round: "], false).await;
    assert!(!page.contains("Cannot record"), "{page}");
    command.await.expect("it is answered now");
    token.cancel();
}
