//! Routes: the sinks that they name, and patterns that can match something.

use std::collections::BTreeMap;

use vodbridge_vod::Catalogue;

use super::{Check, sinks};
use crate::config::errors::{closest, instead_of};
use crate::config::tree::KeyPath;
use crate::config::{Match, Route, Sink, Source};

pub(super) fn check(
    routes: &BTreeMap<String, Route>,
    sources: &BTreeMap<String, Source>,
    sinks: &BTreeMap<String, Sink>,
    catalogue: &Catalogue,
    check: &mut Check<'_>,
) {
    let known: Vec<&str> = catalogue.topic_names().collect();
    for (name, route) in routes {
        let path = KeyPath::of(["routes", name]);
        check.name(&path, name);
        let to = path.join("to");
        let some = !route.to.is_empty() || !check.report.trusts(&to);
        let remedy = "name at least one, for example `to: {events: {}}`; a name with nothing after it is removed";
        check.that(some, &to, "names no sink", remedy);
        for sink in route.to.keys() {
            sinks::must_exist(sink, sinks, &to.join(sink), check);
        }
        let path = path.join("match");
        event_types(&route.matching, &known, &path.join("event_type"), check);
        from(&route.matching, sources, &path.join("source"), check);
    }
}

fn event_types(matching: &Match, known: &[&str], path: &KeyPath, check: &mut Check<'_>) {
    for (at, pattern) in matching.event_type.iter().enumerate() {
        let path = check.element(path, at);
        let good = !pattern.is_empty()
            && pattern
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"*._-".contains(&b));
        check.that(
            good,
            &path,
            "is no pattern of event types",
            "write letters, digits, `.`, `_`, `-`, and `*` for any",
        );
        // A type that nobody knows yet is no mistake, but one letter off a known one is.
        if !pattern.contains('*')
            && !known.contains(&pattern.as_str())
            && let Some(near) = closest(pattern, known)
        {
            let remedy = format!("did you mean {near:?}? name a new type under event_types");
            check.that(false, &path, "is no known event type", remedy);
        }
    }
}

fn from(
    matching: &Match,
    sources: &BTreeMap<String, Source>,
    path: &KeyPath,
    check: &mut Check<'_>,
) {
    for (at, name) in matching.source.iter().enumerate() {
        let path = check.element(path, at);
        let known =
            sources.contains_key(name) || !check.report.trusts(&KeyPath::of(["sources", name]));
        let remedy = instead_of(name, sources.keys().map(String::as_str));
        check.that(known, &path, format!("there is no source {name:?}"), remedy);
    }
}
