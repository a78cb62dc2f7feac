//! The broker behind the sink: what is there, and what publishing needs.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::AMQPSoftError;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use vodbridge_core::{BoxError, Finding, Inspection, Provisioned, Topology};

use crate::RabbitMqSink;
use crate::error::{Failure, soft};
use crate::session::{OpenError, Session, address, answered, is_missing};

/// What a confirm says. <https://www.rabbitmq.com/docs/confirms#when-publishes-are-confirmed>
const ACK: &str = "every queue that the message was routed to took it: a durable quorum queue has \
                   it written and fsynced on a majority of its nodes, a durable classic queue has \
                   it on one node's disk; which queues those are, AMQP does not tell";

/// The queue of all events that [`Topology::provision`] makes.
pub(crate) fn provisioned_queue(exchange: &str) -> String {
    format!("{exchange}.events")
}

/// How often the queue of the dead letters hands one out: as often as can be said. It is only ever
/// looked through, and RabbitMQ 4.0 drops after 20 times what came back each time.
const DELIVERY_LIMIT: i32 = i32::MAX;

/// The queue that [`Topology::provision`] makes for the dead letters of an exchange. It is theirs
/// alone, so that no subscriber consumes them away.
pub(crate) fn dead_letter_queue(exchange: &str) -> String {
    format!("{exchange}.dead_letters")
}

/// A queue that [`Topology::provision`] makes.
struct Wanted<'a> {
    name: String,
    key: &'a str,
    delivery_limit: Option<i32>,
    /// What to say where it is missing.
    remedy: &'static str,
}

impl RabbitMqSink {
    fn queue(&self) -> String {
        provisioned_queue(&self.config.exchange)
    }

    fn queues(&self) -> Vec<Wanted<'_>> {
        let events = Wanted {
            name: self.queue(),
            key: "#",
            delivery_limit: None,
            remedy: "`vodbridge provision` makes it; none is needed where queues of your own are \
                     bound to every topic",
        };
        let letters = self.dead_letters.as_deref().map(|key| Wanted {
            name: dead_letter_queue(&self.config.exchange),
            key,
            delivery_limit: Some(DELIVERY_LIMIT),
            remedy: "`vodbridge provision` makes it; without it dead letters are only where the \
                     other queues are read, and `vodbridge dead-letter` has to be told which",
        });
        [events].into_iter().chain(letters).collect()
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
        } else {
            for Wanted { name, remedy, .. } in self.queues() {
                if !has_queue(session, &name).await? {
                    findings.push(Finding {
                        blocking: false,
                        what: format!("queue {name:?} does not exist"),
                        remedy: remedy.into(),
                    });
                }
            }
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
        let exchange = &self.config.exchange;
        let new_exchange = !session.has_exchange(exchange).await?;
        if new_exchange {
            let channel = session.channel().await?;
            let options = ExchangeDeclareOptions {
                durable: true,
                ..ExchangeDeclareOptions::default()
            };
            let (kind, none) = (ExchangeKind::Topic, FieldTable::default());
            let name = ShortString::from(exchange.as_str());
            answered(channel.exchange_declare(name, kind, options, none)).await?;
        }
        let mut made = vec![Provisioned {
            what: format!("durable topic exchange {exchange}"),
            created: new_exchange,
        }];
        for queue in self.queues() {
            let new_queue = self.make_queue(session, &queue).await?;
            let Wanted { name, key, .. } = queue;
            made.push(Provisioned {
                what: format!("durable quorum queue {name}"),
                created: new_queue,
            });
            made.push(Provisioned {
                what: format!("binding of queue {name} to exchange {exchange} with key {key}"),
                created: new_exchange || new_queue,
            });
        }
        Ok(made)
    }

    /// Makes and binds a queue. True: it was not there before.
    async fn make_queue(&self, session: &Session, queue: &Wanted<'_>) -> Result<bool, OpenError> {
        let new = !has_queue(session, &queue.name).await?;
        let channel = session.channel().await?;
        let name = ShortString::from(queue.name.as_str());
        if new {
            declare(&channel, name.clone(), queue.delivery_limit).await?;
        }
        // Idempotent, and there is no way to ask first.
        let exchange = ShortString::from(self.config.exchange.as_str());
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        answered(channel.queue_bind(name, exchange, queue.key.into(), options, none)).await?;
        Ok(new)
    }
}

async fn declare(
    channel: &Channel,
    queue: ShortString,
    delivery_limit: Option<i32>,
) -> Result<(), OpenError> {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    let kind = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), kind);
    if let Some(limit) = delivery_limit {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(limit));
    }
    answered(channel.queue_declare(queue, options, arguments))
        .await
        .map(|_| ())
}

/// Whether a queue that is there is as [`Topology::provision`] makes that of the dead letters: the
/// broker compares what it is declared with. Costs a channel where it is not.
pub(crate) async fn is_for_dead_letters(session: &Session, queue: &str) -> Result<bool, OpenError> {
    let channel = session.channel().await?;
    match declare(&channel, ShortString::from(queue), Some(DELIVERY_LIMIT)).await {
        Ok(()) => Ok(true),
        // The second: whoever may not make it is not told.
        Err(OpenError::Client(error))
            if matches!(
                soft(&error),
                Some((
                    AMQPSoftError::PRECONDITIONFAILED | AMQPSoftError::ACCESSREFUSED,
                    _
                ))
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
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

    /// A durable topic exchange and a durable quorum queue, bound to every topic; another one for
    /// dead letters, if they go here.
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
