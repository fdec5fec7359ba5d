"""What the stand-in answers to a chat completion request."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any
from uuid import uuid4

from local.stand_in.choice import Step, example, fill_arguments, plan
from local.stand_in.faults import Fault

MARK = "[stand-in]"
"""Begins every text, so that nobody takes it for a model's."""


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


def make_answer(request: Mapping[str, Any], fault: Fault) -> Answer:
    """Returns the answer to a request body.

    Args:
        request: Body of `POST /v1/chat/completions`, checked as far as the stand-in checks.
        fault: What goes wrong.
    """
    messages = request["messages"]
    prompt_tokens = sum(len(_content(message).split()) for message in messages)
    calls = _calls(request, fault)
    text = fault.text or ("" if calls else _text(request))
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    words = re.findall(r"\s*\S+", text)
    was_cut = limit is not None and len(words) > limit
    if was_cut:
        words = words[:limit]
        text = "".join(words)
    was_filtered = fault.filter_after is not None and not calls
    if was_filtered:
        words = words[: fault.filter_after]
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
    return Answer(text, calls, fault.finish_reason or reason, usage)


def whole_body(model: str, answer: Answer) -> dict[str, Any]:
    """Returns the body of an answer that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.calls:
        message["tool_calls"] = [_call_part(name, text) for name, text in answer.calls]
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": answer.finish_reason,
                "logprobs": None,
            }
        ],
        "usage": answer.usage,
    }


def chunk_bodies(model: str, answer: Answer, *, with_usage: bool) -> Iterator[dict[str, Any]]:
    """Yields the bodies of a streamed answer's events."""
    head = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion.chunk",
        "created": int(time()),
        "model": model,
    }

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": "" if answer.text else None})
    for word in re.findall(r"\s*\S+", answer.text):
        yield chunk({"content": word})
    for index, (name, arguments) in enumerate(answer.calls):
        part = _call_part(name, "")
        yield chunk({"tool_calls": [{"index": index, **part}]})
        for start in range(0, len(arguments), 12):
            piece = {"arguments": arguments[start : start + 12]}
            yield chunk({"tool_calls": [{"index": index, "function": piece}]})
    yield chunk({}, answer.finish_reason)
    if with_usage:
        yield {**head, "choices": [], "usage": answer.usage}


def _calls(request: Mapping[str, Any], fault: Fault) -> list[tuple[str, str]]:
    step = _step(request, fault)
    chosen = step.functions
    if request.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    results = _results(request["messages"])
    return [
        (
            function["name"],
            fault.tool_arguments or json.dumps(fill_arguments(step.message, function, results)),
        )
        for function in chosen
    ]


def _step(request: Mapping[str, Any], fault: Fault) -> Step:
    functions = [tool["function"] for tool in request.get("tools") or []]
    question = _question(request["messages"])
    if fault.call_tools is not None:
        known = {function["name"]: function for function in functions}
        called = [known.get(name, {"name": name}) for name in fault.call_tools]
        return Step(question, called)
    if request.get("tool_choice") != "none":
        steps = plan(question, functions)
        done = _rounds(request["messages"])
        if done < len(steps):
            return steps[done]
    return Step(question, [])


def _text(request: Mapping[str, Any]) -> str:
    question = _question(request["messages"])
    answer_format = request.get("response_format") or {}
    if answer_format.get("type") == "json_object":
        return json.dumps({"stand_in": True, "question": question})
    if answer_format.get("type") == "json_schema":
        return json.dumps(example(answer_format["json_schema"]["schema"], MARK))
    if results := _results(request["messages"]):
        return " ".join([MARK, *(f"The tool answered: {result}" for result in results)])
    return (
        f"{MARK} I am not a model, only a stand-in for one, so I can call tools but not think. "
        f"You said: {question}"
    )


def _question(messages: Sequence[Mapping[str, Any]]) -> str:
    said = [_content(message) for message in messages if message.get("role") == "user"]
    return said[-1] if said else ""


def _results(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the tool results that came after the last thing the user said."""
    results: list[str] = []
    for message in messages:
        if message.get("role") == "user":
            results = []
        elif message.get("role") == "tool":
            results.append(_content(message))
    return results


def _rounds(messages: Sequence[Mapping[str, Any]]) -> int:
    """Returns how often functions have been called since the last thing the user said."""
    rounds = 0
    for message in messages:
        if message.get("role") == "user":
            rounds = 0
        elif message.get("tool_calls"):
            rounds += 1
    return rounds


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _call_part(name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function}
