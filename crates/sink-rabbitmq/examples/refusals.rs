//! Shows what becomes of publishes when the broker refuses one of them, or has no exchange.
//!
//! `cargo run --release --example refusals -- URL [OVERSIZE_BYTES]`
//!
//! Makes an exchange, publishes, publishes bodies of OVERSIZE_BYTES among and beside others
//! (above the broker's `max_message_size`, if given), then deletes the exchange under load and
//! makes it again. Each step prints its verdicts.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use tokio::time::{sleep, timeout};
use vodbridge_core::cloudevents::Mode;
use vodbridge_core::{Envelope, Event, Secret, Sink, Topology};
use vodbridge_sink_rabbitmq::{RabbitMqConfig, RabbitMqSink};

fn envelope(bytes: usize, header: usize) -> Envelope {
    let event = Event {
        id: "1".into(),
        source: "https://example.com".into(),
        ty: "com.example.refusals".into(),
        subject: None,
        time: "2026-01-01T00:00:00Z".into(),
        partition_key: None,
        extensions: vec![("vodextra".into(), "x".repeat(header).into())],
        labels: Vec::new(),
    };
    event.encode(|out| {
        out.push(b'"');
        out.resize(out.len() + bytes, b'x');
        out.push(b'"');
    })
}

async fn verdict(sink: &RabbitMqSink, envelope: &Envelope) -> String {
    match timeout(sink.attempt_timeout(), sink.publish(envelope)).await {
        Ok(Ok(())) => "acked".to_owned(),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            format!("{}: {}", error.kind(), source.unwrap_or_default())
        }
        Err(_) => "timed out".to_owned(),
    }
}

fn counts(verdicts: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for verdict in verdicts {
        *counts.entry(verdict).or_default() += 1;
    }
    counts
}

/// Publishes all at once and counts the verdicts.
async fn verdicts(step: &str, sink: &RabbitMqSink, envelopes: &[Envelope]) {
    let verdicts = envelopes.iter().map(|envelope| verdict(sink, envelope));
    println!("{step}: {:#?}", counts(join_all(verdicts).await));
}

/// Publishes ten small events a second for 15 s, beside three loops of one that is too large.
async fn beside(sink: &RabbitMqSink, oversize: usize) {
    let (began, length) = (Instant::now(), Duration::from_secs(15));
    let refused = async || {
        let (envelope, mut verdicts) = (envelope(oversize, 10), Vec::new());
        while began.elapsed() < length {
            verdicts.push(verdict(sink, &envelope).await);
            sleep(Duration::from_millis(20)).await;
        }
        verdicts
    };
    let small = (0..150).map(async |number| {
        sleep(Duration::from_millis(100) * number).await;
        let (envelope, began) = (envelope(100, 10), Instant::now());
        (verdict(sink, &envelope).await, began.elapsed())
    });
    let large = join_all((0..3).map(|_| refused()));
    let (large, small) = tokio::join!(large, join_all(small));
    let (verdicts, mut latencies): (Vec<_>, Vec<_>) = small.into_iter().unzip();
    latencies.sort();
    let (median, longest) = (latencies[75], latencies[149]);
    println!("too large, beside: {:#?}", counts(large.concat()));
    println!(
        "small: {:#?}, median {median:?}, longest {longest:?}",
        counts(verdicts)
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the URL of a broker");
    let oversize = arguments.next().map(|n| n.parse().unwrap());
    let exchange = format!("refusals-{}", std::process::id());
    let config = RabbitMqConfig {
        url: Secret::new(url.as_str()),
        exchange: exchange.clone(),
        routing_key: "t.x".to_owned().try_into().unwrap(),
        mode: Mode::Binary,
        channels: 1,
    };
    let sink = Arc::new(RabbitMqSink::new("refusals", &config, 256).unwrap());
    let small: Vec<_> = (0..200).map(|_| envelope(100, 10)).collect();
    if timeout(Duration::from_secs(5), sink.reached())
        .await
        .is_err()
    {
        return println!("not reached: {:#?}", sink.health());
    }
    println!(
        "without an exchange: {:#?}",
        sink.inspect(&[]).await.unwrap()
    );
    verdicts("without an exchange", &sink, &small).await;
    println!("{:#?}", sink.provision(&[]).await.unwrap());
    println!("again: {:#?}", sink.provision(&[]).await.unwrap());
    println!("with an exchange: {:#?}", sink.inspect(&[]).await.unwrap());
    verdicts("before the sink has seen it, perhaps", &sink, &small).await;
    sleep(Duration::from_secs(3)).await;
    verdicts("with an exchange", &sink, &small).await;
    verdicts(
        "headers that fit no frame",
        &sink,
        &[envelope(1, 200_000), envelope(1, 1)],
    )
    .await;
    if let Some(oversize) = oversize {
        let mut mixed = small.clone();
        mixed.insert(100, envelope(oversize, 10));
        verdicts("one too large among 200", &sink, &mixed).await;
        verdicts("right after", &sink, &small).await;
        beside(&sink, oversize).await;
    }
    let connection = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let deleted =
        channel.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    verdicts("the exchange deleted", &sink, &small).await;
    println!("{:?}", sink.health());
    sink.provision(&[]).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    verdicts("made again", &sink, &small).await;
    println!("{:?}", sink.health());
    sink.close().await.unwrap();
    let queue = format!("{exchange}.events").into();
    channel
        .queue_delete(queue, QueueDeleteOptions::default())
        .await
        .unwrap();
    let deleted = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
}
