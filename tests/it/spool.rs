//! With a spool the cloud gets its 200 while the broker is away, and every event arrives later.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;

use crate::load::numbers;
use crate::own::{Own, kept, notification, own_kafka, own_nats, own_rabbitmq};

/// The cloud must have its answer by then; at 5 s it has given up.
const IN_TIME: Duration = Duration::from_millis(4_500);
/// For an answer of any kind.
const PATIENCE: Duration = Duration::from_secs(20);
/// From the return of a broker until the spool is empty.
pub(crate) const RECOVERY: Duration = Duration::from_secs(60);

/// Records that are tried at once while their sink does not answer. A broker that starts can take
/// one and say so too late.
const PROBES: usize = 8;

/// Files, each with a caller that posts its events one after the other.
const FILES: usize = 8;
/// Events of each file.
const EVENTS: usize = 12;

pub(crate) const SPOOL: &str = "sources:
  callback:
    webhook: { patience: 9s, spool: { directory: '{directory}/spool', ephemeral: true } }";

/// What the callers of a bridge were told, and when.
struct Told {
    ids: Vec<String>,
    times: Vec<Duration>,
}

impl Told {
    fn longest(&self) -> Duration {
        self.times.iter().copied().max().unwrap_or_default()
    }

    fn median(&mut self) -> Duration {
        self.times.sort();
        self.times
            .get(self.times.len() / 2)
            .copied()
            .unwrap_or_default()
    }
}

/// A notification of a file whose number in the order is its name.
fn of_file(file: usize, number: usize) -> Vec<u8> {
    let name = file * 1000 + number;
    format!(
        r#"{{"EventType":"NewFileUpload","FileUploadEvent":{{"FileId":"{file}","MediaBasicInfo":{{"Name":"{name}"}}}}}}"#
    )
    .into_bytes()
}

/// Posts events of every file, those of one file in their order. All must be answered 200.
async fn post_all(bridge: &Bridge, events: std::ops::Range<usize>) -> Result<Told> {
    let of_one = async |file: usize| -> Result<Vec<(String, Duration)>> {
        let mut told = Vec::new();
        for number in events.clone() {
            let start = Instant::now();
            let answer = bridge.post(&of_file(file, number), PATIENCE).await?;
            let text = answer.text();
            ensure!(answer.status == 200, "{} {text}", answer.status);
            let id = answer.json()?["id"].as_str().context("no id")?.to_owned();
            told.push((id, start.elapsed()));
        }
        Ok(told)
    };
    let told = futures_util::future::join_all((1..=FILES).map(of_one)).await;
    let told: Vec<_> = told.into_iter().collect::<Result<Vec<_>>>()?;
    let (ids, times) = told.into_iter().flatten().unzip();
    Ok(Told { ids, times })
}

pub(crate) async fn records(bridge: &Bridge) -> Result<f64> {
    Ok(bridge.metrics().await?.sum("vodbridge_spool_records", &[]))
}

/// What `/healthz` says of the spool.
async fn in_healthz(bridge: &Bridge) -> Result<String> {
    let report = bridge.admin("/healthz").await?.json()?;
    let spool = &report["stores"]["callback.spool"];
    ensure!(spool["state"] == "up", "{report}");
    Ok(spool["doing"].as_str().context("no text")?.to_owned())
}

pub(crate) async fn until_empty(bridge: &Bridge) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let left = records(bridge).await?;
        if left == 0.0 {
            return Ok(start.elapsed());
        }
        ensure!(
            start.elapsed() < RECOVERY,
            "{left} records are left\n{}",
            bridge.log()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Every event, and those of a file in the order in which they were posted. Returns how many came
/// more than once.
async fn all_in_order<K: Kind>(own: &Own<K>, expected: Vec<String>) -> Result<usize> {
    let messages = own.read().await?;
    let (mut found, mut last) = (BTreeSet::new(), BTreeMap::new());
    for message in &messages {
        if !found.insert(message.event()?.id.clone()) {
            continue;
        }
        let body = String::from_utf8_lossy(&message.body);
        let (_, name) = body.split_once(r#""Name":""#).context("no name")?;
        let name: usize = name.split('"').next().unwrap_or_default().parse()?;
        let before = last.insert(name / 1000, name).unwrap_or_default();
        ensure!(before < name, "{name} came after {before}");
    }
    let missing: Vec<_> = expected.iter().filter(|id| !found.contains(*id)).collect();
    ensure!(missing.is_empty(), "missing: {missing:?}");
    ensure!(
        found.len() == expected.len(),
        "{} are unknown",
        found.len() - expected.len()
    );
    Ok(messages.len() - found.len())
}

async fn an_outage_is_answered_in_time_and_all_arrive<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let mut own = own?;
    let bridge = own.setup(SPOOL)?.start().await?;
    let before = post_all(&bridge, 1..2).await?;
    assert_eq!(
        bridge
            .metrics()
            .await?
            .sum("vodbridge_spool_appended_total", &[]),
        0.0
    );

    own.broker.stop().await?;
    let first = post_all(&bridge, 2..4).await?;
    let mut known = post_all(&bridge, 4..EVENTS).await?;
    for told in [&first, &known] {
        ensure!(told.longest() < IN_TIME, "{:?}", told.times);
    }
    let median = known.median();
    ensure!(median < Duration::from_millis(500), "{:?}", known.times);
    ensure!(bridge.admin("/readyz").await?.status == 200, "not ready");
    let metrics = bridge.metrics().await?;
    let spool = |name: &str| metrics.sum(&format!("vodbridge_spool_{name}"), &[]);
    assert_eq!(spool("records"), (FILES * (EVENTS - 2)) as f64);
    assert_eq!(spool("appended_total"), spool("records"));
    ensure!(spool("oldest_age_seconds") > 0.0, "no age");
    ensure!(
        0.0 < spool("bytes") && spool("bytes") < spool("max_bytes"),
        "no bytes"
    );
    let waiting = format!("{} wait, the oldest for", FILES * (EVENTS - 2));
    let healthz = in_healthz(&bridge).await?;
    ensure!(healthz.contains(&waiting), "{healthz}");

    own.broker.restart().await?;
    until_empty(&bridge).await?;
    let ids = [before.ids, first.ids, known.ids].concat();
    let copies = all_in_order(&own, ids).await?;
    ensure!(copies <= PROBES, "{copies} copies");
    assert!(kept(&bridge)?.is_empty());
    let healthz = in_healthz(&bridge).await?;
    ensure!(!healthz.contains("wait"), "{healthz}");
    // And past the disk again.
    let appended = bridge
        .metrics()
        .await?
        .sum("vodbridge_spool_appended_total", &[]);
    post_all(&bridge, EVENTS..EVENTS + 1).await?;
    let now = bridge
        .metrics()
        .await?
        .sum("vodbridge_spool_appended_total", &[]);
    assert_eq!(appended, now);
    Ok(())
}

async fn what_waits_survives_a_crash<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let mut own = own?;
    let mut bridge = own.setup(SPOOL)?.start().await?;
    own.broker.stop().await?;
    let told = post_all(&bridge, 1..EVENTS).await?;
    bridge.kill()?;
    bridge.wait(PATIENCE).await?;
    bridge.start_again().await?;
    assert_eq!(records(&bridge).await?, (FILES * (EVENTS - 1)) as f64);
    own.broker.restart().await?;
    until_empty(&bridge).await?;
    let copies = all_in_order(&own, told.ids).await?;
    ensure!(copies <= PROBES, "{copies} copies");
    Ok(())
}

#[tokio::test]
async fn an_outage_of_kafka_is_answered_in_time_and_all_arrive() -> Result<()> {
    an_outage_is_answered_in_time_and_all_arrive(own_kafka().await).await
}

#[tokio::test]
async fn an_outage_of_rabbitmq_is_answered_in_time_and_all_arrive() -> Result<()> {
    an_outage_is_answered_in_time_and_all_arrive(own_rabbitmq().await).await
}

#[tokio::test]
async fn an_outage_of_nats_is_answered_in_time_and_all_arrive() -> Result<()> {
    an_outage_is_answered_in_time_and_all_arrive(own_nats().await).await
}

#[tokio::test]
async fn what_waits_for_kafka_survives_a_crash() -> Result<()> {
    what_waits_survives_a_crash(own_kafka().await).await
}

#[tokio::test]
async fn what_waits_for_rabbitmq_survives_a_crash() -> Result<()> {
    what_waits_survives_a_crash(own_rabbitmq().await).await
}

#[tokio::test]
async fn what_waits_for_nats_survives_a_crash() -> Result<()> {
    what_waits_survives_a_crash(own_nats().await).await
}

#[tokio::test]
async fn a_drain_leaves_what_waits_to_the_next_start() -> Result<()> {
    let mut own = own_nats().await?;
    let drain = "drain: { grace: 1s, timeout: 20s }";
    let mut bridge = own.setup(&format!("{SPOOL}\n{drain}"))?.start().await?;
    own.broker.stop().await?;
    let told = post_all(&bridge, 1..3).await?;
    bridge.sigterm()?;
    let status = bridge.wait(PATIENCE + Duration::from_secs(5)).await?;
    ensure!(status.success(), "{status}\n{}", bridge.log());
    own.broker.restart().await?;
    bridge.start_again().await?;
    until_empty(&bridge).await?;
    let copies = all_in_order(&own, told.ids).await?;
    ensure!(copies <= PROBES, "{copies} copies");
    Ok(())
}

#[tokio::test]
async fn a_full_spool_answers_nothing_and_loses_nothing_that_it_answered() -> Result<()> {
    let mut own = own_kafka().await?;
    let settings = "sources:
  callback:
    webhook:
      patience: 6s
      max_body_bytes: 500kB
      spool: { directory: '{directory}/spool', max_bytes: 1MiB, ephemeral: true }";
    let bridge = own
        .setup(&settings.replace("500kB", "500KB"))?
        .start()
        .await?;
    own.broker.stop().await?;
    let large = |number: usize| {
        let padding = "x".repeat(60_000);
        let body = String::from_utf8_lossy(&notification(number)).into_owned();
        body.replace("upload ", &format!("{padding} "))
    };
    let mut answered = 0;
    let answer = loop {
        let answer = bridge.post(large(answered).as_bytes(), PATIENCE).await?;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
    };
    ensure!(
        answer.status == 503 && answered > 5,
        "{answered}: {}",
        answer.text()
    );
    ensure!(
        bridge.log().contains("the store is full"),
        "{}",
        bridge.log()
    );
    let refused = bridge
        .metrics()
        .await?
        .sum("vodbridge_spool_refused_total", &[("reason", "full")]);
    ensure!(refused >= 1.0, "no refusal is counted");
    own.broker.restart().await?;
    until_empty(&bridge).await?;
    let mut found = numbers(&own.read().await?)?;
    found.sort_unstable();
    // The last one, which got no answer, may have arrived since.
    found.retain(|number| *number < answered);
    let arrived = found.len();
    found.dedup();
    assert_eq!(found, Vec::from_iter(0..answered));
    ensure!(arrived - answered <= PROBES, "{arrived} of {answered}");
    Ok(())
}

/// Two brokers are away, and far more waits for the one that stays so.
#[tokio::test]
async fn the_return_of_one_of_two_brokers_is_noticed() -> Result<()> {
    let (mut stays, mut returns) = tokio::try_join!(own_kafka(), own_nats())?;
    let other = format!("live: {{ {} }}", returns.sink);
    let more = format!(
        "{SPOOL}
routes:
  uploads: {{ match: {{ event_type: [NewFileUpload] }}, to: {{ events: {{}} }} }}
  pulls: {{ match: {{ event_type: [PullComplete] }}, to: {{ live: {{}} }} }}
dead_letter: {{ sink: events }}"
    );
    let bridge = stays.setup_with(&other, &more)?.start().await?;
    tokio::try_join!(stays.broker.stop(), returns.broker.stop())?;
    let uploads = (0..200).map(notification);
    let pulls = (0..5).map(|number| {
        format!(
            r#"{{"EventType":"PullComplete","PullCompleteEvent":{{"TaskId":"{number}","FileId":"p{number}"}}}}"#
        )
        .into_bytes()
    });
    let post = async |body: Vec<u8>| -> Result<()> {
        let answer = bridge.post(&body, PATIENCE).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(())
    };
    // One after the other: the pulls are the newest.
    let told = futures_util::future::join_all(uploads.map(post)).await;
    told.into_iter().collect::<Result<()>>()?;
    let told = futures_util::future::join_all(pulls.map(post)).await;
    told.into_iter().collect::<Result<()>>()?;
    // Both are known to be away by then; nothing but what waits tries them.
    sleep(Duration::from_secs(10)).await;
    returns.broker.restart().await?;
    let end = Instant::now() + RECOVERY;
    while records(&bridge).await? != 200.0 {
        ensure!(Instant::now() < end, "not noticed\n{}", bridge.log());
        sleep(Duration::from_millis(50)).await;
    }
    assert!(returns.ids(PATIENCE).await?.len() >= 5);
    stays.broker.restart().await?;
    until_empty(&bridge).await?;
    Ok(())
}
