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

#[test]
fn a_topic_fits_its_broker() {
    let long = |bytes: usize| "v".repeat(bytes);
    let kafka = |topic: &str| format!("sinks: {{ events: {{ kafka: {{ topic: '{topic}' }} }} }}");
    let other = |text: &str| {
        format!("{{ sinks: {{ other: {{ {text} }} }}, dead_letter: {{ sink: events }} }}")
    };
    for (text, key, most) in [
        (kafka(&long(250)), "events.kafka.topic", 249),
        (
            other(&format!(
                "rabbitmq: {{ url: 'amqp://x', exchange: vod, routing_key: {} }}",
                long(256)
            )),
            "other.rabbitmq.routing_key",
            255,
        ),
        (
            other(&format!("nats: {{ servers: [a], subject: {} }}", long(257))),
            "other.nats.subject",
            256,
        ),
        (
            other(&format!("file: {{ directory: /a, topic: {} }}", long(201))),
            "other.file.topic",
            200,
        ),
    ] {
        one(
            &text,
            &format!(
                "prod.yaml: sinks.{key}: makes a name of {} bytes, and {most} is the most; shorten it, or the longest name under event_types",
                most + 1
            ),
        );
    }
    assert!(load_over(&kafka(&long(249))).is_ok());
    // What no route leads to is never made.
    let idle = format!("file: {{ directory: /a, topic: {} }}", long(300));
    let routes = "routes: { a: { to: { events: {} } } }";
    assert!(
        load_over(&format!(
            "{}, {routes} }}",
            other(&idle).strip_suffix('}').unwrap()
        ))
        .is_ok()
    );
    one(
        &format!("event_types: [{}]", long(246)),
        "base.yaml: sinks.events.kafka.topic: makes a name of 250 bytes, and 249 is the most; shorten it, or the longest name under event_types",
    );
}

#[test]
fn dead_letters_have_a_topic_to_themselves() {
    let topic = |topic: &str| format!("dead_letter: {{ topic: {topic} }}");
    one(
        &topic(&"d".repeat(201)),
        "prod.yaml: dead_letter.topic: has 201 bytes, and 200 is the most; shorten it",
    );
    assert!(load_over(&topic(&"d".repeat(200))).is_ok());
    one(
        &topic("undelivered"),
        "prod.yaml: dead_letter.topic: is the name of the file of undelivered events in the state directory; write another name",
    );
    let shared = "prod.yaml: dead_letter.topic: is a topic of events too, on sink events; write another name";
    one(&topic("vod.FileDeleted"), shared);
    one(&topic("vod.other"), shared);
    one(
        "event_types: [dead_letter]",
        "base.yaml, prod.yaml: dead_letter.topic: is a topic of events too, on sink events; write another name",
    );
    let elsewhere = format!(
        "{}\n{}",
        topic("vod.FileDeleted"),
        route("event_type: PullComplete")
    );
    assert!(load_over(&elsewhere).is_ok());
}
