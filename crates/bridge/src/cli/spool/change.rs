//! `vodbridge spool retry` and `drop`: for these the bridge has to be stopped.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use vodbridge_store::{RecordId, StoreEditor, Which as Records};

use super::{Which, undelivered};
use crate::cli::{Output, Usage, output};

/// Have records delivered as if they had just come.
///
/// The next start delivers them; the bridge must be stopped.
#[derive(Debug, Args)]
pub(super) struct Retry {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    records: Chosen,
    /// Deliver what is in the undelivered file of the state directory, now, through the routes of
    /// the configuration. What is not delivered stays there; repeating it is safe, since ids stay.
    #[arg(long, conflicts_with_all = ["ids", "all", "damaged", "directory", "sources"])]
    undelivered: bool,
}

/// Remove records for good; the bridge must be stopped.
#[derive(Debug, Args)]
pub(super) struct Drop {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    records: Chosen,
    /// Do it without asking.
    #[arg(long)]
    yes: bool,
}

/// Which records.
#[derive(Debug, Args)]
struct Chosen {
    /// Numbers of records, as `spool list` prints them.
    #[arg(value_name = "RECORD")]
    ids: Vec<RecordId>,
    /// Every record.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Those that are damaged and set aside.
    #[arg(long, conflicts_with_all = ["ids", "all"])]
    damaged: bool,
}

impl Chosen {
    fn records(&self) -> Result<Records> {
        match (self.all, self.damaged, &*self.ids) {
            (true, _, _) => Ok(Records::All),
            (_, true, _) => Ok(Records::Damaged),
            (_, _, []) => bail!(Usage(
                "which records? give their numbers, --damaged or --all".to_owned()
            )),
            (_, _, ids) => Ok(Records::These(ids.to_vec())),
        }
    }
}

impl Retry {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if self.undelivered {
            return undelivered::replay(&self.which.files.load()?, self.which.output);
        }
        let records = self.records.records()?;
        change(&self.which, &records, "retried", StoreEditor::retry)
    }
}

impl Drop {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let records = self.records.records()?;
        let many = !matches!(records, Records::These(_));
        if many && !self.yes {
            let question =
                "These events were answered 200 and will be delivered by nobody. Drop them?";
            if !output::can_ask() {
                bail!(Usage("say --yes to drop so many".to_owned()));
            }
            if !output::ask(question)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        change(&self.which, &records, "dropped", StoreEditor::remove)
    }
}

fn change(
    which: &Which,
    records: &Records,
    done: &str,
    how: impl Fn(&StoreEditor, &Records) -> Result<u64, vodbridge_store::AccessError>,
) -> Result<ExitCode> {
    let directories = match records {
        Records::These(_) => vec![which.directory()?],
        Records::All | Records::Damaged => which.directories()?,
    };
    for directory in directories {
        let count = how(&StoreEditor::open(&directory)?, records)?;
        let directory = directory.display().to_string();
        match which.output {
            Output::Json => output::json(&json!({ "directory": directory, done: count })),
            Output::Text => output::line(format!("{count} {done} in {directory}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}
