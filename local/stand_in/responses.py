"""What the stand-in answers to `POST /v1/responses`: the same as to a chat completion."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from local.stand_in.chat import WORDS, Answer, make_answer
from local.stand_in.exchange import Exchange, Refusal, document, stream

CALLS = ("function_call", "custom_tool_call")


@dataclass(frozen=True)
class _Tool:
    """A tool of a request.

    Attributes:
        fields: The tool as the request has it.
        namespace: The namespace that it is in; None for none.
    """

    fields: Mapping[str, Any]
    namespace: str | None = None

    @property
    def is_custom(self) -> bool:
        """Whether its input is a text and no JSON."""
        return bool(self.fields["type"] == "custom")

    def as_function(self) -> dict[str, Any]:
        """Returns it as a function; one of text has a text as its only parameter."""
        if not self.is_custom:
            return {**self.fields}
        parameters = {"properties": {"input": {"type": "string"}}, "required": ["input"]}
        return {"name": self.fields["name"], "parameters": parameters}


async def respond(exchange: Exchange) -> Response:
    """Answers `POST /v1/responses`."""
    body, rule = exchange.fields, exchange.rule
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refusal("You must provide a model parameter.", param="model")
    items = _items_of(body)
    tools = {tool.fields["name"]: tool for tool in _tools_of(body, items)}
    answer = make_answer(_as_chat(body, items, tools.values()), rule)
    response = _response(body, answer, tools)
    if not body.get("stream"):
        return document(response, rule)
    events = [*_events(response, answer)]
    # Written when they are sent, as those of chat completions.
    written = (f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in events)
    return stream(written, len(events), "text/event-stream", rule)


def _items_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = body.get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) else given or []


def _tools_of(
    body: Mapping[str, Any], items: Iterable[Mapping[str, Any]], namespace: str | None = None
) -> Iterator[_Tool]:
    """Yields the tools of a request; Codex puts them among the items of its input."""
    for tool in body.get("tools") or []:
        if tool.get("type") in ("function", "custom"):
            yield _Tool(tool, namespace)
        elif tool.get("type") == "namespace":
            yield from _tools_of(tool, (), tool["name"])
    for item in items:
        if item.get("type") == "additional_tools":
            yield from _tools_of(item, ())


def _as_chat(
    body: Mapping[str, Any], items: Iterable[Mapping[str, Any]], tools: Iterable[_Tool]
) -> dict[str, Any]:
    """Returns the request as one of a chat completion."""
    chat: dict[str, Any] = {
        "messages": [
            _as_message(item)
            for item in items
            if item.get("type") not in ("additional_tools", "reasoning")
        ],
        "tools": [{"type": "function", "function": tool.as_function()} for tool in tools],
        "model": body["model"],
        "max_completion_tokens": body.get("max_output_tokens"),
        "tool_choice": body.get("tool_choice"),
        "parallel_tool_calls": body.get("parallel_tool_calls"),
    }
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") in ("json_object", "json_schema"):
        chat["response_format"] = {"type": wanted["type"], "json_schema": wanted}
    return chat


def _as_message(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind in CALLS:
        return {"role": "assistant", "tool_calls": [item], "content": ""}
    if kind.endswith("_call_output"):
        output = item.get("output")
        return {"role": "tool", "content": output if isinstance(output, list) else str(output)}
    return {"role": item.get("role", "user"), "content": item.get("content", "")}


def _response(
    body: Mapping[str, Any], answer: Answer, tools: Mapping[str, _Tool]
) -> dict[str, Any]:
    cuts = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = cuts.get(answer.finish_reason)
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time()),
        "status": "incomplete" if reason else "completed",
        "model": body["model"],
        "output": list(_items(answer, tools)),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "store": body.get("store", True),
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": {
            "input_tokens": answer.usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answer.usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": answer.usage["total_tokens"],
        },
    }


def _items(answer: Answer, tools: Mapping[str, _Tool]) -> Iterator[dict[str, Any]]:
    for name, arguments in answer.calls:
        tool = tools.get(name)
        item = {"status": "completed", "call_id": f"call_{uuid4().hex[:24]}", "name": name}
        if tool is not None and tool.namespace is not None:
            item["namespace"] = tool.namespace
        if tool is None or not tool.is_custom:
            yield {
                "id": f"fc_{uuid4().hex}",
                "type": "function_call",
                **item,
                "arguments": arguments,
            }
        else:
            text = _text_of(arguments)
            yield {"id": f"ctc_{uuid4().hex}", "type": "custom_tool_call", **item, "input": text}
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": []}
        yield {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }


def _events(response: Mapping[str, Any], answer: Answer) -> Iterator[dict[str, Any]]:
    """Yields the events of a streamed response, numbered."""
    number = 0

    def event(kind: str, **fields: Any) -> dict[str, Any]:
        nonlocal number
        number += 1
        return {"type": kind, "sequence_number": number - 1, **fields}

    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield event("response.created", response=begun)
    yield event("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "message":
            part = {**item["content"][0], "text": ""}
            started = {**item, "status": "in_progress", "content": []}
            yield event("response.output_item.added", output_index=index, item=started)
            yield event("response.content_part.added", **place, content_index=0, part=part)
            for word in WORDS.findall(answer.text):
                yield event(
                    "response.output_text.delta", **place, content_index=0, delta=word, logprobs=[]
                )
            yield event(
                "response.output_text.done",
                **place,
                content_index=0,
                text=answer.text,
                logprobs=[],
            )
            yield event(
                "response.content_part.done", **place, content_index=0, part=item["content"][0]
            )
        elif item["type"] == "custom_tool_call":
            started = {**item, "status": "in_progress", "input": ""}
            yield event("response.output_item.added", output_index=index, item=started)
            yield event("response.custom_tool_call_input.delta", **place, delta=item["input"])
            yield event("response.custom_tool_call_input.done", **place, input=item["input"])
        else:
            started = {**item, "status": "in_progress", "arguments": ""}
            yield event("response.output_item.added", output_index=index, item=started)
            yield event("response.function_call_arguments.delta", **place, delta=item["arguments"])
            yield event(
                "response.function_call_arguments.done",
                **place,
                name=item["name"],
                arguments=item["arguments"],
            )
        yield event("response.output_item.done", output_index=index, item=item)
    yield event(f"response.{response['status']}", response=response)


def _text_of(arguments: str) -> str:
    """Returns the input for a tool of text: a script may give that text itself."""
    try:
        return str(json.loads(arguments)["input"])
    except (ValueError, TypeError, LookupError):
        return arguments
