//! The settings of the sink's producers.

use rdkafka::ClientConfig;

use crate::Limits;

/// What a producer may hold, in KiB; the sources' byte budgets keep it far lower.
const QUEUE_KIB: &str = "262144";

/// How long a broker may leave a request unanswered, in milliseconds, before the partition's leader
/// is asked for anew: one that is frozen tells nobody that it leads no more, and librdkafka's own
/// 60 s are longer than any patience. A megabyte a batch has to get through in that time.
const REQUEST_TIMEOUT: &str = "5000";

/// How a producer gathers events.
#[derive(Clone, Copy)]
pub(crate) enum Batching {
    /// At once; what comes while a request is out goes into the next.
    Direct,
    /// After a millisecond.
    Batched,
    /// One event a request, so that a refusal is about that event. Not idempotent: a refusal would
    /// make it wait for everything in flight and fetch a new epoch. A retry after a lost connection
    /// may leave a copy, with the same id.
    Alone,
}

/// The settings that carry the guarantee, on top of the operator's.
pub(crate) fn producer_config(
    client: &ClientConfig,
    limits: &Limits,
    batching: Batching,
) -> ClientConfig {
    let (linger, batch, idempotent) = match batching {
        Batching::Direct => ("0", "10000", "true"),
        Batching::Batched => ("1", "10000", "true"),
        Batching::Alone => ("0", "1", "false"),
    };
    // A publish that was given up still counts until librdkafka's own time-out.
    let queue = (limits.max_in_flight * 2).clamp(1000, 10_000_000);
    let mut config = client.clone();
    config
        .set("acks", "all")
        .set("enable.idempotence", idempotent)
        .set(
            "message.timeout.ms",
            limits.message_timeout.as_millis().to_string(),
        )
        .set("linger.ms", linger)
        .set("batch.num.messages", batch)
        .set("queue.buffering.max.messages", queue.to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KIB)
        .set("reconnect.backoff.max.ms", "1000")
        // Long enough for a broker that creates topics by itself.
        .set("topic.metadata.propagation.max.ms", "800")
        .set("statistics.interval.ms", "1000");
    let is_bounded = !matches!(batching, Batching::Alone);
    if is_bounded && client.get("socket.timeout.ms").is_none() {
        config.set("socket.timeout.ms", REQUEST_TIMEOUT);
    }
    config
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_operator_may_give_a_broker_more_time() {
        let limits = Limits {
            message_timeout: Duration::from_secs(16),
            max_in_flight: 8,
        };
        let mut client = ClientConfig::new();
        let ours = producer_config(&client, &limits, Batching::Batched);
        assert_eq!(ours.get("socket.timeout.ms"), Some(REQUEST_TIMEOUT));
        let alone = producer_config(&client, &limits, Batching::Alone);
        assert_eq!(alone.get("socket.timeout.ms"), None);
        client.set("socket.timeout.ms", "9000");
        let theirs = producer_config(&client, &limits, Batching::Batched);
        assert_eq!(theirs.get("socket.timeout.ms"), Some("9000"));
    }
}
