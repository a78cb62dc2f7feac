//! The demo for scripts, an object a line: `docs/demo.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use vodbridge_core::Health;
use vodbridge_simulator::cloud::Mode;

use super::show::{Facts, Numbers, Totals};
use super::story::{Ack, Ended};

pub(super) fn started(facts: &Facts) -> Value {
    json!({ "started": {
        "callback_urls": facts.urls,
        "queue_endpoint": facts.endpoint,
        "kafka_in_memory": facts.kafka,
        "directory": facts.directory,
        "sinks": facts.sinks,
        "rate": facts.rate,
        "seed": facts.seed,
    } })
}

pub(super) fn event(ended: &Ended) -> Value {
    let ack = |ack: &Ack| {
        json!({
            "sink": ack.sink, "topic": ack.topic, "ms": ms(ack.after), "dead_letter": ack.dead_letter,
        })
    };
    json!({ "event": {
        "mode": mode(ended.mode),
        "event_type": ended.event_type,
        "id": ended.id,
        "subject": ended.subject,
        "outcome": ended.outcome,
        "acks": ended.acks.iter().map(ack).collect::<Vec<_>>(),
        "state": ended.state,
        "ms": ms(ended.after),
        "deliveries": ended.deliveries,
    } })
}

pub(super) fn health(name: &str, health: &Health) -> Value {
    let problem = health.problem.as_ref();
    json!({ "health": {
        "name": name,
        "state": health.state.as_str(),
        "what": problem.map_or(&health.doing, |problem| &problem.what),
        "remedy": problem.map(|problem| &problem.remedy),
    } })
}

pub(super) fn summary(totals: &Totals) -> Value {
    let (mut pushed, mut pulled) = (numbers(&totals.pushed), numbers(&totals.pulled));
    let (posts, pulls) = (&totals.pushed.cloud, &totals.pulled.cloud);
    pushed["posted"] = (posts.counts.issued - posts.waiting as u64).into();
    pushed["attempts"] = posts.counts.posts.into();
    pushed["refused"] = posts.counts.refused.into();
    pushed["lost"] = posts.counts.lost.into();
    pulled["pulled"] = (pulls.counts.deliveries - pulls.counts.redeliveries).into();
    pulled["pulled_again"] = pulls.counts.redeliveries.into();
    json!({ "summary": {
        "pushed": pushed,
        "pulled": pulled,
        "event_types": totals.event_types,
        "events_not_shown": totals.missed,
        "seconds": rounded(totals.elapsed.as_secs_f64()),
    } })
}

/// What both modes have.
fn numbers(numbers: &Numbers) -> Value {
    let (counts, tally) = (&numbers.cloud.counts, &numbers.tally);
    let times = tally.ack_times.iter();
    let medians: BTreeMap<_, _> = times
        .map(|(sink, times)| (sink, times.median().map(rounded)))
        .collect();
    json!({
        "issued": counts.issued,
        "acked": tally.acked,
        "dead_lettered": tally.dead_lettered,
        "confirmed": counts.confirmed,
        "open": counts.open(),
        "acks": tally.acks,
        "median_ack_ms": medians,
        "median_confirm_ms": tally.confirm_times.median().map(rounded),
    })
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Push => "pushed",
        Mode::Pull => "pulled",
    }
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
