"""``model: "agent"``: the chat agent as one more model of OpenAI's API.

Calls of its own tools are never sent as ``tool_calls``, which clients would run; calls of tools that the
caller has itself are. Tool work is shown as a model's reasoning is: in ``reasoning_content`` of chat
completions, which Open WebUI, LiteLLM and clients of DeepSeek show, and in summaries of reasoning items
of responses.
"""

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from time import time
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from pydantic_core import to_json

from shared.agent import (
    Agent,
    AgentAnswer,
    ChatAnswer,
    ChatCompleted,
    ChatDelta,
    ChatEvent,
    HistoryInput,
    ToolFinished,
    fold,
)
from shared.errors import InvalidRequest, complaints_of
from shared.media_parts import MediaParts
from shared.outbound import EVENT_STREAM
from shared.routes.forwarded_stream import ForwardedStream
from shared.routes.guarded_route import call_context
from shared.routes.sse import admitted
from shared.routes.v1.agent.client_tools import ClientTools, read_functions
from shared.routes.v1.agent.response_input import read_response_input
from shared.routes.v1.agent.responses import response_events, whole_response
from shared.routes.v1.agent.work import without_shown_work
from shared.routes.v1.bodies import Body
from shared.routes.v1.ids import refuse_ids

AGENT = "agent"
"""The model that stands for the agent."""

MAX_SHOWN_CHARS = 300
_STREAM_HEADERS = {
    "content-type": EVENT_STREAM,
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
_IGNORED = frozenset(
    (
        *("model", "messages", "input", "instructions", "stream", "stream_options", "temperature"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "reasoning_effort"),
        *("reasoning", "response_format", "text", "user", "metadata", "store", "service_tier"),
        *("safety_identifier", "prompt_cache_key", "prompt_cache_retention", "include"),
        *("parallel_tool_calls", "verbosity", "truncation", "client_metadata", "tools"),
        *("tool_choice", "prompt_cache_options"),
    )
)
"""Fields that are read, or that change nothing for a caller of the agent."""

_DEFAULTS: Mapping[str, Sequence[object]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "top_logprobs": (0,),
    "background": (False,),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "function_call": ("auto", "none"),
}
"""Values of other fields that change nothing."""

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class AgentModel:
    """Answers requests for the model ``agent``.

    Args:
        agent: The agent.
        media_parts: Has the stored media that messages name.
        ping_seconds: Of silence in a stream, after which a comment keeps proxies from giving up.
    """

    def __init__(self, agent: Agent, media_parts: MediaParts, ping_seconds: float) -> None:
        self._agent = agent
        self._media_parts = media_parts
        self._ping_seconds = ping_seconds

    async def respond(self, request: Request, path: str, fields: Body) -> Response:
        """Answers a chat completion or a response.

        Args:
            request: The caller's.
            path: ``chat/completions`` or ``responses``.
            fields: The body.

        Raises:
            InvalidRequest: A field is wrong, or the agent does not have it.
            InsufficientScope: The caller lacks ``chat``.
        """
        context = await call_context(request)
        context.principal.require("chat")
        is_response = path == "responses"
        _check(fields)
        tools = ClientTools(fields if is_response else {})
        given = read_response_input(fields, tools) if is_response else _chat_input(fields)
        chat = _read(_with_tools(given, fields))
        owner = context.principal.name
        messages = await self._media_parts.replace_references(owner, {"messages": chat.messages})
        refuse_ids({"messages": chat.messages, **messages})
        events = self._agent.events(chat.model_copy(update=messages), context)
        if not fields.get("stream"):
            answer = await fold(events)
            whole = whole_response(answer, tools) if is_response else _completion(answer)
            return JSONResponse(whole)
        # What is wrong before a model is asked is the status of the answer.
        await anext(events)
        following = await admitted(events, context.usage)
        options = fields.get("stream_options") or {}
        wants_usage = isinstance(options, Mapping) and bool(options.get("include_usage"))
        content = (
            response_events(following, tools) if is_response else _chunks(following, wants_usage)
        )
        return ForwardedStream(
            request,
            content,
            headers=_STREAM_HEADERS,
            ping_seconds=self._ping_seconds,
            is_response=is_response,
        )


def describe(event: ToolFinished) -> str:
    """Returns what a caller is shown of a tool's work: its name, its outcome and how long it took."""
    record = event.record
    seconds = record["duration_ms"] / 1000
    if not record["is_error"]:
        return f"{record['name']}: done in {seconds:.1f} s\n"
    return f"{record['name']}: failed after {seconds:.1f} s: {str(record['result'])[:MAX_SHOWN_CHARS]}\n"


def _check(fields: Body) -> None:
    for name, value in fields.items():
        if value is None or name in _IGNORED or value in _DEFAULTS.get(name, ()):
            continue
        if name in ("functions", "function_call"):
            raise InvalidRequest.for_field(name, "Give tools and tool_choice instead")
        raise InvalidRequest.for_field(name, "The model 'agent' does not have it: leave it out")


def _check_roles(messages: object) -> None:
    # What else messages are is checked with the rest of the input.
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if isinstance(message, Mapping) and message.get("role") not in _ROLES:
            raise InvalidRequest.for_field(
                f"messages.{index}.role", f"Give one of {', '.join(_ROLES)}"
            )


def _chat_input(fields: Body) -> Body:
    _check_roles(fields.get("messages"))
    given = fields.get("max_completion_tokens")
    return {
        "messages": without_shown_work(fields.get("messages")),
        "temperature": fields.get("temperature"),
        "max_output_tokens": fields.get("max_tokens") if given is None else given,
        "reasoning_effort": fields.get("reasoning_effort"),
        "json_schema": _schema_of(fields.get("response_format")),
        "client_tools": read_functions(fields.get("tools") or []),
        "tool_choice": _choice(fields.get("tool_choice")),
    }


def _choice(wanted: object) -> object:
    is_function = isinstance(wanted, Mapping) and wanted.get("type") == "function"
    if is_function or wanted in (None, "auto", "none", "required"):
        return wanted
    raise InvalidRequest.for_field(
        "tool_choice", "Give 'auto', 'none', 'required' or one of the functions in tools"
    )


def _with_tools(values: Body, fields: Body) -> Body:
    """Returns the agent's input with as many tools of the caller as the model may call."""
    values["parallel_tool_calls"] = fields.get("parallel_tool_calls")
    if values["client_tools"] and values["tool_choice"] != "none":
        return values
    if values["tool_choice"] not in (None, "auto", "none"):
        raise InvalidRequest.for_field("tool_choice", "Give tools of which one may be called")
    return {**values, "client_tools": [], "tool_choice": None, "parallel_tool_calls": None}


def _schema_of(wanted: object) -> object:
    if wanted is None or (isinstance(wanted, Mapping) and wanted.get("type") == "text"):
        return None
    inner = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("schema"), Mapping):
        raise InvalidRequest.for_field(
            "response_format", "The model 'agent' takes 'text' and 'json_schema' with a schema"
        )
    return inner["schema"]


def _read(values: Body) -> HistoryInput:
    try:
        return HistoryInput.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise InvalidRequest.for_fields(complaints_of(error, "body")) from error


def _completion(answer: AgentAnswer) -> dict[str, Any]:
    message: Body = {"role": "assistant", "content": answer["answer"], "refusal": None}
    calls = [describe(ToolFinished("", record, "")) for record in answer["tool_calls"]]
    if calls:
        message["reasoning_content"] = "".join(calls)
    if "client_calls" in answer:
        message["tool_calls"] = answer["client_calls"]
        message["content"] = answer["answer"] or None
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(answer),
    }
    return {
        "id": f"chatcmpl-{secrets.token_hex(16)}",
        "object": "chat.completion",
        "created": int(time()),
        "model": AGENT,
        "choices": [choice],
        "usage": _usage(answer),
    }


async def _chunks(
    events: AsyncGenerator[ChatEvent, None], wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    base = {
        "id": f"chatcmpl-{secrets.token_hex(16)}",
        "object": "chat.completion.chunk",
        "created": int(time()),
        "model": AGENT,
    }

    def chunk(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return b"data: " + to_json({**base, "choices": [choice]}) + b"\n\n"

    yield chunk({"role": "assistant", "content": ""})
    has_text, is_apart = False, False
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ChatDelta):
                # The texts before and after tool calls are one text to the client.
                yield chunk({"content": f"\n\n{event.text}" if is_apart else event.text})
                has_text, is_apart = True, False
            elif isinstance(event, ToolFinished):
                is_apart = has_text
                yield chunk({"reasoning_content": describe(event)})
            elif isinstance(event, ChatCompleted):
                if not has_text and event.answer["answer"]:
                    # A remembered answer comes at once.
                    yield chunk({"content": event.answer["answer"]})
                for index, call in enumerate(event.answer.get("client_calls", ())):
                    yield chunk({"tool_calls": [{"index": index, **call}]})
                yield chunk({}, finish_reason(event.answer))
                if wants_usage:
                    usage = {**base, "choices": [], "usage": _usage(event.answer)}
                    yield b"data: " + to_json(usage) + b"\n\n"
    yield b"data: [DONE]\n\n"


def finish_reason(answer: AgentAnswer) -> str:
    """Returns why an answer ended: never for tools of the agent to be called."""
    if "client_calls" in answer:
        return "tool_calls"
    reason = answer["finish_reason"]
    return "stop" if reason in (None, "tool_calls") else reason


def _usage(answer: ChatAnswer) -> dict[str, Any] | None:
    usage = answer["usage"]
    if usage is None:
        return None
    prompt, completion = usage["prompt_tokens"] or 0, usage["completion_tokens"] or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": usage["total_tokens"] or prompt + completion,
        "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"] or 0},
        "completion_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"] or 0},
    }
