//! A TCP proxy on loopback that stands for the network, and can be told how bad that is.
//!
//! Threads and not a runtime's tasks: a runtime's timer would be too coarse for short delays.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What a direction may hold back, in reads of at most [`PIECE`].
const HELD: usize = 1024;
const PIECE: usize = 256 * 1024;

/// Longer than anything waits; every wait ends when the fault does.
const LONG: Duration = Duration::from_secs(3600);

/// What happens to the bytes of all connections, in both directions unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// They go on at once.
    #[default]
    None,
    /// They go on after so long, at any rate.
    Delay(Duration),
    /// So many a second go on, in each direction of each connection.
    Throttle(u32),
    /// They are held, ends of connections too, and go on when this is over. New connections are
    /// accepted, and their bytes held as well.
    BlackHole,
    /// What clients say goes on at once, what servers say is held and goes on when this is over.
    Mute,
    /// There are none: every connection is cut, new ones at once.
    Refuse,
}

/// A running proxy. Dropping it cuts its connections and frees its port.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    target: u16,
    fault: Fault,
    closed: bool,
    connections: Vec<Weak<Connection>>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    cut: AtomicBool,
}

/// Bytes, and when they came.
type Piece = (Instant, Vec<u8>);

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
}

impl Speaker {
    /// Where its words come from and where they go.
    fn ends(self, connection: &Connection) -> (&TcpStream, &TcpStream) {
        let Connection { client, server, .. } = connection;
        match self {
            Self::Client => (client, server),
            Self::Server => (server, client),
        }
    }
}

impl Proxy {
    /// Listens on a free loopback port and connects whoever comes to the loopback port `target`.
    ///
    /// # Errors
    /// Where no port can be had.
    pub fn start(target: u16) -> Result<Self> {
        Self::listen(0, target)
    }

    /// The same on a port of the caller's choice.
    ///
    /// # Errors
    /// Where the port cannot be had.
    pub fn listen(port: u16, target: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        shared.lock().target = target;
        let accepting = shared.clone();
        thread::spawn(move || accepting.accept(&listener));
        Ok(Self { port, shared })
    }

    /// The loopback port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, for new connections and for those that are there.
    pub fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.fault = fault;
        if fault == Fault::Refuse {
            state.cut();
        }
        self.shared.changed.notify_all();
    }

    /// Ends the connections that are there, with what they hold. New ones are served.
    pub fn cut(&self) {
        self.shared.lock().cut();
        self.shared.changed.notify_all();
    }

    /// New connections go to another loopback port; those that are there stay.
    pub fn aim(&self, target: u16) {
        self.shared.lock().target = target;
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        let mut state = self.shared.lock();
        state.forget();
        state.connections.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.cut();
        // Wakes the thread that accepts, so that it ends.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
    }
}

impl State {
    /// Forgets connections that have ended.
    fn forget(&mut self) {
        self.connections
            .retain(|connection| connection.strong_count() > 0);
    }

    fn cut(&mut self) {
        for connection in self.connections.drain(..) {
            if let Some(connection) = connection.upgrade() {
                connection.cut.store(true, Relaxed);
                connection.end();
            }
        }
    }
}

impl Connection {
    fn end(&self) {
        // An error means that it is closed already.
        self.client.shutdown(Shutdown::Both).ok();
        self.server.shutdown(Shutdown::Both).ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, not longer than `time`.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.lock().closed {
                return;
            }
            // Whoever is gone before it was accepted is an error here.
            let Ok(client) = client else { continue };
            let shared = self.clone();
            thread::spawn(move || shared.serve(client));
        }
    }

    /// Connects a caller to the target, once there is a network.
    fn serve(self: Arc<Self>, client: TcpStream) {
        let mut state = self.lock();
        while state.fault == Fault::BlackHole && !state.closed {
            state = self.wait(state, LONG);
        }
        let target = state.target;
        let refused = state.fault == Fault::Refuse;
        drop(state);
        if refused {
            return;
        }
        // Without a server the caller is hung up on.
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
            return;
        };
        // On loopback it cannot fail, and without it the proxy would only be slower.
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let connection = Arc::new(Connection {
            client,
            server,
            cut: AtomicBool::new(false),
        });
        let mut state = self.lock();
        state.forget();
        if state.closed || state.fault == Fault::Refuse {
            return;
        }
        state.connections.push(Arc::downgrade(&connection));
        drop(state);
        self.relay(&connection, Speaker::Client);
        self.relay(&connection, Speaker::Server);
    }

    /// Reads on one thread and writes on another, so that a delay does not limit the rate.
    fn relay(self: &Arc<Self>, connection: &Arc<Connection>, speaker: Speaker) {
        let (held, due) = sync_channel(HELD);
        let from = connection.clone();
        thread::spawn(move || read(speaker.ends(&from).0, &held));
        let (shared, connection) = (self.clone(), connection.clone());
        thread::spawn(move || shared.write(&connection, speaker, due));
    }

    fn write(&self, connection: &Connection, speaker: Speaker, due: Receiver<Piece>) {
        let (_, mut to) = speaker.ends(connection);
        let may_go = |came, pace: &mut Instant| self.may_go(connection, speaker, came, pace);
        let mut pace = Instant::now();
        for (came, bytes) in due {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Some(most) = may_go(came, &mut pace) else {
                    return;
                };
                let (now, later) = rest.split_at(most.min(rest.len()));
                if to.write_all(now).is_err() {
                    return connection.end();
                }
                rest = later;
            }
        }
        // The sender has finished.
        if may_go(Instant::now(), &mut pace).is_some() {
            to.shutdown(Shutdown::Write).ok();
        }
    }

    /// Waits until bytes that came at `came` may go on, and says how many at a time. None: the
    /// connection was cut.
    fn may_go(
        &self,
        connection: &Connection,
        speaker: Speaker,
        came: Instant,
        pace: &mut Instant,
    ) -> Option<usize> {
        let mut state = self.lock();
        while !connection.cut.load(Relaxed) {
            let now = Instant::now();
            let at = match state.fault {
                Fault::None | Fault::Refuse => now,
                Fault::Delay(delay) => came + delay,
                Fault::Throttle(_) => *pace,
                Fault::BlackHole => now + LONG,
                Fault::Mute if speaker == Speaker::Server => now + LONG,
                Fault::Mute => now,
            };
            if at > now {
                state = self.wait(state, at - now);
                continue;
            }
            let Fault::Throttle(rate) = state.fault else {
                return Some(usize::MAX);
            };
            // Twenty times a second, so that the rate is smooth.
            let piece = (rate / 20).max(1);
            *pace = now + Duration::from_secs(1) * piece / rate.max(1);
            return Some(piece as usize);
        }
        None
    }
}

fn read(mut from: &TcpStream, held: &SyncSender<Piece>) {
    let mut buffer = vec![0; PIECE];
    // A reset is an end like any other.
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = (Instant::now(), buffer[..count].to_vec());
        if held.send(piece).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
