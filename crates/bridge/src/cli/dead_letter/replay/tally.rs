//! What became of the dead letters, and how it is shown.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Error;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use vodbridge_core::{Envelope, chain};

use crate::cli::dead_letter::letters::Kept;
use crate::cli::dead_letter::list::short;
use crate::cli::dead_letter::pretty::visible;
use crate::cli::{Output, output};

/// What became of one.
pub(super) enum Done {
    /// It is on these sinks, or would be; none: it had been before.
    Replayed {
        kept: Box<Kept>,
        event: Envelope,
        sinks: Vec<String>,
    },
    /// It stays as it is: with the sink, where one refused it.
    Failed {
        kept: Box<Kept>,
        errors: Vec<(Option<String>, Error)>,
    },
    /// A message that cannot be read.
    Unreadable(Error),
    /// The rest of a place cannot be read.
    Broken(Error),
}

impl Done {
    pub(super) fn new(kept: Box<Kept>, event: Envelope, sinks: Vec<String>) -> Self {
        Self::Replayed { kept, event, sinks }
    }
}

/// The sum.
pub(super) struct Tally {
    published: bool,
    replayed: u64,
    before: u64,
    failed: u64,
    unreadable: u64,
    broken: u64,
    by_sink: BTreeMap<String, u64>,
    pub(super) stopped: bool,
}

impl Tally {
    pub(super) fn new(published: bool) -> Self {
        Self {
            published,
            replayed: 0,
            before: 0,
            failed: 0,
            unreadable: 0,
            broken: 0,
            by_sink: BTreeMap::new(),
            stopped: false,
        }
    }

    pub(super) fn add(&mut self, done: &Done) {
        match done {
            Done::Replayed { sinks, .. } if sinks.is_empty() => self.before += 1,
            Done::Replayed { sinks, .. } => {
                self.replayed += 1;
                for sink in sinks {
                    *self.by_sink.entry(sink.clone()).or_default() += 1;
                }
            }
            Done::Failed { .. } => self.failed += 1,
            Done::Unreadable(_) => self.unreadable += 1,
            Done::Broken(_) => self.broken += 1,
        }
    }

    /// Dead letters that something was, or would be, published of.
    pub(super) fn to_do(&self) -> u64 {
        self.replayed
    }

    /// All that were there.
    pub(super) fn seen(&self) -> u64 {
        self.replayed + self.before + self.failed + self.unreadable + self.broken
    }

    /// The sum in one line.
    pub(super) fn words(&self) -> String {
        let sinks = self
            .by_sink
            .iter()
            .map(|(sink, count)| format!("{sink} {count}"));
        let sinks = sinks.collect::<Vec<_>>().join(", ");
        let sinks = match sinks.is_empty() {
            true => sinks,
            false => format!(" ({sinks})"),
        };
        let (replayed, failed) = match self.published {
            true => ("replayed", "failed"),
            false => ("to replay", "cannot be replayed"),
        };
        let mut words = format!(
            "{replayed} {}{sinks}, replayed before {}, {failed} {}",
            self.replayed, self.before, self.failed
        );
        if self.unreadable > 0 {
            words += &format!(", unreadable {}", self.unreadable);
        }
        words
    }

    /// Says the sum. 0: nothing failed, and everything was read.
    pub(super) fn conclude(&self, form: Output) -> ExitCode {
        match form {
            Output::Json => output::json(&json!({ "summary": {
                "dry_run": !self.published,
                "replayed": self.replayed,
                "replayed_before": self.before,
                "failed": self.failed,
                "unreadable": self.unreadable,
                "by_sink": self.by_sink,
                "complete": !self.stopped && self.broken == 0,
            } })),
            Output::Text => output::line(self.words()),
        }
        if self.stopped {
            output::error("not all were looked at: run it again, what is done is not done twice");
        }
        match self.stopped || self.failed + self.unreadable + self.broken > 0 {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}

/// Shows what becomes of each.
pub(super) struct Show {
    form: Form,
    /// Not seen without a terminal.
    bar: ProgressBar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Nothing,
    /// Failures only.
    Failures,
    /// What would be done.
    Plan,
    Json,
}

impl Show {
    pub(super) fn nothing() -> Self {
        Self {
            form: Form::Nothing,
            bar: bar(None),
        }
    }

    pub(super) fn plan(form: Output) -> Self {
        let form = match form {
            Output::Text => Form::Plan,
            Output::Json => Form::Json,
        };
        Self {
            form,
            bar: bar(None),
        }
    }

    pub(super) fn progress(form: Output, expected: Option<u64>) -> Self {
        let form = match form {
            Output::Text => Form::Failures,
            Output::Json => Form::Json,
        };
        Self {
            form,
            bar: bar(expected),
        }
    }

    pub(super) fn done(&mut self, done: &Done, tally: &Tally) {
        self.bar.set_position(tally.seen());
        self.bar.set_message(tally.words());
        if self.form == Form::Nothing {
            return;
        }
        self.bar.suspend(|| match done {
            Done::Replayed { kept, event, sinks } => self.replayed(kept, event, sinks),
            Done::Failed { kept, errors } => self.failed(kept, errors),
            Done::Unreadable(error) | Done::Broken(error) => output::error(format!("{error:#}")),
        });
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn replayed(&self, kept: &Kept, event: &Envelope, sinks: &[String]) {
        match self.form {
            Form::Json => output::json(&json!({
                "outcome": if sinks.is_empty() { "replayed_before" } else { "replayed" },
                "id": event.id(),
                "type": event.ty(),
                "dead_letter": kept.letter.id,
                "reason": kept.letter.reason.as_str(),
                "sinks": sinks,
                "position": kept.position,
            })),
            Form::Plan if !sinks.is_empty() => {
                let (id, ty) = (short(event.id()), visible(event.ty()));
                output::line(format!("{id}  {ty}  to {}", sinks.join(", ")));
            }
            Form::Nothing | Form::Failures | Form::Plan => {}
        }
    }

    fn failed(&self, kept: &Kept, errors: &[(Option<String>, Error)]) {
        if self.form == Form::Json {
            let errors = errors
                .iter()
                .map(|(sink, error)| json!({ "sink": sink, "error": chain(error.as_ref()) }));
            output::json(&json!({
                "outcome": "failed",
                "dead_letter": kept.letter.id,
                "reason": kept.letter.reason.as_str(),
                "errors": errors.collect::<Vec<_>>(),
                "position": kept.position,
            }));
            return;
        }
        for (sink, error) in errors {
            let sink = sink
                .as_ref()
                .map_or(String::new(), |sink| format!("{sink}: "));
            let (id, position) = (short(&kept.letter.id), visible(&kept.position));
            output::error(format!("{id} ({position}): {sink}{error:#}"));
        }
    }
}

fn bar(expected: Option<u64>) -> ProgressBar {
    let (bar, template) = match expected {
        Some(count) => (
            ProgressBar::new(count),
            "{bar:30} {pos}/{len}  {msg}  {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"),
    };
    // The template is ours, and one that cannot be read leaves the default.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
