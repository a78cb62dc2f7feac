//! Where the cloud's side is read: a simulator that runs, or a ledger that was kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Uri;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use vodbridge_simulator::cloud::LedgerEntry;

/// Bytes of a line or of the numbers at most.
const LONGEST: usize = 16 << 20;

/// What knows which events there are.
#[derive(Debug, Clone)]
pub(super) enum CloudSide {
    Simulator(Uri),
    File(PathBuf),
}

/// How far a simulator is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) issued: u64,
    pub(super) open: u64,
    pub(super) issuing: bool,
}

impl Progress {
    /// Everything that is to come was issued, and nothing of it is open.
    pub(super) fn has_ended(&self) -> bool {
        self.issued > 0 && self.open == 0 && !self.issuing
    }
}

#[derive(Deserialize)]
struct Stats {
    applications: BTreeMap<String, Application>,
    issuing: bool,
}

#[derive(Deserialize)]
struct Application {
    issued: u64,
    confirmed: u64,
    refused: u64,
    lost: u64,
}

impl CloudSide {
    /// Hands every entry to `take`.
    pub(super) async fn entries(&self, mut take: impl FnMut(LedgerEntry)) -> Result<()> {
        let mut number = 0_u64;
        let mut line = |line: &[u8]| {
            number += 1;
            let entry = serde_json::from_slice(line);
            take(entry.with_context(|| format!("line {number} is no entry of a ledger"))?);
            anyhow::Ok(())
        };
        match self {
            Self::File(path) => {
                let what = || format!("--ledger {}", path.display());
                let file = File::open(path).with_context(what)?;
                for read in BufReader::new(file).split(b'\n') {
                    line(&read.with_context(what)?).with_context(what)?;
                }
            }
            Self::Simulator(base) => {
                let what = || format!("the ledger of the simulator at {base}");
                let mut body = get(base, "/_control/ledger").await?;
                let mut rest = Vec::new();
                while let Some(frame) = body.frame().await {
                    let frame = frame.with_context(what)?;
                    rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                    let mut done = 0;
                    while let Some(end) = rest[done..].iter().position(|byte| *byte == b'\n') {
                        line(&rest[done..done + end]).with_context(what)?;
                        done += end + 1;
                    }
                    rest.drain(..done);
                    if rest.len() > LONGEST {
                        bail!("{}: a line without end", what());
                    }
                }
                if !rest.is_empty() {
                    bail!("{}: it was cut off", what());
                }
            }
        }
        Ok(())
    }

    /// How far the simulator is. A ledger that was kept has ended.
    pub(super) async fn progress(&self) -> Result<Progress> {
        let Self::Simulator(base) = self else {
            return Ok(Progress::default());
        };
        let mut body = Limited::new(get(base, "/_control/stats").await?, LONGEST);
        let mut stats = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(anyhow::Error::from_boxed)?;
            stats.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
        let stats: Stats = serde_json::from_slice(&stats)
            .with_context(|| format!("{base} does not answer as a simulator"))?;
        let mut progress = Progress {
            issuing: stats.issuing,
            ..Progress::default()
        };
        for counts in stats.applications.values() {
            progress.issued += counts.issued;
            let ended = counts.confirmed + counts.refused + counts.lost;
            progress.open += counts.issued.saturating_sub(ended);
        }
        Ok(progress)
    }
}

async fn get(base: &Uri, path: &str) -> Result<Incoming> {
    let what =
        || format!("the simulator at {base} cannot be asked; does `vodbridge simulate` run there?");
    let uri = Uri::builder()
        .scheme("http")
        .authority(base.authority().map_or("", |authority| authority.as_str()))
        .path_and_query(path)
        .build()
        .with_context(what)?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(uri).await.with_context(what)?;
    if !answer.status().is_success() {
        bail!("{}: it answered {}", what(), answer.status());
    }
    Ok(answer.into_body())
}
