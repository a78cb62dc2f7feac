//! Restarts: of a broker, with callers at work, and of the bridge.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::brokers::Kind;

use crate::load::{Load, numbers};
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq};

const CALLERS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);

async fn the_bridge_survives_its_broker<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let mut own = own?;
    let bridge = own.setup("")?.start().await?;
    let load = Load::start(bridge.webhook(), CALLERS, usize::MAX - 1, notification);
    load.confirms(200).await?;
    own.broker.stop().await?;
    own.broker.restart().await?;
    load.confirms(200).await.context("after a restart")?;
    own.broker.kill().await?;
    own.broker.restart().await?;
    load.confirms(200).await.context("after a crash")?;

    let tally = load.stop().await;
    let fault = format!("{} restarted and killed", K::NAME);
    tally.loss(&numbers(&own.read().await?)?).none(&fault)?;
    // The cloud has given up by then.
    let late = |answer: &String| answer.starts_with("503");
    ensure!(tally.refused.values().all(late), "{:?}", tally.refused);
    assert_eq!(tally.broken, Vec::<String>::new());
    assert_eq!(bridge.admin("/readyz").await?.status, 200);
    Ok(())
}

/// Callers go on until the listener closes, `timeout - patience - 5 s` after the signal.
const DRAIN: &str = "sources: { callback: { webhook: { patience: 6s } } }
drain: { grace: 1s, timeout: 15s }";

async fn a_drain_loses_nothing<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let own = own?;
    let bridge = own.setup(DRAIN)?.start().await?;
    let load = Load::start(bridge.webhook(), CALLERS, usize::MAX - 1, notification);
    load.confirms(200).await?;
    bridge.sigterm()?;
    load.confirms(200)
        .await
        .context("callbacks are served while it drains")?;
    let tally = load.finish().await;
    let status = bridge.wait(PATIENCE).await?;
    ensure!(status.success(), "{status}\n{}", bridge.log());
    ensure!(tally.refused.is_empty(), "{:?}", tally.refused);
    assert_eq!(tally.broken, Vec::<String>::new());
    let fault = format!("bridge to {} drained", K::NAME);
    tally.loss(&numbers(&own.read().await?)?).none(&fault)
}

#[tokio::test]
async fn the_bridge_survives_kafka() -> Result<()> {
    the_bridge_survives_its_broker(own_kafka().await).await
}

#[tokio::test]
async fn the_bridge_survives_rabbitmq() -> Result<()> {
    the_bridge_survives_its_broker(own_rabbitmq().await).await
}

#[tokio::test]
async fn the_bridge_survives_nats() -> Result<()> {
    the_bridge_survives_its_broker(own_nats().await).await
}

#[tokio::test]
async fn a_drain_loses_nothing_on_kafka() -> Result<()> {
    a_drain_loses_nothing(own_kafka().await).await
}

#[tokio::test]
async fn a_drain_loses_nothing_on_rabbitmq() -> Result<()> {
    a_drain_loses_nothing(own_rabbitmq().await).await
}

#[tokio::test]
async fn a_drain_loses_nothing_on_nats() -> Result<()> {
    a_drain_loses_nothing(own_nats().await).await
}
