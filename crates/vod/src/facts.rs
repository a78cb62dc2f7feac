//! The facts of an event that consumers route and filter by.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use crate::catalogue::FactPaths;
use crate::document::Value;
use crate::paths::{Path, fact};

/// Most files that `vodfileid` names.
const MAX_FILES: usize = 64;

/// How the work that an event reports went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Progress,
    Failed,
    Succeeded,
    Unknown,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
            Self::Unknown => "unknown",
        }
    }
}

/// What a payload says of itself.
#[derive(Debug)]
pub(crate) struct Facts<'n> {
    pub(crate) subject: Option<Cow<'n, str>>,
    pub(crate) task: Option<Cow<'n, str>>,
    pub(crate) status: Option<Cow<'n, str>>,
    /// The first error code that is not "none".
    pub(crate) error: Option<Cow<'n, str>>,
    /// Each file once, comma-separated.
    pub(crate) files: String,
    pub(crate) outcome: Outcome,
    pub(crate) time: Option<SystemTime>,
}

impl<'n> Facts<'n> {
    /// Of a notification whose payload cannot be told.
    pub(crate) const NONE: Self = Self {
        subject: None,
        task: None,
        status: None,
        error: None,
        files: String::new(),
        outcome: Outcome::Unknown,
        time: None,
    };

    /// `reports_fact`: without a status, the event says that something has happened, not how it
    /// went.
    pub(crate) fn of(
        payload: Value<'n>,
        paths: &FactPaths,
        reports_fact: bool,
        received: SystemTime,
    ) -> Self {
        let task = first(&paths.task, payload);
        let status = first(&paths.status, payload);
        let results = Results::of(payload, &paths.results);
        Self {
            subject: first(&paths.subject, payload).or_else(|| task.clone()),
            outcome: outcome(status.as_deref(), results.failed, reports_fact),
            files: files(&paths.files, payload),
            time: latest(&paths.times, payload, received),
            error: results.error,
            task,
            status,
        }
    }
}

fn first<'n>(paths: &[Path], payload: Value<'n>) -> Option<Cow<'n, str>> {
    paths.iter().find_map(|path| path.first(payload))
}

fn files(paths: &[Path], payload: Value<'_>) -> String {
    let mut found: Vec<Cow<'_, str>> = Vec::new();
    for path in paths {
        path.visit(payload, &mut |value| {
            if found.len() < MAX_FILES
                && let Some(file) = fact(value)
                && !found.contains(&file)
            {
                found.push(file);
            }
        });
    }
    found.join(",")
}

/// A failure counts whatever the status beside it says: a FINISH is no success, and a task that
/// goes on after one of its parts has failed does not undo that.
fn outcome(status: Option<&str>, failed: bool, reports_fact: bool) -> Outcome {
    match status {
        _ if failed => Outcome::Failed,
        Some("PROCESSING" | "WAITING") => Outcome::Progress,
        Some("FINISH" | "SUCCESS") => Outcome::Succeeded,
        None | Some("0") if reports_fact => Outcome::Succeeded,
        _ => Outcome::Unknown,
    }
}

/// What the objects that carry error codes say together.
struct Results<'n> {
    failed: bool,
    error: Option<Cow<'n, str>>,
}

impl<'n> Results<'n> {
    fn of(payload: Value<'n>, places: &[Path]) -> Self {
        let mut results = Self {
            failed: false,
            error: None,
        };
        for place in places {
            place.visit(payload, &mut |result| results.add(result));
        }
        results
    }

    /// Takes in the code and status of one task or sub-task. `ErrCodeExt` is the finer code and
    /// goes first; a number as the `status` of a 2.0 body is an error code too.
    fn add(&mut self, result: Value<'n>) {
        let mut coarse = None;
        let mut fine = None;
        for (key, value) in result.members() {
            if key.reads("ErrCodeExt") {
                fine = fine.or_else(|| error_code(value));
            } else if key.reads("ErrCode") || key.reads("errCode") {
                coarse = coarse.or_else(|| error_code(value));
            } else if key.reads("status") && value.is_number() {
                coarse = coarse.or_else(|| error_code(value));
            } else if key.reads("Status") || key.reads("status") {
                self.failed |= value.reads("FAIL") || value.reads("ABORTED");
            }
        }
        if let Some(code) = fine.or(coarse) {
            self.failed = true;
            self.error = self.error.take().or_else(|| fact(code));
        }
    }
}

/// The value, if it is a code that says what went wrong: neither 0 nor empty.
fn error_code(value: Value<'_>) -> Option<Value<'_>> {
    let none = match value.text() {
        Some(code) => code.is_empty() || code.parse::<f64>() == Ok(0.0),
        None => true,
    };
    (!none).then_some(value)
}

/// 2010-01-01T00:00:00Z. The vendor writes year 1 for "not yet" and 9999 for "never".
const EARLIEST: Duration = Duration::from_secs(1_262_304_000);

fn latest(paths: &[Path], payload: Value<'_>, received: SystemTime) -> Option<SystemTime> {
    let earliest = SystemTime::UNIX_EPOCH + EARLIEST;
    let newest = received + Duration::from_secs(24 * 60 * 60);
    let mut latest = None;
    for path in paths {
        path.visit(payload, &mut |value| {
            let text = fact(value);
            let time = text.and_then(|text| humantime::parse_rfc3339(&text).ok());
            latest = latest.max(time.filter(|time| (earliest..=newest).contains(time)));
        });
    }
    latest
}

#[cfg(test)]
mod tests;
