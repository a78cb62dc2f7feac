//! A network between bridge and broker that holds every byte back for a while.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use vodbridge_tests::proxy::{Fault, Proxy};

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
    /// Runs until it is killed.
    pub(crate) fn run(&self) -> Result<()> {
        let proxy = Proxy::listen(self.listen, self.target)?;
        proxy.set(Fault::Delay(Duration::from_micros(self.micros)));
        loop {
            std::thread::park();
        }
    }
}
