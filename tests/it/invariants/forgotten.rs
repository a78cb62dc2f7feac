//! Whatever comes, good or bad, by either way: afterwards it is somewhere, or one of the two
//! exceptions, which are counted.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::{Bridge, SUB_APP_ID, WEBHOOK_PATH};
use vodbridge_tests::brokers::nats::Nats;
use vodbridge_tests::cli::run;
use vodbridge_tests::http::{self, Connection, post, post_head};
use vodbridge_tests::ports::free_port;

use super::{PATIENCE, until};
use crate::own::Own;
use crate::queue::Pulled;
use crate::refusals::narrow_nats;

/// Unreadable bodies, more than the quota of 16 MiB together.
const JUNK: usize = 20;
const JUNK_BYTES: usize = 900_000;

/// Where something can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Topic,
    DeadLetter,
    /// A dead letter that its sink refused, in the state directory.
    LastResort,
    Undelivered,
    /// The cloud has it, and gives it out again.
    Cloud,
}

/// A notification that its mark is found by.
fn marked(event_type: &str, mark: &str, filling: usize) -> String {
    let filling = "x".repeat(filling);
    format!(
        r#"{{"EventType":"{event_type}","{event_type}Event":{{"TaskId":"{mark}","FileId":"{mark}","Message":"{filling}"}}}}"#
    )
}

/// What comes by both ways, each with its mark and where it belongs.
fn bad_and_good(way: &str, kept_by_the_cloud: bool) -> Vec<(String, String, Place)> {
    let cloud_or = |place| {
        if kept_by_the_cloud {
            Place::Cloud
        } else {
            place
        }
    };
    let of = |event_type: &str, what: &str, filling, place| {
        let mark = format!("{way}-{what}-mark");
        let event_type = match event_type {
            "NewFileUpload" => {
                let body = marked(event_type, &mark, filling);
                return (
                    mark,
                    body.replace("NewFileUploadEvent", "FileUploadEvent"),
                    place,
                );
            }
            other => other,
        };
        let body = marked(event_type, &mark, filling);
        (mark, body, place)
    };
    let unrecognised = format!("{way}-unrecognised-mark");
    vec![
        of("NewFileUpload", "good", 0, Place::Topic),
        of("BrandNewThing", "unknown", 0, Place::Topic),
        of(
            "CreateImageSpriteComplete",
            "unroutable",
            0,
            cloud_or(Place::DeadLetter),
        ),
        of("PullComplete", "refused", 4_000, Place::DeadLetter),
        // The server takes 1 MiB.
        of("NewFileUpload", "large", 1_200_000, Place::LastResort),
        of("ConcatComplete", "stuck", 0, cloud_or(Place::Undelivered)),
        (
            unrecognised.clone(),
            format!(r#"{{"strange":"{unrecognised}"}}"#),
            Place::DeadLetter,
        ),
    ]
}

/// All that the broker and the state directory have.
async fn found(own: &Own<Nats>, bridge: &Bridge) -> Result<Vec<(Place, String)>> {
    let mut found = Vec::new();
    for stream in ["VOD", "SMALL", "FULL"] {
        for message in own.client.read(stream).await? {
            let place = match message.topic.as_str() {
                "vod.dead_letter" => Place::DeadLetter,
                _ => Place::Topic,
            };
            found.push((place, String::from_utf8(message.body)?));
        }
    }
    for (file, place) in [
        ("vod.dead_letter", Place::LastResort),
        ("undelivered", Place::Undelivered),
    ] {
        let file = bridge.directory().join(format!("state/{file}.ndjson"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        found.extend(text.lines().map(|line| (place, line.to_owned())));
    }
    Ok(found)
}

fn places(found: &[(Place, String)], mark: &str) -> Vec<Place> {
    let has = |(_, text): &&(Place, String)| text.contains(mark);
    let mut places: Vec<_> = found.iter().filter(has).map(|(place, _)| *place).collect();
    places.sort();
    places.dedup();
    places
}

fn configuration(pulled: &Pulled, spooled: &str) -> String {
    let callback = "{ webhook: { patience: 6s, max_body_bytes: 2MiB } }";
    let sources = pulled.source_beside(callback, ", lease: 13s, lease_margin: 3s");
    let spool = format!(
        "spooled: {{ webhook: {{ listen: \"{spooled}\", sub_app_id: {}, patience: 6s, \
         max_body_bytes: 2MiB, spool: {{ directory: '{{directory}}/spool', max_age: 8s, \
         ephemeral: true }} }} }}",
        SUB_APP_ID + 1
    );
    sources.replacen("sources: { ", &format!("sources: {{ {spool}, "), 1)
}

/// Bodies that nobody can read, until the quota of such bodies is used up. Returns how many were
/// not answered 200, by their marks.
async fn junk(bridge: &Bridge) -> Result<BTreeMap<String, u16>> {
    let body = |n: usize| format!("junk-{n}-mark {}", "x".repeat(JUNK_BYTES));
    let post = async |n: usize| {
        let answer = bridge.post(body(n).as_bytes(), PATIENCE).await?;
        anyhow::Ok((format!("junk-{n}-mark"), answer.status))
    };
    let answers = join_all((0..JUNK).map(post)).await;
    answers.into_iter().collect()
}

/// An event of the spool's source waits on the disk, and becomes a dead letter when it is too old.
async fn by_the_spool(bridge: &Bridge, address: &str, mark: &str) -> Result<()> {
    let body = marked("ConcatComplete", mark, 0);
    let request = post(WEBHOOK_PATH, body.as_bytes());
    let answer = http::exchange(address, &request, PATIENCE).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    let export = ["spool", "export", "--source", "spooled"];
    let exported = run(bridge.setup().command(&export)?).await?;
    ensure!(
        exported.out.contains(mark),
        "not in the spool: {exported:?}"
    );
    until("the record expires", async || {
        let records = bridge.metrics().await?;
        Ok(records.sum("vodbridge_spool_records", &[]) == 0.0)
    })
    .await
}

/// Posts what comes by the webhook. What is undelivered gets no answer that counts.
async fn post_all(bridge: &Bridge, bodies: &[(String, String, Place)]) -> Result<()> {
    let answers = bodies.iter().map(|(mark, body, place)| async move {
        let answer = bridge.post(body.as_bytes(), PATIENCE).await?;
        let expected = if *place == Place::Undelivered {
            503
        } else {
            200
        };
        ensure!(answer.status == expected, "{mark}: {}", answer.text());
        Ok(())
    });
    join_all(answers).await.into_iter().collect()
}

#[tokio::test]
async fn no_event_is_logged_and_forgotten() -> Result<()> {
    let own = narrow_nats().await?;
    let pulled = Pulled::new(|config| config.lease = std::time::Duration::from_secs(13)).await?;
    let spooled = format!("127.0.0.1:{}", free_port()?);
    let bridge = own
        .setup(&configuration(&pulled, &spooled))?
        .start()
        .await?;

    let posts = bad_and_good("posted", false);
    let pulls = bad_and_good("pulled", true);
    for (_, body, _) in &pulls {
        pulled.issue_one(body.as_bytes())?;
    }
    let unparsable = ("unparsable-mark".to_owned(), "no JSON: unparsable-mark");
    let (answer, posted, spool, junk) = tokio::join!(
        bridge.post(unparsable.1.as_bytes(), PATIENCE),
        post_all(&bridge, &posts),
        by_the_spool(&bridge, &spooled, "expired-mark"),
        junk(&bridge),
    );
    assert_eq!(answer?.status, 200);
    posted?;
    spool?;
    let junk = junk?;

    // The two exceptions.
    let mut large = Connection::open(bridge.webhook()).await?;
    large.send(&post_head(WEBHOOK_PATH, 3 << 20)).await?;
    assert_eq!(large.response(PATIENCE).await?.status, 413);
    let metrics = bridge.metrics().await?;
    let refused = |reason| {
        let labels = [("source", "callback"), ("reason", reason)];
        metrics.sum("vodbridge_requests_refused_total", &labels)
    };
    assert_eq!(refused("too_large"), 1.0);
    let over_quota = junk.values().filter(|status| **status == 503).count();
    ensure!(over_quota > 0 && over_quota < JUNK, "{junk:?}");
    assert_eq!(refused("poison_over_quota"), over_quota as f64);

    let deadline = Instant::now() + PATIENCE;
    let durable = pulls.iter().filter(|(.., place)| *place != Place::Cloud);
    let durable = durable.count() as u64;
    while pulled.confirmed() < durable {
        ensure!(Instant::now() < deadline, "{:?}", pulled.queue.stats());
        sleep(std::time::Duration::from_millis(20)).await;
    }
    bridge.until_nothing_is_in_flight().await?;
    assert_eq!(
        pulled.confirmed(),
        durable,
        "what no broker has is confirmed"
    );

    let everything = found(&own, &bridge).await?;
    for (mark, _, place) in posts.iter().chain(&pulls) {
        let expected = match place {
            Place::Cloud => vec![],
            place => vec![*place],
        };
        assert_eq!(places(&everything, mark), expected, "{mark}");
    }
    for mark in ["unparsable-mark", "expired-mark"] {
        assert_eq!(places(&everything, mark), [Place::DeadLetter], "{mark}");
    }
    for (mark, status) in &junk {
        let kept = !places(&everything, mark).is_empty();
        assert_eq!(kept, *status == 200, "{mark} {status}");
    }

    // What the cloud still has comes again, once there is a place for it.
    let wider = json!({ "name": "VOD", "subjects": ["vod.NewFileUpload", "vod.other",
        "vod.dead_letter", "vod.CreateImageSpriteComplete"] });
    own.client.call("update_stream", wider).await?;
    own.client
        .call("purge_stream", json!({ "name": "FULL" }))
        .await?;
    pulled.finished(&bridge).await?;
    let everything = found(&own, &bridge).await?;
    for (mark, ..) in pulls.iter().filter(|(.., place)| *place == Place::Cloud) {
        assert_eq!(places(&everything, mark), [Place::Topic], "{mark}");
    }
    Ok(())
}
