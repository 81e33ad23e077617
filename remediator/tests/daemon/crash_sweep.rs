//! `kill -9` at seeded random instants, again and again, while alerts flap,
//! deliveries come in and a person commands.
//!
//! `SATELLITE_KILLS` says how often (a few times if it is not set), and
//! `SATELLITE_SEED` repeats the instants of a run that printed its seed; what the
//! operating system does in between differs all the same.

use std::time::Duration;

use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use super::{
    dice::{Dice, from_environment},
    file::Reader,
    peers::check_failed,
    remediator::{Remediator, answer, command, eventually},
    webhook::delivery,
    world::{HOSTS, World},
};

/// How often it is killed where nobody says otherwise.
const FEW_KILLS: usize = 10;
/// It is killed so soon after it listens: some rounds and merges are made by then.
const MAX_LIFE_MS: u64 = 500;
/// Or so soon after its process was started, whether it listens or not.
const MAX_START_MS: u64 = 60;
/// Whose alerts flap. Nobody commands these.
const FLAPPING: [&str; 2] = ["h1.lab", "h2.lab"];
/// Whom a person turns off and on all the time. It has no alert.
const COMMANDED: &str = "h3.lab";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_i20_killed_at_random_instants_the_state_is_that_of_the_facts_after_one_round() {
    let kills = from_environment("SATELLITE_KILLS").unwrap_or(FEW_KILLS);
    eprintln!("SATELLITE_KILLS={kills}");
    let mut dice = Dice::from_environment();
    let world = World::new().await;
    world.configure(|config| {
        // Flapping is what is done here: it may neither be a storm nor a relapse.
        let patient = "policy:\n  storm: { threshold: \"100%\", within: 5m, calm: 10m }\n  \
                       relapse: { double_up_to: 300ms, give_up_after: 1000000, within: 24h }\n";
        config.replace("policy:\n", patient)
    });
    drop(world.start_ready().await);
    world.wait_for_whitelist(&HOSTS).await;
    let reader = Reader::start(world.whitelist_file());
    let mut sweep = Sweep { fires: [false; 2], number: 0, offs_seen: 0 };
    for kill in 0..kills {
        sweep.live_and_die(&world, &mut dice).await;
        if dice.below(5) == 0 {
            let mut starting = command(&world.config_file()).spawn().unwrap();
            sleep(Duration::from_millis(dice.below(MAX_START_MS))).await;
            starting.kill().await.unwrap();
        }
        let remediator = world.start().await;
        remediator.rounds(1).await;
        sweep.check(&world, &remediator, kill).await;
        remediator.kill().await;
    }
    let remediator = world.start().await;
    remediator.delete(&format!("/api/v1/hosts/{COMMANDED}/events/load")).await;
    for (host, fires) in FLAPPING.into_iter().zip(sweep.fires) {
        if fires {
            world.heal(&check_failed(host));
        }
    }
    world.wait_for_whitelist(&HOSTS).await;
    let seen = reader.end();
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    eprintln!("{} commands, {} times off after a restart", sweep.number, sweep.offs_seen);
}

struct Sweep {
    /// Which of [`FLAPPING`] have an alert.
    fires: [bool; 2],
    /// Of the last command that was answered.
    number: usize,
    offs_seen: usize,
}

impl Sweep {
    /// One life of the remediator under load, to its end.
    async fn live_and_die(&mut self, world: &World, dice: &mut Dice) {
        let remediator = world.start().await;
        let commands = commands(&remediator, self.number + 1);
        let deliveries = deliveries(&remediator);
        let mut left = dice.below(MAX_LIFE_MS);
        while left > 0 {
            let rest = left.min(1 + dice.below(120));
            sleep(Duration::from_millis(rest)).await;
            left -= rest;
            let which = usize::from(dice.below(2) == 1);
            let alert = check_failed(FLAPPING[which]);
            if self.fires[which] {
                world.heal(&alert);
            } else {
                world.fire(&alert);
            }
            self.fires[which] = !self.fires[which];
        }
        remediator.kill().await;
        self.number = commands.await.unwrap().unwrap_or(self.number);
        deliveries.await.unwrap();
    }

    /// After one round with the facts as they are.
    async fn check(&mut self, world: &World, remediator: &Remediator, kill: usize) {
        let mut listed = vec!["h4.lab"];
        for (host, fires) in FLAPPING.into_iter().zip(self.fires) {
            let view = remediator.host(host).await;
            let off = view["state"] == "off";
            assert!(off || !fires, "kill {kill}: {host} is sick: {view}");
            // One that is well again may wait for evidence, and must say so.
            let waits = !view["blocked_by"].as_array().unwrap().is_empty();
            assert!(!off || fires || waits, "kill {kill}: {host} is off without a reason: {view}");
            self.offs_seen += usize::from(off);
        }
        let view = remediator.host(COMMANDED).await;
        let kept = view["events"][0]["reason"].as_str().map_or(0, |it| it.parse().unwrap());
        // The one after it may have been written without an answer.
        assert!(kept >= self.number, "kill {kill}: {kept}, but {} was answered", self.number);
        self.number = self.number.max(kept);
        assert_eq!(view["state"], state_of(kept), "kill {kill}: {view}");
        listed.extend((state_of(kept) == "on").then_some(COMMANDED));
        // The file follows, whatever has been given back meanwhile.
        eventually(async || {
            let file = world.whitelist().unwrap_or_default();
            let lists = |host: &str| file.lines().any(|line| line == host);
            let right = lists(COMMANDED) == listed.contains(&COMMANDED)
                && lists("h4.lab")
                && FLAPPING
                    .into_iter()
                    .zip(self.fires)
                    .all(|(host, fires)| !(fires && lists(host)));
            if right { Ok(()) } else { Err(format!("kill {kill}: {file:?}")) }
        })
        .await;
    }
}

fn state_of(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "on" } else { "off" }
}

/// Commands one after the other until nobody answers; the last that was answered.
fn commands(remediator: &Remediator, first: usize) -> JoinHandle<Option<usize>> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = remediator.url(&format!("/api/v1/hosts/{COMMANDED}/events/load"));
    tokio::spawn(async move {
        let mut answered = None;
        for number in first.. {
            let said = json!({"state": state_of(number), "reason": number.to_string()});
            match answer(client.put(&url).json(&said)).await {
                Ok(answer) => assert!([200, 201].contains(&answer.status), "{answer:?}"),
                Err(_) => break,
            }
            answered = Some(number);
        }
        answered
    })
}

/// Deliveries, also of what does not fire, until nobody takes them.
fn deliveries(remediator: &Remediator) -> JoinHandle<()> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = remediator.url("/webhook");
    let body = delivery(&FLAPPING.map(check_failed));
    tokio::spawn(async move {
        while let Ok(answer) = answer(client.post(&url).json(&body)).await {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    })
}
