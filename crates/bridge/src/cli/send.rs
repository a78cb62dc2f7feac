//! `vodbridge send`.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use vodbridge_core::{Secret, chain};
use vodbridge_simulator::{CallbackSender, Loss, Posting, SignPlace, sample, samples};

use super::{Output, Usage, block_on, output};

/// Post a sample notification to a webhook, as the cloud would: 5 s for an answer, three
/// attempts, and only a time-out earns the next one.
#[derive(Debug, Args)]
pub(super) struct Send {
    /// Event types or names of samples; `all` for every sample. `--list` prints them.
    #[arg(value_name = "TYPE", required_unless_present_any = ["list", "file"])]
    names: Vec<String>,
    /// Post the content of this file.
    #[arg(long, value_name = "FILE", conflicts_with = "names")]
    file: Option<PathBuf>,
    /// The webhook.
    #[arg(long, default_value = "http://127.0.0.1:8080/vod/callback")]
    url: String,
    /// Add Sign and T, made with this key.
    #[arg(long, env = "VOD_SIGN_KEY", hide_env_values = true)]
    sign_key: Option<String>,
    /// Where Sign and T go.
    #[arg(long, value_enum, default_value = "body")]
    sign_in: Place,
    /// Print the names of all samples, and post none.
    #[arg(long)]
    list: bool,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Place {
    Body,
    Query,
}

/// What a bridge answers with; nothing of another receiver.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    /// The event's id, with 200.
    id: Option<String>,
    /// Why it is none, else.
    error: Option<String>,
}

impl Answer {
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.id {
            write!(f, ", id {id}")?;
        }
        self.error
            .iter()
            .try_for_each(|error| write!(f, ": {error}"))
    }
}

impl Send {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if self.list {
            samples()
                .iter()
                .for_each(|sample| self.list_one(sample.name, sample.event_type));
            return Ok(ExitCode::SUCCESS);
        }
        let bodies = self.bodies()?;
        let sender = CallbackSender::new(&self.url);
        let mut sender = sender.map_err(|error| Usage(error.to_string()))?;
        if let Some(key) = self.sign_key.as_deref().filter(|key| !key.is_empty()) {
            let place = match self.sign_in {
                Place::Body => SignPlace::Body,
                Place::Query => SignPlace::Query,
            };
            sender = sender.with_sign_key(Secret::new(key), place);
        }
        let accepted = block_on(async {
            let mut accepted = true;
            for (name, body) in bodies {
                let posting = sender.send(body).await;
                accepted &= matches!(posting, Posting::Answered { status: 200, .. });
                self.print(&name, &posting);
            }
            Ok(accepted)
        })?;
        Ok(if accepted {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn bodies(&self) -> Result<Vec<(String, Bytes)>> {
        if let Some(path) = &self.file {
            let body =
                fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            return Ok(vec![(path.display().to_string(), body.into())]);
        }
        let mut bodies = Vec::new();
        for name in &self.names {
            let chosen: Vec<_> = match (name.as_str(), sample(name)) {
                ("all", _) => samples().iter().collect(),
                (_, Some(sample)) => vec![sample],
                (_, None) => {
                    bail!(Usage(format!(
                        "there is no sample {name:?}; `vodbridge send --list` prints them all"
                    )))
                }
            };
            bodies.extend(
                chosen
                    .iter()
                    .map(|s| (s.name.to_owned(), Bytes::from_static(s.body.as_bytes()))),
            );
        }
        Ok(bodies)
    }

    fn list_one(&self, name: &str, event_type: &str) {
        match self.output {
            Output::Json => output::json(&json!({ "name": name, "event_type": event_type })),
            Output::Text => output::line(format!("{name:<50} {event_type}")),
        }
    }

    fn print(&self, name: &str, posting: &Posting) {
        let (text, value) = match posting {
            Posting::Answered {
                attempt,
                status,
                body,
                elapsed,
            } => {
                let (ms, answer) = (elapsed.as_secs_f64() * 1e3, Answer::read(body));
                (
                    format!("{name}: {status} after {ms:.1} ms, attempt {attempt}{answer}"),
                    json!({
                        "name": name, "status": status, "attempt": attempt, "ms": ms,
                        "id": answer.id, "error": answer.error,
                    }),
                )
            }
            Posting::Lost { attempts, reason } => {
                let remedy = match reason {
                    Loss::TimedOut => "the bridge waits for a broker's ack; look at its /healthz",
                    Loss::Connection(_) => "does a bridge listen there? `--url` names another",
                };
                let (reason, s) = (chain(reason), if *attempts == 1 { "" } else { "s" });
                (
                    format!("{name}: lost after {attempts} attempt{s}: {reason}; {remedy}"),
                    json!({ "name": name, "lost": reason, "attempts": attempts }),
                )
            }
        };
        match self.output {
            Output::Json => output::json(&value),
            Output::Text => output::line(text),
        }
    }
}
