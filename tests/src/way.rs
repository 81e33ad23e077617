//! A way to servers that can be cut, as when a switch fails between the two.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// How much is taken from one end before it is given to the other.
const PIECE: usize = 16 * 1024;

/// Forwards connections while it is well. It ends with the process.
#[derive(Debug, Clone)]
pub struct Way {
    addresses: Vec<String>,
    road: Arc<Road>,
}

#[derive(Debug, Default)]
struct Road {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    condition: Condition,
    /// Both ends of every connection that was ever taken.
    ends: Vec<TcpStream>,
}

/// What becomes of what is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Condition {
    #[default]
    Well,
    /// Every connection ends.
    Cut,
    /// Nothing arrives, in neither direction, and nobody is told: no connection ends.
    Silent,
    /// The same for what the servers send; what is sent to them arrives.
    Mute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Way {
    /// A way to each of `servers`, `HOST:PORT`, that begins at this address.
    pub fn to(servers: &[String], from: Ipv4Addr) -> Result<Self> {
        let road = Arc::new(Road::default());
        let begin = |server: &String| begin(server.clone(), from, Arc::clone(&road));
        let addresses = servers.iter().map(begin).collect::<Result<_>>()?;
        Ok(Self { addresses, road })
    }

    /// Where it begins, `IP:PORT`, for each server in their order.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Ends every connection, and takes no other.
    pub fn cut(&self) {
        let mut state = self.road.is(Condition::Cut);
        for end in state.ends.drain(..) {
            end.shutdown(Shutdown::Both).ok();
        }
    }

    /// Forwards nothing and ends nothing: who waits for an answer does so until it gives
    /// up. What was sent meanwhile arrives when it is mended, if anybody still reads it.
    pub fn silence(&self) {
        drop(self.road.is(Condition::Silent));
    }

    /// Forwards what is sent to the servers, and nothing that they answer.
    pub fn mute(&self) {
        drop(self.road.is(Condition::Mute));
    }

    /// Forwards everything, and takes connections.
    pub fn mend(&self) {
        drop(self.road.is(Condition::Well));
    }
}

impl Road {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, condition: Condition) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.condition = condition;
        self.changed.notify_all();
        state
    }

    /// Returns once what goes into this direction arrives, or is lost for good.
    fn wait_passable(&self, direction: Direction) {
        let is_held = |state: &mut State| match state.condition {
            Condition::Well | Condition::Cut => false,
            Condition::Silent => true,
            Condition::Mute => direction == Direction::ToClient,
        };
        let passable = self.changed.wait_while(self.state(), is_held);
        drop(passable.unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes a connection. Whoever comes while it is cut, or the server is down, is hung up
    /// on; whoever comes while nothing arrives hears nothing, until that is over.
    fn take(self: &Arc<Self>, here: TcpStream, server: &str) -> io::Result<()> {
        let condition = self.state().condition;
        match condition {
            Condition::Cut => return Ok(()),
            Condition::Silent | Condition::Mute => {
                let road = Arc::clone(self);
                thread::spawn(move || {
                    road.wait_passable(Direction::ToClient);
                    drop(here);
                });
                return Ok(());
            }
            Condition::Well => {}
        }
        let there = TcpStream::connect(server)?;
        let ends = [here.try_clone()?, there.try_clone()?];
        let ways = [
            (here.try_clone()?, there.try_clone()?, Direction::ToServer),
            (there, here, Direction::ToClient),
        ];
        let mut state = self.state();
        if state.condition == Condition::Cut {
            return Ok(());
        }
        state.ends.extend(ends);
        for (from, to, direction) in ways {
            let road = Arc::clone(self);
            thread::spawn(move || road.forward(from, to, direction));
        }
        Ok(())
    }

    /// Forwards until one of both ends has had enough.
    fn forward(&self, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
        let mut piece = vec![0; PIECE];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            self.wait_passable(direction);
            if to.write_all(&piece[..length]).is_err() {
                break;
            }
        }
        // The end of a connection does not arrive either.
        self.wait_passable(direction);
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    }
}

/// Listens for connections to a server, and says where.
fn begin(server: String, from: Ipv4Addr, road: Arc<Road>) -> Result<String> {
    let listener = TcpListener::bind((from, 0)).context("bind a way")?;
    let address = listener.local_addr().context("ask for its address")?.to_string();
    thread::spawn(move || {
        for here in listener.incoming().flatten() {
            road.take(here, &server).ok();
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What arrives does so at once; more where the machine is busy.
    const PATIENCE: Duration = Duration::from_secs(10);
    /// What has not arrived by then is held back.
    const A_WHILE: Duration = Duration::from_millis(300);

    /// A way, and both ends of a connection over it.
    fn connection() -> (Way, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let way = Way::to(&[server], Ipv4Addr::LOCALHOST).unwrap();
        let client = TcpStream::connect(&way.addresses()[0]).unwrap();
        let (server, _) = listener.accept().unwrap();
        (way, client, server)
    }

    /// Waits so long for something to read, or for the end: how much there is.
    fn read(mut end: &TcpStream, within: Duration) -> io::Result<usize> {
        end.set_read_timeout(Some(within)).unwrap();
        end.read(&mut [0; 8])
    }

    fn arrives(mut from: &TcpStream, to: &TcpStream) -> bool {
        from.write_all(b"x").unwrap();
        read(to, PATIENCE).unwrap() > 0
    }

    fn is_held_back(mut from: &TcpStream, to: &TcpStream) -> bool {
        from.write_all(b"x").unwrap();
        read(to, A_WHILE).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn on_a_silent_way_nothing_arrives_until_it_is_mended() {
        let (way, client, server) = connection();
        assert!(arrives(&client, &server) && arrives(&server, &client));
        way.silence();
        assert!(is_held_back(&client, &server) && is_held_back(&server, &client));
        let stranger = TcpStream::connect(&way.addresses()[0]).unwrap();
        assert!(is_held_back(&stranger, &stranger), "it is neither answered nor hung up on");
        way.mend();
        assert!(arrives(&client, &server) && arrives(&server, &client));
    }

    #[test]
    fn on_a_mute_way_the_server_is_not_heard() {
        let (way, client, server) = connection();
        way.mute();
        assert!(arrives(&client, &server) && is_held_back(&server, &client));
        way.mend();
        assert!(arrives(&server, &client));
    }

    #[test]
    fn on_a_way_that_is_cut_connections_end() {
        let (way, client, server) = connection();
        way.cut();
        for end in [&client, &server] {
            let read = read(end, PATIENCE);
            let is_open = read.as_ref().is_err_and(|it| it.kind() == io::ErrorKind::WouldBlock);
            assert!(!is_open, "{read:?}");
        }
    }
}
