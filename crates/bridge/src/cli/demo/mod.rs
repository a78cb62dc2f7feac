//! `vodbridge demo`: both modes of the cloud, and the bridge, in one process.

mod bridge;
mod json;
mod show;
mod stage;
mod story;
mod text;
mod times;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use vodbridge_simulator::cloud::{Cloud, Mode, Queue};

use self::bridge::Bridge;
use self::show::{Facts, Show};
use self::stage::Stage;
use self::story::Story;
use super::{Output, block_on};
use crate::drain::Signals;

/// At the end the demo waits for what is under way, as long as something ends within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Show the bridge at work, on this machine and without a broker.
///
/// A simulated cloud issues notifications of every event type, one half in each of its modes:
/// pushed, as callbacks to a real webhook, which is answered 200 after the ack; and pulled, from
/// an event queue, where they are confirmed after the ack. They go to a Kafka in this process's
/// memory, which any Kafka client can read while the demo runs, and to files; with --config they
/// go to the sinks of that configuration instead, by its routes, and its sources are replaced.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Use the sinks, routes and dead letter of this configuration; repeatable.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// End after this long, instead of at Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Notifications a second in all: one half is pushed, the other pulled.
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Chooses the order and the ids of the notifications.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Form of the output: json is one object a line, as docs/demo.md says.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Demo {
    pub(super) fn run(&self) -> Result<ExitCode> {
        block_on(self.play())
    }

    /// The story of the demo: set the stage, open the bridge on it, let events happen, show what
    /// becomes of them, and end when all have ended.
    async fn play(&self) -> Result<ExitCode> {
        let mut signals = Signals::new()?;
        let mut stage = Stage::set(&self.files)?;
        let (story, endings) = Story::new(&stage);
        let cloud = stage.open_cloud(self.seed, story.observer()).await?;
        let bridge = Bridge::start(&stage.config, &story).await?;
        stage.call(bridge.address, &cloud)?;

        let facts = Facts::new(self, &stage, &cloud, bridge.address);
        let queues = |mode| {
            let of_mode = stage.of(mode).map(|application| application.queue(&cloud));
            of_mode.collect::<Result<Vec<_>>>()
        };
        let queues = [queues(Mode::Push)?, queues(Mode::Pull)?];
        let show = Show::new(self.output, story.clone(), queues.clone(), bridge.parts());
        let ending = show.ending();
        let showing = tokio::spawn(show.run(facts, endings));
        tokio::select! {
            () = self.issue(&cloud, &queues) => {}
            () = signals.next() => {}
            () = sleep(self.duration.unwrap_or(Duration::MAX)) => {}
        }
        ending.cancel();
        let end = async {
            let all = finished(&queues, &story).await;
            bridge.stop(!all).await
        };
        tokio::select! {
            stopped = end => stopped?,
            // What is left is told as such.
            () = signals.second() => {}
        }
        story.close();
        let worked = showing.await.context("the show ended early")?;
        drop(cloud);
        Ok(match worked {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// Lets events happen for ever, as many in one mode as in the other.
    async fn issue(&self, cloud: &Cloud, queues: &[Vec<Queue>; 2]) {
        let issuing = queues.iter().flat_map(|of_mode| {
            let rate = f64::from(self.rate) / 2.0 / of_mode.len() as f64;
            of_mode
                .iter()
                .map(move |queue| cloud.issue_at(queue, rate, None))
        });
        join_all(issuing).await;
    }
}

/// Waits until every event has ended; false: for too long none has.
async fn finished(queues: &[Vec<Queue>; 2], story: &Story) -> bool {
    let begin = std::time::Instant::now();
    let mut all = std::pin::pin!(join_all(queues.iter().flatten().map(Queue::finished)));
    loop {
        let idle = story.last_ending().max(begin).elapsed();
        let Some(left) = PATIENCE.checked_sub(idle).filter(|left| !left.is_zero()) else {
            return false;
        };
        if timeout(left, &mut all).await.is_ok() {
            return true;
        }
    }
}
