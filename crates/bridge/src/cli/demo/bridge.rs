//! The bridge of the demo: what `run` starts, with its sinks watched and without an admin listener.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::{join, join_all};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Health, HealthCell, Metrics, Pipeline, Sink};
use vodbridge_sources::queue::QueueMetrics;
use vodbridge_sources::webhook::Listener;

use super::story::Story;
use crate::config::Config;
use crate::watch::Watched;
use crate::{assemble, clouds};

/// For closing sinks; a broker that does not answer cannot hold the end up.
const CLOSE: Duration = Duration::from_secs(5);

/// A bridge at work.
pub(super) struct Bridge {
    /// Where its webhooks listen.
    pub(super) address: SocketAddr,
    sinks: Vec<Arc<dyn Sink>>,
    queues: BTreeMap<String, Arc<HealthCell>>,
    pipeline: Arc<Pipeline>,
    begin: CancellationToken,
    running: JoinHandle<()>,
}

impl Bridge {
    /// Starts it; every ack is told to the story.
    pub(super) async fn start(config: &Config, story: &Arc<Story>) -> Result<Self> {
        let watched = |sink: assemble::OpenSink| {
            let story = story.clone();
            Arc::new(Watched::new(sink.broker, move |acked| story.acked(&acked))) as Arc<dyn Sink>
        };
        let sinks = assemble::open_sinks(config)?.into_values().map(watched);
        let sinks: Vec<_> = sinks.collect();
        let (metrics, begin) = (Metrics::default(), CancellationToken::new());
        let state = Arc::new(assemble::open_state(&config.state_directory)?);
        let pipeline = assemble::pipeline(config, sinks.clone(), &state, &metrics)?;
        let spools = BTreeMap::new();
        let assemble::Webhooks { listeners, .. } =
            assemble::bind_webhooks(config, &pipeline, &state, &spools, &metrics, &begin).await?;
        // All share one address.
        let address = listeners
            .first()
            .context("no webhook")
            .and_then(|listener| Ok(listener.local_addr()?))?;
        let queues: BTreeMap<_, _> = config
            .queues()
            .map(|(name, _)| (name.to_owned(), Arc::new(HealthCell::starting("pulls"))))
            .collect();
        let pulling = clouds::open_queues(
            config,
            &pipeline,
            &metrics,
            &QueueMetrics::default(),
            &queues,
        )?;
        let listening = join_all(listeners.into_iter().map(Listener::run));
        let pulling = join_all(pulling.into_iter().map(|queue| queue.run(begin.clone())));
        let running = tokio::spawn(async move {
            join(listening, pulling).await;
        });
        Ok(Self {
            address,
            sinks,
            queues,
            pipeline,
            begin,
            running,
        })
    }

    /// What can be asked how each of its parts is.
    pub(super) fn parts(&self) -> Parts {
        Parts {
            sinks: self.sinks.clone(),
            queues: self.queues.clone(),
            draining: self.begin.clone(),
        }
    }

    /// Drains it. `cut`: without waiting for what no sink takes.
    pub(super) async fn stop(self, cut: bool) -> Result<()> {
        self.begin.cancel();
        if cut {
            self.pipeline.cut();
        }
        self.running.await.context("a source failed")?;
        // What a sink does not close in time is not shown any more.
        timeout(CLOSE, self.pipeline.close()).await.ok();
        Ok(())
    }
}

/// The parts of a bridge that may be down.
pub(super) struct Parts {
    sinks: Vec<Arc<dyn Sink>>,
    queues: BTreeMap<String, Arc<HealthCell>>,
    draining: CancellationToken,
}

impl Parts {
    /// How each is, by name; of none in a drain, where being down is nothing to tell.
    pub(super) fn health(&self) -> Vec<(&str, Health)> {
        if self.draining.is_cancelled() {
            return Vec::new();
        }
        let sinks = self.sinks.iter().map(|sink| (sink.name(), sink.health()));
        let queues = self.queues.iter();
        let queues = queues.map(|(name, health)| (name.as_str(), health.get()));
        sinks.chain(queues).collect()
    }
}
