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

/// What happens to the bytes of all connections, in both directions.
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
        self.relay(&connection, |it| (&it.client, &it.server));
        self.relay(&connection, |it| (&it.server, &it.client));
    }

    /// Reads on one thread and writes on another, so that a delay does not limit the rate.
    fn relay(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        ends: fn(&Connection) -> (&TcpStream, &TcpStream),
    ) {
        let (held, due) = sync_channel(HELD);
        let from = connection.clone();
        thread::spawn(move || read(ends(&from).0, &held));
        let (shared, connection) = (self.clone(), connection.clone());
        thread::spawn(move || shared.write(&connection, ends(&connection).1, due));
    }

    fn write(&self, connection: &Connection, mut to: &TcpStream, due: Receiver<Piece>) {
        let mut pace = Instant::now();
        for (came, bytes) in due {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Some(most) = self.may_go(connection, came, &mut pace) else {
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
        if self.may_go(connection, Instant::now(), &mut pace).is_some() {
            to.shutdown(Shutdown::Write).ok();
        }
    }

    /// Waits until bytes that came at `came` may go on, and says how many at a time. None: the
    /// connection was cut.
    fn may_go(&self, connection: &Connection, came: Instant, pace: &mut Instant) -> Option<usize> {
        let mut state = self.lock();
        while !connection.cut.load(Relaxed) {
            let now = Instant::now();
            let at = match state.fault {
                Fault::None | Fault::Refuse => now,
                Fault::Delay(delay) => came + delay,
                Fault::Throttle(_) => *pace,
                Fault::BlackHole => now + LONG,
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
mod tests {
    use std::io::ErrorKind;

    use super::*;

    /// Longer than any of this takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Long enough for bytes on loopback to come if they were to come.
    const MOMENT: Duration = Duration::from_millis(300);

    /// A server that sends everything back, `mark` before it.
    fn echo(mark: u8) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    // The client may be gone.
                    stream.write_all(&[mark]).ok();
                    let mut back = stream.try_clone().unwrap();
                    std::io::copy(&mut stream, &mut back).ok();
                    back.shutdown(Shutdown::Write).ok();
                });
            }
        });
        port
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn expect(mut stream: &TcpStream, bytes: &[u8]) {
        let mut found = vec![0; bytes.len()];
        stream.read_exact(&mut found).unwrap();
        assert_eq!(found, bytes);
    }

    fn is_over(mut stream: &TcpStream) -> bool {
        match stream.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    fn is_silent(mut stream: &TcpStream) -> bool {
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        let silent = stream.read(&mut [0]).unwrap_err().kind() == ErrorKind::WouldBlock;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }

    #[test]
    fn passes_on_what_comes_and_its_end() {
        let proxy = Proxy::start(echo(b'>')).unwrap();
        let mut stream = connect(&proxy);
        let much: Vec<u8> = (0..3_000_000).map(|n| (n % 251) as u8).collect();
        let mut writing = stream.try_clone().unwrap();
        let sent = much.clone();
        let writer = thread::spawn(move || {
            writing.write_all(&sent).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut found = Vec::new();
        stream.read_to_end(&mut found).unwrap();
        writer.join().unwrap();
        assert!(found[0] == b'>' && found[1..] == much);
    }

    #[test]
    fn delays_each_byte_and_limits_no_rate() {
        let proxy = Proxy::start(echo(b'>')).unwrap();
        let mut stream = connect(&proxy);
        expect(&stream, b">");
        proxy.set(Fault::Delay(Duration::from_millis(150)));
        let start = Instant::now();
        for _ in 0..10 {
            stream.write_all(&[1; 100_000]).unwrap();
        }
        expect(&stream, &[1; 1_000_000]);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(300), "{took:?}");
        assert!(took < Duration::from_millis(300) * 10, "{took:?}");
    }

    #[test]
    fn throttles() {
        let proxy = Proxy::start(echo(b'>')).unwrap();
        let mut stream = connect(&proxy);
        expect(&stream, b">");
        proxy.set(Fault::Throttle(10_000));
        let start = Instant::now();
        stream.write_all(&[1; 5000]).unwrap();
        expect(&stream, &[1; 5000]);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(400), "{took:?}");
        // A throttled connection is free again at once.
        stream.write_all(&[2; 1_000_000]).unwrap();
        proxy.set(Fault::None);
        expect(&stream, &[2; 1_000_000]);
    }

    #[test]
    fn a_black_hole_holds_and_then_lets_go() {
        let proxy = Proxy::start(echo(b'>')).unwrap();
        let mut stream = connect(&proxy);
        expect(&stream, b">");
        proxy.set(Fault::BlackHole);
        stream.write_all(b"before").unwrap();
        let mut new = connect(&proxy);
        new.write_all(b"new").unwrap();
        assert!(is_silent(&stream) && is_silent(&new));
        proxy.set(Fault::None);
        expect(&stream, b"before");
        expect(&new, b">new");
        assert_eq!(proxy.connections(), 2);
    }

    #[test]
    fn cuts_what_is_there_and_serves_what_comes() {
        let proxy = Proxy::start(echo(b'>')).unwrap();
        let mut held = connect(&proxy);
        expect(&held, b">");
        proxy.set(Fault::BlackHole);
        held.write_all(b"held").unwrap();
        proxy.cut();
        assert!(is_over(&held));
        assert_eq!(proxy.connections(), 0);
        proxy.set(Fault::None);
        expect(&connect(&proxy), b">");
    }

    #[test]
    fn refuses_until_told_otherwise() {
        let proxy = Proxy::start(echo(b'>')).unwrap();
        let old = connect(&proxy);
        expect(&old, b">");
        proxy.set(Fault::Refuse);
        assert!(is_over(&old) && is_over(&connect(&proxy)));
        proxy.set(Fault::None);
        expect(&connect(&proxy), b">");
    }

    #[test]
    fn can_be_aimed_elsewhere_and_goes_away() {
        let proxy = Proxy::start(echo(b'1')).unwrap();
        let one = connect(&proxy);
        expect(&one, b"1");
        proxy.aim(echo(b'2'));
        expect(&connect(&proxy), b"2");
        let port = proxy.port();
        drop(proxy);
        assert!(is_over(&one));
        // The thread that accepts lets go of the port.
        let deadline = Instant::now() + PATIENCE;
        while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < deadline, "the port is still taken");
            thread::yield_now();
        }
    }
}
