//! `vodbridge verify`: on every broker it finds what is missing, copied or foreign, and nothing
//! where all is well.

mod places;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::cli::{Ran, run, vodbridge};
use vodbridge_tests::clients::{self, Client, Message};
use vodbridge_tests::http;

use crate::own::{Own, own_kafka, own_nats, own_rabbitmq};
use crate::simulate::Simulator;

const PATIENCE: Duration = Duration::from_secs(60);

/// Pulled is the application of the simulator's tests; this one is posted.
const POSTED: u64 = 8;
/// Of each application, so that types come more than once.
const EVENTS: usize = 80;

/// A simulator that is issuing events, to be pulled and posted.
async fn simulator() -> Result<Simulator> {
    let events = format!("--events={EVENTS}");
    Simulator::start(&["--sub-app-id=8", &events, "--rate=200", "--time-scale=2"]).await
}

/// The sources that get them.
fn sources(simulator: &Simulator) -> String {
    format!(
        "sources: {{ callback: {{ webhook: {{ sub_app_id: {POSTED} }} }}, reliable: {{ queue: {{ \
         sub_app_id: 1500012345, endpoint: \"{}\", credentials: {{ secret_id: AKIDtest, \
         secret_key: key }} }} }} }}",
        simulator.endpoint
    )
}

async fn control(simulator: &Simulator, path: &str, body: Value) -> Result<()> {
    let request = http::post(&format!("/_control/{path}"), body.to_string().as_bytes());
    let answer = http::exchange(simulator.address(), &request, PATIENCE).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    Ok(())
}

/// From now on the application's events are posted to the bridge.
async fn post(simulator: &Simulator, bridge: &Bridge) -> Result<()> {
    let url = bridge.webhook_url();
    let push = json!({ "sub_app_id": POSTED, "mode": "PUSH", "notification_url": url });
    control(simulator, "settings", push).await
}

fn command(bridge: &Bridge, simulator: &Simulator, more: &[&str]) -> Result<std::process::Command> {
    let mut command = vodbridge(&["verify", "--simulator", &simulator.endpoint])?;
    command
        .args(["--config", "base.yaml", "--config", "test.yaml"])
        .args(more)
        .current_dir(bridge.directory());
    Ok(command)
}

async fn verify(bridge: &Bridge, simulator: &Simulator, more: &[&str]) -> Result<(Ran, Value)> {
    let more = [&["--output=json"], more].concat();
    let ran = run(command(bridge, simulator, &more)?).await?;
    let verdict = ran.json()?.pop();
    let verdict = verdict.with_context(|| format!("{ran:?}"))?;
    Ok((ran, verdict))
}

/// Waits for the end, and finds nothing to complain of.
async fn is_clean(bridge: &Bridge, simulator: &Simulator) -> Result<()> {
    let (ran, verdict) = verify(bridge, simulator, &["--wait=60s"]).await?;
    ensure!(
        ran.code == Some(0),
        "{verdict:#}\n{}\n{}",
        ran.err,
        bridge.log()
    );
    assert_eq!(verdict["ok"], true);
    assert_eq!(verdict["confirmed"], 2 * EVENTS);
    let sink = &verdict["sinks"]["events"];
    assert_eq!(
        (&sink["due"], &sink["delivered"]),
        (&json!(2 * EVENTS), &json!(2 * EVENTS))
    );
    assert_eq!(sink["missing"]["count"], 0, "{verdict:#}");
    assert_eq!(verdict["dead_lettered"], 0);
    Ok(())
}

/// What was done to the topics.
struct Tampered {
    removed: String,
    copied: String,
    never_issued: String,
}

/// One event that is removed, one that is copied, one that nobody issued, and what is no event:
/// the bodies that are left and these.
fn tamper(mut bodies: Vec<String>) -> Result<(Vec<String>, Tampered)> {
    let id = |body: &String| -> Result<String> {
        let event: Value = serde_json::from_str(body)?;
        Ok(event["id"].as_str().context("no id")?.to_owned())
    };
    let uploads = (0..bodies.len())
        .filter(|at| bodies[*at].contains("\"type\":\"com.tencent.cloud.vod.NewFileUpload\""));
    let uploads: Vec<_> = uploads.collect();
    let [first, second, ..] = uploads[..] else {
        anyhow::bail!("too few uploads");
    };
    let never_issued = "ab".repeat(32);
    let tampered = Tampered {
        removed: id(&bodies[first])?,
        copied: id(&bodies[second])?,
        never_issued: never_issued.clone(),
    };
    let copy = bodies[second].clone();
    let unknown = copy.replace(&tampered.copied, &never_issued);
    bodies.remove(first);
    bodies.extend([copy, unknown, "hello".to_owned()]);
    Ok((bodies, tampered))
}

/// Verify names each of them.
async fn is_found(bridge: &Bridge, simulator: &Simulator, tampered: &Tampered) -> Result<()> {
    let (ran, verdict) = verify(bridge, simulator, &[]).await?;
    let sink = &verdict["sinks"]["events"];
    ensure!(ran.code == Some(1), "{verdict:#}\n{}", ran.err);
    assert_eq!(verdict["ok"], false);
    for (kind, count) in [("missing", 1), ("duplicated", 1), ("unexpected", 2)] {
        assert_eq!(sink[kind]["count"], count, "{verdict:#}");
    }
    assert_eq!(sink["missing"]["first"][0]["id"], *tampered.removed);
    assert!(sink["missing"]["first"][0]["sequence"].as_u64() > Some(0));
    assert_eq!(sink["duplicated"]["first"][0]["id"], *tampered.copied);
    assert_eq!(sink["unexpected"]["first"][0]["id"], *tampered.never_issued);
    assert_eq!(sink["unexpected"]["first"][1]["id"], Value::Null);

    let text = run(command(bridge, simulator, &["--limit-printed=1"])?).await?;
    assert_eq!(text.code, Some(1));
    for said in [&tampered.removed, &tampered.never_issued, "and 1 more"] {
        ensure!(text.out.contains(said), "{said}: {}", text.out);
    }
    Ok(())
}

/// The whole way on a broker whose topic can be emptied and filled again.
async fn finds_everything<K: Kind>(
    own: Result<Own<K>>,
    empty: impl AsyncFn(&Client) -> Result<()>,
    publish: impl AsyncFn(&Client, &[String]) -> Result<()>,
) -> Result<()> {
    let mut own = own?;
    own.sink = own.sink.replace("vod.{event_type}", "vod.events");
    let simulator = simulator().await?;
    let setup = own.setup(&sources(&simulator))?;
    setup.run(&["provision"]).await?;
    let bridge = setup.start().await?;
    post(&simulator, &bridge).await?;
    is_clean(&bridge, &simulator).await?;

    let body = |message: &Message| String::from_utf8(message.body.clone());
    let messages = own.read().await?;
    let bodies: Result<Vec<_>, _> = messages.iter().map(body).collect();
    let (bodies, tampered) = tamper(bodies?)?;
    empty(&own.client).await?;
    // What a command line takes.
    for some in bodies.chunks(20) {
        publish(&own.client, some).await?;
    }
    is_found(&bridge, &simulator, &tampered).await?;
    simulator.end().await?;
    Ok(())
}

const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

#[tokio::test]
async fn verify_finds_everything_on_kafka() -> Result<()> {
    let empty = async |client: &Client| {
        let topics = json!({ "topics": ["vod.events"] });
        client.call("delete_topics", topics.clone()).await?;
        client.call("create_topics", topics).await.map(drop)
    };
    let publish = async |client: &Client, bodies: &[String]| {
        let headers = json!({ "content-type": STRUCTURED });
        let some = json!({ "topic": "vod.events", "bodies": bodies, "headers": headers });
        client.call("publish", some).await.map(drop)
    };
    finds_everything(own_kafka().await, empty, publish).await
}

#[tokio::test]
async fn verify_finds_everything_on_rabbitmq() -> Result<()> {
    // To read it was to empty it.
    let empty = async |_: &Client| Ok(());
    let publish = async |client: &Client, bodies: &[String]| {
        let some = json!({
            "exchange": "vod", "routing_key": "vod.events", "bodies": bodies,
            "content_type": STRUCTURED,
        });
        client.call("publish", some).await.map(drop)
    };
    finds_everything(own_rabbitmq().await, empty, publish).await
}

#[tokio::test]
async fn verify_finds_everything_on_nats() -> Result<()> {
    let empty = async |client: &Client| {
        let purged = client.call("purge_stream", json!({ "name": "VOD" }));
        purged.await.map(drop)
    };
    let publish = async |client: &Client, bodies: &[String]| {
        let headers = json!({ "content-type": STRUCTURED });
        let some = json!({ "subject": "vod.events", "bodies": bodies, "headers": headers });
        client.call("publish", some).await.map(drop)
    };
    finds_everything(own_nats().await, empty, publish).await
}

#[tokio::test]
async fn verify_finds_everything_in_files() -> Result<()> {
    let simulator = simulator().await?;
    let sinks = "sinks: { events: { file: { directory: \"{directory}/out\", topic: vod.events, ephemeral: true } } }\n";
    let bridge = Bridge::start(&format!("{sinks}{}", sources(&simulator))).await?;
    post(&simulator, &bridge).await?;
    is_clean(&bridge, &simulator).await?;

    let file = bridge.directory().join("out/vod.events.ndjson");
    let lines = std::fs::read_to_string(&file)?;
    let (lines, tampered) = tamper(lines.lines().map(str::to_owned).collect())?;
    std::fs::write(&file, lines.join("\n") + "\n")?;
    is_found(&bridge, &simulator, &tampered).await?;

    // The same by a ledger that was kept.
    let sdk = clients::cloud_sdk(simulator.address());
    let ledger = sdk.call("ledger", json!({})).await?;
    let ledger: Vec<_> = ledger.iter().map(Value::to_string).collect();
    std::fs::write(bridge.directory().join("ledger"), ledger.join("\n"))?;
    simulator.end().await?;
    let mut kept = vodbridge(&["verify", "--ledger=ledger", "--output=json"])?;
    kept.args(["--config", "base.yaml", "--config", "test.yaml"])
        .current_dir(bridge.directory());
    let kept = run(kept).await?;
    assert_eq!(kept.code, Some(1), "{kept:?}");
    assert_eq!(kept.json()?[0]["sinks"]["events"]["missing"]["count"], 1);
    Ok(())
}

/// A queue with consumers is not to be read; a queue of our own sees what comes.
#[tokio::test]
async fn verify_follows_by_a_queue_of_its_own() -> Result<()> {
    let own = own_rabbitmq().await?;
    let simulator = Simulator::start(&["--sub-app-id=8", "--events=0"]).await?;
    let bridge = own.setup(&sources(&simulator))?.start().await?;
    let following = command(
        &bridge,
        &simulator,
        &["--own-queue", "--wait=60s", "--output=json"],
    )?;
    let mut following = tokio::process::Command::from(following)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = following.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    let first = timeout(PATIENCE, lines.next_line()).await??;
    assert_eq!(first.as_deref(), Some(r#"{"following":["events"]}"#));
    let issue = json!({ "sub_app_id": 1_500_012_345, "events": 100 });
    control(&simulator, "issue", issue).await?;
    let verdict = timeout(2 * PATIENCE, lines.next_line()).await??;
    let verdict: Value = serde_json::from_str(&verdict.context("no verdict")?)?;
    assert_eq!(verdict["sinks"]["events"]["delivered"], 100, "{verdict:#}");
    ensure!(timeout(PATIENCE, following.wait()).await??.success());
    Ok(())
}

#[tokio::test]
async fn verify_says_what_is_wrong_with_it() -> Result<()> {
    let simulator = Simulator::start(&["--events=3"]).await?;
    let sinks =
        "sinks: { events: { file: { directory: \"{directory}/out\", ephemeral: true } } }\n";
    let bridge = Bridge::start(sinks).await?;
    let directory = bridge.directory();
    let files = ["--config", "base.yaml", "--config", "test.yaml"];
    let asked = async |arguments: &[&str]| {
        let mut command = vodbridge(&[&["verify"], arguments, &files].concat())?;
        command.current_dir(&directory);
        run(command).await
    };
    let free = format!("http://127.0.0.1:{}", vodbridge_tests::ports::free_port()?);
    for (arguments, code, said) in [
        (&["--simulator=https://h"][..], 64, "no http://host:port"),
        (&["--own-queue"], 64, "--wait"),
        (&["--ledger=x", "--wait=1s"], 64, "cannot be used with"),
        (&["--ledger=none"], 1, "--ledger none"),
        (&["--ledger=base.yaml"], 1, "no entry of a ledger"),
        (
            &["--simulator", &free],
            1,
            "does `vodbridge simulate` run there",
        ),
    ] {
        let ran = asked(arguments).await?;
        assert_eq!(ran.code, Some(code), "{arguments:?}: {ran:?}");
        ensure!(ran.err.contains(said), "{arguments:?}: {ran:?}");
    }
    // Nobody pulls, so nothing ends.
    let waited = asked(&["--simulator", &simulator.endpoint, "--wait=1s"]).await?;
    assert_eq!(waited.code, Some(1), "{waited:?}");
    ensure!(waited.out.contains("had not ended"), "{waited:?}");
    ensure!(waited.out.contains("still open 3"), "{waited:?}");
    Ok(())
}
