//! What a cluster's ack means, and the topics that it holds.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode as Code;
use thiserror::Error;
use vodbridge_core::{BoxError, Inspection, Provisioned, Topology};

use crate::KafkaSink;
use crate::cluster::Cluster;
use crate::error::remedy;
use crate::lane::OffRuntime;
use crate::options::creation_error;

/// How long one request to the cluster may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Topology for KafkaSink {
    fn inspect<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<Inspection, BoxError>> {
        async move {
            let admin = Admin::new(self)?;
            let cluster = admin.cluster(topics).await?;
            Ok(Inspection {
                ack: cluster.ack(),
                findings: cluster.findings(),
            })
        }
        .boxed()
    }

    fn provision<'a>(
        &'a self,
        topics: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Provisioned>, BoxError>> {
        async move { Ok(Admin::new(self)?.create(topics).await?) }.boxed()
    }
}

/// Why the cluster could not be asked or a topic not be created.
#[derive(Debug, Error)]
enum TopologyError {
    #[error("{0}")]
    Client(String),
    #[error("the cluster cannot be reached; {}", remedy(*.0))]
    Unreachable(#[source] Code),
    #[error(
        "topic {topic} cannot be created; grant the user CREATE on the cluster, or create it by other means"
    )]
    Create {
        topic: String,
        #[source]
        code: Code,
    },
    #[error("the topics cannot be created")]
    Request(#[source] rdkafka::error::KafkaError),
}

struct Admin(Arc<OffRuntime<AdminClient<DefaultClientContext>>>);

impl Admin {
    fn new(sink: &KafkaSink) -> Result<Self, TopologyError> {
        let client = AdminClient::from_config(&sink.client)
            .map_err(|e| TopologyError::Client(creation_error(&e)))?;
        Ok(Self(Arc::new(OffRuntime::new(client))))
    }

    /// All topics: to ask for one by its name may create it.
    async fn metadata(&self) -> Result<Metadata, TopologyError> {
        let admin = self.0.clone();
        let fetch = move || admin.inner().fetch_metadata(None, PATIENCE);
        match tokio::task::spawn_blocking(fetch).await {
            Ok(Ok(metadata)) => Ok(metadata),
            Ok(Err(error)) => Err(TopologyError::Unreachable(
                error.rdkafka_error_code().unwrap_or(Code::Unknown),
            )),
            Err(_) => Err(TopologyError::Unreachable(Code::Unknown)),
        }
    }

    async fn cluster(&self, topics: &[String]) -> Result<Cluster, TopologyError> {
        let metadata = self.metadata().await?;
        let mut cluster = Cluster::default();
        for topic in topics {
            cluster.add(topic, replication(&metadata, topic));
        }
        let broker = metadata.brokers().first().map(|b| b.id());
        let resources: Vec<_> = (cluster.existing())
            .map(ResourceSpecifier::Topic)
            .chain(broker.map(ResourceSpecifier::Broker))
            .collect();
        let answers = self
            .0
            .describe_configs(&resources, &options())
            .await
            .unwrap_or_default();
        // Not allowed to look: what is unknown stays None, and the ack says so.
        for config in answers.into_iter().flatten() {
            cluster.learn(&config);
        }
        Ok(cluster)
    }

    async fn create(&self, topics: &[String]) -> Result<Vec<Provisioned>, TopologyError> {
        let metadata = self.metadata().await?;
        let missing: HashSet<&str> = (topics.iter().map(String::as_str))
            .filter(|t| replication(&metadata, t).is_none())
            .collect();
        let mut created = HashSet::new();
        if !missing.is_empty() {
            // -1: as many partitions and replicas as the broker's defaults say.
            let new: Vec<_> = (missing.iter())
                .map(|topic| NewTopic::new(topic, -1, TopicReplication::Fixed(-1)))
                .collect();
            let results = self.0.create_topics(&new, &options()).await;
            for result in results.map_err(TopologyError::Request)? {
                match result {
                    Ok(topic) => drop(created.insert(topic)),
                    // Somebody was faster.
                    Err((_, Code::TopicAlreadyExists)) => {}
                    Err((topic, code)) => return Err(TopologyError::Create { topic, code }),
                }
            }
        }
        Ok(topics
            .iter()
            .map(|topic| Provisioned {
                what: format!("topic {topic}"),
                created: created.contains(topic),
            })
            .collect())
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

/// How many replicas a topic has; None: it does not exist.
fn replication(metadata: &Metadata, topic: &str) -> Option<usize> {
    let topic = metadata.topics().iter().find(|t| t.name() == topic)?;
    let partitions = topic.partitions();
    partitions.iter().map(|p| p.replicas().len()).min()
}
