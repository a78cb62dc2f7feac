//! What became a dead letter is seen, and published again once its cause is gone: with its id, token
//! for token, from every broker and from files, and once however often that is interrupted.

mod brokers;
mod files;
mod interrupted;
mod progress;
mod record;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vodbridge_tests::cli::{Ran, run, vodbridge};
use vodbridge_tests::tokens::{member, tokens};

const PATIENCE: Duration = Duration::from_secs(20);

/// `dead-letter` with these arguments, on the configuration of the bridge in this directory.
fn command(directory: &Path, arguments: &[&str]) -> Result<std::process::Command> {
    let mut command = vodbridge(&["dead-letter"])?;
    command
        .args(arguments)
        .args(["--config", "base.yaml", "--config", "test.yaml"])
        .current_dir(directory);
    Ok(command)
}

async fn dead_letter(directory: &Path, arguments: &[&str]) -> Result<Ran> {
    run(command(directory, arguments)?).await
}

/// What `list` says with these filters, one record a line.
async fn list(directory: &Path, filters: &[&str]) -> Result<Vec<Value>> {
    let arguments = [&["list", "--output", "json"], filters].concat();
    let listed = dead_letter(directory, &arguments).await?;
    ensure!(listed.code == Some(0), "{listed:?}");
    listed.json()
}

/// What `replay` says: a line for each record, and the sum.
async fn replay(directory: &Path, code: i32, arguments: &[&str]) -> Result<(Vec<Value>, Value)> {
    let arguments = [&["replay", "--yes", "--output", "json"], arguments].concat();
    let ran = dead_letter(directory, &arguments).await?;
    ensure!(ran.code == Some(code), "{ran:?}");
    let mut lines = ran.json()?;
    let sum = lines.pop().context("it says nothing")?;
    Ok((lines, sum["summary"].clone()))
}

/// Another configuration, for what comes from now on.
fn reconfigure(directory: &Path, configuration: &str) -> Result<()> {
    Ok(std::fs::write(directory.join("test.yaml"), configuration)?)
}

/// The data of a structured event is the payload that the cloud sent, token for token.
fn has_payload(event: &[u8], notification: &[u8], field: &str) -> Result<()> {
    let (data, payload) = (member(event, "data")?, member(notification, field)?);
    ensure!(data == payload, "{data:?} is not {payload:?}");
    tokens(event).map(drop)
}
