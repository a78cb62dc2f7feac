//! The commands of the binary, run to their end as a script runs them.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::time::timeout;

use crate::installed;
use crate::process::bound_to_us;

/// Longer than any command waits for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; None where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// The binary with these arguments, in an environment that configures nothing.
///
/// # Errors
/// Where there is no binary.
pub fn vodbridge(arguments: &[&str]) -> Result<Command> {
    let mut command = bound_to_us(installed::vodbridge()?);
    command.args(arguments).env_remove("VOD_SIGN_KEY");
    Ok(command)
}

/// Runs a command to its end.
///
/// # Errors
/// Where it cannot be started, has no end in time, or says what is no text. How it ended is no
/// error here.
pub async fn run(command: Command) -> Result<Ran> {
    let what = format!("{command:?}");
    let running = tokio::process::Command::from(command)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, running)
        .await
        .with_context(|| format!("no end of {what}"))?
        .with_context(|| what)?;
    Ok(Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

impl Ran {
    /// The JSON values on its standard output, one a line.
    ///
    /// # Errors
    /// Where a line is none.
    pub fn json(&self) -> Result<Vec<Value>> {
        let value = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("no JSON: {line}\n{}", self.err))
        };
        self.out.lines().map(value).collect()
    }
}
