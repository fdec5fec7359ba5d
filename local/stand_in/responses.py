"""What the stand-in answers to `POST /v1/responses`: the same as to a chat completion."""

import json
from collections.abc import Iterator, Mapping
from time import time
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from local.stand_in.chat import WORDS, Answer, make_answer
from local.stand_in.exchange import Exchange, Refusal, document, stream


async def respond(exchange: Exchange) -> Response:
    """Answers `POST /v1/responses`."""
    body, rule = exchange.fields, exchange.rule
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refusal("You must provide a model parameter.", param="model")
    answer = make_answer(_as_chat(body), rule)
    response = _response(body, answer)
    if not body.get("stream"):
        return document(response, rule)
    events = [
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in _events(response, answer)
    ]
    return stream(events, len(events), "text/event-stream", rule)


def _as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the request as one of a chat completion."""
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    messages = [
        {"role": "tool", "content": str(item.get("output"))}
        if item.get("type") == "function_call_output"
        else {"role": "assistant", "tool_calls": [item], "content": ""}
        if item.get("type") == "function_call"
        else {"role": item.get("role", "user"), "content": item.get("content", "")}
        for item in items
    ]
    functions = [
        {"type": "function", "function": tool}
        for tool in body.get("tools") or []
        if tool.get("type") == "function"
    ]
    return {"messages": messages, "tools": functions, "model": body["model"]}


def _response(body: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time()),
        "status": "completed",
        "model": body["model"],
        "output": list(_items(answer)),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "error": None,
        "incomplete_details": None,
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


def _items(answer: Answer) -> Iterator[dict[str, Any]]:
    for name, arguments in answer.calls:
        yield {
            "id": f"fc_{uuid4().hex}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{uuid4().hex[:24]}",
            "name": name,
            "arguments": arguments,
        }
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
    yield event("response.completed", response=response)
