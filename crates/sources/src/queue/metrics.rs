//! What is counted of a queue source.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Up to the cloud's lease of 30 s.
const SECONDS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    source: String,
    result: &'static str,
}

type Histograms = Family<SourceLabel, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// The counters, gauges and histograms of all queue sources of a bridge.
#[derive(Debug, Clone)]
pub struct QueueMetrics {
    pulls: Family<ResultLabels, Counter>,
    confirms: Family<ResultLabels, Counter>,
    lease_expired: Family<SourceLabel, Counter>,
    withheld: Family<SourceLabel, Counter>,
    backlog: Family<SourceLabel, Gauge>,
    lease_margin: Histograms,
    pull_to_confirm: Histograms,
}

impl Default for QueueMetrics {
    fn default() -> Self {
        Self {
            pulls: Family::default(),
            confirms: Family::default(),
            lease_expired: Family::default(),
            withheld: Family::default(),
            backlog: Family::default(),
            lease_margin: Family::new_with_constructor(seconds),
            pull_to_confirm: Family::new_with_constructor(seconds),
        }
    }
}

impl QueueMetrics {
    /// Registers every metric, under the prefix `vodbridge`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("vodbridge");
        r.register(
            "queue_pulls",
            "PullEvents calls, by result",
            self.pulls.clone(),
        );
        r.register(
            "queue_confirms",
            "Handles confirmed, or not: stale, failed",
            self.confirms.clone(),
        );
        r.register(
            "queue_lease_expired",
            "Handles not confirmed because their lease was over; their events come again",
            self.lease_expired.clone(),
        );
        r.register(
            "queue_handles_withheld",
            "Handles not confirmed because an event that bears them was not delivered",
            self.withheld.clone(),
        );
        r.register(
            "queue_backlog",
            "Events that wait in the cloud, as the cloud counts them: minutes late",
            self.backlog.clone(),
        );
        r.register(
            "queue_lease_margin_seconds",
            "What was left of the lease when a handle was confirmed",
            self.lease_margin.clone(),
        );
        r.register(
            "queue_pull_to_confirm_seconds",
            "From sending the pull to the end of the confirm",
            self.pull_to_confirm.clone(),
        );
    }

    /// The metrics of one source, looked up once.
    pub fn source(&self, name: &str) -> QueueSourceMetrics {
        let label = SourceLabel {
            source: name.to_owned(),
        };
        QueueSourceMetrics {
            source: name.to_owned(),
            lease_expired: self.lease_expired.get_or_create_owned(&label),
            withheld: self.withheld.get_or_create_owned(&label),
            backlog: self.backlog.get_or_create_owned(&label),
            lease_margin: self.lease_margin.get_or_create_owned(&label),
            pull_to_confirm: self.pull_to_confirm.get_or_create_owned(&label),
            all: self.clone(),
        }
    }
}

/// The metrics of one queue source.
#[derive(Debug)]
pub struct QueueSourceMetrics {
    source: String,
    pub(super) lease_expired: Counter,
    pub(super) withheld: Counter,
    pub(super) backlog: Gauge,
    lease_margin: Histogram,
    pull_to_confirm: Histogram,
    all: QueueMetrics,
}

impl QueueSourceMetrics {
    pub(super) fn pulled(&self, result: &'static str) {
        self.all.pulls.get_or_create(&self.result(result)).inc();
    }

    pub(super) fn confirm(&self, result: &'static str, handles: usize) {
        self.all
            .confirms
            .get_or_create(&self.result(result))
            .inc_by(handles as u64);
    }

    pub(super) fn confirmed(&self, margin: Duration, since_pull: Duration) {
        self.lease_margin.observe(margin.as_secs_f64());
        self.pull_to_confirm.observe(since_pull.as_secs_f64());
    }

    fn result(&self, result: &'static str) -> ResultLabels {
        ResultLabels {
            source: self.source.clone(),
            result,
        }
    }
}
