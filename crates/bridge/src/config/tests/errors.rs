//! What is wrong, in the operator's words, all at once.

use super::*;

fn one(text: &str, expected: &str) {
    assert_eq!(errors_over(text), [expected], "{text}");
}

fn webhook(text: &str, expected: &str) {
    one(
        &format!("sources: {{ callback: {{ webhook: {{ {text} }} }} }}"),
        expected,
    );
}

#[test]
fn unknown_keys() {
    one(
        "sinks: { events: { kafka: { topik: x } } }",
        "prod.yaml: sinks.events.kafka.topik: unknown key; did you mean \"topic\"?",
    );
    one(
        "state_dir: /x",
        "prod.yaml: state_dir: unknown key; did you mean \"state_directory\"?",
    );
    one(
        "drain: { wait: 1s }",
        "prod.yaml: drain.wait: unknown key; known here: grace, timeout",
    );
    one(
        "sinks: { events: { kafak: ~ , pulsar: {} } }",
        "prod.yaml: sinks.events.pulsar: unknown key; known here: kafka, rabbitmq, nats, file",
    );
}

#[test]
fn values_of_the_wrong_type() {
    one(
        "admin: { listen: localhost:1 }",
        "prod.yaml: admin.listen: expected IP:PORT, for example 127.0.0.1:9600",
    );
    one(
        "log: { format: jsno }",
        "prod.yaml: log.format: unknown value \"jsno\"; did you mean \"json\"?",
    );
    one(
        "sinks: { events: { kafka: { brokers: a:1 } } }",
        "prod.yaml: sinks.events.kafka.brokers: expected a list, found a text",
    );
    one(
        "sinks: [1]",
        "prod.yaml: sinks: expected a map of keys, found a list",
    );
    one(
        "routes: { a: 5 }",
        "prod.yaml: routes.a: expected a map of keys, found a number",
    );
    webhook(
        "max_bytes: 64XB",
        "prod.yaml: sources.callback.webhook.max_bytes: expected a number of bytes, for example `64MiB`, found \"64XB\"",
    );
    webhook(
        "sub_app_id: -1",
        "prod.yaml: sources.callback.webhook.sub_app_id: expected a whole number, found -1",
    );
    webhook(
        "patience: 20",
        "prod.yaml: sources.callback.webhook.patience: a duration needs a unit, for example `3s` or `1500ms`",
    );
    webhook(
        "sign_keys: [12345]",
        "prod.yaml: sources.callback.webhook.sign_keys.0: put the secret in quotes: as it stands YAML takes it for a number",
    );
}

#[test]
fn missing_keys() {
    assert_eq!(
        errors_over("sinks: { events: ~, tasks: { rabbitmq: {} } }"),
        [
            "prod.yaml: sinks.tasks.rabbitmq.exchange: is required and missing",
            "prod.yaml: sinks.tasks.rabbitmq.routing_key: is required and missing",
            "prod.yaml: sinks.tasks.rabbitmq.url: is required and missing",
        ]
    );
    one(
        "sources: ~",
        "base.yaml, prod.yaml: sources: there is no source; write at least `sources: {callback: {webhook: {listen: 0.0.0.0:8080, sub_app_id: …}}}`",
    );
}

#[test]
fn kinds() {
    one(
        "sinks: { events: { file: { directory: /a } } }",
        "prod.yaml: sinks.events: has two kinds, kafka (base.yaml) and file (prod.yaml); remove one, for example with `kafka: null`",
    );
    one(
        "sinks: { events: { kafka: ~ } }",
        "prod.yaml: sinks.events: has no kind; write one of these into it: kafka, rabbitmq, nats, file",
    );
}

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
        webhook(
            &format!("answer_within: {time}"),
            &format!("prod.yaml: sources.callback.webhook.answer_within: {late}"),
        );
    }
    webhook(
        "patience: 5s",
        "prod.yaml: sources.callback.webhook.patience: is too short; write at least 6s: the cloud waits 5s before it sends a copy",
    );
    one(
        "drain: { timeout: 29s }",
        "prod.yaml: drain.timeout: 29s is too short for drain.grace (5s), sources.callback.webhook.patience (20s) and 5s; write at least 30s",
    );
    assert!(load_over("drain: { timeout: 30s }").is_ok());
    webhook(
        "body_timeout: 0s",
        "prod.yaml: sources.callback.webhook.body_timeout: must be longer than 0s",
    );
    let century = "sources: { callback: { webhook: { patience: 100years } } }\ndrain: { grace: 500000000000years }";
    assert!(errors_over(century).len() >= 2);
}

#[test]
fn impossible_permits() {
    webhook(
        "max_in_flight: 0",
        "prod.yaml: sources.callback.webhook.max_in_flight: must be at least 1",
    );
    webhook(
        "max_in_flight: 9999999999",
        "prod.yaml: sources.callback.webhook.max_in_flight: must be at most 1000000",
    );
    webhook(
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
    webhook(
        "listen: 127.0.0.1:9600",
        "prod.yaml: sources.callback.webhook.listen: is the address of admin.listen too; give one of them another port",
    );
    webhook(
        "path: vod",
        "prod.yaml: sources.callback.webhook.path: is no path; start with `/`; no white space, `?` or `#`",
    );
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
fn what_each_kind_of_sink_needs() {
    let sink =
        |s: &str| format!("{{ sinks: {{ other: {{ {s} }} }}, dead_letter: {{ sink: events }} }}");
    let rabbitmq = |url: &str, more: &str| {
        sink(&format!(
            "rabbitmq: {{ url: '{url}', exchange: vod, routing_key: vod, {more} }}"
        ))
    };
    one(
        &rabbitmq("http://x", ""),
        "prod.yaml: sinks.other.rabbitmq.url: is no AMQP URL; start with `amqp://` or `amqps://`",
    );
    one(
        &rabbitmq("amqp://x", "channels: 0"),
        "prod.yaml: sinks.other.rabbitmq.channels: must be from 1 to 2047",
    );
    let nats = |more: &str| sink(&format!("nats: {{ subject: vod, {more} }}"));
    one(
        &nats("servers: []"),
        "prod.yaml: sinks.other.nats.servers: is empty; write at least one nats://HOST:PORT",
    );
    one(
        &nats("servers: [a], user: me"),
        "prod.yaml: sinks.other.nats: has one of `user` and `password`; write both or none",
    );
    one(
        &nats("servers: [a], token: a, nkey_seed: b"),
        "prod.yaml: sinks.other.nats: has several ways to log in: token, nkey_seed; keep one",
    );
    one(
        "{ sinks: { a: { file: { directory: /a/b } }, b: { file: { directory: /a//b/. } } }, dead_letter: { sink: a } }",
        "prod.yaml: sinks.b.file.directory: is the same as sinks.a.file.directory (prod.yaml); give each file sink a directory of its own",
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

#[test]
fn the_state_directory_belongs_to_the_bridge() {
    one(
        "{ sinks: { events: { kafka: ~, file: { directory: /data } } }, state_directory: /data/ }",
        "prod.yaml: sinks.events.file.directory: is the same as state_directory (prod.yaml); give each file sink a directory of its own",
    );
}

#[test]
fn broken_yaml_has_line_and_column() {
    one(
        "log: { level: debug\nadmin: x",
        "prod.yaml: while parsing a flow mapping, did not find expected ',' or '}' at line 2, column 6",
    );
    one(
        "log: {}\nlog: {}",
        "prod.yaml: key \"log\" is there twice in one map, the second time at line 2, column 1",
    );
    one(
        "- a",
        "prod.yaml: is no map of keys; start with keys such as `sources:` and `sinks:`",
    );
    assert_eq!(errors_over("a: 1\n---\nb: 2").len(), 1);
}

#[test]
fn a_file_that_is_not_there() {
    let errors = load(&["/nonexistent/a.yaml".into()], []).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "/nonexistent/a.yaml: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_that_cannot_be_read_hides_only_what_may_be_in_it() {
    let files = [
        (
            "a.yaml",
            "log: { levle: debug }\nsources: { callback: { webhook: {} } }",
        ),
        ("b.yaml", "x: ["),
    ];
    assert_eq!(
        lines(load_files(&files, &[])),
        [
            "a.yaml: log.levle: unknown key; did you mean \"level\"?",
            "b.yaml: unclosed bracket '[' at line 1, column 4"
        ]
    );
}

#[test]
fn all_at_once() {
    let text = "
admin: { listne: 127.0.0.1:1 }
state_directry: /x
drain: { grace: 5, timeout: 10s }
log: { format: jsn, level: loud }
sources:
  callback: { webhook: { max_in_flight: 0, answer_within: 9s, sign_keys: [{ env: UNSET }, 5] } }
  empty: {}
sinks:
  events: { kafka: { mode: structurd, topic: 'vod.{x}', options: { a: [1] } } }
  both: { file: { directory: /a }, nats: { servers: [a], subject: 'v*' } }
routes:
  a: { to: { evnts: {} }, match: { outcome: bad } }
";
    let errors = errors_over(text);
    assert_eq!(errors.len(), 18, "{errors:#?}");
}

#[test]
fn findings_are_json() {
    let errors = load(&["/nonexistent/a.yaml".into()], []).unwrap_err();
    assert_eq!(
        serde_json::to_string(&errors).unwrap(),
        r#"[{"origin":"/nonexistent/a.yaml","key":"","problem":"cannot be read: No such file or directory (os error 2)","remedy":null}]"#
    );
}
