//! The invariants that need nothing but a pipeline, each under its name in ARCHITECTURE.md.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use vodbridge_core::testing::{FakeSink, Step, envelope};
use vodbridge_core::{
    Content, DeadLetter, DeadLetters, Ended, Intake, Metrics, Outcome, Patience, Pipeline, Reason,
    Route, Router, Sink, SinkSet, Targets,
};

const EVENT: &str = "FileDeleted";

/// One sink, the dead letter's, and a source that can have two deliveries in flight.
struct Bridge {
    sink: Arc<FakeSink>,
    dead: Arc<FakeSink>,
    pipeline: Arc<Pipeline>,
    intake: Arc<Intake>,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn patience(time: Duration) -> Patience {
    Patience::until(Instant::now() + time)
}

impl Bridge {
    fn new(sink: Step, dead: Step, route: Route) -> Self {
        let (sink, dead) = (
            FakeSink::new("sink", [], sink),
            FakeSink::new("dead", [], dead),
        );
        let letters = DeadLetters {
            sink: dead.clone(),
            topic: "dead_letter".into(),
            last_resort: None,
        };
        let metrics = Metrics::default();
        let sinks: Vec<Arc<dyn Sink>> = vec![sink.clone()];
        let pipeline = Pipeline::new(sinks, Router::new(vec![route]), letters, &metrics);
        let pipeline = Arc::new(pipeline);
        let intake = Intake::new("source", pipeline.clone(), 2, metrics.source("source"));
        Self {
            sink,
            dead,
            pipeline,
            intake: Arc::new(intake),
        }
    }

    fn deliver(&self, id: &str, patience: Patience) -> JoinHandle<Ended> {
        let (intake, event) = (self.intake.clone(), envelope(id, EVENT));
        tokio::spawn(async move { intake.deliver(&event, patience).await })
    }

    /// How long a call takes; one that takes longer than anything may never ends.
    async fn time(&self, call: impl Future) -> Duration {
        let start = Instant::now();
        let ended = timeout(seconds(3_600), call).await;
        assert!(ended.is_ok(), "it never ends");
        start.elapsed()
    }
}

fn to(required: &[usize], shadow: &[usize]) -> Route {
    let targets = Targets {
        required: SinkSet::of(required.iter().copied()),
        shadow: SinkSet::of(shadow.iter().copied()),
    };
    Route {
        targets,
        ..Route::default()
    }
}

fn raw() -> DeadLetter {
    DeadLetter {
        id: "raw".into(),
        reason: Reason::Unparsable,
        source: "source".into(),
        sink: None,
        error: None,
        attempts: 0,
        first: SystemTime::UNIX_EPOCH,
        last: SystemTime::UNIX_EPOCH,
        content: Content::Raw {
            body: "no event".into(),
            headers: Vec::new(),
            occurrence: None,
        },
    }
}

/// How a publish ends without an ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Dropped,
    Panicked,
    Cancelled,
    TimedOut,
}

#[tokio::test(start_paused = true)]
async fn no_drop_panic_cancellation_or_time_out_becomes_a_confirm() {
    for end in [End::Dropped, End::Panicked, End::Cancelled, End::TimedOut] {
        let hangs = match end {
            End::Panicked => Step::Panic,
            _ => Step::Hang,
        };
        // At a sink, at the dead letter of what a sink refused, and at that of what goes nowhere.
        for (sink, dead, route) in [
            (hangs, Step::Ack, to(&[0], &[])),
            (Step::Permanent, hangs, to(&[0], &[])),
            (Step::Ack, hangs, to(&[], &[0])),
        ] {
            let bridge = Bridge::new(sink, dead, route);
            let hung = if sink == hangs {
                &bridge.sink
            } else {
                &bridge.dead
            };
            let first = bridge.deliver("1", patience(seconds(20)));
            let copy = bridge.deliver("1", patience(seconds(20)));
            hung.wait_started(1).await;
            match end {
                End::Dropped => first.abort(),
                End::Cancelled => bridge.pipeline.cut(),
                End::Panicked | End::TimedOut => {}
            }
            for call in [first, copy] {
                // What was dropped or panicked has said nothing at all.
                if let Ok(ended) = call.await {
                    assert!(
                        ended.result.is_err(),
                        "{end:?} {sink:?} {dead:?}: {ended:?}"
                    );
                }
            }
            assert!(hung.acked().is_empty());

            // Nor is it remembered as one: a copy is published again.
            hung.then(Step::Ack);
            let copy = bridge.deliver("1", patience(seconds(20))).await.unwrap();
            match (end, sink == hangs) {
                (End::Cancelled, _) => assert!(copy.result.is_err(), "after the cut"),
                (_, true) => assert_eq!(copy.result.unwrap(), Outcome::Delivered),
                (_, false) => assert_eq!(copy.result.unwrap(), Outcome::DeadLettered),
            }
            assert_eq!(hung.acked().len(), usize::from(end != End::Cancelled));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_wait_has_a_deadline() {
    let hung = |sink, dead| Bridge::new(sink, dead, to(&[0], &[]));
    let ten = seconds(10);

    // For an ack of a sink, of the dead letter's, of both.
    for (sink, dead) in [(Step::Hang, Step::Ack), (Step::Permanent, Step::Hang)] {
        let bridge = hung(sink, dead);
        assert!(bridge.time(bridge.deliver("1", patience(ten))).await <= ten);
    }
    let nowhere = Bridge::new(Step::Ack, Step::Hang, to(&[], &[]));
    assert!(nowhere.time(nowhere.deliver("1", patience(ten))).await <= ten);
    let until = Instant::now() + ten;
    assert!(
        nowhere
            .time(nowhere.intake.dead_letter(&raw(), until))
            .await
            <= ten
    );

    // For a destination, where the source has all the time.
    let bridge = hung(Step::Unroutable, Step::Ack);
    assert!(bridge.time(bridge.deliver("1", patience(ten))).await <= ten);

    // For a permit that others have, an answered caller's too.
    let bridge = hung(Step::Ack, Step::Ack);
    let all = bridge.intake.reserve(2).await;
    assert!(bridge.time(bridge.deliver("1", patience(ten))).await <= ten);
    let until = Instant::now() + ten;
    assert!(bridge.time(bridge.intake.dead_letter(&raw(), until)).await <= ten);
    drop(all);

    // For a share of a sink, or of the dead letter's: briefly, with a permit in hand.
    for (sink, dead) in [(Step::Hang, Step::Ack), (Step::Permanent, Step::Hang)] {
        let bridge = hung(sink, dead);
        let first = bridge.deliver("1", patience(seconds(300)));
        let awaited = if sink == Step::Hang {
            &bridge.sink
        } else {
            &bridge.dead
        };
        awaited.wait_started(1).await;
        assert!(bridge.time(bridge.deliver("2", patience(ten))).await <= ten);
        let permit = bridge.intake.reserve(1).await.pop().unwrap();
        let event = envelope("3", EVENT);
        let reserved = bridge
            .intake
            .deliver_reserved(permit, &event, patience(ten));
        let longest = if sink == Step::Hang { seconds(1) } else { ten };
        assert!(bridge.time(reserved).await <= longest);
        first.abort();
    }

    // For the end of a delivery that copies join for ever: each its own time, the first three
    // times its own.
    let bridge = hung(Step::Hang, Step::Ack);
    let first = bridge.deliver("1", patience(ten));
    let began = Instant::now();
    while !first.is_finished() {
        assert!(began.elapsed() <= 3 * ten, "{:?}", began.elapsed());
        let copy = bridge.deliver("1", patience(seconds(4)));
        assert!(bridge.time(copy).await <= seconds(4));
        sleep(seconds(1)).await;
        bridge.deliver("1", patience(ten));
    }

    // For a shadow, and with it for the end of the process.
    let bridge = Bridge::new(Step::Hang, Step::Ack, to(&[], &[0]));
    bridge.deliver("1", patience(ten)).await.unwrap();
    assert!(bridge.time(bridge.pipeline.close()).await <= bridge.sink.attempt_timeout());
}
