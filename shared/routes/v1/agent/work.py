"""The work of the agent's own tools in what clients send back: in reasoning items, else left out."""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from shared.agent import ToolCallRecord, stored_text
from shared.errors import InvalidRequest
from shared.routes.v1.agent.past_calls import past_call_id

_WORK = "agent.1."
"""Begins the packed work of a tool; the number is that of its format."""

WORK_ID = "rs_agent_"
"""Begins the id of an item that shows the work of a tool."""

_SHOWN_FIELDS = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks"),
    *("annotations", "parsed", "provider_specific_fields"),
)
"""What answers and the clients that read them add to an assistant's message, and no request has."""

_Fields = Mapping[str, Any]


class _Work(BaseModel):
    """A call of a tool of the agent, as it was packed."""

    name: str
    arguments: dict[str, JsonValue] | str
    result: str


def pack_work(record: ToolCallRecord) -> str:
    """Returns a call of a tool of the agent and its result, for the caller to send back.

    It goes where models have their encrypted reasoning: clients keep that and show it to nobody. It is
    not encrypted, since the caller may know it and may send what it likes anyway.
    """
    work = {
        "name": record["name"],
        "arguments": record["arguments"],
        "result": stored_text(record["result"], is_error=record["is_error"]),
    }
    return _WORK + b64encode(to_json(work)).decode()


def replace_work(fields: _Fields) -> dict[str, Any]:
    """Returns the ``input`` of a response without reasoning items of the agent, which no provider knows.

    What a tool did becomes a call and its result, where the item tells it.

    Args:
        fields: Of a response that goes to a provider; they may be anything.

    Raises:
        InvalidRequest: An item was changed on its way.
    """
    items = fields.get("input")
    if not isinstance(items, list) or not any(map(_is_work, items)):
        return {}
    kept: list[Any] = []
    for index, item in enumerate(items):
        kept += _as_items(item, f"input.{index}") if _is_work(item) else [item]
    return {"input": kept}


def _is_work(item: object) -> bool:
    if not isinstance(item, Mapping) or item.get("type") != "reasoning":
        return False
    return str(item.get("id")).startswith(WORK_ID) or _packed_in(item) is not None


def _as_items(item: _Fields, path: str) -> list[dict[str, Any]]:
    """Returns an item of the agent as items that every model knows; none where it tells no work."""
    messages = unpack_work(item, path)
    if not messages:
        return []
    (call,), result = messages[0]["tool_calls"], messages[1]["content"]
    return [
        {"type": "function_call", "call_id": call["id"], **call["function"]},
        {"type": "function_call_output", "call_id": call["id"], "output": result},
    ]


def _packed_in(item: _Fields) -> str | None:
    packed = item.get("encrypted_content")
    return packed if isinstance(packed, str) and packed.startswith(_WORK) else None


def unpack_work(item: _Fields, path: str) -> Sequence[dict[str, Any]]:
    """Returns a call and its result as messages; nothing for the reasoning of a model.

    Args:
        item: A reasoning item.
        path: Where it is, such as ``input.3``.

    Raises:
        InvalidRequest: The item was changed on its way.
    """
    packed = _packed_in(item)
    if packed is None:
        return []
    try:
        work = _Work.model_validate_json(b64decode(packed.removeprefix(_WORK)))
    except ValueError as error:
        raise InvalidRequest.for_field(
            "input", "Send the reasoning items of the model 'agent' as they came, or leave them out"
        ) from error
    arguments = work.arguments
    text = arguments if isinstance(arguments, str) else to_json(arguments).decode()
    identifier = past_call_id(item, path)
    function = {"name": work.name, "arguments": text}
    call = {"id": identifier, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": identifier, "content": work.result},
    ]


def without_shown_work(messages: object) -> object:
    """Returns chat messages without what only shows how an answer came about.

    Above all that is ``reasoning_content``, which shows the agent's work, and which providers other than
    those that write it refuse; and fields that are null or empty. Other fields are for the provider.

    Args:
        messages: Of a chat completion; they may be anything.
    """
    if not isinstance(messages, list):
        return messages
    return [_sendable(each) if _is_from_assistant(each) else each for each in messages]


def _is_from_assistant(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "assistant"


def _sendable(message: _Fields) -> _Fields:
    kept = {
        name: value
        for name, value in message.items()
        if name not in _SHOWN_FIELDS and value not in (None, "", [])
    }
    return {"role": "assistant", "content": message.get("content"), **kept}
