//! The real binary, run as an operator runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::http::{self, Response};
use crate::metrics::Metrics;
use crate::ports::free_port;
use crate::process::{Process, bound_to_us};
use crate::{installed, scratch};

/// The application that the webhook of [`Bridge`] belongs to.
pub const SUB_APP_ID: u64 = 1_500_012_345;

/// The path of the webhook of [`Bridge`].
pub const WEBHOOK_PATH: &str = "/vod/callback";

/// How long the binary may take to start, and a request on its admin port may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running bridge. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Bridge {
    process: Process,
    setup: Setup,
}

/// A configuration in a directory of its own, to run commands on before or beside a bridge.
#[derive(Debug)]
pub struct Setup {
    /// Another build of the binary than the one under test.
    binary: Option<PathBuf>,
    admin: String,
    webhook: String,
    /// Of the environment of its commands, the bridge among them.
    variables: Vec<(&'static str, String)>,
    directory: TempDir,
}

impl Setup {
    /// Puts `configuration` on top of a base with an admin port, a state directory and one
    /// webhook, the source `callback`. `{directory}` in it stands for the bridge's directory.
    ///
    /// # Errors
    /// Where a port or a file cannot be had.
    pub fn new(configuration: &str) -> Result<Self> {
        let directory = scratch::directory("bridge")?;
        let admin = format!("127.0.0.1:{}", free_port()?);
        let webhook = format!("127.0.0.1:{}", free_port()?);
        let state = directory.path().join("state");
        let base = format!(
            "admin: {{ listen: \"{admin}\" }}\n\
             state_directory: {state:?}\n\
             sources:\n  callback:\n    webhook:\n      listen: \"{webhook}\"\n      \
             path: {WEBHOOK_PATH}\n      sub_app_id: {SUB_APP_ID}\n"
        );
        let configuration =
            configuration.replace("{directory}", &directory.path().to_string_lossy());
        std::fs::create_dir(&state)?;
        std::fs::write(directory.path().join("base.yaml"), base)?;
        std::fs::write(directory.path().join("test.yaml"), configuration)?;
        Ok(Self {
            binary: None,
            admin,
            webhook,
            variables: Vec::new(),
            directory,
        })
    }

    /// The directory with the configuration, the log and the state.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs another build of the binary.
    #[must_use]
    pub fn with_binary(mut self, binary: PathBuf) -> Self {
        self.binary = Some(binary);
        self
    }

    /// Sets variables of the environment.
    #[must_use]
    pub fn with_variables(mut self, variables: Vec<(&'static str, String)>) -> Self {
        self.variables = variables;
        self
    }

    /// A command of the binary on this configuration, for example `provision`.
    ///
    /// # Errors
    /// Where there is no binary.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let binary = self.binary.clone().map_or_else(installed::vodbridge, Ok)?;
        let mut command = bound_to_us(binary);
        command
            .args(arguments)
            .args(["--config", "base.yaml", "--config", "test.yaml"])
            .envs(self.variables.iter().cloned())
            .current_dir(self.directory.path());
        Ok(command)
    }

    /// Runs a command to its end and returns what it wrote to its standard output.
    ///
    /// # Errors
    /// Where it fails; the message holds its standard error.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = tokio::process::Command::from(self.command(arguments)?)
            .output()
            .await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "vodbridge {arguments:?} failed: {errors}"
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the bridge and waits until a balancer would send it callbacks.
    ///
    /// # Errors
    /// Where it does not become ready; the message holds the end of its log.
    pub async fn start(self) -> Result<Bridge> {
        let process = self.process().await?;
        let bridge = Bridge {
            process,
            setup: self,
        };
        bridge.ready().await?;
        Ok(bridge)
    }

    async fn process(&self) -> Result<Process> {
        let log = self.directory.path().join("bridge.log");
        Process::start("vodbridge", self.command(&["run"])?, &log).await
    }
}

impl Bridge {
    /// Runs the binary on `configuration`, see [`Setup::new`], and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready; the message holds the end of its log.
    pub async fn start(configuration: &str) -> Result<Self> {
        Setup::new(configuration)?.start().await
    }

    /// Starts it again where it was, after it has ended.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = self.setup.process().await?;
        self.ready().await
    }

    /// Its configuration, to run commands on.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.admin("/readyz").await {
                Ok(response) if response.status == 200 => return Ok(()),
                _ => {}
            }
            ensure!(
                self.process.status().is_none() && Instant::now() < deadline,
                "the bridge does not become ready\n{}",
                self.process.log_tail()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// `host:port` of the webhook.
    pub fn webhook(&self) -> &str {
        &self.setup.webhook
    }

    /// The address that the cloud would be told.
    pub fn webhook_url(&self) -> String {
        format!("http://{}{WEBHOOK_PATH}", self.setup.webhook)
    }

    /// Posts a notification on a connection of its own and reads the answer.
    ///
    /// # Errors
    /// Where there is none within `patience`.
    pub async fn post(&self, body: &[u8], patience: Duration) -> Result<Response> {
        let answer = http::exchange(
            &self.setup.webhook,
            &http::post(WEBHOOK_PATH, body),
            patience,
        )
        .await;
        answer.with_context(|| self.process.log_tail())
    }

    /// `host:port` of the admin listener.
    pub fn admin_address(&self) -> &str {
        &self.setup.admin
    }

    /// A GET on the admin port.
    ///
    /// # Errors
    /// Where it is not answered.
    pub async fn admin(&self, path: &str) -> Result<Response> {
        http::exchange(&self.setup.admin, &http::get(path), PATIENCE).await
    }

    /// One scrape of the metrics.
    ///
    /// # Errors
    /// Where they cannot be had or read.
    pub async fn metrics(&self) -> Result<Metrics> {
        Metrics::parse(&self.admin("/metrics").await?.text())
    }

    /// The state of a sink as `/healthz` tells it, `up` or another, and its problem, if it has one.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub async fn sink(&self, name: &str) -> Result<(String, String)> {
        let report = self.admin("/healthz").await?.json()?;
        let text = |key: &str| report["sinks"][name][key].as_str().map(str::to_owned);
        let state = text("state").with_context(|| format!("no sink {name}: {report}"))?;
        Ok((state, text("problem").unwrap_or_default()))
    }

    /// Resolves when `/healthz` says this of a sink; `problem` is a part of the text.
    ///
    /// # Errors
    /// Where it says something else all the time.
    pub async fn until_sink_is(&self, name: &str, state: &str, problem: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.sink(name).await?;
            if found.0 == state && found.1.contains(problem) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{name} is {found:?} and does not become {state:?} {problem:?}\n{}",
                self.process.log_tail()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resolves when every delivery has ended, well or not.
    ///
    /// # Errors
    /// Where one goes on for longer than any patience of the tests.
    pub async fn until_nothing_is_in_flight(&self) -> Result<()> {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let metrics = self.metrics().await?;
            let in_flight = metrics.sum("vodbridge_deliveries_in_flight", &[]);
            if in_flight <= 0.0 {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{in_flight} deliveries still go on\n{}",
                self.process.log_tail()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks it to drain and end (SIGTERM).
    ///
    /// # Errors
    /// Where it has ended.
    pub fn sigterm(&self) -> Result<()> {
        self.process.terminate()
    }

    /// Ends it as a crash does (SIGKILL).
    ///
    /// # Errors
    /// Where it has ended.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Freezes it (SIGSTOP): it holds what it holds and does nothing.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Resolves when it has ended.
    ///
    /// # Errors
    /// Where it still runs after `patience`.
    pub async fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        self.process.wait(patience).await
    }

    /// What it has logged so far, one JSON object a line; lines that are none are left out.
    pub fn logs(&self) -> Vec<Value> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// What it has logged so far, as text.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its directory, which `{directory}` in the configuration stands for.
    pub fn directory(&self) -> PathBuf {
        self.setup.directory.path().to_owned()
    }
}
