//! What becomes of every notification in `notifications/`, compared with `golden/`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use vodbridge_core::Envelope;
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via, catalogue, labels};

fn normalizer() -> Normalizer {
    Normalizer::new(1_500_012_345, "callback", Via::Webhook, Arc::default())
}

/// 2026-01-02T03:04:05.678901Z.
fn received() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(1_767_323_045_678_901)
}

fn notifications() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notifications");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|file| file.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let name = |file: &Path| file.file_stem().unwrap().to_str().unwrap().to_owned();
    let read = |file: PathBuf| (name(&file), fs::read(&file).unwrap());
    files.into_iter().map(read).collect()
}

/// The event of one notification, and what a golden file says of it.
fn convert(body: &[u8]) -> (Envelope, Value) {
    let notification = Notification::parse(body).unwrap();
    let normalized = normalizer().normalize(&notification, received()).unwrap();
    let repeatable = normalized.is_repeatable();
    let envelope = normalized.into_envelope(Some("occurrence"));
    let pairs = envelope.attributes();
    let attributes: Map<String, Value> = pairs.map(|(n, v)| (n.to_owned(), v.into())).collect();
    let labels: Map<String, Value> = ["event_type", "outcome", "sub_app_id", "source"]
        .into_iter()
        .map(|name| (name.to_owned(), envelope.label(name).into()))
        .collect();
    let golden = json!({
        "attributes": attributes,
        "labels": labels,
        "topic": envelope.topic_label("event_type"),
        "repeatable": repeatable,
        "data_starts": String::from_utf8(envelope.data().to_vec()).unwrap().chars().take(60).collect::<String>(),
    });
    (envelope, golden)
}

#[test]
fn every_notification_becomes_its_golden_event() {
    let bless = std::env::var_os("VODBRIDGE_BLESS").is_some();
    let mut wrong = Vec::new();
    for (name, body) in notifications() {
        let (_, golden) = convert(&body);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
        if bless {
            let text = serde_json::to_string_pretty(&golden).unwrap() + "\n";
            fs::write(&file, text).unwrap();
        }
        let text =
            fs::read_to_string(&file).unwrap_or_else(|_| panic!("no golden file for {name}"));
        let expected: Value = serde_json::from_str(&text).unwrap();
        if golden != expected {
            wrong.push(format!("{name}:\n{golden:#}\nbut golden:\n{expected:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_documented_type_has_a_golden_event() {
    let events: BTreeSet<String> = notifications()
        .iter()
        .map(|(_, body)| convert(body).0.label("event_type").unwrap().to_owned())
        .collect();
    for name in catalogue::documented_names() {
        assert!(events.contains(name), "{name}");
    }
}

#[test]
fn structured_form_is_one_line_of_json_that_agrees() {
    for (name, body) in notifications() {
        let (envelope, golden) = convert(&body);
        let text = envelope.structured();
        assert!(!text.contains(&b'\n'), "{name}");
        let Ok(Value::Object(event)) = serde_json::from_slice(&text) else {
            panic!("{name} is no object");
        };
        for (attribute, value) in golden["attributes"].as_object().unwrap() {
            assert_eq!(event[attribute], *value, "{name}");
        }
        let data: Value = serde_json::from_slice(&envelope.data()).unwrap();
        assert_eq!(event["data"], data, "{name}");
    }
}

/// Nulls, the handle, white space and key order are how a notification comes, not what it says.
#[test]
fn push_and_pull_forms_are_the_same_event() {
    let bodies: std::collections::HashMap<_, _> = notifications().into_iter().collect();
    let fingerprint = |name: &str| {
        let notification = Notification::parse(&bodies[name]).unwrap();
        let queue = Normalizer::new(
            1_500_012_345,
            "q",
            Via::Queue,
            Arc::new(Catalogue::default()),
        );
        let source = if name.ends_with("-pull") {
            queue
        } else {
            normalizer()
        };
        source
            .normalize(&notification, received())
            .unwrap()
            .fingerprint()
    };
    for (push, pull) in [
        ("FileDeleted", "FileDeleted-pull"),
        ("RestoreMediaComplete", "RestoreMediaComplete-pull"),
        ("ComposeMediaComplete", "ComposeMediaComplete-notype-pull"),
    ] {
        assert_eq!(fingerprint(push), fingerprint(pull), "{push}");
    }
    assert_ne!(fingerprint("FileDeleted"), fingerprint("FileDeleted-multi"));
}

#[test]
fn what_stays_at_the_edge_is_in_no_event() {
    for (name, body) in notifications() {
        let structured = convert(&body).0.structured();
        for edge in ["\"EventHandle\"", "\"Sign\"", "\"T\""] {
            let found = memchr::memmem::find(&structured, edge.as_bytes());
            assert_eq!(found, None, "{edge} in {name}");
        }
    }
}

#[test]
fn the_labels_an_event_follow_from_its_attributes() {
    let catalogue = Catalogue::default();
    for (name, body) in notifications() {
        let (envelope, _) = convert(&body);
        let bare = Envelope::from_structured(envelope.structured(), Vec::new()).unwrap();
        let labels = labels(&bare, "callback", &catalogue);
        assert_eq!(labels.as_deref(), Some(envelope.labels()), "{name}");
    }
}
