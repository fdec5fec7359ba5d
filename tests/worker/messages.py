"""Stand-ins for the protobuf messages with which the Functions host and its worker talk.

Source: https://github.com/Azure/azure-functions-language-worker-protobuf
"""

import json
from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """Any message: the fields that it is given."""


class StatusResult(Message):
    Failure = 0
    Success = 1


class BindingInfo(Message):
    undefined = 0
    out = 1
    inout = 2


class TypedData(Message):
    """A message with at most one field."""

    def WhichOneof(self, group: str) -> str | None:
        return next(iter(vars(self)), None)


class ParameterBinding(Message):
    def WhichOneof(self, group: str) -> str:
        return "data"


PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    FunctionLoadResponse=Message,
    FunctionMetadataResponse=Message,
    InvocationResponse=Message,
    ParameterBinding=ParameterBinding,
    RpcException=Message,
    RpcFunctionMetadata=Message,
    StatusResult=StatusResult,
    TypedData=TypedData,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
)


def make_request(kind: str, **fields: Any) -> Message:
    """Returns a request as the worker's functions take it."""
    return Message(
        request=Message(**{kind: Message(**fields)}),
        properties={"host": "127.0.0.1", "protos": PROTOS},
    )


def http_input(
    name: str, method: str, url: str, route_parameters: dict[str, str]
) -> ParameterBinding:
    """Returns the input of an HTTP trigger whose request goes to the worker's HTTP server."""
    http = Message(
        method=method, url=url, headers={}, query={}, params=route_parameters, body=TypedData()
    )
    return ParameterBinding(name=name, data=TypedData(http=http))


def timer_input(name: str) -> ParameterBinding:
    """Returns the input of a timer trigger."""
    timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
    return ParameterBinding(name=name, data=TypedData(json=json.dumps(timer)))
