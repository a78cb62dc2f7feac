use vodbridge_core::Secret;
use vodbridge_simulator::Notifications;
use vodbridge_simulator::cloud::{Cloud, CloudConfig, Recorded};

use super::*;
use crate::oracle::numbered;

const APPLICATION: u64 = 7;

/// Several forms of every type.
const EVENTS: usize = 500;

/// Books with so many events, and the messages that a bridge would make of them.
async fn books() -> (Books, Vec<Vec<u8>>) {
    let config = CloudConfig::new("id", Secret::new("key"), [APPLICATION]);
    let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config).await;
    let queue = cloud.unwrap().queue(APPLICATION).unwrap();
    let normalizer = Normalizer::new(APPLICATION, "oracle", Via::Queue, Arc::default());
    let mut messages = Vec::new();
    for issued in Notifications::of(1, numbered(usize::MAX)).take(EVENTS) {
        queue.issue_recorded(Recorded::read(&issued.body).unwrap());
        let notification = Notification::parse(&issued.body).unwrap();
        let normalized = normalizer.normalize(&notification, SystemTime::now());
        let envelope = normalized.unwrap().into_envelope(Some("when it came"));
        messages.push(envelope.structured().to_vec());
    }
    let books = Books::of([&queue], &Timeline::default());
    (books.unwrap(), messages)
}

fn changed(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(message);
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[tokio::test]
async fn what_was_issued_is_found_by_its_content() {
    let (mut books, messages) = books().await;
    let mut place = books.place(Where::Broker(1));
    for message in messages.iter().chain(&messages[..1]) {
        place.take(message).unwrap();
    }
    let closed = place.close();
    books.enter(closed);
    assert_eq!(books.unknown, Vec::<String>::new());
    assert_eq!(books.events[0].copies, [0, 2, 0]);
    assert!(
        books.events[1..]
            .iter()
            .all(|entry| entry.copies == [0, 1, 0])
    );
}

#[tokio::test]
async fn another_content_or_id_was_never_issued() {
    let (books, messages) = books().await;
    let mut place = books.place(Where::Broker(0));
    let upload = messages.iter().find(|message| {
        let text = String::from_utf8_lossy(message);
        text.contains("vod.NewFileUpload\"")
    });
    let upload = upload.unwrap();
    let read: Read<'_> = serde_json::from_slice(upload).unwrap();
    let other_id = changed(upload, &read.id[..8], "00000000");
    let other_data = changed(upload, "\"data\":{", "\"data\":{\"More\":1,");
    let other_application = changed(upload, "\"vodsubappid\":\"7\"", "\"vodsubappid\":\"8\"");
    for message in [other_id, other_data, other_application] {
        place.take(&message).unwrap();
    }
    let (found, unknown) = place.close();
    assert!(found.is_empty());
    assert_eq!(unknown.len(), 3);
}

#[tokio::test]
async fn missing_is_what_is_confirmed_and_not_for_every_sink_somewhere() {
    let (mut books, _) = books().await;
    let mut is_missing = |state, copies, letters, spooled| {
        let entry = &mut books.events[0];
        (entry.state, entry.copies, entry.letters) = (state, copies, letters);
        entry.spooled = spooled;
        entry.is_missing()
    };
    let none = [false; 3];
    assert!(!is_missing(State::Confirmed, [1, 2, 1], none, false));
    assert!(is_missing(State::Confirmed, [1, 2, 0], none, false));
    assert!(is_missing(State::Refused, [1, 2, 0], none, false));
    assert!(!is_missing(State::Lost, [1, 2, 0], none, false));
    assert!(!is_missing(State::Open, [0; 3], none, false));
    assert!(!is_missing(
        State::Confirmed,
        [1, 2, 0],
        [false, false, true],
        false
    ));
    assert!(is_missing(
        State::Confirmed,
        [1, 0, 0],
        [false, false, true],
        false
    ));
    assert!(!is_missing(State::Confirmed, [0; 3], none, true));
}
