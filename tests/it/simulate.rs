//! `vodbridge simulate`: the simulated cloud as a command.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;
use vodbridge_tests::cli::{run, vodbridge};
use vodbridge_tests::clients;

const APPLICATION: u64 = 1_500_012_345;

const PATIENCE: Duration = Duration::from_secs(30);

/// The command at work.
pub(crate) struct Simulator {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) endpoint: String,
}

impl Simulator {
    pub(crate) async fn start(more: &[&str]) -> Result<Self> {
        let arguments = [
            "simulate",
            "--listen=127.0.0.1:0",
            "--secret-id=AKIDtest",
            "--secret-key=key",
            "--sub-app-id=1500012345",
            "--output=json",
        ];
        let command = vodbridge(&[&arguments[..], more].concat())?;
        let mut child = tokio::process::Command::from(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut simulator = Self {
            child,
            lines: BufReader::new(output).lines(),
            endpoint: String::new(),
        };
        let started = simulator.line().await?.context("nothing said")?;
        let endpoint = started["started"]["endpoint"].as_str();
        simulator.endpoint = endpoint.context("no endpoint")?.to_owned();
        Ok(simulator)
    }

    pub(crate) async fn line(&mut self) -> Result<Option<Value>> {
        let line = timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.context("no line in time")??;
        Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
    }

    pub(crate) fn address(&self) -> &str {
        self.endpoint.trim_start_matches("http://")
    }

    /// Ends it by a signal, and returns its summary.
    pub(crate) async fn end(mut self) -> Result<Value> {
        let id = self.child.id().context("it has ended")?;
        let id = Pid::from_raw(id.try_into()?).context("no process id")?;
        kill_process(id, Signal::TERM)?;
        let mut last = Value::Null;
        while let Some(line) = self.line().await? {
            last = line;
        }
        let status = timeout(PATIENCE, self.child.wait()).await??;
        ensure!(status.success(), "{status}");
        Ok(last["summary"].take())
    }
}

#[tokio::test]
async fn the_command_serves_a_directory_once_and_sums_up() -> Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/simulator/samples");
    let samples = directory.display().to_string();
    let simulator = Simulator::start(&["--samples", &samples, "--time-scale", "10"]).await?;
    let sdk = clients::cloud_sdk(simulator.address());
    let pull = json!({ "action": "PullEvents", "parameters": { "SubAppId": APPLICATION } });
    let told = sdk.call("calls", json!({ "calls": vec![pull; 6] })).await?;
    let handles = told.iter().map(|told| {
        let events = told["answer"]["EventSet"].as_array();
        let events = events.into_iter().flatten();
        events.map(|event| event["EventHandle"].clone()).collect()
    });
    let handles: Vec<Vec<Value>> = handles.collect();
    let pulled: usize = handles.iter().map(Vec::len).sum();
    assert_eq!(pulled, vodbridge_simulator::samples().len());
    let confirms: Vec<_> = handles
        .iter()
        .filter(|handles| !handles.is_empty())
        .map(|handles| {
            let parameters = json!({ "SubAppId": APPLICATION, "EventHandles": handles });
            json!({ "action": "ConfirmEvents", "parameters": parameters })
        })
        .collect();
    sdk.call("calls", json!({ "calls": confirms })).await?;

    let ledger = sdk.call("ledger", json!({})).await?;
    assert_eq!(ledger.len(), pulled);
    for entry in &ledger {
        assert_eq!(entry["state"], "confirmed", "{entry}");
    }
    let last = json!({ "faults": ["same-handle"], "action": "DescribeEventConfig" });
    sdk.call("calls", json!({ "calls": [last] })).await?;
    let summary = simulator.end().await?;
    assert_eq!(summary["applications"]["1500012345"]["confirmed"], pulled);
    assert_eq!(summary["calls"]["PullEvents"]["ok"], 6);
    assert_eq!(summary["faults"], json!(["same-handle"]));
    Ok(())
}

#[tokio::test]
async fn the_command_says_what_is_wrong_with_its_options() -> Result<()> {
    let simulate = |more: &[&'static str]| {
        let arguments = ["simulate", "--secret-id=a", "--sub-app-id=7"];
        let command = vodbridge(&[&arguments[..], more].concat());
        command.map(|mut command| {
            command.env_remove("SIMULATE_SECRET_KEY");
            command
        })
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = format!("--listen={}", taken.local_addr()?).leak();
    for (more, code, said) in [
        (&[][..], 64, "--secret-key"),
        (
            &["--secret-key=b", "--samples=/nowhere"],
            64,
            "--samples: /nowhere cannot be read",
        ),
        (
            &["--secret-key=b", "--fault=flood"],
            64,
            "it begins with error, slow",
        ),
        (
            &["--secret-key=b", "--callback=9=http://h/"],
            64,
            "add --sub-app-id 9",
        ),
        (
            &["--secret-key=b", taken],
            1,
            "--listen names another address",
        ),
    ] {
        let ran = run(simulate(more)?).await?;
        assert_eq!(ran.code, Some(code), "{more:?}: {ran:?}");
        ensure!(ran.err.contains(said), "{more:?}: {ran:?}");
    }
    Ok(())
}
