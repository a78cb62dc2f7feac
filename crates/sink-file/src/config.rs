//! What the operator writes under `sinks.<name>.file`.

use std::path::PathBuf;

use serde::Deserialize;
use vodbridge_core::Template;
use vodbridge_core::config::bytes;

/// Settings of a file sink. One structured CloudEvent a line, in `DIRECTORY/TOPIC.ndjson`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where the files are. Made if missing; one process at a time.
    pub directory: PathBuf,
    /// The topic of an event, and so the name of its file.
    #[serde(default = "default_topic")]
    pub topic: Template,
    /// A file that has grown past this many bytes is set aside as `TOPIC-<number>.ndjson`.
    #[serde(default = "default_rotate_bytes", with = "bytes")]
    pub rotate_bytes: u64,
    /// Says that a disk which is lost with the container, or memory, is good enough to confirm by.
    #[serde(default)]
    pub ephemeral: bool,
}

fn default_topic() -> Template {
    Template::parse("vod.{event_type}").expect("the default template is valid")
}

fn default_rotate_bytes() -> u64 {
    256 * 1024 * 1024
}
