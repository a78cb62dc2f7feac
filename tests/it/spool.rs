//! With a spool the cloud gets its 200 while the broker is away, and every event arrives later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;

use crate::load::{Load, Tally, numbers};
use crate::own::{Own, kept, notification, own_kafka, own_nats, own_rabbitmq};

/// The cloud must have its answer by then; at 5 s it has given up.
const IN_TIME: Duration = Duration::from_millis(4_500);
/// For an answer of any kind.
const PATIENCE: Duration = Duration::from_secs(20);
/// From the return of a broker until the spool is empty.
const RECOVERY: Duration = Duration::from_secs(60);

/// Records that are tried at once while their sink does not answer. A broker that starts can take
/// one and say so too late.
const PROBES: usize = 8;

/// Files, each with a caller that posts its events one after the other.
const FILES: usize = 8;
/// Events of each file.
const EVENTS: usize = 12;

const SPOOL: &str = "sources:
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

async fn records(bridge: &Bridge) -> Result<f64> {
    Ok(bridge.metrics().await?.sum("vodbridge_spool_records", &[]))
}

async fn until_empty(bridge: &Bridge) -> Result<Duration> {
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

    own.broker.restart().await?;
    until_empty(&bridge).await?;
    let ids = [before.ids, first.ids, known.ids].concat();
    let copies = all_in_order(&own, ids).await?;
    ensure!(copies <= PROBES, "{copies} copies");
    assert!(kept(&bridge)?.is_empty());
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

/// When each file of a directory was written last, and its length.
fn written(directory: &Path) -> Result<Vec<(String, SystemTime, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let (entry, name) = entry.map(|e| (e.metadata(), e.file_name()))?;
        let entry = entry?;
        let name = name.to_string_lossy().into_owned();
        files.push((name, entry.modified()?, entry.len()));
    }
    files.sort();
    Ok(files)
}

#[tokio::test]
async fn while_the_broker_works_nothing_touches_the_disk() -> Result<()> {
    let own = own_nats().await?;
    let bridge = own.setup(SPOOL)?.start().await?;
    let spool = bridge.directory().join("spool");
    let before = written(&spool)?;
    let load = Load::start(bridge.webhook(), 64, 4_999, notification);
    let tally = load.finish().await;
    assert_eq!(tally.confirmed.len(), 5_000);
    assert_eq!(before, written(&spool)?);
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
    own.broker.restart().await?;
    until_empty(&bridge).await?;
    let mut found = numbers(&own.read().await?)?;
    found.sort_unstable();
    // The last one, which got no answer, may have arrived since.
    found.retain(|number| *number < answered);
    assert_eq!(found, Vec::from_iter(0..answered));
    Ok(())
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next());
    Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? << 10)
}

/// Numbers of notifications that come before those of the outage.
const BEFORE: std::ops::Range<usize> = 0..20_000;
const OUTAGE: std::ops::Range<usize> = 20_000..120_000;

async fn post_at_once(bridge: &Bridge, numbers: &std::ops::Range<usize>) -> Result<(Tally, f64)> {
    let start = Instant::now();
    let load = Load::start_at(bridge.webhook(), 256, numbers.clone(), notification);
    let tally = load.finish().await;
    ensure!(
        tally.refused.is_empty(),
        "{:?}",
        tally.refused.first_key_value()
    );
    ensure!(tally.broken.is_empty(), "{:?}", tally.broken.first());
    Ok((tally, numbers.len() as f64 / start.elapsed().as_secs_f64()))
}

#[allow(
    clippy::print_stdout,
    reason = "shown where a test is asked for its output"
)]
#[tokio::test]
async fn a_hundred_thousand_events_come_back_with_flat_memory() -> Result<()> {
    let mut own = own_kafka().await?;
    let bridge = own.setup(SPOOL)?.start().await?;
    let (direct, direct_rate) = post_at_once(&bridge, &BEFORE).await?;
    let before = resident(bridge.id())?;

    own.broker.stop().await?;
    let (spooled, spooled_rate) = post_at_once(&bridge, &OUTAGE).await?;
    let outage = resident(bridge.id())?;
    let waiting = records(&bridge).await?;
    ensure!(
        waiting >= 0.9 * OUTAGE.len() as f64,
        "only {waiting} waited"
    );

    own.broker.restart().await?;
    let (mut most, mut first, start) = (0, None, Instant::now());
    loop {
        let left = records(&bridge).await?;
        if left < waiting {
            first.get_or_insert_with(Instant::now);
        }
        if left == 0.0 {
            break;
        }
        most = most.max(resident(bridge.id())?);
        ensure!(
            start.elapsed() < 2 * RECOVERY,
            "{left} left\n{}",
            bridge.log()
        );
        sleep(Duration::from_millis(100)).await;
    }
    let delivering = first.unwrap_or(start).elapsed().as_secs_f64();
    println!(
        "events/s: {direct_rate:.0} directly, {spooled_rate:.0} into the spool, {:.0} out of it; \
         resident MiB: {} before, {} in the outage, at most {} after it",
        waiting / delivering,
        before >> 20,
        outage >> 20,
        most >> 20
    );
    for resident in [outage, most] {
        ensure!(resident < before + (128 << 20), "{before} {outage} {most}");
    }
    let found = numbers(&own.read().await?)?;
    direct.loss(&found).none("Kafka works")?;
    spooled
        .loss(&found)
        .none("Kafka stopped for 100,000 events")
}
