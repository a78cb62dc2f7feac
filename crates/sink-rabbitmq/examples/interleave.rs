//! Proves that no ack is false: publishes good, unroutable and refused messages interleaved to a
//! real broker, and compares each verdict with what its message deserved and with what the
//! broker holds in the end.
//!
//! `cargo run --release --example interleave -- URL [MESSAGES] [WINDOW] [CHANNELS] [LARGE]`
//!
//! Of ten messages one goes to a key that nothing is bound to, one to a full queue that refuses
//! publishes, eight to a quorum queue. One of 49, of each of these, has a body of LARGE bytes. Whatever fails as transient is published again with the
//! same id until it is acked, so that the broker may be killed, stopped or blocked meanwhile;
//! each change of the sink's health is told on stderr. Stdout gets one JSON object; the exit
//! code is 1 where `false_acks` (acked, and in no queue) or `misjudged` is not 0.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
    ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
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
    acked: Mutex<HashSet<u64>>,
    transient: [AtomicU64; 3],
    unroutable: [AtomicU64; 3],
    permanent: AtomicU64,
    timed_out: AtomicU64,
    last_ack: Mutex<Option<Instant>>,
    longest_gap_ms: AtomicU64,
}

impl Tally {
    fn acked(&self, number: u64) {
        self.acked.lock().unwrap().insert(number);
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

fn envelope(number: u64, large: usize) -> Envelope {
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
    let bytes = if number % 49 == 3 { large } else { 2 };
    event.encode(|out| {
        out.push(b'"');
        out.resize(out.len() + bytes, b'x');
        out.push(b'"');
    })
}

/// Publishes until acked; what deserves no ack is published once more only if the world failed.
async fn publish(sink: &RabbitMqSink, number: u64, large: usize, tally: &Tally) {
    let (envelope, kind) = (envelope(number, large), kind(number));
    loop {
        match timeout(sink.attempt_timeout(), sink.publish(&envelope)).await {
            Ok(Ok(())) => return tally.acked(number),
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
    connection.create_channel().await.unwrap()
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
    // Persistent and confirmed, so that the queue is still full after a kill.
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    confirms.await.unwrap();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let fill = channel.basic_publish(exchange.into(), "t.full".into(), options, b"x", properties);
    fill.await.unwrap().await.unwrap();
}

/// How often each id is in the queues, which are deleted with the exchange.
async fn tear_down(url: &str, exchange: &str) -> HashMap<u64, u64> {
    let mut stored = HashMap::new();
    for kind in &KINDS[..2] {
        let queue = format!("{exchange}.{kind}");
        read(&channel(url).await, &queue, &mut stored).await;
        let channel = channel(url).await;
        let deleted = channel.queue_delete(queue.into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    }
    let channel = channel(url).await;
    let deleted = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    stored
}

/// Reads a queue until nothing comes any more: quorum queues count late.
async fn read(channel: &Channel, queue: &str, stored: &mut HashMap<u64, u64>) {
    let options = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let consume = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default());
    let mut deliveries = consume.await.unwrap();
    while let Ok(Some(delivery)) = timeout(Duration::from_secs(2), deliveries.next()).await {
        // The message that fills the full queue has no id.
        if let Some(id) = delivery.unwrap().properties.message_id() {
            *stored.entry(id.as_str().parse().unwrap()).or_default() += 1;
        }
    }
}

/// Tells each change of the sink's health, with the seconds since the start.
async fn watch(sink: Arc<RabbitMqSink>) {
    let (began, mut before) = (Instant::now(), None);
    loop {
        let health = sink.health();
        let now = Some((health.state, health.problem));
        if now != before {
            eprintln!(
                "{:7.2} {:?}",
                began.elapsed().as_secs_f64(),
                now.as_ref().unwrap()
            );
            before = now;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the URL of a broker");
    let mut number = |default: u64| arguments.next().map_or(default, |n| n.parse().unwrap());
    let (messages, window, channels) = (number(10_000), number(256), number(1));
    let large = number(2) as usize;
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
    let watching = tokio::spawn(watch(sink.clone()));
    let tasks: Vec<_> = (0..window)
        .map(|_| {
            let (sink, tally, next) = (sink.clone(), tally.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= messages {
                        return;
                    }
                    publish(&sink, number, large, &tally).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    watching.abort();
    sink.close().await.unwrap();
    let stored = tear_down(&url, &exchange).await;

    let acked = tally.acked.lock().unwrap();
    let false_acks = acked
        .iter()
        .filter(|number| !stored.contains_key(number))
        .count();
    let mut of_kind = [0; 3];
    acked.iter().for_each(|number| of_kind[kind(*number)] += 1);
    let copies = stored.values().sum::<u64>() - stored.len() as u64;
    let counts = |of: &[AtomicU64; 3]| of.each_ref().map(|n| n.load(Relaxed));
    let unroutable = counts(&tally.unroutable);
    let misjudged = of_kind[2] + tally.permanent.load(Relaxed);
    println!(
        "{{\"messages\":{messages},\"window\":{window},\"channels\":{channels},\"large\":{large},\
         \"per_second\":{:.0},\"false_acks\":{false_acks},\"misjudged\":{misjudged},\
         \"acked\":{of_kind:?},\"unroutable\":{unroutable:?},\"transient\":{:?},\
         \"timed_out\":{},\"copies\":{copies},\"longest_gap_ms\":{}}}",
        messages as f64 / seconds,
        counts(&tally.transient),
        tally.timed_out.load(Relaxed),
        tally.longest_gap_ms.load(Relaxed),
    );
    ExitCode::from(u8::from(false_acks > 0 || misjudged > 0))
}
