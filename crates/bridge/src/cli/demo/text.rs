//! The demo for people: a line for each event, above the numbers of both modes.

use std::fmt::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use vodbridge_core::Health;
use vodbridge_simulator::cloud::{Mode, State};

use super::show::{Facts, Numbers, Totals};
use super::story::{Ack, Ended};
use crate::cli::output;

/// Lines, and on a terminal numbers below them that are written over.
pub(super) struct Text {
    live: Option<ProgressBar>,
    /// Columns of the acks.
    acks: usize,
}

impl Text {
    pub(super) fn new(live: bool) -> Self {
        Self {
            live: live.then(numbers_below),
            acks: 0,
        }
    }

    /// Whether its numbers can be written over.
    pub(super) fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// Says where everything is.
    pub(super) fn introduce(&mut self, facts: &Facts) {
        let fact = |what: &str, value: &str| self.line(format!("{what:<30}{value}"));
        for url in &facts.urls {
            fact("pushed: callbacks, posted to", url);
        }
        fact("pulled: from the queue of", &facts.endpoint);
        match &facts.kafka {
            Some(address) => {
                let note = "(in this process's memory: gone with it)";
                fact("events are in Kafka at", &format!("{address}   {note}"));
                let events = facts.directory.join("events");
                fact("and in files below", &events.display().to_string());
                let kcat = format!("kcat -b {address} -C -t vod.NewFileUpload");
                fact("read along, for example", &kcat);
            }
            None => fact("events go to the sinks", &facts.sinks.join(", ")),
        }
        let width = |sink: &String| format!("{sink} 999.9, ").len();
        let acks = facts.sinks.iter().map(width).sum::<usize>();
        self.acks = acks.saturating_sub(2).max("acked, ms".len());
        self.line(String::new());
        let told = columns("acked, ms", self.acks, "the cloud is told");
        self.line(format!(
            "path     {told} {:<10} {:<20} topic",
            "outcome", "subject"
        ));
    }

    /// One event's way.
    pub(super) fn event(&self, ended: &Ended) {
        let mut acks = ended.acks.iter().map(ack).collect::<Vec<_>>().join(", ");
        if acks.is_empty() {
            acks.push_str("not acked");
        }
        let told = columns(&acks, self.acks, &told(ended));
        let mut topics: Vec<&str> = ended.acks.iter().map(|ack| &*ack.topic).collect();
        topics.sort_unstable();
        topics.dedup();
        if topics.is_empty() {
            topics.push(&ended.event_type);
        }
        let (path, of_path) = match ended.mode {
            Mode::Push => ("pushed", AnsiColor::Cyan),
            Mode::Pull => ("pulled", AnsiColor::Magenta),
        };
        let outcome = ended.outcome.as_deref().unwrap_or("-");
        let of_outcome = match outcome {
            "succeeded" => Some(AnsiColor::Green),
            "failed" => Some(AnsiColor::Red),
            "progress" => Some(AnsiColor::Yellow),
            _ => None,
        };
        let (a, b) = (self.style(Some(of_path)), self.style(of_outcome));
        self.line(format!(
            "{a}{path}{a:#} → {told} {b}{outcome:<10}{b:#} {:<20} {}",
            ended.subject.as_deref().unwrap_or("-"),
            topics.join(", ")
        ));
    }

    /// A part of the bridge is not well, or well again.
    pub(super) fn health(&self, name: &str, health: &Health) {
        let state = health.state.as_str();
        self.line(match &health.problem {
            Some(problem) => format!("{name} is {state}: {}; {}", problem.what, problem.remedy),
            None => format!("{name} is {state}: {}", health.doing),
        });
    }

    /// Says why the end takes longer.
    pub(super) fn wait(&self) {
        self.line("waiting for what is under way; Ctrl-C ends at once".to_owned());
    }

    /// Writes the numbers over.
    pub(super) fn update(&self, totals: &Totals) {
        let of = |mode, numbers: &Numbers| {
            let median = numbers.tally.confirm_times.median();
            let median = median.map_or(String::new(), |ms| format!("   median {ms:.1} ms"));
            format!("{}{median}", way(mode, numbers))
        };
        if let Some(bar) = &self.live {
            let (pushed, pulled) = (&totals.pushed, &totals.pulled);
            bar.set_message(format!(
                "{}\n{}",
                of(Mode::Push, pushed),
                of(Mode::Pull, pulled)
            ));
        }
    }

    /// The summary.
    pub(super) fn conclude(&self, totals: &Totals) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
        self.line(String::new());
        for (mode, numbers) in [(Mode::Push, &totals.pushed), (Mode::Pull, &totals.pulled)] {
            let verdict = verdict(mode, numbers);
            self.line(format!("{}: {verdict}", way(mode, numbers)));
            if let Some(medians) = medians(mode, numbers) {
                self.line(format!("        {medians}"));
            }
        }
        let not_shown = match totals.missed {
            0 => String::new(),
            missed => format!("; {missed} events were counted, but came too fast to be shown"),
        };
        self.line(format!("event types: {}{not_shown}", totals.event_types));
    }

    fn style(&self, color: Option<AnsiColor>) -> Style {
        let color = color.filter(|_| self.is_live());
        color.map_or(Style::new(), AnsiColor::on_default)
    }

    fn line(&self, text: String) {
        match &self.live {
            Some(bar) => bar.suspend(|| output::line(text)),
            None => output::line(text),
        }
    }
}

/// What was acked, and what the cloud was told then.
fn columns(acked: &str, width: usize, told: &str) -> String {
    format!("{acked:<width$} → {told:<24}")
}

fn ack(ack: &Ack) -> String {
    let text = format!("{} {:>5.1}", ack.sink, ms(ack.after));
    match &ack.dead_letter {
        Some(reason) => format!("{text} (dead letter: {reason})"),
        None => text,
    }
}

fn told(ended: &Ended) -> String {
    let (ms, times) = (ms(ended.after), ended.deliveries);
    let timed = |what| format!("{what:<13} {ms:>6.1} ms");
    let mut told = match (ended.mode, ended.state) {
        (Mode::Push, State::Confirmed) => timed("200 after"),
        (Mode::Pull, State::Confirmed) => timed("confirm after"),
        (_, State::Refused) => "an answer, but not 200".to_owned(),
        (_, State::Lost | State::Open) => "nothing: given up".to_owned(),
    };
    let time = match ended.mode {
        Mode::Push => "attempt",
        Mode::Pull => "delivery",
    };
    if times > 1 {
        write!(told, ", {time} {times}").expect("a String takes any text");
    }
    told
}

/// How many came how far.
fn way(mode: Mode, numbers: &Numbers) -> String {
    let (stats, acked) = (&numbers.cloud, numbers.tally.acked);
    let counts = &stats.counts;
    match mode {
        Mode::Push => format!(
            "pushed: {} posted → {acked} acked → {} answered 200",
            counts.issued - stats.waiting as u64,
            counts.confirmed
        ),
        Mode::Pull => format!(
            "pulled: {} issued → {} pulled → {acked} acked → {} confirmed",
            counts.issued,
            counts.deliveries - counts.redeliveries,
            counts.confirmed
        ),
    }
}

fn verdict(mode: Mode, numbers: &Numbers) -> String {
    let (counts, tally) = (&numbers.cloud.counts, &numbers.tally);
    let mut verdict = match numbers.whole() {
        true if counts.issued == 0 => "there was none".to_owned(),
        true => "every one".to_owned(),
        false => format!("{} of {}", counts.confirmed, counts.issued),
    };
    let open = match mode {
        Mode::Push => "still being posted",
        Mode::Pull => "still in the queue",
    };
    for (count, what) in [
        (tally.dead_lettered, "in the dead letter"),
        (counts.open(), open),
        (counts.refused, "answered, but not with 200"),
        (counts.lost, "given up by the cloud"),
        (counts.redeliveries, "pulled again"),
    ] {
        if count > 0 {
            write!(verdict, ", {count} {what}").expect("a String takes any text");
        }
    }
    verdict
}

/// None where nothing was acked.
fn medians(mode: Mode, numbers: &Numbers) -> Option<String> {
    let tally = &numbers.tally;
    let acks = tally.ack_times.iter();
    let acks = acks.filter_map(|(sink, times)| Some(format!("{sink} {:.1} ms", times.median()?)));
    let acks = acks.collect::<Vec<_>>().join(", ");
    if acks.is_empty() {
        return None;
    }
    let told = match mode {
        Mode::Push => "the answer",
        Mode::Pull => "the confirm",
    };
    let confirm = tally.confirm_times.median();
    let confirm = confirm.map_or(String::new(), |ms| format!("; to {told}: {ms:.1} ms"));
    Some(format!("median to the ack: {acks}{confirm}"))
}

fn numbers_below() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  Ctrl-C ends\n{msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
