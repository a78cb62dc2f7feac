//! What is held at once is bounded before it is asked for.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};
use vodbridge_simulator::cloud::Limits;
use vodbridge_simulator::sign;
use vodbridge_tests::bridge::{Bridge, WEBHOOK_PATH};
use vodbridge_tests::http::{Connection, Response, post, post_head};

use super::{MOMENT, PATIENCE, until};
use crate::own::{notification, own_nats};
use crate::queue::Pulled;

/// More than the buffers of a socket take, so that who has sent it knows that it was read.
const MUCH: usize = 24 << 20;
const KEY: &str = "currentKey2026";

async fn in_flight(bridge: &Bridge) -> Result<f64> {
    let metrics = bridge.metrics().await?;
    Ok(metrics.sum("vodbridge_deliveries_in_flight", &[]))
}

/// An event of a hundred kilobytes, sixteen of which are more than a budget of one megabyte.
fn large(number: usize) -> Vec<u8> {
    let name = "x".repeat(100_000);
    let body = String::from_utf8_lossy(&notification(number)).into_owned();
    body.replace("upload ", &format!("{name} ")).into_bytes()
}

/// What the cloud gives out while a broker does nothing, and once it goes on.
async fn nothing_is_pulled_without_permits() -> Result<()> {
    let own = own_nats().await?;
    let cloud = || Pulled::new(|config| config.limits = Limits::NONE);
    let (places, bytes) = (&cloud().await?, &cloud().await?);
    let few_places = places.source(", pullers: 1, max_in_flight: 16");
    let few_bytes = bytes.source(", pullers: 1, max_in_flight: 64, max_bytes: 1MiB");
    let few_places = own.setup(&few_places)?.start().await?;
    let few_bytes = own.setup(&few_bytes)?.start().await?;
    own.broker.pause()?;

    places.issue(0..1)?;
    (100..140).try_for_each(|number| bytes.issue_one(&large(number)))?;
    let given = |pulled: &Pulled| pulled.queue.stats().counts.deliveries;
    until("one is pulled", async || Ok(given(places) == 1)).await?;
    until("sixteen are pulled", async || Ok(given(bytes) == 16)).await?;
    until("sixteen are in flight", async || {
        Ok(in_flight(&few_bytes).await? == 16.0)
    })
    .await?;
    // One place of sixteen is taken, and 48 of 64 are free: the permits for another answer lack.
    places.issue(1..11)?;
    sleep(MOMENT).await;
    assert_eq!((given(places), given(bytes)), (1, 16));

    own.broker.resume()?;
    places.finished(&few_places).await?;
    bytes.finished(&few_bytes).await
}

async fn bridge(more: &str) -> Result<Bridge> {
    let sinks = "sinks: { events: { file: { directory: '{directory}/out', ephemeral: true } } }";
    Bridge::start(&format!(
        "{sinks}\nsources: {{ callback: {{ webhook: {{ sign_keys: [\"{KEY}\"], {more} }} }} }}"
    ))
    .await
}

/// A body that is not read does not come through the socket.
async fn nothing_is_read_without_bytes() -> Result<()> {
    let bridge = bridge("max_bytes: 32MiB, max_body_bytes: 32MiB, body_timeout: 20s").await?;
    let mut first = Connection::open(bridge.webhook()).await?;
    first.send(&post_head(WEBHOOK_PATH, 30 << 20)).await?;
    timeout(PATIENCE, first.send(&vec![b'x'; MUCH])).await??;

    let mut second = Connection::open(bridge.webhook()).await?;
    second.send(&post_head(WEBHOOK_PATH, MUCH)).await?;
    let body = vec![b'x'; MUCH];
    {
        let mut sending = pin!(second.send(&body));
        let early = timeout(MOMENT, &mut sending).await;
        ensure!(early.is_err(), "read beyond the budget");
        // Its bytes are free with it.
        drop(first);
        timeout(PATIENCE, sending).await.context("is not read")??;
    }
    let answer = second.response(PATIENCE).await?;
    assert_eq!(answer.status, 401);
    Ok(())
}

#[tokio::test]
async fn nothing_is_pulled_without_an_in_flight_permit_or_read_without_a_byte_permit() -> Result<()>
{
    tokio::try_join!(
        nothing_is_pulled_without_permits(),
        nothing_is_read_without_bytes()
    )
    .map(drop)
}

/// Posts with a signature.
async fn signed(bridge: &Bridge, number: usize) -> Result<Connection> {
    let t = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() + 3_600;
    let path = format!("{WEBHOOK_PATH}?Sign={}&T={t}", sign(KEY, t));
    let mut connection = Connection::open(bridge.webhook()).await?;
    connection.send(&post(&path, &notification(number))).await?;
    Ok(connection)
}

async fn unsigned(bridge: &Bridge) -> Result<Response> {
    bridge.post(&notification(0), PATIENCE).await
}

/// There is one permit. Whoever has not proved anything neither takes it nor waits for it.
#[tokio::test]
async fn unauthenticated_bytes_hold_no_in_flight_permit() -> Result<()> {
    let own = own_nats().await?;
    let source = format!(
        "sources: {{ callback: {{ webhook: {{ sign_keys: [\"{KEY}\"], max_in_flight: 1 }} }} }}"
    );
    let bridge = own.setup(&source)?.start().await?;
    let mut halves = Vec::new();
    for _ in 0..8 {
        let mut half = Connection::open(bridge.webhook()).await?;
        half.send(&post_head(WEBHOOK_PATH, 1000)).await?;
        half.send(&[b'x'; 500]).await?;
        halves.push(half);
    }
    assert_eq!(
        signed(&bridge, 1).await?.response(PATIENCE).await?.status,
        200
    );
    assert_eq!(unsigned(&bridge).await?.status, 401);
    assert_eq!(in_flight(&bridge).await?, 0.0);

    own.broker.pause()?;
    let mut waiting = signed(&bridge, 2).await?;
    until("the permit is taken", async || {
        Ok(in_flight(&bridge).await? == 1.0)
    })
    .await?;
    let refused = timeout(Duration::from_secs(4), unsigned(&bridge)).await;
    assert_eq!(refused.context("it waits")??.status, 401);
    own.broker.resume()?;
    assert_eq!(waiting.response(PATIENCE).await?.status, 200);
    Ok(())
}
