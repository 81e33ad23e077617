//! Loopback addresses that belong to one run alone.
//!
//! A run claims a whole /24 of 127.0.0.0/8, so each of its nodes has an IP of
//! its own as on a true cluster, and several may listen on one port number. The
//! claim is a lock on a file in /tmp. The lock is shared with the run's reaper
//! (see [`crate::reaper`]) and so is held until the last process of the run is
//! gone, even if the run itself was killed.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The second octets that are claimed: far from 127.0.x.y, which others use.
const SECOND_OCTETS: std::ops::RangeInclusive<u8> = 64..=127;

/// How many blocks are tried before giving up. Each try is one `open` and one
/// lock, and every second one would have to be taken for this not to suffice.
const ATTEMPTS: usize = 64;

/// How many ports are tried to find one that is free on several addresses.
const PORT_ATTEMPTS: usize = 32;

/// A claimed block, 127.A.B.0/24.
#[derive(Debug)]
pub struct AddressBlock {
    second: u8,
    third: u8,
    lock: File,
}

impl AddressBlock {
    /// Claims a block that nobody has. `seed` says where to begin to look: runs
    /// that start at once should differ in it.
    pub fn claim(seed: u64) -> Result<Self> {
        let folder = std::env::temp_dir().join("satellite-test-addresses");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("make the folder {}", folder.display()))?;
        let blocks = SECOND_OCTETS.len() as u64 * 256;
        for attempt in 0..ATTEMPTS as u64 {
            // A step that shares no factor with the count visits every block.
            let index = seed.wrapping_add(attempt * 4099) % blocks;
            let offset = u8::try_from(index / 256).expect("there are 64 second octets");
            let second = SECOND_OCTETS.start() + offset;
            let third = u8::try_from(index % 256).expect("a remainder of 256");
            if let Some(lock) = try_lock(&folder.join(format!("127.{second}.{third}"))) {
                return Ok(Self { second, third, lock });
            }
        }
        bail!("no free address block after {ATTEMPTS} tries; see {}", folder.display());
    }

    /// The address 127.A.B.`host`.
    pub fn ip(&self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.second, self.third, host)
    }

    /// Another handle on the lock: the block is free when all are closed.
    pub(crate) fn share_lock(&self) -> Result<File> {
        self.lock.try_clone().context("share the address lock")
    }
}

/// `None` when another run has it, or when the file is another user's.
fn try_lock(path: &Path) -> Option<File> {
    let file = OpenOptions::new().create(true).append(true).open(path).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// A port that nobody listens on at `ip`.
///
/// It is free, not held: but the address belongs to this run alone, so only a
/// program that listens on every address could still take it.
pub fn free_port(ip: Ipv4Addr) -> Result<u16> {
    let listener = TcpListener::bind(SocketAddrV4::new(ip, 0))
        .with_context(|| format!("listen on a free port of {ip}"))?;
    Ok(listener.local_addr().context("ask for the port")?.port())
}

/// Different ports that nobody listens on at `ip`.
pub fn free_ports<const N: usize>(ip: Ipv4Addr) -> Result<[u16; N]> {
    // All are held until the last is found.
    let listener = |_| TcpListener::bind(SocketAddrV4::new(ip, 0));
    let listeners = (0..N).map(listener).collect::<Result<Vec<_>, _>>();
    let listeners = listeners.with_context(|| format!("listen on free ports of {ip}"))?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(listeners.iter()) {
        *port = listener.local_addr().context("ask for a port")?.port();
    }
    Ok(ports)
}

/// A port that nobody listens on at any of `ips`.
pub fn common_free_port(ips: &[Ipv4Addr]) -> Result<u16> {
    let first = *ips.first().context("a common port of no addresses")?;
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port(first)?;
        if ips.iter().all(|ip| TcpListener::bind(SocketAddrV4::new(*ip, port)).is_ok()) {
            return Ok(port);
        }
    }
    bail!("no port is free on all of {ips:?} after {PORT_ATTEMPTS} tries");
}
