//! `vodbridge health`: the health check of containers, which have no curl.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use super::{block_on, output};

/// Bytes of an answer that are read and printed.
const ANSWER: usize = 1 << 20;

/// Ask a running bridge's admin listener; exit 0 if it answers well.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// What to ask: /livez, /readyz, or /healthz, which tells all and is never bad.
    #[arg(long, default_value = "http://127.0.0.1:9600/readyz")]
    url: Uri,
    /// How long the answer may take.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Health {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let asked = block_on(async {
            timeout(self.timeout, ask(self.url.clone()))
                .await
                .context("no answer in time")?
        });
        let (good, text) =
            asked.with_context(|| format!("{} cannot be asked; does the bridge run?", self.url))?;
        output::line(text.trim_end());
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

async fn ask(url: Uri) -> Result<(bool, String)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url).await?;
    let good = answer.status().is_success();
    let mut body = Limited::new(answer.into_body(), ANSWER);
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow::anyhow!(error))?;
        text.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    Ok((good, String::from_utf8_lossy(&text).into_owned()))
}
