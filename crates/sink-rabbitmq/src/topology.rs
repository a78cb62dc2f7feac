//! The broker behind the sink: what is there, and what publishing needs.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use vodbridge_core::{BoxError, Finding, Inspection, Provisioned, Topology};

use crate::RabbitMqSink;
use crate::error::Failure;
use crate::session::{OpenError, Session, address, answered, is_missing};

/// What a confirm says. <https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed>
const ACK: &str = "every queue that the message was routed to took it: a durable quorum queue has \
                   it written and fsynced on a majority of its nodes, a durable classic queue has \
                   it on one node's disk; which queues those are, AMQP does not tell";

/// The queue that [`Topology::provision`] makes.
pub(crate) fn provisioned_queue(exchange: &str) -> String {
    format!("{exchange}.events")
}

impl RabbitMqSink {
    fn queue(&self) -> String {
        provisioned_queue(&self.config.exchange)
    }

    async fn session(&self) -> Result<Session, BoxError> {
        let session = Session::connect(&self.broker.uri, &self.broker.name).await;
        session.map_err(|error| format!("{}: {error}", address(&self.broker.uri)).into())
    }

    async fn findings(
        &self,
        session: &Session,
        topics: &[String],
    ) -> Result<Vec<Finding>, OpenError> {
        let mut findings = Vec::new();
        for topic in topics.iter().filter(|topic| topic.len() > 255) {
            findings.push(Finding {
                blocking: true,
                what: Failure::RoutingKey(topic.len()).to_string(),
                remedy: "shorten the literal parts of routing_key".into(),
            });
        }
        let exchange = &self.config.exchange;
        if !session.has_exchange(exchange).await? {
            findings.push(Finding {
                blocking: true,
                what: format!("exchange {exchange:?} does not exist"),
                remedy: "`vodbridge provision` makes it".into(),
            });
        } else if !has_queue(session, &self.queue()).await? {
            findings.push(Finding {
                blocking: false,
                what: format!("queue {:?} does not exist", self.queue()),
                remedy: "`vodbridge provision` makes it; none is needed where queues of your own \
                         are bound to every topic"
                    .into(),
            });
        }
        findings.push(Finding {
            blocking: false,
            what: "AMQP does not tell which queues are bound, so that a topic without one shows \
                   as an unroutable publish only"
                .into(),
            remedy: format!("compare with `rabbitmqctl list_bindings`, source {exchange}"),
        });
        Ok(findings)
    }

    async fn make(&self, session: &Session) -> Result<Vec<Provisioned>, OpenError> {
        let (exchange, queue) = (&self.config.exchange, self.queue());
        let new_exchange = !session.has_exchange(exchange).await?;
        let new_queue = !has_queue(session, &queue).await?;
        let channel = session.channel().await?;
        let short_exchange = ShortString::from(exchange.as_str());
        let short_queue = ShortString::from(queue.as_str());
        if new_exchange {
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let (kind, none) = (ExchangeKind::Topic, FieldTable::default());
            let made = channel.exchange_declare(short_exchange.clone(), kind, options, none);
            answered(made).await?;
        }
        if new_queue {
            let options = QueueDeclareOptions {
                durable: true,
                ..QueueDeclareOptions::default()
            };
            let mut quorum = FieldTable::default();
            let kind = AMQPValue::LongString("quorum".into());
            quorum.insert("x-queue-type".into(), kind);
            answered(channel.queue_declare(short_queue.clone(), options, quorum)).await?;
        }
        // Idempotent, and there is no way to ask first.
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        answered(channel.queue_bind(short_queue, short_exchange, "#".into(), options, none))
            .await?;
        Ok(vec![
            Provisioned {
                what: format!("durable topic exchange {exchange}"),
                created: new_exchange,
            },
            Provisioned {
                what: format!("durable quorum queue {queue}"),
                created: new_queue,
            },
            Provisioned {
                what: format!("binding of queue {queue} to exchange {exchange} with key #"),
                created: new_exchange || new_queue,
            },
        ])
    }
}

impl Topology for RabbitMqSink {
    /// Publishes nothing. What is bound to the exchange cannot be seen, and a finding says so.
    fn inspect<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<Inspection, BoxError>> {
        async move {
            let session = self.session().await?;
            let findings = self.findings(&session, topics).await;
            session.close().await;
            Ok(Inspection {
                ack: ACK.into(),
                findings: findings?,
            })
        }
        .boxed()
    }

    /// A durable topic exchange and one durable quorum queue, bound to every topic.
    fn provision<'a>(
        &'a self,
        _topics: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Provisioned>, BoxError>> {
        async move {
            let session = self.session().await?;
            let made = self.make(&session).await;
            session.close().await;
            Ok(made?)
        }
        .boxed()
    }
}

/// Whether the queue is there. Costs a channel where it is not.
async fn has_queue(session: &Session, queue: &str) -> Result<bool, OpenError> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let channel = session.channel().await?;
    let declared = channel.queue_declare(ShortString::from(queue), passive, FieldTable::default());
    match answered(declared).await {
        Ok(_) => Ok(true),
        Err(OpenError::Client(error)) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
