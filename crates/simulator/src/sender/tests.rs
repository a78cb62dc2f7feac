use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::rule::Loss;

/// What a receiver does with each request.
#[derive(Clone, Copy)]
enum Behaviour {
    Answer(&'static str),
    /// Reads, and says nothing until the caller hangs up.
    Silent,
    /// Reads, and hangs up.
    Cut,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{";

/// Told instead of a request when a connection has ended.
const HUNG_UP: &str = "";

/// A receiver that goes through the behaviours, request by request and the last one for ever,
/// and tells of each request: the number of its connection and its text.
async fn receiver(
    behaviours: &'static [Behaviour],
) -> (SocketAddr, mpsc::Receiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel(16);
    let next = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (tell, next) = (tell.clone(), next.clone());
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    tell.send((connection, request)).await.unwrap();
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match behaviours[number.min(behaviours.len() - 1)] {
                        Behaviour::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                        Behaviour::Silent => {}
                        Behaviour::Cut => break,
                    }
                }
                tell.send((connection, HUNG_UP.to_owned())).await.ok();
            });
        }
    });
    (address, told)
}

/// The next request; none once the caller has hung up.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return Some(text);
            }
        }
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.push_str(std::str::from_utf8(&buffer[..read]).unwrap()),
        }
    }
}

/// Short enough for a test, and long enough for an answer on a busy machine.
const QUICK: Rule = Rule {
    timeout: Duration::from_millis(500),
    attempts: 3,
};

fn sender(address: SocketAddr) -> CallbackSender {
    CallbackSender::new(&format!("http://{address}/vod/callback?app=1")).unwrap()
}

#[tokio::test]
async fn posts_json_and_keeps_the_connection() {
    let (address, mut told) = receiver(&[Behaviour::Answer(OK)]).await;
    let sender = sender(address);
    for _ in 0..3 {
        let posting = sender.send(Bytes::from_static(b"{\"a\":1}")).await;
        assert!(
            matches!(
                posting,
                Posting::Answered {
                    attempt: 1,
                    status: 200,
                    ..
                }
            ),
            "{posting:?}"
        );
        let (connection, request) = told.recv().await.unwrap();
        assert_eq!(connection, 0);
        assert!(request.starts_with("POST /vod/callback?app=1 HTTP/1.1\r\n"));
        assert!(request.contains("content-type: application/json\r\n"));
        assert!(request.contains(&format!("host: {address}\r\n")));
        assert!(request.ends_with("\r\n\r\n{\"a\":1}"));
    }
}

#[tokio::test]
async fn an_error_status_is_an_answer() {
    let (address, _told) = receiver(&[Behaviour::Answer(UNAVAILABLE)]).await;
    let posting = sender(address).send(Bytes::from_static(b"{}")).await;
    assert!(
        matches!(
            posting,
            Posting::Answered {
                attempt: 1,
                status: 503,
                ..
            }
        ),
        "{posting:?}"
    );
}

#[tokio::test]
async fn silence_is_tried_again_with_equal_copies() {
    let (address, mut told) = receiver(&[Behaviour::Silent, Behaviour::Answer(OK)]).await;
    let sender = sender(address)
        .with_rule(QUICK)
        .with_sign_key(Secret::new("k3y"), SignPlace::Body);
    let posting = sender.send(Bytes::from_static(b"{}")).await;
    assert!(
        matches!(posting, Posting::Answered { attempt: 2, .. }),
        "{posting:?}"
    );
    let first = told.recv().await.unwrap();
    let second = loop {
        match told.recv().await.unwrap() {
            (_, request) if request == HUNG_UP => {}
            second => break second,
        }
    };
    assert_eq!((first.0, second.0), (0, 1), "a new connection each");
    assert_eq!(first.1, second.1);
}

#[tokio::test]
async fn a_silent_receiver_loses_it_after_three() {
    let (address, mut told) = receiver(&[Behaviour::Silent]).await;
    let posting = sender(address)
        .with_rule(QUICK)
        .send(Bytes::from_static(b"{}"))
        .await;
    assert!(
        matches!(
            posting,
            Posting::Lost {
                attempts: 3,
                reason: Loss::TimedOut
            }
        ),
        "{posting:?}"
    );
    let mut events = Vec::new();
    for _ in 0..6 {
        events.push(told.recv().await.unwrap());
    }
    for connection in 0..3 {
        assert!(events.contains(&(connection, HUNG_UP.to_owned())));
    }
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let (address, _told) = receiver(&[Behaviour::Answer(HALF)]).await;
    let posting = sender(address)
        .with_rule(QUICK)
        .send(Bytes::from_static(b"{}"))
        .await;
    assert!(
        matches!(
            posting,
            Posting::Lost {
                reason: Loss::TimedOut,
                ..
            }
        ),
        "{posting:?}"
    );
}

#[tokio::test]
async fn a_refused_or_cut_connection_loses_it_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    let (cutting, _told) = receiver(&[Behaviour::Cut]).await;
    for address in [refusing, cutting] {
        let posting = sender(address).send(Bytes::from_static(b"{}")).await;
        assert!(
            matches!(
                posting,
                Posting::Lost {
                    attempts: 1,
                    reason: Loss::Connection(_)
                }
            ),
            "{posting:?}"
        );
    }
}

#[tokio::test]
async fn signs_in_body_or_query() {
    let (address, mut told) = receiver(&[Behaviour::Answer(OK)]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let fresh = |expiry: u64| (now.as_secs() + 599..now.as_secs() + 660).contains(&expiry);

    let sender = sender(address);
    let in_body = sender
        .clone()
        .with_sign_key(Secret::new("k3y"), SignPlace::Body);
    in_body.send(Bytes::from_static(b"{\"a\":1}")).await;
    let (_, request) = told.recv().await.unwrap();
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let expiry = body["T"].as_u64().unwrap();
    assert!(fresh(expiry));
    assert_eq!(body["Sign"], sign("k3y", expiry));
    assert_eq!(body["a"], 1);

    let in_query = sender.with_sign_key(Secret::new("k3y"), SignPlace::Query);
    in_query.send(Bytes::from_static(b"{\"a\":1}")).await;
    let (_, request) = told.recv().await.unwrap();
    let target = request.split(' ').nth(1).unwrap();
    let (start, expiry) = target.rsplit_once("&T=").unwrap();
    let expiry = expiry.parse().unwrap();
    assert!(fresh(expiry));
    let expected = format!("/vod/callback?app=1&Sign={}", sign("k3y", expiry));
    assert_eq!(start, expected);
    assert!(request.ends_with("\r\n\r\n{\"a\":1}"));
}

#[test]
fn refuses_what_is_no_callback_url() {
    let long = format!("http://h/{}", "a".repeat(10_000));
    for url in [
        "",
        "/vod",
        "127.0.0.1:80",
        "https://h/vod",
        "ftp://h/",
        &long,
    ] {
        assert!(CallbackSender::new(url).is_err(), "{url}");
    }
    let sender = CallbackSender::new("http://h/vod").unwrap();
    let sender = sender.with_sign_key(Secret::new("k3y"), SignPlace::Query);
    assert!(!format!("{sender:?}").contains("k3y"));
}
