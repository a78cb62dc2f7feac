//! Measures the sink beside a bare channel that all tasks share, on a real broker.
//!
//! `cargo run --release --example bench -- URL [SECONDS] [CHANNELS,...] [WINDOWS,...]`
//!
//! 2 KB bodies to one durable quorum queue, a closed loop of as many tasks as publishes in
//! flight. The shared channel acks falsely (see `interleave`): it is what the client library
//! costs, not an alternative. CPU is this process's alone.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, future::join_all};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use vodbridge_core::{Envelope, Event, Label, Secret, Sink, Topology};
use vodbridge_sink_rabbitmq::{RabbitMqConfig, RabbitMqSink};

type Publish = Arc<dyn Fn(Envelope) -> BoxFuture<'static, ()> + Send + Sync>;

fn envelope() -> Envelope {
    let event = Event {
        id: "5f1c9a0e7d3b4c2f8a6e1d0b9c8f7a6e5d4c3b2a1f0e9d8c7b6a5f4e3d2c1b0a".into(),
        source: "https://vod.tencentcloudapi.com/1500012345".into(),
        ty: "com.tencent.cloud.vod.NewFileUpload".into(),
        subject: Some("5285890784273533167".into()),
        time: "2026-01-01T00:00:00Z".into(),
        partition_key: Some("5285890784273533167".into()),
        extensions: Vec::new(),
        labels: vec![Label::new("event_type", "NewFileUpload")],
    };
    event.encode(|out| {
        out.push(b'"');
        out.resize(out.len() + 1700, b'x');
        out.push(b'"');
    })
}

/// CPU time of this process, in microseconds: two fields of `stat`, in ticks of 10 ms.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

async fn measure(name: &str, window: usize, time: Duration, publish: Publish) {
    let (began, cpu_before) = (Instant::now(), cpu());
    let tasks = (0..window).map(|_| {
        let publish = publish.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(65_536);
            while began.elapsed() < time {
                let sent = Instant::now();
                publish(envelope()).await;
                latencies.push(sent.elapsed());
            }
            latencies
        })
    });
    let mut latencies: Vec<Duration> = join_all(tasks)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    let (seconds, used) = (began.elapsed().as_secs_f64(), cpu() - cpu_before);
    latencies.sort_unstable();
    let at = |part: f64| latencies[(latencies.len() as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!(
        "{name:>10} {window:>5} {:>7.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms  {:>5.1} us CPU each",
        latencies.len() as f64 / seconds,
        at(0.5),
        at(0.99),
        used as f64 / latencies.len() as f64,
    );
}

async fn shared(channel: &Channel, exchange: String) -> Publish {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    let channel = Arc::new(channel.clone());
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/cloudevents+json".into())
        .with_message_id(envelope().id().into());
    Arc::new(move |envelope: Envelope| {
        let (channel, exchange, properties) =
            (channel.clone(), exchange.clone(), properties.clone());
        async move {
            let options = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            let body: Bytes = envelope.structured();
            let key = "vod.NewFileUpload".into();
            let sent = channel.basic_publish(exchange.into(), key, options, &body, properties);
            let confirm = sent.await.unwrap().await.unwrap();
            assert!(matches!(confirm, Confirmation::Ack(None)));
        }
        .boxed()
    })
}

fn list(text: Option<String>, default: &str) -> Vec<usize> {
    let text = text.unwrap_or(default.into());
    text.split(',').map(|n| n.parse().unwrap()).collect()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("the URL of a broker");
    let time = Duration::from_secs(arguments.next().map_or(5, |n| n.parse().unwrap()));
    let channels = list(arguments.next(), "1,2,4");
    let windows = list(arguments.next(), "1,8,64,256,1024");
    let exchange = format!("bench-{}", std::process::id());
    let config = |channels| RabbitMqConfig {
        url: Secret::new(url.as_str()),
        exchange: exchange.clone(),
        routing_key: "vod.{event_type}".to_owned().try_into().unwrap(),
        mode: Default::default(),
        channels,
    };
    let bare = Connection::connect(&url, ConnectionProperties::default())
        .await
        .unwrap();
    let bare = bare.create_channel().await.unwrap();
    let provisioner = RabbitMqSink::new("bench", &config(1), 1).unwrap();
    provisioner.provision(&[]).await.unwrap();
    provisioner.close().await.unwrap();
    let queue = format!("{exchange}.events");
    let shared = shared(&bare, exchange.clone()).await;
    for window in windows {
        measure("shared", window, time, shared.clone()).await;
        for &channels in &channels {
            bare.queue_purge(queue.as_str().into(), QueuePurgeOptions::default())
                .await
                .unwrap();
            let sink = Arc::new(RabbitMqSink::new("bench", &config(channels), window).unwrap());
            sink.reached().await;
            let publisher = sink.clone();
            let publish: Publish = Arc::new(move |envelope| {
                let sink = publisher.clone();
                async move { sink.publish(&envelope).await.unwrap() }.boxed()
            });
            measure(&format!("owner x{channels}"), window, time, publish).await;
            sink.close().await.unwrap();
        }
    }
    bare.queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    bare.exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
}
