//! From a configuration to a bridge: one line per kind of sink and of source.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{
    Condition, DEAD_LETTER_RESERVE, DeadLetters, Glob, Intake, Metrics, Pipeline, Route, Router,
    Sink, SinkSet, Targets, Template, Topology,
};
use vodbridge_sink_file::{Durability, FileConfig, FileSink, FileSinkError, durability};
use vodbridge_sink_kafka::{KafkaSink, Limits};
use vodbridge_sink_nats::NatsSink;
use vodbridge_sink_rabbitmq::RabbitMqSink;
use vodbridge_sources::spool::{Spool, SpoolSource, WINDOW};
use vodbridge_sources::webhook::{Drain, Endpoint, Listener, WebhookConfig};

use crate::config::{self, Config};

/// Name of the sink that keeps undelivered events and dead letters in the state directory.
pub(crate) const STATE: &str = "state_directory";
/// Between an attempt's end by librdkafka and the moment that its failure is known.
const KAFKA_SCAN: Duration = Duration::from_millis(1500);
/// Left of the drain's timeout for a webhook's last callbacks: the cloud waits 5 s for each.
const CALLBACK: Duration = Duration::from_secs(5);

/// A broker: something to publish to that can be looked at and provisioned.
pub(crate) trait Broker: Sink + Topology {}

impl<T: Sink + Topology> Broker for T {}

/// A sink and the topics that it can be asked for.
pub(crate) struct OpenSink {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) topics: Vec<String>,
}

/// Opens every configured sink. Must run on a runtime: they connect in the background.
pub(crate) fn open_sinks(config: &Config) -> Result<BTreeMap<String, OpenSink>> {
    try_open_sinks(config)
        .map(|(name, sink)| Ok((name, sink?)))
        .collect()
}

/// Opens each configured sink by itself.
pub(crate) fn try_open_sinks(config: &Config) -> impl Iterator<Item = (String, Result<OpenSink>)> {
    let names = config.sinks.keys();
    names.map(|name| (name.clone(), open_sink_named(config, name)))
}

/// Opens one of the configured sinks.
pub(crate) fn open_sink_named(config: &Config, name: &str) -> Result<OpenSink> {
    let sink = config.sinks.get(name);
    let sink = sink.with_context(|| format!("there is no sink {name}"))?;
    let sources = config.sources.values();
    let max_in_flight = sources.clone().map(config::Source::max_in_flight).sum();
    let patience = sources.map(config::Source::least_patience).min();
    let patience = patience.unwrap_or(Duration::from_secs(20));
    let message_timeout = patience.saturating_sub(DEAD_LETTER_RESERVE + KAFKA_SCAN);
    let dead_letters = (config.dead_letter.sink == name).then_some(&*config.dead_letter.topic);
    let opened = open_sink(name, sink, max_in_flight, message_timeout, dead_letters);
    Ok(OpenSink {
        broker: opened.with_context(|| format!("sinks.{name}"))?,
        topics: config.topics_of(name).into_iter().collect(),
    })
}

/// Whether a sink could not be opened because a bridge is running on its directory.
pub(crate) fn is_in_use(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<FileSinkError>();
    matches!(cause, Some(FileSinkError::Locked { .. }))
}

fn open_sink(
    name: &str,
    sink: &config::Sink,
    max_in_flight: usize,
    message_timeout: Duration,
    dead_letters: Option<&str>,
) -> Result<Arc<dyn Broker>> {
    Ok(match sink {
        config::Sink::Kafka(kafka) => Arc::new(KafkaSink::new(
            name,
            kafka,
            &Limits {
                message_timeout,
                max_in_flight,
            },
        )?),
        config::Sink::RabbitMq(rabbitmq) => {
            let sink = RabbitMqSink::new(name, rabbitmq, max_in_flight)?;
            Arc::new(sink.with_dead_letters(dead_letters))
        }
        config::Sink::Nats(nats) => Arc::new(NatsSink::new(name, nats, max_in_flight)?),
        config::Sink::File(file) => Arc::new(open_file_sink(name, file)?),
    })
}

fn open_file_sink(name: &str, file: &FileConfig) -> Result<FileSink> {
    outlives(&file.directory, file.ephemeral)?;
    Ok(FileSink::open(name, file)?)
}

/// A confirm rests on this disk, so it has to outlive the container.
pub(crate) fn outlives(directory: &Path, ephemeral: bool) -> Result<()> {
    if let Durability::Ephemeral { filesystem } = durability(directory)
        && !ephemeral
    {
        bail!(
            "{} is on {filesystem}, which is lost with the container or the machine's uptime; \
             mount a volume there, or say `ephemeral: true` if that is what you want",
            directory.display()
        );
    }
    Ok(())
}

/// The state directory as a sink: topics name its files.
pub(crate) fn open_state(directory: &Path) -> Result<FileSink> {
    let config = FileConfig {
        directory: directory.to_owned(),
        topic: Template::parse("state").expect("a literal is a valid template"),
        rotate_bytes: 256 << 20,
        ephemeral: true,
    };
    FileSink::open(STATE, &config).with_context(|| {
        format!(
            "state_directory {}: it keeps what no sink takes; name one that can be written",
            directory.display()
        )
    })
}

/// The pipeline over these sinks. `ports` are the sinks as it is to see them, in the
/// configuration's order.
pub(crate) fn pipeline(
    config: &Config,
    ports: Vec<Arc<dyn Sink>>,
    state: &Arc<FileSink>,
    metrics: &Metrics,
) -> Result<Arc<Pipeline>> {
    if ports.len() > SinkSet::MAX {
        bail!(
            "sinks: there are {}, and a bridge has at most {}",
            ports.len(),
            SinkSet::MAX
        );
    }
    let index = |name: &str| config.sinks.keys().position(|sink| sink == name);
    let dead_letter = index(&config.dead_letter.sink)
        .context("dead_letter.sink is checked with the configuration")?;
    let durable = durability(&config.state_directory) == Durability::Durable;
    if !durable {
        tracing::warn!(
            directory = %config.state_directory.display(),
            "the state directory is not on a durable disk, so no dead letter is confirmed by it; mount a volume there"
        );
    }
    let dead_letters = DeadLetters {
        sink: ports[dead_letter].clone(),
        topic: config.dead_letter.topic.as_str().into(),
        last_resort: durable.then(|| state.clone() as Arc<dyn Sink>),
    };
    Ok(Arc::new(Pipeline::new(
        ports,
        router(config),
        dead_letters,
        metrics,
    )))
}

/// The routes, over sinks by their place in the configuration's order.
pub(crate) fn router(config: &Config) -> Router {
    let index = |name: &str| config.sinks.keys().position(|sink| sink == name);
    if config.routes.is_empty() {
        return Router::everything(SinkSet::of(0..config.sinks.len()));
    }
    let route = |(name, route): (&String, &config::Route)| {
        let set = |shadow| {
            let named = route
                .to
                .iter()
                .filter(|(_, target)| target.shadow == shadow);
            SinkSet::of(named.filter_map(|(sink, _)| index(sink)))
        };
        Route {
            name: name.clone(),
            conditions: conditions(&route.matching),
            targets: Targets {
                required: set(false),
                shadow: set(true),
            },
        }
    };
    Router::new(config.routes.iter().map(route).collect())
}

fn conditions(matching: &config::Match) -> Vec<Condition> {
    let outcomes = matching
        .outcome
        .iter()
        .map(|outcome| outcome.as_str().to_owned());
    let all = [
        ("event_type", matching.event_type.clone()),
        ("outcome", outcomes.collect()),
        (
            "sub_app_id",
            matching.sub_app_id.iter().map(u64::to_string).collect(),
        ),
        ("source", matching.source.clone()),
    ];
    let given = all.into_iter().filter(|(_, values)| !values.is_empty());
    given
        .map(|(label, values)| Condition {
            label: label.to_owned(),
            patterns: values.into_iter().map(Glob::new).collect(),
        })
        .collect()
}

/// What takes callbacks, and what delivers those that no broker acked in time.
#[derive(Default)]
pub(crate) struct Webhooks {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) spool_sources: Vec<SpoolSource>,
}

/// Binds a listener for each address that webhook sources name.
pub(crate) async fn bind_webhooks(
    config: &Config,
    pipeline: &Arc<Pipeline>,
    state: &Arc<FileSink>,
    spools: &BTreeMap<String, Arc<Spool>>,
    metrics: &Metrics,
    begin: &CancellationToken,
) -> Result<Webhooks> {
    let mut by_address: BTreeMap<SocketAddr, Vec<(&str, &WebhookConfig)>> = BTreeMap::new();
    for (name, webhook) in config.webhooks() {
        let here = by_address.entry(webhook.listen).or_default();
        here.push((name, webhook));
    }
    let Webhooks {
        mut listeners,
        mut spool_sources,
    } = Webhooks::default();
    for (address, webhooks) in by_address {
        let patience = webhooks
            .iter()
            .map(|(_, w)| w.patience)
            .max()
            .unwrap_or_default();
        let drain = Drain {
            begin: begin.clone(),
            grace: config.drain.grace,
            latest: config.drain.timeout.saturating_sub(patience + CALLBACK),
        };
        let mut endpoint = |(name, webhook): (&str, &WebhookConfig)| {
            let intake = Intake::new(
                name,
                pipeline.clone(),
                webhook.max_in_flight,
                metrics.source(name),
            );
            let spool = spools.get(name).cloned();
            if let Some(spool) = &spool {
                let beside = intake.beside(WINDOW, metrics.source(name));
                let source = SpoolSource::new(spool.clone(), beside, webhook.patience);
                spool_sources.push(source);
            }
            let catalogue = config.catalogue.clone();
            Endpoint::new(webhook.clone(), intake, catalogue, state.clone(), spool)
        };
        let names = webhooks
            .iter()
            .map(|(name, _)| format!("sources.{name}"))
            .collect::<Vec<_>>()
            .join(", ");
        let endpoints = webhooks.into_iter().map(&mut endpoint).collect();
        let listener = Listener::bind(address, endpoints, drain).await;
        listeners.push(listener.with_context(|| format!("{names}: cannot listen on {address}"))?);
    }
    Ok(Webhooks {
        listeners,
        spool_sources,
    })
}
