//! A TCP relay that holds every byte back, to measure with a longer round trip:
//!
//! ```text
//! cargo run --profile ci -p vodbridge-sink-kafka --example delay -- LISTEN TARGET MICROSECONDS_ONE_WAY
//! ```

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().ok_or(format!("missing: {what}"));
    let listener = TcpListener::bind(next("address to listen on")?)?;
    let target = next("address to connect to")?;
    let delay = Duration::from_micros(next("delay")?.parse()?);
    for client in listener.incoming() {
        let client = client?;
        let server = TcpStream::connect(&target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        relay(client.try_clone()?, server.try_clone()?, delay);
        relay(server, client, delay);
    }
    Ok(())
}

/// Reads on one thread and writes on another, so that the delay does not limit the rate.
fn relay(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (held, due) = sync_channel::<(Instant, Vec<u8>)>(4096);
    thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if held
                .send((Instant::now() + delay, buffer[..n].to_vec()))
                .is_err()
            {
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
