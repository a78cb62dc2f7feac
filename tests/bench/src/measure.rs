//! One number of connections: the bare loop and the bridge in turn, round after round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::time::sleep;

use crate::load::Summary;
use crate::process::{part, peak_rss, reset_peak_rss};
use crate::stage::Stage;
use crate::target::Target;

/// Between two measurements, so that neither pays for the other.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);
/// A queue's count follows its acks after a moment.
const COUNT_TRIES: u32 = 50;
const COUNT_PAUSE: Duration = Duration::from_millis(100);

/// One measurement of one target.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Run {
    pub(crate) per_second: f64,
    /// Of an answer to a webhook; None of what is pulled.
    #[serde(flatten)]
    pub(crate) latency: Option<Latency>,
    /// Microseconds of the server's processor time for each event.
    pub(crate) cpu_us: f64,
    /// The same of the broker, or of the simulated cloud.
    pub(crate) broker_cpu_us: Option<f64>,
    pub(crate) peak_rss_bytes: u64,
}

/// From a request to its answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
}

/// The runs of each target, in rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    /// By setting.
    pub(crate) bare: Vec<(String, Vec<Run>)>,
    pub(crate) bridge: Vec<Run>,
}

pub(crate) async fn cell(
    stage: &Stage,
    connections: usize,
    rounds: usize,
    time: Duration,
) -> Result<Cell> {
    let names = stage
        .bare
        .iter()
        .map(|target| (target.name.clone(), Vec::new()));
    let mut cell = Cell {
        bare: names.collect(),
        bridge: Vec::new(),
    };
    for _ in 0..rounds {
        for (target, (_, runs)) in stage.bare.iter().zip(&mut cell.bare) {
            runs.push(run(stage, target, connections, time).await?);
        }
        cell.bridge
            .push(run(stage, &stage.bridge, connections, time).await?);
    }
    Ok(cell)
}

async fn run(stage: &Stage, target: &Target, connections: usize, time: Duration) -> Result<Run> {
    stage.stock.clear().await?;
    sleep(PAUSE).await;
    let (held, acked) = (stage.stock.count().await?, target.acked().await?);
    reset_peak_rss(target.pid())?;
    let summary = load(stage, target, connections, time).await?;
    let context = || format!("{} at {connections} connections", target.name);
    check(stage, held, &summary).await.with_context(context)?;
    if let (Some(before), Some(after)) = (acked, target.acked().await?) {
        ensure!(
            after - before == summary.answers,
            "{} answers, but {} acks",
            summary.answers,
            after - before
        );
    }
    let each = |seconds: f64| seconds * 1e6 / summary.measured as f64;
    Ok(Run {
        per_second: summary.measured as f64 / summary.seconds,
        latency: Some(Latency {
            p50_ms: summary.p50_ms,
            p99_ms: summary.p99_ms,
            p999_ms: summary.p999_ms,
        }),
        cpu_us: each(summary.cpu[0]),
        broker_cpu_us: summary.cpu.get(1).copied().map(each),
        peak_rss_bytes: peak_rss(target.pid())?,
    })
}

/// The broker must hold an event for each answer, and no more.
async fn check(stage: &Stage, before: Option<u64>, summary: &Summary) -> Result<()> {
    let Some(before) = before else {
        return Ok(());
    };
    let mut stored = 0;
    for _ in 0..COUNT_TRIES {
        stored = stage.stock.count().await?.unwrap_or_default() - before;
        if stored == summary.answers {
            return Ok(());
        }
        sleep(COUNT_PAUSE).await;
    }
    anyhow::bail!(
        "{} answers, but {stored} events in the broker",
        summary.answers
    )
}

async fn load(
    stage: &Stage,
    target: &Target,
    connections: usize,
    time: Duration,
) -> Result<Summary> {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let pids: Vec<String> = [Some(target.pid()), stage.broker_pid]
        .iter()
        .flatten()
        .map(u32::to_string)
        .collect();
    let bodies = clap::ValueEnum::to_possible_value(&stage.bodies).context("no name")?;
    let command = part(&[
        "load",
        "--address",
        &target.address,
        "--connections",
        &connections.to_string(),
        "--millis",
        &time.as_millis().to_string(),
        "--bodies",
        bodies.get_name(),
        "--run",
        &RUN.fetch_add(1, Ordering::Relaxed).to_string(),
        "--pids",
        &pids.join(","),
    ])?;
    let output = tokio::process::Command::from(command).output().await?;
    ensure!(
        output.status.success(),
        "the load on {} at {connections} connections failed: {}",
        target.name,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
