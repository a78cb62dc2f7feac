//! `vodbridge topics`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::{Files, Output, output};

/// Print every topic that a configuration can produce.
#[derive(Debug, Args)]
pub(super) struct Topics {
    #[command(flatten)]
    files: Files,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Topics {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.files.load()?;
        let topics = config.topics();
        match self.output {
            Output::Json => output::json(&topics),
            Output::Text => {
                for (sink, topics) in &topics {
                    output::line(format!("{sink}: {} topics", topics.len()));
                    topics
                        .iter()
                        .for_each(|topic| output::line(format!("  {topic}")));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
