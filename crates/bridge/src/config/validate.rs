//! What types cannot say: names, kinds, times, and what refers to what.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use vodbridge_core::Template;
use vodbridge_vod::Catalogue;

use super::errors::Report;
use super::tree::{KeyPath, Tree};
use super::written::{DeadLetterEntry, Written};
use super::{Config, DeadLetter, Sink, Source};

mod credentials;
mod directories;
mod kinds;
mod listeners;
mod queue;
mod routes;
mod sinks;
mod sources;
mod topics;
mod webhook;

/// Deliveries, or connections, that any machine can hold at once.
const MOST: usize = 1_000_000;
/// A reservation of bytes is counted in 32 bits.
const MOST_BYTES: u64 = u32::MAX as u64;
/// A time that no setting needs to pass; beyond it arithmetic on instants may fail.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks everything and fills in what follows from the rest.
pub(super) fn config(
    written: Written,
    tree: &Tree,
    variables: &BTreeMap<String, String>,
    report: &mut Report,
) -> Config {
    let mut check = Check {
        tree,
        variables,
        report,
    };
    let sources = sources::check(written.sources, &written.admin, &mut check);
    let sinks = sinks::check(written.sinks, &written.state_directory, &mut check);
    directories::check(&written.state_directory, &sources, &sinks, &mut check);
    let catalogue = catalogue(&written.event_types, &mut check);
    routes::check(&written.routes, &sources, &sinks, &catalogue, &mut check);
    let dead_letter = dead_letter(written.dead_letter, &sinks, &mut check);
    drain(&written.drain, &sources, &mut check);
    let config = Config {
        admin: written.admin,
        state_directory: written.state_directory,
        drain: written.drain,
        log: written.log,
        catalogue: Arc::new(catalogue),
        sources,
        sinks,
        routes: written.routes,
        dead_letter,
    };
    topics::check(&config, &mut check);
    config
}

/// What the checks share.
struct Check<'a> {
    tree: &'a Tree,
    variables: &'a BTreeMap<String, String>,
    report: &'a mut Report,
}

impl Check<'_> {
    /// Reports the problem unless the condition holds.
    fn that(
        &mut self,
        holds: bool,
        path: &KeyPath,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !holds {
            self.report.add(self.tree, path, problem, remedy);
        }
    }

    /// Names stand in key paths, variables, metrics and logs.
    fn name(&mut self, path: &KeyPath, name: &str) {
        let good = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let remedy = "write lower-case letters, digits and `_`";
        self.that(good, path, "is no name", remedy);
    }

    /// The one kind of an entry.
    fn one_kind<T>(&mut self, path: &KeyPath, kinds: Vec<(&str, T)>, known: &[&str]) -> Option<T> {
        if let [first, second, ..] = kinds.as_slice() {
            let place = |kind| format!("{kind} ({})", self.tree.origin(&path.join(kind)));
            let problem = format!("has two kinds, {} and {}", place(first.0), place(second.0));
            let remedy = format!("remove one, for example with `{}: null`", first.0);
            self.that(false, path, problem, remedy);
        } else if kinds.is_empty() && self.report.trusts(path) {
            let remedy = format!("write one of these into it: {}", known.join(", "));
            self.that(false, path, "has no kind", remedy);
        }
        kinds.into_iter().next().map(|(_, kind)| kind)
    }

    /// An element of what may be written as a list or as a single value.
    fn element(&self, path: &KeyPath, at: usize) -> KeyPath {
        let list = self
            .tree
            .get(path)
            .is_some_and(|value| value.as_array().is_some());
        if list {
            path.join(at.to_string())
        } else {
            path.clone()
        }
    }

    /// Topics, subjects and routing keys have parts between their dots; brokers differ in what an
    /// empty one means, and some refuse it.
    fn parts(&mut self, path: &KeyPath, topic: &str) {
        let whole = !topic.split('.').any(str::is_empty);
        let remedy = "write something before, between and after its dots";
        self.that(whole, path, "has an empty part", remedy);
    }

    /// Reports a number that is out of its bounds.
    fn within<T: PartialOrd + Display>(
        &mut self,
        path: &KeyPath,
        number: T,
        bounds: RangeInclusive<T>,
    ) {
        let problem = format!("must be from {} to {}", bounds.start(), bounds.end());
        self.that(bounds.contains(&number), path, problem, "");
    }

    fn not_longer_than_a_day(&mut self, path: &KeyPath, time: Duration) {
        self.that(time <= LONGEST, path, "is longer than a day", "");
    }
}

/// The documented event types and the operator's.
fn catalogue(added: &[String], check: &mut Check<'_>) -> Catalogue {
    let path = KeyPath::of(["event_types"]);
    for (at, name) in added.iter().enumerate() {
        if let Err(error) = Catalogue::new([name.clone()]) {
            let path = path.join(at.to_string());
            check.that(false, &path, check.report.quoting(&path, error), "");
        }
    }
    Catalogue::new(added.iter().cloned()).unwrap_or_default()
}

fn dead_letter(
    entry: DeadLetterEntry,
    sinks: &BTreeMap<String, Sink>,
    check: &mut Check<'_>,
) -> DeadLetter {
    let path = KeyPath::of(["dead_letter"]);
    let at = path.join("topic");
    match Template::parse(&entry.topic) {
        Ok(topic) => {
            let plain = topic.labels().next().is_none();
            let remedy = "write a plain name: what cannot be read has no labels";
            check.that(plain, &at, "has a label", remedy);
            check.parts(&at, &entry.topic);
        }
        Err(error) => check.that(false, &at, check.report.quoting(&at, error), ""),
    }
    let at = path.join("sink");
    let sink = match entry.sink {
        Some(name) => {
            sinks::must_exist(&name, sinks, &at, check);
            name
        }
        None => {
            let names: Vec<&str> = sinks.keys().map(String::as_str).collect();
            let problem = "must be chosen, since there are several sinks";
            let remedy = format!("write one of {}", names.join(", "));
            check.that(names.len() < 2, &at, problem, remedy);
            sinks.keys().next().cloned().unwrap_or_default()
        }
    };
    DeadLetter {
        sink,
        topic: entry.topic,
    }
}

/// A callback that came just before the grace ended has its whole patience, a queue source stops
/// pulling at once, and 5 s are left for what comes after both.
fn drain(drain: &super::Drain, sources: &BTreeMap<String, Source>, check: &mut Check<'_>) {
    let path = KeyPath::of(["drain"]);
    let (grace, timeout) = (path.join("grace"), path.join("timeout"));
    check.not_longer_than_a_day(&grace, drain.grace);
    check.not_longer_than_a_day(&timeout, drain.timeout);
    let time = humantime::format_duration;
    let needs = |(name, source): (&String, &Source)| {
        let patience = source.patience();
        let of = |kind: &str| KeyPath::of(["sources", name, kind]);
        let (of, keys, before): (_, &[&str], _) = match source {
            Source::Webhook(_) => (of("webhook"), &["patience"], drain.grace),
            Source::Queue(_) => (of("queue"), &["lease", "lease_margin"], Duration::ZERO),
        };
        let mut relied_on = keys.iter().map(|key| of.join(*key)).chain([grace.clone()]);
        let known = relied_on.all(|path| check.report.trusts(&path));
        let what = match source {
            Source::Webhook(_) => {
                let grace = time(drain.grace);
                format!("drain.grace ({grace}), {of}.patience ({})", time(patience))
            }
            Source::Queue(_) => format!("{of}.lease less lease_margin ({})", time(patience)),
        };
        known.then(|| (before.saturating_add(patience), what))
    };
    let Some((longest, what)) = sources.iter().filter_map(needs).max() else {
        return;
    };
    let least = longest.saturating_add(Duration::from_secs(5));
    let problem = format!("{} is too short for {what} and 5s", time(drain.timeout));
    let remedy = format!("write at least {}", time(least));
    check.that(drain.timeout >= least, &timeout, problem, remedy);
}
