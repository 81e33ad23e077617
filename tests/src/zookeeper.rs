//! One ZooKeeper server, Debian's.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::layout;
use crate::process::Process;
use crate::run::Run;

/// The last octet of its address.
const HOST: u8 = 21;

/// A JVM takes one to three seconds to start; more when the machine is busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct ZooKeeper {
    /// The server's process.
    pub process: Process,
    address: String,
}

impl ZooKeeper {
    /// Starts it and returns once it answers.
    pub fn start(run: &Arc<Run>) -> Result<Self> {
        let folder = run.peer_folder("zookeeper")?;
        let port = run.free_port(HOST)?;
        let ip = run.ip(HOST);
        // Sessions may last from 2 to 20 ticks: short ticks allow the short
        // sessions that make failovers quick.
        let config = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress={ip}\n\
             admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=ruok\n",
            folder.join("data").display()
        );
        std::fs::write(folder.join("zoo.cfg"), config).context("write zoo.cfg")?;
        let classpath = format!(
            "/etc/zookeeper/conf:{}",
            layout::debian("/usr/share/java/zookeeper.jar")?.display()
        );
        let mut java = Command::new(layout::debian("/usr/bin/java")?);
        // The cheap compiler and collector: a short life on a busy machine.
        java.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .args(["-Djava.net.preferIPv4Stack=true", "-cp", &classpath])
            .args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]);
        let mut process = Process::spawn(run, "zookeeper", java)?;
        let address = format!("{ip}:{port}");
        process.wait_until("ZooKeeper to answer", READY_WITHIN, |_| are_you_ok(&address))?;
        Ok(Self { process, address })
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the masters hold their election.
    pub fn mesos_url(&self) -> String {
        format!("zk://{}/mesos", self.address)
    }
}

/// ZooKeeper's own question: `ruok` is answered by `imok`.
fn are_you_ok(address: &str) -> Result<()> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).context("set a timeout")?;
    stream.write_all(b"ruok").context("ask")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the answer")?;
    anyhow::ensure!(answer == "imok", "it says {answer:?}");
    Ok(())
}
