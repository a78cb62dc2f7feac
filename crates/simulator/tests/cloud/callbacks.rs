//! The mode PUSH.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Change, Ending, Mode, Observer, State};
use vodbridge_vod::Notification;

use crate::caller::cloud;

/// Reads one request and returns its body.
async fn body(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let length = lines.find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length?.parse().ok()? {
                return Some(body.to_owned());
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => text.push_str(std::str::from_utf8(&buffer[..read]).ok()?),
            _ => return None,
        }
    }
}

/// A receiver that gives each request this answer, empty: none, and tells of its body.
async fn receiver(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/vod", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel(64);
    let tell = Arc::new(tell);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                while let Some(body) = body(&mut stream).await {
                    tell.send(body).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (url, told)
}

fn push(url: &str) -> Change {
    Change {
        mode: Some(Mode::Push),
        notification_url: Some(url.to_owned()),
        ..Change::default()
    }
}

#[tokio::test]
async fn events_are_posted_with_a_signature_and_an_answer_ends_them() {
    for (answer, state) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
            State::Confirmed,
        ),
        (
            "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            State::Refused,
        ),
    ] {
        let (_cloud, queue, caller) = cloud(|_| {}).await;
        let (url, mut told) = receiver(answer).await;
        queue.issue(40);
        let key = Some(Secret::new("abc"));
        queue
            .change(Change {
                sign_key: key,
                ..push(&url)
            })
            .unwrap();
        queue.finished().await;
        for _ in 0..40 {
            let body = told.recv().await.unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body.get("EventHandle"), None);
            assert_eq!(body["Sign"].as_str().unwrap().len(), 32);
        }
        assert!(queue.ledger().all(|entry| entry.state == state));
        assert_eq!(queue.stats().counts.posts, 40);
        drop(caller);
    }
}

#[tokio::test]
async fn an_observer_is_told_of_the_answers() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = told.clone();
        Observer::new(move |ending: Ending| told.lock().unwrap().push(ending))
    };
    let (_cloud, queue, _) = cloud(|config| config.observer = Some(observer)).await;
    let (url, _posted) =
        receiver("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"id\":\"x\"}").await;
    queue.change(push(&url)).unwrap();
    queue.issue(40);
    queue.finished().await;
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 40);
    for ending in told.iter() {
        assert_eq!(ending.entry.state, State::Confirmed);
        assert_eq!(ending.answer, r#"{"id":"x"}"#);
        assert!(!ending.after.is_zero());
    }
}

#[tokio::test]
async fn silence_earns_three_attempts_and_a_closed_door_one() {
    let (_cloud, queue, _) = cloud(|config| config.time_scale = "20".parse().unwrap()).await;
    let (url, mut told) = receiver("").await;
    queue.change(push(&url)).unwrap();
    queue.issue(1);
    queue.finished().await;
    for _ in 0..3 {
        assert!(Notification::parse(told.recv().await.unwrap().as_bytes()).is_ok());
    }
    assert_eq!(queue.stats().counts.posts, 3);

    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/vod", door.local_addr().unwrap());
    drop(door);
    queue.change(push(&url)).unwrap();
    queue.issue(1);
    queue.finished().await;
    let counts = queue.stats().counts;
    assert_eq!((counts.posts, counts.lost), (4, 2));
}

#[tokio::test]
async fn what_was_pulled_in_vain_is_posted_after_the_change() {
    let (_cloud, queue, caller) = cloud(|config| config.time_scale = "60".parse().unwrap()).await;
    queue.issue(1);
    assert_eq!(caller.pull().await.len(), 1);
    let (url, mut told) = receiver("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    queue.change(push(&url)).unwrap();
    let posted = tokio::time::timeout(Duration::from_secs(10), told.recv()).await;
    assert!(posted.unwrap().is_some());
    queue.finished().await;
}
