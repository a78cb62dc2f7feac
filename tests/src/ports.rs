//! Free ports for servers that must find the same port again after a restart.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the ports that Linux gives to outgoing connections (32768 and up): one of those could
/// take the port of a broker that is down for a moment, or connect to itself on it.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let width = u32::from(RANGE.end - RANGE.start);
    // Processes that run at the same time start far apart.
    let offset = std::process::id().wrapping_mul(101) % width;
    AtomicU16::new(RANGE.start + u16::try_from(offset).unwrap_or_default())
});

/// A loopback port that nothing listens on, and that this process is given only once.
///
/// # Errors
/// Where no port of the range is free.
pub fn free_port() -> Result<u16> {
    for _ in RANGE {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port + 1 >= RANGE.end {
            NEXT.store(RANGE.start, Ordering::Relaxed);
        }
        if RANGE.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn no_port_is_given_twice() {
        let ports: HashSet<u16> = (0..200).map(|_| super::free_port().unwrap()).collect();
        assert_eq!(ports.len(), 200);
    }
}
