//! The load: a closed loop on kept connections, each posting one notification at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep_until;
use vodbridge_tests::bridge::WEBHOOK_PATH;

use crate::bodies::Bodies;
use crate::process::cpu;

pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// Post notifications and report.
#[derive(Args)]
pub(crate) struct Load {
    /// host:port to post to.
    #[arg(long)]
    address: String,
    #[arg(long)]
    connections: u64,
    /// Measured, after the warm-up.
    #[arg(long)]
    millis: u64,
    #[arg(long, value_enum)]
    bodies: Bodies,
    /// Other ids for another run.
    #[arg(long)]
    run: u64,
    /// Processes whose time is taken.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

/// What a run saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Answers 200 in all, warm-up included. There were no others.
    pub(crate) answers: u64,
    /// Of them in the measured time.
    pub(crate) measured: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    /// Seconds of processor time of each process, in the measured time.
    pub(crate) cpu: Vec<f64>,
}

impl Load {
    pub(crate) fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let summary = runtime.block_on(self.measure())?;
        println!("{}", serde_json::to_string(&summary)?);
        Ok(())
    }

    async fn measure(&self) -> Result<Summary> {
        let start = Instant::now() + WARM_UP;
        let end = start + Duration::from_millis(self.millis);
        let callers: Vec<_> = (0..self.connections)
            .map(|n| {
                let address = self.address.clone();
                // Streams of one run, and of all runs, differ.
                let seed = self.run * 10_000 + n;
                tokio::spawn(call(address, self.bodies, seed, end))
            })
            .collect();
        let times = || {
            self.pids
                .iter()
                .map(|pid| cpu(*pid))
                .collect::<Result<Vec<_>>>()
        };
        sleep_until(start.into()).await;
        let (start, before) = (Instant::now(), times()?);
        sleep_until(end.into()).await;
        let (end, after) = (Instant::now(), times()?);
        let mut answers = 0;
        let mut latencies = Vec::new();
        for caller in callers {
            let calls = caller.await??;
            answers += calls.len() as u64;
            let measured = calls
                .iter()
                .filter(|call| (start..end).contains(&call.ended));
            latencies.extend(measured.map(|call| call.took));
        }
        ensure!(!latencies.is_empty(), "nothing was answered");
        latencies.sort_unstable();
        let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize].as_secs_f64();
        let spent = after
            .iter()
            .zip(&before)
            .map(|(after, before)| *after - *before);
        Ok(Summary {
            answers,
            measured: latencies.len() as u64,
            seconds: (end - start).as_secs_f64(),
            p50_ms: at(0.5) * 1e3,
            p99_ms: at(0.99) * 1e3,
            p999_ms: at(0.999) * 1e3,
            cpu: spent.map(|time| time.as_secs_f64()).collect(),
        })
    }
}

struct Call {
    ended: Instant,
    took: Duration,
}

/// One connection: posts until `end`, and waits for every answer.
async fn call(address: String, bodies: Bodies, seed: u64, end: Instant) -> Result<Vec<Call>> {
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let mut calls = Vec::new();
    let (mut request, mut answer) = (Vec::with_capacity(16 * 1024), Vec::with_capacity(1024));
    for notification in bodies.stream(seed) {
        let started = Instant::now();
        if started >= end {
            break;
        }
        let body = &notification.body;
        request.clear();
        request.extend_from_slice(head(&address, body.len()).as_bytes());
        request.extend_from_slice(body);
        stream.write_all(&request).await?;
        read_answer(&mut stream, &mut answer).await?;
        let ended = Instant::now();
        calls.push(Call {
            ended,
            took: ended - started,
        });
    }
    Ok(calls)
}

fn head(host: &str, length: usize) -> String {
    format!(
        "POST {WEBHOOK_PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Reads an answer to its last byte; any but 200 is an error.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    loop {
        ensure!(
            stream.read_buf(answer).await? > 0,
            "closed without an answer"
        );
        if let Some(length) = answer_length(answer)? {
            if answer.len() == length {
                return Ok(());
            }
            ensure!(answer.len() < length, "more than an answer");
        }
    }
}

/// How long the whole answer is, once its head has come.
fn answer_length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..head])?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("answered {}", String::from_utf8_lossy(answer));
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then_some(value.trim())
    });
    let length: usize = length
        .context("an answer without Content-Length")?
        .parse()?;
    Ok(Some(head + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_it_says() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(answer_length(answer).unwrap(), Some(answer.len()));
        assert_eq!(answer_length(&answer[..20]).unwrap(), None);
        let refused = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        assert!(answer_length(refused).is_err());
    }
}
