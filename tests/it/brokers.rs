//! The harness itself: each broker starts, and can be stopped, killed, frozen and restarted on the
//! same port with its data.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vodbridge_tests::brokers::{Broker, Kind, kafka, nats, rabbitmq};
use vodbridge_tests::clients::{self, Client, Message};

const PATIENCE: Duration = Duration::from_secs(30);

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| std::str::from_utf8(&message.body).unwrap_or("?"))
        .collect()
}

/// What a client sends first, and the broker answers at once if it runs.
async fn greeted(port: u16, greeting: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(greeting).await?;
    timeout(Duration::from_secs(1), stream.read_u8()).await??;
    Ok(())
}

/// Takes a broker through its whole life. `publish` makes one durable message with the given
/// body, `place` is where the client reads.
async fn lives<K: Kind>(
    mut broker: Broker<K>,
    client: Client,
    publish: impl AsyncFn(&Client, &str) -> Result<()>,
    place: &str,
    greeting: &[u8],
) -> Result<()> {
    let (address, port) = (broker.address(), broker.port());
    publish(&client, "before the stop").await?;
    broker.stop().await?;
    ensure!(
        greeted(port, greeting).await.is_err(),
        "a stopped broker answers"
    );
    ensure!(broker.pause().is_err(), "a stopped broker can be frozen");

    broker.restart().await?;
    ensure!(broker.address() == address, "another address");
    ensure!(
        broker.restart().await.is_err(),
        "a running broker was started again"
    );
    publish(&client, "before the kill").await?;
    broker.kill().await?;
    ensure!(
        TcpStream::connect(("127.0.0.1", port)).await.is_err(),
        "a dead broker accepts"
    );

    broker.restart().await?;
    broker.pause()?;
    ensure!(
        greeted(port, greeting).await.is_err(),
        "a frozen broker answers"
    );
    broker.resume()?;
    greeted(port, greeting).await?;

    let messages = client.read_at_least(2, place, PATIENCE).await?;
    assert_eq!(bodies(&messages), ["before the stop", "before the kill"]);
    Ok(())
}

#[tokio::test]
async fn kafka_lives() -> Result<()> {
    let broker = kafka::start().await?;
    let client = clients::kafka(broker.address());
    client
        .call("create_topics", json!({ "topics": ["life"] }))
        .await?;
    let publish = async |client: &Client, body: &str| {
        client
            .call("publish", json!({ "topic": "life", "bodies": [body] }))
            .await
            .map(drop)
    };
    let api_versions = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    lives(broker, client, publish, "life", &api_versions).await
}

#[tokio::test]
async fn rabbitmq_lives() -> Result<()> {
    let broker = rabbitmq::start().await?;
    let client = clients::rabbitmq(broker.address());
    client
        .call("declare_queue", json!({ "queue": "life" }))
        .await?;
    let publish = async |client: &Client, body: &str| {
        let message = json!({ "exchange": "", "routing_key": "life", "bodies": [body] });
        client.call("publish", message).await.map(drop)
    };
    lives(broker, client, publish, "life", b"AMQP\x00\x00\x09\x01").await
}

#[tokio::test]
async fn nats_lives() -> Result<()> {
    let broker = nats::start().await?;
    let client = clients::nats(broker.address());
    client
        .call(
            "create_stream",
            json!({ "name": "LIFE", "subjects": ["life.>"] }),
        )
        .await?;
    let publish = async |client: &Client, body: &str| {
        client
            .call("publish", json!({ "subject": "life.it", "bodies": [body] }))
            .await
            .map(drop)
    };
    lives(broker, client, publish, "LIFE", b"").await
}

#[tokio::test]
async fn tests_share_brokers() -> Result<()> {
    let (one, other) = tokio::join!(nats::shared(), nats::shared());
    assert_eq!(one?, other?);
    Ok(())
}

#[tokio::test]
async fn a_broker_that_cannot_start_shows_its_log() -> Result<()> {
    let broken = nats::Nats::new()?.configuration("no_such_setting: 1");
    let error = Broker::start(broken).await.expect_err("it must not start");
    let error = format!("{error:#}");
    assert!(error.contains("no_such_setting"), "{error}");
    Ok(())
}
