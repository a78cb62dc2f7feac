//! `vodbridge demo`: both modes on a machine without a broker, and against real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;
use vodbridge_simulator::samples;
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::cli::vodbridge;
use vodbridge_tests::clients::Message;
use vodbridge_tests::ports::free_port;
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

    /// Ctrl-C.
    fn interrupt(&self) -> Result<()> {
        let id = self.child.id().context("the demo has ended")?;
        let pid = Pid::from_raw(id.try_into()?).context("no process id")?;
        Ok(kill_process(pid, Signal::INT)?)
    }

    /// What it says from here to its end, and how that was.
    async fn rest(mut self) -> Result<(Vec<String>, ExitStatus)> {
        let mut rest = Vec::new();
        while let Some(line) = self.line().await? {
            rest.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await??;
        Ok((rest, status))
    }

    /// What one that says JSON told from here to its end, which has to be a good one.
    async fn told(self) -> Result<Told> {
        let (lines, status) = self.rest().await?;
        ensure!(status.success(), "{status}: {lines:#?}");
        let mut told = Told::default();
        for line in &lines {
            let mut value: Value =
                serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            ensure!(told.summary.is_null(), "more after the summary: {line}");
            if value.get("event").is_some() {
                told.events.push(value["event"].take());
            } else {
                told.summary = value["summary"].take();
                ensure!(told.summary.is_object(), "neither: {line}");
            }
        }
        Ok(told)
    }
}

/// The events that a demo told, and what it counted.
#[derive(Debug, Default)]
struct Told {
    events: Vec<Value>,
    summary: Value,
}

impl Told {
    fn of_mode<'t>(&'t self, mode: &'t str) -> impl Iterator<Item = &'t Value> {
        self.events
            .iter()
            .filter(move |event| event["mode"] == mode)
    }

    /// What a sink acked.
    fn topics(&self, sink: &str) -> Topics {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let acks = self.events.iter().flat_map(|event| {
            let acks = event["acks"].as_array().into_iter().flatten();
            acks.map(move |ack| (event, ack))
        });
        acks.filter(|(_, ack)| ack["sink"] == sink)
            .map(|(event, ack)| (text(&event["id"]), text(&ack["topic"])))
            .collect()
    }

    /// Each mode counts as many events issued, acked by every sink, confirmed and shown; there is
    /// nothing else, and no id twice.
    fn is_whole(&self, sinks: &[&str]) {
        let summary = &self.summary;
        assert_eq!(summary["events_not_shown"], 0, "{summary}");
        for (mode, taken) in [("pushed", "posted"), ("pulled", "pulled")] {
            let (numbers, shown) = (&summary[mode], self.of_mode(mode).count());
            assert!(shown > 0, "{summary}");
            for count in ["issued", taken, "acked", "confirmed"] {
                assert_eq!(numbers[count], shown, "{mode} {count}: {summary}");
            }
            for none in ["open", "dead_lettered", "lost", "refused", "pulled_again"] {
                assert!(
                    numbers.get(none).is_none_or(|count| *count == 0),
                    "{mode} {none}: {summary}"
                );
            }
            for sink in sinks {
                assert_eq!(numbers["acks"][sink], shown, "{mode} {sink}: {summary}");
                assert!(numbers["median_ack_ms"][sink].is_number(), "{summary}");
            }
            assert!(numbers["median_confirm_ms"].is_number(), "{summary}");
        }
        assert_eq!(summary["pushed"]["attempts"], summary["pushed"]["issued"]);
        for sink in sinks {
            assert_eq!(self.topics(sink).len(), self.events.len(), "an id twice");
        }
        for event in &self.events {
            assert_eq!(event["state"], "confirmed", "{event}");
            assert_eq!(event["deliveries"], 1, "{event}");
            assert!(event["outcome"].is_string(), "{event}");
            assert!(event["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{event}");
            let acks = event["acks"].as_array().map_or(0, Vec::len);
            assert_eq!(acks, sinks.len(), "{event}");
        }
    }

    /// Every type of the catalogue is among them.
    fn has_every_type(&self) {
        let catalogued = samples().iter().filter(|sample| sample.is_catalogued());
        let expected: BTreeSet<&str> = catalogued.map(|sample| sample.event_type).collect();
        let types = self.events.iter();
        let shown = types.filter_map(|event| event["event_type"].as_str());
        assert_eq!(BTreeSet::from_iter(shown), expected);
        assert_eq!(self.summary["event_types"], expected.len());
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

/// The first line of a demo that says JSON.
async fn introduction(demo: &mut Demo) -> Result<Value> {
    let line = demo.line().await?.context("the demo has ended")?;
    let mut line: Value = serde_json::from_str(&line)?;
    Ok(line["started"].take())
}

#[tokio::test]
async fn without_a_broker_every_type_is_shown_and_can_be_read() -> Result<()> {
    let scratch = scratch::directory("demo")?;
    let arguments = ["demo", "--for", "8s", "--rate", "20", "--output", "json"];
    let mut demo = Demo::start(vodbridge(&arguments)?, scratch.path())?;
    let introduction = introduction(&mut demo).await?;
    let said = |key: &str| introduction[key].as_str().context("not introduced");
    let url = introduction["callback_urls"][0]
        .as_str()
        .unwrap_or_default();
    for address in [url, said("queue_endpoint")?] {
        ensure!(address.starts_with("http://127.0.0.1:"), "{introduction}");
    }
    let directory = Path::new(said("directory")?);
    ensure!(directory.starts_with(scratch.path()), "{introduction}");

    // That Kafka is gone with the process, so it is read while the demo goes on.
    let kafka = clients::kafka(said("kafka_in_memory")?);
    let (seen, told) = tokio::join!(kafka.read_at_least(40, "vod.", PATIENCE), demo.told());
    let told = told?;
    told.is_whole(&["file", "kafka"]);
    told.has_every_type();
    // Half of the notifications each, however late a tick of the rate came.
    let [pushed, pulled] = ["pushed", "pulled"].map(|mode| told.of_mode(mode).count());
    ensure!(pushed.abs_diff(pulled) <= 2, "{pushed} and {pulled}");
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
    let command = setup.command(&["demo", "--for", "5s", "--rate", "30", "--output", "json"])?;
    let mut demo = Demo::start(command, setup.directory())?;
    let introduction = introduction(&mut demo).await?;
    ensure!(introduction["kafka_in_memory"].is_null(), "{introduction}");
    let told = demo.told().await?;
    told.is_whole(&["kafka", "nats", "rabbitmq"]);
    told.has_every_type();
    let received = destinations.read(0, Duration::ZERO).await?;
    assert_eq!(topics(&received.kafka)?, told.topics("kafka"));
    assert_eq!(topics(&received.rabbitmq)?, told.topics("rabbitmq"));
    assert_eq!(topics(&received.nats)?, told.topics("nats"));
    Ok(())
}

/// Its routes see the name of its source, and nothing is asked of that: neither a secret nor a
/// cloud. What no route takes is shown as a dead letter.
#[tokio::test]
async fn a_configuration_keeps_its_routes_and_needs_no_webhook() -> Result<()> {
    let scratch = scratch::directory("demo")?;
    let directory = scratch.path().display();
    let configuration = format!(
        r#"
sources:
  tokyo: {{ queue: {{ sub_app_id: 1400000001, credentials: {{ secret_id: {{ env: NOWHERE }}, secret_key: {{ env: NOWHERE }} }} }} }}
sinks:
  pulled: {{ file: {{ directory: "{directory}/pulled", topic: "pulled.{{event_type}}", ephemeral: true }} }}
  dead: {{ file: {{ directory: "{directory}/dead", topic: dead, ephemeral: true }} }}
routes: {{ tokyo: {{ match: {{ source: tokyo, sub_app_id: 1400000001 }}, to: {{ pulled: {{}} }} }} }}
dead_letter: {{ sink: dead }}
drain: {{ grace: 1s, timeout: 2s }}
"#
    );
    let file = scratch.path().join("test.yaml");
    std::fs::write(&file, configuration)?;
    let mut command = vodbridge(&["demo", "--for", "2s", "--rate", "20", "--output", "json"])?;
    command.arg("--config").arg(&file);
    let mut demo = Demo::start(command, scratch.path())?;
    introduction(&mut demo).await?;
    let told = demo.told().await?;
    for mode in ["pushed", "pulled"] {
        let (numbers, shown) = (&told.summary[mode], told.of_mode(mode).count());
        assert!(shown > 0, "{}", told.summary);
        for count in ["issued", "acked", "confirmed"] {
            assert_eq!(numbers[count], shown, "{mode}: {}", told.summary);
        }
    }
    for event in told.of_mode("pushed") {
        assert_eq!(event["acks"][0]["sink"], "dead", "{event}");
        assert_eq!(event["acks"][0]["topic"], "vod.dead_letter", "{event}");
        assert_eq!(event["acks"][0]["dead_letter"], "unrouted", "{event}");
    }
    let pushed = &told.summary["pushed"];
    assert_eq!(pushed["dead_lettered"], pushed["issued"]);
    for event in told.of_mode("pulled") {
        assert_eq!(event["acks"].as_array().map(Vec::len), Some(1), "{event}");
    }
    let filed = filed(&scratch.path().join("pulled"))?;
    assert_eq!(BTreeMap::from_iter(filed), told.topics("pulled"));
    Ok(())
}

/// Ctrl-C ends it as well as `--for`.
#[tokio::test]
async fn without_a_terminal_lines_are_plain() -> Result<()> {
    let scratch = scratch::directory("demo")?;
    let mut demo = Demo::start(vodbridge(&["demo", "--rate", "20"])?, scratch.path())?;
    let mut lines: Vec<String> = Vec::new();
    while lines.iter().filter(|line| is_event(line)).count() < 50 {
        lines.push(demo.line().await?.context("the demo has ended")?);
    }
    demo.interrupt()?;
    let (rest, status) = demo.rest().await?;
    lines.extend(rest);

    let text = lines.join("\n");
    ensure!(status.success(), "{status}: {text}");
    let strange = |character: char| character.is_control() && character != '\n';
    ensure!(!text.contains(strange), "not plain: {text:?}");
    ensure!(text.contains("in this process's memory"), "{text}");
    ensure!(
        text.contains(&scratch.path().display().to_string()),
        "no directory: {text}"
    );
    let shown = |path: &str| {
        let of_path = lines.iter().filter(|line| line.starts_with(path));
        of_path.filter(|line| is_event(line)).count()
    };
    let (n, m) = (shown("pushed"), shown("pulled"));
    for summary in [
        format!("pushed: {n} posted → {n} acked → {n} answered 200: every one"),
        format!("pulled: {m} issued → {m} pulled → {m} acked → {m} confirmed: every one"),
    ] {
        ensure!(lines.contains(&summary), "no {summary:?} in {text}");
    }
    Ok(())
}

/// It says which broker is away, waits for its events, and need not be waited for.
#[tokio::test]
async fn without_its_broker_a_second_signal_ends_it() -> Result<()> {
    let scratch = scratch::directory("demo")?;
    let file = scratch.path().join("test.yaml");
    let broker = free_port()?;
    let sinks = format!(
        r#"sinks: {{ away: {{ kafka: {{ brokers: ["127.0.0.1:{broker}"], topic: "vod.{{event_type}}" }} }} }}"#
    );
    std::fs::write(&file, sinks)?;
    let mut command = vodbridge(&["demo", "--rate", "20"])?;
    command.arg("--config").arg(&file);
    let mut demo = Demo::start(command, scratch.path())?;
    until(&mut demo, "away is down: ").await?;
    // The cloud gives up the first of its callbacks after three attempts of 5 s.
    until(&mut demo, "pushed → not acked").await?;
    demo.interrupt()?;
    until(&mut demo, "waiting for what is under way").await?;
    demo.interrupt()?;
    let (rest, status) = demo.rest().await?;
    assert_eq!(status.code(), Some(1), "{rest:#?}");
    let pulled = rest.iter().find(|line| line.starts_with("pulled: "));
    let pulled = pulled.with_context(|| format!("no summary: {rest:#?}"))?;
    ensure!(
        pulled.contains("→ 0 acked → 0 confirmed: 0 of ") && pulled.contains("still in the queue"),
        "{pulled}"
    );
    Ok(())
}

async fn until(demo: &mut Demo, beginning: &str) -> Result<()> {
    let mut before = Vec::new();
    while let Some(line) = demo.line().await? {
        if line.starts_with(beginning) {
            return Ok(());
        }
        before.push(line);
    }
    bail!("the demo has ended without {beginning:?}: {before:#?}");
}

fn is_event(line: &str) -> bool {
    ["pushed → ", "pulled → "]
        .iter()
        .any(|path| line.starts_with(path))
}
