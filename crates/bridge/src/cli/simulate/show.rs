//! What a person, or a script, sees of the simulated cloud.

use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use vodbridge_simulator::cloud::{Cloud, QueueStats, Stats};

use super::options::Plan;
use crate::cli::{Output, output};

/// How often the numbers are printed where they cannot be written over.
const PERIOD: Duration = Duration::from_secs(10);

pub(super) struct Show {
    form: Form,
    start: Instant,
    /// What was seen last, and when.
    last: (Instant, QueueStats),
    /// What was printed last, and when.
    printed: (Instant, QueueStats),
}

enum Form {
    Json,
    Plain,
    /// One line, written over.
    Live(ProgressBar),
}

impl Show {
    /// Says what is simulated, and how a bridge gets to it.
    pub(super) fn new(format: Output, plan: &Plan, cloud: &Cloud) -> Self {
        let form = match format {
            Output::Json => Form::Json,
            Output::Text if output::is_terminal() => Form::Live(numbers_line()),
            Output::Text => Form::Plain,
        };
        let now = Instant::now();
        let show = Self {
            form,
            start: now,
            last: (now, QueueStats::default()),
            printed: (now, QueueStats::default()),
        };
        match show.form {
            Form::Json => output::json(&started(plan, cloud)),
            Form::Plain | Form::Live(_) => show.line(introduction(plan, cloud)),
        }
        show
    }

    /// Shows where the events are by now.
    pub(super) fn progress(&mut self, stats: &Stats) {
        let (now, sum) = (Instant::now(), sum(stats));
        let (before, last) = std::mem::replace(&mut self.last, (now, sum));
        let seconds = (now - before).as_secs_f64().max(1e-3);
        let rate = (ended(&sum) - ended(&last)) as f64 / seconds;
        let period = match self.form {
            Form::Json => Duration::from_secs(1),
            _ => PERIOD,
        };
        let (at, printed) = self.printed;
        let due = now - at >= period && printed != sum;
        match &self.form {
            Form::Live(bar) => bar.set_message(numbers(&sum, rate)),
            Form::Plain if due => self.line(numbers(&sum, rate)),
            Form::Json if due => output::json(&json!({ "progress": sum })),
            Form::Plain | Form::Json => return,
        }
        if due {
            self.printed = (now, sum);
        }
    }

    /// The summary.
    pub(super) fn conclude(&self, stats: &Stats) {
        if let Form::Live(bar) = &self.form {
            bar.finish_and_clear();
        }
        let seconds = self.start.elapsed().as_secs_f64();
        if let Form::Json = self.form {
            output::json(&json!({ "summary": stats, "seconds": seconds }));
            return;
        }
        let sum = sum(stats);
        let mut text = format!(
            "\nafter {seconds:.1} s\n  {}",
            numbers(&sum, ended(&sum) as f64 / seconds)
        );
        let counts = sum.counts;
        let more = [
            ("delivered again", counts.redeliveries),
            ("leases that ended unconfirmed", counts.leases_expired),
            ("handles that came late", counts.late_handles),
            ("handles never given out", counts.unknown_handles),
            ("callbacks answered, but not with 200", counts.refused),
            ("callbacks given up", counts.lost),
            ("calls that a fault befell", stats.faults_happened),
        ];
        for (what, count) in more.into_iter().filter(|(_, count)| *count > 0) {
            write!(text, "\n  {what}: {count}").expect("a String takes any text");
        }
        for (action, codes) in &stats.calls {
            let codes: Vec<_> = codes
                .iter()
                .map(|(code, n)| format!("{code} {n}"))
                .collect();
            write!(text, "\n  {action}: {}", codes.join(", ")).expect("a String takes any text");
        }
        self.line(text);
    }

    fn line(&self, text: String) {
        match &self.form {
            Form::Live(bar) => bar.suspend(|| output::line(text)),
            Form::Json | Form::Plain => output::line(text),
        }
    }
}

fn started(plan: &Plan, cloud: &Cloud) -> Value {
    json!({
        "started": {
            "endpoint": cloud.endpoint(),
            "applications": plan.sub_app_ids,
            "seed": plan.config.seed,
            "recorded": plan.recorded.len(),
            "events": plan.events,
            "rate": plan.rate,
        }
    })
}

/// What is simulated, and the sources of a configuration that go with it.
fn introduction(plan: &Plan, cloud: &Cloud) -> String {
    let (endpoint, seed) = (cloud.endpoint(), plan.config.seed);
    let issued = match (plan.recorded.len(), plan.events, plan.rate) {
        (0, None, Some(rate)) => format!("{rate} events a second"),
        (0, Some(events), None) => format!("{events} events"),
        (0, Some(events), Some(rate)) => format!("{events} events, {rate} a second"),
        (recorded, None, None) => format!("{recorded} recorded notifications"),
        (recorded, _, _) => format!("{recorded} recorded notifications, then others"),
    };
    let mut text = format!(
        "the cloud is simulated on {endpoint}: {issued} for each application, seed {seed}\n\
         a bridge with these sources gets them, with the key in its variable SIMULATE_SECRET_KEY:\n\n\
         sources:"
    );
    for sub_app_id in &plan.sub_app_ids {
        let posted = plan.callbacks.get(sub_app_id);
        let url = posted.and_then(|change| change.notification_url.as_deref());
        let source = match url {
            None => format!(
                "queue:\n      sub_app_id: {sub_app_id}\n      endpoint: {endpoint}\n      \
                 credentials: {{ secret_id: {:?}, secret_key: {{ env: SIMULATE_SECRET_KEY }} }}",
                plan.secret_id
            ),
            Some(url) => {
                let keys = posted.and_then(|change| change.sign_key.as_ref());
                let keys = keys.map_or("", |_| "\n      sign_keys: [{ env: VOD_SIGN_KEY }]");
                let (listen, path) = parts(url);
                format!(
                    "webhook:\n      sub_app_id: {sub_app_id}\n      listen: {listen}\n      \
                     path: {path}{keys}"
                )
            }
        };
        write!(text, "\n  app_{sub_app_id}:\n    {source}").expect("a String takes any text");
    }
    text + "\n"
}

/// Address and path of a callback URL.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let path = rest.find('/').unwrap_or(rest.len());
    let (address, path) = rest.split_at(path);
    let path = path.split('?').next().unwrap_or_default();
    (address, if path.is_empty() { "/" } else { path })
}

fn numbers(sum: &QueueStats, rate: f64) -> String {
    let counts = &sum.counts;
    format!(
        "issued {}  pulled {}  posted {}  confirmed {}  waiting {}  hidden {}  {rate:.0}/s",
        counts.issued, counts.deliveries, counts.posts, counts.confirmed, sum.waiting, sum.hidden,
    )
}

fn ended(sum: &QueueStats) -> u64 {
    sum.counts.issued - sum.counts.open()
}

/// Of all applications together.
fn sum(stats: &Stats) -> QueueStats {
    stats
        .applications
        .values()
        .fold(QueueStats::default(), |a, b| a + *b)
}

fn numbers_line() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}  (Ctrl-C ends)") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
