//! `vodbridge run`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::{FutureExt, join_all, join3};
use prometheus_client::registry::Registry;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{HealthCell, Metrics, Sink};
use vodbridge_sources::queue::QueueMetrics;
use vodbridge_sources::spool::SpoolMetrics;
use vodbridge_sources::webhook::Listener;

use super::{Files, block_on, version};
use crate::admin::{self, Parts, Status};
use crate::assemble::{self, OpenSink};
use crate::clouds;
use crate::config::{Config, Source};
use crate::drain::{Running, Signals};
use crate::{logging, spools};

/// A balancer is told to send callbacks once each sink was reached, and after this at the latest.
const READY_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn run(files: &Files) -> Result<ExitCode> {
    let config = files.load()?;
    logging::start(&config.log);
    raise_open_files();
    block_on(bridge(config))
}

/// The story of a bridge: open the sinks, bind the listeners, say what an ack means, be ready,
/// and drain at a signal.
async fn bridge(config: Config) -> Result<ExitCode> {
    let signals = Signals::new()?;
    let admin = admin::bind(config.admin.listen).await?;
    let state = Arc::new(assemble::open_state(&config.state_directory)?);
    let sinks = assemble::open_sinks(&config)?;
    let ports: Vec<Arc<dyn Sink>> = sinks
        .values()
        .map(|sink| sink.broker.clone() as Arc<dyn Sink>)
        .collect();
    let metrics = Metrics::default();
    let pipeline = assemble::pipeline(&config, ports.clone(), &state, &metrics)?;
    let (begin, spool_metrics) = (CancellationToken::new(), SpoolMetrics::default());
    let spools = spools::open(&config, &spool_metrics)?;
    let webhooks =
        assemble::bind_webhooks(&config, &pipeline, &state, &spools, &metrics, &begin).await?;
    let (health, queue_metrics) = (sources(&config), QueueMetrics::default());
    let queues = clouds::open_queues(&config, &pipeline, &metrics, &queue_metrics, &health)?;

    let parts = Parts {
        sinks: ports.clone(),
        state: state.clone(),
        spools: spools.clone(),
        sources: health,
    };
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    queue_metrics.register(&mut registry);
    spool_metrics.register(&mut registry);
    let takes_callbacks = config.webhooks().next().is_some();
    let status = Arc::new(Status::new(registry, parts, takes_callbacks));
    tokio::spawn(admin::serve(admin, status.clone()));
    for sink in sinks.into_values() {
        tokio::spawn(state_ack(sink, metrics.clone()));
    }
    tracing::info!(
        version = version::VERSION, commit = version::COMMIT, admin = %config.admin.listen,
        sources = names(&config.sources), sinks = names(&config.sinks),
        "started"
    );
    tokio::spawn({
        let status = status.clone();
        async move {
            // Late is no reason to refuse callbacks: a refused one is lost.
            timeout(
                READY_WITHIN,
                join_all(ports.iter().map(|sink| sink.reached())),
            )
            .await
            .ok();
            status.set_ready(true);
        }
    });
    let listeners = join_all(webhooks.listeners.into_iter().map(Listener::run));
    let queues = join_all(queues.into_iter().map(|queue| queue.run(begin.clone())));
    let spooled = webhooks.spool_sources.into_iter();
    let spooled = join_all(spooled.map(|source| source.run(begin.clone())));
    let sources = async move {
        join3(listeners, queues, spooled).await;
        // Last of all: what a listener could not deliver it leaves here.
        join_all(spools.values().map(|spool| spool.close())).await;
    };
    let sources = sources.boxed();
    let running = Running {
        begin,
        status,
        pipeline,
        sources,
        timeout: config.drain.timeout,
    };
    Ok(running.until_signal(signals).await)
}

fn names<T>(entries: &BTreeMap<String, T>) -> String {
    entries
        .keys()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// How each source is. A webhook works as soon as it listens.
fn sources(config: &Config) -> BTreeMap<String, Arc<HealthCell>> {
    let health = |source: &Source| match source {
        Source::Webhook(webhook) => {
            let doing = format!(
                "takes callbacks of application {} at http://{}{}",
                webhook.sub_app_id, webhook.listen, webhook.path
            );
            let health = HealthCell::starting(&*doing);
            health.up(doing);
            health
        }
        Source::Queue(queue) => HealthCell::starting(format!(
            "pulls events of application {} from {}",
            queue.sub_app_id, queue.endpoint
        )),
    };
    let sources = config.sources.iter();
    sources
        .map(|(name, source)| (name.clone(), Arc::new(health(source))))
        .collect()
}

/// Says once, when the broker has been reached, what its ack means and what is wrong with its
/// topology.
async fn state_ack(sink: OpenSink, metrics: Metrics) {
    let OpenSink { broker, topics } = sink;
    broker.reached().await;
    match broker.inspect(&topics).await {
        Ok(inspection) => {
            metrics.ack_means(broker.name(), &inspection.ack);
            tracing::info!(
                sink = broker.name(),
                ack = inspection.ack,
                "what an ack of this sink means"
            );
            for finding in inspection.findings {
                let (what, remedy) = (finding.what, finding.remedy);
                if finding.blocking {
                    tracing::error!(sink = broker.name(), remedy, "{what}");
                } else {
                    tracing::info!(sink = broker.name(), remedy, "{what}");
                }
            }
        }
        Err(error) => tracing::warn!(
            sink = broker.name(),
            error = vodbridge_core::chain(&*error),
            "the broker's topology could not be looked at; `vodbridge check --connect` tries again"
        ),
    }
}

/// Ten thousand connections need more than the customary 1,024 files.
fn raise_open_files() {
    const WANTED: u64 = 1 << 20;
    match rlimit::increase_nofile_limit(WANTED) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
}
