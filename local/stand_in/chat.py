"""What the stand-in answers to a chat completion request."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from time import time
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from local.stand_in.exchange import Exchange, Refusal, document, stream
from local.stand_in.habits import in_style_of, refuse
from local.stand_in.script import Rule, tool_rounds
from local.stand_in.tools import choose_tools, example, fill_arguments

MARK = "[stand-in]"
"""Begins every text, so that nobody takes it for a model's."""

WORDS = re.compile(r"\s*\S+")


@dataclass(frozen=True)
class Answer:
    """One answer before it is put on the wire.

    Attributes:
        text: The text; empty when tools are called.
        calls: Name and arguments of the functions to call.
        finish_reason: Why it ended.
        usage: Words counted as if they were tokens.
    """

    text: str
    calls: list[tuple[str, str]]
    finish_reason: str
    usage: dict[str, Any]


async def complete(exchange: Exchange) -> Response:
    """Answers `POST /v1/chat/completions`."""
    body, rule = exchange.fields, exchange.rule
    if complaint := _complaint(body):
        raise Refusal(complaint)
    if refused := refuse(body, rule):
        return refused
    answer = make_answer(body, rule)
    if not body.get("stream"):
        whole = in_style_of(rule.style, [whole_body(body["model"], answer)], "message")
        return document(whole[-1], rule)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    chunks = list(chunk_bodies(body["model"], answer, with_usage=with_usage))
    chunks = in_style_of(rule.style, chunks, "delta")
    # Written when they are sent: of a long answer all at once would hold up what else the loop does,
    # which under `make run` is the app.
    events = (f"data: {data}\n\n".encode() for data in chain(map(json.dumps, chunks), ["[DONE]"]))
    return stream(events, len(chunks), "text/event-stream", rule)


def make_answer(request: Mapping[str, Any], rule: Rule) -> Answer:
    """Returns the answer to a request body.

    Args:
        request: Body of `POST /v1/chat/completions`, checked as far as the stand-in checks.
        rule: What to answer, or what goes wrong.
    """
    messages = request["messages"]
    prompt_tokens = sum(len(_content(message).split()) for message in messages)
    calls = _calls(request, rule)
    text = rule.text or ("" if calls else _text(request))
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    words = WORDS.findall(text)
    was_cut = limit is not None and len(words) > limit
    was_filtered = rule.filter_after is not None and not calls
    if was_cut:
        words = words[:limit]
    if was_filtered:
        words = words[: rule.filter_after]
    if was_cut or was_filtered:
        text = "".join(words)
    completion_tokens = len(words) + sum(len(arguments.split()) + 1 for _, arguments in calls)
    reason = "tool_calls" if calls else "length" if was_cut else "stop"
    reason = "content_filter" if was_filtered else reason
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    return Answer(text, calls, rule.finish_reason or reason, usage)


def whole_body(model: str, answer: Answer) -> dict[str, Any]:
    """Returns the body of an answer that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.calls:
        message["tool_calls"] = [_call_part(name, text) for name, text in answer.calls]
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": answer.finish_reason,
        "logprobs": None,
    }
    head = _head("chat.completion", model)
    return {**head, "choices": [choice], "usage": answer.usage}


def chunk_bodies(model: str, answer: Answer, *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """Yields the bodies of a streamed answer's events."""
    head = _head("chat.completion.chunk", model)

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": "" if answer.text else None})
    for word in WORDS.findall(answer.text):
        yield chunk({"content": word})
    for index, (name, arguments) in enumerate(answer.calls):
        part = _call_part(name, "")
        yield chunk({"tool_calls": [{"index": index, **part}]})
        size = max(12, len(arguments) // 1000)
        for start in range(0, len(arguments), size):
            piece = {"arguments": arguments[start : start + size]}
            yield chunk({"tool_calls": [{"index": index, "function": piece}]})
    yield chunk({}, answer.finish_reason)
    if with_usage:
        yield {**head, "choices": [], "usage": answer.usage}


def _calls(request: Mapping[str, Any], rule: Rule) -> list[tuple[str, str]]:
    functions = [tool["function"] for tool in request.get("tools") or []]
    question = _question(request["messages"])
    if rule.call_tools is not None:
        offered = {function["name"]: function for function in functions}
        chosen = [(offered.get(name, {"name": name}), question) for name in rule.call_tools]
    elif rule.text or request.get("tool_choice") == "none" or tool_rounds(request):
        chosen = []
    else:
        chosen = choose_tools(question, functions)
    if request.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    return [
        (function["name"], rule.tool_arguments or json.dumps(fill_arguments(text, function)))
        for function, text in chosen
    ]


def _text(request: Mapping[str, Any]) -> str:
    question = _question(request["messages"])
    answer_format = request.get("response_format") or {}
    if answer_format.get("type") == "json_object":
        return json.dumps({"stand_in": True, "question": question})
    if answer_format.get("type") == "json_schema":
        return json.dumps(example(answer_format["json_schema"]["schema"], MARK))
    if results := _results(request["messages"]):
        return " ".join([MARK, *map(_report, results)])
    return (
        f"{MARK} I am not a model, only a stand-in for one, so I can call tools but not think. "
        f"You said: {question}"
    )


def _report(result: str) -> str:
    """Returns what a tool answered; for media a link in Markdown to each, as a model would."""
    try:
        media = json.loads(result)["media"]
        made = [media] if isinstance(media, dict) else media
        names = ", ".join(f"[{each['content_type']}]({each['url']})" for each in made)
    except (ValueError, TypeError, LookupError):
        return f"The tool answered: {result}"
    return f"The tool stored {names}."


def _question(messages: Sequence[Mapping[str, Any]]) -> str:
    said = [_content(message) for message in messages if message.get("role") == "user"]
    return said[-1] if said else ""


def _results(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the tool results that came after the last message of the user."""
    results: list[str] = []
    for message in messages:
        if message.get("role") == "user":
            results = []
        elif message.get("role") == "tool":
            results.append(_content(message))
    return results


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part.get("text"))


def _call_part(name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}


def _head(kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": kind,
        "created": int(time()),
        "model": model,
    }


def _complaint(body: Any) -> str | None:
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return "You must provide a model parameter."
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "Invalid 'messages': expected an array of at least one message."
    return None
