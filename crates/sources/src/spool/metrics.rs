//! What is counted of a spool.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use vodbridge_store::Store;

/// An fsync on a good disk takes 0.2 ms to 5 ms; at 4.3 s it comes too late for an answer.
const SECONDS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 5.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    source: String,
    reason: &'static str,
}

type Level = Family<SourceLabel, Gauge>;
type Seconds = Gauge<f64, AtomicU64>;
type Count = Family<SourceLabel, Counter>;

/// The metrics of all spools of a bridge.
#[derive(Debug, Clone)]
pub struct SpoolMetrics {
    records: Level,
    bytes: Level,
    max_bytes: Level,
    damaged: Level,
    oldest: Family<SourceLabel, Seconds>,
    appended: Count,
    delivered: Count,
    expired: Count,
    failed: Count,
    refused: Family<ReasonLabels, Counter>,
    append: Family<SourceLabel, Histogram, fn() -> Histogram>,
}

impl Default for SpoolMetrics {
    fn default() -> Self {
        Self {
            records: Family::default(),
            bytes: Family::default(),
            max_bytes: Family::default(),
            damaged: Family::default(),
            oldest: Family::default(),
            appended: Family::default(),
            delivered: Family::default(),
            expired: Family::default(),
            failed: Family::default(),
            refused: Family::default(),
            append: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

impl SpoolMetrics {
    /// Registers every metric, under the prefix `vodbridge_spool`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("vodbridge_spool");
        r.register("records", "Records that wait", self.records.clone());
        r.register(
            "bytes",
            "Bytes of the store that hold something",
            self.bytes.clone(),
        );
        r.register(
            "max_bytes",
            "What `max_bytes` allows them to be",
            self.max_bytes.clone(),
        );
        r.register(
            "damaged_records",
            "Records that are damaged and set aside",
            self.damaged.clone(),
        );
        r.register(
            "oldest_age_seconds",
            "For how long the oldest record has waited",
            self.oldest.clone(),
        );
        r.register("appended", "Records written", self.appended.clone());
        r.register(
            "delivered",
            "Records whose events were acked or dead-lettered",
            self.delivered.clone(),
        );
        r.register(
            "expired",
            "Records dead-lettered after `max_age`",
            self.expired.clone(),
        );
        r.register(
            "deliveries_failed",
            "Deliveries out of the spool that ended without every ack; they are tried again",
            self.failed.clone(),
        );
        r.register(
            "refused",
            "Events that could not be written, by reason: full, broken, slow",
            self.refused.clone(),
        );
        r.register(
            "append_seconds",
            "From an event to its durable record",
            self.append.clone(),
        );
    }

    /// The metrics of one source's spool, looked up once.
    pub fn source(&self, name: &str) -> SpoolSourceMetrics {
        let label = SourceLabel {
            source: name.to_owned(),
        };
        let refused = |reason| {
            let source = name.to_owned();
            self.refused
                .get_or_create_owned(&ReasonLabels { source, reason })
        };
        SpoolSourceMetrics {
            records: self.records.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            max_bytes: self.max_bytes.get_or_create_owned(&label),
            damaged: self.damaged.get_or_create_owned(&label),
            oldest: self.oldest.get_or_create_owned(&label),
            appended: self.appended.get_or_create_owned(&label),
            delivered: self.delivered.get_or_create_owned(&label),
            expired: self.expired.get_or_create_owned(&label),
            failed: self.failed.get_or_create_owned(&label),
            full: refused("full"),
            broken: refused("broken"),
            slow: refused("slow"),
            append: self.append.get_or_create_owned(&label),
        }
    }
}

/// The metrics of one source's spool.
#[derive(Debug)]
pub struct SpoolSourceMetrics {
    records: Gauge,
    bytes: Gauge,
    max_bytes: Gauge,
    damaged: Gauge,
    oldest: Seconds,
    pub(super) appended: Counter,
    pub(super) delivered: Counter,
    pub(super) expired: Counter,
    pub(super) failed: Counter,
    pub(super) full: Counter,
    pub(super) broken: Counter,
    pub(super) slow: Counter,
    append: Histogram,
}

impl SpoolSourceMetrics {
    pub(super) fn append_took(&self, time: Duration) {
        self.append.observe(time.as_secs_f64());
    }

    /// Takes over what the store holds now.
    pub(super) fn measure(&self, store: &Store) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let stats = store.stats();
        self.records.set(number(stats.records));
        self.bytes.set(number(stats.bytes));
        self.max_bytes.set(number(store.config().max_bytes));
        self.damaged.set(number(stats.damaged));
        let age = store.oldest_age(SystemTime::now());
        self.oldest.set(age.unwrap_or_default().as_secs_f64());
    }
}
