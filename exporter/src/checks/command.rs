//! One run of a check's command, bounded in time, output and what it leaves behind.
//!
//! The command gets a process group of its own, which is killed when the run is over,
//! however it ended: nothing that a check starts outlives it, save what moves to another
//! group on purpose and what the kernel does not let die. The group is killed before its leader is reaped, since until then
//! its number cannot belong to anybody else.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Bytes of output that are kept; only the first line is ever shown. What comes after is
/// read and dropped, so that a command which talks much is not stopped by a full pipe.
const OUTPUT_BYTES: usize = 1024;

/// For output that is still in the pipe when the command has ended. A process that moved
/// out of the group may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// For the kernel to end what was killed. A process that hangs in a dead disk can take for
/// ever; the run is then over without it, see [`Run::hanging`].
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// How often the members of a killed group are looked at. They are not all our children,
/// so that nothing tells of their end; most runs leave none to look at.
const KILL_POLL: Duration = Duration::from_millis(10);

/// The same for those that have outlived [`KILL_TIMEOUT`]: a dead disk is back in minutes.
const HANGING_POLL: Duration = Duration::from_secs(1);

/// What one run came to.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) ending: Ending,
    pub(super) duration: Duration,
    /// The first line that it wrote to stdout, else to stderr.
    pub(super) first_line: String,
    /// The group, where something of it is still there although it was killed. The next run
    /// has to wait for its end, or a dead disk would collect more processes at every interval.
    pub(super) hanging: Option<Group>,
}

/// How a run ended.
#[derive(Debug, PartialEq)]
pub(super) enum Ending {
    /// Exit 0.
    Well,
    /// Anything else, and why.
    Unwell(String),
    /// It was asked to stop; this says nothing about the host.
    Stopped,
}

/// Runs a command to its end, for `limit` at most, or until `stop`.
pub(super) async fn run(command: &[String], limit: Duration, stop: &CancellationToken) -> Run {
    let started = Instant::now();
    let (mut child, group) = match spawn(command) {
        Ok(spawned) => spawned,
        Err(error) => {
            return Run {
                ending: Ending::Unwell(format!("cannot be started: {error}")),
                duration: started.elapsed(),
                first_line: String::new(),
                hanging: None,
            };
        }
    };
    let (stdout, stderr) = (Output::default(), Output::default());
    let mut readers = JoinSet::new();
    readers.spawn(stdout.clone().fill(child.stdout.take()));
    readers.spawn(stderr.clone().fill(child.stderr.take()));

    let ended = tokio::select! {
        () = has_exited(group.0) => Ended::ByItself,
        () = tokio::time::sleep(limit) => Ended::TooLate,
        () = stop.cancelled() => Ended::Stopped,
    };
    group.kill();
    let killed = async {
        let status = child.wait().await;
        group.ended(KILL_POLL).await;
        status
    };
    let status = timeout(KILL_TIMEOUT, killed).await.ok();
    let all_read = async { while readers.join_next().await.is_some() {} };
    // What is not read by then is dropped with the readers.
    timeout(OUTPUT_GRACE, all_read).await.ok();

    let hanging = status.is_none().then_some(group);
    let ending = match (ended, status) {
        (Ended::Stopped, _) => Ending::Stopped,
        (Ended::TooLate, status) => {
            let limit = humantime::format_duration(limit);
            let cannot = if status.is_some() { "" } else { " and cannot be killed" };
            Ending::Unwell(format!("timed out after {limit}{cannot}"))
        }
        // No further run will tell when it is unwell: it cannot count as well until then.
        (Ended::ByItself, None) => Ending::Unwell("left a process that cannot be killed".into()),
        (Ended::ByItself, Some(Ok(status))) if status.success() => Ending::Well,
        (Ended::ByItself, Some(Ok(status))) => Ending::Unwell(status.to_string()),
        (Ended::ByItself, Some(Err(error))) => {
            Ending::Unwell(format!("its exit status was lost: {error}"))
        }
    };
    let first_line = stdout.first_line().or_else(|| stderr.first_line()).unwrap_or_default();
    // A child that is dropped before its end is reaped by the runtime after it.
    Run { ending, duration: started.elapsed(), first_line, hanging }
}

enum Ended {
    ByItself,
    TooLate,
    Stopped,
}

/// Starts the command in a process group of its own, whose number is its process id.
fn spawn(command: &[String]) -> std::io::Result<(Child, Group)> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| std::io::Error::other("the command is empty"))?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let id = id.expect("a child that was not awaited has its process id");
    Ok((child, Group(id)))
}

/// Waits for the process to end, and leaves it to be reaped.
async fn has_exited(process: Pid) {
    let wait = move || loop {
        match waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(Errno::INTR) => {}
            // It has ended, or somebody else has reaped it: then it has ended, too.
            Ok(_) | Err(_) => return,
        }
    };
    // The thread is given back when the process ends, at the latest by our kill.
    tokio::task::spawn_blocking(wait).await.ok();
}

/// A process group that a check was started in.
#[derive(Debug)]
pub(super) struct Group(Pid);

impl Group {
    fn kill(&self) {
        match kill_process_group(self.0, Signal::KILL) {
            // The unreaped leader is still a member, so the group exists; macOS says PERM of it.
            Ok(()) | Err(Errno::SRCH | Errno::PERM) => {}
            Err(error) => warn!(%error, "Cannot kill the process group of a check"),
        }
    }

    /// Waits, for as long as it takes, until nothing of it is left.
    pub(super) async fn gone(self) {
        self.ended(HANGING_POLL).await;
    }

    async fn ended(&self, poll: Duration) {
        while self.lives() {
            tokio::time::sleep(poll).await;
        }
    }

    /// Whether a member of it still runs or hangs. One that only waits to be reaped by a
    /// parent which never does, as in many containers, holds nothing and does not count.
    fn lives(&self) -> bool {
        if test_kill_process_group(self.0) == Err(Errno::SRCH) {
            return false;
        }
        let Ok(processes) = std::fs::read_dir("/proc") else { return false };
        processes.flatten().any(|process| {
            let stat = std::fs::read_to_string(process.path().join("stat"));
            stat.is_ok_and(|stat| is_live_member(&stat, self.0))
        })
    }
}

/// Reads `/proc/PID/stat`: after the name in brackets come state, parent and group.
fn is_live_member(stat: &str, group: Pid) -> bool {
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace());
    let mut fields = fields.into_iter().flatten();
    let lives = fields.next().is_some_and(|state| !matches!(state, "Z" | "X"));
    lives && fields.nth(1).and_then(|id| id.parse().ok()) == Some(group.as_raw_pid())
}

/// The beginning of what a command writes to one pipe.
#[derive(Clone, Debug, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// Reads to the end, and keeps the beginning.
    async fn fill(self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = [0; OUTPUT_BYTES];
        while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
            let mut kept = self.0.lock().expect("no holder of this lock panics");
            let room = OUTPUT_BYTES - kept.len();
            kept.extend_from_slice(&chunk[..read.min(room)]);
        }
    }

    /// The first line that is not blank.
    fn first_line(&self) -> Option<String> {
        let kept = self.0.lock().expect("no holder of this lock panics");
        let text = String::from_utf8_lossy(&kept);
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    async fn sh(script: &str, limit: Duration) -> Run {
        let command = ["sh", "-c", script].map(str::to_owned);
        run(&command, limit, &CancellationToken::new()).await
    }

    fn alive(pid_file: &Path) -> bool {
        let pid = std::fs::read_to_string(pid_file).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        // A zombie that its new parent has not reaped yet is as good as gone.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn wait_until_gone(pid_file: &Path) {
        let gone = async {
            while alive(pid_file) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, gone).await.expect("a process of the group is still alive");
    }

    #[tokio::test]
    async fn exit_0_is_well_and_anything_else_says_what_it_was() {
        assert_eq!(sh("exit 0", LONG).await.ending, Ending::Well);
        let failed = sh("echo; echo 'disk is full'; echo more; exit 3", LONG).await;
        assert_eq!(failed.ending, Ending::Unwell("exit status: 3".into()));
        assert_eq!(failed.first_line, "disk is full");
        let killed = sh("kill -TERM $$", LONG).await;
        assert_eq!(killed.ending, Ending::Unwell("signal: 15 (SIGTERM)".into()));
        assert_eq!(sh("echo oops >&2; exit 1", LONG).await.first_line, "oops");
    }

    #[tokio::test]
    async fn a_command_that_cannot_be_started_is_unwell() {
        let command = ["/nonexistent/check".to_owned()];
        let run = run(&command, LONG, &CancellationToken::new()).await;
        let Ending::Unwell(why) = run.ending else { panic!("{run:?}") };
        assert!(why.starts_with("cannot be started: No such file"), "{why}");
    }

    #[tokio::test]
    async fn a_timeout_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        let run = sh(&script, SHORT).await;
        assert_eq!(run.ending, Ending::Unwell("timed out after 200ms".into()));
        assert!(run.duration < LONG);
        wait_until_gone(&pid_file).await;
    }

    #[tokio::test]
    async fn what_a_command_leaves_in_the_background_is_killed_and_does_not_delay_it() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let run = sh(&format!("sleep 1000 & echo $! > {}", pid_file.display()), LONG).await;
        assert_eq!(run.ending, Ending::Well);
        wait_until_gone(&pid_file).await;
    }

    #[tokio::test]
    async fn a_process_of_another_group_that_holds_the_pipe_does_not_hang_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!(
            "setsid sh -c 'echo $$ > {file}; exec sleep 30' & while ! [ -s {file} ]; do :; done",
            file = pid_file.display()
        );
        let run = sh(&script, LONG).await;
        assert_eq!(run.ending, Ending::Well);
        assert!(run.duration < LONG);
        let pid = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn a_group_is_there_as_long_as_a_member_of_it_lives() {
        // `sleep` is not our child but the shell's, which ends before it.
        let (mut shell, group) = spawn(&["sh", "-c", "sleep 1000 &"].map(str::to_owned)).unwrap();
        assert!(shell.wait().await.unwrap().success());
        let mut gone = std::pin::pin!(group.ended(KILL_POLL));
        assert!(timeout(SHORT, &mut gone).await.is_err(), "the sleep was not seen");
        group.kill();
        timeout(LONG, gone).await.unwrap();
    }

    #[test]
    fn only_a_process_of_the_group_that_is_not_a_zombie_is_a_live_member() {
        let group = Pid::from_raw(42).unwrap();
        assert!(is_live_member("7 (a) b) D 1 42 3 4", group));
        for stat in ["7 (a) Z 1 42 3 4", "7 (a) D 42 1 3 4", "42 (a) D 1 7 3", "7 (a) D", ""] {
            assert!(!is_live_member(stat, group), "{stat:?}");
        }
    }

    #[tokio::test]
    async fn a_stop_kills_the_command_and_says_nothing_about_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 1000", pid_file.display());
        let command = ["sh", "-c", &script].map(str::to_owned);
        let stop = CancellationToken::new();
        let stopper = async {
            while !std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stop.cancel();
        };
        let (run, ()) = tokio::join!(run(&command, LONG, &stop), stopper);
        assert_eq!(run.ending, Ending::Stopped);
        assert!(!alive(&pid_file));
    }

    #[tokio::test]
    async fn a_command_that_writes_without_end_is_neither_kept_nor_stopped_by_a_full_pipe() {
        let run = sh("head -c 10000000 /dev/zero | tr '\\0' x", LONG).await;
        assert_eq!(run.ending, Ending::Well);
        assert_eq!(run.first_line.len(), OUTPUT_BYTES);
    }
}
