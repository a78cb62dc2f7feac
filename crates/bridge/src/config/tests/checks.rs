//! What can be read and cannot work.

use super::*;

#[test]
fn names() {
    one(
        "{ sinks: { Archive-1: { file: { directory: /a } } }, dead_letter: { sink: events } }",
        "prod.yaml: sinks.Archive-1: is no name; write lower-case letters, digits and `_`",
    );
}

#[test]
fn impossible_times() {
    let late = "an answer within this time comes too late or leaves none to publish in; write at least 2s, and less than 5s, when the cloud gives up";
    for time in ["1999ms", "5s"] {
        one_of_webhook(
            &format!("answer_within: {time}"),
            &format!("prod.yaml: sources.callback.webhook.answer_within: {late}"),
        );
    }
    one_of_webhook(
        "patience: 5s",
        "prod.yaml: sources.callback.webhook.patience: is too short; write at least 6s: the cloud waits 5s before it sends a copy",
    );
    one(
        "drain: { timeout: 29s }",
        "prod.yaml: drain.timeout: 29s is too short for drain.grace (5s), sources.callback.webhook.patience (20s) and 5s; write at least 30s",
    );
    assert!(load_over("drain: { timeout: 30s }").is_ok());
    one_of_webhook(
        "header_read_timeout: 5s",
        "prod.yaml: sources.callback.webhook.header_read_timeout: is too short; write at least 5500ms: the cloud waits 5s for an answer",
    );
    one_of_webhook(
        "header_read_timeout: 2days",
        "prod.yaml: sources.callback.webhook.header_read_timeout: is longer than a day",
    );
    let century = "sources: { callback: { webhook: { patience: 100years } } }\ndrain: { grace: 500000000000years }";
    assert!(errors_over(century).len() >= 2);
}

#[test]
fn a_body_ends_within_the_patience() {
    for time in ["0s", "5s", "21s", "24h"] {
        one_of_webhook(
            &format!("body_timeout: {time}"),
            "prod.yaml: sources.callback.webhook.body_timeout: must be from 5500ms to sources.callback.webhook.patience (20s)",
        );
    }
    one_of_webhook(
        "body_timeout: 6500ms, patience: 6s",
        "prod.yaml: sources.callback.webhook.body_timeout: must be from 5500ms to sources.callback.webhook.patience (6s)",
    );
    assert!(load_over("sources: { callback: { webhook: { patience: 6s } } }").is_ok());
}

#[test]
fn impossible_numbers() {
    for key in ["max_in_flight", "max_connections"] {
        for number in [
            "0",
            "1000001",
            "2305843009213693952",
            "18446744073709551615",
        ] {
            one_of_webhook(
                &format!("{key}: {number}"),
                &format!("prod.yaml: sources.callback.webhook.{key}: must be from 1 to 1000000"),
            );
        }
    }
    for number in ["0", "4GiB", "18446744073709551615"] {
        let problem = |key| {
            format!("prod.yaml: sources.callback.webhook.{key}: must be from 1 to 4294967295")
        };
        one_of_webhook(&format!("max_bytes: {number}"), &problem("max_bytes"));
        one_of_webhook(
            &format!("max_body_bytes: {number}"),
            &problem("max_body_bytes"),
        );
    }
    one_of_webhook(
        "max_bytes: 1MiB",
        "prod.yaml: sources.callback.webhook.max_bytes: 1048576 bytes cannot hold one body of max_body_bytes, 16777216; raise it, or lower max_body_bytes",
    );
}

#[test]
fn shared_listeners() {
    let second = |keys: &str| {
        format!(
            "sources: {{ second: {{ webhook: {{ listen: 127.0.0.1:8080, sub_app_id: 2, {keys} }} }} }}"
        )
    };
    assert!(load_over(&second("path: /second")).is_ok());
    one(
        &second(""),
        "prod.yaml: sources.second.webhook.path: is the same as sources.callback.webhook.path (base.yaml), on the same address; write another path, or listen on another port",
    );
    one(
        &second("path: /second, max_connections: 5"),
        "prod.yaml: sources.second.webhook.max_connections: differs from sources.callback.webhook.max_connections (base.yaml), on the same address; write the same, or listen on another port",
    );
    one(
        &second("path: /second, health_path: /vod/callback"),
        "prod.yaml: sources.second.webhook.health_path: is the same as sources.callback.webhook.path (base.yaml), on the same address; write another path, or listen on another port",
    );
    one_of_webhook(
        "listen: 127.0.0.1:9600",
        "prod.yaml: sources.callback.webhook.listen: overlaps with admin.listen (base.yaml, prod.yaml); give one of them another port",
    );
    for path in ["vod", "''", "/a b", "/a?b", "'/a#b'", "/<a>", "/é"] {
        for key in ["path", "health_path"] {
            one_of_webhook(
                &format!("{key}: {path}"),
                &format!(
                    "prod.yaml: sources.callback.webhook.{key}: is no path; start with `/`; letters, digits and /-._~!$&'()*+,;=:@% only"
                ),
            );
        }
    }
}

#[test]
fn routes() {
    one(
        "routes: { a: { to: { event: {} } } }",
        "prod.yaml: routes.a.to.event: there is no sink \"event\"; did you mean \"events\"?",
    );
    one(
        "routes: { a: { to: { events: { shadw: true } } } }",
        "prod.yaml: routes.a.to.events.shadw: unknown key; did you mean \"shadow\"?",
    );
    let none = "names no sink; name at least one, for example `to: {events: {}}`; a name with nothing after it is removed";
    one(
        "routes: { a: { to: { events: } } }",
        &format!("prod.yaml: routes.a.to: {none}"),
    );
    let matching =
        |m: &str| format!("routes: {{ a: {{ match: {{ {m} }}, to: {{ events: {{}} }} }} }}");
    one(
        &matching("event_type: [Pull*, 'a b']"),
        "prod.yaml: routes.a.match.event_type.1: is no pattern of event types; write letters, digits, `.`, `_`, `-`, and `*` for any",
    );
    one(
        &matching("outcome: [failed, broken]"),
        "prod.yaml: routes.a.match.outcome.1: unknown value \"broken\"; known here: progress, succeeded, failed, unknown",
    );
    one(
        &matching("source: calback"),
        "prod.yaml: routes.a.match.source: there is no source \"calback\"; did you mean \"callback\"?",
    );
    one(
        &matching("sub_app_id: [a]"),
        "prod.yaml: routes.a.match.sub_app_id.0: expected a whole number, found a text",
    );
    let config = load_over(&matching(
        "event_type: Pull*, outcome: failed, sub_app_id: 7, source: callback",
    ))
    .unwrap();
    assert_eq!(config.routes["a"].matching.outcome, [EventOutcome::Failed]);
    assert_eq!(config.routes["a"].matching.sub_app_id, [7]);
}

#[test]
fn dead_letters() {
    one(
        "sinks: { archive: { file: { directory: /a } } }",
        "base.yaml, prod.yaml: dead_letter.sink: must be chosen, since there are several sinks; write one of archive, events",
    );
    one(
        "dead_letter: { sink: evens }",
        "prod.yaml: dead_letter.sink: there is no sink \"evens\"; did you mean \"events\"?",
    );
    one(
        "dead_letter: { topic: 'dead.{event_type}' }",
        "prod.yaml: dead_letter.topic: has a label; write a plain name: what cannot be read has no labels",
    );
}

#[test]
fn templates_and_options() {
    let topic = |t: &str| format!("sinks: {{ events: {{ kafka: {{ topic: '{t}' }} }} }}");
    one(
        &topic("vod.{event_typ}"),
        "prod.yaml: sinks.events.kafka.topic: unknown label {event_typ}; did you mean \"event_type\"?",
    );
    one(
        &topic("{event_type}"),
        "prod.yaml: sinks.events.kafka.topic: topic template \"{event_type}\" must start with a literal, for example `vod.{event_type}`",
    );
    let errors = errors_over("sinks: { events: { kafka: { options: { acks: 0 } } } }");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("prod.yaml: sinks.events.kafka.options.acks: belongs to the bridge"),
        "{errors:?}"
    );
    one(
        "event_types: [NewThing, 'a b']",
        "prod.yaml: event_types.1: event type \"a b\" must be letters, digits and `_` only",
    );
}

#[test]
fn event_types_that_are_nearly_known() {
    let matching = |event_type: &str| {
        format!(
            "routes: {{ a: {{ match: {{ event_type: {event_type} }}, to: {{ events: {{}} }} }} }}"
        )
    };
    one(
        &matching("ProcedureStateChange"),
        "prod.yaml: routes.a.match.event_type: is no known event type; did you mean \"ProcedureStateChanged\"? name a new type under event_types",
    );
    for event_type in ["SomethingNew", "other", "v2.FileDeleted", "FileDelete*"] {
        assert!(load_over(&matching(event_type)).is_ok(), "{event_type}");
    }
    let named = format!("event_types: [FileDeletd]\n{}", matching("FileDeletd"));
    assert!(load_over(&named).is_ok());
}

#[test]
fn overlapping_addresses() {
    let second = |listen: &str| {
        let keys = format!("listen: '{listen}', sub_app_id: 2, path: /second");
        format!("sources: {{ second: {{ webhook: {{ {keys} }} }} }}")
    };
    for free in [
        "127.0.0.1:8081",
        "127.0.0.2:8080",
        "[::1]:8080",
        "127.0.0.1:0",
    ] {
        assert!(load_over(&second(free)).is_ok(), "{free}");
    }
    for taken in ["0.0.0.0:8080", "[::]:8080"] {
        one(
            &second(taken),
            "prod.yaml: sources.second.webhook.listen: overlaps with sources.callback.webhook.listen (base.yaml); give one of them another port",
        );
    }
    one(
        &second("0.0.0.0:9600"),
        "prod.yaml: sources.second.webhook.listen: overlaps with admin.listen (base.yaml, prod.yaml); give one of them another port",
    );
}

#[test]
fn empty_parts_between_dots() {
    let problem = "has an empty part; write something before, between and after its dots";
    one(
        "sinks: { events: { kafka: { topic: 'vod..{event_type}' } } }",
        &format!("prod.yaml: sinks.events.kafka.topic: {problem}"),
    );
    one(
        "dead_letter: { topic: vod. }",
        &format!("prod.yaml: dead_letter.topic: {problem}"),
    );
}
