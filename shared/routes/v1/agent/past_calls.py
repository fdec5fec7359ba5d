"""Calls of tools that a provider or a client ran, in the input of a response that goes elsewhere.

The agent and other providers have none of these tools, and containers of a provider are shared by all
callers. What was called and what came of it are kept: as a call of a function and its result, which
every model reads.

Source: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

_Fields = Mapping[str, Any]

CODE_CALL = "code_interpreter_call"
RUN_BY_CLIENTS = ("local_shell_call", "shell_call", "apply_patch_call", "computer_call")
RUN_BY_PROVIDERS = (CODE_CALL, "mcp_call")

_NOT_SENT = "The output was not sent back."
_ONLY_PICTURES = "The output was a picture that is no longer there."
_BOOKKEEPING = ("id", "call_id", "type", "status", "environment", "caller", "created_by")


def as_function_call(item: _Fields) -> dict[str, Any]:
    """Returns a call of a tool that a client ran as one of a function, with the fields as arguments."""
    arguments = {name: value for name, value in item.items() if name not in _BOOKKEEPING}
    name = str(item.get("type")).removesuffix("_call")
    return _call(item.get("call_id") or item.get("id"), name, json.dumps(arguments))


def as_function_output(item: _Fields) -> dict[str, Any]:
    """Returns the result of a call that a client ran as that of a function."""
    output = item.get("output")
    if not isinstance(output, str):
        is_parts = isinstance(output, list) and all(map(_is_part, output))
        screenshot = [output] if _is_part(output) else None
        output = screenshot or (output if is_parts else json.dumps(output))
    return _output(item.get("call_id") or item.get("id"), output)


def past_call_id(item: _Fields, path: str) -> str:
    """Returns the id for a call that has none: the same in each request that begins with the same items.

    A random one would be another text for the provider, whose prompt cache then ends there.

    Args:
        item: The item that tells of the call.
        path: Where it is, such as ``input.3``: clients may give several items the same id.
    """
    digest = sha256(json.dumps([path, item.get("id")]).encode()).hexdigest()
    return f"call_{digest[:24]}"


def as_call_with_output(item: _Fields, path: str) -> list[dict[str, Any]]:
    """Returns a call that a provider ran, which holds its result, as the two items of a function.

    Args:
        item: The call.
        path: Where it is, such as ``input.3``.
    """
    if item.get("type") == CODE_CALL:
        name = "code_interpreter"
        arguments: object = json.dumps({"code": item.get("code")})
        output: object = _output_of_code(item)
    else:
        name, arguments = str(item.get("name")), item.get("arguments")
        output = item.get("output")
        if output is None:
            output = item.get("error")
    identifier = past_call_id(item, path)
    text = output if isinstance(output, str) else json.dumps(output) if output else _NOT_SENT
    return [_call(identifier, name, arguments), _output(identifier, text)]


def replace_code_calls(fields: _Fields) -> dict[str, Any]:
    """Returns the ``input`` of a response without the containers of past calls of code_interpreter.

    With one, a tool whose container is automatic goes on in it, whosever it is.

    Args:
        fields: Of a response that goes to a provider; they may be anything.
    """
    items = fields.get("input")
    if not isinstance(items, list) or not any(map(_has_container, items)):
        return {}
    kept: list[Any] = []
    for index, item in enumerate(items):
        path = f"input.{index}"
        kept += as_call_with_output(item, path) if _has_container(item) else [item]
    return {"input": kept}


def _has_container(item: object) -> bool:
    return (
        isinstance(item, Mapping)
        and item.get("type") == CODE_CALL
        and bool(item.get("container_id"))
    )


def _output_of_code(item: _Fields) -> str | None:
    outputs = item.get("outputs")
    if not isinstance(outputs, list):
        return None
    parts = [each for each in outputs if isinstance(each, Mapping)]
    logs = "\n".join(str(each["logs"]) for each in parts if "logs" in each)
    # Its URL leads into the container.
    has_picture = any(each.get("type") == "image" for each in parts)
    return logs or (_ONLY_PICTURES if has_picture else None)


def _is_part(value: object) -> bool:
    return isinstance(value, Mapping) and ("text" in value or "image_url" in value)


def _call(identifier: object, name: str, arguments: object) -> dict[str, Any]:
    return {"type": "function_call", "call_id": identifier, "name": name, "arguments": arguments}


def _output(identifier: object, output: object) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": identifier, "output": output}
