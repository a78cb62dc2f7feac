//! `vodbridge dead-letter list`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};
use vodbridge_core::{Content, DeadLetter};

use super::filter::event_type;
use super::journal::Replayed;
use super::letters::{Found, Kept, Letters};
use super::pretty::on_one_line;
use crate::cli::{Output, block_on, output};
use crate::config::Config;

/// Digits of an id that a person needs.
const SHORT: usize = 12;

/// One line for each dead letter, in the order in which they are kept.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    letters: Letters,
    /// Only those that were not replayed to any sink.
    #[arg(long)]
    pending: bool,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl List {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.letters.files.load()?;
        block_on(self.list(&config))
    }

    async fn list(&self, config: &Config) -> Result<ExitCode> {
        let replayed = Replayed::read(&config.state_directory)?;
        let mut found = self.letters.read(config).await;
        let mut code = ExitCode::SUCCESS;
        if self.output == Output::Text {
            output::line(row([
                "time", "reason", "type", "subject", "sink", "attempts", "id", "replayed",
            ]));
        }
        while let Some(found) = found.next().await {
            match found {
                Found::Letter(kept) => {
                    let sinks = replayed.sinks(&kept.record, config);
                    if self.pending && !sinks.is_empty() {
                        continue;
                    }
                    match self.output {
                        Output::Text => print(&kept.letter, &sinks),
                        Output::Json => output::json(&described(&kept, &sinks)),
                    }
                }
                Found::Unreadable(error) | Found::Broken(error) => {
                    output::error(format!("{error:#}"));
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

fn print(letter: &DeadLetter, replayed: &[&str]) {
    let time = humantime::format_rfc3339_seconds(letter.last).to_string();
    let replayed = replayed.join(",");
    let or_none = |text: Option<&str>| text.map_or("-".to_owned(), on_one_line);
    output::line(row([
        &time,
        letter.reason.as_str(),
        &or_none(event_type(letter)),
        &or_none(subject(letter)),
        &or_none(letter.sink.as_deref()),
        &letter.attempts.to_string(),
        &short(&letter.id),
        if replayed.is_empty() { "-" } else { &replayed },
    ]));
}

fn row(cells: [&str; 8]) -> String {
    let [time, reason, ty, subject, sink, attempts, id, replayed] = cells;
    format!(
        "{time:<20} {reason:<12} {ty:<30} {subject:<20} {sink:<12} {attempts:>8} {id:<SHORT$} {replayed}"
    )
}

/// The beginning of an id.
pub(super) fn short(id: &str) -> String {
    on_one_line(id).chars().take(SHORT).collect()
}

fn subject(letter: &DeadLetter) -> Option<&str> {
    match &letter.content {
        Content::Event(event) => event.subject(),
        Content::Raw { .. } => None,
    }
}

fn described(
    Kept {
        letter, position, ..
    }: &Kept,
    replayed: &[&str],
) -> Value {
    let at = |time| humantime::format_rfc3339_millis(time).to_string();
    let full_type = match &letter.content {
        Content::Event(event) => Some(event.ty()),
        Content::Raw { .. } => None,
    };
    json!({
        "id": letter.id,
        "time": at(letter.last),
        "first_at": at(letter.first),
        "last_at": at(letter.last),
        "reason": letter.reason.as_str(),
        "type": full_type,
        "subject": subject(letter),
        "source": &*letter.source,
        "sink": letter.sink,
        "error": letter.error,
        "attempts": letter.attempts,
        "position": position,
        "replayed": replayed,
    })
}
