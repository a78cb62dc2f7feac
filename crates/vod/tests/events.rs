//! Identity, topics and the edge, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::SystemTime;

use vodbridge_core::{Envelope, Secret};
use vodbridge_vod::signature::callback::{CallbackKeys, Field, SignatureError, Tolerance};
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};

const DELETED: &str = r#"{"EventType":"FileDeleted","FileDeleteEvent":{"FileIdSet":["1"]}}"#;
const PULLED: &str =
    r#"{"EventType":"PullComplete","PullCompleteEvent":{"TaskId":"t","Status":"FINISH"}}"#;

fn normalizer(sub_app_id: u64, via: Via) -> Normalizer {
    let catalogue = Catalogue::new(["FastClipComplete".to_owned()]).unwrap();
    Normalizer::new(sub_app_id, "eu_west", via, Arc::new(catalogue))
}

fn event(normalizer: &Normalizer, body: &str, occurrence: Option<&str>) -> Envelope {
    let notification = Notification::parse(body.as_bytes()).unwrap();
    let normalized = normalizer.normalize(&notification, SystemTime::UNIX_EPOCH);
    normalized.unwrap().into_envelope(occurrence)
}

#[test]
fn id_takes_in_the_occurrence_of_repeatable_types_only() {
    let normalizer = normalizer(1, Via::Queue);
    let id = |body, occurrence| event(&normalizer, body, occurrence).id().to_owned();
    assert_eq!(id(DELETED, Some("h1")), id(DELETED, Some("h1")));
    assert_ne!(id(DELETED, Some("h1")), id(DELETED, Some("h2")));
    assert_ne!(id(DELETED, Some("h1")), id(DELETED, None));
    assert_eq!(id(PULLED, Some("h1")), id(PULLED, Some("h2")));
    assert_eq!(id(PULLED, Some("h1")), id(PULLED, None));
}

#[test]
fn id_is_the_fingerprint_where_nothing_else_tells() {
    let notification = Notification::parse(PULLED.as_bytes()).unwrap();
    let normalized = normalizer(1, Via::Queue).normalize(&notification, SystemTime::now());
    let normalized = normalized.unwrap();
    assert!(!normalized.is_repeatable());
    let fingerprint = normalized.fingerprint();
    let hex: String = fingerprint
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(normalized.into_envelope(None).id(), hex);
}

#[test]
fn id_tells_applications_and_types_apart_but_not_sources() {
    let id = |sub_app_id, via, body| {
        event(&normalizer(sub_app_id, via), body, None)
            .id()
            .to_owned()
    };
    let first = id(1, Via::Webhook, PULLED);
    assert_eq!(first, id(1, Via::Queue, PULLED));
    assert_ne!(first, id(2, Via::Webhook, PULLED));
    let other = PULLED.replace("\"PullComplete\"", "\"EditMediaComplete\"");
    assert_ne!(first, id(1, Via::Webhook, &other));
}

#[test]
fn only_known_names_reach_a_topic() {
    let normalizer = normalizer(1, Via::Webhook);
    for (body, name, topic) in [
        (DELETED, "FileDeleted", "FileDeleted"),
        (
            r#"{"EventType":"FastClipComplete","A":{}}"#,
            "FastClipComplete",
            "FastClipComplete",
        ),
        (r#"{"EventType":"evil.>","A":{}}"#, "evil.>", "other"),
        (
            r#"{"eventType":"FileDeleted","data":{}}"#,
            "v2.FileDeleted",
            "v2.FileDeleted",
        ),
        (
            r#"{"eventType":"FastClipComplete","data":{}}"#,
            "v2.FastClipComplete",
            "v2.other",
        ),
        (r#"{"EventType":"v2.FileDeleted","A":{}}"#, "A", "other"),
    ] {
        let event = event(&normalizer, body, None);
        assert_eq!(event.ty(), format!("com.tencent.cloud.vod.{name}"));
        assert_eq!(event.label("event_type"), Some(name));
        assert_eq!(event.topic_label("event_type"), Some(topic));
    }
}

#[test]
fn says_where_it_comes_from() {
    let event = event(&normalizer(1_500_012_345, Via::Queue), DELETED, None);
    let attributes: Vec<_> = event.attributes().collect();
    assert!(attributes.contains(&("source", "https://vod.tencentcloudapi.com/1500012345")));
    assert_eq!(event.extension("vodsubappid"), Some("1500012345"));
    assert_eq!(event.extension("vodsource"), Some("queue"));
    assert_eq!(event.label("sub_app_id"), Some("1500012345"));
    assert_eq!(event.label("source"), Some("eu_west"));
    assert_eq!(event.partition_key(), Some("1"));
    assert_eq!(event.time(), "1970-01-01T00:00:00.000Z");
}

#[test]
fn finds_the_handle_and_the_signature() {
    let body = r#"{"T":1700000000,"EventHandle":"\u0068-1","Sign":"a","A":{"Sign":"b","T":2}}"#;
    let notification = Notification::parse(body.as_bytes()).unwrap();
    assert_eq!(notification.handle().as_deref(), Some("h-1"));
    let fields = notification.sign_fields();
    assert_eq!(fields.sign, Field::Once("a".into()));
    assert_eq!(fields.t, Field::Once("1700000000".into()));

    let notification = Notification::parse(br#"{"Sign":"a","\u0053ign":"b","T":null}"#).unwrap();
    assert_eq!(notification.handle(), None);
    assert_eq!(notification.sign_fields().sign, Field::Repeated);
    assert_eq!(notification.sign_fields().t, Field::Absent);
    let keys = CallbackKeys::new(vec![Secret::new("k")], Tolerance::default());
    let verdict = keys.verify(Some(notification.sign_fields()), None, SystemTime::now());
    assert_eq!(verdict, Err(SignatureError::Duplicated));
}
