//! Checks of the host: commands that run again and again; exit 0 is well.
//!
//! Each check runs on its own task: at once, then every interval, never twice at a time.
//! A scrape only reads the last results, so a slow check delays nobody.
//!
//! This module does not decide what a failing check means: an alert rule does.

mod command;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use satellite_toolkit::exposition::{Family, Kind, Labels};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use command::Ending;

/// One check, as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CheckSpec {
    /// Unique; the value of the label `check`.
    pub(crate) name: String,
    /// A program, looked up in `PATH` where it has no slash, and its arguments.
    pub(crate) command: Vec<String>,
    /// From the start of one run to the start of the next.
    pub(crate) interval: Duration,
    /// Above 0 and not above the interval.
    pub(crate) timeout: Duration,
}

/// What the last run of a check came to.
#[derive(Clone, Debug)]
pub(crate) struct LastRun {
    /// Why it is not well; `None` when it is.
    pub(crate) problem: Option<String>,
    pub(crate) duration: Duration,
    pub(crate) ended: Timestamp,
}

type Slot = Arc<Mutex<Option<LastRun>>>;

/// The checks that run now. Replaced as a whole by [`apply`](Self::apply).
#[derive(Debug)]
pub(crate) struct Checks {
    running: Mutex<BTreeMap<String, Running>>,
    tracker: TaskTracker,
    token: CancellationToken,
}

#[derive(Debug)]
struct Running {
    spec: CheckSpec,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Belongs to this check alone: when the check goes, so does its result, and a run
    /// that ends late has nowhere to write.
    last: Slot,
}

impl Checks {
    /// No checks yet. Their tasks are counted by `tracker` and end with `token`.
    pub(crate) fn new(tracker: TaskTracker, token: CancellationToken) -> Self {
        Self { running: Mutex::default(), tracker, token }
    }

    /// Makes `specs` the checks that run. One that is unchanged goes on undisturbed; one
    /// that is new, changed or gone is started, started anew or killed. A changed check
    /// keeps its last result only if its command is the same.
    ///
    /// Callers do not overlap: there is one at the start, then only the reloader.
    pub(crate) async fn apply(&self, specs: Vec<CheckSpec>) {
        let mut wanted: HashMap<String, CheckSpec> =
            specs.into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        let (kept, replaced) = {
            let mut running = self.running();
            std::mem::take(&mut *running)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(name, old)| wanted.get(name) == Some(&old.spec))
        };
        wanted.retain(|name, _| !kept.contains_key(name));
        *self.running() = kept;
        let mut results = HashMap::new();
        for old in replaced.values() {
            old.stop.cancel();
        }
        for (name, old) in replaced {
            // Killed and reaped before its successor starts, so that a check does not
            // overlap itself. Bounded by the reaping in `command`: what cannot even be
            // killed holds up no reload.
            if old.task.await.is_err() {
                warn!(check = name, "The task of a check panicked; please report this");
            }
            results.insert((name, old.spec.command), old.last);
        }
        for (name, spec) in wanted {
            let last = results.remove(&(name.clone(), spec.command.clone())).unwrap_or_default();
            let started = self.start(spec, last);
            self.running().insert(name, started);
        }
    }

    fn start(&self, spec: CheckSpec, last: Slot) -> Running {
        let stop = self.token.child_token();
        let task = self.tracker.spawn(repeat(spec.clone(), Arc::clone(&last), stop.clone()));
        Running { spec, stop, task, last }
    }

    /// The checks by name, with what their last run came to, if one has ended.
    pub(crate) fn last_runs(&self) -> Vec<(CheckSpec, Option<LastRun>)> {
        let running = self.running();
        running.values().map(|check| (check.spec.clone(), lock(&check.last).clone())).collect()
    }

    /// `satellite_check_*`. A check is absent only until its first run has ended.
    pub(crate) fn families(&self) -> Vec<Family> {
        let gauge = |name, help| Family::new(name, help, Kind::Gauge);
        let mut ok = gauge(
            "satellite_check_ok",
            "Whether the last run of this check exited with 0 in time.",
        );
        let mut duration =
            gauge("satellite_check_duration_seconds", "How long the last run of this check took.");
        let mut ended = gauge(
            "satellite_check_last_run_timestamp_seconds",
            "When the last run of this check ended, in seconds since 1970.",
        );
        for (spec, last) in self.last_runs() {
            let Some(last) = last else { continue };
            let labels = Labels::new([("check", spec.name)]);
            ok.push(labels.clone(), if last.problem.is_none() { 1.0 } else { 0.0 });
            duration.push(labels.clone(), last.duration.as_secs_f64());
            ended.push(labels, last.ended.as_duration().as_secs_f64());
        }
        vec![ok, duration, ended]
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
        lock(&self.running)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder of these locks panics")
}

/// Runs one check until it is stopped.
async fn repeat(spec: CheckSpec, last: Slot, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(spec.interval);
    // A machine that slept does not run a night's checks in a row.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let run = command::run(&spec.command, spec.timeout, &stop).await;
        let problem = match run.ending {
            Ending::Stopped => return,
            Ending::Well => None,
            Ending::Unwell(why) => Some(why),
        };
        let now = LastRun { problem, duration: run.duration, ended: Timestamp::now() };
        let before = lock(&last).replace(now.clone());
        report(&spec.name, before.as_ref(), &now, &run.first_line);
        if let Some(hanging) = run.hanging {
            warn!(check = spec.name, "Check does not run again until what hangs of it has ended");
            tokio::select! {
                () = stop.cancelled() => return,
                () = hanging.gone() => {}
            }
        }
    }
}

/// Logs what is new at `warn` or `info`; that a check still fails, at `debug`.
fn report(check: &str, before: Option<&LastRun>, now: &LastRun, output: &str) {
    let before = before.and_then(|run| run.problem.as_ref());
    match &now.problem {
        Some(problem) if Some(problem) == before => {
            debug!(check, problem, output, "Check still fails");
        }
        Some(problem) => warn!(check, problem, output, "Check fails"),
        None if before.is_some() => info!(check, "Check is well again"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far more than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn spec(name: &str, script: &str, interval: Duration) -> CheckSpec {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        CheckSpec { name: name.into(), command, interval, timeout: interval }
    }

    fn checks() -> Checks {
        Checks::new(TaskTracker::new(), CancellationToken::new())
    }

    async fn wait_until(what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    fn ok(checks: &Checks) -> Vec<(String, bool)> {
        let runs = checks.last_runs().into_iter();
        runs.filter_map(|(spec, last)| Some((spec.name, last?.problem.is_none()))).collect()
    }

    #[tokio::test]
    async fn a_check_is_absent_until_it_has_run_and_then_says_whether_it_is_well() {
        let checks = checks();
        let hour = Duration::from_secs(3600);
        checks
            .apply(vec![
                spec("good", "exit 0", hour),
                spec("bad", "exit 3", hour),
                spec("slow", "sleep 1000", hour),
            ])
            .await;
        assert_eq!(checks.families()[0].samples, []);
        wait_until("two runs", || ok(&checks).len() == 2).await;
        assert_eq!(ok(&checks), [("bad".into(), false), ("good".into(), true)]);
        checks.apply(Vec::new()).await;
    }

    #[tokio::test]
    async fn a_reload_leaves_unchanged_checks_alone_and_drops_those_that_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let counted = format!("echo >> {}", count.display());
        let hour = Duration::from_secs(3600);
        let kept = spec("kept", &counted, hour);
        let checks = checks();
        checks.apply(vec![kept.clone(), spec("gone", "true", hour)]).await;
        wait_until("both ran", || ok(&checks).len() == 2).await;
        checks.apply(vec![kept, spec("new", "true", hour)]).await;
        assert!(!ok(&checks).iter().any(|(name, _)| name == "gone"));
        wait_until("the new one ran", || ok(&checks).len() == 2).await;
        assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 1);
    }

    #[tokio::test]
    async fn a_check_with_another_command_forgets_its_result_and_one_with_another_pace_does_not() {
        let checks = checks();
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        checks.apply(vec![spec("a", "exit 1", hour), spec("b", "exit 1", hour)]).await;
        wait_until("both ran", || ok(&checks).len() == 2).await;
        checks.apply(vec![spec("a", "sleep 1000", hour), spec("b", "exit 1", minute)]).await;
        assert_eq!(ok(&checks), [("b".into(), false)]);
        checks.apply(Vec::new()).await;
    }

    #[tokio::test]
    async fn a_check_runs_again_after_its_interval_and_recovers() {
        let folder = tempfile::tempdir().unwrap();
        let flag = folder.path().join("sick");
        std::fs::write(&flag, "").unwrap();
        let script = format!("test ! -e {}", flag.display());
        let checks = checks();
        checks.apply(vec![spec("disk", &script, Duration::from_millis(100))]).await;
        wait_until("it fails", || ok(&checks) == [("disk".into(), false)]).await;
        std::fs::remove_file(&flag).unwrap();
        wait_until("it recovers", || ok(&checks) == [("disk".into(), true)]).await;
        checks.apply(Vec::new()).await;
    }

    #[tokio::test]
    async fn the_end_of_the_daemon_ends_every_check() {
        let tracker = TaskTracker::new();
        let token = CancellationToken::new();
        let checks = Checks::new(tracker.clone(), token.clone());
        checks.apply(vec![spec("slow", "sleep 1000", Duration::from_secs(3600))]).await;
        token.cancel();
        tracker.close();
        tokio::time::timeout(PATIENCE, tracker.wait()).await.unwrap();
    }
}
