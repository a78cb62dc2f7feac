//! The queue source: events are pulled from the simulated cloud, appended to files, and confirmed.
//!
//! Bridge and bare loop have an application each, and only one of them has events at a time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::{Bridge, SUB_APP_ID, Setup};
use vodbridge_tests::process::Process;
use vodbridge_tests::scratch;

use crate::cloud::{Cloud, SECRET_ID, SECRET_KEY};
use crate::load::WARM_UP;
use crate::measure::{Cell, PAUSE, Run};
use crate::process::{cpu, part, peak_rss, reset_peak_rss};

/// The application of the bare loop.
const OF_BARE: u64 = SUB_APP_ID + 1;

/// Permits for each puller of the bridge: it pulls on while what it pulled is written.
const PERMITS: usize = 128;

/// Who pulls from an application.
enum Puller {
    Bare(Process),
    Bridge(Bridge),
}

/// Measures both with so many pullers; `topic` is the file sink's.
pub(crate) async fn cell(
    topic: &str,
    pullers: usize,
    rounds: usize,
    time: Duration,
) -> Result<Cell> {
    let cloud = Cloud::start(&[SUB_APP_ID, OF_BARE]).await?;
    let files = scratch::directory("pulled")?;
    let (id, number) = (OF_BARE.to_string(), pullers.to_string());
    let directory = files.path().to_str().context("a path that is no text")?;
    let arguments = ["pull", &cloud.address, &id, &number, directory];
    let log = files.path().join("log");
    let bare = Puller::Bare(Process::start("bare loop", part(&arguments)?, &log).await?);
    let bridge = Puller::Bridge(bridge(&cloud, topic, pullers)?.start().await?);
    let (mut of_bare, mut of_bridge) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_bare.push(run(&cloud, &bare, time).await.context("bare loop")?);
        of_bridge.push(run(&cloud, &bridge, time).await.context("bridge")?);
    }
    Ok(Cell {
        bare: vec![("pull, fsync, confirm".to_owned(), of_bare)],
        bridge: of_bridge,
    })
}

fn bridge(cloud: &Cloud, topic: &str, pullers: usize) -> Result<Setup> {
    let permits = PERMITS * pullers;
    Setup::new(&format!(
        "sources: {{ callback: null, reliable: {{ queue: {{ sub_app_id: {SUB_APP_ID}, \
         endpoint: \"http://{}\", credentials: {{ secret_id: {SECRET_ID}, secret_key: {SECRET_KEY} }}, \
         pullers: {pullers}, max_in_flight: {permits}, calls_per_second: 100000 }} }} }}\n\
         sinks: {{ events: {{ file: {{ directory: \"{{directory}}/events\", ephemeral: true, \
         topic: \"{topic}\", rotate_bytes: 67108864 }} }} }}\n",
        cloud.address
    ))
}

impl Puller {
    fn pid(&self) -> u32 {
        match self {
            Self::Bare(process) => process.id(),
            Self::Bridge(bridge) => bridge.id(),
        }
    }

    fn sub_app_id(&self) -> u64 {
        match self {
            Self::Bare(_) => OF_BARE,
            Self::Bridge(_) => SUB_APP_ID,
        }
    }

    /// How many acks it counts itself, if it does.
    async fn acked(&self) -> Result<Option<u64>> {
        let Self::Bridge(bridge) = self else {
            return Ok(None);
        };
        let metrics = bridge.metrics().await?;
        let acked = metrics.sum("vodbridge_publishes_acked_total", &[]);
        Ok(Some(acked as u64))
    }
}

async fn run(cloud: &Cloud, puller: &Puller, time: Duration) -> Result<Run> {
    let (pid, of) = (puller.pid(), puller.sub_app_id());
    sleep(PAUSE).await;
    let (before, acked) = (cloud.counts(of).await?, puller.acked().await?);
    reset_peak_rss(pid)?;
    cloud.feed(of, Instant::now() + WARM_UP).await?;
    let now = async || -> Result<_> {
        let confirmed = cloud.counts(of).await?.confirmed;
        Ok((Instant::now(), confirmed, cpu(pid)?, cpu(cloud.pid())?))
    };
    let start = now().await?;
    cloud.feed(of, start.0 + time).await?;
    let end = now().await?;
    let after = cloud.emptied(of).await?;
    ensure!(after.redeliveries == before.redeliveries, "a lease ended");
    if let (Some(before_acks), Some(acks)) = (acked, puller.acked().await?) {
        let (acks, issued) = (acks - before_acks, after.issued - before.issued);
        ensure!(acks == issued, "{issued} events, but {acks} acks");
    }
    let events = (end.1 - start.1) as f64;
    let each = |spent: Duration| spent.as_secs_f64() * 1e6 / events;
    Ok(Run {
        per_second: events / (end.0 - start.0).as_secs_f64(),
        latency: None,
        cpu_us: each(end.2 - start.2),
        broker_cpu_us: Some(each(end.3 - start.3)),
        peak_rss_bytes: peak_rss(pid)?,
    })
}
