//! ZooKeeper, Debian's: one server, or an ensemble of several.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Process;
use crate::run::Run;
use crate::wait::wait_for;
use crate::{address, layout};

/// Added to a server's number, from 1, for the last octet of its address.
const HOST_BASE: u8 = 23;

/// A JVM takes one to three seconds to start; more when the machine is busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// In milliseconds. Sessions may last from 2 to 20 ticks: short ticks allow the short
/// sessions that make failovers quick.
const TICK: u32 = 500;

/// How long a server may take to come into an ensemble, and to fall behind in it, in
/// ticks: as long as on a true one, whose ticks are four times as long.
const ENSEMBLE_LIMITS: &str = "initLimit=40\nsyncLimit=20\n";

/// What runs.
#[derive(Debug)]
pub struct ZooKeeper {
    /// One, or all of an ensemble.
    pub servers: Vec<Server>,
    address: String,
}

/// One server.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    address: String,
}

/// Where a server of an ensemble listens.
struct Member {
    number: u8,
    /// To clients.
    address: String,
    /// To the others: as `server.NUMBER=` has it.
    to_others: String,
}

impl ZooKeeper {
    /// Starts one server and returns once it serves.
    pub fn start(run: &Arc<Run>) -> Result<Self> {
        Self::start_ensemble(run, 1)
    }

    /// The same, with further flags of Java's.
    pub fn start_with(run: &Arc<Run>, flags: &[&str]) -> Result<Self> {
        Self::start_servers(run, 1, flags)
    }

    /// Starts so many servers and returns once all of them serve.
    pub fn start_ensemble(run: &Arc<Run>, size: u8) -> Result<Self> {
        Self::start_servers(run, size, &[])
    }

    fn start_servers(run: &Arc<Run>, size: u8, flags: &[&str]) -> Result<Self> {
        let members: Vec<Member> =
            (1..=size).map(|number| Member::new(run, number)).collect::<Result<_>>()?;
        let start = |member: &Member| Server::start(run, member, &members, flags);
        let servers: Vec<Server> = members.iter().map(start).collect::<Result<_>>()?;
        let address = servers.iter().map(Server::address).collect::<Vec<_>>().join(",");
        let mut zookeeper = Self { servers, address };
        zookeeper.wait_serving()?;
        Ok(zookeeper)
    }

    /// `IP:PORT` of each server, with commas between them.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `IP:PORT` of each server.
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.address.clone()).collect()
    }

    /// Where the masters hold their election.
    pub fn mesos_url(&self) -> String {
        format!("zk://{}/mesos", self.address)
    }

    /// Kills every server.
    pub fn kill(&mut self) -> Result<()> {
        self.servers.iter_mut().try_for_each(|server| server.process.kill())
    }

    /// Starts every server that was killed, and returns once all of them serve.
    pub fn start_again(&mut self) -> Result<()> {
        for server in &mut self.servers {
            if server.process.id().is_err() {
                server.process.start()?;
            }
        }
        self.wait_serving()
    }

    /// The index of the server that leads the ensemble.
    pub fn leader(&self) -> Result<usize> {
        wait_for("a server that leads the ensemble", READY_WITHIN, || {
            let leads = |server: &Server| server.mode().is_ok_and(|mode| mode == "leader");
            self.servers.iter().position(leads).context("none")
        })
    }

    fn wait_serving(&mut self) -> Result<()> {
        for Server { process, address } in &mut self.servers {
            process.wait_until("ZooKeeper to serve", READY_WITHIN, |_| mode_of(address))?;
        }
        Ok(())
    }
}

impl Server {
    fn start(run: &Arc<Run>, member: &Member, members: &[Member], flags: &[&str]) -> Result<Self> {
        let name = match members {
            [_] => "zookeeper".to_owned(),
            _ => format!("zookeeper{}", member.number),
        };
        let folder = run.peer_folder(&name)?;
        std::fs::write(folder.join("zoo.cfg"), config(member, members, &folder.join("data"))?)
            .context("write zoo.cfg")?;
        let classpath = format!(
            "/etc/zookeeper/conf:{}",
            layout::debian("/usr/share/java/zookeeper.jar")?.display()
        );
        let mut java = Command::new(layout::debian("/usr/bin/java")?);
        // The cheap compiler and collector: a short life on a busy machine.
        java.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
            .args(flags)
            .args(["-Djava.net.preferIPv4Stack=true", "-cp", &classpath])
            .args(["org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]);
        let process = Process::spawn(run, &name, java)?;
        Ok(Self { process, address: member.address.clone() })
    }

    /// `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `standalone`, `leader` or `follower`; an error where it does not serve.
    pub fn mode(&self) -> Result<String> {
        mode_of(&self.address)
    }
}

impl Member {
    fn new(run: &Arc<Run>, number: u8) -> Result<Self> {
        let host = HOST_BASE + number;
        let ip = run.ip(host);
        let [client, quorum, election] = address::free_ports(ip)?;
        let address = format!("{ip}:{client}");
        Ok(Self { number, address, to_others: format!("{ip}:{quorum}:{election}") })
    }
}

/// `zoo.cfg` of a member; writes down its number where there are others.
fn config(member: &Member, members: &[Member], data: &Path) -> Result<String> {
    let (ip, port) = member.address.split_once(':').context("an address has a port")?;
    let mut config = format!(
        "tickTime={TICK}\ndataDir={}\nclientPort={port}\nclientPortAddress={ip}\n\
         admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=srvr\n",
        data.display()
    );
    if members.len() > 1 {
        std::fs::create_dir_all(data).context("make the folder of its data")?;
        std::fs::write(data.join("myid"), member.number.to_string()).context("write myid")?;
        config += ENSEMBLE_LIMITS;
        for Member { number, to_others, .. } in members {
            config += &format!("server.{number}={to_others}\n");
        }
    }
    Ok(config)
}

/// What ZooKeeper answers to its own question `srvr` on the line `Mode:`, which is there
/// only where it serves.
fn mode_of(address: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).context("connect")?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).context("set a timeout")?;
    stream.write_all(b"srvr").context("ask")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the answer")?;
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    Ok(mode.with_context(|| format!("it says {answer:?}"))?.to_owned())
}
