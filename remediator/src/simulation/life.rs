//! One life of a remediator after the other, until all is well.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::Router;
use prometheus_client::registry::Registry;
use satellite_core::HostName;
use satellite_toolkit::lifecycle::Readiness;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    disk::SimulatedDisk,
    oracle::Counts,
    peers::Peers,
    people::{self, Command},
    store::SimulatedStore,
    world::{Area, MINUTE, Millis, Request, SECOND, Shared, World},
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
    /// All is well, or something is wrong that must never be.
    Verdict,
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
    let shared = Shared::new(world);
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing");
        let end = runtime.block_on(live(&shared));
        let verdict = runtime.block_on(async {
            shared.with(|world| {
                let with_power = matches!(end, End::Death) && world.chaos.with_power;
                world.bury(with_power);
                world.oracle.violation.is_some() || matches!(end, End::Verdict)
            })
        });
        // With it goes all that the process had in memory.
        drop(runtime);
        if verdict {
            return shared;
        }
        shared.with(World::be_dead);
    }
}

async fn live(shared: &Shared) -> End {
    shared.with(World::be_born);
    let parts = tokio::select! {
        biased;
        () = shared.death() => return End::Death,
        parts = assemble(shared) => parts,
    };
    let Ok(parts) = parts else { return End::Exit };
    let token = CancellationToken::new();
    let router = api::router(parts.app);
    let mut tasks = JoinSet::new();
    tasks.spawn(parts.reconciler.run(token.clone()));
    tasks.spawn(parts.merger.run(token.clone()));
    let end = witness(shared, &router, &parts.readiness, &mut tasks).await;
    if !matches!(end, End::Death) {
        token.cancel();
        let ended = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = shared.death() => return End::Death,
            ended = tokio::time::timeout(GRACE, ended) => shared.with(|world| {
                // The daemon cuts off what waits for a disk.
                if ended.is_err() && world.chaos.hanging.is_empty() {
                    world.violate(format_args!("I31: it does not end"));
                }
            }),
        }
    }
    end
}

async fn assemble(shared: &Shared) -> anyhow::Result<Parts> {
    let config = shared.with(|world| world.config.clone());
    let store = SimulatedStore(shared.clone());
    let store: Box<dyn Store> = if config.policy.dry_run {
        Box::new(ShadowStore::new(store.load().await?))
    } else {
        Box::new(store)
    };
    let of_day = shared.clone();
    let outside = Outside {
        store,
        disk: Arc::new(SimulatedDisk(shared.clone())),
        sources: Arc::new(Peers(shared.clone())),
        clock: Clock::with_wall(move || of_day.with(|world| world.wall())),
    };
    Parts::assemble(config, outside, Registry::default()).await
}

/// The world goes on, and somebody looks.
async fn witness(
    shared: &Shared,
    router: &Router,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) -> End {
    let mut look = shared.with(|world| world.now) + LOOK;
    loop {
        let wake = shared.with(|world| {
            let wait = world.next_event().min(look).saturating_sub(world.now);
            Instant::now() + Duration::from_millis(wait)
        });
        tokio::select! {
            biased;
            () = shared.death() => return End::Death,
            Some(ended) = tasks.join_next() => {
                shared.with(|world| world.violate(format_args!("a part has ended: {ended:?}")));
                return End::Verdict;
            }
            () = sleep_until(wake) => {}
        }
        let requests = shared.with(|world| {
            world.advance(world.now);
            world.take_requests()
        });
        for request in requests {
            if matches!(request, Request::Stop) {
                return End::Exit;
            }
            tokio::spawn(people::send(shared.clone(), router.clone(), request));
        }
        if shared.with(|world| world.oracle.violation.is_some()) {
            return End::Verdict;
        }
        if shared.with(|world| world.now) >= look {
            look += LOOK;
            if is_over(shared, router, readiness).await {
                return End::Verdict;
            }
        }
    }
}

/// Whether all is well after all that went wrong, or should be by now.
async fn is_over(shared: &Shared, router: &Router, readiness: &Readiness) -> bool {
    if !shared.with(|world| world.chaos.is_over) {
        return false;
    }
    let mut wrong = shared.with(|world| world.config.policy.dry_run).then(String::new);
    if wrong.is_none() {
        wrong = what_is_wrong(shared, router, readiness).await;
    }
    let Some(wrong) = wrong.filter(|it| !it.is_empty()) else { return true };
    shared.with(|world| {
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
async fn what_is_wrong(shared: &Shared, router: &Router, readiness: &Readiness) -> Option<String> {
    if let Some(reason) = readiness.reasons().first() {
        return Some(format!("I37: it is not ready: {reason}"));
    }
    let (_, status) = people::get(router, "/api/v1/status").await;
    let sources = status["sources"].as_array().cloned().unwrap_or_default();
    if let Some(blind) = sources.iter().find(|it| it["blind"] == true) {
        return Some(format!("I37: a source is blind: {blind}"));
    }
    let (_, hosts) = people::get(router, "/api/v1/hosts").await;
    let hosts = hosts["hosts"].as_array().cloned().unwrap_or_default();
    let blocks = |host: &Value| {
        let blocks = host["blocked_by"].as_array().cloned().unwrap_or_default();
        blocks.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    let named = |host: &Value| Some((host["host"].as_str()?.parse().ok()?, blocks(host)));
    let blocked: BTreeMap<HostName, Vec<String>> = hosts.iter().filter_map(named).collect();
    shared.with(|world| {
        let unsettled = world.unsettled(&blocked).map(|it| format!("I37: {it}"));
        unsettled.or_else(|| world.unrecorded().map(|it| format!("I34: not on record: {it}")))
    })
}

impl World {
    /// Nobody lives for a while: a service manager starts it again at once, a
    /// machine takes minutes, a person longer than alerts live.
    fn be_dead(&mut self) {
        let while_dead = match self.dice.u8(0..8) {
            0 => self.dice.u64(5 * MINUTE..=20 * MINUTE),
            1 => self.dice.u64(30 * SECOND..=5 * MINUTE),
            _ => self.dice.u64(SECOND..=10 * SECOND),
        };
        self.advance(self.now + while_dead);
        // Nobody hears what is said meanwhile.
        self.take_requests();
    }
}

/// The store hangs while a person's command is written, and answers in the end.
pub(super) async fn through_a_hanging_store(shared: &Shared) {
    shared.with(World::be_born);
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
    shared.with(|world| world.chaos.hanging.insert(Area::Store));
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
