//! A webhook with a spool: a real socket, a real disk, fake sinks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vodbridge_core::testing::FakeSink;
use vodbridge_core::{DeadLetters, Intake, Metrics, Pipeline, Router, Sink, SinkSet};
use vodbridge_sources::spool::{Spool, SpoolMetrics, SpoolSource, WINDOW};
use vodbridge_sources::webhook::{Drain, Endpoint, Listener, WebhookConfig};
use vodbridge_store::StoreReader;
use vodbridge_vod::Catalogue;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    pub(crate) sinks: Vec<Arc<FakeSink>>,
    pub(crate) dead: Arc<FakeSink>,
    pub(crate) undelivered: Arc<FakeSink>,
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) begin: CancellationToken,
    pub(crate) listening: JoinHandle<()>,
    pub(crate) delivering: JoinHandle<()>,
}

impl Bridge {
    pub(crate) async fn start(sinks: &[&Arc<FakeSink>], directory: &Path, spool: &str) -> Self {
        Self::with_dead_letters(sinks, FakeSink::acking("dead"), directory, spool).await
    }

    pub(crate) async fn with_dead_letters(
        sinks: &[&Arc<FakeSink>],
        dead: Arc<FakeSink>,
        directory: &Path,
        spool: &str,
    ) -> Self {
        let ports = sinks.iter().map(|sink| Arc::clone(sink) as _).collect();
        let router = Router::everything(SinkSet::of(0..sinks.len()));
        let bridge = Self::over(ports, router, dead, directory, spool).await;
        Self {
            sinks: sinks.iter().map(|sink| Arc::clone(sink)).collect(),
            ..bridge
        }
    }

    /// Over sinks of any kind, which `sinks` does not have.
    pub(crate) async fn over(
        ports: Vec<Arc<dyn Sink>>,
        router: Router,
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
            sinks: Vec::new(),
            dead,
            undelivered,
            pipeline,
            spool,
            listening: tokio::spawn(listener.run()),
            delivering: tokio::spawn(source.run(begin.clone())),
            begin,
        }
    }

    pub(crate) async fn post(&self, body: impl AsRef<[u8]>) -> (u16, Duration) {
        let (answer, after) = exchange(self.address, body.as_ref()).await;
        (answer, after)
    }

    /// Ends as a drain does.
    pub(crate) async fn end(self) {
        self.begin.cancel();
        self.listening.await.unwrap();
        self.delivering.await.unwrap();
        self.spool.close().await;
    }
}

pub(crate) async fn exchange(address: SocketAddr, body: &[u8]) -> (u16, Duration) {
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
pub(crate) fn pulled(task: usize) -> String {
    format!(
        r#"{{"EventType":"PullComplete","PullCompleteEvent":{{"TaskId":"t-{task}","Status":"FINISH","ErrCode":0,"FileId":"{task}"}}}}"#
    )
}

/// Another notification of the same file as [`pulled`].
pub(crate) fn deleted(task: usize) -> String {
    format!(r#"{{"EventType":"FileDeleted","FileDeleteEvent":{{"FileIdSet":["{task}"]}}}}"#)
}

pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Ids of the records on the disk.
pub(crate) fn kept(directory: &Path) -> Vec<String> {
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

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + 30 * SECOND;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Posts until the bridge has found out that its sink does not answer. Returns the next number.
pub(crate) async fn until_known_away(bridge: &Bridge) -> usize {
    for task in 0..20 {
        let (status, after) = bridge.post(pulled(task)).await;
        assert_eq!(status, 200);
        if after < SECOND / 2 {
            return task + 1;
        }
    }
    panic!("the sink is waited for again and again");
}
