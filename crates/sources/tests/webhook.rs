//! The table of answers by time, on a real socket and fake sinks.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vodbridge_core::testing::{FakeSink, Step};
use vodbridge_core::{DeadLetters, Intake, Metrics, Pipeline, Router, SinkSet};
use vodbridge_sources::webhook::{Drain, Endpoint, Listener, WebhookConfig};
use vodbridge_vod::Catalogue;

const DELETED: &str = r#"{"EventType":"FileDeleted","FileDeleteEvent":{"FileIdSet":["1"]}}"#;
const PULLED: &str = r#"{"EventType":"PullComplete","PullCompleteEvent":{"TaskId":"t-1","Status":"FINISH","ErrCode":0}}"#;

struct Bridge {
    address: SocketAddr,
    sink: Arc<FakeSink>,
    dead: Arc<FakeSink>,
    undelivered: Arc<FakeSink>,
    drain: CancellationToken,
    running: JoinHandle<()>,
}

async fn bridge(sink: &Arc<FakeSink>, settings: &str) -> Bridge {
    let settings = format!(
        r#"{{"listen": "127.0.0.1:0", "sub_app_id": 1500012345, "patience": "8s" {settings}}}"#
    );
    let config: WebhookConfig = serde_json::from_str(&settings).unwrap();
    let (dead, undelivered) = (FakeSink::acking("dead"), FakeSink::acking("undelivered"));
    let dead_letters = DeadLetters {
        sink: dead.clone(),
        topic: "vod.dead_letter".into(),
        last_resort: None,
    };
    let metrics = Metrics::default();
    let router = Router::everything(SinkSet::of([0]));
    let pipeline = Arc::new(Pipeline::new(
        vec![sink.clone()],
        router,
        dead_letters,
        &metrics,
    ));
    let intake = Intake::new(
        "callback",
        pipeline,
        config.max_in_flight,
        metrics.source("callback"),
    );
    let drain = Drain {
        begin: CancellationToken::new(),
        grace: Duration::from_millis(300),
        latest: Duration::from_secs(5),
    };
    let begin = drain.begin.clone();
    let endpoint = Endpoint::new(
        config.clone(),
        intake,
        Arc::new(Catalogue::default()),
        undelivered.clone(),
        None,
    );
    let listener = Listener::bind(config.listen, vec![endpoint], drain)
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    Bridge {
        address,
        sink: sink.clone(),
        dead,
        undelivered,
        drain: begin,
        running: tokio::spawn(listener.run()),
    }
}

fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST /vod/callback", body)
}

fn request(line: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: bridge\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What came back until the connection ended, and when.
async fn send(address: SocketAddr, bytes: Vec<u8>) -> (String, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    (String::from_utf8(answer).unwrap(), start.elapsed())
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("")
}

#[tokio::test]
async fn an_acked_event_is_answered_200_with_its_id() {
    let bridge = bridge(&FakeSink::acking("sink"), "").await;
    let (answer, _) = send(bridge.address, post(PULLED)).await;
    assert_eq!(status(&answer), "200");
    assert!(
        answer.contains(&format!("{{\"id\":\"{}\"}}", bridge.sink.acked()[0])),
        "{answer}"
    );
}

#[tokio::test]
async fn refusals_come_at_once_and_say_why() {
    let bridge = bridge(
        &FakeSink::acking("sink"),
        r#", "max_body_bytes": 80, "health_path": "/health""#,
    )
    .await;
    for (line, body, expected) in [
        ("POST /elsewhere", DELETED, "404"),
        ("GET /vod/callback", "", "405"),
        ("PUT /vod/callback", DELETED, "405"),
        ("GET /health", "", "200"),
        ("POST /vod/callback", PULLED, "413"),
    ] {
        let (answer, after) = send(bridge.address, request(line, body)).await;
        assert_eq!(status(&answer), expected, "{line}: {answer}");
        assert!(after < Duration::from_secs(2));
        assert!(
            expected != "405" || answer.to_lowercase().contains("allow: post"),
            "{answer}"
        );
    }
    let chunked = b"POST /vod/callback HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let chunk = format!("80\r\n{}\r\n0\r\n\r\n", "x".repeat(128));
    let (answer, _) = send(bridge.address, [chunked, chunk.as_bytes()].concat()).await;
    assert_eq!(status(&answer), "413");
    let head = format!(
        "POST /vod/callback HTTP/1.1\r\nHost: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    assert_eq!(status(&send(bridge.address, head.into()).await.0), "431");
    assert!(bridge.sink.acked().is_empty() && bridge.dead.acked().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_lettered_then_answered_200() {
    let bridge = bridge(&FakeSink::acking("sink"), "").await;
    for (body, reason) in [
        (&b""[..], "unparsable"),
        (b"hello", "unparsable"),
        (b"[1]", "unparsable"),
        (b"\xff{}", "unparsable"),
        (b"{\"a\":1}", "unrecognised"),
    ] {
        let (answer, _) = send(bridge.address, post(body)).await;
        assert_eq!(status(&answer), "200", "{answer}");
        let letters = bridge.dead.envelopes();
        assert_eq!(
            letters.last().unwrap().extension("deadletterreason"),
            Some(reason)
        );
    }
    assert!(bridge.sink.acked().is_empty());
}

#[tokio::test]
async fn without_an_ack_no_byte_comes_until_the_cloud_has_given_up_and_a_copy_joins() {
    let bridge = bridge(&FakeSink::new("sink", [], Step::Hang), "").await;
    let first = tokio::spawn(send(bridge.address, post(PULLED)));
    bridge.sink.wait_started(1).await;
    let copy = tokio::spawn(send(bridge.address, post(PULLED)));
    let (answer, after) = first.await.unwrap();
    assert_eq!(status(&answer), "503");
    assert!(after >= Duration::from_millis(5_500), "{after:?}");
    copy.await.unwrap();
    // The second attempt follows the first one's 3 s; the copy started none.
    assert_eq!(bridge.sink.most_open(), 1);
    bridge.undelivered.wait_started(1).await;
    assert_eq!(
        bridge.undelivered.envelopes()[0].topic(),
        Some("undelivered")
    );
    assert!(bridge.dead.acked().is_empty());
}

#[tokio::test]
async fn a_copy_still_waiting_is_answered_when_the_broker_is_back() {
    let bridge = bridge(&FakeSink::new("sink", [], Step::Transient), "").await;
    let first = tokio::spawn(send(bridge.address, post(PULLED)));
    bridge.sink.wait_started(1).await;
    assert_eq!(status(&first.await.unwrap().0), "503");
    let copy = tokio::spawn(send(bridge.address, post(PULLED)));
    bridge.sink.then(Step::Ack);
    assert_eq!(status(&copy.await.unwrap().0), "200");
    assert_eq!(bridge.sink.acked().len(), 1);
}

#[tokio::test]
async fn a_delivery_outlives_its_caller() {
    let bridge = bridge(
        &FakeSink::new("sink", [], Step::AckAfter(Duration::from_millis(300))),
        "",
    )
    .await;
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    stream.write_all(&post(PULLED)).await.unwrap();
    bridge.sink.wait_started(1).await;
    drop(stream);
    bridge.drain.cancel();
    bridge.running.await.unwrap();
    assert_eq!(bridge.sink.acked().len(), 1);
}

#[tokio::test]
async fn an_unroutable_event_is_dead_lettered_by_answer_within() {
    let bridge = bridge(&FakeSink::new("sink", [], Step::Unroutable), "").await;
    let (answer, after) = send(bridge.address, post(PULLED)).await;
    assert_eq!(status(&answer), "200");
    assert!(after < Duration::from_secs(3), "{after:?}");
    assert_eq!(
        bridge.dead.envelopes()[0].extension("deadletterreason"),
        Some("unroutable")
    );
}

#[tokio::test]
async fn a_slow_body_is_closed_without_an_answer_and_not_before_the_cloud_has_given_up() {
    let bridge = bridge(&FakeSink::acking("sink"), r#", "body_timeout": "1s""#).await;
    let whole = post(PULLED);
    let (answer, after) = send(bridge.address, whole[..whole.len() - 5].to_vec()).await;
    assert_eq!(answer, "");
    assert!(after >= Duration::from_millis(5_500), "{after:?}");
}

#[tokio::test]
async fn a_panic_becomes_a_dead_letter() {
    let bridge = bridge(&FakeSink::new("sink", [], Step::Panic), "").await;
    let (answer, _) = send(bridge.address, post(PULLED)).await;
    assert_eq!(status(&answer), "200");
    assert_eq!(
        bridge.dead.envelopes()[0].extension("deadletterreason"),
        Some("panic")
    );
}

#[tokio::test]
async fn an_unverified_request_is_refused_and_never_kept() {
    let bridge = bridge(&FakeSink::acking("sink"), r#", "sign_keys": ["k1", "k2"]"#).await;
    for (line, body) in [
        ("POST /vod/callback", PULLED),
        (
            "POST /vod/callback?Sign=00000000000000000000000000000000&T=1",
            PULLED,
        ),
        ("POST /vod/callback", "not json"),
    ] {
        let (answer, after) = send(bridge.address, request(line, body)).await;
        assert_eq!(status(&answer), "401", "{line} {answer}");
        assert!(after < Duration::from_secs(2));
    }
    assert!(bridge.sink.acked().is_empty() && bridge.dead.acked().is_empty());
}

#[tokio::test]
async fn a_drain_answers_everyone_and_tells_them_to_close() {
    let bridge = bridge(
        &FakeSink::new("sink", [], Step::AckAfter(Duration::from_millis(200))),
        "",
    )
    .await;
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    bridge.drain.cancel();
    let keep_alive = String::from_utf8(post(PULLED))
        .unwrap()
        .replace("Connection: close\r\n", "");
    stream.write_all(keep_alive.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), "200");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    bridge.running.await.unwrap();
    assert!(TcpStream::connect(bridge.address).await.is_err());
    assert_eq!(bridge.sink.acked().len(), 1);
}

#[tokio::test]
async fn claims_of_large_bodies_do_not_keep_small_ones_out() {
    let settings = r#", "max_bytes": 400000, "max_body_bytes": 300000"#;
    let bridge = bridge(&FakeSink::acking("sink"), settings).await;
    let claim = b"POST /vod/callback HTTP/1.1\r\nHost: b\r\nContent-Length: 290000\r\n\r\n";
    let mut claims = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(bridge.address).await.unwrap();
        stream.write_all(claim).await.unwrap();
        claims.push(stream);
    }
    let (answer, after) = send(bridge.address, post(PULLED)).await;
    assert_eq!(status(&answer), "200");
    assert!(after < Duration::from_secs(2), "{after:?}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_seen_so_that_its_copy_is_one() {
    let bridge = bridge(&FakeSink::new("sink", [], Step::Hang), "").await;
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    stream.write_all(&post(DELETED)).await.unwrap();
    bridge.sink.wait_started(1).await;
    drop(stream);
    let answer = tokio::spawn(send(bridge.address, post(DELETED)));
    bridge.sink.then(Step::Ack);
    // The first attempt hangs for 3 s; what is acked after it is acked for both.
    assert_eq!(status(&answer.await.unwrap().0), "200");
    assert_eq!((bridge.sink.acked().len(), bridge.sink.started()), (1, 2));
}

#[tokio::test]
async fn two_genuine_notifications_of_the_same_bytes_are_two() {
    let bridge = bridge(&FakeSink::acking("sink"), "").await;
    for _ in 0..2 {
        assert_eq!(status(&send(bridge.address, post(DELETED)).await.0), "200");
    }
    let ids = bridge.sink.acked();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test]
async fn an_unverified_caller_cannot_fill_the_dead_letter() {
    let settings = r#", "max_body_bytes": 8000000"#;
    let bridge = bridge(&FakeSink::acking("sink"), settings).await;
    let poison = format!(r#"{{"a":"{}"}}"#, "x".repeat(7_000_000));
    for expected in ["200", "200", "503"] {
        let (answer, _) = send(bridge.address, post(&poison)).await;
        assert_eq!(status(&answer), expected);
    }
    assert_eq!(bridge.dead.acked().len(), 2);
}
