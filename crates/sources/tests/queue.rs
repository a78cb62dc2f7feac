//! A queue source against a cloud that says what a test says, on a real socket and a fake sink.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use vodbridge_core::testing::{FakeSink, Step};
use vodbridge_core::{DeadLetters, HealthCell, Intake, Metrics, Pipeline, Router, SinkSet, State};
use vodbridge_sources::cloud::{CloudClient, Credentials, Limiter};
use vodbridge_sources::queue::{Queue, QueueConfig, QueueMetrics};
use vodbridge_vod::Catalogue;

const DONE: &str = r#"{"Response":{"RequestId":"r"}}"#;

/// A confirm of this handle is not answered.
const HANGS: &str = "hangs";

/// The handles of every confirm so far, and how many pulls there were.
#[derive(Clone, Default)]
struct Asked {
    pulls: Arc<Mutex<usize>>,
    confirms: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Asked {
    fn confirms(&self) -> Vec<Vec<String>> {
        self.confirms.lock().unwrap().clone()
    }

    fn confirmed(&self, handle: &str) -> bool {
        self.confirms().iter().flatten().any(|of| of == handle)
    }
}

/// What is said to the nth pull, from 0.
type Pulls = Arc<dyn Fn(usize, Asked) -> BoxFuture<'static, String> + Send + Sync>;

struct Bridge {
    asked: Asked,
    sink: Arc<FakeSink>,
    dead: Arc<FakeSink>,
    health: Arc<HealthCell>,
    drain: CancellationToken,
    running: JoinHandle<()>,
}

impl Bridge {
    async fn ended(self) {
        self.drain.cancel();
        timeout(Duration::from_secs(40), self.running)
            .await
            .unwrap()
            .unwrap();
    }
}

async fn bridge<F, P>(sink: &Arc<FakeSink>, settings: &str, confirm: String, pulls: P) -> Bridge
where
    F: Future<Output = String> + Send + 'static,
    P: Fn(usize, Asked) -> F + Send + Sync + 'static,
{
    let asked = Asked::default();
    let pulls: Pulls = Arc::new(move |nth, asked| Box::pin(pulls(nth, asked)));
    let endpoint = serve(asked.clone(), confirm, pulls).await;
    let settings = format!(
        r#"{{"sub_app_id": 7, "endpoint": "{endpoint}", "backlog_interval": "0s",
            "credentials": {{"secret_id": "AKID", "secret_key": "hunter2"}} {settings}}}"#
    );
    let config: QueueConfig = serde_json::from_str(&settings).unwrap();
    let dead = FakeSink::acking("dead");
    let dead_letters = DeadLetters {
        sink: dead.clone(),
        topic: "vod.dead_letter".into(),
        last_resort: None,
    };
    let metrics = Metrics::default();
    let router = Router::everything(SinkSet::of([0]));
    let pipeline = Pipeline::new(vec![sink.clone()], router, dead_letters, &metrics);
    let (pipeline, most) = (Arc::new(pipeline), config.max_in_flight);
    let intake = Intake::new("reliable", pipeline, most, metrics.source("reliable"));
    let credentials = Credentials::new(&config.credentials, |_| None).unwrap();
    let limiter = Arc::new(Limiter::new(config.calls_per_second));
    let cloud = CloudClient::new(&endpoint, None, credentials, limiter).unwrap();
    let health = Arc::new(HealthCell::starting("pulls"));
    let queue = Queue::new(
        config,
        Arc::new(cloud),
        intake,
        Arc::new(Catalogue::default()),
        QueueMetrics::default().source("reliable"),
        health.clone(),
    );
    let drain = CancellationToken::new();
    Bridge {
        asked,
        sink: sink.clone(),
        dead,
        health,
        running: tokio::spawn(queue.run(drain.clone())),
        drain,
    }
}

async fn serve(asked: Asked, confirm: String, pulls: Pulls) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (asked, confirm, pulls) = (asked.clone(), confirm.clone(), pulls.clone());
            let service = hyper::service::service_fn(move |request| {
                answer(request, asked.clone(), confirm.clone(), pulls.clone())
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    endpoint
}

async fn answer(
    request: Request<Incoming>,
    asked: Asked,
    confirm: String,
    pulls: Pulls,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let action = request.headers()["x-tc-action"]
        .to_str()
        .unwrap()
        .to_owned();
    let (mut frames, mut body) = (request.into_body(), Vec::new());
    while let Some(frame) = frames.frame().await {
        body.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    let said = if action == "PullEvents" {
        let nth = {
            let mut pulls = asked.pulls.lock().unwrap();
            *pulls += 1;
            *pulls - 1
        };
        pulls(nth, asked).await
    } else {
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let handles: Vec<String> = serde_json::from_value(body["EventHandles"].clone()).unwrap();
        let hangs = handles.iter().any(|handle| handle == HANGS);
        asked.confirms.lock().unwrap().push(handles);
        if hangs {
            pending::<()>().await;
        }
        confirm
    };
    Ok(Response::new(Full::new(said.into())))
}

fn answer_with(events: &[String]) -> String {
    let events = events.join(",");
    format!(r#"{{"Response":{{"EventSet":[{events}],"RequestId":"r"}}}}"#)
}

fn deleted(handle: &str, file: &str) -> String {
    format!(
        r#"{{"EventHandle":"{handle}","EventType":"FileDeleted","FileDeleteEvent":{{"FileIdSet":["{file}"]}}}}"#
    )
}

async fn nothing() -> String {
    sleep(Duration::from_secs(5)).await;
    answer_with(&[])
}

async fn until(what: &str, within: Duration, holds: impl Fn() -> bool) {
    let end = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_confirm_that_waits_for_the_accounts_limit_is_withheld_when_its_handle_comes_again() {
    let sink = FakeSink::new(
        "events",
        [Step::Ack, Step::AckAfter(Duration::from_millis(100))],
        Step::Hang,
    );
    let bridge = bridge(
        &sink,
        r#", "calls_per_second": 1"#,
        DONE.into(),
        |nth, asked| async move {
            match nth {
                0 => {
                    sleep(Duration::from_millis(400)).await;
                    answer_with(&[deleted("a", "1"), deleted("b", "2")])
                }
                1 => {
                    // The handle whose confirm waits comes again, with another event.
                    let first = asked.confirms().first().unwrap().clone();
                    assert_eq!(first.len(), 1);
                    let other = if first[0] == "a" { "b" } else { "a" };
                    answer_with(&[deleted(other, "3")])
                }
                _ => nothing().await,
            }
        },
    )
    .await;
    bridge.sink.wait_started(3).await;
    // Long enough for the turn of the confirm that waits.
    sleep(Duration::from_secs(2)).await;
    let confirms = bridge.asked.confirms();
    assert_eq!(confirms.len(), 1, "{confirms:?}");
}

#[tokio::test]
async fn what_comes_before_the_turn_of_a_confirm_goes_with_it() {
    let steps = (0..16).map(|nth| Step::AckAfter(Duration::from_millis(20 * nth)));
    let sink = FakeSink::new("events", steps, Step::Ack);
    let settings = r#", "calls_per_second": 1"#;
    let bridge = bridge(&sink, settings, DONE.into(), |nth, _| async move {
        match nth {
            0 => {
                let event = |nth| deleted(&format!("h{nth}"), &format!("{nth}"));
                answer_with(&(0..16).map(event).collect::<Vec<_>>())
            }
            _ => nothing().await,
        }
    })
    .await;
    let confirmed = || bridge.asked.confirms().concat().len() == 16;
    until("all are confirmed", Duration::from_secs(4), confirmed).await;
    let calls = bridge.asked.confirms().len();
    assert!(calls <= 3, "{calls}");
}

#[tokio::test]
async fn confirms_gather_while_one_hangs_but_do_not_wait_for_it() {
    let sink = FakeSink::acking("events");
    let pulls = |nth, asked: Asked| async move {
        match nth {
            0 => answer_with(&[deleted(HANGS, "f")]),
            1 => {
                let hangs = || asked.confirmed(HANGS);
                until("it is confirmed", Duration::from_secs(10), hangs).await;
                let event = |nth| deleted(&format!("h{nth}"), &format!("{nth}"));
                answer_with(&(0..15).map(event).collect::<Vec<_>>())
            }
            _ => nothing().await,
        }
    };
    let bridge = bridge(&sink, r#", "pullers": 1"#, DONE.into(), pulls).await;
    // What hangs is under way for as long as its lease, 30 s.
    let others = || (0..15).all(|nth| bridge.asked.confirmed(&format!("h{nth}")));
    until("the others are confirmed", Duration::from_secs(20), others).await;
    let mut confirms = bridge.asked.confirms();
    confirms.retain(|handles| handles[0] != HANGS);
    assert!(confirms.len() <= 8, "{confirms:?}");
}

#[tokio::test]
async fn a_large_answer_to_a_confirm_is_no_confirm_unless_it_is_the_clouds() {
    let sink = FakeSink::acking("events");
    let page = "<html>".repeat(10_000);
    let bridge = bridge(&sink, "", page, |nth, _| async move {
        match nth {
            0 => answer_with(&[deleted("a", "1")]),
            _ => nothing().await,
        }
    })
    .await;
    until("it is tried again", Duration::from_secs(5), || {
        bridge.asked.confirms().len() > 2
    })
    .await;
}

#[tokio::test]
async fn a_refused_confirm_is_seen_in_the_health() {
    let sink = FakeSink::acking("events");
    let refused =
        r#"{"Response":{"Error":{"Code":"UnauthorizedOperation","Message":"no"},"RequestId":"r"}}"#;
    let bridge = bridge(&sink, "", refused.into(), |nth, _| async move {
        match nth {
            0 => answer_with(&[deleted("a", "1")]),
            _ => nothing().await,
        }
    })
    .await;
    let down = || bridge.health.get().state == State::Down;
    until("the health says so", Duration::from_secs(5), down).await;
}

#[tokio::test]
async fn large_answers_do_not_wait_for_each_other() {
    let sink = FakeSink::acking("events");
    let settings = r#", "max_bytes": "2MiB""#;
    let bridge = bridge(&sink, settings, DONE.into(), |nth, _| async move {
        match nth {
            0 | 1 => {
                sleep(Duration::from_millis(200)).await;
                let large = "x".repeat(1_900_000);
                answer_with(&[format!(
                    r#"{{"EventHandle":"{nth}","EventType":"FileDeleted","FileDeleteEvent":{{"FileIdSet":["{nth}"],"X":"{large}"}}}}"#
                )])
            }
            _ => nothing().await,
        }
    })
    .await;
    until("both are delivered", Duration::from_secs(10), || {
        bridge.sink.acked().len() == 2
    })
    .await;
}

#[tokio::test]
async fn more_events_than_there_are_permits_are_delivered_too() {
    let sink = FakeSink::acking("events");
    let settings = r#", "pullers": 1, "max_in_flight": 16"#;
    let bridge = bridge(&sink, settings, DONE.into(), |nth, _| async move {
        match nth {
            0 => {
                let all: Vec<_> = (0..40)
                    .map(|n| deleted(&format!("h{n}"), &format!("{n}")))
                    .collect();
                answer_with(&all)
            }
            _ => nothing().await,
        }
    })
    .await;
    until("all are delivered", Duration::from_secs(10), || {
        bridge.sink.acked().len() == 40
    })
    .await;
    until("all are confirmed", Duration::from_secs(10), || {
        bridge.asked.confirmed("h39")
    })
    .await;
}

#[tokio::test]
async fn a_null_among_the_events_is_none() {
    let sink = FakeSink::acking("events");
    let bridge = bridge(&sink, "", DONE.into(), |nth, _| async move {
        match nth {
            0..10 => answer_with(&["null".to_owned()]),
            10 => answer_with(&["null".to_owned(), deleted("a", "1")]),
            _ => nothing().await,
        }
    })
    .await;
    until("the event comes", Duration::from_secs(20), || {
        bridge.asked.confirmed("a")
    })
    .await;
    let dead = bridge.dead.clone();
    bridge.ended().await;
    assert!(dead.acked().is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_lettered_and_then_confirmed() {
    let sink = FakeSink::acking("events");
    let bridge = bridge(&sink, "", DONE.into(), |nth, _| async move {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let unparsable = format!(r#"{{"EventHandle":"deep","EventType":"X","X":{deep}}}"#);
        let unrecognised = r#"{"EventHandle":"strange","a":1}"#.to_owned();
        match nth {
            0 => answer_with(&[unparsable, unrecognised]),
            _ => nothing().await,
        }
    })
    .await;
    for handle in ["deep", "strange"] {
        let confirmed = || bridge.asked.confirmed(handle);
        until(handle, Duration::from_secs(20), confirmed).await;
    }
    let letters = bridge.dead.envelopes();
    let reason = |letter: &vodbridge_core::Envelope| {
        let reason = letter.extension("deadletterreason");
        reason.unwrap_or_default().to_owned()
    };
    let mut reasons: Vec<_> = letters.iter().map(reason).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["unparsable", "unrecognised"]);
    bridge.ended().await;
}
