use vodbridge_core::testing::{FakeSink, Step, envelope};
use vodbridge_core::{DeadLetters, Intake, Metrics, Patience, Pipeline, Router, SinkSet};

use super::*;

/// Deliveries that end well, and such that do not.
struct Ends(Intake, Intake);

impl Ends {
    fn new() -> Self {
        let intake = |step| {
            let metrics = Metrics::default();
            let dead_letters = DeadLetters {
                sink: FakeSink::acking("dead"),
                topic: "d".into(),
                last_resort: None,
            };
            let sinks = vec![FakeSink::new("sink", [], step) as Arc<dyn vodbridge_core::Sink>];
            let router = Router::everything(SinkSet::of([0]));
            let pipeline = Arc::new(Pipeline::new(sinks, router, dead_letters, &metrics));
            Intake::new("queue", pipeline, 16, metrics.source("queue"))
        };
        Self(intake(Step::Ack), intake(Step::Transient))
    }

    async fn get(&self, ok: bool) -> Ended {
        let intake = if ok { &self.0 } else { &self.1 };
        let patience = Patience::until(Instant::now() + Duration::from_secs(3));
        let ended = intake
            .deliver(&envelope("x", "FileDeleted"), patience)
            .await;
        assert_eq!(ended.result.is_ok(), ok);
        ended
    }
}

fn lease() -> Lease {
    let pulled = Instant::now();
    Lease {
        pulled,
        end: pulled + Duration::from_secs(30),
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_handle_waits_for_every_event() {
    let (mut handles, ends, lease) = (Handles::new(), Ends::new(), lease());
    let (shared, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("h".into(), "a".into(), "b".into());
    handles.arrive(&shared, lease);
    handles.arrive(&shared, lease);
    let first = handles.ended(&shared, &a, lease, ends.get(true).await);
    assert!(first.is_none());
    let receipt = handles
        .ended(&shared, &b, lease, ends.get(true).await)
        .unwrap();
    assert_eq!((&*receipt.handle, receipt.events.len()), ("h", 2));
    assert_eq!(receipt.lease_end, lease.end);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_delivered_withholds_its_handle_until_its_copy_is() {
    let (mut handles, ends, first) = (Handles::new(), Ends::new(), lease());
    let (shared, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("h".into(), "a".into(), "b".into());
    handles.arrive(&shared, first);
    handles.arrive(&shared, first);
    assert!(
        handles
            .ended(&shared, &b, first, ends.get(false).await)
            .is_none()
    );
    assert!(
        handles
            .ended(&shared, &a, first, ends.get(true).await)
            .is_none()
    );
    // Only a comes again, under the same handle: b would be lost with it.
    tokio::time::advance(Duration::from_secs(30)).await;
    let second = lease();
    handles.arrive(&shared, second);
    assert!(
        handles
            .ended(&shared, &a, second, ends.get(true).await)
            .is_none()
    );
    // b's copy comes under another handle, and is delivered: both are free.
    let other: Arc<str> = "i".into();
    handles.arrive(&other, second);
    assert!(
        handles
            .ended(&other, &b, second, ends.get(true).await)
            .is_some()
    );
    handles.arrive(&shared, second);
    assert!(
        handles
            .ended(&shared, &a, second, ends.get(true).await)
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_withheld_handle_is_free_again_when_its_entry_ends() {
    let (mut handles, ends, first) = (Handles::new(), Ends::new(), lease());
    let (shared, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("h".into(), "a".into(), "b".into());
    handles.arrive(&shared, first);
    assert!(
        handles
            .ended(&shared, &b, first, ends.get(false).await)
            .is_none()
    );
    tokio::time::advance(LIFETIME).await;
    let later = lease();
    handles.arrive(&shared, later);
    assert!(
        handles
            .ended(&shared, &a, later, ends.get(true).await)
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_pulled_again_under_its_handle_has_the_later_lease() {
    let (mut handles, ends, first) = (Handles::new(), Ends::new(), lease());
    let (handle, a): (Arc<str>, Arc<str>) = ("h".into(), "a".into());
    handles.arrive(&handle, first);
    tokio::time::advance(Duration::from_secs(31)).await;
    let second = lease();
    handles.arrive(&handle, second);
    assert!(
        handles
            .ended(&handle, &a, first, ends.get(true).await)
            .is_none()
    );
    let receipt = handles
        .ended(&handle, &a, second, ends.get(true).await)
        .unwrap();
    assert_eq!(receipt.lease_end, second.end);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_void_while_another_event_is_in_flight_under_its_handle() {
    let (mut handles, ends, lease) = (Handles::new(), Ends::new(), lease());
    let (shared, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("h".into(), "a".into(), "b".into());
    handles.arrive(&shared, lease);
    let receipt = handles
        .ended(&shared, &a, lease, ends.get(true).await)
        .unwrap();
    assert!(handles.may_confirm(&receipt.handle));
    // The receipt still waits for its call when another pull brings b.
    handles.arrive(&shared, lease);
    assert!(!handles.may_confirm(&receipt.handle));
    let second = handles.ended(&shared, &b, lease, ends.get(false).await);
    assert!(second.is_none() && !handles.may_confirm(&receipt.handle));
}

#[tokio::test(start_paused = true)]
async fn an_event_left_to_its_lease_withholds_its_handle() {
    let (mut handles, ends, lease) = (Handles::new(), Ends::new(), lease());
    let (shared, a, b): (Arc<str>, Arc<str>, Arc<str>) = ("h".into(), "a".into(), "b".into());
    handles.arrive(&shared, lease);
    handles.arrive(&shared, lease);
    handles.left(&shared, &b);
    let first = handles.ended(&shared, &a, lease, ends.get(true).await);
    assert!(first.is_none() && !handles.may_confirm(&shared));
    tokio::time::advance(LIFETIME).await;
    assert!(handles.may_confirm(&shared));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_never_delivered_keeps_no_more_handles_than_are_withheld() {
    let (mut handles, ends) = (Handles::new(), Ends::new());
    let event: Arc<str> = "a".into();
    for nth in 0..500 {
        let (handle, lease): (Arc<str>, _) = (format!("h{nth}").into(), lease());
        handles.arrive(&handle, lease);
        let ended = ends.get(false).await;
        assert!(handles.ended(&handle, &event, lease, ended).is_none());
        tokio::time::advance(Duration::from_secs(30)).await;
    }
    let kept = handles.waiting.get(&event).map_or(0, Vec::len);
    assert!(kept <= 21, "{kept}");
}
