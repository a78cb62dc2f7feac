"""RabbitMQ through pika."""

import time

import pika
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp_event

from command import Deadline, message, run


def connect(address):
    return pika.BlockingConnection(pika.URLParameters(address)).channel()


def declare_exchange(channel, exchange, kind="topic"):
    channel.exchange_declare(exchange, kind, durable=True)


def declare_queue(channel, queue, exchange=None, routing_key="#", arguments=None):
    """A durable queue, bound to the exchange where one is named."""
    channel.queue_declare(queue, durable=True, arguments=arguments)
    if exchange is not None:
        channel.queue_bind(queue, exchange, routing_key)


def bind_queue(channel, queue, exchange, routing_key="#"):
    channel.queue_bind(queue, exchange, routing_key)


def unbind_queue(channel, queue, exchange, routing_key="#"):
    channel.queue_unbind(queue, exchange, routing_key)


def delete_queue(channel, queue):
    channel.queue_delete(queue)


def delete_exchange(channel, exchange):
    channel.exchange_delete(exchange)


def purge_queue(channel, queue):
    channel.queue_purge(queue)


def count(channel, queue):
    yield channel.queue_declare(queue, passive=True).method.message_count


def publish(channel, exchange, routing_key, bodies, content_type=None, headers=None):
    channel.confirm_delivery()
    properties = pika.BasicProperties(content_type, headers=headers, delivery_mode=2)
    for body in bodies:
        channel.basic_publish(exchange, routing_key, body.encode(), properties, mandatory=True)


def read(channel, queue, at_least=0, within=30):
    """Takes everything out of the queue."""
    deadline = Deadline(at_least, within)
    number = 0
    for delivery in ready(channel, queue):
        number += 1
        yield described(*delivery)
    while True:
        method, properties, body = channel.basic_get(queue)
        if method is not None:
            channel.basic_ack(method.delivery_tag)
            number += 1
            yield described(method, properties, body)
        elif deadline.wants_more(number):
            time.sleep(0.02)
        else:
            return


def ready(channel, queue):
    """As many messages as are ready now: many times faster than to get one by one."""
    left = next(count(channel, queue))
    if not left:
        return
    channel.basic_qos(prefetch_count=256)
    for method, properties, body in channel.consume(queue):
        channel.basic_ack(method.delivery_tag)
        yield method, properties, body
        left -= 1
        if not left:
            break
    channel.cancel()


def bodies(channel, queue):
    """Takes what is ready now out of the queue, and gives the bodies."""
    left = next(count(channel, queue))
    if not left:
        return
    channel.basic_qos(prefetch_count=1024)
    for method, _, body in channel.consume(queue):
        yield body
        left -= 1
        if left % 512 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if not left:
            break
    channel.cancel()


def described(method, properties, body):
    headers = properties.headers or {}
    named = {
        name: getattr(properties, name)
        for name in ("content_type", "message_id", "type", "timestamp", "delivery_mode")
        if getattr(properties, name) is not None
    }
    content_type = {"content-type": properties.content_type} if properties.content_type else {}
    return message(
        method.routing_key,
        None,
        {name: str(value) for name, value in headers.items()},
        {name: str(value) for name, value in named.items()},
        body,
        lambda: from_amqp_event(AMQPMessage(content_type, headers, body)),
    )


if __name__ == "__main__":
    run(
        connect,
        declare_exchange,
        declare_queue,
        bind_queue,
        unbind_queue,
        delete_queue,
        delete_exchange,
        purge_queue,
        count,
        publish,
        read,
        bodies,
    )
