"""Kafka through confluent-kafka."""

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from command import Deadline, message, run


def create_topics(address, topics, partitions=1, config=None):
    admin = AdminClient({"bootstrap.servers": address})
    new = [NewTopic(name, partitions, 1, config=config or {}) for name in topics]
    for future in admin.create_topics(new).values():
        future.result()


def alter_topic(address, topic, config):
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def deny_writes(address, topic):
    """Everybody may do anything with the topic but write to it."""
    rules = [
        AclBinding(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            "User:*",
            "*",
            operation,
            permission,
        )
        for operation, permission in [
            (AclOperation.ALL, AclPermissionType.ALLOW),
            (AclOperation.WRITE, AclPermissionType.DENY),
        ]
    ]
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_acls(rules).values():
        future.result()


def delete_topics(address, topics):
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.delete_topics(topics).values():
        future.result()


def list_topics(address, prefix=""):
    return sorted(partitions_of(AdminClient({"bootstrap.servers": address}), prefix))


def leader(address, prefix):
    """The port of the broker that leads the topic, once there is one."""
    deadline = Deadline()
    client = AdminClient({"bootstrap.servers": address})
    while True:
        metadata = client.list_topics(prefix, timeout=10)
        number = metadata.topics[prefix].partitions[0].leader
        if number in metadata.brokers:
            yield metadata.brokers[number].port
            return
        deadline.pause(f"{prefix} has no leader")


def in_sync(address, prefix):
    """Waits until all replicas of the topic have what its leader has."""
    deadline = Deadline()
    client = AdminClient({"bootstrap.servers": address})
    while True:
        partition = client.list_topics(prefix, timeout=10).topics[prefix].partitions[0]
        if sorted(partition.isrs) == sorted(partition.replicas):
            return
        deadline.pause(f"of {partition.replicas} only {partition.isrs} are in sync")


def publish(address, topic, bodies, key=None, headers=None):
    producer = Producer({"bootstrap.servers": address, "message.timeout.ms": 20000})
    failures = []

    def delivered(error, _):
        if error is not None:
            failures.append(error)

    for body in bodies:
        producer.produce(topic, body.encode(), key, headers=headers, on_delivery=delivered)
    producer.flush()
    if failures:
        raise KafkaException(failures[0])


def read(address, prefix, at_least=0, within=30):
    """Everything on the topics whose name starts with `prefix`."""
    yield from map(described, records(address, prefix, at_least, within))


def bodies(address, prefix):
    """The bodies of everything on the topics whose name starts with `prefix`."""
    for record in records(address, prefix):
        yield record.value()


def records(address, prefix, at_least=0, within=30):
    deadline = Deadline(at_least, within)
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "vodbridge-tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    count = 0
    offsets = {}
    while True:
        topics = partitions_of(consumer, prefix)
        places = [(topic, number) for topic, numbers in topics.items() for number in numbers]
        consumer.assign([TopicPartition(*place, offsets.get(place, 0)) for place in places])
        unfinished = set(places)
        while unfinished:
            record = consumer.poll(10)
            if record is None:
                raise TimeoutError(f"no answer for {sorted(unfinished)}")
            place = (record.topic(), record.partition())
            if record.error() is None:
                offsets[place] = record.offset() + 1
                count += 1
                yield record
            elif record.error().code() == KafkaError._PARTITION_EOF:
                unfinished.discard(place)
            else:
                raise KafkaException(record.error())
        if not deadline.wants_more(count):
            consumer.close()
            return


def partitions_of(client, prefix):
    topics = client.list_topics(timeout=10).topics
    return {
        name: list(topic.partitions)
        for name, topic in topics.items()
        if name.startswith(prefix) and not name.startswith("__")
    }


def described(record):
    pairs = record.headers() or []
    headers = dict(pairs)
    if len(headers) != len(pairs):
        raise ValueError(f"a header comes twice: {pairs}")
    kafka_message = KafkaMessage(headers, record.key(), record.value() or b"")
    return message(
        record.topic(),
        record.key() and record.key().decode(),
        {name: value.decode() for name, value in headers.items()},
        {},
        record.value() or b"",
        lambda: from_kafka_event(kafka_message),
    )


if __name__ == "__main__":
    run(
        str,
        create_topics,
        alter_topic,
        deny_writes,
        delete_topics,
        list_topics,
        leader,
        in_sync,
        publish,
        read,
        bodies,
    )
