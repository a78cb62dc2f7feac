//! What a person sees of the demo: a line an ack, the totals, and a summary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use vodbridge_core::Template;

use super::stage::Stage;
use super::{Acks, Postings};
use crate::cli::{Output, output};
use crate::watch::Acked;

/// Shows acks as they come.
pub(super) struct Show {
    form: Form,
    templates: BTreeMap<String, Template>,
    postings: Arc<Postings>,
    event_types: BTreeSet<String>,
    sinks: BTreeMap<String, Vec<Duration>>,
}

enum Form {
    Json,
    Plain,
    /// Lines above a line with the totals.
    Live(ProgressBar),
}

impl Show {
    /// Says where everything is.
    pub(super) fn new(format: Output, stage: &Stage, url: &str, postings: Arc<Postings>) -> Self {
        let form = match format {
            Output::Json => Form::Json,
            Output::Text if output::is_terminal() => Form::Live(totals_line()),
            Output::Text => Form::Plain,
        };
        let templates = stage
            .config
            .sinks
            .iter()
            .map(|(name, sink)| (name.clone(), sink.template().clone()))
            .collect();
        let show = Self {
            form,
            templates,
            postings,
            event_types: BTreeSet::new(),
            sinks: BTreeMap::new(),
        };
        show.introduce(stage, url);
        show
    }

    /// Shows until every ack has come. True: every posting was confirmed, and none is missing.
    pub(super) async fn run(mut self, mut acks: Acks) -> bool {
        while let Some(acked) = acks.recv().await {
            self.show(&acked);
        }
        self.conclude()
    }

    fn introduce(&self, stage: &Stage, url: &str) {
        let kafka = stage.kafka.as_ref().map(|kafka| kafka.bootstrap());
        if let Form::Json = self.form {
            output::json(
                &json!({ "webhook": url, "kafka_in_memory": kafka, "directory": stage.directory }),
            );
            return;
        }
        self.line(format!("notifications are posted to   {url}"));
        match kafka {
            Some(address) => {
                self.line(format!("events are in Kafka at        {address}   (in this process's memory: gone with it)"));
                self.line(format!(
                    "and in files below            {}",
                    stage.directory.join("events").display()
                ));
                self.line(format!(
                    "read along, for example:      kcat -b {address} -C -t vod.NewFileUpload"
                ));
            }
            None => {
                let sinks = self
                    .templates
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ");
                self.line(format!("events go to the sinks        {sinks}"));
            }
        }
        self.line(String::new());
        self.line(format!(
            "{:>9}  {:<8} {:<10} {:<46} {}",
            "acked in", "sink", "outcome", "topic", "subject"
        ));
    }

    fn show(
        &mut self,
        Acked {
            sink,
            envelope,
            after,
        }: &Acked,
    ) {
        let times = self.sinks.entry(sink.to_string()).or_default();
        times.push(*after);
        let event_type = envelope
            .label("event_type")
            .unwrap_or_else(|| envelope.ty());
        self.event_types.insert(event_type.to_owned());
        let topic = match self.templates.get(&**sink) {
            Some(template) => template.topic(envelope).into_owned(),
            None => String::new(),
        };
        let (outcome, subject) = (
            envelope.label("outcome").unwrap_or("-"),
            envelope.subject().unwrap_or("-"),
        );
        let ms = after.as_secs_f64() * 1e3;
        if let Form::Json = self.form {
            output::json(&json!({
                "event_type": event_type, "id": envelope.id(), "subject": envelope.subject(), "outcome": outcome,
                "sink": &**sink, "topic": topic, "ack_ms": ms,
            }));
            return;
        }
        let style = self.style(outcome);
        self.line(format!(
            "{ms:>6.1} ms  {sink:<8} {style}{outcome:<10}{style:#} {topic:<46} {subject}"
        ));
        if let Form::Live(bar) = &self.form {
            bar.set_message(self.totals());
        }
    }

    fn style(&self, outcome: &str) -> Style {
        let color = match (&self.form, outcome) {
            (Form::Live(_), "succeeded") => AnsiColor::Green,
            (Form::Live(_), "failed") => AnsiColor::Red,
            (Form::Live(_), "progress") => AnsiColor::Yellow,
            _ => return Style::new(),
        };
        color.on_default()
    }

    fn totals(&self) -> String {
        let (posted, confirmed) = (
            self.postings.posted.load(Relaxed),
            self.postings.confirmed.load(Relaxed),
        );
        let failed = self.postings.failed.load(Relaxed);
        let acks = self
            .sinks
            .iter()
            .map(|(sink, times)| format!("{sink} {}", times.len()))
            .collect::<Vec<_>>();
        let types = self.event_types.len();
        format!(
            "posted {posted}  confirmed {confirmed}  failed {failed}  acked: {}  event types {types}",
            acks.join(", ")
        )
    }

    fn conclude(&mut self) -> bool {
        if let Form::Live(bar) = &self.form {
            bar.finish_and_clear();
        }
        let (posted, confirmed) = (
            self.postings.posted.load(Relaxed),
            self.postings.confirmed.load(Relaxed),
        );
        let failed = self.postings.failed.load(Relaxed);
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times
                .get(times.len() / 2)
                .map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        let medians: BTreeMap<_, _> = self
            .sinks
            .iter_mut()
            .map(|(sink, times)| (sink.clone(), median(times)))
            .collect();
        if let Form::Json = self.form {
            output::json(&json!({
                "totals": {
                    "posted": posted, "confirmed": confirmed, "failed": failed,
                    "event_types": self.event_types.len(), "median_ack_ms": medians,
                    "acked": self.sinks.iter().map(|(sink, times)| (sink, times.len())).collect::<BTreeMap<_, _>>(),
                }
            }));
        } else {
            self.line(String::new());
            self.line(self.totals());
            for (sink, median) in medians {
                self.line(format!("{sink}: median time to ack {median:.1} ms"));
            }
        }
        failed == 0 && confirmed > 0
    }

    fn line(&self, text: String) {
        match &self.form {
            Form::Live(bar) => bar.suspend(|| output::line(text)),
            Form::Json | Form::Plain => output::line(text),
        }
    }
}

fn totals_line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}  (Ctrl-C ends)") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
