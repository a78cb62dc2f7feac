"""The vendor's own SDK against a cloud's API: `cloud_sdk.py HOST:PORT calls '{"calls": […]}'`.

Signs, sends and decodes with code that this project did not write.
"""

import json
import time
import urllib.request
from unittest import mock

import command
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.vod.v20180717 import models, vod_client


def client(address, secret_id, secret_key, token, version):
    http = HttpProfile(protocol="http", endpoint=address, reqTimeout=10)
    made = vod_client.VodClient(Credential(secret_id, secret_key, token), "", ClientProfile(httpProfile=http))
    if version:
        made._apiVersion = version
    return made


def perform(made, action, parameters):
    """The answer as the SDK's models hold it; an action without a model as JSON."""
    if not hasattr(made, action):
        return made.call_json(action, parameters)["Response"]
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    return json.loads(getattr(made, action)(request).to_json_string())


def calls(address, calls):
    """Makes each call, and tells its answer, or the error as the SDK raises it.

    A call is an action and its parameters, and whatever is odd about it: another key, a token, a
    version, a clock that is `ahead` by some seconds, and `faults` that are set beforehand.
    """
    for call in calls:
        if "faults" in call:
            body = json.dumps({"faults": call["faults"]}).encode()
            urllib.request.urlopen(f"http://{address}/_control/faults", body).close()
        made = client(
            address,
            call.get("secret_id", "AKIDtest"),
            call.get("secret_key", "key"),
            call.get("token"),
            call.get("version"),
        )
        ahead, now = call.get("ahead", 0), time.time
        try:
            with mock.patch("time.time", lambda: now() + ahead):
                yield {"answer": perform(made, call["action"], call.get("parameters", {}))}
        except TencentCloudSDKException as error:
            message = str(error.get_message())
            yield {"error": error.get_code(), "message": message, "request_id": error.get_request_id()}


def ledger(address):
    """What the simulated cloud has issued, an event a line."""
    with urllib.request.urlopen(f"http://{address}/_control/ledger") as answer:
        yield from map(json.loads, answer)


if __name__ == "__main__":
    command.run(lambda address: address, calls, ledger)
