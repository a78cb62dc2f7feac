//! `vodbridge demo`: the main job on a machine without a broker, and against real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;
use vodbridge_simulator::samples;
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::cli::vodbridge;
use vodbridge_tests::clients::Message;
use vodbridge_tests::{clients, scratch};

use crate::destinations::Destinations;

const PATIENCE: Duration = Duration::from_secs(60);

/// The topic of each event, by its id.
type Topics = BTreeMap<String, String>;

/// A demo at work.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    /// Starts a demo whose files go below `directory`.
    fn start(mut command: Command, directory: &Path) -> Result<Self> {
        command.env("TMPDIR", directory);
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let lines = BufReader::new(output).lines();
        Ok(Self { child, lines })
    }

    async fn line(&mut self) -> Result<Option<String>> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        Ok(line.context("no line in time")??)
    }

    /// What it says from here to its end, which has to be a good one.
    async fn rest(mut self) -> Result<Vec<String>> {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await? {
            rest.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await??;
        ensure!(status.success(), "{status}: {rest:#?}");
        Ok(rest)
    }

    /// The same of one that says JSON.
    async fn told(self) -> Result<Told> {
        let lines = self.rest().await?;
        let mut acks = lines
            .iter()
            .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
            .collect::<Result<Vec<Value>>>()?;
        let totals = acks.pop().context("nothing was told")?["totals"].take();
        Ok(Told { acks, totals })
    }
}

/// The acks that a demo told, and what it counted.
#[derive(Debug)]
struct Told {
    acks: Vec<Value>,
    totals: Value,
}

impl Told {
    /// What a sink acked.
    fn topics(&self, sink: &str) -> Topics {
        let text = |ack: &Value, key: &str| ack[key].as_str().unwrap_or_default().to_owned();
        let of_sink = self.acks.iter().filter(|ack| ack["sink"] == sink);
        of_sink
            .map(|ack| (text(ack, "id"), text(ack, "topic")))
            .collect()
    }

    /// Every type of the catalogue was shown, every posting confirmed, every ack counted.
    fn is_whole(&self, sinks: &[&str]) {
        let catalogued = samples().iter().filter(|sample| sample.is_catalogued());
        let expected: BTreeSet<&str> = catalogued.map(|sample| sample.event_type).collect();
        let shown = self
            .acks
            .iter()
            .filter_map(|ack| ack["event_type"].as_str());
        assert_eq!(BTreeSet::from_iter(shown), expected);

        let totals = &self.totals;
        assert_eq!(totals["event_types"], expected.len(), "{totals}");
        assert_eq!(totals["failed"], 0, "{totals}");
        assert_eq!(totals["posted"], totals["confirmed"], "{totals}");
        for sink in sinks {
            let count = self.acks.iter().filter(|ack| ack["sink"] == *sink).count();
            assert_eq!(totals["acked"][sink], count, "{totals}");
            assert_eq!(totals["confirmed"], count, "{totals}");
            assert_eq!(
                self.topics(sink).len(),
                count,
                "an id of {sink} comes twice"
            );
        }
        for ack in &self.acks {
            assert!(ack["ack_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{ack}");
            assert!(ack["outcome"].is_string(), "{ack}");
        }
    }
}

/// The ids in the files of a directory, each with the topic that its file is named after.
fn filed(directory: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(topic) = name.and_then(|name| name.strip_suffix(".ndjson")) else {
            continue;
        };
        for line in std::fs::read_to_string(&path)?.lines() {
            let event: Value = serde_json::from_str(line)?;
            let id = event["id"].as_str().context("no id")?;
            found.push((id.to_owned(), topic.to_owned()));
        }
    }
    Ok(found)
}

/// The topics of what a broker has; no id twice.
fn topics(messages: &[Message]) -> Result<Topics> {
    let mut topics = Topics::new();
    for message in messages {
        let id = &message.event()?.id;
        let before = topics.insert(id.clone(), message.topic.clone());
        ensure!(before.is_none(), "{id} comes twice");
    }
    Ok(topics)
}

#[tokio::test]
async fn without_a_broker_every_type_is_shown_and_can_be_read() -> Result<()> {
    let scratch = scratch::directory("demo")?;
    let arguments = ["demo", "--for", "8s", "--rate", "20", "--output", "json"];
    let mut demo = Demo::start(vodbridge(&arguments)?, scratch.path())?;
    let introduction = demo.line().await?.context("the demo has ended")?;
    let introduction: Value = serde_json::from_str(&introduction)?;
    let said = |key: &str| introduction[key].as_str().context("not introduced");
    ensure!(
        said("webhook")?.starts_with("http://127.0.0.1:"),
        "{introduction}"
    );
    let directory = Path::new(said("directory")?);
    ensure!(directory.starts_with(scratch.path()), "{introduction}");

    // That Kafka is gone with the process, so it is read while the demo goes on.
    let kafka = clients::kafka(said("kafka_in_memory")?);
    let (seen, told) = tokio::join!(kafka.read_at_least(40, "vod.", PATIENCE), demo.told());
    let told = told?;
    told.is_whole(&["file", "kafka"]);
    let acked = told.topics("file");
    assert_eq!(told.topics("kafka"), acked);
    let filed = filed(&directory.join("events"))?;
    assert_eq!(filed.len(), acked.len());
    assert_eq!(BTreeMap::from_iter(filed), acked);

    let seen = topics(&seen?)?;
    ensure!(seen.len() >= 40, "only {} events in Kafka", seen.len());
    for (id, topic) in &seen {
        assert_eq!(acked.get(id), Some(topic));
    }
    Ok(())
}

#[tokio::test]
async fn real_brokers_have_what_the_demo_shows() -> Result<()> {
    let destinations = Destinations::new("demo").await?;
    let setup = Setup::new(&destinations.configuration("structured"))?;
    setup.run(&["provision"]).await?;
    let command = setup.command(&["demo", "--for", "5s", "--rate", "20", "--output", "json"])?;
    let mut demo = Demo::start(command, setup.directory())?;
    let introduction = demo.line().await?.context("the demo has ended")?;
    ensure!(
        introduction.contains(r#""kafka_in_memory":null"#),
        "{introduction}"
    );
    let told = demo.told().await?;
    told.is_whole(&["kafka", "nats", "rabbitmq"]);
    let received = destinations.read(0, Duration::ZERO).await?;
    assert_eq!(topics(&received.kafka)?, told.topics("kafka"));
    assert_eq!(topics(&received.rabbitmq)?, told.topics("rabbitmq"));
    assert_eq!(topics(&received.nats)?, told.topics("nats"));
    Ok(())
}

/// Ctrl-C ends it as well as `--for`.
#[tokio::test]
async fn without_a_terminal_lines_are_plain() -> Result<()> {
    let scratch = scratch::directory("demo")?;
    let mut demo = Demo::start(vodbridge(&["demo", "--rate", "20"])?, scratch.path())?;
    let mut lines: Vec<String> = Vec::new();
    while lines.iter().filter(|line| is_ack(line)).count() < 50 {
        lines.push(demo.line().await?.context("the demo has ended")?);
    }
    let id = demo.child.id().context("the demo has ended")?;
    let pid = Pid::from_raw(id.try_into()?).context("no process id")?;
    kill_process(pid, Signal::INT)?;
    lines.extend(demo.rest().await?);

    let text = lines.join("\n");
    let strange = |character: char| character.is_control() && character != '\n';
    ensure!(!text.contains(strange), "not plain: {text:?}");
    ensure!(text.contains("in this process's memory"), "{text}");
    ensure!(
        text.contains(&scratch.path().display().to_string()),
        "no directory: {text}"
    );
    let totals = lines.iter().find(|line| line.starts_with("posted "));
    let totals = totals.with_context(|| format!("no totals: {text}"))?;
    let acks = lines.iter().filter(|line| is_ack(line)).count();
    let each = format!("acked: file {0}, kafka {0}", acks / 2);
    ensure!(
        totals.contains("failed 0") && totals.contains(&each),
        "{totals}"
    );
    Ok(())
}

fn is_ack(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("ms")
}
