//! The table of answers of a webhook with a spool, on a real socket, a real disk and fake sinks.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vodbridge_core::testing::{FakeSink, Step};
use vodbridge_core::{DeadLetters, Intake, Metrics, Pipeline, Router, SinkSet};
use vodbridge_sources::spool::{Spool, SpoolMetrics, SpoolSource, WINDOW};
use vodbridge_sources::webhook::{Drain, Endpoint, Listener, WebhookConfig};
use vodbridge_store::StoreReader;
use vodbridge_vod::Catalogue;

const SECOND: Duration = Duration::from_secs(1);

struct Bridge {
    address: SocketAddr,
    sinks: Vec<Arc<FakeSink>>,
    dead: Arc<FakeSink>,
    undelivered: Arc<FakeSink>,
    pipeline: Arc<Pipeline>,
    spool: Arc<Spool>,
    begin: CancellationToken,
    listening: JoinHandle<()>,
    delivering: JoinHandle<()>,
}

impl Bridge {
    async fn start(sinks: &[&Arc<FakeSink>], directory: &Path, spool: &str) -> Self {
        Self::with_dead_letters(sinks, FakeSink::acking("dead"), directory, spool).await
    }

    async fn with_dead_letters(
        sinks: &[&Arc<FakeSink>],
        dead: Arc<FakeSink>,
        directory: &Path,
        spool: &str,
    ) -> Self {
        let settings = format!(
            r#"{{"listen": "127.0.0.1:0", "sub_app_id": 1, "answer_within": "2s", "patience": "6s",
                "body_timeout": "5500ms", "spool": {{"directory": {directory:?} {spool}}}}}"#
        );
        let config: WebhookConfig = serde_json::from_str(&settings).unwrap();
        let undelivered = FakeSink::acking("undelivered");
        let dead_letters = DeadLetters {
            sink: dead.clone(),
            topic: "vod.dead_letter".into(),
            last_resort: None,
        };
        let metrics = Metrics::default();
        let ports = sinks.iter().map(|sink| Arc::clone(sink) as _).collect();
        let router = Router::everything(SinkSet::of(0..sinks.len()));
        let pipeline = Arc::new(Pipeline::new(ports, router, dead_letters, &metrics));
        let of_source = || metrics.source("callback");
        let intake = Intake::new(
            "callback",
            pipeline.clone(),
            config.max_in_flight,
            of_source(),
        );
        let settings = config.spool.as_ref().unwrap();
        let spool = Spool::open(
            "callback",
            settings,
            SpoolMetrics::default().source("callback"),
        )
        .unwrap();
        let beside = intake.beside(WINDOW, of_source());
        let source = SpoolSource::new(spool.clone(), beside, config.patience);
        let drain = Drain {
            begin: CancellationToken::new(),
            grace: Duration::from_millis(100),
            latest: Duration::from_secs(5),
        };
        let begin = drain.begin.clone();
        let (catalogue, kept) = (Arc::new(Catalogue::default()), Some(spool.clone()));
        let listen = config.listen;
        let endpoint = Endpoint::new(config, intake, catalogue, undelivered.clone(), kept);
        let listener = Listener::bind(listen, vec![endpoint], drain).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            sinks: sinks.iter().map(|sink| Arc::clone(sink)).collect(),
            dead,
            undelivered,
            pipeline,
            spool,
            listening: tokio::spawn(listener.run()),
            delivering: tokio::spawn(source.run(begin.clone())),
            begin,
        }
    }

    async fn post(&self, body: impl AsRef<[u8]>) -> (u16, Duration) {
        let (answer, after) = exchange(self.address, body.as_ref()).await;
        (answer, after)
    }

    /// Ends as a drain does.
    async fn end(self) {
        self.begin.cancel();
        self.listening.await.unwrap();
        self.delivering.await.unwrap();
        self.spool.close().await;
    }
}

async fn exchange(address: SocketAddr, body: &[u8]) -> (u16, Duration) {
    let start = Instant::now();
    let head = format!(
        "POST /vod/callback HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or(0), start.elapsed())
}

/// A notification of this task.
fn pulled(task: usize) -> String {
    format!(
        r#"{{"EventType":"PullComplete","PullCompleteEvent":{{"TaskId":"t-{task}","Status":"FINISH","ErrCode":0,"FileId":"{task}"}}}}"#
    )
}

/// Another notification of the same file as [`pulled`].
fn deleted(task: usize) -> String {
    format!(r#"{{"EventType":"FileDeleted","FileDeleteEvent":{{"FileIdSet":["{task}"]}}}}"#)
}

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Ids of the records on the disk.
fn kept(directory: &Path) -> Vec<String> {
    let mut ids = Vec::new();
    let (reader, mut after) = (StoreReader::open(directory).unwrap(), None);
    loop {
        let seen = reader.list(after).unwrap();
        let Some(last) = seen.last() else { return ids };
        after = Some(last.id);
        ids.extend(
            seen.iter()
                .map(|s| s.event.as_ref().unwrap().id().to_owned()),
        );
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + 30 * SECOND;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Posts until the bridge has found out that its sink does not answer. Returns the next number.
async fn until_known_away(bridge: &Bridge) -> usize {
    for task in 0..20 {
        let (status, after) = bridge.post(pulled(task)).await;
        assert_eq!(status, 200);
        if after < SECOND / 2 {
            return task + 1;
        }
    }
    panic!("the sink is waited for again and again");
}

#[tokio::test]
async fn an_acked_event_never_touches_the_disk() {
    let directory = directory();
    let bridge = Bridge::start(&[&FakeSink::acking("sink")], directory.path(), "").await;
    let commits = directory
        .path()
        .join("store.db-wal")
        .metadata()
        .unwrap()
        .len();
    for task in 0..20 {
        let (status, after) = bridge.post(pulled(task)).await;
        assert_eq!(status, 200);
        assert!(after < SECOND);
    }
    let now = directory
        .path()
        .join("store.db-wal")
        .metadata()
        .unwrap()
        .len();
    assert_eq!((commits, kept(directory.path()).len()), (now, 0));
}

#[tokio::test]
async fn without_an_ack_it_is_kept_and_answered_and_its_late_ack_takes_it_out() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::AckAfter(Duration::from_millis(2600)));
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    let (status, after) = bridge.post(pulled(1)).await;
    assert_eq!(status, 200);
    assert!((2 * SECOND..3 * SECOND).contains(&after), "{after:?}");
    assert_eq!(kept(directory.path()).len(), 1);
    until("it is acked", || sink.acked().len() == 1).await;
    until("its record is gone", || kept(directory.path()).is_empty()).await;
    assert_eq!(sink.started(), 1, "published once");
}

#[tokio::test]
async fn a_sink_known_to_be_away_is_not_waited_for_and_all_arrive_when_it_is_back() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Transient);
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    for task in until_known_away(&bridge).await..100 {
        let (status, after) = bridge.post(pulled(task)).await;
        assert_eq!(status, 200);
        assert!(after < SECOND, "{task}: {after:?}");
    }
    assert_eq!(kept(directory.path()).len(), 100);
    let tried = sink.started();
    assert!(tried < 100, "an outage does not spin: {tried} publishes");
    sink.then(Step::Ack);
    until("all are acked", || sink.acked().len() == 100).await;
    until("no record is left", || kept(directory.path()).is_empty()).await;
    let mut ids = sink.acked();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100, "once each");
    // And without the disk from now on.
    assert!(bridge.post(pulled(100)).await.1 < SECOND);
    assert_eq!(bridge.spool.health().state, vodbridge_core::State::Up);
    assert_eq!(bridge.undelivered.started(), 0);
}

#[tokio::test]
async fn a_newer_event_of_a_file_follows_the_older_one() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Hang);
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    let next = until_known_away(&bridge).await;
    assert_eq!(bridge.post(deleted(0)).await.0, 200);
    assert_eq!(bridge.post(pulled(next)).await.0, 200);
    let in_order = kept(directory.path());
    assert_eq!(in_order.len(), next + 2);
    sink.then(Step::Ack);
    until("all are acked", || sink.acked().len() == next + 2).await;
    let acked = sink.acked();
    let place = |id| acked.iter().position(|acked| acked == id).unwrap();
    assert!(place(&in_order[0]) < place(&in_order[next]), "{acked:?}");
}

#[tokio::test]
async fn what_is_kept_is_delivered_by_the_next_process() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Transient);
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    for task in 0..5 {
        assert_eq!(bridge.post(pulled(task)).await.0, 200);
    }
    bridge.end().await;
    let records = kept(directory.path());
    assert_eq!(records.len(), 5);
    let bridge = Bridge::start(&[&FakeSink::acking("sink")], directory.path(), "").await;
    until("all are acked", || bridge.sinks[0].acked().len() == 5).await;
    bridge.end().await;
    assert!(kept(directory.path()).is_empty());
}

#[tokio::test]
async fn a_full_spool_holds_the_request_and_answers_nothing_false() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Transient);
    let bridge = Bridge::start(&[&sink], directory.path(), r#", "max_bytes": "1MiB""#).await;
    let large = |task: usize| {
        let padding = "x".repeat(200_000);
        pulled(task).replace("FINISH", &padding)
    };
    let mut answered = 0;
    while bridge.post(large(answered)).await.0 == 200 {
        answered += 1;
    }
    // The next one was held until the cloud had given up, and kept nowhere but in the file.
    assert!((1..10).contains(&answered), "{answered}");
    assert_eq!(kept(directory.path()).len(), answered);
    until("the last resort has it", || {
        bridge.undelivered.acked().len() == 1
    })
    .await;
    sink.then(Step::Ack);
    until("all are acked", || sink.acked().len() == answered).await;
}

#[tokio::test]
async fn of_two_sinks_the_one_that_works_gets_it_once() {
    let directory = directory();
    let (works, away) = (
        FakeSink::acking("a"),
        FakeSink::new("b", [], Step::Transient),
    );
    let bridge = Bridge::start(&[&works, &away], directory.path(), "").await;
    assert_eq!(bridge.post(pulled(1)).await.0, 200);
    until("its own delivery has ended", || away.started() > 6).await;
    away.then(Step::Ack);
    until("both have it", || away.acked().len() == 1).await;
    until("no record is left", || kept(directory.path()).is_empty()).await;
    assert_eq!((works.started(), works.acked().len()), (1, 1));
}

#[tokio::test]
async fn a_copy_of_what_is_kept_is_answered_at_once_and_not_kept_again() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Hang);
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    // Its caller hangs up early, so that nobody hears the 200.
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    let body = pulled(1);
    let head = format!(
        "POST /vod/callback HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    sink.wait_started(1).await;
    drop(stream);
    until("it is kept", || kept(directory.path()).len() == 1).await;
    let (status, after) = bridge.post(pulled(1)).await;
    assert_eq!(status, 200);
    assert!(after < SECOND, "{after:?}");
    assert_eq!(kept(directory.path()).len(), 1);
    sink.then(Step::Ack);
    until("it is acked", || sink.acked().len() == 1).await;
    until("no record is left", || kept(directory.path()).is_empty()).await;
    assert_eq!(bridge.post(pulled(2)).await.0, 200);
    assert_eq!(sink.acked().len(), 2);
}

#[tokio::test]
async fn an_unroutable_event_is_kept_and_not_dead_lettered() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Unroutable);
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    assert_eq!(bridge.post(pulled(1)).await.0, 200);
    assert_eq!(kept(directory.path()).len(), 1);
    sink.then(Step::Ack);
    until("it is acked", || sink.acked().len() == 1).await;
    assert_eq!(bridge.dead.started(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_while_the_dead_letter_is_away() {
    let directory = directory();
    let (sink, dead) = (
        FakeSink::acking("sink"),
        FakeSink::new("dead", [], Step::Transient),
    );
    let bridge = Bridge::with_dead_letters(&[&sink], dead.clone(), directory.path(), "").await;
    assert_eq!(bridge.post("no json").await.0, 200);
    let (status, after) = bridge.post("no json either").await;
    assert_eq!(status, 200);
    assert!(after < SECOND, "{after:?}");
    assert_eq!(kept(directory.path()).len(), 2);
    dead.then(Step::Ack);
    until("both are written", || dead.acked().len() == 2).await;
    for letter in dead.envelopes() {
        assert_eq!(letter.extension("deadletterreason"), Some("unparsable"));
        assert_eq!(letter.topic(), Some("vod.dead_letter"));
    }
    assert_eq!(sink.started(), 0);
}

#[tokio::test]
async fn what_is_too_old_becomes_a_dead_letter() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Transient);
    let bridge = Bridge::start(&[&sink], directory.path(), r#", "max_age": "1s""#).await;
    assert_eq!(bridge.post(pulled(1)).await.0, 200);
    until("it is written", || bridge.dead.acked().len() == 1).await;
    let letter = &bridge.dead.envelopes()[0];
    assert_eq!(letter.extension("deadletterreason"), Some("expired"));
    until("no record is left", || kept(directory.path()).is_empty()).await;
}

#[tokio::test]
async fn what_a_drain_cuts_is_kept() {
    let directory = directory();
    let sink = FakeSink::new("sink", [], Step::Hang);
    let bridge = Bridge::start(&[&sink], directory.path(), "").await;
    let address = bridge.address;
    let answer = tokio::spawn(async move { exchange(address, pulled(1).as_bytes()).await });
    sink.wait_started(1).await;
    bridge.begin.cancel();
    bridge.pipeline.cut();
    let (status, after) = answer.await.unwrap();
    assert_eq!(status, 200);
    assert!(after < 2 * SECOND, "{after:?}");
    bridge.end().await;
    assert_eq!(kept(directory.path()).len(), 1);
}

#[tokio::test]
async fn a_panic_while_the_dead_letter_is_away_is_kept_too() {
    let directory = directory();
    let sink = FakeSink::new("sink", [Step::Panic], Step::Ack);
    let dead = FakeSink::new("dead", [], Step::Transient);
    let bridge = Bridge::with_dead_letters(&[&sink], dead.clone(), directory.path(), "").await;
    assert_eq!(bridge.post(pulled(1)).await.0, 200);
    assert_eq!(kept(directory.path()).len(), 1);
    dead.then(Step::Ack);
    until("it is written", || dead.acked().len() == 1).await;
    let letter = &dead.envelopes()[0];
    assert_eq!(letter.extension("deadletterreason"), Some("panic"));
}

#[tokio::test]
async fn while_one_sink_is_away_the_other_goes_on_and_gets_nothing_twice() {
    let directory = directory();
    let (works, away) = (
        FakeSink::acking("a"),
        FakeSink::new("b", [], Step::Transient),
    );
    let bridge = Bridge::start(&[&works, &away], directory.path(), "").await;
    for task in until_known_away(&bridge).await..30 {
        let (status, after) = bridge.post(pulled(task)).await;
        assert_eq!(status, 200);
        assert!(after < SECOND, "{task}: {after:?}");
    }
    until("the one that works has all", || works.acked().len() == 30).await;
    assert_eq!(kept(directory.path()).len(), 30);
    bridge.end().await;
    assert_eq!(works.started(), 30);

    // What is on the disk says who has it.
    let (works, back) = (FakeSink::acking("a"), FakeSink::acking("b"));
    let bridge = Bridge::start(&[&works, &back], directory.path(), "").await;
    until("the other has all", || back.acked().len() == 30).await;
    until("no record is left", || kept(directory.path()).is_empty()).await;
    assert_eq!((works.started(), back.started()), (0, 30));
    bridge.end().await;
}
