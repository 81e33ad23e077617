//! Satellite's own programs, as built from this workspace.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http::{self, Answer};
use crate::layout;
use crate::process::Process;
use crate::run::Run;

/// A daemon binds its port within milliseconds of its start.
const LISTENING_WITHIN: Duration = Duration::from_secs(30);

/// A `satellite-exporter` or `satellite-remediator` that accepts connections.
#[derive(Debug)]
pub struct Daemon {
    /// Its process.
    pub process: Process,
    address: String,
}

impl Daemon {
    /// Starts `program` as the peer `name` and returns once it says that it
    /// listens.
    pub fn start(run: &Arc<Run>, name: &str, program: &str, arguments: &[String]) -> Result<Self> {
        let mut command = Command::new(layout::built(program)?);
        command.args(arguments);
        let process = Process::spawn(run, name, command)?;
        let mut daemon = Self { process, address: String::new() };
        daemon.wait_listening()?;
        Ok(daemon)
    }

    /// Starts it again after a stop or a kill.
    pub fn restart(&mut self) -> Result<()> {
        self.process.start()?;
        self.wait_listening()
    }

    fn wait_listening(&mut self) -> Result<()> {
        self.address = self.process.wait_until("it to listen", LISTENING_WITHIN, |process| {
            let output = process.output()?;
            listening_address(&output).context("no log line with msg=\"Listening\" and address=")
        })?;
        Ok(())
    }

    /// What it answers to `GET path`, whatever the status.
    pub fn get(&self, path: &str) -> Result<Answer> {
        http::get_any(&format!("{}{path}", self.url()))
    }

    /// `http://IP:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The address in the line that every daemon logs once it accepts connections.
fn listening_address(output: &str) -> Option<String> {
    let line = output
        .lines()
        .find(|line| line.contains(r#"msg="Listening""#) || line.contains("msg=Listening"))?;
    let value = line.split_once(" address=")?.1;
    Some(value.split_whitespace().next()?.trim_matches('"').to_owned())
}

/// Runs `satctl` against `url`, and gives back what it prints. An error if it does
/// not exit 0.
pub fn satctl(url: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(layout::built("satctl")?)
        .arg(format!("--url={url}"))
        .args(arguments)
        .env_remove("SATCTL_URL")
        .env_remove("SATCTL_TOKEN_FILE")
        .output()
        .context("run satctl")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "satctl {arguments:?}: {}: {errors}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The hosts of a whitelist file, one per line; none if there is no file.
pub fn whitelist(file: &Path) -> Result<Vec<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_listening_line_alone() {
        let output = "time=1 level=INFO msg=\"Starting\" address=127.0.0.9:1\n\
                      time=2 level=INFO msg=\"Listening\" address=127.0.0.1:9105 tls=false\n";
        assert_eq!(listening_address(output).as_deref(), Some("127.0.0.1:9105"));
        assert_eq!(listening_address("time=1 msg=\"Starting\" address=127.0.0.9:1\n"), None);
    }
}
