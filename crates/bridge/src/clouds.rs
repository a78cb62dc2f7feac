//! Queue sources, and the accounts that they call the cloud with.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use vodbridge_core::{HealthCell, Intake, Metrics, Pipeline};
use vodbridge_sources::cloud::{CloudClient, Credentials, CredentialsConfig, Limiter};
use vodbridge_sources::queue::{Queue, QueueConfig, QueueMetrics};

use crate::config::{Config, Source};

/// The queue sources of a configuration, by name.
pub(crate) fn queues(config: &Config) -> impl Iterator<Item = (&str, &QueueConfig)> {
    config
        .sources
        .iter()
        .filter_map(|(name, source)| match source {
            Source::Queue(queue) => Some((name.as_str(), &**queue)),
            Source::Webhook(_) => None,
        })
}

/// A client for each queue source. Those with the same credentials share them and their limits:
/// the cloud counts the calls of an account, not of an application.
pub(crate) fn clients(config: &Config) -> Result<BTreeMap<String, Arc<CloudClient>>> {
    let mut accounts: Vec<(&CredentialsConfig, Arc<Credentials>, Arc<Limiter>)> = Vec::new();
    let mut clients = BTreeMap::new();
    for (name, queue) in queues(config) {
        let known = accounts
            .iter()
            .find(|(config, ..)| **config == queue.credentials);
        let (credentials, limiter) = match known {
            Some((_, credentials, limiter)) => (credentials.clone(), limiter.clone()),
            None => {
                let variable = |name: &str| std::env::var(name).ok();
                let credentials = Credentials::new(&queue.credentials, variable);
                let credentials =
                    credentials.with_context(|| format!("sources.{name}.queue.credentials"))?;
                let same = queues(config).filter(|(_, of)| of.credentials == queue.credentials);
                let least = same.map(|(_, of)| of.calls_per_second).min();
                let limiter = Arc::new(Limiter::new(least.unwrap_or(queue.calls_per_second)));
                accounts.push((&queue.credentials, credentials.clone(), limiter.clone()));
                (credentials, limiter)
            }
        };
        let region = queue.region.as_deref();
        let client = CloudClient::new(&queue.endpoint, region, credentials, limiter)
            .with_context(|| format!("sources.{name}.queue.endpoint"))?;
        clients.insert(name.to_owned(), Arc::new(client));
    }
    Ok(clients)
}

/// Every queue source over the pipeline; `health` holds a cell for each source.
pub(crate) fn open_queues(
    config: &Config,
    pipeline: &Arc<Pipeline>,
    metrics: &Metrics,
    queue_metrics: &QueueMetrics,
    health: &BTreeMap<String, Arc<HealthCell>>,
) -> Result<Vec<Queue>> {
    let clients = clients(config)?;
    let open = |(name, queue): (&str, &QueueConfig)| {
        if queue.endpoint.starts_with("http:") {
            tracing::warn!(
                source = name,
                endpoint = queue.endpoint,
                "the endpoint is not HTTPS: what is pulled can be read on its way, and changed"
            );
        }
        let intake = Intake::new(
            name,
            pipeline.clone(),
            queue.max_in_flight,
            metrics.source(name),
        );
        Queue::new(
            queue.clone(),
            clients[name].clone(),
            intake,
            config.catalogue.clone(),
            queue_metrics.source(name),
            health[name].clone(),
        )
    };
    Ok(queues(config).map(open).collect())
}
