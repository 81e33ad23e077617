//! A deterministic simulation of all that surrounds the remediator.
//!
//! The parts that run here are the true ones: the loop, the desk, the merger, the
//! journal, the handlers. What lies outside of them is simulated, and one seed
//! decides all of it: hosts that fall sick, Prometheus and Alertmanagers that die,
//! lie or lose what they were told, masters that fail over, clocks that jump,
//! disks that fill up, people, and the death of the process or of the machine at
//! any step that it takes. After each step the oracle looks for what must never
//! be seen; in the end all must be well again.
//!
//! Two or three remediators may live there, each on a machine of its own, and share a
//! store whose lead is part of each transaction ([`ensemble`], [`fenced`]). A seed then also
//! stops processes and lets them go on, cuts machines off from the store, and takes the lead
//! away. And the one that leads is stopped at every point at which it can wait, and goes on
//! when its decision has become wrong ([`sigstop`]).
//!
//!     cargo test -p satellite-remediator --lib simulation
//!     SATELLITE_SEEDS=100000 cargo test -p satellite-remediator --lib no_seed_breaks
//!     SATELLITE_SEED=42 cargo test -p satellite-remediator --lib no_seed_of_several
//!
//! The last prints all that happens in the run of one seed. What it deliberately
//! does not do: HTTP to the peers and their JSON, redb, ZooKeeper's protocol, the
//! operating system's own files. Those have tests against real ones.

mod chaos;
mod disk;
mod ensemble;
mod fenced;
mod life;
mod oracle;
mod peers;
mod people;
mod process;
mod sigstop;
mod store;
mod world;

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use satellite_config::Config;

use self::{
    life::Failure,
    oracle::Counts,
    world::{Shared, World},
};

/// Seeds that every change has to survive, and those of several remediators.
const SEEDS: u64 = 2500;
const SEEDS_OF_SEVERAL: u64 = 800;

const CONFIG: &str = r#"
listen: 127.0.0.1:5001
store: { embedded: { path: /satellite, single_writer: true } }
mesos: { masters: ["http://127.0.0.1:5050", "http://127.0.0.2:5050", "http://127.0.0.3:5050"] }
alertmanagers: ["http://127.0.0.1:9090", "http://127.0.0.1:9091"]
prometheus: ["http://127.0.0.1:9080", "http://127.0.0.1:9081"]
resend_delay: 1m
reconcile_interval: 15s
whitelist: { file: /masters/whitelist, merge_interval: 10s }
policy:
  watchdogs: ['alertname="Watchdog",prometheus="0"', 'alertname="Watchdog",prometheus="1"']
  clear_for: 2m
  storm: { threshold: "30%", within: 5m, calm: 10m }
  relapse: { double_up_to: 20m, give_up_after: 4, within: 24h }
  rules:
    - { name: host, matchers: ['remediate="host"'], action: "off", rescind: false, min_off: 5m }
    - { name: cluster, matchers: ['remediate="cluster"'], action: hold, max_hold: 10m }
"#;

fn config() -> &'static Config {
    static READ: OnceLock<Config> = OnceLock::new();
    READ.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("remediator.yml");
        std::fs::write(&path, CONFIG).unwrap();
        satellite_config::load(&path).unwrap()
    })
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A world that a seed decides, and whether all that happens in it is written down.
type Make = fn(u64, &Config, bool) -> World;

fn run(make: Make, seed: u64, traced: bool) -> Result<Counts, Failure> {
    life::run(make(seed, config(), traced))
}

#[test]
fn no_seed_breaks_an_invariant_and_all_end_well() {
    let Some((seeds, counts)) = explore(World::new, SEEDS) else { return };
    let Counts { lives, offs, give_backs, commands, deliveries, .. } = counts;
    for happened in [lives, offs, give_backs, commands, deliveries] {
        assert!(happened > seeds, "too little happens to show anything: {counts:?}");
    }
}

#[test]
fn no_seed_of_several_breaks_an_invariant_and_all_end_well() {
    let Some((seeds, counts)) = explore(World::of_several, SEEDS_OF_SEVERAL) else { return };
    let Counts { lives, leads, stops, offs, give_backs, commands, .. } = counts;
    for happened in [lives, leads, stops, offs, give_backs, commands] {
        assert!(happened > seeds, "too little happens to show anything: {counts:?}");
    }
}

/// Lives through all seeds, and says how many there are and what was seen; or tells of one,
/// where that is wanted.
fn explore(make: Make, seeds: u64) -> Option<(u64, Counts)> {
    if let Some(seed) = from_environment("SATELLITE_SEED") {
        tell(make, seed);
        return None;
    }
    let seeds = from_environment("SATELLITE_SEEDS").unwrap_or(seeds);
    let next = AtomicU64::new(0);
    let explore = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return Ok(counts);
            }
            match run(make, seed, false) {
                Ok(more) => counts += more,
                Err(Failure { violation, .. }) => {
                    // The others need not go on.
                    next.store(seeds, Ordering::Relaxed);
                    return Err((seed, violation));
                }
            }
        }
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(explore)).collect();
        running.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut counts = Counts::default();
    for outcome in outcomes {
        match outcome {
            Ok(more) => counts += more,
            Err((seed, violation)) => {
                let replay = run(make, seed, true).expect_err("the same seed does the same again");
                let last = replay.trace.len().saturating_sub(200);
                println!("{}", replay.trace[last..].join("\n"));
                panic!("seed {seed}: {violation}\nall of it: SATELLITE_SEED={seed}");
            }
        }
    }
    println!("{seeds} seeds: {counts:?}");
    Some((seeds, counts))
}

fn tell(make: Make, seed: u64) {
    let told = run(make, seed, true);
    match told {
        Ok(counts) => println!("seed {seed}: {counts:?}"),
        Err(Failure { violation, trace }) => {
            println!("{}", trace.join("\n"));
            panic!("seed {seed}: {violation}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn i31_a_store_that_hangs_is_told_until_it_answers() {
    life::through_a_hanging_store(&Shared::new(World::new(0, config(), false))).await;
}

#[test]
fn a_seed_does_the_same_every_time() {
    for seed in 0..10 {
        for make in [World::new, World::of_several] {
            let [first, second] = [0, 1].map(|_| life::history(make(seed, config(), true)));
            assert!(!first.is_empty());
            assert_eq!(first, second);
        }
    }
}
