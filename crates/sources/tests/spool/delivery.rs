//! What is kept is delivered: when its sinks are back, in order, once.

use vodbridge_core::testing::{FakeSink, Step};

use crate::bridge::{Bridge, SECOND, deleted, directory, kept, pulled, until, until_known_away};

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
