//! What cannot be delivered keeps nothing else waiting.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{interval, sleep};
use vodbridge_core::testing::{FakeSink, Step, event};
use vodbridge_core::{
    BoxError, Condition, Envelope, Glob, Health, PublishError, Route, Router, Sink, SinkSet,
    Targets,
};
use vodbridge_store::{Entry, Store, StoreConfig};

use crate::bridge::{Bridge, SECOND, directory, kept, pulled, until};

/// A broker that never takes events of the files from 1000 on, takes those of files below once it
/// has healed, and always those from 2000 on.
struct Topics {
    healed: AtomicBool,
    taken: Arc<FakeSink>,
}

impl Sink for Topics {
    fn name(&self) -> &str {
        "sink"
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        let number = envelope.partition_key().and_then(|key| key.parse().ok());
        let is_dead = match number.unwrap_or(0) {
            0..1000_u32 => !self.healed.load(Relaxed),
            1000..2000 => true,
            _ => false,
        };
        async move {
            if is_dead {
                return Err(PublishError::Transient("no leader".into()));
            }
            self.taken.publish(envelope).await
        }
        .boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        SECOND
    }

    fn health(&self) -> Health {
        self.taken.health()
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        async { Ok(()) }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_coming_for_a_dead_topic_keeps_no_other_from_its_next_try() {
    let directory = directory();
    let sink = Arc::new(Topics {
        healed: AtomicBool::new(false),
        taken: FakeSink::acking("sink"),
    });
    let router = Router::everything(SinkSet::of([0]));
    let dead = FakeSink::acking("dead");
    let bridge = Bridge::over(vec![sink.clone()], router, dead, directory.path(), "").await;
    let bridge = Arc::new(bridge);
    let posting = |first: usize, every: Duration| {
        let bridge = bridge.clone();
        tokio::spawn(async move {
            let mut ticks = interval(every);
            for number in first.. {
                ticks.tick().await;
                let bridge = bridge.clone();
                tokio::spawn(async move { bridge.post(pulled(number)).await });
            }
        })
    };
    // The broker works, and for one of its topics events come that it does not take.
    let well = posting(2000, SECOND / 10);
    let dying = posting(1000, SECOND / 3);
    assert_eq!(bridge.post(pulled(1)).await.0, 200);
    let id = kept(directory.path())[0].clone();
    // Its own delivery has ended, and the spool's first one too.
    sleep(14 * SECOND).await;
    sink.healed.store(true, Relaxed);
    until("it is tried again", || sink.taken.acked().contains(&id)).await;
    well.abort();
    dying.abort();
}

/// An event of a file that was kept some time ago.
fn entry(file: usize, ty: &'static str) -> Entry {
    let mut event = event(&format!("{ty}-{file}"), ty);
    event.partition_key = Some(file.to_string());
    Entry {
        source: "callback".to_owned(),
        received: SystemTime::now(),
        attempts: 0,
        settled: Vec::new(),
        envelope: event.encode(|data| data.extend_from_slice(b"{}")),
    }
}

/// Leaves events of these files in a spool, in this order.
async fn fill(directory: &Path, events: impl IntoIterator<Item = (Range<usize>, &'static str)>) {
    let store = Store::open(StoreConfig {
        directory: directory.to_owned(),
        max_bytes: 1 << 30,
        max_age: Duration::from_secs(3600),
    })
    .unwrap();
    for (files, ty) in events {
        let entries: Vec<_> = files.map(|file| entry(file, ty)).collect();
        for entries in entries.chunks(1000) {
            for appended in join_all(entries.iter().map(|entry| store.append(entry))).await {
                drop(appended.unwrap());
            }
        }
    }
    store.close().await;
}

/// `PullComplete` to the first sink, `FileDeleted` to the second.
fn each_to_its_own() -> Router {
    let route = |event_type: &str, sink: usize| Route {
        name: event_type.to_owned(),
        conditions: vec![Condition {
            label: "event_type".to_owned(),
            patterns: vec![Glob::new(event_type)],
        }],
        targets: Targets {
            required: SinkSet::of([sink]),
            ..Targets::default()
        },
    };
    Router::new(vec![route("PullComplete", 0), route("FileDeleted", 1)])
}

async fn over(ports: Vec<Arc<dyn Sink>>, directory: &Path) -> Bridge {
    let dead = FakeSink::acking("dead");
    Bridge::over(ports, each_to_its_own(), dead, directory, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn however_much_waits_for_one_sink_what_is_behind_it_reaches_the_other() {
    let directory = directory();
    fill(
        directory.path(),
        [(0..70_000, "FileDeleted"), (70_000..70_005, "PullComplete")],
    )
    .await;
    let (works, away) = (
        FakeSink::acking("works"),
        FakeSink::new("away", [], Step::Transient),
    );
    let bridge = over(vec![works.clone(), away.clone()], directory.path()).await;
    until("they are delivered", || works.acked().len() == 5).await;
    assert!(away.acked().is_empty());
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sinks_that_are_away_the_return_of_each_is_noticed() {
    let directory = directory();
    fill(
        directory.path(),
        [(0..4000, "FileDeleted"), (4000..4005, "PullComplete")],
    )
    .await;
    let (back, away) = (
        FakeSink::new("back", [], Step::Transient),
        FakeSink::new("away", [], Step::Transient),
    );
    let bridge = over(vec![back.clone(), away.clone()], directory.path()).await;
    back.wait_started(5).await;
    // Both are known to be away by now.
    sleep(8 * SECOND).await;
    back.then(Step::Ack);
    until("its events are delivered", || back.acked().len() == 5).await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_sink_never_takes_do_not_hide_that_it_is_back() {
    let directory = directory();
    fill(
        directory.path(),
        [(1000..1020, "FileDeleted"), (1..6, "FileDeleted")],
    )
    .await;
    let sink = Arc::new(Topics {
        healed: AtomicBool::new(false),
        taken: FakeSink::acking("sink"),
    });
    let ports: Vec<Arc<dyn Sink>> = vec![FakeSink::acking("works"), sink.clone()];
    let bridge = over(ports, directory.path()).await;
    // It is known to be away by now.
    sleep(8 * SECOND).await;
    sink.healed.store(true, Relaxed);
    until("what it takes is delivered", || {
        sink.taken.acked().len() == 5
    })
    .await;
    bridge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_bridge_fails_on_ends_nothing_though_its_dead_letter_fails_too() {
    let directory = directory();
    fill(directory.path(), [(0..1, "PullComplete")]).await;
    let sink = FakeSink::new("sink", [], Step::Panic);
    let dead = FakeSink::new("dead", [], Step::Panic);
    let ports: Vec<Arc<dyn Sink>> = vec![sink.clone()];
    let router = Router::everything(SinkSet::of([0]));
    let bridge = Bridge::over(ports, router, dead.clone(), directory.path(), "").await;
    dead.wait_started(1).await;
    sink.then(Step::Ack);
    until("it is delivered", || sink.acked().len() == 1).await;
    bridge.end().await;
    assert!(kept(directory.path()).is_empty());
}
