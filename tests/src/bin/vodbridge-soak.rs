//! The oracle's long run: as many events and faults as one asks for, and the table of losses as a
//! page in Markdown. `tests/soak` builds what it needs and starts it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use vodbridge_tests::installed::{self, kafka_version};
use vodbridge_tests::oracle::{self, Kind, Plan, Report, numbered, schedule};

/// Events through every fault, and a count of what became of each.
#[derive(Parser, Debug)]
#[command(name = "tests/soak")]
struct Options {
    /// Events at least.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Not more events a second.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// Faults: every kind on every broker, in an order that the seed decides, and again.
    #[arg(long, default_value_t = 112)]
    faults: usize,
    /// Decides ids and order of events and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minutes after which no further fault begins and no event is issued.
    #[arg(long, default_value_t = 120)]
    minutes: u64,
    /// Largest sample that events are made of, in bytes: small ones, since the guarantee does not
    /// depend on the size.
    #[arg(long, default_value_t = 700)]
    sample_bytes: usize,
    /// Where the report goes.
    #[arg(long, default_value = "docs/soak.md")]
    report: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    let plan = Plan {
        binary: None,
        samples: numbered(options.sample_bytes),
        events: options.events,
        rate: options.rate,
        faults: schedule(options.seed, options.faults, &Kind::all()),
        at_most: Duration::from_secs(options.minutes * 60),
        seed: options.seed,
    };
    let start = Instant::now();
    let tell = |line| println!("{:>5} s  {line}", start.elapsed().as_secs());
    let report = runtime.block_on(oracle::run(&plan, &tell))?;
    println!("\n{report}");
    let page = page(&options, &report)?;
    std::fs::write(&options.report, page).context("cannot write the report")?;
    println!("written to {}", options.report.display());
    report.holds(1.0)
}

fn page(options: &Options, report: &Report) -> Result<String> {
    let Options {
        events,
        faults,
        seed,
        ..
    } = options;
    let total = report.total();
    let versions = versions()?;
    Ok(format!(
        "# A long run

```sh
tests/soak --events {events} --faults {faults} --seed {seed}
```

The cloud's simulator has one application pulled and another posted, by the real cloud's rules. The bridge delivers every
event of both to Kafka, RabbitMQ and NATS JetStream, all three required, real and behind a proxy, while one fault after
the other befalls it. The webhook has a spool, on a small disk of its own. At the end everything is read back with the
brokers' Python clients, and each message is matched with the event that it is made of, by its content. **Missing** is
what the cloud counts as confirmed, or as answered in time, and what is neither on every broker nor in the dead letter or
the spool. It has to be 0.

{} events, {} faults, {} missing.

{versions}

An event counts for the fault that it lived through, from its issue to its end in the cloud: for the first kill of the
bridge, else for the first fault. `none` are those that saw no fault. *Given up* are callbacks that the cloud sent three
times without an answer in time, or once to nobody, as when the bridge is killed: it does not count them as received.
*Spooled* are events that are still in the spool at the end. *Twice* counts copies beyond the first: a publish whose ack
was lost is made again, and the id is the same. NATS stores no id twice within ten minutes.

{report}",
        total.issued, total.faults, total.missing
    ))
}

/// What it ran on.
fn versions() -> Result<String> {
    let says = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).output();
        let output = output.with_context(|| format!("cannot run {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    };
    let program = |path: PathBuf| path.to_string_lossy().into_owned();
    let bridge = says(&program(installed::vodbridge()?), &["--version"])?;
    let nats = says(&program(installed::tool("nats-server")?), &["--version"])?;
    let rabbitmq = says("dpkg-query", &["-W", "-f=${Version}", "rabbitmq-server"]);
    let kafka = kafka_version()?;
    let processors = std::thread::available_parallelism()?;
    Ok(format!(
        "{bridge}, profile `ci`; Apache Kafka {kafka}, RabbitMQ {}, {nats};\none node each, on one machine of \
         {processors} processors with everything else.",
        rabbitmq.unwrap_or_else(|_| "of unknown version".to_owned())
    ))
}
