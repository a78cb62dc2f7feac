//! What an ack of the file sink means.

use std::future::ready;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use vodbridge_core::{BoxError, Finding, Inspection, Provisioned, Topology};

use crate::durability::{Durability, durability};
use crate::log::is_file_name;
use crate::sink::FileSink;

impl Topology for FileSink {
    fn inspect<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<Inspection, BoxError>> {
        let directory = self.directory.display();
        let ephemeral = match durability(&self.directory) {
            Durability::Durable => None,
            Durability::Ephemeral { filesystem } => Some(Finding {
                blocking: false,
                what: format!(
                    "{directory} is on {filesystem}, which ends with the container or the host's uptime"
                ),
                remedy: "mount a volume there".into(),
            }),
        };
        let unsafe_topics = topics
            .iter()
            .filter(|topic| !is_file_name(topic))
            .map(|topic| Finding {
                blocking: true,
                what: format!("topic {topic:?} cannot be a file name"),
                remedy: "change the topic template".into(),
            });
        let inspection = Inspection {
            ack: format!("appended and fsynced to {directory} (one disk)"),
            findings: ephemeral.into_iter().chain(unsafe_topics).collect(),
        };
        ready(Ok(inspection)).boxed()
    }

    fn provision<'a>(
        &'a self,
        _topics: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Provisioned>, BoxError>> {
        // Files are made by the first event of their topic.
        let directory = Provisioned {
            what: format!("directory {}", self.directory.display()),
            created: self.log.created(),
        };
        ready(Ok(vec![directory])).boxed()
    }
}
