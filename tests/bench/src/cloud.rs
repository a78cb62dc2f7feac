//! The simulated cloud, as a process of its own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vodbridge_tests::http::{self, Response};
use vodbridge_tests::installed::vodbridge;
use vodbridge_tests::ports::free_port;
use vodbridge_tests::process::{Process, bound_to_us};
use vodbridge_tests::scratch;

use crate::target::listening;

pub(crate) const SECRET_ID: &str = "AKIDbench";
pub(crate) const SECRET_KEY: &str = "key";

/// For a request, and for what is open to be confirmed: a lease and more.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many events wait in the cloud at least: more than the targets pull between two looks.
const STOCK: u64 = 20_000;
const LOOK: Duration = Duration::from_millis(50);

/// A running cloud. Dropping it ends it.
pub(crate) struct Cloud {
    process: Process,
    /// host:port
    pub(crate) address: String,
    _log: tempfile::TempDir,
}

/// What it has seen of one application.
#[derive(Debug, Deserialize)]
pub(crate) struct Counts {
    pub(crate) issued: u64,
    pub(crate) confirmed: u64,
    pub(crate) redeliveries: u64,
    waiting: u64,
}

impl Cloud {
    /// With these applications, without a limit to calls, and empty.
    pub(crate) async fn start(sub_app_ids: &[u64]) -> Result<Self> {
        let directory = scratch::directory("cloud")?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = bound_to_us(vodbridge()?);
        command.args(["simulate", "--listen", &address, "--secret-id", SECRET_ID]);
        command.args(["--secret-key", SECRET_KEY, "--calls-per-second", "0"]);
        command.args(["--events", "0"]);
        for id in sub_app_ids {
            command.args(["--sub-app-id", &id.to_string()]);
        }
        let log = directory.path().join("log");
        let process = Process::start("cloud", command, &log).await?;
        listening(&process, port).await?;
        Ok(Self {
            process,
            address,
            _log: directory,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) async fn counts(&self, sub_app_id: u64) -> Result<Counts> {
        let mut stats = self.control(&http::get("/_control/stats")).await?;
        let counts = stats["applications"][sub_app_id.to_string()].take();
        Ok(serde_json::from_value(counts)?)
    }

    /// Lets an application never run out of events until `end`.
    pub(crate) async fn feed(&self, sub_app_id: u64, end: Instant) -> Result<()> {
        while Instant::now() < end {
            if self.counts(sub_app_id).await?.waiting < STOCK {
                let issue = json!({ "sub_app_id": sub_app_id, "events": STOCK }).to_string();
                self.control(&http::post("/_control/issue", issue.as_bytes()))
                    .await?;
            }
            sleep(LOOK.min(end - Instant::now())).await;
        }
        Ok(())
    }

    /// Resolves once every event is confirmed.
    pub(crate) async fn emptied(&self, sub_app_id: u64) -> Result<Counts> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counts = self.counts(sub_app_id).await?;
            if counts.issued == counts.confirmed {
                return Ok(counts);
            }
            ensure!(Instant::now() < deadline, "not confirmed: {counts:?}");
            sleep(LOOK).await;
        }
    }

    async fn control(&self, request: &[u8]) -> Result<Value> {
        let answer: Response = http::exchange(&self.address, request, PATIENCE).await?;
        let told = answer.json().context("the cloud's answer")?;
        ensure!(answer.status == 200, "the cloud says {told}");
        Ok(told)
    }
}
