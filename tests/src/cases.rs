//! Cases that share one lab, which takes longer to bring up than most of them take.
//!
//! They run one after another, in their order. Each leaves everything as it found it. A
//! case that fails may not have: then the cases after it are not run, and fail saying so.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Trial};

/// What cases share.
pub trait Lab: Sized + Send + 'static {
    /// Brings it up; called by the first case.
    fn start() -> Result<Self>;

    /// Told once all cases have succeeded.
    fn succeed(&self);
}

/// A case, by its name.
pub type Case<L> = (&'static str, fn(&mut L) -> Result<()>);

/// Everything that happened so far.
struct Progress<L> {
    lab: Option<L>,
    failed: Option<&'static str>,
    times: Vec<(&'static str, Duration)>,
}

/// Runs those of the cases that the command line names, and prints how long each took.
/// With `KEEP_LOGS=1` the run's folder stays in any case.
#[expect(clippy::print_stdout, reason = "it is the report of the tests")]
pub fn run<L: Lab>(cases: impl IntoIterator<Item = &'static Case<L>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // one lab
    let progress = Progress { lab: None, failed: None, times: Vec::new() };
    let progress = Arc::new(Mutex::new(progress));
    let trial = |&(name, case): &'static Case<L>| {
        let progress = Arc::clone(&progress);
        Trial::test(name, move || {
            let done = run_one(&mut lock(&progress), name, case);
            done.map_err(|error| format!("{error:#}").into())
        })
    };
    let conclusion = libtest_mimic::run(&arguments, cases.into_iter().map(trial).collect());
    let mut progress = lock(&progress);
    for (name, took) in &progress.times {
        println!("{:7.1} s  {name}", took.as_secs_f64());
    }
    if let Some(lab) = &progress.lab
        && !conclusion.has_failed()
        && std::env::var_os("KEEP_LOGS").is_none()
    {
        lab.succeed();
    }
    progress.lab = None;
    conclusion.exit_code()
}

fn run_one<L: Lab>(
    progress: &mut Progress<L>,
    name: &'static str,
    case: fn(&mut L) -> Result<()>,
) -> Result<()> {
    if let Some(failed) = progress.failed {
        bail!("not run: {failed} failed before and may have left the cluster changed");
    }
    // Set first, so that it also holds after a panic.
    progress.failed = Some(name);
    if progress.lab.is_none() {
        let start = Instant::now();
        progress.lab = Some(L::start()?);
        progress.times.push(("(to bring the cluster up)", start.elapsed()));
    }
    let start = Instant::now();
    case(progress.lab.as_mut().context("it was just started")?)?;
    progress.times.push((name, start.elapsed()));
    progress.failed = None;
    Ok(())
}

/// A case that panicked has said so by failing; what it left is still to be read.
fn lock<L>(progress: &Mutex<Progress<L>>) -> MutexGuard<'_, Progress<L>> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}
