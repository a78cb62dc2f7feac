//! Queue sources, and the accounts that they call the cloud with.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use vodbridge_core::{HealthCell, Intake, Metrics, Pipeline, chain};
use vodbridge_sources::cloud::{CloudClient, Credentials, CredentialsConfig, Limiter};
use vodbridge_sources::queue::{Queue, QueueConfig, QueueMetrics};

use crate::config::Config;

/// A client for each queue source. Those with the same credentials share them and their limits:
/// the cloud counts the calls of an account, not of an application.
pub(crate) fn clients(config: &Config) -> Result<BTreeMap<String, Arc<CloudClient>>> {
    let mut accounts: Vec<(&CredentialsConfig, Arc<Credentials>, Arc<Limiter>)> = Vec::new();
    let mut clients = BTreeMap::new();
    for (name, queue) in config.queues() {
        let known = accounts
            .iter()
            .find(|(config, ..)| **config == queue.credentials);
        let (credentials, limiter) = match known {
            Some((_, credentials, limiter)) => (credentials.clone(), limiter.clone()),
            None => {
                let credentials = credentials(name, queue)?;
                let same = config
                    .queues()
                    .filter(|(_, of)| of.credentials == queue.credentials);
                let least = same.map(|(_, of)| of.calls_per_second).min();
                let limiter = Arc::new(Limiter::new(least.unwrap_or(queue.calls_per_second)));
                accounts.push((&queue.credentials, credentials.clone(), limiter.clone()));
                (credentials, limiter)
            }
        };
        let client = open_client(name, queue, credentials, limiter)?;
        clients.insert(name.to_owned(), Arc::new(client));
    }
    Ok(clients)
}

/// A client of one source alone, for a command.
pub(crate) fn client(name: &str, queue: &QueueConfig) -> Result<CloudClient> {
    let limiter = Arc::new(Limiter::new(queue.calls_per_second));
    open_client(name, queue, credentials(name, queue)?, limiter)
}

fn credentials(name: &str, queue: &QueueConfig) -> Result<Arc<Credentials>> {
    let variable = |name: &str| std::env::var(name).ok();
    Credentials::new(&queue.credentials, variable).map_err(|error| {
        let (what, remedy) = (chain(&error), error.remedy());
        anyhow!("sources.{name}.queue.credentials: {what}; {remedy}")
    })
}

fn open_client(
    name: &str,
    queue: &QueueConfig,
    credentials: Arc<Credentials>,
    limiter: Arc<Limiter>,
) -> Result<CloudClient> {
    let region = queue.region.as_deref();
    CloudClient::new(&queue.endpoint, region, credentials, limiter)
        .with_context(|| format!("sources.{name}.queue.endpoint"))
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
        if let Some(proxy) = clients[name].proxy() {
            tracing::info!(source = name, proxy, "calls go through the proxy");
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
    Ok(config.queues().map(open).collect())
}
