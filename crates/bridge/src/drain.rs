//! The end of the process: finish without intake.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use vodbridge_core::Pipeline;

use crate::admin::Status;

/// Before the drain's timeout: all deadlines are cut, and what is left is written to the state
/// directory.
const CUT_RESERVE: Duration = Duration::from_secs(2);
/// Two signals within this are one.
const DOUBLE: Duration = Duration::from_secs(1);
/// For closing sinks; a broker that does not answer cannot hold the exit up.
const CLOSE: Duration = Duration::from_secs(5);

/// SIGTERM, which Kubernetes and docker send, and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let signal = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the next one that is not the first one's double: some supervisors signal a
    /// process and its group.
    pub(crate) async fn second(&mut self) {
        let first = Instant::now();
        loop {
            self.next().await;
            if first.elapsed() >= DOUBLE {
                return;
            }
        }
    }

    /// Resolves at the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What a drain ends.
pub(crate) struct Running<F> {
    pub(crate) begin: CancellationToken,
    pub(crate) status: Arc<Status>,
    pub(crate) pipeline: Arc<Pipeline>,
    /// Resolves once every source has finished what it had received.
    pub(crate) sources: F,
    /// From the signal to the end.
    pub(crate) timeout: Duration,
}

impl<F: Future + Unpin> Running<F> {
    /// Runs until a signal, then drains. 0: everything that was received has been delivered or
    /// kept; 1: time ran out, or a second signal came.
    pub(crate) async fn until_signal(mut self, mut signals: Signals) -> ExitCode {
        tokio::select! {
            _ = &mut self.sources => return self.close(ExitCode::FAILURE).await,
            () = signals.next() => {}
        }
        tracing::info!(timeout = ?self.timeout, "draining; a second signal ends at once");
        tokio::select! {
            code = self.drain() => code,
            () = signals.second() => {
                tracing::warn!("ended by a second signal; the cloud sends again what was not answered");
                ExitCode::FAILURE
            }
        }
    }

    async fn drain(mut self) -> ExitCode {
        let end = Instant::now() + self.timeout;
        self.status.set_ready(false);
        self.begin.cancel();
        let in_time = timeout_at(end - CUT_RESERVE.min(self.timeout), &mut self.sources)
            .await
            .is_ok();
        if !in_time {
            tracing::error!(
                "the drain's timeout is near: what is still in flight goes to the undelivered file"
            );
            self.pipeline.cut();
            if timeout_at(end, &mut self.sources).await.is_err() {
                tracing::error!("some deliveries did not end; the cloud may send them again");
            }
        }
        self.close(if in_time {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
        .await
    }

    async fn close(self, code: ExitCode) -> ExitCode {
        if timeout(CLOSE, self.pipeline.close()).await.is_err() {
            tracing::warn!("some sinks did not close in time");
        }
        tracing::info!("ended");
        code
    }
}
