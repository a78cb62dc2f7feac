//! From a dead letter back to an event, and where it is to go.

use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail, ensure};
use vodbridge_core::{Content, DeadLetter, Envelope, Router};
use vodbridge_vod::{Normalizer, Notification, TraceContext, Via, labels};

use crate::assemble;
use crate::config::{Config, Source};

/// Where the operator wants events to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::dead_letter) enum To {
    /// To the sink that refused it, else along the routes.
    Refuser,
    /// Along the routes.
    Routes,
    /// To this sink.
    Sink(String),
}

/// An event, and the sinks that it is to be published to; at least one.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) event: Envelope,
    pub(super) sinks: Vec<String>,
}

/// Makes events of dead letters, with the configuration as it is now.
pub(super) struct Restorer<'c> {
    config: &'c Config,
    router: Router,
    to: To,
}

impl<'c> Restorer<'c> {
    pub(super) fn new(config: &'c Config, to: To) -> Self {
        Self {
            config,
            router: assemble::router(config),
            to,
        }
    }

    /// The event, with the id that it has, or that a running bridge would give it.
    ///
    /// # Errors
    ///
    /// It stays a dead letter.
    pub(super) fn restore(&self, letter: &DeadLetter) -> Result<Restored> {
        let event = match &letter.content {
            Content::Event(event) => {
                let labels = labels(event, &letter.source, &self.config.catalogue);
                let labels = labels.with_context(|| {
                    format!(
                        "its event is of the type {:?}, which vodbridge does not make",
                        event.ty()
                    )
                })?;
                Envelope::from_structured(event.structured(), labels)?
            }
            Content::Raw { .. } => self.recognise(letter)?,
        };
        let sinks = self.sinks(letter, &event)?;
        Ok(Restored { event, sinks })
    }

    fn sinks(&self, letter: &DeadLetter, event: &Envelope) -> Result<Vec<String>> {
        match (&self.to, &letter.sink) {
            (To::Sink(sink), _) => return Ok(vec![sink.clone()]),
            (To::Refuser, Some(sink)) => {
                ensure!(
                    self.config.sinks.contains_key(sink),
                    "its sink {sink} is not in the configuration: say --to or --route"
                );
                return Ok(vec![sink.clone()]);
            }
            (To::Refuser, None) | (To::Routes, _) => {}
        }
        let required = self.router.targets(event).required;
        let names: Vec<_> = self.config.sinks.keys().collect();
        let sinks: Vec<_> = required.iter().map(|sink| names[sink].clone()).collect();
        if sinks.is_empty() {
            bail!("no route names a sink for it: change the routes, or say --to");
        }
        Ok(sinks)
    }

    /// Reads a raw notification as its source would have.
    fn recognise(&self, letter: &DeadLetter) -> Result<Envelope> {
        let Content::Raw {
            body,
            headers,
            occurrence,
        } = &letter.content
        else {
            bail!("it is no raw notification");
        };
        let source = self.config.sources.get(&*letter.source);
        let source = source.with_context(|| {
            format!("its source {} is not in the configuration, and a notification does not say whose it is", letter.source)
        })?;
        let via = match source {
            Source::Webhook(_) => Via::Webhook,
            Source::Queue(_) => Via::Queue,
        };
        let catalogue = self.config.catalogue.clone();
        let normalizer = Normalizer::new(source.sub_app_id(), &letter.source, via, catalogue);
        let notification = Notification::parse(body).context("it still cannot be read")?;
        let normalized = normalizer.normalize(&notification, letter.first);
        let normalized = normalized.context("it is still not recognised")?;
        let header = |name| {
            let found = headers.iter().find(|(header, _)| header == name);
            found.map(|(_, value)| value.as_str())
        };
        let trace = header("traceparent");
        let trace = trace.and_then(|parent| TraceContext::new(parent, header("tracestate")));
        // The source's own name for this happening of it, else the time of receipt, which is what
        // tells callbacks apart: the same however often it is replayed.
        let handle = notification.handle();
        let occurrence = match (occurrence, &handle) {
            (Some(occurrence), _) => occurrence.to_string(),
            (None, Some(handle)) if via == Via::Queue => handle.to_string(),
            (None, _) => {
                let received = letter.first.duration_since(UNIX_EPOCH).unwrap_or_default();
                received.as_nanos().to_string()
            }
        };
        Ok(normalized
            .with_trace(trace)
            .into_envelope(Some(&occurrence)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use vodbridge_core::Reason;

    use super::*;

    const CONFIG: &str = r#"
state_directory: ./state
sources:
  callback: { webhook: { listen: 127.0.0.1:8080, path: /vod, sub_app_id: 7 } }
  reliable: { queue: { sub_app_id: 8, credentials: { secret_id: { env: ID }, secret_key: { env: KEY } } } }
sinks:
  one: { kafka: { brokers: ["localhost:9092"], topic: "vod.{event_type}" } }
  two: { kafka: { brokers: ["localhost:9093"], topic: "vod.{event_type}" } }
routes:
  deleted: { match: { event_type: [FileDeleted] }, to: { one: {}, two: {} } }
  pulled: { match: { event_type: [PullComplete], source: [reliable] }, to: { two: {}, one: { shadow: true } } }
dead_letter: { sink: one }
"#;

    const DELETED: &str =
        r#"{"EventType":"FileDeleted","FileDeleteEvent":{"FileIdSet":["1"],"N":1e400}}"#;
    const PULLED: &str = r#"{"EventType":"PullComplete","PullCompleteEvent":{"TaskId":"t"}}"#;

    fn config() -> Config {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("vodbridge.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let variables = [("ID", "a"), ("KEY", "b")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let loaded = crate::config::load(&[file], variables);
        loaded.unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn received() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_767_225_600_123)
    }

    /// As the running bridge makes it.
    fn made(config: &Config, source: &str, body: &str, occurrence: &str) -> Envelope {
        let (via, application) = match source {
            "callback" => (Via::Webhook, 7),
            _ => (Via::Queue, 8),
        };
        let normalizer = Normalizer::new(application, source, via, config.catalogue.clone());
        let notification = Notification::parse(body.as_bytes()).unwrap();
        let normalized = normalizer.normalize(&notification, received()).unwrap();
        normalized.into_envelope(Some(occurrence))
    }

    fn letter(source: &str, sink: Option<&str>, content: Content) -> DeadLetter {
        let letter = DeadLetter {
            id: "raw".into(),
            reason: Reason::Panic,
            source: source.into(),
            sink: sink.map(str::to_owned),
            error: None,
            attempts: 0,
            first: received(),
            last: received(),
            content,
        };
        DeadLetter::decode(&letter.encode()).unwrap()
    }

    fn raw(body: &str, occurrence: Option<&str>) -> Content {
        Content::Raw {
            body: body.to_owned().into(),
            headers: Vec::new(),
            occurrence: occurrence.map(Into::into),
        }
    }

    fn assert_same(restored: &Restored, made: &Envelope, sinks: &[&str]) {
        assert_eq!(restored.event.structured(), made.structured());
        assert_eq!(restored.event.labels(), made.labels());
        assert_eq!(restored.sinks, sinks);
    }

    #[test]
    fn an_event_goes_where_it_was_refused_or_where_it_is_told_to() {
        let config = config();
        let event = made(&config, "callback", DELETED, "x");
        let restore = |sink, to| {
            let letter = letter("callback", sink, Content::Event(event.clone()));
            Restorer::new(&config, to).restore(&letter)
        };
        assert_same(
            &restore(Some("two"), To::Refuser).unwrap(),
            &event,
            &["two"],
        );
        assert_same(
            &restore(Some("two"), To::Routes).unwrap(),
            &event,
            &["one", "two"],
        );
        assert_same(
            &restore(Some("two"), To::Sink("one".into())).unwrap(),
            &event,
            &["one"],
        );
        assert_same(
            &restore(None, To::Refuser).unwrap(),
            &event,
            &["one", "two"],
        );
        let gone = restore(Some("three"), To::Refuser).unwrap_err().to_string();
        assert!(gone.contains("--to"), "{gone}");
        let unrouted = made(&config, "callback", PULLED, "x");
        let unrouted = letter("callback", None, Content::Event(unrouted));
        let error = Restorer::new(&config, To::Refuser)
            .restore(&unrouted)
            .unwrap_err();
        assert!(error.to_string().contains("no route"), "{error}");
    }

    #[test]
    fn a_raw_notification_gets_the_id_that_a_bridge_gives_it() {
        let config = config();
        let restorer = Restorer::new(&config, To::Refuser);
        let restore = |source, content| restorer.restore(&letter(source, None, content));
        // A type that happens once, whatever the occurrence.
        let pulled = made(&config, "reliable", PULLED, "whatever");
        assert_same(
            &restore("reliable", raw(PULLED, None)).unwrap(),
            &pulled,
            &["two"],
        );
        // What can happen twice: by the handle, kept beside it or in it.
        let deleted = made(&config, "reliable", DELETED, "handle#1");
        let kept = restore("reliable", raw(DELETED, Some("handle#1"))).unwrap();
        assert_same(&kept, &deleted, &["one", "two"]);
        let with_handle = DELETED.replacen('{', r#"{"EventHandle":"h","#, 1);
        let deleted = made(&config, "reliable", DELETED, "h");
        assert_same(
            &restore("reliable", raw(&with_handle, None)).unwrap(),
            &deleted,
            &["one", "two"],
        );
        // By webhook the time of receipt, the same each time.
        let deleted = made(&config, "callback", DELETED, "1767225600123000000");
        for _ in 0..2 {
            let restored = restore("callback", raw(DELETED, None)).unwrap();
            assert_same(&restored, &deleted, &["one", "two"]);
        }
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let config = config();
        let restorer = Restorer::new(&config, To::Refuser);
        for (source, body, expected) in [
            ("callback", "no JSON", "still cannot be read"),
            ("callback", "{}", "still not recognised"),
            ("other", DELETED, "source other is not in the configuration"),
        ] {
            let error = restorer
                .restore(&letter(source, None, raw(body, None)))
                .unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        let strange = r#"{"specversion":"1.0","id":"1","source":"/","type":"x","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{}}"#;
        let strange = Envelope::from_structured(strange.into(), Vec::new()).unwrap();
        let strange = letter("callback", Some("one"), Content::Event(strange));
        assert!(restorer.restore(&strange).is_err());
    }
}
