//! The table of answers.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use vodbridge_core::testing::{FakeSink, Step};

use crate::bridge::{Bridge, SECOND, directory, exchange, kept, pulled, until};

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
