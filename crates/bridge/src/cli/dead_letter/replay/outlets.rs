//! The sinks, each opened when the first event is to go there.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use vodbridge_core::{
    DeadLetters, Envelope, Metrics, Patience, Pipeline, PublishError, Router, Sink,
};

use crate::assemble;
use crate::config::Config;

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// For so long a destination may be missing: an exchange or stream may just have changed.
const UNROUTABLE: Duration = Duration::from_secs(5);
/// For closing sinks.
const CLOSE: Duration = Duration::from_secs(5);

/// Why an event is not on a sink.
pub(super) struct Refused {
    pub(super) error: anyhow::Error,
    /// It is about the world, so that others would fare no better.
    pub(super) transient: bool,
}

type Opened = Result<Pipeline, String>;

/// The sinks of a configuration.
pub(super) struct Outlets<'c> {
    config: &'c Config,
    pipelines: BTreeMap<&'c str, OnceLock<Opened>>,
}

impl<'c> Outlets<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        let names = config.sinks.keys();
        Self {
            config,
            pipelines: names.map(|name| (name.as_str(), OnceLock::new())).collect(),
        }
    }

    /// Resolves once the sink has acked the event.
    pub(super) async fn publish(&self, sink: &str, event: &Envelope) -> Result<(), Refused> {
        let permanent = |error| Refused {
            error,
            transient: false,
        };
        let opened = self
            .pipelines
            .get(sink)
            .map(|p| p.get_or_init(|| self.open(sink)));
        let pipeline = match opened {
            Some(Ok(pipeline)) => pipeline,
            Some(Err(error)) => return Err(permanent(anyhow!(error.clone()))),
            None => return Err(permanent(anyhow!("there is no sink {sink}"))),
        };
        let now = Instant::now();
        let patience = Patience {
            unroutable_until: Some(now + UNROUTABLE),
            ..Patience::until(now + PATIENCE)
        };
        let published = pipeline.publish_to(sink, event, patience).await;
        published.map_err(|error| Refused {
            transient: matches!(error, PublishError::Transient(_)),
            error: error.into(),
        })
    }

    fn open(&self, name: &str) -> Opened {
        let opened = assemble::open_sink_named(self.config, name);
        let sink = opened.map_err(|error| match assemble::is_in_use(&error) {
            true => format!("{error:#}; stop the bridge that writes there, or say --to"),
            false => format!("{error:#}"),
        })?;
        let sink: Arc<dyn Sink> = sink.broker;
        // What fails is the operator's to see, and is a dead letter already.
        let dead_letters = DeadLetters {
            sink: sink.clone(),
            topic: self.config.dead_letter.topic.as_str().into(),
            last_resort: None,
        };
        let (router, metrics) = (Router::default(), Metrics::default());
        Ok(Pipeline::new(vec![sink], router, dead_letters, &metrics))
    }

    pub(super) async fn close(&self) {
        let opened = self
            .pipelines
            .values()
            .filter_map(|p| p.get()?.as_ref().ok());
        // Everything is acked or given up by now.
        timeout(CLOSE, join_all(opened.map(Pipeline::close)))
            .await
            .ok();
    }
}
