//! The NATS server with JetStream.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::cluster::{Cluster, MEMBERS};
use super::{Broker, Kind, PATIENCE, Shared};
use crate::installed;
use crate::ports::free_port;
use crate::process::bound_to_us;

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    /// In a cluster, the ports that the members reach each other on, its own first.
    routes: Vec<u16>,
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
            routes: Vec::new(),
            extra: String::new(),
        })
    }

    /// Three members of one cluster, each named `vodbridge-tests-PORT`, whose lame ducks are
    /// patient with their clients for a second.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn cluster() -> Result<[Self; MEMBERS]> {
        let mut members = [Self::new()?, Self::new()?, Self::new()?];
        let mut routes = vec![free_port()?, free_port()?, free_port()?];
        for member in &mut members {
            member.routes.clone_from(&routes);
            routes.rotate_left(1);
        }
        Ok(members.map(|member| member.configuration("lame_duck_grace_period: 1s")))
    }

    /// Adds lines to the configuration file.
    #[must_use]
    pub fn configuration(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    fn cluster_configuration(&self) -> String {
        let Some(own) = self.routes.first() else {
            return String::new();
        };
        let routes: Vec<_> = (self.routes.iter())
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        format!(
            "cluster {{ name: vodbridge-tests, listen: \"127.0.0.1:{own}\", routes: [{}] }}",
            routes.join(", ")
        )
    }

    /// Whoever leads the cluster's JetStream answers.
    /// <https://docs.nats.io/reference/reference-protocols/nats_api_reference>
    async fn ask_jetstream(stream: &mut BufReader<TcpStream>) -> Result<()> {
        let request = b"SUB answer 1\r\nPUB $JS.API.INFO answer 0\r\n\r\n";
        stream.write_all(request).await?;
        let (mut head, mut body) = (String::new(), String::new());
        stream.read_line(&mut head).await?;
        stream.read_line(&mut body).await?;
        let answered = head.starts_with("MSG ") && !body.contains("\"error\"");
        ensure!(answered, "JetStream has no leader yet: {head}{body}");
        Ok(())
    }
}

impl Broker<Nats> {
    /// Asks it to leave in lame duck mode: it tells its clients, hands over what it leads, closes
    /// connections one by one after the grace period, and ends.
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn lame_duck(&self) -> Result<()> {
        self.process.signal(Signal::USR2)
    }

    /// Resolves when it has left.
    ///
    /// # Errors
    /// Where it does not end in time.
    pub async fn gone(&self) -> Result<()> {
        self.process.wait(PATIENCE).await.map(drop)
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
            "server_name: vodbridge-tests-{0}\n\
             listen: \"127.0.0.1:{0}\"\n\
             jetstream {{ store_dir: {store:?} }}\n{1}\n{2}",
            self.port,
            self.cluster_configuration(),
            self.extra
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
        if !self.routes.is_empty() {
            Self::ask_jetstream(&mut stream).await?;
        }
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

/// Starts a cluster of one's own.
///
/// # Errors
/// Where a member does not become ready.
pub async fn start_cluster() -> Result<Cluster<Nats>> {
    Cluster::start(Nats::cluster()?).await
}
