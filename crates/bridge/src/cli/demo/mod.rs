//! `vodbridge demo`: the main job in one process.

mod show;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Metrics, Sink};
use vodbridge_simulator::{CallbackSender, Notifications, Posting};
use vodbridge_sources::webhook::Listener;

use self::show::Show;
use self::stage::Stage;
use super::{Output, block_on};
use crate::assemble;
use crate::drain::Signals;
use crate::watch::{Acked, Watched};

/// Postings under way at once: a sink that is away does not pile them up.
const POSTINGS: usize = 256;
/// Acks that the show may be behind.
const ACKS: usize = 4096;

/// Show the bridge at work, on this machine and without a broker.
///
/// Notifications of every event type are posted to a real webhook, bridged, acknowledged, and
/// shown. They go to a Kafka in this process's memory, which any Kafka client can read while the
/// demo runs, and to files; with --config they go to the sinks of that configuration instead.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Use the sinks, routes and dead letter of this configuration; repeatable.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// End after this long, instead of at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Notifications a second.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Chooses the order and the ids of the notifications.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Form of the output: json is one object a line.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// What the cloud's side counts.
#[derive(Debug, Default)]
pub(super) struct Postings {
    pub(super) posted: AtomicU64,
    /// Answered 200 in time: confirmed.
    pub(super) confirmed: AtomicU64,
    /// Answered otherwise, or not in time.
    pub(super) failed: AtomicU64,
}

impl Demo {
    pub(super) fn run(&self) -> Result<ExitCode> {
        block_on(self.play())
    }

    /// The story of the demo: set the stage, open the bridge on it, post, show, and end.
    async fn play(&self) -> Result<ExitCode> {
        let mut signals = Signals::new()?;
        let stage = Stage::set(&self.files)?;
        let config = &stage.config;
        let (acks, acked) = mpsc::channel(ACKS);
        let sinks = assemble::open_sinks(config)?;
        let watched = |sink: &assemble::OpenSink| {
            Arc::new(Watched::new(sink.broker.clone(), acks.clone())) as Arc<dyn Sink>
        };
        let ports = sinks.values().map(watched).collect();
        let (metrics, begin) = (Metrics::default(), CancellationToken::new());
        let state = Arc::new(assemble::open_state(&config.state_directory)?);
        let pipeline = assemble::pipeline(config, ports, &state, &metrics)?;
        let mut listeners =
            assemble::bind_webhooks(config, &pipeline, &state, &metrics, &begin).await?;
        let listener = listeners.pop().context("the stage has one webhook")?;
        let url = format!("http://{}{}", listener.local_addr()?, stage.path());
        let bridge = tokio::spawn(Listener::run(listener));

        let postings = Arc::new(Postings::default());
        let show = Show::new(self.output, &stage, &url, postings.clone());
        let showing = tokio::spawn(show.run(acked));
        tokio::select! {
            () = self.post(&url, &postings) => {}
            () = signals.next() => {}
            () = sleep(self.duration.unwrap_or(Duration::MAX)) => {}
        }
        begin.cancel();
        bridge.await.context("the webhook ended early")?;
        pipeline.close().await;
        drop((sinks, pipeline, acks));
        let worked = showing.await.context("the show ended early")?;
        Ok(if worked {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Posts notifications at the rate, for ever.
    async fn post(&self, url: &str, postings: &Arc<Postings>) {
        let Ok(sender) = CallbackSender::new(url) else {
            return;
        };
        let sender = Arc::new(sender);
        let under_way = Arc::new(Semaphore::new(POSTINGS));
        let mut ticks = interval(Duration::from_secs(1) / self.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for notification in Notifications::new(self.seed) {
            ticks.tick().await;
            let permit = under_way.clone().acquire_owned().await;
            let (sender, postings) = (sender.clone(), postings.clone());
            postings.posted.fetch_add(1, Relaxed);
            tokio::spawn(async move {
                let count = match sender.send(notification.body).await {
                    Posting::Answered { status: 200, .. } => &postings.confirmed,
                    Posting::Answered { .. } | Posting::Lost { .. } => &postings.failed,
                };
                count.fetch_add(1, Relaxed);
                drop(permit);
            });
        }
    }
}

/// Receives acks until every sender is gone.
pub(super) type Acks = mpsc::Receiver<Acked>;
