//! Faults, done and undone.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_simulator::cloud;

use super::stage::{BROKERS, Stage};
use super::{Fault, Kind, soon};
use crate::brokers::{Broker, Kind as BrokerKind};
use crate::proxy;

/// Events of each mode that the cloud hears of before a fault counts as over.
const GOES_ON: u64 = 50;

/// Between two ends of the same connections.
const CUT_AGAIN: Duration = Duration::from_millis(300);

/// Fewer files than the bridge ever has open.
const FEW_FILES: u64 = 8;

impl Stage {
    /// Lets the fault happen, undoes it, and waits until both modes go on.
    pub(super) async fn befall(&mut self, fault: &Fault) -> Result<()> {
        let hold = fault.hold;
        match fault.kind {
            Kind::BridgeKilled => {
                self.note_spool().await?;
                self.bridge.kill()?;
                self.restart(hold).await?;
            }
            Kind::BridgeStopped => {
                self.note_spool().await?;
                self.bridge.sigterm()?;
                self.restart(hold).await?;
            }
            Kind::Killed(0) => killed(&mut self.kafka, hold).await?,
            Kind::Killed(1) => killed(&mut self.rabbitmq, hold).await?,
            Kind::Killed(_) => killed(&mut self.nats, hold).await?,
            Kind::Stopped(0) => stopped(&mut self.kafka, hold).await?,
            Kind::Stopped(1) => stopped(&mut self.rabbitmq, hold).await?,
            Kind::Stopped(_) => stopped(&mut self.nats, hold).await?,
            Kind::Frozen(0) => frozen(&self.kafka, hold).await?,
            Kind::Frozen(1) => frozen(&self.rabbitmq, hold).await?,
            Kind::Frozen(_) => frozen(&self.nats, hold).await?,
            Kind::Cut(at) => self.cut(&[at], hold).await,
            Kind::Delayed(at) => {
                let delay = proxy::Fault::Delay(Duration::from_millis(150));
                self.network(at, delay, hold).await;
            }
            Kind::Throttled(at) => {
                self.network(at, proxy::Fault::Throttle(100_000), hold)
                    .await
            }
            Kind::Silent(at) => self.network(at, proxy::Fault::BlackHole, hold).await,
            Kind::ApiErrors => {
                let faults = [
                    "error:InternalError:10%",
                    "error:RequestLimitExceeded:5%",
                    "error:500:5%",
                    "error:InvalidParameterValue:1%:ConfirmEvents",
                ];
                self.cloud(&faults, hold).await?;
            }
            Kind::ApiDrops => {
                let faults = ["drop-before:5%", "drop-after:5%", "slow:1s:5%"];
                self.cloud(&faults, hold).await?;
            }
            Kind::ApiDisorder => self.cloud(&["duplicate:1%", "reorder:100"], hold).await?,
            Kind::ApiHandles => {
                let faults = ["shared-handle:5%", "same-handle", "drop-after:5%"];
                self.cloud(&faults, hold).await?;
            }
            Kind::NoDescriptors => self.no_descriptors(hold).await?,
            Kind::SpoolFull => {
                self.disk.fill()?;
                frozen(&self.nats, hold).await?;
                self.disk.clear()?;
            }
        }
        self.goes_on().await
    }

    async fn restart(&mut self, hold: Duration) -> Result<()> {
        self.bridge.wait(Duration::from_secs(30)).await?;
        sleep(hold).await;
        self.bridge.start_again().await
    }

    async fn cut(&self, brokers: &[usize], hold: Duration) {
        let until = Instant::now() + hold;
        while Instant::now() < until {
            brokers.iter().for_each(|at| self.proxies[*at].cut());
            sleep(CUT_AGAIN).await;
        }
    }

    async fn network(&self, at: usize, fault: proxy::Fault, hold: Duration) {
        self.proxies[at].set(fault);
        sleep(hold).await;
        self.proxies[at].set(proxy::Fault::None);
    }

    async fn cloud(&self, faults: &[&str], hold: Duration) -> Result<()> {
        let faults = faults.iter().map(|text| text.parse::<cloud::Fault>());
        self.cloud.set_faults(faults.collect::<Result<_, _>>()?);
        sleep(hold).await;
        self.cloud.set_faults(Vec::new());
        Ok(())
    }

    async fn no_descriptors(&self, hold: Duration) -> Result<()> {
        let before = open_files(self.bridge.id())?;
        limit_files(self.bridge.id(), FEW_FILES)?;
        self.cut(&[0, 1, 2], hold).await;
        limit_files(self.bridge.id(), before)
    }

    /// Waits until the bridge has every sink again, and events of both modes come through.
    async fn goes_on(&self) -> Result<()> {
        for sink in BROKERS {
            let up = async {
                while self.bridge.sink(sink).await?.0 != "up" {
                    sleep(Duration::from_millis(20)).await;
                }
                anyhow::Ok(())
            };
            soon(&format!("{sink} is up"), up).await??;
        }
        let before = self.counts().map(|counts| counts.confirmed);
        let both = async {
            loop {
                let now = self.counts().map(|counts| counts.confirmed);
                if now
                    .iter()
                    .zip(before)
                    .all(|(now, before)| *now >= before + GOES_ON)
                {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        soon("events of both modes are confirmed again", both).await
    }
}

async fn killed<K: BrokerKind>(broker: &mut Broker<K>, hold: Duration) -> Result<()> {
    broker.kill().await?;
    sleep(hold).await;
    broker.restart().await
}

async fn stopped<K: BrokerKind>(broker: &mut Broker<K>, hold: Duration) -> Result<()> {
    broker.stop().await?;
    sleep(hold).await;
    broker.restart().await
}

async fn frozen<K: BrokerKind>(broker: &Broker<K>, hold: Duration) -> Result<()> {
    broker.pause()?;
    sleep(hold).await;
    broker.resume()
}

/// The limit on open files of a process (RLIMIT_NOFILE), the soft one.
fn open_files(process: u32) -> Result<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.context("no limit on open files")?.parse()?)
}

/// `prlimit` of util-linux sets it for another process.
fn limit_files(process: u32, soft: u64) -> Result<()> {
    let mut command = Command::new("prlimit");
    command.args([format!("--pid={process}"), format!("--nofile={soft}:")]);
    let output = command.output().context("cannot run prlimit")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "prlimit: {errors}");
    Ok(())
}
