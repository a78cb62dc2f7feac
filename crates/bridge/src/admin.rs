//! The operator's own listener: probes, health and metrics.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use vodbridge_core::{Health, HealthCell, Sink, State};
use vodbridge_sources::spool::Spool;

use crate::cli::version;

/// Connections served at once; probes and scrapes need few.
const CONNECTIONS: usize = 256;
/// How long a connection may idle: idle ones must not keep a probe waiting.
const IDLE: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the admin listener tells of.
pub(crate) struct Status {
    /// A balancer may send callbacks here.
    ready: AtomicBool,
    /// Whether callbacks come here at all.
    takes_callbacks: bool,
    started: SystemTime,
    parts: Parts,
    registry: Registry,
    sink_up: Family<SinkLabel, Gauge>,
    source_up: Family<SourceLabel, Gauge>,
}

/// What a bridge is made of.
pub(crate) struct Parts {
    pub(crate) sinks: Vec<Arc<dyn Sink>>,
    pub(crate) state: Arc<dyn Sink>,
    /// By the names of their sources.
    pub(crate) spools: BTreeMap<String, Arc<Spool>>,
    pub(crate) sources: BTreeMap<String, Arc<HealthCell>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
    librdkafka: String,
}

/// `/healthz`.
#[derive(Serialize)]
struct Report {
    status: &'static str,
    ready: bool,
    version: &'static str,
    started: String,
    sources: BTreeMap<String, Part>,
    sinks: BTreeMap<String, Part>,
    stores: BTreeMap<String, Part>,
}

/// One part of the bridge.
#[derive(Serialize)]
struct Part {
    state: &'static str,
    since: String,
    doing: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Status {
    /// The status of a bridge with these parts, whose metrics are in the registry.
    /// `takes_callbacks`: it has a webhook source.
    pub(crate) fn new(mut registry: Registry, parts: Parts, takes_callbacks: bool) -> Self {
        let (sink_up, source_up) = (Family::default(), Family::default());
        let build = Family::<BuildLabels, Gauge>::default();
        let own = registry.sub_registry_with_prefix("vodbridge");
        own.register("sink_up", "1 while the sink works", sink_up.clone());
        own.register("source_up", "1 while the source works", source_up.clone());
        own.register("build_info", "What is running", build.clone());
        let (version, commit, librdkafka) =
            (version::VERSION, version::COMMIT, version::librdkafka());
        build
            .get_or_create(&BuildLabels {
                version,
                commit,
                librdkafka,
            })
            .set(1);
        Self {
            ready: AtomicBool::new(false),
            takes_callbacks,
            started: SystemTime::now(),
            parts,
            registry,
            sink_up,
            source_up,
        }
    }

    /// Whether a balancer may send callbacks here: from the bound listener until the drain, and
    /// never false for a broker's sake, since a refused callback is a lost one.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    /// Where no callback can come, no balancer asks, so the sinks count too.
    fn is_ready(&self) -> bool {
        let ready = self.ready.load(Relaxed);
        ready && (self.takes_callbacks || self.parts.sinks.iter().all(|sink| works(&sink.health())))
    }

    fn report(&self) -> Report {
        let Parts {
            sinks,
            state,
            spools,
            sources,
        } = &self.parts;
        let of_sink = |sink: &Arc<dyn Sink>| (sink.name().to_owned(), sink.health());
        let sinks: BTreeMap<_, _> = sinks.iter().map(of_sink).collect();
        let sources = sources
            .iter()
            .map(|(name, source)| (name.clone(), source.get()));
        let sources: BTreeMap<_, _> = sources.collect();
        let spools = spools.iter();
        let spools = spools.map(|(source, spool)| (format!("{source}.spool"), spool.health()));
        let stores: BTreeMap<_, _> = spools.chain([of_sink(state)]).collect();
        let all = [&sources, &sinks, &stores];
        let worst = all
            .iter()
            .flat_map(|parts| parts.values().map(|health| health.state));
        let worst = worst.max_by_key(severity).unwrap_or(State::Up);
        let parts = |parts: BTreeMap<String, Health>| {
            let parts = parts.into_iter();
            parts.map(|(name, health)| (name, part(&health))).collect()
        };
        Report {
            status: worst.as_str(),
            ready: self.is_ready(),
            version: version::VERSION,
            started: time(self.started),
            sources: parts(sources),
            sinks: parts(sinks),
            stores: parts(stores),
        }
    }

    fn metrics(&self) -> String {
        self.parts.spools.values().for_each(|spool| spool.measure());
        for sink in &self.parts.sinks {
            let sink_up = self.sink_up.get_or_create(&SinkLabel {
                sink: sink.name().to_owned(),
            });
            sink_up.set(works(&sink.health()).into());
        }
        for (source, health) in &self.parts.sources {
            let source_up = self.source_up.get_or_create(&SourceLabel {
                source: source.clone(),
            });
            source_up.set(works(&health.get()).into());
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing into a text cannot fail");
        text
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        const JSON: &str = "application/json";
        const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let text = |status, body: &str| answer(status, "text/plain", body.to_owned());
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.is_ready() => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(
                StatusCode::SERVICE_UNAVAILABLE,
                match self.ready.load(Relaxed) {
                    true => "not ready: a sink does not work\n",
                    false => "not ready: starting, or draining\n",
                },
            ),
            "/healthz" => {
                let report = serde_json::to_string_pretty(&self.report());
                answer(
                    StatusCode::OK,
                    JSON,
                    report.expect("a report of texts always serializes") + "\n",
                )
            }
            "/metrics" => answer(StatusCode::OK, OPEN_METRICS, self.metrics()),
            _ => text(StatusCode::NOT_FOUND, "/livez /readyz /healthz /metrics\n"),
        }
    }
}

fn works(health: &Health) -> bool {
    matches!(health.state, State::Up | State::Degraded)
}

/// Down weighs most, starting more than what works.
fn severity(state: &State) -> u8 {
    match state {
        State::Up => 0,
        State::Degraded => 1,
        State::Starting => 2,
        State::Down => 3,
    }
}

fn part(health: &Health) -> Part {
    Part {
        state: health.state.as_str(),
        since: time(health.since),
        doing: health.doing.clone(),
        problem: health.problem.as_ref().map(|problem| problem.what.clone()),
        remedy: health
            .problem
            .as_ref()
            .map(|problem| problem.remedy.clone()),
    }
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Binds the admin listener.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("admin.listen: cannot listen on {address}"))
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, status: Arc<Status>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = slots
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::error!(%error, "accepting an admin connection failed; raise the limit on open files");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let status = status.clone();
        tokio::spawn(async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(status.answer(&request)));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(IDLE);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(
                    error = vodbridge_core::chain(&error),
                    "an admin connection ended"
                );
            }
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests;
