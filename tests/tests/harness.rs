//! What the harness promises to its user: no process outlives its run, and runs
//! do not disturb each other.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use satellite_tests::address::common_free_port;
use satellite_tests::process::Process;
use satellite_tests::reaper::marked_processes;
use satellite_tests::run::Run;
use satellite_tests::wait::wait_for;

/// Generous: nothing here takes more than a second on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// Set in a copy of this test program that is to play the harness that dies.
const VICTIM: &str = "SATELLITE_HARNESS_VICTIM";

/// Processes as a peer makes them: a child, and one that has left for a session
/// of its own, as Mesos executors do. `exec` so that none is a mere shell.
fn spawn_family(run: &Arc<Run>) -> Result<Process> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "setsid sleep 1000 & sleep 1000 & exec sleep 1000"]);
    Process::spawn(run, "family", shell)
}

const FAMILY: usize = 3;

fn wait_for_family(folder: &Path, count: usize) -> Result<()> {
    wait_for(&format!("{count} marked processes"), SOON, || {
        let seen = marked_processes(folder)?.len();
        ensure!(seen == count, "there are {seen}");
        Ok(())
    })
}

/// The calling test once more, in a process of its own that is to die.
struct Victim {
    child: Child,
    /// Read no further, but kept open for what the victim still prints.
    _output: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Victim {
    /// Starts it, and returns once its run is up.
    fn start(test: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([test, "--exact", "--nocapture"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the victim")?;
        let mut output = BufReader::new(child.stdout.take().context("the victim has no output")?);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            if let Some((_, folder)) = line.trim_end().split_once("run folder: ") {
                let folder = PathBuf::from(folder);
                return Ok(Self { child, _output: output, folder });
            }
            line.clear();
        }
        anyhow::bail!("the victim ended early: {:?}", child.wait())
    }
}

/// `Some` in the victim: a run with its processes up.
fn as_victim() -> Option<(Arc<Run>, Process)> {
    std::env::var_os(VICTIM)?;
    let up = || -> Result<_> {
        let run = Run::start("victim")?;
        let family = spawn_family(&run)?;
        wait_for_family(run.folder(), FAMILY)?;
        Ok((run, family))
    };
    let (run, family) = up().expect("the victim's processes start");
    #[expect(clippy::print_stdout, reason = "the test that started the victim reads it")]
    {
        println!("run folder: {}", run.folder().display());
    }
    Some((run, family))
}

#[test]
fn a_harness_that_is_killed_leaves_no_process() {
    if let Some((_run, _family)) = as_victim() {
        // Killed here; the sleep only bounds a test that went wrong.
        std::thread::sleep(SOON);
        return;
    }
    let mut victim = Victim::start("a_harness_that_is_killed_leaves_no_process").unwrap();
    assert_eq!(marked_processes(&victim.folder).unwrap().len(), FAMILY);
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    wait_for_family(&victim.folder, 0).unwrap();
    std::fs::remove_dir_all(victim.folder).unwrap();
}

#[test]
fn a_panic_leaves_no_process_but_the_logs() {
    if let Some((_run, _family)) = as_victim() {
        panic!("as it was asked to");
    }
    let mut victim = Victim::start("a_panic_leaves_no_process_but_the_logs").unwrap();
    assert!(!victim.child.wait().unwrap().success());
    // No waiting here: a panicking harness has ended them before it ends.
    assert!(marked_processes(&victim.folder).unwrap().is_empty());
    assert!(victim.folder.join("family/log").is_file());
    std::fs::remove_dir_all(victim.folder).unwrap();
}

#[test]
fn a_successful_run_leaves_neither_processes_nor_a_folder() {
    let run = Run::start("success").unwrap();
    let folder = run.folder().to_owned();
    let family = spawn_family(&run).unwrap();
    wait_for_family(&folder, FAMILY).unwrap();
    run.succeed();
    drop((family, run));
    assert!(marked_processes(&folder).unwrap().is_empty());
    assert!(!folder.exists());
}

#[test]
fn two_runs_at_once_share_no_address_and_end_only_their_own() {
    let (first, second) = (Run::start("first").unwrap(), Run::start("second").unwrap());
    assert_ne!(first.ip(1), second.ip(1));
    // Each may use the same port numbers, also for several nodes.
    let nodes = [first.ip(1), first.ip(2), second.ip(1), second.ip(2)];
    let port = common_free_port(&nodes).unwrap();
    let listeners: Vec<_> = nodes.map(|ip| TcpListener::bind((ip, port)).unwrap()).into();
    drop(listeners);

    let (one, other) = (spawn_family(&first).unwrap(), spawn_family(&second).unwrap());
    wait_for_family(first.folder(), FAMILY).unwrap();
    wait_for_family(second.folder(), FAMILY).unwrap();
    first.succeed();
    drop((one, first));
    assert_eq!(marked_processes(second.folder()).unwrap().len(), FAMILY);
    second.succeed();
    drop((other, second));
}

#[test]
fn a_process_can_be_killed_and_started_again_with_its_log_kept_apart() {
    let run = Run::start("restart").unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "echo started as $$; exec sleep 1000"]);
    let mut process = Process::spawn(&run, "sleeper", shell).unwrap();
    let greeting = |process: &Process| {
        let output = process.output()?;
        ensure!(output.ends_with('\n'), "nothing yet");
        Ok(output)
    };
    let first = process.wait_until("the first greeting", SOON, greeting).unwrap();
    process.kill().unwrap();
    assert!(process.check_running().is_err());
    process.start().unwrap();
    let second = process.wait_until("the second greeting", SOON, greeting).unwrap();
    assert_ne!(first, second);
    assert_eq!(std::fs::read_to_string(process.log()).unwrap(), format!("{first}{second}"));
    run.succeed();
}

#[test]
fn waiting_for_a_process_that_ended_fails_at_once_and_shows_its_last_words() {
    let run = Run::start("ended").unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "echo the port is taken; exit 3"]);
    let mut process = Process::spawn(&run, "short", shell).unwrap();
    let hour = Duration::from_secs(3600);
    let never = |_: &Process| -> Result<()> { anyhow::bail!("not yet") };
    let error = process.wait_until("what never comes", hour, never).unwrap_err().to_string();
    assert!(error.contains("the port is taken") && error.contains("exit status: 3"), "{error}");
    run.succeed();
}
