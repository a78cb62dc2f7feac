//! Whatever the world posts: the answer that the table of answers gives, no crash, and what parses
//! as anything is on a broker or in the dead letter.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vodbridge_tests::bridge::{Bridge, Setup, WEBHOOK_PATH};
use vodbridge_tests::brokers::nats;
use vodbridge_tests::clients::{self, Client, Message};
use vodbridge_tests::http::{Connection, exchange, get, post, post_head};

use crate::own::notification;

const PATIENCE: Duration = Duration::from_secs(20);

/// Before this the cloud still waits, and takes an end of the connection for an answer.
const GIVEN_UP: Duration = Duration::from_millis(5_450);

/// A bridge to a stream of the shared server.
struct Fixture {
    bridge: Bridge,
    client: Client,
    stream: String,
}

impl Fixture {
    async fn new(name: &str) -> Result<Self> {
        Self::with(name, "").await
    }

    async fn with(name: &str, more: &str) -> Result<Self> {
        let address = nats::shared().await?;
        let stream = format!("{name}-{}", std::process::id());
        let setup = Setup::new(&format!(
            r#"
{more}
sources: {{ callback: {{ webhook: {{ body_timeout: 6s }} }} }}
sinks:
  events: {{ nats: {{ servers: ["{address}"], subject: "{stream}.{{event_type}}", stream: "{stream}" }} }}
dead_letter: {{ topic: "{stream}.dead_letter" }}
"#
        ))?;
        setup.run(&["provision"]).await?;
        Ok(Self {
            bridge: setup.start().await?,
            client: clients::nats(address),
            stream,
        })
    }

    async fn read(&self) -> Result<Vec<Message>> {
        self.client.read(&self.stream).await
    }

    /// The bridge still does its job.
    async fn works(&self) -> Result<()> {
        let answer = self.bridge.post(&notification(4_242), PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        ensure!(
            !self.bridge.log().contains("panicked"),
            "{}",
            self.bridge.log()
        );
        Ok(())
    }
}

#[tokio::test]
async fn what_is_no_event_is_dead_lettered_before_the_answer() -> Result<()> {
    let fixture = Fixture::new("no-event").await?;
    let deep = "[".repeat(200) + &"]".repeat(200);
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("empty", "unparsable", Vec::new()),
        ("no JSON", "unparsable", b"EventType=NewFileUpload".to_vec()),
        (
            "cut JSON",
            "unparsable",
            br#"{"EventType":"NewFileUpload","#.to_vec(),
        ),
        (
            "two values",
            "unparsable",
            br#"{"EventType":"FileDeleted"} {}"#.to_vec(),
        ),
        ("no object", "unparsable", br#"["NewFileUpload"]"#.to_vec()),
        (
            "nested too deep",
            "unparsable",
            format!(r#"{{"EventType":"X","X":{deep}}}"#).into(),
        ),
        (
            "invalid UTF-8",
            "unparsable",
            b"{\"EventType\":\"\xff\xfe\"}".to_vec(),
        ),
        ("neither type nor payload", "unrecognised", b"{}".to_vec()),
    ];
    for (what, _, body) in &cases {
        let answer = fixture.bridge.post(body, PATIENCE).await?;
        ensure!(
            answer.status == 200,
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let letters = fixture.read().await?;
    assert_eq!(letters.len(), cases.len(), "one dead letter each");
    for ((what, reason, body), letter) in cases.iter().zip(&letters) {
        assert_eq!(letter.topic, format!("{}.dead_letter", fixture.stream));
        assert_eq!(
            letter.event()?.extensions["deadletterreason"],
            *reason,
            "{what}"
        );
        let record: Value = serde_json::from_slice(&letter.body)?;
        let kept = &record["data"];
        match std::str::from_utf8(body) {
            Ok(text) => assert_eq!(kept["body"], text, "{what}"),
            Err(_) => assert!(kept["body_base64"].is_string(), "{what}"),
        }
    }
    fixture.works().await
}

#[tokio::test]
async fn what_is_strange_is_passed_on() -> Result<()> {
    let fixture = Fixture::new("strange").await?;
    let v2 = br#"{"version":"4.0","eventType":"NewFileUpload","data":{"status":0,"fileId":"7"}}"#;
    let unknown = br#"{"EventType":"BrandNewThing","BrandNewThingEvent":{"TaskId":"t-1"}}"#;
    let unknown_v2 = br#"{"version":"4.0","eventType":"BrandNew","data":{"fileId":"7"}}"#;
    for body in [v2.as_slice(), unknown, unknown_v2] {
        let answer = fixture.bridge.post(body, PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    let found = fixture.read().await?;
    let places: Vec<(&str, &str)> = found
        .iter()
        .map(|message| Ok((message.topic.as_str(), message.event()?.ty.as_str())))
        .collect::<Result<_>>()?;
    let topic = |name: &str| format!("{}.{name}", fixture.stream);
    assert_eq!(
        places,
        [
            (
                topic("v2.NewFileUpload").as_str(),
                "com.tencent.cloud.vod.v2.NewFileUpload"
            ),
            (
                topic("other").as_str(),
                "com.tencent.cloud.vod.BrandNewThing"
            ),
            (
                topic("v2.other").as_str(),
                "com.tencent.cloud.vod.v2.BrandNew"
            ),
        ]
    );
    fixture.works().await
}

/// Ten megabytes; the server takes one.
fn large(name: &str) -> String {
    format!(r#"{{"EventType":"NewFileUpload","FileUploadEvent":{{"FileId":"1","Name":"{name}"}}}}"#)
}

#[tokio::test]
async fn an_event_larger_than_the_broker_takes_is_kept() -> Result<()> {
    let fixture = Fixture::new("large").await?;
    let name = "x".repeat(10 << 20);
    let large = large(&name);
    let answer = fixture.bridge.post(large.as_bytes(), PATIENCE).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    // The server takes 1 MiB at most, so the dead letter did not fit either.
    let state = fixture.bridge.directory().join("state");
    let kept = std::fs::read_dir(state)?.flatten().filter(|entry| {
        std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(&name))
    });
    assert_eq!(kept.count(), 1, "in one file of the state directory");

    let too_large = 17 << 20;
    let mut connection = Connection::open(fixture.bridge.webhook()).await?;
    connection.send(&post_head(WEBHOOK_PATH, too_large)).await?;
    assert_eq!(connection.response(PATIENCE).await?.status, 413);
    fixture.works().await
}

/// Its dead letter, which the broker does not take either, would be in memory alone.
#[tokio::test]
async fn without_a_disk_for_the_last_resort_such_an_event_is_not_confirmed() -> Result<()> {
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let state = format!("state_directory: {:?}", memory.path().join("state"));
    std::fs::create_dir(memory.path().join("state"))?;
    let fixture = Fixture::with("memory", &state).await?;
    let large = large(&"x".repeat(10 << 20));
    let answer = fixture.bridge.post(large.as_bytes(), PATIENCE).await?;
    ensure!(answer.status == 503, "{} {}", answer.status, answer.text());
    fixture.works().await
}

#[tokio::test]
async fn wrong_requests_are_refused() -> Result<()> {
    let fixture = Fixture::new("wrong").await?;
    let address = fixture.bridge.webhook();
    let answer = exchange(address, &get(WEBHOOK_PATH), PATIENCE).await?;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = exchange(address, &post("/vod/other", &notification(1)), PATIENCE).await?;
    assert_eq!(answer.status, 404);
    ensure!(answer.json()?["error"].is_string(), "{}", answer.text());
    let head = format!(
        "POST {WEBHOOK_PATH} HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let mut connection = Connection::open(address).await?;
    // The server may close before it has read all of it.
    connection.send(head.as_bytes()).await.ok();
    let answer = connection.closed(PATIENCE).await?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 431") || answer.is_empty(),
        "{answer:?}"
    );
    ensure!(
        fixture.read().await?.is_empty(),
        "a refused request was published"
    );
    fixture.works().await
}

#[tokio::test]
async fn a_body_that_does_not_come_is_never_answered() -> Result<()> {
    let fixture = Fixture::new("slow").await?;
    let body = notification(1);
    let (start, middle) = body.split_at(10);

    let slow = async {
        let mut connection = Connection::open(fixture.bridge.webhook()).await?;
        let opened = Instant::now();
        connection
            .send(&post_head(WEBHOOK_PATH, body.len()))
            .await?;
        connection.send(start).await?;
        let answer = connection.closed(PATIENCE).await?;
        anyhow::Ok((opened.elapsed(), answer))
    };
    let cut = async {
        let mut connection = Connection::open(fixture.bridge.webhook()).await?;
        let opened = Instant::now();
        connection
            .send(&post_head(WEBHOOK_PATH, body.len()))
            .await?;
        connection.send(&middle[..10]).await?;
        connection.finish_sending().await?;
        let answer = connection.closed(PATIENCE).await?;
        anyhow::Ok((opened.elapsed(), answer))
    };
    let (slow, cut) = tokio::join!(slow, cut);
    for (what, outcome) in [("slow", slow), ("cut", cut)] {
        let (time, answer) = outcome.context(what)?;
        ensure!(
            answer.is_empty(),
            "{what}: {}",
            String::from_utf8_lossy(&answer)
        );
        ensure!(time >= GIVEN_UP, "{what}: closed after {time:?}");
    }
    ensure!(
        fixture.read().await?.is_empty(),
        "half a body was published"
    );
    fixture.works().await
}

#[tokio::test]
async fn half_closed_and_pipelining_callers_are_served() -> Result<()> {
    let fixture = Fixture::new("callers").await?;
    let mut half_closed = Connection::open(fixture.bridge.webhook()).await?;
    half_closed
        .send(&post(WEBHOOK_PATH, &notification(1)))
        .await?;
    half_closed.finish_sending().await?;
    assert_eq!(half_closed.response(PATIENCE).await?.status, 200);

    let mut pipelining = Connection::open(fixture.bridge.webhook()).await?;
    let requests = [2, 3]
        .map(|number| post(WEBHOOK_PATH, &notification(number)))
        .concat();
    pipelining.send(&requests).await?;
    for _ in 0..2 {
        assert_eq!(pipelining.response(PATIENCE).await?.status, 200);
    }
    assert_eq!(fixture.read().await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn ten_thousand_idle_connections_do_no_harm() -> Result<()> {
    let fixture = Fixture::new("idle").await?;
    let before = resident_mib(&fixture.bridge)?;
    let mut idle = Vec::with_capacity(10_000);
    for _ in 0..10_000 {
        idle.push(Connection::open(fixture.bridge.webhook()).await?);
    }
    fixture.works().await?;
    let grown = resident_mib(&fixture.bridge)? - before;
    ensure!(grown < 200, "{grown} MiB for 10,000 idle connections");
    Ok(())
}

/// Memory of the bridge that is in RAM.
fn resident_mib(bridge: &Bridge) -> Result<i64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: i64 = line
        .context("no VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib / 1024)
}
