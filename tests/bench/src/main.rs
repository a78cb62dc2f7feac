//! Measures the bridge, from a posted notification to its answer after the broker's ack, on real
//! brokers and beside the *bare loop*: the least that could do the job in its place (hyper, the
//! broker's client library, await the ack), with the same durability and the better of its
//! settings. And from the pull of an event to its confirm, on the simulated cloud.
//!
//! ```text
//! cargo run --release -p vodbridge-bench
//! ```
//!
//! Load, server and broker are processes of their own on this machine. Bare loop and bridge take
//! turns, so that what else the machine does meets both.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

mod bare;
mod bodies;
mod cloud;
mod delay;
mod load;
mod measure;
mod process;
mod pulling;
mod report;
mod stage;
mod stock;
mod target;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::stage::Scenario;

#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    bench: Bench,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Measure the bridge beside the bare loop.
#[derive(Args, Clone)]
struct Bench {
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::ALL)]
    sink: Vec<Scenario>,
    /// Numbers of connections, each with one request at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64, 256, 1024])]
    connections: Vec<usize>,
    /// Numbers of pullers, where events are pulled.
    #[arg(long, value_delimiter = ',', default_values_t = [2, 8, 32])]
    pullers: Vec<usize>,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each measurement, after one second of warm-up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table in Markdown.
    Text,
    /// One JSON object a line for each number of connections.
    Json,
}

/// The processes that a measurement consists of.
#[derive(Subcommand)]
enum Part {
    #[command(hide = true)]
    Bare(bare::Bare),
    #[command(hide = true)]
    Pull(bare::pull::Pull),
    #[command(hide = true)]
    Load(load::Load),
    #[command(hide = true)]
    Delay(delay::Delay),
}

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok()
        .context("TLS is set up twice")?;
    let Cli { bench, part } = Cli::parse();
    match part {
        Some(Part::Bare(bare)) => bare.run(),
        Some(Part::Pull(pull)) => pull.run(),
        Some(Part::Load(load)) => load.run(),
        Some(Part::Delay(delay)) => delay.run(),
        None => runtime()?.block_on(bench.run()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    Ok(runtime.enable_all().build()?)
}

impl Bench {
    async fn run(self) -> Result<()> {
        ensure!(!cfg!(debug_assertions), "run it with --release");
        process::build_bridge().await?;
        if self.output == Output::Text {
            println!("{}\n", process::machine());
        }
        let time = Duration::from_secs(self.seconds);
        for scenario in self.sink.iter().copied() {
            if self.output == Output::Text {
                println!("{}", report::title(scenario));
            }
            let show = |size: usize, cell: &measure::Cell| -> Result<()> {
                match self.output {
                    Output::Text => println!("{}", report::row(size, cell)),
                    Output::Json => println!("{}", report::json(scenario, size, cell)?),
                }
                Ok(())
            };
            if let Some(topic) = scenario.pulled_to() {
                for &pullers in &self.pullers {
                    let cell = pulling::cell(topic, pullers, self.rounds, time).await?;
                    show(pullers, &cell)?;
                }
            } else {
                let stage = scenario.set_up().await?;
                for &connections in &self.connections {
                    let cell = measure::cell(&stage, connections, self.rounds, time).await?;
                    show(connections, &cell)?;
                }
            }
            if self.output == Output::Text {
                println!();
            }
        }
        Ok(())
    }
}
