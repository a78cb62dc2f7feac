//! What librdkafka tells a producer: delivery reports, errors, log lines and statistics.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use serde::Deserialize;
use tokio::sync::{oneshot, watch};
use vodbridge_core::{HealthCell, Problem};

use crate::error::remedy;

/// The broker's verdict on one record.
pub(crate) type Verdict = Result<(), Code>;
/// Where the verdict goes.
pub(crate) type Reply = Box<oneshot::Sender<Verdict>>;

/// What is known of one of the sink's connections, whichever producer holds it now.
pub(crate) struct Status {
    sink: String,
    pub(crate) health: HealthCell,
    /// True once a broker has been reached and has given out a producer id.
    pub(crate) ready: watch::Sender<bool>,
    cause: Mutex<Option<Problem>>,
    logged: Arc<LogLimit>,
    /// The brokers have said something about a record since the last statistics.
    heard: AtomicBool,
    /// How many statistics in a row saw records wait and nothing heard.
    silent: AtomicU32,
}

/// Statistics come once a second.
const SILENCE: u32 = 5;

impl Status {
    pub(crate) fn new(sink: &str, brokers: &[String], logged: Arc<LogLimit>) -> Self {
        Self {
            sink: sink.to_owned(),
            health: HealthCell::starting(format!("connecting to {}", brokers.join(", "))),
            ready: watch::Sender::new(false),
            cause: Mutex::new(None),
            logged,
            heard: AtomicBool::new(false),
            silent: AtomicU32::new(0),
        }
    }

    fn failed(&self, code: Code, reason: &str) {
        let problem = Problem {
            what: reason.to_owned(),
            remedy: remedy(code).to_owned(),
        };
        // One broker less is a warning; none left, or a producer that gave up, is an outage.
        let outage = matches!(code, Code::AllBrokersDown | Code::Fatal);
        if self.logged.allows(code) {
            if outage || code == Code::OutOfOrderSequenceNumber {
                tracing::error!(sink = self.sink, remedy = problem.remedy, "{reason}");
            } else {
                tracing::warn!(sink = self.sink, remedy = problem.remedy, "{reason}");
            }
        }
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        if outage {
            let Problem { what, remedy } = cause.take().unwrap_or(problem);
            self.health.down(what, remedy);
        } else {
            *cause = Some(problem);
        }
    }

    /// Whether the brokers leave `waiting` records without a word for so long that something is
    /// wrong: one hangs, or a topic lacks in-sync replicas. librdkafka calls that no error.
    fn hangs(&self, waiting: u64) -> bool {
        if self.heard.swap(false, Relaxed) || waiting == 0 {
            self.silent.store(0, Relaxed);
            return false;
        }
        self.silent.fetch_add(1, Relaxed) + 1 >= SILENCE
    }

    fn hung(&self, waiting: u64) {
        let what = format!("the brokers acked none of {waiting} events for {SILENCE} s");
        let remedy = "look whether a broker hangs, and whether each topic has as many in-sync \
                      replicas as its `min.insync.replicas`";
        // In the log it stands once, although the number changes.
        if self.health.down(&what, remedy) {
            tracing::error!(sink = self.sink, remedy, "{what}");
        }
    }

    fn connected(&self, brokers: &[&str]) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self
            .health
            .up(format!("connected to {}", brokers.join(", ")))
        {
            tracing::info!(
                sink = self.sink,
                brokers = brokers.join(","),
                "kafka is reachable"
            );
        }
    }
}

/// The context of one producer.
pub(crate) struct Context(pub(crate) Arc<Status>);

impl ClientContext for Context {
    /// librdkafka reports each failure as a log line and twice as an error; the error is logged.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let sink = self.0.sink.as_str();
        match level {
            _ if matches!(facility, "FAIL" | "ERROR" | "FATAL") => {}
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Debug => {
                tracing::debug!(sink, facility, "{message}");
            }
            _ => tracing::warn!(sink, facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        self.0.failed(code, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else {
            return;
        };
        if let Some(fatal) = &statistics.fatal {
            return self.0.failed(Code::Fatal, &fatal.reason);
        }
        let hangs = self.0.hangs(statistics.msg_cnt);
        let brokers = statistics.connected();
        match brokers[..] {
            // Which is known from an error.
            [] => {}
            [..] if hangs => self.0.hung(statistics.msg_cnt),
            [..] => self.0.connected(&brokers),
        }
        if statistics.has_producer_id() {
            self.0.ready.send_replace(true);
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Reply;

    fn delivery(&self, result: &DeliveryResult<'_>, reply: Reply) {
        let verdict = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(Code::Unknown)),
        };
        if verdict != Err(Code::MessageTimedOut) {
            self.0.heard.store(true, Relaxed);
        }
        // Nobody listens where the publish was given up.
        reply.send(verdict).ok();
    }
}

/// The part of librdkafka's statistics that tells whether a publish would get through.
/// <https://github.com/confluentinc/librdkafka/blob/v2.12.1/STATISTICS.md>
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    /// Records that have no verdict yet.
    #[serde(default)]
    msg_cnt: u64,
    eos: Option<Idempotence>,
    fatal: Option<Fatal>,
}

#[derive(Deserialize)]
struct Fatal {
    reason: String,
}

#[derive(Deserialize)]
struct Broker {
    nodename: String,
    state: String,
}

#[derive(Deserialize)]
struct Idempotence {
    idemp_state: String,
}

impl Statistics {
    fn connected(&self) -> Vec<&str> {
        let up = self.brokers.values().filter(|b| b.state == "UP");
        let mut names: Vec<&str> = up.map(|b| b.nodename.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn has_producer_id(&self) -> bool {
        self.eos
            .as_ref()
            .is_some_and(|e| e.idemp_state == "Assigned")
    }
}

/// Lets one line of a kind through in a while.
#[derive(Default)]
pub(crate) struct LogLimit(Mutex<HashMap<i32, Instant>>);

impl LogLimit {
    const PAUSE: Duration = Duration::from_secs(30);

    fn allows(&self, code: Code) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match last.get(&(code as i32)) {
            Some(at) if now.duration_since(*at) < Self::PAUSE => false,
            _ => {
                last.insert(code as i32, now);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_error_is_logged_once_in_a_while() {
        let limit = LogLimit::default();
        assert!(limit.allows(Code::SSL));
        assert!(!limit.allows(Code::SSL));
        assert!(limit.allows(Code::Resolve));
    }

    #[test]
    fn statistics_tell_connection_and_producer_id() {
        let json = r#"{"name":"x","brokers":{"b:1/0":{"nodename":"b:1","nodeid":0,"state":"UP"},
            "b:2/1":{"nodename":"b:2","state":"DOWN"}},"eos":{"idemp_state":"Assigned"}}"#;
        let statistics: Statistics = serde_json::from_str(json).unwrap();
        assert_eq!(statistics.connected(), ["b:1"]);
        assert!(statistics.has_producer_id());
    }

    #[test]
    fn records_without_a_word_for_five_seconds_are_a_problem() {
        let status = Arc::new(Status::new("events", &["b:1".into()], Arc::default()));
        let context = Context(status.clone());
        let second = |waiting: u32| {
            let json = format!(
                r#"{{"brokers":{{"b:1/0":{{"nodename":"b:1","state":"UP"}}}},"msg_cnt":{waiting}}}"#
            );
            context.stats_raw(json.as_bytes());
            status.health.get().state.as_str()
        };
        assert_eq!([2; 5].map(second), ["up", "up", "up", "up", "down"]);
        let problem = status.health.get().problem.unwrap();
        assert!(problem.what.contains("none of 2 events"), "{problem:?}");
        status.heard.store(true, Relaxed);
        assert_eq!([1; 5].map(second), ["up"; 5]);
        assert_eq!(second(0), "up");
        assert_eq!(second(1), "up");
    }

    #[test]
    fn an_outage_is_explained_by_the_error_before_it() {
        let status = Status::new("events", &["b:1".into()], Arc::default());
        status.failed(Code::Authentication, "SASL authentication failed");
        assert_eq!(status.health.get().state.as_str(), "starting");
        status.failed(Code::AllBrokersDown, "1/1 brokers are down");
        let health = status.health.get();
        assert_eq!(health.state.as_str(), "down");
        let problem = health.problem.unwrap();
        assert!(problem.what.contains("SASL") && problem.remedy.contains("sasl.password"));
        status.connected(&["b:1"]);
        assert_eq!(status.health.get().doing, "connected to b:1");
    }
}
