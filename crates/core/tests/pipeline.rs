//! What a delivery promises, on fakes and a paused clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use vodbridge_core::testing::{FakeSink, Step, envelope};
use vodbridge_core::{
    Condition, DeadLetters, Glob, Metrics, Outcome, Patience, Pipeline, Route, Router, Sink,
    SinkSet, Targets,
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn patience(n: u64) -> Patience {
    Patience::until(Instant::now() + seconds(n))
}

fn pipeline(sinks: &[&Arc<FakeSink>], dead_letter: &Arc<FakeSink>) -> Pipeline {
    with_last_resort(sinks, dead_letter, None)
}

fn with_last_resort(
    sinks: &[&Arc<FakeSink>],
    dead_letter: &Arc<FakeSink>,
    last: Option<&Arc<FakeSink>>,
) -> Pipeline {
    let port = |sink: &Arc<FakeSink>| sink.clone() as Arc<dyn Sink>;
    let dead_letters = DeadLetters {
        sink: port(dead_letter),
        topic: "vod.dead_letter".into(),
        last_resort: last.map(port),
    };
    let router = Router::everything(SinkSet::of(0..sinks.len()));
    Pipeline::new(
        sinks.iter().map(|sink| port(sink)).collect(),
        router,
        dead_letters,
        &Metrics::default(),
    )
}

#[tokio::test(start_paused = true)]
async fn delivered_only_when_every_required_sink_has_acked() {
    let (fast, slow) = (
        FakeSink::acking("fast"),
        FakeSink::new("slow", [], Step::AckAfter(seconds(1))),
    );
    let pipeline = pipeline(&[&fast, &slow], &fast);
    let start = Instant::now();
    let outcome = pipeline
        .deliver(&envelope("1", "FileDeleted"), patience(20))
        .await
        .unwrap();
    assert_eq!((outcome, start.elapsed()), (Outcome::Delivered, seconds(1)));
    assert_eq!((fast.acked().len(), slow.acked().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_retried_and_a_hung_attempt_given_up() {
    let sink = FakeSink::new(
        "sink",
        [Step::Transient, Step::Hang, Step::Transient],
        Step::Ack,
    );
    let pipeline = pipeline(&[&sink], &FakeSink::acking("dead"));
    assert_eq!(
        pipeline
            .deliver(&envelope("1", "FileDeleted"), patience(20))
            .await
            .unwrap(),
        Outcome::Delivered
    );
    assert_eq!(sink.started(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_not_delivered_before_the_deadline_and_never_in_the_dead_letter() {
    for step in [Step::Transient, Step::Hang] {
        let (sink, dead) = (FakeSink::new("sink", [], step), FakeSink::acking("dead"));
        let pipeline = pipeline(&[&sink], &dead);
        let start = Instant::now();
        let error = pipeline
            .deliver(&envelope("1", "FileDeleted"), patience(20))
            .await
            .unwrap_err();
        assert_eq!(error.sink, "sink");
        assert!(start.elapsed() <= seconds(20), "{:?}", start.elapsed());
        assert!(
            start.elapsed() >= seconds(17),
            "2 s are kept back: {:?}",
            start.elapsed()
        );
        assert!(dead.acked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn no_publish_starts_after_its_deadline() {
    let sink = FakeSink::acking("sink");
    let pipeline = pipeline(&[&sink], &sink);
    pipeline
        .deliver(&envelope("1", "FileDeleted"), patience(0))
        .await
        .unwrap_err();
    assert_eq!(sink.started(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_dead_lettered_with_its_reason() {
    let (sink, other) = (
        FakeSink::new("sink", [], Step::Permanent),
        FakeSink::acking("other"),
    );
    let dead = FakeSink::acking("dead");
    let pipeline = pipeline(&[&sink, &other], &dead);
    assert_eq!(
        pipeline
            .deliver(&envelope("1", "FileDeleted"), patience(20))
            .await
            .unwrap(),
        Outcome::DeadLettered
    );
    assert_eq!(other.acked(), ["1"]);
    let letter = &dead.envelopes()[0];
    assert_eq!(
        (letter.id(), letter.topic()),
        ("1", Some("vod.dead_letter"))
    );
    let record: serde_json::Value = serde_json::from_slice(&letter.data()).unwrap();
    assert_eq!(
        (&record["reason"], &record["sink"], &record["attempts"]),
        (&"refused".into(), &"sink".into(), &1.into())
    );
}

#[tokio::test(start_paused = true)]
async fn one_permanent_and_one_transient_is_not_delivered() {
    let (sink, other) = (
        FakeSink::new("sink", [], Step::Permanent),
        FakeSink::new("other", [], Step::Transient),
    );
    let pipeline = pipeline(&[&sink, &other], &FakeSink::acking("dead"));
    let error = pipeline
        .deliver(&envelope("1", "FileDeleted"), patience(20))
        .await
        .unwrap_err();
    assert_eq!(error.sink, "other");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_away_is_not_delivered_and_one_that_refuses_falls_back() {
    let sink = FakeSink::new("sink", [], Step::Permanent);
    let away = FakeSink::new("dead", [], Step::Transient);
    let error = pipeline(&[&sink], &away)
        .deliver(&envelope("1", "FileDeleted"), patience(20))
        .await
        .unwrap_err();
    assert_eq!(error.sink, "dead");

    for step in [Step::Permanent, Step::Unroutable] {
        let (refusing, last) = (FakeSink::new("dead", [], step), FakeSink::acking("last"));
        let pipeline = with_last_resort(&[&sink], &refusing, Some(&last));
        assert_eq!(
            pipeline
                .deliver(&envelope("1", "FileDeleted"), patience(20))
                .await
                .unwrap(),
            Outcome::DeadLettered
        );
        assert_eq!(last.acked(), ["1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unroutable_event_waits_for_its_destination_as_long_as_its_source_can() {
    let dead = FakeSink::acking("dead");
    let sink = FakeSink::new("sink", [], Step::Unroutable);
    let start = Instant::now();
    let until = Patience {
        unroutable_until: Some(start + seconds(1)),
        ..patience(20)
    };
    let outcome = pipeline(&[&sink], &dead)
        .deliver(&envelope("1", "FileDeleted"), until)
        .await
        .unwrap();
    assert_eq!(
        (outcome, start.elapsed()),
        (Outcome::DeadLettered, seconds(1))
    );
    assert!(sink.started() > 1);

    // Without such a limit the cloud keeps the event.
    pipeline(&[&sink], &dead)
        .deliver(&envelope("2", "FileDeleted"), patience(10))
        .await
        .unwrap_err();
    assert_eq!(dead.acked(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_required_sink_is_dead_lettered() {
    let (sink, dead) = (FakeSink::acking("sink"), FakeSink::acking("dead"));
    let only_shadow = Route {
        name: "r".into(),
        conditions: vec![Condition {
            label: "event_type".into(),
            patterns: vec![Glob::new("File*")],
        }],
        targets: Targets {
            required: SinkSet::default(),
            shadow: SinkSet::of([0]),
        },
    };
    let dead_letters = DeadLetters {
        sink: dead.clone(),
        topic: "vod.dead_letter".into(),
        last_resort: None,
    };
    let pipeline = Pipeline::new(
        vec![sink.clone()],
        Router::new(vec![only_shadow]),
        dead_letters,
        &Metrics::default(),
    );
    for (id, event_type) in [("1", "FileDeleted"), ("2", "PullComplete")] {
        assert_eq!(
            pipeline
                .deliver(&envelope(id, event_type), patience(20))
                .await
                .unwrap(),
            Outcome::DeadLettered
        );
    }
    pipeline.close().await;
    assert_eq!(
        (dead.acked().len(), sink.acked()),
        (2, vec!["1".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_shadow_sink_is_never_waited_for_and_never_dead_lettered() {
    for step in [Step::Hang, Step::Permanent, Step::Panic] {
        let (sink, shadow) = (FakeSink::acking("sink"), FakeSink::new("shadow", [], step));
        let dead = FakeSink::acking("dead");
        let route = Route {
            targets: Targets {
                required: SinkSet::of([0]),
                shadow: SinkSet::of([1]),
            },
            ..Route::default()
        };
        let dead_letters = DeadLetters {
            sink: dead.clone(),
            topic: "d".into(),
            last_resort: None,
        };
        let sinks: Vec<Arc<dyn Sink>> = vec![sink.clone(), shadow.clone()];
        let pipeline = Pipeline::new(
            sinks,
            Router::new(vec![route]),
            dead_letters,
            &Metrics::default(),
        );
        let delivered = timeout(
            seconds(1),
            pipeline.deliver(&envelope("1", "FileDeleted"), patience(20)),
        )
        .await;
        assert_eq!(delivered.unwrap().unwrap(), Outcome::Delivered);
        shadow.wait_started(1).await;
        assert!(dead.acked().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_every_delivery_at_once() {
    let sink = FakeSink::new("sink", [], Step::Hang);
    let pipeline = Arc::new(pipeline(&[&sink], &FakeSink::acking("dead")));
    let delivery = tokio::spawn({
        let pipeline = pipeline.clone();
        async move {
            pipeline
                .deliver(&envelope("1", "FileDeleted"), patience(20))
                .await
        }
    });
    sink.wait_started(1).await;
    let start = Instant::now();
    pipeline.cut();
    delivery.await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_publish_to_one_sink_follows_no_route_and_becomes_no_dead_letter() {
    let (one, other) = (
        FakeSink::new("one", [Step::Transient], Step::Ack),
        FakeSink::new("other", [Step::Permanent], Step::Unroutable),
    );
    let (letters, event) = (FakeSink::acking("letters"), envelope("1", "FileDeleted"));
    let pipeline = pipeline(&[&one, &other], &letters);
    let publish = |sink, patience| pipeline.publish_to(sink, &event, patience);
    publish("one", patience(20)).await.unwrap();
    assert_eq!(one.acked(), ["1"]);
    let refused = publish("other", patience(20)).await.unwrap_err();
    assert_eq!(refused.kind(), "permanent");
    let start = Instant::now();
    let unroutable = Patience {
        unroutable_until: Some(start + seconds(5)),
        ..patience(20)
    };
    let nowhere = publish("other", unroutable).await.unwrap_err();
    assert_eq!(
        (nowhere.kind(), start.elapsed()),
        ("unroutable", seconds(5))
    );
    let unknown = publish("third", patience(20)).await.unwrap_err();
    assert_eq!(unknown.kind(), "permanent");
    assert_eq!((other.acked().len(), letters.started()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_later_is_not_published_too_late_to_end_in_time() {
    let dead = FakeSink::acking("dead");
    let sink = FakeSink::new("sink", [Step::Hang], Step::Ack);
    let start = Instant::now();
    // 2 s are kept back for a dead letter, and the attempt that hangs takes 3 s.
    let until = patience(7).without_cut_attempts();
    let pipeline = pipeline(&[&sink], &dead);
    let event = envelope("1", "FileDeleted");
    pipeline.deliver(&event, until).await.unwrap_err();
    assert_eq!((sink.started(), start.elapsed() < seconds(4)), (1, true));
    pipeline.deliver(&event, patience(7)).await.unwrap();
    assert_eq!(sink.started(), 2);
}
