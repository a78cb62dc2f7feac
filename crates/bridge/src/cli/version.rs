//! What is running.

use std::sync::LazyLock;

/// The version of the crate.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from, short.
pub(crate) const COMMIT: &str = env!("VODBRIDGE_COMMIT");

/// The version of the librdkafka inside.
pub(crate) fn librdkafka() -> String {
    vodbridge_sink_kafka::librdkafka_version()
}

/// For `--version`.
pub(crate) fn long() -> &'static str {
    static LONG: LazyLock<String> =
        LazyLock::new(|| format!("{VERSION} (commit {COMMIT}, librdkafka {})", librdkafka()));
    &LONG
}
