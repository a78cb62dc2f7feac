//! Neither a callback nor a pulled event is confirmed before everybody who has to ack it has.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::nats::Nats;
use vodbridge_tests::brokers::{Broker, Kind};
use vodbridge_tests::cli::run;

use super::{PATIENCE, until};
use crate::load::numbers;
use crate::outage::{confirmed, send};
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq_with};
use crate::queue::Pulled;
use crate::refusals::{noise, task};
use crate::spool::SPOOL;

/// The cloud waits longer for an answer, and for a confirm.
const HELD: Duration = Duration::from_secs(3);

/// Uploads go to both sinks. What is pulled from elsewhere goes to one, which refuses it for good;
/// the other is that of the dead letters.
const ROUTES: &str = "routes:
  both: { match: { event_type: NewFileUpload }, to: { events: {}, letters: {} } }
  one: { match: { event_type: PullComplete }, to: { events: {} } }
dead_letter: { sink: letters }";

/// A bridge with both kinds of sources.
struct Ways {
    bridge: Bridge,
    pulled: Pulled,
}

impl Ways {
    /// Posts one notification and has the cloud give out the other, while a broker is frozen. Both
    /// are confirmed, but not before that broker goes on, though `meanwhile` has happened.
    async fn wait_for<K: Kind>(
        &self,
        frozen: &Broker<K>,
        [posted, pulled]: [&[u8]; 2],
        meanwhile: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let before = self.pulled.confirmed();
        frozen.pause()?;
        let mut caller = send(&self.bridge, posted).await?;
        self.pulled.issue_one(pulled)?;
        let (silent, meanwhile) = tokio::join!(caller.silent_for(HELD), meanwhile);
        silent.context("the caller was answered")?;
        meanwhile?;
        assert_eq!(self.pulled.confirmed(), before, "confirmed too early");
        frozen.resume()?;
        confirmed(&self.bridge, caller, posted).await?;
        self.pulled.finished(&self.bridge).await
    }
}

/// `large` is what the broker refuses for good.
async fn by_sinks_or_the_dead_letter<K: Kind>(own: Own<K>) -> Result<()> {
    let letters = own_nats().await?;
    let pulled = Pulled::new(|_| {}).await?;
    let callback = "{ webhook: { patience: 25s } }";
    let more = format!("{}\n{ROUTES}", pulled.source_beside(callback, ""));
    let other = format!("letters: {{ {} }}", letters.sink);
    let bridge = own.setup_with(&other, &more)?.start().await?;
    let ways = Ways { bridge, pulled };

    let uploads = [notification(1), notification(2)];
    let one_has_both = async {
        let found = letters.client.read_at_least(2, letters.place, PATIENCE);
        let mut found = numbers(&found.await?)?;
        found.sort_unstable();
        ensure!(found == [1, 2], "{found:?}");
        Ok(())
    };
    let bodies = [&uploads[0][..], &uploads[1][..]];
    ways.wait_for(&own.broker, bodies, one_has_both).await?;
    let mut found = numbers(&own.read().await?)?;
    found.sort_unstable();
    // An attempt that was given up may have landed.
    found.dedup();
    assert_eq!(found, [1, 2]);

    let refused = [3, 4].map(|number| task("PullComplete", number, &noise(number)));
    let both_are_refused = until("both are refused", async || {
        let kind = [("sink", "events"), ("kind", "permanent")];
        let metrics = ways.bridge.metrics().await?;
        Ok(metrics.sum("vodbridge_publishes_failed_total", &kind) >= 2.0)
    });
    let bodies = [&refused[0][..], &refused[1][..]];
    ways.wait_for(&letters.broker, bodies, both_are_refused)
        .await?;
    let mut found = letters.read().await?;
    found.retain(|message| message.topic == "vod.dead_letter");
    let mut found = numbers(&found)?;
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [3, 4]);
    Ok(())
}

async fn kafka() -> Result<()> {
    let own = own_kafka().await?;
    let limit = json!({ "topic": "vod.PullComplete", "config": { "max.message.bytes": "1000" } });
    own.client.call("alter_topic", limit).await?;
    by_sinks_or_the_dead_letter(own).await
}

async fn rabbitmq() -> Result<()> {
    by_sinks_or_the_dead_letter(own_rabbitmq_with("max_message_size = 3000").await?).await
}

async fn nats() -> Result<()> {
    let own: Own<Nats> = own_nats().await?;
    let limit = json!({ "name": "VOD", "max_msg_size": 2000 });
    own.client.call("update_stream", limit).await?;
    by_sinks_or_the_dead_letter(own).await
}

/// The answer comes while the broker does nothing, and the bridge is killed as soon as it is there.
async fn by_the_spool() -> Result<()> {
    let own = own_nats().await?;
    let mut bridge = own.setup(SPOOL)?.start().await?;
    own.broker.pause()?;
    let answer = bridge.post(&notification(1), PATIENCE).await?;
    bridge.kill()?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let id = answer.json()?["id"].clone();
    bridge.wait(PATIENCE).await?;
    let list = ["spool", "list", "--output", "json"];
    let listed = run(bridge.setup().command(&list)?).await?.json()?;
    let ids: Vec<&Value> = listed.iter().map(|record| &record["id"]).collect();
    assert_eq!(ids, [&id]);

    own.broker.resume()?;
    bridge.start_again().await?;
    while own.ids(PATIENCE).await?.is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
    let mut found = own.ids(PATIENCE).await?;
    found.dedup();
    assert_eq!(found, [id.as_str().context("no id")?]);
    Ok(())
}

#[tokio::test]
async fn an_event_is_confirmed_only_if_every_required_sink_or_the_dead_letter_acked_it_or_the_spool_made_it_durable()
-> Result<()> {
    let (kafka, rabbitmq, nats, spool) = tokio::join!(kafka(), rabbitmq(), nats(), by_the_spool());
    kafka.context("kafka")?;
    rabbitmq.context("rabbitmq")?;
    nats.context("nats")?;
    spool.context("spool")
}
