//! A TCP relay that holds every byte back for a while.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

/// What a direction may hold back, in reads of at most [`PIECE`].
const HELD: usize = 1024;
const PIECE: usize = 256 * 1024;

/// Relay connections, each byte late.
#[derive(Args)]
pub(crate) struct Delay {
    /// Port to listen on.
    listen: u16,
    /// Port to connect to.
    target: u16,
    /// Microseconds that each direction adds.
    micros: u64,
}

impl Delay {
    pub(crate) fn run(&self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.listen))?;
        let delay = Duration::from_micros(self.micros);
        for client in listener.incoming() {
            let client = client?;
            let server = TcpStream::connect(("127.0.0.1", self.target))?;
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            relay(client.try_clone()?, server.try_clone()?, delay);
            relay(server, client, delay);
        }
        Ok(())
    }
}

/// Reads on one thread and writes on another, so that the delay does not limit the rate. A
/// runtime's timer would be too coarse.
fn relay(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (held, due) = sync_channel::<(Instant, Vec<u8>)>(HELD);
    thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let piece = (Instant::now() + delay, buffer[..n].to_vec());
            if held.send(piece).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (at, bytes) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other direction may be gone already.
        to.shutdown(Shutdown::Both).ok();
    });
}
