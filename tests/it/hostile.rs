//! What one caller, or one destination that is away, must not do to the others.

use std::fs::read_dir;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;
use vodbridge_tests::bridge::{Bridge, WEBHOOK_PATH};
use vodbridge_tests::http::{Connection, post};
use vodbridge_tests::ports::free_port;

use crate::own::{notification, own_rabbitmq_with};

const PATIENCE: Duration = Duration::from_secs(20);

/// The cloud waits no longer for an answer.
const HEARD: Duration = Duration::from_secs(5);

/// A repeatable notification.
fn deleted(number: usize) -> Vec<u8> {
    format!(r#"{{"EventType":"FileDeleted","FileDeleteEvent":{{"FileIdSet":["{number}"]}}}}"#)
        .into_bytes()
}

fn oversized(number: usize) -> Vec<u8> {
    let filling = "x".repeat(1_200_000);
    format!(
        r#"{{"EventType":"PullComplete","PullCompleteEvent":{{"TaskId":"{number}","Message":"{filling}"}}}}"#
    )
    .into_bytes()
}

/// RabbitMQ closes a channel over each message that is too large for it.
#[tokio::test]
async fn an_oversized_event_disturbs_no_other() -> Result<()> {
    let own = own_rabbitmq_with("max_message_size = 1000000").await?;
    let bridge = own.setup("")?.start().await?;
    let small = async {
        for number in 0..50 {
            let start = Instant::now();
            let answer = bridge.post(&notification(number), PATIENCE).await?;
            ensure!(
                answer.status == 200 && start.elapsed() < HEARD,
                "event {number}: {} after {:?}",
                answer.status,
                start.elapsed()
            );
        }
        anyhow::Ok(())
    };
    let large = async {
        for number in 0.. {
            let answer = bridge.post(&oversized(number), PATIENCE).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        }
        anyhow::Ok(())
    };
    tokio::select! {
        done = small => done,
        failed = large => failed.context("an oversized event"),
    }
}

/// A bridge whose only route leads to a healthy sink; everything else waits for a dead letter
/// that is away.
async fn with_its_dead_letter_away() -> Result<Bridge> {
    let nobody = free_port()?;
    Bridge::start(&format!(
        r#"
sources: {{ callback: {{ webhook: {{ max_in_flight: 4 }} }} }}
sinks:
  healthy: {{ file: {{ directory: "{{directory}}/out", topic: "vod.{{event_type}}", ephemeral: true }} }}
  away: {{ nats: {{ servers: ["nats://127.0.0.1:{nobody}"], subject: "vod.{{event_type}}" }} }}
routes: {{ deleted: {{ match: {{ event_type: FileDeleted }}, to: {{ healthy: {{}} }} }} }}
dead_letter: {{ sink: away }}
"#
    ))
    .await
}

#[tokio::test]
async fn what_waits_for_the_dead_letter_holds_up_no_other() -> Result<()> {
    let bridge = with_its_dead_letter_away().await?;
    let mut waiting = Vec::new();
    for number in 0..8 {
        let mut connection = Connection::open(bridge.webhook()).await?;
        connection
            .send(&post(WEBHOOK_PATH, &notification(number)))
            .await?;
        waiting.push(connection);
    }
    let first = waiting.first_mut().context("nobody waits")?;
    first.silent_for(Duration::from_millis(500)).await?;
    let start = Instant::now();
    let answer = bridge.post(&deleted(0), PATIENCE).await?;
    ensure!(
        answer.status == 200 && start.elapsed() < HEARD,
        "{} after {:?}",
        answer.status,
        start.elapsed()
    );
    Ok(())
}

/// What is remembered of a caller must not keep its connection.
#[tokio::test]
async fn a_connection_ends_with_its_caller() -> Result<()> {
    let bridge = with_its_dead_letter_away().await?;
    let open = || anyhow::Ok(read_dir(format!("/proc/{}/fd", bridge.id()))?.count());
    bridge.post(&deleted(0), PATIENCE).await?;
    let before = open()?;
    for number in 1..100 {
        bridge.post(&deleted(number), PATIENCE).await?;
    }
    let deadline = Instant::now() + PATIENCE;
    while open()? > before + 10 {
        ensure!(
            Instant::now() < deadline,
            "{} descriptors, {before} before",
            open()?
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
