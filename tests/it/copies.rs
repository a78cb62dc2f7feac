//! A file can be deleted twice, and the cloud tells it in the same words; it also tells one
//! happening three times if it hears nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::bridge::WEBHOOK_PATH;
use vodbridge_tests::http::{Connection, post};

use crate::own::own_nats;

const PATIENCE: Duration = Duration::from_secs(20);

const DELETED: &[u8] = br#"{"EventType":"FileDeleted","FileDeleteEvent":{"FileIdSet":["1"]}}"#;

#[tokio::test]
async fn what_happens_twice_arrives_twice() -> Result<()> {
    let own = own_nats().await?;
    let bridge = own.setup("")?.start().await?;
    let mut answered = BTreeSet::new();
    for _ in 0..2 {
        let answer = bridge.post(DELETED, PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        answered.insert(answer.json()?["id"].as_str().context("no id")?.to_owned());
    }
    assert_eq!(answered.len(), 2);
    let ids = own.ids(Duration::ZERO).await?;
    assert_eq!(ids.len(), 2);
    assert_eq!(BTreeSet::from_iter(ids), answered);
    Ok(())
}

#[tokio::test]
async fn three_copies_of_one_happening_arrive_as_one() -> Result<()> {
    let own = own_nats().await?;
    let more = "sources: { callback: { webhook: { patience: 30s } } }\ndrain: { timeout: 45s }";
    let bridge = own.setup(more)?.start().await?;
    own.broker.pause()?;
    for copy in ["first", "second"] {
        let mut connection = Connection::open(bridge.webhook()).await?;
        connection.send(&post(WEBHOOK_PATH, DELETED)).await?;
        // The cloud hangs up after 5 s.
        connection
            .silent_for(Duration::from_secs(5))
            .await
            .context(copy)?;
    }
    let mut third = Connection::open(bridge.webhook()).await?;
    third.send(&post(WEBHOOK_PATH, DELETED)).await?;
    third
        .silent_for(Duration::from_millis(500))
        .await
        .context("third")?;
    own.broker.resume()?;
    let answer = third.response(PATIENCE).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let id = answer.json()?["id"].as_str().context("no id")?.to_owned();
    let ids: BTreeSet<String> = own.ids(Duration::ZERO).await?.into_iter().collect();
    assert_eq!(ids, BTreeSet::from([id]));
    Ok(())
}
