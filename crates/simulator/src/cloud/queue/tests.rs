use std::collections::BTreeSet;

use serde_json::Value;
use vodbridge_core::Secret;

use super::*;
use crate::cloud::{Ending, Fault, Observer, Switch};

const APPLICATION: u64 = 1_500_012_345;

fn queue(adjust: impl FnOnce(&mut CloudConfig)) -> Queue {
    let mut config = CloudConfig::new("id", Secret::new("key"), [APPLICATION]);
    adjust(&mut config);
    Queue(Arc::new(Application::new(APPLICATION, 1, &config)))
}

/// The events of one pull, as a caller reads them.
async fn pull(queue: &Queue) -> Vec<Value> {
    let deliveries = queue.0.pull().await;
    let mut text = "[".to_owned();
    queue.0.write(&deliveries, &mut text);
    serde_json::from_str(&(text + "]")).unwrap()
}

fn handles(events: &[Value]) -> Vec<&str> {
    let handles = events.iter().map(|event| &event["EventHandle"]);
    handles.map(|handle| handle.as_str().unwrap()).collect()
}

/// An event without its handle.
fn content(event: &Value) -> String {
    let mut event = event.clone();
    event.as_object_mut().unwrap().remove("EventHandle");
    event.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_pull_takes_sixteen_and_a_confirm_ends_them() {
    let queue = queue(|_| {});
    queue.issue(20);
    let first = pull(&queue).await;
    let second = pull(&queue).await;
    assert_eq!((first.len(), second.len()), (16, 4));
    queue.0.confirm(handles(&first)).unwrap();
    queue.0.confirm(handles(&second)).unwrap();
    queue.finished().await;
    let stats = queue.stats();
    assert_eq!((stats.waiting, stats.hidden), (0, 0));
    assert_eq!((stats.counts.confirmed, stats.counts.redeliveries), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_each_ending_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = told.clone();
        Observer::new(move |ending: Ending| told.lock().unwrap().push(ending))
    };
    let queue = queue(|config| config.observer = Some(observer));
    queue.issue(2);
    let late = pull(&queue).await;
    tokio::time::advance(Duration::from_secs(31)).await;
    let again = pull(&queue).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    queue.0.confirm(handles(&late)).unwrap_err();
    assert!(told.lock().unwrap().is_empty());
    queue.0.confirm(handles(&again)).unwrap();
    queue.0.confirm(handles(&again)).unwrap_err();
    queue.finished().await;
    let told = told.lock().unwrap();
    let sequences: BTreeSet<_> = told.iter().map(|ending| ending.entry.sequence).collect();
    assert_eq!((told.len(), sequences.len()), (2, 2));
    for ending in told.iter() {
        assert_eq!(ending.after, Duration::from_secs(2));
        assert_eq!(ending.entry.state, State::Confirmed);
        assert_eq!(ending.entry.deliveries, 2);
        assert!(ending.answer.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn without_events_a_pull_hangs_five_seconds() {
    let queue = queue(|_| {});
    let start = Instant::now();
    assert!(pull(&queue).await.is_empty());
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_ends_the_wait() {
    let queue = queue(|_| {});
    let start = Instant::now();
    let issue = async {
        sleep_until(start + Duration::from_secs(2)).await;
        queue.issue(1);
    };
    let (events, ()) = tokio::join!(pull(&queue), issue);
    assert_eq!((events.len(), start.elapsed().as_secs()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_confirmed_comes_again_after_the_lease_with_another_handle() {
    let queue = queue(|_| {});
    queue.issue(3);
    let start = Instant::now();
    let first = pull(&queue).await;
    queue.0.confirm(handles(&first[..1])).unwrap();
    let mut again = Vec::new();
    while again.is_empty() {
        again = pull(&queue).await;
    }
    assert_eq!(start.elapsed().as_secs(), 30);
    let contents = |events: &[Value]| events.iter().map(content).collect::<Vec<_>>();
    assert_eq!(contents(&first[1..]), contents(&again));
    let (old, new) = (handles(&first), handles(&again));
    assert!(new.iter().all(|handle| !old.contains(handle)));

    queue.0.confirm(old[1..2].iter().copied()).unwrap_err();
    queue.0.confirm(["EventHandle.N"]).unwrap_err();
    queue.0.confirm(new).unwrap();
    let counts = queue.stats().counts;
    assert_eq!((counts.late_handles, counts.unknown_handles), (1, 1));
    assert_eq!((counts.leases_expired, counts.redeliveries), (2, 2));
    assert_eq!((counts.confirmed, counts.open()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stale_handle_spoils_its_batch_or_not() {
    for (mixed, confirmed) in [(MixedConfirm::None, 0), (MixedConfirm::Good, 1)] {
        let queue = queue(|config| config.mixed_confirm = mixed);
        queue.issue(1);
        let events = pull(&queue).await;
        let batch = handles(&events).into_iter().chain(["1"]);
        queue.0.confirm(batch).unwrap_err();
        assert_eq!(queue.stats().counts.confirmed, confirmed);
    }
}

#[tokio::test(start_paused = true)]
async fn at_another_scale_everything_is_faster() {
    let queue = queue(|config| config.time_scale = "10".parse().unwrap());
    let start = Instant::now();
    assert!(pull(&queue).await.is_empty());
    assert_eq!(start.elapsed().as_millis(), 500);
    queue.issue(1);
    pull(&queue).await;
    while pull(&queue).await.is_empty() {}
    assert_eq!(start.elapsed().as_millis(), 500 + 3_000);
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_is_off_lets_nothing_of_its_kind_happen() {
    let queue = queue(|_| {});
    let off = Change {
        upload: Some(Switch::Off),
        ..Change::default()
    };
    queue.change(off).unwrap();
    queue.issue(36);
    let mut types = BTreeSet::new();
    for _ in 0..3 {
        for event in pull(&queue).await {
            types.insert(event["EventType"].to_string());
        }
    }
    assert_eq!(types.len(), 36);
    assert!(!types.contains("\"NewFileUpload\""));
    // With nothing else in the stream there is an end to looking.
    let only = self::queue(|config| config.samples.retain(|s| s.event_type == "NewFileUpload"));
    only.change(Change {
        upload: Some(Switch::Off),
        ..Change::default()
    })
    .unwrap();
    only.issue(5);
    assert_eq!(only.stats().counts.issued, 0);
}

#[tokio::test(start_paused = true)]
async fn in_push_mode_a_pull_gets_nothing() {
    let queue = queue(|_| {});
    queue.issue(1);
    let mode = |mode| Change {
        mode: Some(mode),
        ..Change::default()
    };
    queue.change(mode(Mode::Push)).unwrap();
    assert!(pull(&queue).await.is_empty());
    queue.change(mode(Mode::Pull)).unwrap();
    assert_eq!(pull(&queue).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn disorder_as_asked() {
    let queue = queue(|_| {});
    queue.issue(1_000);
    let faults = ["duplicate:10%", "shared-handle:10%", "reorder:100"];
    let faults = faults.map(|fault| fault.parse().unwrap());
    queue.0.lock().disorder.set(&faults);
    let (mut contents, mut all) = (Vec::new(), 0);
    let mut different = BTreeSet::new();
    while queue.stats().counts.open() > 0 {
        let events = pull(&queue).await;
        all += events.len();
        contents.extend(events.iter().map(content));
        let batch: BTreeSet<&str> = handles(&events).into_iter().collect();
        different.extend(batch.iter().map(|handle| (*handle).to_owned()));
        queue.0.confirm(batch).unwrap();
    }
    let counts = queue.stats().counts;
    assert_eq!((counts.confirmed, counts.late_handles), (1_000, 0));
    assert!((1_050..1_200).contains(&all), "{all}");
    assert!(all - different.len() > 40, "{all} {}", different.len());
    let mut unordered = 0;
    for (at, event) in contents.iter().take(500).enumerate() {
        let mut expected = String::from("{");
        queue.0.stream.write_pulled(at as u32, &mut expected);
        let expected: Value = serde_json::from_str(&expected).unwrap();
        let expected = expected.to_string();
        unordered += usize::from(*event != expected);
    }
    assert!(unordered > 400, "{unordered}");
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_may_keep_its_handle() {
    let queue = queue(|_| {});
    queue.0.lock().disorder.set(&[Fault::SameHandle]);
    queue.issue(2);
    let first = pull(&queue).await;
    let mut again = Vec::new();
    while again.is_empty() {
        again = pull(&queue).await;
    }
    assert_eq!(handles(&first), handles(&again));
    queue.0.confirm(handles(&first)).unwrap();
    assert_eq!(queue.stats().counts.confirmed, 2);
}
