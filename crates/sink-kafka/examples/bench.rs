//! What a bare producer and the sink reach on a real broker, interleaved:
//!
//! ```text
//! cargo run --profile ci -p vodbridge-sink-kafka --example bench -- BROKER [SECONDS] [TOPICS] [IN_FLIGHT,…]
//! ```
//!
//! A closed loop of 2 KB events, each awaiting its ack. CPU is that of this process. For a round trip
//! of 3 ms put `examples/delay.rs` before a listener that the broker advertises at its address.

#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use vodbridge_core::{Envelope, Event, Label, Sink, Topology};
use vodbridge_sink_kafka::{KafkaConfig, KafkaSink, Limits};

type Failure = Box<dyn std::error::Error + Send + Sync>;

enum Target {
    Bare(FutureProducer),
    Sink(KafkaSink),
}

impl Target {
    async fn publish(&self, topic: &str, event: &Envelope) -> Result<(), Failure> {
        match self {
            Self::Sink(sink) => Ok(sink.publish(event).await?),
            Self::Bare(producer) => {
                let payload = event.structured();
                let headers = OwnedHeaders::new_with_capacity(1).insert(Header {
                    key: "content-type",
                    value: Some("application/cloudevents+json; charset=UTF-8"),
                });
                let record = FutureRecord::to(topic)
                    .key(event.partition_key().unwrap_or_default())
                    .payload(&payload[..])
                    .headers(headers);
                let delivery = producer.send_result(record).map_err(|(e, _)| e)?;
                Ok(delivery.await?.map(drop).map_err(|(e, _)| e)?)
            }
        }
    }
}

fn bare(broker: &str, linger: &str) -> Result<Target, Failure> {
    let producer = ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("enable.idempotence", "true")
        .set("linger.ms", linger)
        .set("partitioner", "murmur2_random")
        .create()?;
    Ok(Target::Bare(producer))
}

fn sink(broker: &str) -> Result<KafkaSink, Failure> {
    let config: KafkaConfig = serde_json::from_value(serde_json::json!({
        "brokers": [broker], "topic": "bench.{event_type}",
    }))?;
    let limits = Limits {
        message_timeout: Duration::from_secs(16),
        max_in_flight: 1024,
    };
    Ok(KafkaSink::new("bench", &config, &limits)?)
}

fn events(topics: usize) -> Vec<(String, Envelope)> {
    let data = format!("{{\"text\":\"{}\"}}", "x".repeat(1700));
    (0..topics.max(37) * 32)
        .map(|i| {
            let ty = format!("T{}", i % topics);
            let event = Event {
                id: format!("{i:064}"),
                source: "https://vod.tencentcloudapi.com/1500012345".into(),
                ty: "com.tencent.cloud.vod.ProcedureStateChanged".into(),
                subject: Some(format!("file-{i}")),
                time: "2026-01-01T00:00:00Z".into(),
                partition_key: Some(format!("file-{i}")),
                extensions: vec![("vodsource".into(), "webhook".into())],
                labels: vec![Label::new("event_type", ty.clone())],
            };
            let envelope = event.encode(|out| out.extend_from_slice(data.as_bytes()));
            (format!("bench.{ty}"), envelope)
        })
        .collect()
}

/// User and system time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = (after_name.split_whitespace().skip(11).take(2))
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

async fn measure(
    name: &str,
    target: Arc<Target>,
    events: Arc<Vec<(String, Envelope)>>,
    in_flight: usize,
    time: Duration,
) -> Result<(), Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let run = |until: Instant| {
        let tasks: Vec<_> = (0..in_flight)
            .map(|_| {
                let (target, events, next) = (target.clone(), events.clone(), next.clone());
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while Instant::now() < until {
                        let i = next.fetch_add(1, Ordering::Relaxed) % events.len();
                        let started = Instant::now();
                        target.publish(&events[i].0, &events[i].1).await?;
                        latencies.push(started.elapsed());
                    }
                    Ok::<_, Failure>(latencies)
                })
            })
            .collect();
        async move {
            let mut all = Vec::new();
            for task in tasks {
                all.append(&mut task.await??);
            }
            Ok::<_, Failure>(all)
        }
    };
    run(Instant::now() + Duration::from_secs(1)).await?;
    let (before, started) = (cpu(), Instant::now());
    let mut latencies = run(started + time).await?;
    let (elapsed, spent) = (started.elapsed(), cpu() - before);
    latencies.sort_unstable();
    let at = |quantile: f64| latencies[(latencies.len() as f64 * quantile) as usize].as_secs_f64();
    println!(
        "{name:8} {in_flight:5} {:9.0}/s  p50 {:7.2} ms  p99 {:7.2} ms  {:6.1} us CPU",
        latencies.len() as f64 / elapsed.as_secs_f64(),
        at(0.5) * 1e3,
        at(0.99) * 1e3,
        spent.as_secs_f64() * 1e6 / latencies.len() as f64,
    );
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let broker = arguments.next().ok_or("which broker?")?;
    let seconds = arguments.next().map_or(Ok(4), |s| s.parse())?;
    let topics = arguments.next().map_or(Ok(1), |s| s.parse())?;
    let steps = arguments.next().unwrap_or("1,8,64,256,1024".into());
    let events = Arc::new(events(topics));
    let names: Vec<_> = (0..topics).map(|t| format!("bench.T{t}")).collect();
    let sink = sink(&broker)?;
    sink.reached().await;
    sink.provision(&names).await?;
    println!("{topics} topics; {}", sink.inspect(&names).await?.ack);
    let targets = [
        ("linger 0", Arc::new(bare(&broker, "0")?)),
        ("linger 1", Arc::new(bare(&broker, "1")?)),
        ("sink", Arc::new(Target::Sink(sink))),
    ];
    for in_flight in steps.split(',') {
        for (name, target) in &targets {
            let time = Duration::from_secs(seconds);
            measure(
                name,
                target.clone(),
                events.clone(),
                in_flight.parse()?,
                time,
            )
            .await?;
        }
    }
    Ok(())
}
