//! `kill -9` at seeded random instants, again and again, while alerts flap,
//! deliveries come in and a person commands.
//!
//! Most lives are short and end in the middle of a start. Some are long enough for
//! hosts to go off by their alerts and to be given back, so that these are cut at
//! random instants, too. After each life the state must be what the rules make of
//! the facts as they are, and each host's history must go on where it stopped.
//!
//! `SATELLITE_KILLS` says how often (a few times if it is not set), and
//! `SATELLITE_SEED` repeats the instants of a run that printed its seed; what the
//! operating system does in between differs all the same.

use std::{fs, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    dice::{Dice, from_environment},
    file::Reader,
    peers::check_failed,
    remediator::{PATIENCE, Remediator, answer, command, eventually},
    webhook::delivery,
    world::{HOSTS, World},
};

/// How often it is killed where nobody says otherwise.
const FEW_KILLS: usize = 5;
/// So often, chance is no excuse for a sweep in which automation did nothing.
const MANY_KILLS: usize = 100;
/// It is killed so soon after it listens: some rounds and merges are made by then.
const SHORT_LIFE_MS: u64 = 250;
/// One life in three may last so long: after a start, a host can be given back when
/// four `resend_delay`, `clear_for` and some rounds are over.
const LONG_LIFE_MS: u64 = 2000;
/// Or so soon after its process was started, whether it listens or not.
const MAX_START_MS: u64 = 60;
/// Alerts rest for so long at most: some flap faster than a round is made, and some
/// stay until something has come of them.
const RESTS_MS: [u64; 2] = [120, 900];
/// Between two deliveries, so that they leave some of the machine to the rounds.
const DELIVERY_EVERY: Duration = Duration::from_millis(3);
/// Whose alerts flap. Nobody commands these.
const FLAPPING: [&str; 2] = ["h1.lab", "h2.lab"];
/// Whom a person turns off and on all the time. It has no alert.
const COMMANDED: &str = "h3.lab";
/// What may keep a host off that is well, until somebody can say so.
const GOOD_REASONS: [&str; 4] = [
    "its end is not believed",
    "must stay gone for policy.clear_for",
    "no Prometheus says that it is well",
    "it stays off for min_off",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_i20_i34_killed_at_random_instants_the_state_is_that_of_the_facts_after_one_round() {
    let kills = from_environment("SATELLITE_KILLS").unwrap_or(FEW_KILLS);
    eprintln!("SATELLITE_KILLS={kills}");
    let mut dice = Dice::from_environment();
    let world = World::new().await;
    world.configure(|config| in_a_hurry(&config));
    world.start_ready().await.kill().await;
    world.wait_for_whitelist(&HOSTS).await;
    let reader = Reader::start(world.whitelist_file());
    let mut sweep = Sweep::default();
    let mut checked = None;
    for kill in 0..kills {
        // It lives on after the check, or it has to do with the load from its start.
        let alive = match checked.take() {
            Some(alive) => alive,
            None => world.start().await,
        };
        sweep.live_and_die(alive, &world, &mut dice).await;
        if dice.below(5) == 0 {
            let mut starting = command(&world.config_file()).spawn().unwrap();
            sleep(Duration::from_millis(dice.below(MAX_START_MS))).await;
            starting.kill().await.unwrap();
        }
        let remediator = world.start().await;
        remediator.rounds(1).await;
        sweep.check(&world, &remediator, kill).await;
        if dice.below(2) == 0 {
            checked = Some(remediator);
        } else {
            remediator.kill().await;
        }
    }
    if let Some(alive) = checked {
        alive.kill().await;
    }
    sweep.end(&world).await;
    let seen = reader.end();
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    sweep.judge(&world, kills).await;
}

/// A configuration with which much happens in a life, and in which flapping, which
/// is what is done here, is neither a storm nor a relapse nor over a budget.
fn in_a_hurry(config: &str) -> String {
    let patient = "policy:\n  storm: { threshold: \"100%\", within: 5m, calm: 10m }\n  \
                   relapse: { double_up_to: 200ms, give_up_after: 1000000, within: 24h }\n";
    config
        .replace("policy:\n", patient)
        .replace("resend_delay: 200ms", "resend_delay: 100ms")
        .replace("clear_for: 300ms", "clear_for: 200ms")
        .replace("min_off: 300ms", "min_off: 200ms")
        .replace("max_off_per_hour: 1000", "max_off_per_hour: 1000000")
}

#[derive(Default)]
struct Sweep {
    /// Which of [`FLAPPING`] have an alert.
    fires: [bool; 2],
    /// Of the last command that was answered.
    number: usize,
    /// Every transition of [`FLAPPING`], as their documents told them.
    histories: [Vec<Value>; 2],
    /// From when to when it was under load.
    lives: Vec<(Timestamp, Timestamp)>,
}

impl Sweep {
    /// One life of the remediator under load, to its end.
    async fn live_and_die(&mut self, remediator: Remediator, world: &World, dice: &mut Dice) {
        let began = Timestamp::now();
        let commands = commands(&remediator, self.number + 1);
        let deliveries = deliveries(&remediator);
        let longest = if dice.below(3) == 0 { LONG_LIFE_MS } else { SHORT_LIFE_MS };
        let longest_rest = RESTS_MS[usize::from(dice.below(2) == 1)];
        let mut left = dice.below(longest);
        while left > 0 {
            let rest = left.min(1 + dice.below(longest_rest));
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
        self.lives.push((began, Timestamp::now()));
        self.number = commands.await.unwrap().unwrap_or(self.number);
        deliveries.await.unwrap();
    }

    /// After one round with the facts as they are.
    async fn check(&mut self, world: &World, remediator: &Remediator, kill: usize) {
        for (which, host) in FLAPPING.into_iter().enumerate() {
            let view = remediator.host(host).await;
            self.check_flapping(which, &view, kill);
        }
        let view = remediator.host(COMMANDED).await;
        let kept = view["events"][0]["reason"].as_str().map_or(0, |it| it.parse().unwrap());
        // The one after it may have been written without an answer.
        assert!(kept >= self.number, "kill {kill}: {kept}, but {} was answered", self.number);
        self.number = self.number.max(kept);
        assert_eq!(view["state"], state_of(kept), "kill {kill}: {view}");
        takes_turns(view["transitions"].as_array().unwrap());
        // The file follows, whatever has been given back meanwhile.
        eventually(async || {
            let hosts = remediator.get("/api/v1/hosts?state=on").await.json();
            let hosts = hosts["hosts"].as_array().unwrap().iter();
            let on: String =
                hosts.map(|it| it["host"].as_str().unwrap().to_owned() + "\n").collect();
            let file = world.whitelist().unwrap_or_default();
            if file == on { Ok(()) } else { Err(format!("kill {kill}: {file:?} is not {on:?}")) }
        })
        .await;
    }

    /// A host without a person: sick, it is off; well, it is on, or it is said what
    /// is waited for.
    fn check_flapping(&mut self, which: usize, view: &Value, kill: usize) {
        let causes = view["causes"].as_array().unwrap();
        let reasons: Vec<&str> =
            view["blocked_by"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let is_good = |reason: &&str| GOOD_REASONS.iter().any(|it| reason.contains(it));
        if self.fires[which] || view["state"] == "off" {
            assert_eq!(view["state"], "off", "kill {kill}: it is sick: {view}");
            let [cause] = &causes[..] else { panic!("kill {kill}: one cause, please: {view}") };
            assert_eq!((&cause["kind"], &cause["rule"]), (&json!("alert"), &json!("host-check")));
        } else {
            assert!(causes.is_empty(), "kill {kill}: a cause, and it is on: {view}");
        }
        if view["state"] == "off" && !self.fires[which] {
            let waits = !reasons.is_empty() && reasons.iter().all(is_good);
            assert!(waits, "kill {kill}: it is well, and off without a good reason: {view}");
        }
        let shown = view["transitions"].as_array().unwrap();
        takes_turns(shown);
        let last = shown.last().map_or("on", |it| it["what"].as_str().unwrap());
        assert_eq!(view["state"], last, "kill {kill}: {view}");
        goes_on(&mut self.histories[which], shown, kill);
    }

    /// Everybody is well again, and comes back.
    async fn end(&mut self, world: &World) {
        let remediator = world.start().await;
        remediator.delete(&format!("/api/v1/hosts/{COMMANDED}/events/load")).await;
        for (host, fires) in FLAPPING.into_iter().zip(&mut self.fires) {
            if std::mem::take(fires) {
                world.heal(&check_failed(host));
            }
        }
        world.wait_for_whitelist(&HOSTS).await;
        for (which, host) in FLAPPING.into_iter().enumerate() {
            self.check_flapping(which, &remediator.host(host).await, usize::MAX);
        }
    }

    /// What automation did over all lives, held against the journal: each transition is
    /// there, and once.
    async fn judge(&self, world: &World, kills: usize) {
        let mut recovered = 0;
        for (host, history) in FLAPPING.into_iter().zip(&self.histories) {
            let made: Vec<(&Value, &Value)> =
                history.iter().map(|it| (&it["time"], &it["what"])).collect();
            // The last of them is shown a moment before it is written down.
            let recorded = eventually(async || {
                let journal = journal(world).into_iter();
                let recorded: Vec<Value> = journal.filter(|it| it["host"] == host).collect();
                let lacks = made.len().saturating_sub(recorded.len());
                if lacks == 0 { Ok(recorded) } else { Err(format!("{host}: lacks {lacks}")) }
            });
            let mut recorded = recorded.await;
            recovered += recorded.iter().filter(|it| it["recovered"] == true).count();
            recorded.sort_by_key(time_of);
            let recorded: Vec<_> = recorded.iter().map(|it| (&it["time"], &it["what"])).collect();
            assert_eq!(recorded, made, "{host}");
        }
        let [offs, backs] = ["off", "on"].map(|what| {
            let made = || self.histories.iter().flatten().filter(|it| it["what"] == what);
            (made().count(), made().filter(|it| self.is_under_load(it)).count())
        });
        eprintln!(
            "{} commands; automation took off {} times, of these {} under load, and gave back {} \
             times, of these {}; {recovered} of all these were put on record by the next process, \
             since one was killed before the journal had them",
            self.number, offs.0, offs.1, backs.0, backs.1,
        );
        let enough = offs.1 > 0 && backs.1 > 0;
        assert!(enough || kills < MANY_KILLS, "{kills} kills, and automation did nothing");
    }

    fn is_under_load(&self, transition: &Value) -> bool {
        let time = time_of(transition);
        self.lives.iter().any(|(began, ended)| (*began..*ended).contains(&time))
    }
}

fn time_of(transition: &Value) -> Timestamp {
    transition["time"].as_str().unwrap().parse().unwrap()
}

/// Off and on take turns, one after the other: none is there twice.
fn takes_turns(transitions: &[Value]) {
    let in_turn = |pair: &[Value]| {
        let (former, next) = (&pair[0], &pair[1]);
        former["what"] != next["what"] && time_of(former) < time_of(next)
    };
    assert!(transitions.windows(2).all(in_turn), "{transitions:?}");
}

/// Adds what is new to a history; what was known before is still as it was.
fn goes_on(history: &mut Vec<Value>, shown: &[Value], kill: usize) {
    let known = history.last().map_or(0, |last| {
        let last = shown.iter().position(|it| it == last);
        1 + last.unwrap_or_else(|| panic!("kill {kill}: its history was cut: {shown:?}"))
    });
    assert!(history.ends_with(&shown[..known]), "kill {kill}: it was another: {history:?}");
    history.extend_from_slice(&shown[known..]);
}

/// The journal's records of [`FLAPPING`] that went off or on, its old files included.
fn journal(world: &World) -> Vec<Value> {
    let files = fs::read_dir(world.path("store")).unwrap().map(|it| it.unwrap().path());
    let files = files.filter(|it| it.to_string_lossy().contains("/journal.jsonl"));
    let texts: Vec<String> = files.map(|it| fs::read_to_string(it).unwrap()).collect();
    let lines = texts.iter().flat_map(|it| it.lines()).filter(|it| it.contains("\"host-check\""));
    // A line that a crash cut is no record.
    let records = lines.filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let moved =
        |it: &Value| it["kind"] == "host" && ["off", "on"].iter().any(|what| it["what"] == *what);
    records.filter(moved).collect()
}

fn state_of(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "on" } else { "off" }
}

/// Commands one after the other until nobody answers; the last that was answered.
fn commands(remediator: &Remediator, first: usize) -> JoinHandle<Option<usize>> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let url = remediator.url(&format!("/api/v1/hosts/{COMMANDED}/events/load"));
    tokio::spawn(async move {
        let mut answered = None;
        for number in first.. {
            let said = json!({"state": state_of(number), "reason": number.to_string()});
            match answer(client.put(&url).json(&said)).await {
                Ok(answer) => assert!([200, 201].contains(&answer.status), "{answer:?}"),
                Err(error) => {
                    assert!(!error.is_timeout(), "{error:?}");
                    break;
                }
            }
            answered = Some(number);
        }
        answered
    })
}

/// Deliveries, also of what does not fire, until nobody takes them.
fn deliveries(remediator: &Remediator) -> JoinHandle<()> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let url = remediator.url("/webhook");
    let body = delivery(&FLAPPING.map(check_failed));
    tokio::spawn(async move {
        while let Ok(answer) = answer(client.post(&url).json(&body)).await {
            assert_eq!(answer.status, 200, "{answer:?}");
            sleep(DELIVERY_EVERY).await;
        }
    })
}
