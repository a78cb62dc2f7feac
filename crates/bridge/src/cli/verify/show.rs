//! The verdict for people.

use std::fmt::Write;

use super::tally::Named;
use super::verdict::{Absent, Counted, SinkVerdict, Verdict};
use crate::cli::output;

pub(super) fn print(verdict: &Verdict) {
    let counts = &verdict.counts;
    output::line(format!(
        "the cloud: issued {}, confirmed {}, refused {}, given up {}, still open {}",
        counts.issued, counts.confirmed, counts.refused, counts.lost, counts.open
    ));
    for (name, sink) in &verdict.sinks {
        output::line(format!("{name}: {}", numbers(sink)));
        absent("missing", &sink.missing);
        named("duplicated", &sink.duplicated);
        named("unexpected", &sink.unexpected);
    }
    let spooled = &verdict.unexpected_spooled;
    output::line(format!(
        "spool: {} events wait, unexpected {}",
        verdict.spooled, spooled.count
    ));
    named("unexpected", spooled);
    let letters = &verdict.unexpected_dead_letters;
    output::line(format!(
        "dead letter: {} events, missing {}, unexpected {}",
        verdict.dead_lettered, verdict.not_dead_lettered.count, letters.count
    ));
    absent("missing", &verdict.not_dead_lettered);
    named("unexpected", letters);
    for note in &verdict.notes {
        output::line(format!("note: {note}"));
    }
    output::line(if verdict.ok {
        "nothing is missing and nothing unexpected"
    } else {
        "not as it should be"
    });
}

fn numbers(sink: &SinkVerdict) -> String {
    let mut text = format!(
        "due {}, delivered {}, dead-lettered {}, waiting in the spool {}, missing {}, duplicated {}, reordered {}, unexpected {}",
        sink.due,
        sink.delivered,
        sink.dead_lettered,
        sink.spooled,
        sink.missing.count,
        sink.duplicated.count,
        sink.reordered,
        sink.unexpected.count
    );
    if sink.shadow_missing > 0 {
        write!(text, ", of shadow routes missing {}", sink.shadow_missing)
            .expect("a String takes any text");
    }
    text
}

fn absent(what: &str, absent: &Counted<Absent>) {
    for event in &absent.first {
        let part = |name: &str, value: &Option<String>| match value {
            Some(value) => format!(" {name} {value}"),
            None => String::new(),
        };
        output::line(format!(
            "  {what}: application {} sequence {}{}{}{}",
            event.sub_app_id,
            event.sequence,
            part("type", &event.ty),
            part("subject", &event.subject),
            part("id", &event.id),
        ));
    }
    more(absent.count, absent.first.len());
}

fn named(what: &str, messages: &Counted<Named>) {
    for Named {
        topic,
        position,
        id,
        reason,
    } in &messages.first
    {
        let is = match (id, reason) {
            (Some(id), _) => format!("id {id}"),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "no event".to_owned(),
        };
        output::line(format!("  {what}: {topic}, {position}: {is}"));
    }
    more(messages.count, messages.first.len());
}

fn more(count: u64, shown: usize) {
    let left = count.saturating_sub(shown as u64);
    if left > 0 {
        output::line(format!(
            "  and {left} more; --limit-printed names more of them"
        ));
    }
}
