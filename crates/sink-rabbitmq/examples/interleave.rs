//! Proves that no ack is false: publishes good, unroutable and refused messages interleaved to a
//! real broker, and compares each verdict with what its message deserved and with what the
//! broker holds in the end.
//!
//! `cargo run --release --example interleave -- URL [MESSAGES] [WINDOW] [CHANNELS]`
//!
//! Of ten messages one goes to a key that nothing is bound to, one to a full queue that refuses
//! publishes, eight to a quorum queue. Whatever fails as transient is published again with the
//! same id until it is acked, so that the broker may be killed, stopped or blocked meanwhile.
//! The last line is a JSON object; the exit code is 1 where `false_acks`, `lost` or `misjudged`
//! is not 0.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::{sleep, timeout};
use vodbridge_core::{Envelope, Event, Label, PublishError, Secret, Sink};
use vodbridge_sink_rabbitmq::{RabbitMqConfig, RabbitMqSink};

/// A queue, a full one, and none.
const KINDS: [&str; 3] = ["good", "full", "nowhere"];

#[derive(Default)]
struct Tally {
    acked: [AtomicU64; 3],
    transient: [AtomicU64; 3],
    unroutable: [AtomicU64; 3],
    permanent: AtomicU64,
    timed_out: AtomicU64,
    last_ack: Mutex<Option<Instant>>,
    longest_gap_ms: AtomicU64,
}

impl Tally {
    fn acked(&self, kind: usize) {
        self.acked[kind].fetch_add(1, Relaxed);
        let now = Instant::now();
        if let Some(before) = self.last_ack.lock().unwrap().replace(now) {
            let gap = now.duration_since(before).as_millis() as u64;
            self.longest_gap_ms.fetch_max(gap, Relaxed);
        }
    }
}

fn kind(number: u64) -> usize {
    match number % 10 {
        3 => 1,
        7 => 2,
        _ => 0,
    }
}

fn envelope(number: u64) -> Envelope {
    let event = Event {
        id: number.to_string(),
        source: "https://example.com".into(),
        ty: "com.example.interleave".into(),
        subject: None,
        time: "2026-01-01T00:00:00Z".into(),
        partition_key: None,
        extensions: Vec::new(),
        labels: vec![Label::new("event_type", KINDS[kind(number)])],
    };
    event.encode(|out| out.extend_from_slice(b"{}"))
}

/// Publishes until acked; what deserves no ack is published once more only if the world failed.
async fn publish(sink: &RabbitMqSink, number: u64, tally: &Tally) {
    let (envelope, kind) = (envelope(number), kind(number));
    loop {
        match timeout(sink.attempt_timeout(), sink.publish(&envelope)).await {
            Ok(Ok(())) => return tally.acked(kind),
            Ok(Err(PublishError::Unroutable(_))) => {
                tally.unroutable[kind].fetch_add(1, Relaxed);
                if kind == 2 {
                    return;
                }
            }
            Ok(Err(PublishError::Transient(error))) => {
                tally.transient[kind].fetch_add(1, Relaxed);
                if kind == 1 && error.to_string().contains("nack") {
                    return;
                }
            }
            Ok(Err(PublishError::Permanent(_))) => {
                tally.permanent.fetch_add(1, Relaxed);
                return;
            }
            Err(_) => {
                tally.timed_out.fetch_add(1, Relaxed);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel
}

async fn set_up(url: &str, exchange: &str) {
    let channel = channel(url).await;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let none = FieldTable::default;
    channel
        .exchange_declare(exchange.into(), ExchangeKind::Topic, durable, none())
        .await
        .unwrap();
    for kind in &KINDS[..2] {
        let mut arguments = none();
        if *kind == "good" {
            arguments.insert(
                "x-queue-type".into(),
                AMQPValue::LongString("quorum".into()),
            );
        } else {
            arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
            let overflow = AMQPValue::LongString("reject-publish".into());
            arguments.insert("x-overflow".into(), overflow);
        }
        let queue = format!("{exchange}.{kind}");
        let durable = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare(queue.as_str().into(), durable, arguments)
            .await
            .unwrap();
        let (queue, key) = (queue.into(), format!("t.{kind}").into());
        channel
            .queue_bind(
                queue,
                exchange.into(),
                key,
                QueueBindOptions::default(),
                none(),
            )
            .await
            .unwrap();
    }
    // Persistent, so that the queue is still full after a restart.
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let fill = channel.basic_publish(exchange.into(), "t.full".into(), options, b"x", properties);
    fill.await.unwrap().await.unwrap();
}

/// How often each id is in the queue, which is deleted with the exchange.
async fn tear_down(url: &str, exchange: &str) -> HashMap<u64, u64> {
    let channel = channel(url).await;
    let queue = format!("{exchange}.good");
    let passive = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default());
    let count = declared.await.unwrap().message_count();
    let options = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let mut deliveries = channel
        .basic_consume(
            queue.as_str().into(),
            "".into(),
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let mut stored = HashMap::new();
    // Quorum queues count late: read until nothing comes any more.
    for _ in 0..u64::from(count) + 1_000_000 {
        match timeout(Duration::from_secs(2), deliveries.next()).await {
            Ok(Some(Ok(delivery))) => {
                let id = delivery.properties.message_id().as_ref().unwrap();
                *stored.entry(id.as_str().parse().unwrap()).or_default() += 1;
            }
            _ => break,
        }
    }
    for kind in &KINDS[..2] {
        let queue = format!("{exchange}.{kind}").into();
        channel
            .queue_delete(queue, QueueDeleteOptions::default())
            .await
            .unwrap();
    }
    channel
        .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    stored
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the URL of a broker");
    let mut number = |default: u64| arguments.next().map_or(default, |n| n.parse().unwrap());
    let (messages, window, channels) = (number(10_000), number(256), number(1));
    let exchange = format!("interleave-{}", std::process::id());
    set_up(&url, &exchange).await;

    let config = RabbitMqConfig {
        url: Secret::new(url.as_str()),
        exchange: exchange.clone(),
        routing_key: "t.{event_type}".to_owned().try_into().unwrap(),
        mode: Default::default(),
        channels: channels as usize,
    };
    let sink = Arc::new(RabbitMqSink::new("interleave", &config, window as usize).unwrap());
    let (tally, next) = (Arc::new(Tally::default()), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    let tasks: Vec<_> = (0..window)
        .map(|_| {
            let (sink, tally, next) = (sink.clone(), tally.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= messages {
                        return;
                    }
                    publish(&sink, number, &tally).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    sink.close().await.unwrap();
    let stored = tear_down(&url, &exchange).await;

    let good = (0..messages).filter(|number| kind(*number) == 0);
    let lost = good.filter(|number| !stored.contains_key(number)).count();
    let copies = stored.values().sum::<u64>() - stored.len() as u64;
    let counts = |of: &[AtomicU64; 3]| of.each_ref().map(|n| n.load(Relaxed));
    let (acked, unroutable) = (counts(&tally.acked), counts(&tally.unroutable));
    let false_acks = acked[1] + acked[2];
    let misjudged = unroutable[0] + unroutable[1] + tally.permanent.load(Relaxed);
    println!(
        "{{\"messages\":{messages},\"window\":{window},\"channels\":{channels},\"per_second\":{:.0},\
         \"false_acks\":{false_acks},\"lost\":{lost},\"misjudged\":{misjudged},\
         \"acked\":{acked:?},\"unroutable\":{unroutable:?},\"transient\":{:?},\"timed_out\":{},\
         \"copies\":{copies},\"longest_gap_ms\":{}}}",
        messages as f64 / seconds,
        counts(&tally.transient),
        tally.timed_out.load(Relaxed),
        tally.longest_gap_ms.load(Relaxed),
    );
    ExitCode::from(u8::from(false_acks + misjudged > 0 || lost > 0))
}
