"""What the clients of the brokers share: the command line, and how a message is printed.

A client runs one command, `CLIENT ADDRESS COMMAND ARGUMENTS`, the arguments being a JSON object,
and prints one JSON object a line; the bodies of many messages as they are, since that is fast.
"""

import base64
import json
import sys
import time


class Deadline:
    """Reading goes on until at least so many messages came and no more are there, or time is up."""

    def __init__(self, at_least=0, within=30):
        self.at_least = at_least
        self.end = time.monotonic() + within

    def wants_more(self, count):
        return count < self.at_least and time.monotonic() < self.end

    def pause(self, problem):
        """A moment before the next look at what no broker announces."""
        if time.monotonic() > self.end:
            raise TimeoutError(problem)
        time.sleep(0.05)


def event(read):
    """The attributes of an event as the CloudEvents SDK reads them, or why it cannot."""
    try:
        attributes = dict(read().get_attributes())
    except Exception as error:  # whatever is wrong with the message, the test shall see it
        return {"error": f"{type(error).__name__}: {error}"}
    attributes["time"] = attributes["time"].isoformat() if "time" in attributes else None
    standard = {
        name: attributes.pop(name, None)
        for name in (
            "specversion",
            "id",
            "type",
            "source",
            "subject",
            "time",
            "datacontenttype",
            "dataschema",
        )
    }
    return {**standard, "extensions": attributes}


def message(topic, key, headers, properties, body, read):
    return {
        "topic": topic,
        "key": key,
        "headers": headers,
        "properties": properties,
        "body": base64.b64encode(body).decode(),
        "event": event(read),
    }


def run(connect, *commands):
    """Runs the command that the command line names, on what `connect` makes of the address."""
    address, name, arguments = sys.argv[1:]
    command = {command.__name__: command for command in commands}[name]
    for line in command(connect(address), **json.loads(arguments)) or ():
        if isinstance(line, bytes):
            if b"\n" in line:
                raise ValueError(f"a line break in {line!r}")
            sys.stdout.buffer.write(line + b"\n")
        else:
            print(json.dumps(line))
