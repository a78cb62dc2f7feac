//! The NATS server with JetStream.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Broker, Kind, Shared};
use crate::installed;
use crate::ports::free_port;
use crate::process::bound_to_us;

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    extra: String,
}

impl Nats {
    /// A server with JetStream and without authentication.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn new() -> Result<Self> {
        Ok(Self {
            port: free_port()?,
            extra: String::new(),
        })
    }

    /// Adds lines to the configuration file.
    #[must_use]
    pub fn configuration(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }
}

impl Kind for Nats {
    const NAME: &'static str = "nats";
    const VARIABLE: &'static str = "VODBRIDGE_TEST_NATS";

    fn port(&self) -> u16 {
        self.port
    }

    fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn install(&mut self, directory: &Path) -> Result<()> {
        let store = directory.join("jetstream");
        let configuration = format!(
            "server_name: vodbridge-tests\n\
             listen: \"127.0.0.1:{}\"\n\
             jetstream {{ store_dir: {:?} }}\n{}",
            self.port, store, self.extra
        );
        Ok(std::fs::write(directory.join("nats.conf"), configuration)?)
    }

    fn command(&self, directory: &Path) -> Result<Command> {
        let mut command = bound_to_us(installed::tool("nats-server")?);
        command.arg("-c").arg(directory.join("nats.conf"));
        Ok(command)
    }

    /// <https://docs.nats.io/reference/reference-protocols/nats-protocol>
    async fn greet(&self) -> Result<()> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await?);
        let mut information = String::new();
        stream.read_line(&mut information).await?;
        ensure!(
            information.starts_with("INFO "),
            "no greeting: {information:?}"
        );
        ensure!(
            information.contains("\"jetstream\":true"),
            "JetStream is off: {information}"
        );
        stream
            .write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n")
            .await?;
        let mut pong = String::new();
        stream.read_line(&mut pong).await?;
        // Where the test asks for authentication, being refused is an answer too.
        ensure!(
            pong.starts_with("PONG") || pong.starts_with("-ERR 'Auth"),
            "no pong: {pong:?}"
        );
        Ok(())
    }
}

/// The address of a server that the tests of this process share.
///
/// # Errors
/// Where it cannot be started.
pub async fn shared() -> Result<String> {
    static SHARED: Shared<Nats> = Shared::new();
    SHARED.address(Nats::new).await
}

/// Starts a server of one's own.
///
/// # Errors
/// Where it does not become ready.
pub async fn start() -> Result<Broker<Nats>> {
    Broker::start(Nats::new()?).await
}
