//! The files under `deploy/config`, as they are layered there.

use super::*;

#[test]
fn every_environment_and_every_broker_is_a_configuration() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    let variables = [
        ("VOD_SIGN_KEY", "key"),
        ("KAFKA_PASSWORD", "password"),
        ("AMQP_URL", "amqp://user:password@rabbitmq:5672/%2f"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for name in ["dev", "staging", "prod", "kafka", "rabbitmq", "nats"] {
        let files = ["base", name].map(|name| directory.join(format!("{name}.yaml")));
        let config = load(&files, variables.clone()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.sinks.len(), 1, "{name}");
    }
}
