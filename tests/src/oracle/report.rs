//! What became of the events, as a table of losses.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use anyhow::{Result, ensure};
use vodbridge_simulator::cloud::{Counts, State};

use super::books::{Books, Entry};
use super::stage::{BROKERS, PULLED, Stage};
use super::{Fault, Kind, Plan};

/// What became of the events that lived through one kind of fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// How often it happened.
    pub faults: u64,
    /// Events that the cloud issued.
    pub issued: u64,
    /// Of these, confirmed or answered in time.
    pub confirmed: u64,
    /// Callbacks that the cloud gave up, as it does: it heard nothing three times, or nobody
    /// listened.
    pub given_up: u64,
    /// Events that are on every broker.
    pub delivered: u64,
    /// Events that are in the dead letter, for one sink at least.
    pub dead_lettered: u64,
    /// Events that are in the spool.
    pub spooled: u64,
    /// Copies beyond the first, on each broker.
    pub duplicated: [u64; 3],
    /// Events that are confirmed, and neither on every broker nor in the dead letter or the spool.
    pub missing: u64,
}

/// What became of all events.
#[derive(Debug)]
pub struct Report {
    /// By kind of fault; None: events that lived through none.
    pub rows: BTreeMap<Option<Kind>, Row>,
    /// What was found and nobody issued.
    pub unknown: Vec<String>,
    /// Some of the missing events.
    pub missing: Vec<String>,
    /// Callbacks that were answered in time, and not with 200.
    pub refused: u64,
    /// Events in the undelivered file.
    pub undelivered: u64,
    /// Events that went through the spool, so far as the bridge's counters could be read before it
    /// ended.
    pub through_spool: u64,
    /// From the first event to the last confirm.
    pub elapsed: Duration,
    /// What the cloud counted, of pulled and of posted events.
    pub counts: [Counts; 2],
    /// Decided the run.
    pub seed: u64,
}

impl Row {
    fn add(&mut self, entry: &Entry) {
        let one = u64::from;
        self.issued += 1;
        self.confirmed += one(entry.is_confirmed());
        self.given_up += one(entry.state == State::Lost);
        self.delivered += one(entry.is_delivered());
        self.dead_lettered += one(entry.letters.contains(&true));
        self.spooled += one(entry.spooled);
        self.missing += one(entry.is_missing());
        for (sum, copies) in self.duplicated.iter_mut().zip(entry.copies) {
            *sum += u64::from(copies.saturating_sub(1));
        }
    }

    fn plus(self, other: &Self) -> Self {
        let mut duplicated = self.duplicated;
        for (sum, more) in duplicated.iter_mut().zip(other.duplicated) {
            *sum += more;
        }
        Self {
            faults: self.faults + other.faults,
            issued: self.issued + other.issued,
            confirmed: self.confirmed + other.confirmed,
            given_up: self.given_up + other.given_up,
            delivered: self.delivered + other.delivered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            spooled: self.spooled + other.spooled,
            duplicated,
            missing: self.missing + other.missing,
        }
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let numbers = [
            self.faults,
            self.issued,
            self.confirmed,
            self.given_up,
            self.delivered,
            self.dead_lettered,
            self.spooled,
        ];
        let numbers = numbers.into_iter().chain(self.duplicated);
        let numbers = numbers
            .chain([self.missing])
            .map(|number| number.to_string());
        [name.to_owned()].into_iter().chain(numbers).collect()
    }
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        done: &[Fault],
        elapsed: Duration,
        stage: &Stage,
        books: &Books,
    ) -> Self {
        let mut rows = BTreeMap::<_, Row>::new();
        for fault in done {
            rows.entry(Some(fault.kind)).or_default().faults += 1;
        }
        for entry in &books.events {
            rows.entry(entry.cause).or_default().add(entry);
        }
        let missing = books.events.iter().filter(|entry| entry.is_missing());
        let counts = stage.counts();
        Self {
            rows,
            unknown: books.unknown.clone(),
            missing: missing.take(20).map(described).collect(),
            refused: counts.iter().map(|counts| counts.refused).sum(),
            undelivered: books
                .events
                .iter()
                .filter(|entry| entry.undelivered)
                .count() as u64,
            through_spool: stage.through_spool,
            elapsed,
            counts,
            seed: plan.seed,
        }
    }

    /// All rows together.
    pub fn total(&self) -> Row {
        self.rows.values().fold(Row::default(), Row::plus)
    }

    /// Copies too many on each broker, of a hundred events, where nothing was killed.
    pub fn duplicates_outside_kills(&self) -> [f64; 3] {
        let calm = self
            .rows
            .iter()
            .filter(|(kind, _)| !kind.is_some_and(Kind::is_kill));
        let calm = calm.map(|(_, row)| row).fold(Row::default(), Row::plus);
        calm.duplicated
            .map(|copies| copies as f64 * 100.0 / calm.issued.max(1) as f64)
    }

    /// Holds what was found against what is promised. Of a hundred events less than `twice` may
    /// come twice where nothing was killed: what a fault makes come twice is what was in flight,
    /// so that is a matter of how many events there are for each fault.
    ///
    /// # Errors
    /// Where an event is missing or unknown, a callback was answered with anything but 200, or too
    /// much comes twice.
    pub fn holds(&self, twice: f64) -> Result<()> {
        let missing = self.total().missing;
        ensure!(
            missing == 0,
            "{missing} are missing: {:#?}\n{self}",
            self.missing
        );
        let unknown = self.unknown.len();
        let some = &self.unknown[..unknown.min(5)];
        ensure!(
            unknown == 0,
            "{unknown} were never issued: {some:#?}\n{self}"
        );
        ensure!(
            self.refused == 0,
            "{} were answered, not with 200\n{self}",
            self.refused
        );
        let rates = self.duplicates_outside_kills();
        let few = rates.iter().all(|rate| *rate < twice);
        ensure!(few, "{rates:?} % come twice\n{self}");
        Ok(())
    }
}

fn described(entry: &Entry) -> String {
    let mode = if entry.application == PULLED {
        "pulled"
    } else {
        "posted"
    };
    let Entry {
        sequence,
        state,
        cause,
        copies,
        letters,
        ..
    } = entry;
    let cause = cause.map_or("no fault".to_owned(), |cause| cause.to_string());
    format!("{mode} {sequence}, {state:?}, {cause}, copies {copies:?}, dead letters {letters:?}")
}

impl fmt::Display for Report {
    /// The table, as Markdown that people can read, and the sums below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let twice = BROKERS.map(|broker| format!("twice on {broker}"));
        let head = [
            "fault",
            "times",
            "issued",
            "confirmed",
            "given up",
            "delivered",
            "dead-lettered",
            "spooled",
        ];
        let head = head.into_iter().map(str::to_owned).chain(twice);
        let mut lines = vec![head.chain(["**missing**".to_owned()]).collect::<Vec<_>>()];
        for (kind, row) in &self.rows {
            lines.push(row.cells(&kind.map_or("none".to_owned(), |kind| kind.to_string())));
        }
        lines.push(self.total().cells("**all**"));
        let widths = (0..lines[0].len()).map(|at| lines.iter().map(|line| line[at].len()).max());
        let widths: Vec<_> = widths.map(Option::unwrap_or_default).collect();
        let rule = widths.iter().enumerate().map(|(at, width)| match at {
            0 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        });
        lines.insert(1, rule.collect());
        for line in lines {
            let mut text = String::from("|");
            for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
                match at {
                    0 => write!(text, " {cell:<width$} |")?,
                    _ => write!(text, " {cell:>width$} |")?,
                }
            }
            writeln!(f, "{text}")?;
        }
        let [pulled, posted] = &self.counts;
        let [kafka, rabbitmq, nats] = self.duplicates_outside_kills();
        let issued = pulled.issued + posted.issued;
        writeln!(
            f,
            "\n{issued} events in {:.0} s, {:.0} a second: {} pulled ({} leases ended without a confirm) and {} posted.\n\
             Unknown: {}. Answered, but not with 200: {}. Through the spool: {}. In the undelivered file: {}. Seed: {}.\n\
             Twice where nothing was killed: kafka {kafka:.3} %, rabbitmq {rabbitmq:.3} %, nats {nats:.3} %.",
            self.elapsed.as_secs_f64(),
            issued as f64 / self.elapsed.as_secs_f64(),
            pulled.issued,
            pulled.leases_expired,
            posted.issued,
            self.unknown.len(),
            self.refused,
            self.through_spool,
            self.undelivered,
            self.seed,
        )
    }
}
