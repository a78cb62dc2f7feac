//! Every metric of a delivery, in one place. Labels come from closed sets only.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::{Envelope, PublishError};

/// 0.2 ms to 25 s.
const SECONDS: [f64; 16] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.5, 12.0,
    25.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedLabels {
    sink: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReceivedLabels {
    source: Arc<str>,
    event_type: Cow<'static, str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    source: Arc<str>,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    source: Arc<str>,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AckLabels {
    sink: String,
    meaning: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// The counters, gauges and histograms of one bridge.
#[derive(Debug, Clone)]
pub struct Metrics {
    received: Family<ReceivedLabels, Counter>,
    published: Family<SinkLabel, Counter>,
    acked: Family<SinkLabel, Counter>,
    failed: Family<FailedLabels, Counter>,
    ack_seconds: Histograms<SinkLabel>,
    shadow_dropped: Family<SinkLabel, Counter>,
    dead_lettered: Family<ReasonLabels, Counter>,
    not_delivered: Family<SourceLabel, Counter>,
    undelivered: Family<ReasonLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    joined: Family<SourceLabel, Counter>,
    resumed: Family<SourceLabel, Counter>,
    in_flight: Family<SourceLabel, Gauge>,
    answers: Family<AnswerLabels, Counter>,
    answer_seconds: Histograms<SourceLabel>,
    ack_info: Family<AckLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            received: Family::default(),
            published: Family::default(),
            acked: Family::default(),
            failed: Family::default(),
            ack_seconds: Family::new_with_constructor(seconds),
            shadow_dropped: Family::default(),
            dead_lettered: Family::default(),
            not_delivered: Family::default(),
            undelivered: Family::default(),
            refused: Family::default(),
            joined: Family::default(),
            resumed: Family::default(),
            in_flight: Family::default(),
            answers: Family::default(),
            answer_seconds: Family::new_with_constructor(seconds),
            ack_info: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers every metric, under the prefix `vodbridge`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("vodbridge");
        r.register(
            "events_received",
            "Events received, by source and event type",
            self.received.clone(),
        );
        r.register(
            "publishes",
            "Publishes started, retries included",
            self.published.clone(),
        );
        r.register(
            "publishes_acked",
            "Publishes that the broker acknowledged",
            self.acked.clone(),
        );
        r.register(
            "publishes_failed",
            "Publishes that failed, by kind",
            self.failed.clone(),
        );
        r.register(
            "publish_ack_seconds",
            "From publish to the broker's ack",
            self.ack_seconds.clone(),
        );
        r.register(
            "shadow_dropped",
            "Publishes to a shadow sink dropped because it was full",
            self.shadow_dropped.clone(),
        );
        r.register(
            "dead_letters",
            "Dead letters written, by reason",
            self.dead_lettered.clone(),
        );
        r.register(
            "deliveries_not_delivered",
            "Deliveries that ended without every ack",
            self.not_delivered.clone(),
        );
        r.register(
            "events_undelivered",
            "Webhook events that no sink took within the patience, by whether they were kept",
            self.undelivered.clone(),
        );
        r.register(
            "requests_refused",
            "Requests refused, by reason",
            self.refused.clone(),
        );
        r.register(
            "copies_joined",
            "Copies that joined a delivery in flight",
            self.joined.clone(),
        );
        r.register(
            "copies_resumed",
            "Copies that went on where an ended delivery stopped",
            self.resumed.clone(),
        );
        r.register(
            "deliveries_in_flight",
            "Deliveries that hold a permit",
            self.in_flight.clone(),
        );
        r.register(
            "answers",
            "Requests answered, by status",
            self.answers.clone(),
        );
        r.register(
            "answer_seconds",
            "From the request's head to its answer 200",
            self.answer_seconds.clone(),
        );
        r.register(
            "sink_ack_info",
            "What an ack of the sink means",
            self.ack_info.clone(),
        );
    }

    /// States what an ack of the sink means.
    pub fn ack_means(&self, sink: &str, meaning: &str) {
        self.ack_info
            .get_or_create(&AckLabels {
                sink: sink.to_owned(),
                meaning: meaning.to_owned(),
            })
            .set(1);
    }

    pub(crate) fn dead_lettered(&self, source: &Arc<str>, reason: &'static str) {
        self.dead_lettered
            .get_or_create(&ReasonLabels {
                source: source.clone(),
                reason,
            })
            .inc();
    }

    /// The handles of one sink, looked up once.
    pub(crate) fn sink(&self, name: &str) -> SinkMetrics {
        let label = SinkLabel {
            sink: name.to_owned(),
        };
        let failed = |kind| {
            self.failed.get_or_create_owned(&FailedLabels {
                sink: name.to_owned(),
                kind,
            })
        };
        SinkMetrics {
            published: self.published.get_or_create_owned(&label),
            acked: self.acked.get_or_create_owned(&label),
            transient: failed("transient"),
            unroutable: failed("unroutable"),
            permanent: failed("permanent"),
            ack_seconds: self.ack_seconds.get_or_create_owned(&label),
            shadow_dropped: self.shadow_dropped.get_or_create_owned(&label),
        }
    }

    /// The handles of one source, looked up once.
    pub fn source(&self, name: &str) -> SourceMetrics {
        let label = SourceLabel {
            source: name.to_owned(),
        };
        SourceMetrics {
            source: name.into(),
            not_delivered: self.not_delivered.get_or_create_owned(&label),
            joined: self.joined.get_or_create_owned(&label),
            resumed: self.resumed.get_or_create_owned(&label),
            in_flight: self.in_flight.get_or_create_owned(&label),
            answer_seconds: self.answer_seconds.get_or_create_owned(&label),
            all: self.clone(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct SinkMetrics {
    pub(crate) published: Counter,
    acked: Counter,
    transient: Counter,
    unroutable: Counter,
    permanent: Counter,
    ack_seconds: Histogram,
    pub(crate) shadow_dropped: Counter,
}

impl SinkMetrics {
    pub(crate) fn acked(&self, after: Duration) {
        self.acked.inc();
        self.ack_seconds.observe(after.as_secs_f64());
    }

    pub(crate) fn failed(&self, error: &PublishError) {
        match error {
            PublishError::Transient(_) => self.transient.inc(),
            PublishError::Unroutable(_) => self.unroutable.inc(),
            PublishError::Permanent(_) => self.permanent.inc(),
        };
    }
}

/// The metrics of one source.
#[derive(Debug)]
pub struct SourceMetrics {
    source: Arc<str>,
    pub(crate) not_delivered: Counter,
    pub(crate) joined: Counter,
    pub(crate) resumed: Counter,
    pub(crate) in_flight: Gauge,
    answer_seconds: Histogram,
    all: Metrics,
}

impl SourceMetrics {
    /// An event was received, by whichever way it goes on.
    pub fn received(&self, envelope: &Envelope) {
        let event_type = envelope.owned_topic_label("event_type");
        let labels = ReceivedLabels {
            source: self.source.clone(),
            event_type: event_type.unwrap_or("other".into()),
        };
        self.all.received.get_or_create(&labels).inc();
    }

    /// A request was refused before it became an event.
    pub fn refused(&self, reason: &'static str) {
        self.all.refused.get_or_create(&self.reason(reason)).inc();
    }

    /// An event that no sink took in time was appended to the undelivered file, or was lost.
    pub fn undelivered(&self, kept: bool) {
        self.all
            .undelivered
            .get_or_create(&self.reason(if kept { "kept" } else { "lost" }))
            .inc();
    }

    /// A request was answered, `after` its head came.
    pub fn answered(&self, status: u16, after: Duration) {
        self.all
            .answers
            .get_or_create(&AnswerLabels {
                source: self.source.clone(),
                status,
            })
            .inc();
        if status == 200 {
            self.answer_seconds.observe(after.as_secs_f64());
        }
    }

    fn reason(&self, reason: &'static str) -> ReasonLabels {
        ReasonLabels {
            source: self.source.clone(),
            reason,
        }
    }
}
