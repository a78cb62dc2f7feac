//! What waits in the spool is neither missing nor counted in two places.

use super::*;

const SINKS: [&str; 2] = ["sink0", "sink1"];

/// A record of the spool, and the sinks that have its event already.
fn spool(issued: &Issued, records: &[(Message, &[&str])]) -> Aside {
    let mut spool = Aside::new(10);
    for (message, settled) in records {
        let settled: Vec<_> = settled.iter().map(|name| (*name).to_owned()).collect();
        spool.add_record(issued, &SINKS, message, &settled);
    }
    spool
}

fn raw_letter(id: u64) -> Message {
    let raw = Content::Raw {
        body: "{".into(),
        headers: Vec::new(),
        occurrence: None,
    };
    letter(raw, &hex(id), None)
}

/// Due, delivered, dead-lettered, waiting and missing of each sink.
fn places(verdict: &Verdict) -> Vec<[u64; 5]> {
    let sinks = verdict.sinks.values();
    let of = |sink: &super::super::verdict::SinkVerdict| {
        [
            sink.due,
            sink.delivered,
            sink.dead_lettered,
            sink.spooled,
            sink.missing.count,
        ]
    };
    sinks.map(of).collect()
}

#[test]
fn what_waits_in_the_spool_is_not_missing() {
    let mut issued = Issued::default();
    for sequence in 1..=3 {
        issued.add(&entry(sequence, State::Confirmed), to(&[0, 1], &[]));
    }
    // The second has gone to one of its sinks; the third is nowhere.
    let spool = spool(&issued, &[(own(1), &[]), (own(2), &["sink0"])]);
    let topics: [&[Message]; 2] = [&[own(2)], &[]];
    let verdict = judge_with(&issued, &topics, Aside::new(10), spool);
    assert_eq!(places(&verdict), [[3, 1, 0, 1, 1], [3, 0, 0, 2, 1]]);
    assert_eq!((verdict.ok, verdict.spooled), (false, 2));
}

/// Read from the spool, then delivered, then read from its topic.
#[test]
fn what_left_the_spool_meanwhile_is_delivered() {
    let issued = issued(&confirmed(1..=2));
    let spool = spool(&issued, &[(own(1), &[]), (own(2), &[])]);
    let verdict = judge_with(&issued, &[&[own(1)]], Aside::new(10), spool);
    assert_eq!(places(&verdict), [[2, 1, 0, 1, 0]]);
    assert!(verdict.ok);
}

#[test]
fn of_events_with_one_content_each_is_counted_in_one_place() {
    let entries = [1, 2, 3].map(|sequence| repeatable(sequence, 50, &[]));
    let issued = issued(&entries);
    let with = |id: u64| message(&event(&hex(id), 50));
    let letters = |id: u64| {
        let mut letters = Aside::new(10);
        let content = Content::Event(event(&hex(id), 50));
        letters.add_letter(&issued, &SINKS, &letter(content, &hex(id), Some("sink0")));
        letters
    };
    let records: [(Message, &[&str]); 2] = [(with(20), &[]), (with(21), &[])];
    let spooled = || spool(&issued, &records);
    let all = judge_with(&issued, &[&[with(22)]], Aside::new(10), spooled());
    assert_eq!(places(&all), [[3, 1, 0, 2, 0]]);
    // Both have left it meanwhile, and the third is nowhere.
    let left = judge_with(&issued, &[&[with(20)]], letters(21), spooled());
    assert_eq!(places(&left), [[3, 1, 1, 0, 1]]);
}

#[test]
fn a_dead_letter_that_waits_stands_for_its_event() {
    let mut issued = Issued::default();
    issued.add(&entry(1, State::Confirmed), to(&[0], &[]));
    issued.add(&entry(2, State::Confirmed), to(&[], &[]));
    let unreadable = LedgerEntry {
        ty: None,
        ids: Vec::new(),
        ..entry(3, State::Confirmed)
    };
    issued.add(&unreadable, to(&[], &[]));
    let refused = letter(Content::Event(event(&hex(1), 1)), &hex(1), Some("sink0"));
    let unrouted = letter(Content::Event(event(&hex(2), 2)), &hex(2), None);
    let records: [(Message, &[&str]); 3] = [(refused, &[]), (unrouted, &[]), (raw_letter(40), &[])];
    let spool = spool(&issued, &records);
    let mut letters = Aside::new(10);
    // Written meanwhile.
    letters.add_letter(&issued, &SINKS, &raw_letter(40));
    let verdict = judge_with(&issued, &[&[]], letters, spool);
    assert_eq!(places(&verdict), [[1, 0, 0, 1, 0]]);
    assert_eq!(verdict.not_dead_lettered.count, 0);
    assert_eq!((verdict.ok, verdict.spooled), (true, 3));
}

#[test]
fn what_nobody_issued_is_unexpected_in_the_spool_too() {
    let issued = issued(&confirmed(1..=1));
    let spool = spool(&issued, &[(own(9), &[])]);
    let verdict = judge_with(&issued, &[&[own(1)]], Aside::new(10), spool);
    assert_eq!((verdict.ok, verdict.unexpected_spooled.count), (false, 1));
    assert_eq!(verdict.unexpected_spooled.first[0].id, Some(hex(9)));
}
