//! A server that answers a notification once a broker has acknowledged it.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::{Bridge, Setup};
use vodbridge_tests::ports::free_port;
use vodbridge_tests::process::Process;
use vodbridge_tests::scratch;

use crate::process::part;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Dropping it ends it.
pub(crate) struct Target {
    pub(crate) name: String,
    /// host:port to post to.
    pub(crate) address: String,
    pub(crate) server: Server,
}

pub(crate) enum Server {
    Bare(
        Process,
        #[expect(dead_code, reason = "holds the log")] tempfile::TempDir,
    ),
    Bridge(Bridge),
}

impl Target {
    /// The bare loop, `arguments` being its broker and settings.
    pub(crate) async fn bare(name: &str, arguments: &[&str]) -> Result<Self> {
        let directory = scratch::directory("bare")?;
        let port = free_port()?;
        let listen = port.to_string();
        let arguments = [&["bare", "--port", &listen], arguments].concat();
        let log = directory.path().join("log");
        let process = Process::start("bare loop", part(&arguments)?, &log).await?;
        listening(&process, port).await?;
        Ok(Self {
            name: name.to_owned(),
            address: format!("127.0.0.1:{port}"),
            server: Server::Bare(process, directory),
        })
    }

    /// The bridge.
    pub(crate) async fn bridge(setup: Setup) -> Result<Self> {
        let bridge = setup.start().await?;
        Ok(Self {
            name: "bridge".to_owned(),
            address: bridge.webhook().to_owned(),
            server: Server::Bridge(bridge),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.server {
            Server::Bare(process, _) => process.id(),
            Server::Bridge(bridge) => bridge.id(),
        }
    }

    /// How many acks it counts itself, if it does.
    pub(crate) async fn acked(&self) -> Result<Option<u64>> {
        match &self.server {
            Server::Bare(..) => Ok(None),
            Server::Bridge(bridge) => {
                let acked = bridge.metrics().await?;
                Ok(Some(
                    acked.sum("vodbridge_publishes_acked_total", &[]) as u64
                ))
            }
        }
    }
}

/// Resolves once `process` listens on `port`.
pub(crate) async fn listening(process: &Process, port: u16) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    // A process announces nothing when it listens, so it is asked again and again.
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        ensure!(
            process.status().is_none() && Instant::now() < deadline,
            "it does not listen\n{}",
            process.log_tail()
        );
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
