//! `{env: NAME}` and `{file: PATH}`.

use super::*;

const AMQP: &str = "{ rabbitmq: { exchange: vod, routing_key: 'vod.{event_type}'";

fn sink(url: &str) -> String {
    format!("sinks: {{ events: null, tasks: {AMQP}, url: {url} }} }} }}")
}

fn url(config: &Config) -> &str {
    match &config.sinks["tasks"] {
        Sink::RabbitMq(rabbitmq) => rabbitmq.url.expose(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_secret_is_literal_or_in_a_variable_or_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    let in_file = format!("{{ file: {} }}", path.display());
    for (text, variables, content) in [
        ("amqp://literal", [].as_slice(), ""),
        (
            "{ env: AMQP_URL }",
            [("AMQP_URL", "amqp://variable")].as_slice(),
            "",
        ),
        (in_file.as_str(), [].as_slice(), "amqp://file\n"),
    ] {
        std::fs::write(&path, content).unwrap();
        let config =
            load_files(&[("a.yaml", SMALLEST), ("b.yaml", &sink(text))], variables).unwrap();
        assert!(
            ["amqp://literal", "amqp://variable", "amqp://file"].contains(&url(&config)),
            "{}",
            url(&config)
        );
    }
}

#[test]
fn one_line_end_of_a_file_is_no_part_of_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    for (content, expected) in [
        ("amqp://a", "amqp://a"),
        ("amqp://a\r\n", "amqp://a"),
        ("amqp://a\n\n", "amqp://a\n"),
    ] {
        std::fs::write(&path, content).unwrap();
        let text = sink(&format!("{{ file: {} }}", path.display()));
        assert_eq!(url(&load_over(&text).unwrap()), expected);
    }
}

#[test]
fn digits_from_a_variable_are_a_text() {
    let keys = "sources: { callback: { webhook: { sign_keys: [{ env: KEY }, plain] } } }";
    let config = load_files(
        &[("a.yaml", SMALLEST), ("b.yaml", keys)],
        &[("KEY", "0012345")],
    )
    .unwrap();
    let keys: Vec<&str> = webhook(&config)
        .sign_keys
        .iter()
        .map(|k| k.expose())
        .collect();
    assert_eq!(keys, ["0012345", "plain"]);
}

#[test]
fn a_later_layer_replaces_a_reference_as_a_whole() {
    let by_variable = sink("{ env: AMQP_URL }");
    for (later, expected) in [
        ("{ file: /nonexistent }", None),
        ("{ env: OTHER }", Some("amqp://b")),
        ("amqp://c", Some("amqp://c")),
    ] {
        let later = format!("sinks: {{ tasks: {{ rabbitmq: {{ url: {later} }} }} }}");
        let files = [
            ("a.yaml", SMALLEST),
            ("b.yaml", by_variable.as_str()),
            ("c.yaml", later.as_str()),
        ];
        let loaded = load_files(&files, &[("AMQP_URL", "amqp://a"), ("OTHER", "amqp://b")]);
        match expected {
            Some(expected) => assert_eq!(url(&loaded.unwrap()), expected),
            None => assert!(loaded.unwrap_err().contains("/nonexistent cannot be read")),
        }
    }
}

#[test]
fn what_is_referred_to_must_be_there() {
    let text = "
sources: { callback: { webhook: { sign_keys: [{ env: UNSET }, { env: EMPTY }, { file: /nonexistent }, { env: A, file: B }] } } }";
    assert_eq!(
        lines(load_files(
            &[("a.yaml", SMALLEST), ("b.yaml", text)],
            &[("EMPTY", "")]
        )),
        [
            "b.yaml: sources.callback.webhook.sign_keys.0: the variable UNSET is not set; set it, or name another",
            "b.yaml: sources.callback.webhook.sign_keys.1: the variable EMPTY is empty; set it",
            "b.yaml: sources.callback.webhook.sign_keys.2: the file /nonexistent cannot be read: No such file or directory (os error 2)",
            "b.yaml: sources.callback.webhook.sign_keys.3: expected a secret: a text in quotes, {env: NAME} or {file: PATH}, found a map of keys",
        ]
    );
}

#[test]
fn a_file_sink_is_no_secret() {
    let config = load_over("sinks: { events: { kafka: null, file: { directory: /a } } }").unwrap();
    assert!(matches!(config.sinks["events"], Sink::File(_)));
    assert_eq!(
        errors_over("sinks: { events: { kafka: null, file: /a } }"),
        ["prod.yaml: sinks.events.file: expected a map of keys, found a text"]
    );
}

#[test]
fn references_may_stand_for_any_text_but_not_for_names() {
    let text = "
state_directory: { env: STATE }
admin: { listen: { env: LISTEN } }
sinks: { events: ~, file: { file: { directory: { env: STATE, file: ~ }, topic: a } }, env: { file: { directory: /a } } }
routes: { env: { to: { file: {} } } }
dead_letter: { sink: file }";
    let variables = [("STATE", "/state"), ("LISTEN", "127.0.0.1:1")];
    let files = [("a.yaml", SMALLEST), ("b.yaml", text)];
    assert_eq!(
        lines(load_files(&files, &variables)),
        [
            "b.yaml: sinks.file.file.directory: is the same as state_directory (b.yaml); give each file sink a directory of its own"
        ]
    );
    assert_eq!(
        errors_over("routes: { a: { to: { file: x } } }"),
        ["prod.yaml: routes.a.to.file: expected a map of keys, found a text"]
    );
}

#[test]
fn no_error_shows_a_secret() {
    let text = "
admin: { listen: { env: SECRET } }
log: { level: { env: SECRET } }
drain: { grace: { env: SECRET }, timeout: [hunter2] }
sources: { callback: { webhook: { sign_keys: hunter2, path: { env: SECRET }, sub_app_id: { env: SECRET }, max_bytes: { env: SECRET } } } }
sinks:
  tasks: { rabbitmq: { url: { env: SECRET }, exchange: vod, routing_key: { env: SECRET }, mode: { env: SECRET } } }
  live: { nats: { servers: ['nats://me:hunter2@nats'], subject: x, user: me, password: { text: hunter2 }, token: [hunter2] } }
event_types: [{ env: SECRET }]
dead_letter: { sink: { env: SECRET }, topic: { env: SECRET } }";
    let variables = [
        ("SECRET", "*hunter2*"),
        (
            "VODBRIDGE_SINKS__LIVE__NATS__TOKEN",
            "{hunter2: 1, hunter2: 2}",
        ),
    ];
    let errors = lines(load_files(
        &[("a.yaml", SMALLEST), ("b.yaml", text)],
        &variables,
    ));
    assert!(errors.len() >= 12, "{errors:#?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
    // The variable that cannot be read hides the checks that need a whole tree: once more without.
    let errors = lines(load_files(
        &[("a.yaml", SMALLEST), ("b.yaml", text)],
        &variables[..1],
    ));
    assert!(errors.len() >= 14, "{errors:#?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
}
