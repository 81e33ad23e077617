//! A way to a server that can be cut, as when a switch fails between the two.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// Forwards connections while it is not cut. It ends with the process.
#[derive(Debug, Clone)]
pub struct Way {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    /// Both ends of every connection that was ever forwarded.
    ends: Vec<TcpStream>,
}

impl Way {
    /// A way to `server`, `HOST:PORT`, that begins at this address.
    pub fn to(server: &str, from: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((from, 0)).context("bind a way")?;
        let address = listener.local_addr().context("ask for its address")?.to_string();
        let way = Self { address, state: Arc::default() };
        let (state, server) = (Arc::clone(&way.state), server.to_owned());
        thread::spawn(move || {
            for here in listener.incoming().flatten() {
                // Whoever comes while it is cut, or the server is down, is hung up on.
                forward(here, &server, &state).ok();
            }
        });
        Ok(way)
    }

    /// Where it begins, `IP:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends every connection, and takes no other.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.is_cut = true;
        for end in state.ends.drain(..) {
            end.shutdown(Shutdown::Both).ok();
        }
    }

    /// Takes connections again.
    pub fn mend(&self) {
        lock(&self.state).is_cut = false;
    }
}

fn forward(here: TcpStream, server: &str, state: &Mutex<State>) -> io::Result<()> {
    let mut state = lock(state);
    if state.is_cut {
        return Ok(());
    }
    let there = TcpStream::connect(server)?;
    state.ends.extend([here.try_clone()?, there.try_clone()?]);
    for (mut from, mut to) in [(here.try_clone()?, there.try_clone()?), (there, here)] {
        thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Both).ok();
        });
    }
    Ok(())
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
