use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use vodbridge_core::{Event, State as Condition};

use super::*;

/// As much of a server as a publish needs. While `answering`, each message is answered with
/// `answer`.
struct Server {
    url: String,
    answering: Arc<AtomicBool>,
}

async fn server(answer: &'static str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let answering = Arc::new(AtomicBool::new(true));
    let switch = answering.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, answer, switch.clone()));
        }
    });
    Server { url, answering }
}

async fn serve(
    connection: TcpStream,
    answer: &'static str,
    answering: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let mut connection = BufReader::new(connection);
    let info = r#"{"server_id":"x","version":"2.15.0","headers":true,"max_payload":1000000}"#;
    connection
        .write_all(format!("INFO {info}\r\n").as_bytes())
        .await?;
    let (mut line, mut sid) = (String::new(), String::new());
    while connection.read_line(&mut line).await? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let reply = match words.as_slice() {
            ["PING"] => "PONG\r\n".into(),
            ["SUB", _, id] => {
                sid = (*id).into();
                String::new()
            }
            ["HPUB", _, reply, _, size] => {
                let mut message = vec![0; size.parse::<usize>().unwrap() + 2];
                connection.read_exact(&mut message).await?;
                let size = answer.len();
                format!("MSG {reply} {sid} {size}\r\n{answer}\r\n")
            }
            _ => String::new(),
        };
        if !reply.starts_with("MSG") || answering.load(Ordering::Relaxed) {
            connection.write_all(reply.as_bytes()).await?;
        }
        line.clear();
    }
    Ok(())
}

fn sink(server: &Server) -> NatsSink {
    let config = serde_json::json!({ "servers": [server.url], "subject": "vod.{event_type}" });
    NatsSink::new("live", &serde_json::from_value(config).unwrap(), 1).unwrap()
}

fn envelope() -> Envelope {
    let event = Event {
        id: "abc".into(),
        source: "https://example.com/1".into(),
        ty: "com.example.FileDeleted".into(),
        subject: None,
        time: "2026-01-01T00:00:00Z".into(),
        partition_key: None,
        extensions: Vec::new(),
        labels: Vec::new(),
    };
    event.encode(|out| out.extend_from_slice(b"{}"))
}

#[tokio::test]
async fn a_publish_waits_for_the_connection_and_a_duplicate_is_an_ack() {
    let server = server(r#"{"stream":"VOD","seq":1,"duplicate":true}"#).await;
    let sink = sink(&server);
    sink.publish(&envelope()).await.unwrap();
    assert_eq!(sink.health().state, Condition::Up);
    sink.close().await.unwrap();
}

#[tokio::test]
async fn only_an_ack_resolves_a_publish() {
    for (answer, kind) in [
        ("+OK", "transient"),
        ("{}", "transient"),
        (
            r#"{"error":{"code":503,"err_code":10077,"description":"full"}}"#,
            "transient",
        ),
        (
            r#"{"error":{"code":400,"err_code":10060,"description":"other"}}"#,
            "unroutable",
        ),
        (
            r#"{"error":{"code":400,"err_code":10054,"description":"size"}}"#,
            "permanent",
        ),
    ] {
        let sink = sink(&server(answer).await);
        let error = sink.publish(&envelope()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{answer}");
        assert_eq!(sink.health().state, Condition::Degraded);
    }
}

#[tokio::test]
async fn a_dropped_publish_frees_its_slot() {
    let server = server(r#"{"stream":"VOD","seq":1}"#).await;
    let sink = sink(&server);
    sink.reached().await;
    server.answering.store(false, Ordering::Relaxed);
    for _ in 0..200 {
        assert!(sink.publish(&envelope()).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    server.answering.store(true, Ordering::Relaxed);
    sink.publish(&envelope()).await.unwrap();
}

#[tokio::test]
async fn a_subject_with_a_wildcard_is_refused_for_good() {
    let server = server(r#"{"stream":"VOD","seq":1}"#).await;
    let dead = envelope().with_topic("vod.>".into());
    let error = sink(&server).publish(&dead).await.unwrap_err();
    assert_eq!(error.kind(), "permanent");
}
