//! Every topic that a configuration can produce.

use super::*;

fn topics(text: &str) -> BTreeMap<String, Vec<String>> {
    let config = load_over(text).unwrap();
    config
        .topics()
        .into_iter()
        .map(|(sink, topics)| (sink.to_owned(), topics.into_iter().collect()))
        .collect()
}

fn route(matching: &str) -> String {
    format!("routes: {{ a: {{ match: {{ {matching} }}, to: {{ events: {{}} }} }} }}")
}

#[test]
fn one_for_each_event_type_and_the_dead_letter() {
    let all = topics("event_types: [NewThing]");
    let events = &all["events"];
    for topic in [
        "vod.NewFileUpload",
        "vod.v2.NewFileUpload",
        "vod.NewThing",
        "vod.other",
        "vod.v2.other",
        "vod.dead_letter",
    ] {
        assert!(events.iter().any(|t| t == topic), "{topic} in {events:?}");
    }
    assert_eq!(events.len(), 37 + 9 + 1 + 2 + 1);
}

#[test]
fn patterns_narrow_them() {
    for (pattern, expected) in [
        ("PullComplete", vec!["vod.PullComplete", "vod.dead_letter"]),
        (
            "v2.Pull*",
            vec![
                "vod.dead_letter",
                "vod.other",
                "vod.v2.PullComplete",
                "vod.v2.other",
            ],
        ),
        (
            "PullComp*",
            vec!["vod.PullComplete", "vod.dead_letter", "vod.other"],
        ),
        ("Unheard", vec!["vod.dead_letter", "vod.other"]),
        (
            "v2.Unheard",
            vec!["vod.dead_letter", "vod.other", "vod.v2.other"],
        ),
        (
            "'*Unheard'",
            vec!["vod.dead_letter", "vod.other", "vod.v2.other"],
        ),
    ] {
        assert_eq!(
            topics(&route(&format!("event_type: {pattern}")))["events"],
            expected,
            "{pattern}"
        );
    }
}

#[test]
fn the_routes_of_a_sink_are_united() {
    let text = "
sinks: { archive: { file: { directory: /a, topic: all }, }, idle: { file: { directory: /b } } }
dead_letter: { sink: archive, topic: dead }
routes:
  a: { match: { event_type: PullComplete }, to: { events: {}, archive: { shadow: true } } }
  b: { match: { event_type: FileDeleted }, to: { events: {} } }";
    let all = topics(text);
    assert_eq!(all["events"], ["vod.FileDeleted", "vod.PullComplete"]);
    assert_eq!(all["archive"], ["all", "dead"]);
    assert!(all["idle"].is_empty());
}

#[test]
fn other_labels_take_what_the_sources_and_routes_allow() {
    let text = |matching: &str| {
        format!(
            "sources: {{ second: {{ webhook: {{ listen: 127.0.0.1:8081, sub_app_id: 2 }} }} }}
sinks: {{ events: {{ kafka: {{ topic: 'v.{{source}}.{{sub_app_id}}.{{outcome}}' }} }} }}
{}",
            route(matching)
        )
    };
    assert_eq!(topics(&text(""))["events"].len(), 2 * 4 + 1);
    assert_eq!(
        topics(&text("outcome: [failed, unknown], sub_app_id: 2"))["events"],
        ["v.second.2.failed", "v.second.2.unknown", "vod.dead_letter"]
    );
    assert_eq!(
        topics(&text("source: callback, sub_app_id: 2"))["events"],
        ["vod.dead_letter"]
    );
}
