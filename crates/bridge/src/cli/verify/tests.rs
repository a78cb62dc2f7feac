use vodbridge_core::{
    Content, DeadLetter, Envelope, Event, Foreign, Message, Reason, SinkSet, Targets,
};
use vodbridge_simulator::cloud::{LedgerEntry, State, content};

use super::aside::Aside;
use super::issued::{Digest, Issued};
use super::tally::Tally;
use super::verdict::Verdict;

mod spooled;

fn hex(number: u64) -> String {
    vodbridge_vod::raw_id(&number.to_be_bytes())
}

fn event(id: &str, data: u64) -> Envelope {
    let event = Event {
        id: id.to_owned(),
        source: "https://vod.example/7".into(),
        ty: "com.tencent.cloud.vod.FileDeleted".into(),
        subject: Some("file".to_owned()),
        time: "2026-01-01T00:00:00Z".to_owned(),
        partition_key: Some("file".to_owned()),
        extensions: Vec::new(),
        labels: Vec::new(),
    };
    event.encode(|out| out.extend_from_slice(data.to_string().as_bytes()))
}

fn message(event: &Envelope) -> Message {
    Message {
        topic: "vod.FileDeleted".to_owned(),
        position: "line 1".to_owned(),
        event: Ok(event.clone()),
    }
}

/// The event `number`, whose id is its own.
fn own(number: u64) -> Message {
    message(&event(&hex(number), number))
}

fn entry(sequence: u64, state: State) -> LedgerEntry {
    LedgerEntry {
        sub_app_id: 7,
        sequence,
        state,
        ended_ms: None,
        deliveries: 1,
        ty: Some("com.tencent.cloud.vod.FileDeleted".to_owned()),
        subject: Some("file".to_owned()),
        outcome: None,
        ids: vec![hex(sequence)],
        fingerprint: None,
        repeatable: false,
        content: None,
    }
}

/// One that can happen twice, with these ids.
fn repeatable(sequence: u64, data: u64, ids: &[u64]) -> LedgerEntry {
    LedgerEntry {
        ids: ids.iter().copied().map(hex).collect(),
        repeatable: true,
        content: Some(content(&event("", data))),
        ..entry(sequence, State::Confirmed)
    }
}

fn to(required: &[usize], shadow: &[usize]) -> Targets {
    Targets {
        required: SinkSet::of(required.iter().copied()),
        shadow: SinkSet::of(shadow.iter().copied()),
    }
}

fn issued(entries: &[LedgerEntry]) -> Issued {
    let mut issued = Issued::default();
    for entry in entries {
        issued.add(entry, to(&[0], &[]));
    }
    issued
}

/// One sink with these messages.
fn verdict(entries: &[LedgerEntry], messages: &[Message]) -> Verdict {
    let issued = issued(entries);
    judge(&issued, &[messages], Aside::new(10))
}

fn judge(issued: &Issued, sinks: &[&[Message]], letters: Aside) -> Verdict {
    judge_with(issued, sinks, letters, Aside::new(10))
}

fn judge_with(issued: &Issued, sinks: &[&[Message]], letters: Aside, spool: Aside) -> Verdict {
    let tally = |(place, messages): (usize, &&[Message])| {
        let mut tally = Tally::new(issued, 10);
        messages.iter().for_each(|m| tally.add(issued, m));
        (format!("sink{place}"), tally)
    };
    let tallies = sinks.iter().enumerate().map(tally).collect();
    Verdict::of(issued, tallies, (letters, spool), 10)
}

/// Due, delivered, missing, duplicated, reordered, unexpected of the first sink.
fn numbers(verdict: &Verdict) -> [u64; 6] {
    let sink = &verdict.sinks["sink0"];
    [
        sink.due,
        sink.delivered,
        sink.missing.count,
        sink.duplicated.count,
        sink.reordered,
        sink.unexpected.count,
    ]
}

fn confirmed(sequences: std::ops::RangeInclusive<u64>) -> Vec<LedgerEntry> {
    sequences.map(|n| entry(n, State::Confirmed)).collect()
}

#[test]
fn a_digest_is_half_of_an_id() {
    let id = hex(1);
    assert_eq!(Digest::of(&id), Digest::of(&id));
    assert_ne!(Digest::of(&id), Digest::of(&id.replace(&id[..1], "g")));
    assert_ne!(Digest::of(""), Digest::of("é"));
}

#[test]
fn all_there_is_well() {
    let verdict = verdict(&confirmed(1..=3), &[own(1), own(2), own(3)]);
    assert!(verdict.ok);
    assert_eq!(numbers(&verdict), [3, 3, 0, 0, 0, 0]);
}

#[test]
fn what_the_cloud_holds_for_received_is_missed() {
    let mut entries = confirmed(1..=2);
    entries.extend([
        entry(3, State::Refused),
        entry(4, State::Open),
        entry(5, State::Lost),
    ]);
    let verdict = verdict(&entries, &[own(1)]);
    assert!(!verdict.ok);
    assert_eq!(numbers(&verdict), [3, 1, 2, 0, 0, 0]);
    let missing: Vec<_> = verdict.sinks["sink0"].missing.first.iter().collect();
    assert_eq!((missing[0].sequence, missing[1].sequence), (2, 3));
    let counts = verdict.counts;
    assert_eq!((counts.issued, counts.confirmed), (5, 2));
    assert_eq!((counts.refused, counts.open, counts.lost), (1, 1, 1));
}

#[test]
fn copies_and_disorder_are_told_and_forgiven() {
    let verdict = verdict(&confirmed(1..=3), &[own(1), own(3), own(2), own(3), own(1)]);
    assert!(verdict.ok);
    assert_eq!(numbers(&verdict), [3, 3, 0, 2, 1, 0]);
    let copy = &verdict.sinks["sink0"].duplicated.first[0];
    assert_eq!(copy.id, Some(hex(3)));
}

#[test]
fn what_nobody_issued_is_unexpected() {
    let foreign = Message {
        event: Err(Foreign {
            reason: "odd".to_owned(),
            body: "x".into(),
        }),
        ..own(1)
    };
    let verdict = verdict(&confirmed(1..=1), &[own(1), own(9), foreign]);
    assert!(!verdict.ok);
    assert_eq!(numbers(&verdict), [1, 1, 0, 0, 0, 2]);
    let named = &verdict.sinks["sink0"].unexpected.first;
    assert_eq!(named[0].id, Some(hex(9)));
    assert_eq!(named[1].reason.as_deref(), Some("odd"));
}

#[test]
fn a_repeatable_event_has_an_id_of_each_handle() {
    let entries = [repeatable(1, 50, &[10, 11]), repeatable(2, 51, &[12])];
    let with = |id: u64, data| message(&event(&hex(id), data));
    let clean = verdict(&entries, &[with(11, 50), with(12, 51)]);
    assert_eq!((clean.ok, numbers(&clean)), (true, [2, 2, 0, 0, 0, 0]));
    let twice = verdict(&entries, &[with(10, 50), with(11, 50)]);
    assert_eq!((twice.ok, numbers(&twice)), (false, [2, 1, 1, 1, 0, 0]));
}

#[test]
fn a_repeatable_event_that_was_posted_is_known_by_its_content() {
    // Two happenings with the same content, and one with another.
    let entries = [
        repeatable(1, 50, &[]),
        repeatable(2, 50, &[]),
        repeatable(3, 51, &[]),
    ];
    let with = |id: u64, data| message(&event(&hex(id), data));
    let clean = verdict(&entries, &[with(20, 50), with(21, 50), with(22, 51)]);
    assert_eq!((clean.ok, numbers(&clean)), (true, [3, 3, 0, 0, 0, 0]));
    let copied = [with(20, 50), with(20, 50), with(22, 51)];
    let copied = verdict(&entries, &copied);
    assert_eq!((copied.ok, numbers(&copied)), (false, [3, 2, 1, 1, 0, 0]));
    // A copy that a restart made another one of.
    let more = [with(20, 50), with(21, 50), with(22, 51), with(23, 51)];
    let more = verdict(&entries, &more);
    assert_eq!((more.ok, numbers(&more)), (true, [3, 3, 0, 1, 0, 0]));
    let other = verdict(&entries, &[with(20, 52)]);
    assert_eq!(numbers(&other), [3, 0, 3, 0, 0, 1]);
}

/// Two equal events under one handle: the second's id takes in its number in the answer.
#[test]
fn events_that_share_an_id_are_told_apart_by_their_content() {
    let entries = [repeatable(1, 50, &[10]), repeatable(2, 50, &[10])];
    let with = |id: u64, data| message(&event(&hex(id), data));
    for order in [[10, 99], [99, 10]] {
        let both = verdict(&entries, &order.map(|id| with(id, 50)));
        assert_eq!((both.ok, numbers(&both)), (true, [2, 2, 0, 0, 0, 0]));
    }
    let one = verdict(&entries, &[with(10, 50)]);
    assert_eq!((one.ok, numbers(&one)), (false, [2, 1, 1, 0, 0, 0]));
}

fn letter(content: Content, id: &str, sink: Option<&str>) -> Message {
    let letter = DeadLetter {
        id: id.to_owned(),
        reason: Reason::Refused,
        source: "queue".into(),
        sink: sink.map(str::to_owned),
        error: None,
        attempts: 1,
        first: std::time::UNIX_EPOCH,
        last: std::time::UNIX_EPOCH,
        content,
    };
    Message {
        topic: "vod.dead_letter".to_owned(),
        ..message(&letter.encode())
    }
}

#[test]
fn a_dead_letter_stands_for_its_event_in_its_sink() {
    let mut issued = Issued::default();
    let unreadable = LedgerEntry {
        ty: None,
        ids: Vec::new(),
        ..entry(5, State::Confirmed)
    };
    for (entry, targets) in [
        (entry(1, State::Confirmed), to(&[0, 1], &[])),
        (entry(2, State::Confirmed), to(&[0], &[1])),
        (entry(3, State::Confirmed), to(&[], &[0])),
        (repeatable(4, 50, &[]), to(&[0], &[])),
        (unreadable, to(&[0], &[])),
    ] {
        issued.add(&entry, targets);
    }
    let content = |id: &str, data| Content::Event(event(id, data));
    let posted = hex(40);
    let letters = [
        letter(content(&hex(1), 1), &hex(1), Some("sink0")),
        letter(content(&hex(3), 3), &hex(3), None),
        letter(content(&posted, 50), &posted, Some("sink0")),
    ];
    let raw = Content::Raw {
        body: "{".into(),
        headers: Vec::new(),
        occurrence: None,
    };
    let raw = letter(raw, &hex(41), None);
    let stray = [letter(content(&hex(9), 9), &hex(9), None), own(1)];
    let kept = |all: &[&[Message]]| {
        let mut kept = Aside::new(10);
        let all = all.iter().flat_map(|some| some.iter());
        all.for_each(|message| kept.add_letter(&issued, &["sink0", "sink1"], message));
        kept
    };
    let clean = kept(&[&letters, std::slice::from_ref(&raw)]);
    let clean = judge(&issued, &[&[own(2)], &[own(1)]], clean);
    assert!(clean.ok, "{clean:?}");
    assert_eq!(clean.dead_lettered, 4);
    assert_eq!(clean.sinks["sink0"].dead_lettered, 2);
    assert_eq!(clean.sinks["sink1"].shadow_missing, 1);

    // The letter of the first sink does not stand for the second.
    let second = judge(
        &issued,
        &[&[own(2)], &[]],
        kept(&[&letters, std::slice::from_ref(&raw)]),
    );
    assert_eq!((second.ok, second.sinks["sink1"].missing.count), (false, 1));
    let without = judge(&issued, &[&[own(2)], &[own(1)]], kept(&[&letters[..1]]));
    assert_eq!(without.not_dead_lettered.count, 2);
    assert_eq!(without.sinks["sink0"].missing.count, 1);
    let stray = judge(
        &issued,
        &[&[own(2)], &[own(1)]],
        kept(&[&letters, &[raw], &stray]),
    );
    assert_eq!((stray.ok, stray.unexpected_dead_letters.count), (false, 2));
}
