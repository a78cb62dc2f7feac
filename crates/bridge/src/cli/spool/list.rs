//! `vodbridge spool list` and `export`: for these a bridge may be running.

use std::fs::OpenOptions;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use vodbridge_store::{ExportError, Seen, StoreError, StoreReader};

use super::Which;
use crate::cli::{Output, output};

/// Print the records, oldest first.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    /// Only those that are damaged and set aside.
    #[arg(long)]
    damaged: bool,
    /// How many of each spool at most.
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
}

/// One record, as it is printed.
#[derive(Serialize)]
struct Line<'a> {
    directory: String,
    record: String,
    source: &'a str,
    received_at: String,
    attempts: u32,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaw: Option<&'a str>,
}

impl List {
    pub(super) fn run(&self) -> Result<ExitCode> {
        for directory in self.which.directories()? {
            let reader = match StoreReader::open(&directory) {
                Err(StoreError::Missing { .. }) if self.which.directory.is_none() => continue,
                opened => opened?,
            };
            let (mut after, mut left) = (None, self.limit);
            while left > 0 {
                let seen = reader.list(after)?;
                let Some(last) = seen.last() else { break };
                after = Some(last.id);
                let wanted = |record: &&Seen| !self.damaged || record.event.is_err();
                for record in seen.iter().filter(wanted).take(left) {
                    self.print(&directory.display().to_string(), record);
                    left -= 1;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, directory: &str, record: &Seen) {
        let event = record.event.as_ref();
        let line = Line {
            directory: directory.to_owned(),
            record: record.id.to_string(),
            source: &record.source,
            received_at: humantime::format_rfc3339_millis(record.received).to_string(),
            attempts: record.attempts,
            bytes: record.bytes,
            r#type: event.ok().map(|event| event.ty()),
            id: event.ok().map(|event| event.id()),
            subject: event.ok().and_then(|event| event.subject()),
            flaw: event.err().map(|remains| &*remains.flaw),
        };
        match self.which.output {
            Output::Json => output::json(&line),
            Output::Text => output::line(format!(
                "{:>8}  {}  {:<12} {:>3} attempts  {:>7} bytes  {} {}",
                line.record,
                line.received_at,
                line.source,
                line.attempts,
                line.bytes,
                line.r#type.or(line.flaw).unwrap_or_default(),
                line.id.unwrap_or_default(),
            )),
        }
    }
}

/// Write the records as lines of JSON.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
    /// File to write, which must not be there yet [default: the standard output]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let directories = self.which.directories()?;
        let mut out: Box<dyn Write> = match &self.to {
            // It holds customer data, as the spool does.
            Some(file) => Box::new(
                OpenOptions::new()
                    .create_new(true)
                    .write(true)
                    .mode(0o600)
                    .open(file)
                    .with_context(|| format!("{} cannot be made", file.display()))?,
            ),
            None => Box::new(std::io::stdout()),
        };
        let mut out = BufWriter::new(&mut out);
        let mut code = ExitCode::SUCCESS;
        for directory in directories {
            let exported = match StoreReader::open(&directory)?.export(&mut out) {
                Err(ExportError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => break,
                exported => exported?,
            };
            if let Some(error) = exported.broken_off {
                output::error(format!(
                    "{}: the records could not be read to the end ({error}); their contents follow without what was known of them",
                    directory.display()
                ));
                code = ExitCode::FAILURE;
            }
        }
        if let Err(error) = out.flush()
            && error.kind() != ErrorKind::BrokenPipe
        {
            bail!(error);
        }
        Ok(code)
    }
}
