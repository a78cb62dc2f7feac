"""NATS JetStream through nats-py."""

import asyncio

import nats
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from command import Deadline, message, run


def in_session(command):
    """A command that is a coroutine over JetStream, run on a connection of its own."""

    def runs(address, **arguments):
        return asyncio.run(session(address, arguments))

    async def session(address, arguments):
        connection = await nats.connect(address.split(","), allow_reconnect=False)
        try:
            return await command(connection.jetstream(timeout=20), **arguments)
        finally:
            await connection.close()

    runs.__name__ = command.__name__
    return runs


@in_session
async def create_stream(stream, name, subjects, **config):
    await stream.add_stream(StreamConfig(name, subjects=subjects, **config))


@in_session
async def update_stream(stream, name, **config):
    current = (await stream.stream_info(name)).config
    await stream.update_stream(current.evolve(**config))


@in_session
async def delete_stream(stream, name):
    await stream.delete_stream(name)


@in_session
async def purge_stream(stream, name):
    await stream.purge_stream(name)


@in_session
async def stream_info(stream, name):
    info = await stream.stream_info(name)
    return [{"config": info.config.as_dict(), "state": info.state.as_dict()}]


async def cluster_of(stream, name):
    """The stream's cluster; None while nobody answers for it."""
    try:
        return (await stream.stream_info(name)).cluster
    except (nats.errors.TimeoutError, nats.errors.NoRespondersError, nats.js.errors.APIError):
        return None


@in_session
async def leader(stream, name):
    """The port of the server that leads the stream, once there is one."""
    deadline = Deadline()
    while True:
        cluster = await cluster_of(stream, name)
        if cluster and cluster.leader:
            return [int(cluster.leader.rpartition("-")[2])]
        deadline.pause(f"{name} has no leader")


@in_session
async def in_sync(stream, name):
    """Waits until all replicas of the stream have what its leader has."""
    deadline = Deadline()
    while True:
        cluster = await cluster_of(stream, name)
        if cluster and cluster.leader and all(peer.current for peer in cluster.replicas):
            return
        deadline.pause(f"replicas are behind: {cluster}")


@in_session
async def step_down(stream, name):
    """Asks the server that leads the stream to leave that to another."""
    await stream._api_request(f"{stream._prefix}.STREAM.LEADER.STEPDOWN.{name}", timeout=20)


@in_session
async def publish(stream, subject, bodies, headers=None):
    for body in bodies:
        await stream.publish(subject, body.encode(), headers=headers)


@in_session
async def read(stream, name, at_least=0, within=30):
    """Everything in the stream, through a consumer of its own."""
    deadline = Deadline(at_least, within)
    consumer = await stream.pull_subscribe(">", stream=name)
    messages = []
    while True:
        waiting = (await consumer.consumer_info()).num_pending
        if waiting:
            fetched = await consumer.fetch(min(waiting, 256), timeout=10)
            for received in fetched:
                await received.ack()
            messages.extend(described(received) for received in fetched)
        elif deadline.wants_more(len(messages)):
            await asyncio.sleep(0.02)
        else:
            await consumer.unsubscribe()
            return messages


def bodies(address, name):
    """The bodies of everything in the stream."""
    with asyncio.Runner() as runner:
        connection = runner.run(nats.connect(address.split(","), allow_reconnect=False))
        stream = connection.jetstream(timeout=20)
        # Reading on may wait for whoever takes the bodies.
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=600)
        consumer = runner.run(stream.pull_subscribe(">", stream=name, config=config))
        while waiting := runner.run(consumer.consumer_info()).num_pending:
            fetched = runner.run(consumer.fetch(min(waiting, 1024), timeout=10))
            yield from (received.data for received in fetched)
        runner.run(connection.close())


def described(received):
    headers = dict(received.headers or {})
    return message(
        received.subject,
        None,
        headers,
        {},
        received.data,
        lambda: from_http_event(HTTPMessage(headers, received.data)),
    )


if __name__ == "__main__":
    run(
        str,
        create_stream,
        update_stream,
        delete_stream,
        purge_stream,
        stream_info,
        leader,
        in_sync,
        step_down,
        publish,
        read,
        bodies,
    )
