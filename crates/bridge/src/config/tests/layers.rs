//! Files over files, variables over files, null, defaults.

use super::*;

#[test]
fn the_smallest_file_gets_defaults() {
    let config = load_files(&[("one.yaml", SMALLEST)], &[]).unwrap();
    assert_eq!(config.admin.listen, "127.0.0.1:9600".parse().unwrap());
    assert_eq!(config.state_directory, Path::new("/var/lib/vodbridge"));
    assert_eq!(
        config.drain,
        Drain {
            grace: Duration::from_secs(5),
            timeout: Duration::from_secs(35)
        }
    );
    assert_eq!(
        config.log,
        Log {
            format: LogFormat::Auto,
            level: LogLevel::Info
        }
    );
    assert_eq!(
        config.dead_letter,
        DeadLetter {
            sink: "events".into(),
            topic: "vod.dead_letter".into()
        }
    );
    assert!(config.routes.is_empty());
}

#[test]
fn without_a_sink_events_are_kept_in_files() {
    let config = load_over("{ sinks: null, state_directory: /data }").unwrap();
    let Sink::File(file) = &config.sinks["file"] else {
        panic!("{config:?}")
    };
    assert_eq!(file.directory, Path::new("/data/events"));
    assert_eq!(config.sinks.len(), 1);
    assert_eq!(config.dead_letter.sink, "file");
}

#[test]
fn maps_merge_and_lists_are_replaced() {
    let config = load_over(
        "sinks: { events: { kafka: { brokers: [a:9092, b:9092], options: { compression.type: zstd } } } }
sources: { callback: { webhook: { patience: 10s } } }",
    )
    .unwrap();
    assert_eq!(kafka(&config).brokers, ["a:9092", "b:9092"]);
    assert_eq!(kafka(&config).topic.to_string(), "vod.{event_type}");
    assert_eq!(kafka(&config).options["compression.type"].expose(), "zstd");
    assert_eq!(webhook(&config).patience, Duration::from_secs(10));
    assert_eq!(webhook(&config).sub_app_id, 1_500_012_345);
}

#[test]
fn null_removes_an_entry_a_kind_or_a_key() {
    let config = load_over("sinks: { events: ~, archive: { file: { directory: /a } } }").unwrap();
    assert_eq!(config.sinks.keys().collect::<Vec<_>>(), ["archive"]);

    let config = load_over("sinks: { events: { kafka: null, file: { directory: /a } } }").unwrap();
    assert!(matches!(config.sinks["events"], Sink::File(_)));

    let base = ("a.yaml", "drain: { grace: 1s }\nlog: { level: debug }");
    let config = load_files(
        &[
            ("b.yaml", SMALLEST),
            base,
            ("c.yaml", "drain: { grace: }\nlog:"),
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.drain.grace, Duration::from_secs(5));
    assert_eq!(config.log.level, LogLevel::Info);
}

#[test]
fn a_later_file_may_add_again_what_one_removed() {
    let again = "sinks: { events: { file: { directory: /a } } }";
    let files = [
        ("a.yaml", SMALLEST),
        ("b.yaml", "sinks: { events: null }"),
        ("c.yaml", again),
    ];
    assert!(matches!(
        load_files(&files, &[]).unwrap().sinks["events"],
        Sink::File(_)
    ));
}

#[test]
fn yaml_is_read_without_surprises() {
    let text = "
sinks:
  events:
    kafka:
      options:
        client.id: no
        client.rack: 0755
        sasl.password: 1_000
        sasl.username: 1.5
        socket.keepalive.enable: true
";
    let config = load_over(text).unwrap();
    let values: Vec<&str> = kafka(&config)
        .options
        .values()
        .map(|v| v.expose())
        .collect();
    assert_eq!(values, ["no", "0755", "1_000", "1.5", "true"]);
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in ["", "# nothing\n", "---\n", "{}"] {
        load_over(text).unwrap();
    }
}

#[test]
fn variables_come_last() {
    let variables = [
        ("VODBRIDGE_STATE_DIRECTORY", "/state"),
        ("VODBRIDGE_SINKS__EVENTS__KAFKA__TOPIC", "prod.{event_type}"),
        ("VODBRIDGE_SINKS__EVENTS__KAFKA__BROKERS", "[a:1, b:2]"),
        (
            "VODBRIDGE_SINKS__EVENTS__KAFKA__OPTIONS__COMPRESSION_TYPE",
            "lz4",
        ),
        ("VODBRIDGE_SINKS__ARCHIVE", "{file: {directory: /old}}"),
        ("VODBRIDGE_SINKS__ARCHIVE__FILE__DIRECTORY", "/archive"),
        ("VODBRIDGE_DEAD_LETTER__SINK", "archive"),
        ("VODBRIDGE_SOURCES__CALLBACK__WEBHOOK__MAX_IN_FLIGHT", "7"),
    ];
    let config = load_files(&[("a.yaml", SMALLEST)], &variables).unwrap();
    assert_eq!(config.state_directory, Path::new("/state"));
    assert_eq!(kafka(&config).topic.to_string(), "prod.{event_type}");
    assert_eq!(kafka(&config).brokers, ["a:1", "b:2"]);
    assert_eq!(kafka(&config).options["compression.type"].expose(), "lz4");
    assert_eq!(webhook(&config).max_in_flight, 7);
    let Sink::File(file) = &config.sinks["archive"] else {
        panic!("{config:?}")
    };
    assert_eq!(file.directory, Path::new("/archive"));
}

#[test]
fn a_variable_can_remove() {
    let file = format!("{SMALLEST}\nlog: {{ level: debug }}");
    for nothing in ["null", "~", ""] {
        let config =
            load_files(&[("a.yaml", &file)], &[("VODBRIDGE_LOG__LEVEL", nothing)]).unwrap();
        assert_eq!(config.log.level, LogLevel::Info);
    }
}

#[test]
fn variables_of_others_are_ignored() {
    let variables = [
        ("VODBRIDGE_SERVICE_HOST", "10.0.0.1"),
        ("VODBRIDGE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("VODBRIDGE_CONFIG", "x.yaml"),
        ("VODBRIDGE_TEST_KAFKA", "a:1"),
        ("VODBRIDGE_LOG", "debug"),
        ("PATH", "/bin"),
    ];
    load_files(&[("a.yaml", SMALLEST)], &variables).unwrap();
}

#[test]
fn errors_name_the_variable_that_they_come_from() {
    let variables = [
        ("VODBRIDGE_SINK__EVENTS__KAFKA__TOPIC", "x"),
        ("VODBRIDGE_SINKS__EVENTS__KAFKA__TOPIK", "x"),
        ("VODBRIDGE_SOURCES__CALLBACK__WEBHOOK__LISTEN", "here"),
        ("VODBRIDGE_DRAIN____GRACE", "1s"),
        ("VODBRIDGE_LOG__LEVEL", "[oops"),
    ];
    assert_eq!(
        lines(load_files(&[("a.yaml", SMALLEST)], &variables)),
        [
            "VODBRIDGE_DRAIN____GRACE: has an empty word in its key path; write one `__` between two words",
            "VODBRIDGE_LOG__LEVEL: its value is no YAML; put it in quotes",
            "VODBRIDGE_SINKS__EVENTS__KAFKA__TOPIK: sinks.events.kafka.topik: unknown key; did you mean \"topic\"?",
            "VODBRIDGE_SINK__EVENTS__KAFKA__TOPIC: \"sink\" is no key at the top; did you mean \"sinks\"?",
            "VODBRIDGE_SOURCES__CALLBACK__WEBHOOK__LISTEN: sources.callback.webhook.listen: expected IP:PORT, for example 127.0.0.1:9600",
        ]
    );
}

#[test]
fn the_keys_at_the_top_are_those_of_a_file() {
    let errors = errors_over("zzzzzzzzzz: 1");
    let (_, known) = errors[0].split_once("known here: ").unwrap();
    let mut known: Vec<&str> = known.split(", ").collect();
    known.sort_unstable();
    assert_eq!(known, provider::TOP_LEVEL);
}
