//! `vodbridge dead-letter show`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures_util::StreamExt;
use vodbridge_core::{Content, DeadLetter};

use super::journal::Replayed;
use super::letters::{Found, Kept, Letters};
use super::pretty::{pretty, visible};
use crate::cli::{Output, block_on, output};
use crate::config::Config;

/// Everything that a dead letter keeps: the error, the headers, and the event or the body.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Its id, or how that begins. An event that several sinks refused is several dead letters.
    #[arg(value_name = "ID")]
    wanted: String,
    #[command(flatten)]
    letters: Letters,
    /// Form of the output; json: the record as it is, one a line.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Show {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.letters.files.load()?;
        block_on(self.show(&config))
    }

    async fn show(&self, config: &Config) -> Result<ExitCode> {
        let replayed = Replayed::read(&config.state_directory)?;
        let mut found = self.letters.read(config).await;
        let (mut shown, mut broken) = (0, false);
        while let Some(found) = found.next().await {
            match found {
                Found::Letter(kept) if kept.letter.id.starts_with(&self.wanted) => {
                    shown += 1;
                    match self.output {
                        Output::Json => {
                            output::line(String::from_utf8_lossy(&kept.record.structured()));
                        }
                        Output::Text => print(&kept, &replayed.sinks(&kept.record, config)),
                    }
                }
                Found::Letter(_) => {}
                Found::Unreadable(error) | Found::Broken(error) => {
                    output::error(format!("{error:#}"));
                    broken = true;
                }
            }
        }
        if shown == 0 {
            output::error(format!("there is no dead letter {}", self.wanted));
        }
        Ok(match shown == 0 || broken {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }
}

fn print(kept: &Kept, replayed: &[&str]) {
    let DeadLetter {
        id,
        reason,
        source,
        sink,
        error,
        attempts,
        first,
        last,
        content,
    } = &kept.letter;
    let at = |time| humantime::format_rfc3339_millis(time).to_string();
    let or_none = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), visible);
    let replayed = match replayed {
        [] => "no".to_owned(),
        sinks => format!("to {}", sinks.join(", ")),
    };
    for (name, value) in [
        ("id", visible(id)),
        ("reason", reason.as_str().to_owned()),
        ("source", visible(source)),
        ("sink", or_none(sink)),
        ("error", or_none(error)),
        ("attempts", attempts.to_string()),
        ("first", at(*first)),
        ("last", at(*last)),
        ("kept", visible(&kept.position)),
        ("replayed", replayed),
    ] {
        output::line(format!("{name:<9} {value}"));
    }
    match content {
        Content::Event(event) => {
            output::line("event");
            output::line(pretty(&String::from_utf8_lossy(&event.structured())));
        }
        Content::Raw {
            body,
            headers,
            occurrence,
        } => {
            if let Some(occurrence) = occurrence {
                output::line(format!("{:<9} {}", "handle", visible(occurrence)));
            }
            if !headers.is_empty() {
                output::line("headers");
            }
            for (name, value) in headers {
                output::line(format!("  {}: {}", visible(name), visible(value)));
            }
            match std::str::from_utf8(body) {
                Ok(text) => {
                    output::line(format!("body      {} bytes", body.len()));
                    output::line(visible(text));
                }
                Err(_) => {
                    output::line(format!("body      {} bytes, no text", body.len()));
                    output::line(visible(&String::from_utf8_lossy(body)));
                }
            }
        }
    }
    output::line("");
}
