use std::path::Path;

use vodbridge_sources::webhook::WebhookConfig;

use super::*;

mod checks;
mod errors;
mod layers;
mod properties;
mod queue;
mod secrets;
mod shipped;
mod sinks;
mod spool;
mod topics;

/// The smallest useful file.
const SMALLEST: &str = "
sources: { callback: { webhook: { listen: 127.0.0.1:8080, sub_app_id: 1500012345 } } }
sinks: { events: { kafka: { brokers: [localhost:9092], topic: 'vod.{event_type}' } } }
";

/// Loads files written to a fresh directory. The errors name them without it.
fn load_files(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = files
        .iter()
        .map(|(name, _)| directory.path().join(name))
        .collect();
    for (path, (_, text)) in paths.iter().zip(files) {
        std::fs::write(path, text).unwrap();
    }
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&paths, variables).map_err(|errors| without(directory.path(), &errors))
}

fn without(directory: &Path, errors: &ConfigErrors) -> String {
    errors
        .to_string()
        .replace(&format!("{}/", directory.display()), "")
}

/// Loads the smallest file with another one on top.
fn load_over(text: &str) -> Result<Config, String> {
    load_files(&[("base.yaml", SMALLEST), ("prod.yaml", text)], &[])
}

/// The errors of the smallest file with another one on top, a line each.
fn errors_over(text: &str) -> Vec<String> {
    lines(load_over(text))
}

fn lines(loaded: Result<Config, String>) -> Vec<String> {
    loaded
        .err()
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn kafka(config: &Config) -> &KafkaConfig {
    match &config.sinks["events"] {
        Sink::Kafka(kafka) => kafka,
        other => panic!("{other:?}"),
    }
}

fn webhook(config: &Config) -> &WebhookConfig {
    let Source::Webhook(webhook) = &config.sources["callback"] else {
        panic!("a webhook");
    };
    webhook
}

/// The one error of the smallest file with another one on top.
fn one(text: &str, expected: &str) {
    assert_eq!(errors_over(text), [expected], "{text}");
}

/// The one error of the smallest file with other keys in its webhook source.
fn one_of_webhook(text: &str, expected: &str) {
    one(
        &format!("sources: {{ callback: {{ webhook: {{ {text} }} }} }}"),
        expected,
    );
}
