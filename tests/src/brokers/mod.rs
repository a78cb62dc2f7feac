//! Real brokers with throw-away data, on loopback ports of their own.
//!
//! Ordinary tests share one broker of each kind ([`kafka::shared`] and its like); a test that
//! stops, kills or freezes a broker starts its own, or a [`cluster::Cluster`] of three.

pub mod cluster;
pub mod kafka;
pub mod nats;
pub mod rabbitmq;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use crate::process::Process;
use crate::scratch;

/// How long a broker may take to start or to stop, on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(180);

/// What differs between the kinds of brokers.
pub trait Kind: Sized + Send + Sync + 'static {
    /// Its name in messages and directories.
    const NAME: &'static str;
    /// The variable with the address of a broker to use instead of an own one.
    const VARIABLE: &'static str;

    /// The loopback port that it serves clients on.
    fn port(&self) -> u16;

    /// What a client connects to.
    fn address(&self) -> String;

    /// Writes its configuration into `directory`, once, before the first start.
    fn install(&mut self, directory: &Path) -> impl Future<Output = Result<()>> + Send;

    /// The command that runs it on what is in `directory`.
    ///
    /// # Errors
    /// Where the broker is not installed.
    fn command(&self, directory: &Path) -> Result<Command>;

    /// One exchange in its protocol that only a broker that is ready completes.
    fn greet(&self) -> impl Future<Output = Result<()>> + Send;
}

/// A broker of one kind. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Broker<K: Kind> {
    // Before the directory: fields are dropped in this order.
    process: Process,
    kind: K,
    directory: TempDir,
}

impl<K: Kind> Broker<K> {
    /// Starts a broker and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready; the message holds the end of its log.
    pub async fn start(mut kind: K) -> Result<Self> {
        let directory = scratch::directory(K::NAME)?;
        kind.install(directory.path())
            .await
            .with_context(|| format!("cannot set up {}", K::NAME))?;
        let process = run(&kind, directory.path()).await?;
        Ok(Self {
            process,
            kind,
            directory,
        })
    }

    /// What a client connects to; the same after a restart.
    pub fn address(&self) -> String {
        self.kind.address()
    }

    /// The loopback port of that address.
    pub fn port(&self) -> u16 {
        self.kind.port()
    }

    /// Where its configuration, its log and its data are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops it in good order (SIGTERM). Its port refuses connections afterwards.
    ///
    /// # Errors
    /// Where it has ended already or does not end in time.
    pub async fn stop(&self) -> Result<()> {
        self.process.terminate()?;
        self.process.wait(PATIENCE).await.map(drop)
    }

    /// Ends it as a crash does (SIGKILL).
    ///
    /// # Errors
    /// Where it has ended already.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill()?;
        self.process.wait(PATIENCE).await.map(drop)
    }

    /// Freezes it: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets a frozen broker go on.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Starts a stopped or killed broker again, on the same port and with its data, and waits
    /// until it is ready.
    ///
    /// # Errors
    /// Where it still runs, or does not become ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.process
            .wait(Duration::ZERO)
            .await
            .context("stop the broker before its restart")?;
        self.process = run(&self.kind, self.directory.path()).await?;
        Ok(())
    }

    /// All that it has logged since its first start.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

async fn run<K: Kind>(kind: &K, directory: &Path) -> Result<Process> {
    let command = kind.command(directory)?;
    let process = Process::start(K::NAME, command, &directory.join("log")).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A broker announces nothing when it is ready, so it is asked again and again.
        let greeting = timeout(Duration::from_secs(5), kind.greet()).await;
        let problem = match greeting {
            Ok(Ok(())) => return Ok(process),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no answer to the greeting"),
        };
        if process.status().is_some() || Instant::now() > deadline {
            let log = process.log_tail();
            return Err(problem.context(format!("{} does not become ready\n{log}", K::NAME)));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A broker for every test of this process: the one that the variable names, else an own one.
struct Shared<K: Kind>(OnceCell<(String, Option<Broker<K>>)>);

impl<K: Kind> Shared<K> {
    const fn new() -> Self {
        Self(OnceCell::const_new())
    }

    async fn address(&self, kind: impl FnOnce() -> Result<K>) -> Result<String> {
        let start = || async {
            if let Ok(address) = std::env::var(K::VARIABLE) {
                return Ok((address, None));
            }
            let broker = Broker::start(kind()?).await?;
            Ok((broker.address(), Some(broker)))
        };
        self.0
            .get_or_try_init(start)
            .await
            .map(|(address, _)| address.clone())
    }
}
