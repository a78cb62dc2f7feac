//! What cannot be read, in the operator's words, all at once.

use super::*;

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
    one_of_webhook(
        "max_bytes: 64XB",
        "prod.yaml: sources.callback.webhook.max_bytes: expected a number of bytes, for example `64MiB`, found \"64XB\"",
    );
    one_of_webhook(
        "sub_app_id: -1",
        "prod.yaml: sources.callback.webhook.sub_app_id: expected a whole number, found -1",
    );
    one_of_webhook(
        "patience: 20",
        "prod.yaml: sources.callback.webhook.patience: a duration needs a unit, for example `3s` or `1500ms`",
    );
    one_of_webhook(
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
        "base.yaml, prod.yaml: sources: there is no source; write at least `sources: {callback: {webhook: {listen: 0.0.0.0:8080, sub_app_id: …}}}` or `sources: {reliable: {queue: {sub_app_id: …}}}`",
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

#[test]
fn each_finding_is_a_text_of_its_own() {
    let files = ["/nonexistent/b.yaml".into(), "/nonexistent/a.yaml".into()];
    let errors = load(&files, []).unwrap_err();
    let texts: Vec<String> = errors.iter().map(|finding| finding.to_string()).collect();
    assert_eq!(
        texts,
        [
            "/nonexistent/a.yaml: cannot be read: No such file or directory (os error 2)",
            "/nonexistent/b.yaml: cannot be read: No such file or directory (os error 2)",
        ]
    );
}
