//! What a source remembers between the copies of an event, and how it bounds what is in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};
use vodbridge_core::testing::{FakeSink, Step, envelope};
use vodbridge_core::{
    Condition, DeadLetters, Ended, Glob, Intake, Metrics, Outcome, Patience, Pipeline, Route,
    Router, Sink, SinkSet, Targets,
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn patience(n: u64) -> Patience {
    Patience::until(Instant::now() + seconds(n))
}

fn intake_with(sinks: &[&Arc<FakeSink>], router: Router, max_in_flight: usize) -> Arc<Intake> {
    let ports: Vec<Arc<dyn Sink>> = sinks
        .iter()
        .map(|sink| (*sink).clone() as Arc<dyn Sink>)
        .collect();
    let dead_letters = DeadLetters {
        sink: FakeSink::acking("dead"),
        topic: "d".into(),
        last_resort: None,
    };
    let metrics = Metrics::default();
    let pipeline = Arc::new(Pipeline::new(ports, router, dead_letters, &metrics));
    Arc::new(Intake::new(
        "callback",
        pipeline,
        max_in_flight,
        metrics.source("callback"),
    ))
}

fn intake(sinks: &[&Arc<FakeSink>]) -> Arc<Intake> {
    intake_with(sinks, Router::everything(SinkSet::of(0..sinks.len())), 16)
}

fn deliver(intake: &Arc<Intake>, id: &'static str, patience: Patience) -> JoinHandle<Ended> {
    let intake = intake.clone();
    tokio::spawn(async move { intake.deliver(&envelope(id, "FileDeleted"), patience).await })
}

#[tokio::test(start_paused = true)]
async fn a_copy_joins_the_delivery_in_flight_and_extends_it() {
    let sink = FakeSink::new(
        "sink",
        [Step::Hang, Step::Hang, Step::Hang, Step::Hang],
        Step::Ack,
    );
    let intake = intake(&[&sink]);
    let first = deliver(&intake, "1", patience(8));
    sink.wait_started(1).await;
    advance(seconds(5)).await;
    let copy = deliver(&intake, "1", patience(20));
    // Alone the first would have ended after 6 s, at its second attempt.
    assert_eq!(first.await.unwrap().result.unwrap(), Outcome::Delivered);
    assert_eq!(copy.await.unwrap().result.unwrap(), Outcome::Delivered);
    assert_eq!((sink.acked().len(), sink.started()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_copy_waits_no_longer_than_its_own_deadline() {
    let sink = FakeSink::new("sink", [], Step::AckAfter(seconds(2)));
    let intake = intake(&[&sink]);
    let first = deliver(&intake, "1", patience(20));
    sink.wait_started(1).await;
    let start = Instant::now();
    assert!(
        deliver(&intake, "1", patience(1))
            .await
            .unwrap()
            .result
            .is_err()
    );
    assert_eq!(start.elapsed(), seconds(1));
    assert!(first.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_copy_publishes_only_to_the_sinks_still_open() {
    let (healthy, away) = (
        FakeSink::acking("healthy"),
        FakeSink::new("away", [], Step::Transient),
    );
    let intake = intake(&[&healthy, &away]);
    assert!(
        deliver(&intake, "1", patience(6))
            .await
            .unwrap()
            .result
            .is_err()
    );
    away.then(Step::Ack);
    assert_eq!(
        deliver(&intake, "1", patience(6))
            .await
            .unwrap()
            .result
            .unwrap(),
        Outcome::Delivered
    );
    assert_eq!((healthy.acked().len(), away.acked().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_was_acked_unheard_is_delivered_at_once_until_it_is_confirmed() {
    let sink = FakeSink::acking("sink");
    let intake = intake(&[&sink]);
    for _ in 0..3 {
        assert_eq!(
            deliver(&intake, "1", patience(6))
                .await
                .unwrap()
                .result
                .unwrap(),
            Outcome::Delivered
        );
    }
    assert_eq!(sink.acked().len(), 1);
    // Confirmed in time: whatever comes now is no copy that the cloud sent for want of an answer.
    intake.confirmed("1");
    deliver(&intake, "1", patience(6))
        .await
        .unwrap()
        .result
        .unwrap();
    assert_eq!(sink.acked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_entry_is_forgotten_within_ten_minutes() {
    let sink = FakeSink::acking("sink");
    let intake = intake(&[&sink]);
    deliver(&intake, "1", patience(6))
        .await
        .unwrap()
        .result
        .unwrap();
    advance(seconds(299)).await;
    deliver(&intake, "1", patience(6))
        .await
        .unwrap()
        .result
        .unwrap();
    assert_eq!(sink.acked().len(), 1);
    advance(seconds(301)).await;
    deliver(&intake, "2", patience(6))
        .await
        .unwrap()
        .result
        .unwrap();
    advance(seconds(301)).await;
    deliver(&intake, "1", patience(6))
        .await
        .unwrap()
        .result
        .unwrap();
    assert_eq!(sink.acked(), ["1", "2", "1"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_or_panicked_delivery_tells_those_who_joined_that_nothing_is_known() {
    for step in [Step::Hang, Step::Panic] {
        let sink = FakeSink::new("sink", [Step::AckAfter(seconds(1)), step], step);
        let intake = intake(&[&sink]);
        // The sink's first publish is somebody else's, so that the copy can join before the panic.
        deliver(&intake, "0", patience(20))
            .await
            .unwrap()
            .result
            .unwrap();
        let first = deliver(&intake, "1", patience(20));
        let copy = deliver(&intake, "1", patience(20));
        sink.wait_started(2).await;
        if step == Step::Hang {
            first.abort();
        }
        assert!(first.await.is_err());
        if let Ok(ended) = copy.await {
            ended.result.unwrap_err();
        }
        assert_eq!(sink.acked(), ["0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_published_without_a_permit() {
    // The dead letter's sink: where that is another, each has half of the permits.
    let sink = FakeSink::new("dead", [], Step::AckAfter(seconds(1)));
    let intake = intake_with(&[&sink], Router::everything(SinkSet::of([0])), 2);
    let ids = ["1", "2", "3", "4", "5"];
    let deliveries = ids.map(|id| deliver(&intake, id, patience(20)));
    for delivery in deliveries {
        assert!(delivery.await.unwrap().result.is_ok());
    }
    assert_eq!((sink.acked().len(), sink.most_open()), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_until_the_caller_is_answered() {
    let sink = FakeSink::acking("sink");
    let intake = intake_with(&[&sink], Router::everything(SinkSet::of([0])), 1);
    let unanswered = deliver(&intake, "1", patience(20)).await.unwrap();
    assert!(
        deliver(&intake, "2", patience(5))
            .await
            .unwrap()
            .result
            .is_err()
    );
    drop(unanswered);
    assert!(
        deliver(&intake, "3", patience(5))
            .await
            .unwrap()
            .result
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_holds_at_most_half_of_the_permits() {
    let (healthy, away) = (
        FakeSink::acking("healthy"),
        FakeSink::new("away", [], Step::Hang),
    );
    let to = |pattern: &str, sink: usize| Route {
        name: pattern.into(),
        conditions: vec![Condition {
            label: "event_type".into(),
            patterns: vec![Glob::new(pattern)],
        }],
        targets: Targets {
            required: SinkSet::of([sink]),
            shadow: SinkSet::default(),
        },
    };
    let router = Router::new(vec![to("PullComplete", 0), to("FileDeleted", 1)]);
    let intake = intake_with(&[&healthy, &away], router, 4);
    let waiting = ["1", "2", "3", "4", "5", "6"].map(|id| deliver(&intake, id, patience(60)));
    away.wait_started(2).await;
    let ended = intake
        .deliver(&envelope("7", "PullComplete"), patience(5))
        .await;
    assert_eq!(ended.result.unwrap(), Outcome::Delivered);
    assert_eq!(away.most_open(), 2);
    for task in waiting {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_sink_that_is_away_holds_no_place_of_a_healthy_one() {
    let (healthy, away) = (
        FakeSink::acking("healthy"),
        FakeSink::new("away", [], Step::Hang),
    );
    let both = Route {
        targets: Targets {
            required: SinkSet::of([0, 1]),
            shadow: SinkSet::default(),
        },
        conditions: vec![Condition {
            label: "event_type".into(),
            patterns: vec![Glob::new("FileDeleted")],
        }],
        ..Route::default()
    };
    let one = Route {
        targets: Targets {
            required: SinkSet::of([0]),
            shadow: SinkSet::default(),
        },
        ..Route::default()
    };
    let intake = intake_with(&[&healthy, &away], Router::new(vec![both, one]), 4);
    let waiting = ["1", "2", "3", "4", "5", "6"].map(|id| deliver(&intake, id, patience(60)));
    away.wait_started(2).await;
    for id in ["7", "8", "9"] {
        let ended = intake
            .deliver(&envelope(id, "PullComplete"), patience(5))
            .await;
        assert_eq!(ended.result.unwrap(), Outcome::Delivered);
    }
    for task in waiting {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_refusals_waits_its_turn_at_the_dead_letter() {
    let sink = FakeSink::new("sink", [], Step::Permanent);
    let intake = intake_with(&[&sink], Router::everything(SinkSet::of([0])), 4);
    let deliveries = ["1", "2", "3", "4", "5", "6"].map(|id| deliver(&intake, id, patience(20)));
    for delivery in deliveries {
        assert_eq!(
            delivery.await.unwrap().result.unwrap(),
            Outcome::DeadLettered
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_several_sinks_refuse_does_not_wait_for_itself() {
    let refusing = ["a", "b", "c"].map(|name| FakeSink::new(name, [], Step::Permanent));
    let sinks = refusing.each_ref();
    let intake = intake_with(&sinks, Router::everything(SinkSet::of(0..3)), 2);
    let start = Instant::now();
    let ended = deliver(&intake, "1", patience(20)).await.unwrap();
    assert_eq!(ended.result.unwrap(), Outcome::DeadLettered);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn reserved_permits_are_taken_before_the_events_are_there() {
    let sink = FakeSink::new("sink", [], Step::AckAfter(seconds(3)));
    let intake = intake(&[&sink]);
    let mut reserved = intake.reserve(16).await;
    assert_eq!(reserved.len(), 16);
    // Nothing is left for others, neither to reserve nor to deliver.
    let soon = tokio::time::timeout(seconds(1), intake.reserve(1)).await;
    assert!(soon.is_err());
    let ended = intake
        .deliver_reserved(
            reserved.pop().unwrap(),
            &envelope("1", "FileDeleted"),
            patience(9),
        )
        .await;
    assert!(ended.result.is_ok());
    // The permit belongs to what ended until its caller has been answered.
    let soon = tokio::time::timeout(seconds(1), intake.reserve(1)).await;
    assert!(soon.is_err());
    drop(ended);
    assert_eq!(intake.reserve(1).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reserved_delivery_does_not_wait_long_for_the_share_of_a_sink_that_is_away() {
    let (healthy, away) = (
        FakeSink::acking("healthy"),
        FakeSink::new("away", [], Step::Hang),
    );
    let to = |sink: usize, event_type: &str| Route {
        name: event_type.to_owned(),
        conditions: vec![Condition {
            label: "event_type".to_owned(),
            patterns: vec![Glob::new(event_type.to_owned())],
        }],
        targets: Targets {
            required: SinkSet::of([sink]),
            shadow: SinkSet::default(),
        },
    };
    let router = Router::new(vec![to(0, "NewFileUpload"), to(1, "FileDeleted")]);
    let intake = intake_with(&[&healthy, &away], router, 4);
    let mut reserved = intake.reserve(4).await;
    let mut start = |id: &'static str, event_type| {
        let (intake, permit) = (intake.clone(), reserved.pop().unwrap());
        tokio::spawn(async move {
            let envelope = envelope(id, event_type);
            intake
                .deliver_reserved(permit, &envelope, patience(25))
                .await
        })
    };
    let (one, two) = (start("1", "FileDeleted"), start("2", "FileDeleted"));
    away.wait_started(2).await;
    let began = Instant::now();
    let third = start("3", "FileDeleted").await.unwrap();
    assert!(third.result.is_err() && began.elapsed() == seconds(1));
    let other = start("4", "NewFileUpload").await.unwrap();
    assert!(other.result.is_ok());
    one.abort();
    two.abort();
}
