"""The input of a response for the agent: its items as chat messages.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.errors import InvalidRequest
from shared.routes.v1.agent.client_tools import ClientTools, output_messages
from shared.routes.v1.agent.past_calls import (
    RUN_BY_CLIENTS,
    RUN_BY_PROVIDERS,
    as_call_with_output,
    as_function_call,
    as_function_output,
)
from shared.routes.v1.agent.work import unpack_work

_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")
_CLIENT_OUTPUTS = tuple(f"{kind}_output" for kind in RUN_BY_CLIENTS)
_ROLES = ("system", "developer", "user", "assistant")
_GENERATED_PICTURE = "image_generation_call"
_LEFT_OUT = (
    *("additional_tools", "tool_search_call", "tool_search_output", "mcp_list_tools"),
    *("web_search_call", "file_search_call"),
)
"""Kinds of items that bring tools, which are read elsewhere, or say no more than the text after them."""


def read_response_input(fields: Mapping[str, Any], tools: ClientTools) -> dict[str, Any]:
    """Returns the fields of the agent's input for a request of the Responses API.

    Args:
        fields: The body of the request.
        tools: The tools of the caller.

    Raises:
        InvalidRequest: An item or a part is none that the agent takes.
    """
    given = fields.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise InvalidRequest.for_field("input", "Give a text or a list of messages")
    messages = _messages(items, tools)
    if fields.get("instructions"):
        messages.insert(0, {"role": "system", "content": fields["instructions"]})
    reasoning, text = fields.get("reasoning"), fields.get("text")
    return {
        "messages": messages,
        "temperature": fields.get("temperature"),
        "max_output_tokens": fields.get("max_output_tokens"),
        "reasoning_effort": reasoning.get("effort") if isinstance(reasoning, Mapping) else None,
        "json_schema": _schema_of(text.get("format") if isinstance(text, Mapping) else None),
        "client_tools": tools.as_functions(),
        "tool_choice": tools.choice(fields.get("tool_choice")),
    }


def _schema_of(wanted: object) -> object:
    if wanted is None or (isinstance(wanted, Mapping) and wanted.get("type") == "text"):
        return None
    if not isinstance(wanted, Mapping) or not isinstance(wanted.get("schema"), Mapping):
        raise InvalidRequest.for_field(
            "text.format", "The model 'agent' takes 'text' and 'json_schema' with a schema"
        )
    return wanted["schema"]


def _messages(items: Sequence[object], tools: ClientTools) -> list[dict[str, Any]]:
    """Returns items as chat messages; calls of one answer stand in one message."""
    messages: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for path, item in _known_items(items):
        kind = item.get("type", "message")
        if kind in _OUTPUTS:
            message, *more = output_messages(item)
            messages.append(message)
            pictures += more
            continue
        if kind == _GENERATED_PICTURE:
            pictures.append(_picture_message(item, path))
            continue
        # Nothing may stand between the results of the calls of one answer.
        messages += pictures
        pictures = []
        if kind == "reasoning":
            messages += unpack_work(item, path)
        elif kind == "message":
            messages.append(_message(item, path))
        elif kind in _CALLS:
            if not (messages and messages[-1]["role"] == "assistant"):
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(tools.read_call(item))
    return messages + pictures


def _known_items(items: Sequence[object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the items that tell the agent something, each with its path; calls are those of functions.

    Raises:
        InvalidRequest: Without an item of this kind the conversation would be another one.
    """
    for index, item in enumerate(items):
        path = f"input.{index}"
        kind = item.get("type", "message") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping):
            raise InvalidRequest.for_field(path, "Give an item, such as a message")
        if kind in ("message", "reasoning", _GENERATED_PICTURE, *_CALLS, *_OUTPUTS):
            yield path, item
        elif kind in RUN_BY_PROVIDERS:
            for each in as_call_with_output(item, path):
                yield path, each
        elif kind in RUN_BY_CLIENTS:
            yield path, as_function_call(item)
        elif kind in _CLIENT_OUTPUTS:
            yield path, as_function_output(item)
        elif kind not in _LEFT_OUT:
            raise InvalidRequest.for_field(
                path, "The model 'agent' takes messages, and calls of tools with their results"
            )


def _picture_message(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Returns a generated picture as a message: assistants' messages have none in chat completions."""
    if not item.get("result"):
        raise InvalidRequest.for_field(path, "Send the picture in result: nothing is stored")
    url = f"data:image/{item.get('output_format') or 'png'};base64,{item['result']}"
    text = {"type": "text", "text": "The generated picture:"}
    return {"role": "user", "content": [text, {"type": "image_url", "image_url": {"url": url}}]}


def _message(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    if item.get("role") not in _ROLES:
        raise InvalidRequest.for_field(f"{path}.role", f"Give one of {', '.join(_ROLES)}")
    content = item.get("content")
    if isinstance(content, list):
        content = [_part(part, f"{path}.content.{index}") for index, part in enumerate(content)]
    return {"role": item.get("role"), "content": content}


def _part(part: object, path: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping):
        if kind in ("input_text", "output_text"):
            return {"type": "text", "text": part.get("text")}
        if kind == "refusal":
            return {"type": "text", "text": part.get("refusal")}
        if kind == "input_image" and isinstance(part.get("image_url"), str):
            image = {"url": part["image_url"]}
            return {"type": "image_url", "image_url": image}
        if kind == "input_file" and (part.get("file_data") or part.get("file_url")):
            data = part.get("file_data") or part.get("file_url")
            name = {"filename": part["filename"]} if part.get("filename") else {}
            return {"type": "file", "file": {"file_data": data, **name}}
    raise InvalidRequest.for_field(
        path, "Give input_text, input_image with image_url, or input_file with file_data"
    )
