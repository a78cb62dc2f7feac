//! The files under `deploy/config`, as they are layered there.

use super::*;

#[test]
fn every_environment_and_every_broker_is_a_configuration() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    let variables = [
        ("VOD_SIGN_KEY", "key"),
        ("KAFKA_PASSWORD", "password"),
        ("AMQP_URL", "amqp://user:password@rabbitmq:5672/%2f"),
        ("TENCENTCLOUD_SECRET_ID", "id"),
        ("TENCENTCLOUD_SECRET_KEY", "key"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let load = |names: &[&str]| {
        let file = |name: &&str| directory.join(format!("{name}.yaml"));
        let files: Vec<_> = names.iter().map(file).collect();
        load(&files, variables.clone()).unwrap_or_else(|errors| panic!("{errors}"))
    };
    for name in ["dev", "staging", "prod", "kafka", "rabbitmq", "nats"] {
        let config = load(&["base", name]);
        assert_eq!(
            (config.sinks.len(), config.webhooks().count()),
            (1, 1),
            "{name}"
        );
        let config = load(&["base", name, "reliable"]);
        assert_eq!(
            (config.queues().count(), config.webhooks().count()),
            (1, 0),
            "{name}"
        );
    }
}
