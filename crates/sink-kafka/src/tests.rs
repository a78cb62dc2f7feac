//! Faults injected into librdkafka's mock broker. That Kafka works is proved on a real one, elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Resp};
use vodbridge_core::cloudevents::Mode;
use vodbridge_core::{Envelope, Event, PublishError, Sink, State, Template};

use crate::{EmbeddedKafka, KafkaConfig, KafkaSink, Limits};

pub(crate) fn config_with(options: &[(&str, &str)]) -> KafkaConfig {
    let options: BTreeMap<_, _> = options.iter().copied().collect();
    let json = serde_json::json!({
        "brokers": ["127.0.0.1:1"], "topic": "vod.{event_type}", "options": options,
    });
    serde_json::from_value(json).unwrap()
}

pub(crate) fn event(id: &str, key: Option<&str>) -> Envelope {
    let event = Event {
        id: id.into(),
        source: "https://vod.tencentcloudapi.com/1".into(),
        ty: "com.tencent.cloud.vod.NewFileUpload".into(),
        subject: key.map(Into::into),
        time: "2026-01-01T00:00:00Z".into(),
        partition_key: key.map(Into::into),
        extensions: vec![
            ("vodsource".into(), "webhook".into()),
            ("unlisted".into(), "x".into()),
        ],
        labels: vec![],
    };
    event.encode(|out| out.extend_from_slice(br#"{"FileId":"1"}"#))
}

async fn sink(kafka: &EmbeddedKafka, message_timeout: Duration) -> KafkaSink {
    let config = KafkaConfig {
        brokers: vec![kafka.bootstrap()],
        topic: Template::parse("vod").unwrap(),
        mode: Mode::Binary,
        options: BTreeMap::new(),
    };
    let limits = Limits {
        message_timeout,
        max_in_flight: 1024,
    };
    let sink = KafkaSink::new("events", &config, &limits).unwrap();
    tokio::time::timeout(Duration::from_secs(10), sink.reached())
        .await
        .expect("the mock broker is there");
    sink
}

async fn publish(sink: &KafkaSink, id: &str) -> Result<(), PublishError> {
    sink.publish(&event(id, Some("file"))).await
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn reached_once_broker_and_producer_id_are_there() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    let health = sink.health();
    assert_eq!(health.state, State::Up);
    assert!(
        health.doing.contains(&kafka.bootstrap()),
        "{}",
        health.doing
    );
    publish(&sink, "1").await.unwrap();
    sink.close().await.unwrap();
    let closed = publish(&sink, "2").await.unwrap_err();
    assert_eq!(closed.kind(), "transient");
}

#[tokio::test]
async fn a_thousand_at_once_are_all_acknowledged() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    let events: Vec<_> = (0..1000).map(|i| event(&i.to_string(), None)).collect();
    for result in join_all(events.iter().map(|e| sink.publish(e))).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn too_few_replicas_are_waited_for() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    let few = Resp::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    kafka.cluster().request_errors(Api::Produce, &[few; 2]);
    publish(&sink, "1").await.unwrap();
}

#[tokio::test]
async fn an_oversize_event_is_refused_for_good() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    let size = Resp::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    // Once as it came, once more alone.
    kafka.cluster().request_errors(Api::Produce, &[size; 2]);
    assert_eq!(publish(&sink, "1").await.unwrap_err().kind(), "permanent");
    publish(&sink, "2").await.unwrap();
}

/// The broker refuses a batch as too large although each of its events would fit.
#[tokio::test]
async fn a_refused_batch_is_no_verdict_on_its_events() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    let size = Resp::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    kafka.cluster().request_errors(Api::Produce, &[size]);
    let events: Vec<_> = (0..200)
        .map(|i| event(&i.to_string(), Some("file")))
        .collect();
    for result in join_all(events.iter().map(|e| sink.publish(e))).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_topic_is_unroutable_long_before_the_time_out() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    let unknown = Resp::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    kafka.cluster().topic_error("vod", unknown).unwrap();
    let started = Instant::now();
    assert_eq!(publish(&sink, "1").await.unwrap_err().kind(), "unroutable");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn an_outage_is_transient_and_ends_by_itself() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, Duration::from_secs(1)).await;
    publish(&sink, "1").await.unwrap();
    kafka.cluster().broker_down(-1).unwrap();
    let error = publish(&sink, "2").await.unwrap_err();
    assert_eq!(error.kind(), "transient");
    assert_eq!(sink.health().state, State::Down);
    assert!(sink.health().problem.is_some());
    kafka.cluster().broker_up(-1).unwrap();
    let back = async { while publish(&sink, "3").await.is_err() {} };
    tokio::time::timeout(PATIENT, back)
        .await
        .expect("it reconnects");
}

#[tokio::test]
async fn a_fatal_producer_is_replaced() {
    let kafka = EmbeddedKafka::start().unwrap();
    // Refused once for each of the two producers, which gives both up.
    let refused = Resp::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    kafka
        .cluster()
        .request_errors(Api::InitProducerId, &[refused; 2]);
    let config = KafkaConfig {
        brokers: vec![kafka.bootstrap()],
        ..config_with(&[])
    };
    let limits = Limits {
        message_timeout: PATIENT,
        max_in_flight: 10,
    };
    let sink = KafkaSink::new("events", &config, &limits).unwrap();
    let recovered = async {
        loop {
            match publish(&sink, "1").await {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), "transient", "{error:?}"),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, recovered)
        .await
        .expect("a new producer works");
}

/// As when a broker has lost events that it had acked.
#[tokio::test]
async fn a_producer_out_of_sequence_is_replaced() {
    let kafka = EmbeddedKafka::start().unwrap();
    let sink = sink(&kafka, PATIENT).await;
    publish(&sink, "1").await.unwrap();
    let lost = Resp::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    kafka.cluster().request_errors(Api::Produce, &[lost]);
    assert_eq!(publish(&sink, "2").await.unwrap_err().kind(), "transient");
    let recovered = async { while publish(&sink, "2").await.is_err() {} };
    tokio::time::timeout(PATIENT, recovered)
        .await
        .expect("a new producer works");
}

#[tokio::test]
async fn an_event_over_the_local_limit_is_refused_for_good() {
    let kafka = EmbeddedKafka::start().unwrap();
    let config = KafkaConfig {
        brokers: vec![kafka.bootstrap()],
        ..config_with(&[("message.max.bytes", "1000")])
    };
    let limits = Limits {
        message_timeout: PATIENT,
        max_in_flight: 10,
    };
    let sink = KafkaSink::new("events", &config, &limits).unwrap();
    let key = "x".repeat(2000);
    let error = sink.publish(&event("1", Some(&key))).await.unwrap_err();
    assert_eq!(error.kind(), "permanent");
}
