"""Chat completions: the request, and how an answer is read, whole or streamed.

Source: https://platform.openai.com/docs/api-reference/chat
"""

import dataclasses
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from typing_extensions import TypedDict

from shared.errors import ContentFiltered
from shared.openai_service.answer_fields import (
    field,
    first,
    list_field,
    not_a_completion,
    reported_count,
    text_field,
)
from shared.openai_service.text import finish_reason, repair_surrogates, split_surrogate

Message = Mapping[str, Any]
"""A chat message as the API takes it."""


class Usage(TypedDict):
    """Tokens that a provider counted; null where it did not report them."""

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None


def sum_usage(usages: Sequence[Usage | None]) -> Usage | None:
    """Adds up several calls; null where no call reported the number, and for no report at all."""
    reported = [usage for usage in usages if usage is not None]
    if not reported:
        return None

    def total(key: str) -> int | None:
        numbers = [usage[key] for usage in reported if usage[key] is not None]  # type: ignore[literal-required]
        return sum(numbers) if numbers else None

    return Usage(
        prompt_tokens=total("prompt_tokens"),
        completion_tokens=total("completion_tokens"),
        total_tokens=total("total_tokens"),
        cached_tokens=total("cached_tokens"),
        reasoning_tokens=total("reasoning_tokens"),
    )


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called.

    Attributes:
        id: The provider's id of the call, or a new one where it gave none.
        name: The function's name.
        arguments: A JSON object as text; models do make mistakes.
        extra_content: What the provider wants back with the call, such as Gemini's thought signature;
            None where it wants nothing.
    """

    id: str
    name: str
    arguments: str
    extra_content: Mapping[str, Any] | None = None

    def as_message_part(self) -> dict[str, Any]:
        """Returns the call as it stands in an assistant message."""
        function = {"name": self.name, "arguments": self.arguments}
        part = {"id": self.id, "type": "function", "function": function}
        return part if self.extra_content is None else part | {"extra_content": self.extra_content}


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer of a model.

    Attributes:
        text: The answer, or the refusal where the model refused; empty when it only calls tools.
        tool_calls: The functions that it wants called.
        model: The model that answered, as the provider names it.
        finish_reason: Why it stopped, in OpenAI's words: ``stop``, ``length``, ``tool_calls`` or
            ``content_filter``.
        usage: The tokens counted; None where the provider reported none.
    """

    text: str
    tool_calls: tuple[ToolCall, ...]
    model: str
    finish_reason: str | None
    usage: Usage | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One call of the chat completions API; what is None or empty is not sent.

    Attributes:
        messages: The conversation.
        model: Model or deployment; None for the configured one.
        options: Further parameters under the API's own names.
        extra: Parameters that the SDK does not know, put into the body as they are.
    """

    messages: Sequence[Message]
    model: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def parameters(self, model: str) -> dict[str, Any]:
        """Returns the keyword arguments for the SDK.

        Args:
            model: The model as its provider names it.
        """
        parameters = {key: value for key, value in self.options.items() if value is not None}
        parameters |= {"model": model, "messages": list(self.messages)}
        if self.extra:
            parameters["extra_body"] = dict(self.extra)
        return parameters


def json_schema_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the response format that makes the model follow a JSON Schema.

    Args:
        schema: A bare schema, or the API's own wrapper ``{"name", "schema", "strict"}``.
    """
    is_wrapped = isinstance(schema.get("schema"), Mapping)
    wrapper = schema if is_wrapped else {"schema": schema}
    return {"type": "json_schema", "json_schema": {"name": "answer", **wrapper}}


def read_completion(answer: object) -> Completion:
    """Reads a whole answer: a JSON value, or the text of what is none.

    Raises:
        ProviderUnavailable: The answer is no chat completion.
    """
    choice = first(field(answer, "choices"))
    message = field(choice, "message")
    if message is None:
        raise not_a_completion()
    calls = [
        ToolCall(
            text_field(call, "id"),
            text_field(field(call, "function"), "name"),
            text_field(field(call, "function"), "arguments"),
            field(call, "extra_content"),
        )
        for call in list_field(message, "tool_calls")
        if field(call, "function")
    ]
    return _completion(
        text_field(message, "content") or text_field(message, "refusal"),
        calls,
        text_field(answer, "model"),
        text_field(choice, "finish_reason") or None,
        _read_usage(field(answer, "usage")),
    )


def unfiltered(completion: Completion) -> Completion:
    """Returns an answer of which the provider's content filter left something.

    Raises:
        ContentFiltered: It left nothing.
    """
    if completion.finish_reason == "content_filter" and not completion.text:
        raise ContentFiltered(
            "The provider's content filter withheld the whole answer. Change the prompt."
        )
    return completion


def _completion(
    text: str, calls: list[ToolCall], model: str, given_reason: str | None, usage: Usage | None
) -> Completion:
    reason = finish_reason(given_reason)
    if reason == "content_filter":
        # Calls that the filter interrupted may lack their end.
        calls = []
    elif calls and reason in (None, "stop"):
        # Gemini stops, and does not say that it does so to have its tools called.
        reason = "tool_calls"
    elif not calls and reason == "tool_calls":
        reason = "stop"
    calls = [
        replace(
            call, name=repair_surrogates(call.name), arguments=repair_surrogates(call.arguments)
        )
        for call in calls
    ]
    return Completion(repair_surrogates(text), _with_distinct_ids(calls), model, reason, usage)


@dataclass
class _PartialCall:
    id: str | None
    name: str = ""
    arguments: str = ""
    extra_content: Mapping[str, Any] | None = None

    def is_followed_by(self, part: object) -> bool:
        # Some compatible providers send whole calls that all carry index 0, or none at all, with ids
        # or without: another id begins a new call, and a name after complete arguments does.
        if part_id := field(part, "id"):
            return self.id not in (None, part_id)
        return bool(field(field(part, "function"), "name")) and _is_json(self.arguments)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class CompletionReader:
    """Puts a streamed answer together, chunk by chunk.

    Attributes:
        usage: The tokens that the provider has reported so far; None before it reports any.
        model: The model that answers, as the provider names it; empty before it says so.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.model = ""
        self._finish_reason: str | None = None
        self._text: list[str] = []
        self._surrogate = ""
        self._calls: list[_PartialCall] = []
        self._slots: dict[int | None, int] = {}

    def add(self, chunk: object) -> str:
        """Takes the next chunk, a JSON value, and returns the text in it, which may be empty."""
        self.model = text_field(chunk, "model") or self.model
        if (usage := field(chunk, "usage")) is not None:
            self.usage = _read_usage(usage)
        choice = first(field(chunk, "choices"))
        self._finish_reason = text_field(choice, "finish_reason") or self._finish_reason
        delta = field(choice, "delta")
        if delta is None:
            return ""
        for part in list_field(delta, "tool_calls"):
            self._add_call(part)
        # The low surrogate of the last character comes with the next chunk.
        text = self._surrogate + (text_field(delta, "content") or text_field(delta, "refusal"))
        text, self._surrogate = split_surrogate(text)
        text = repair_surrogates(text)
        self._text.append(text)
        return text

    @property
    def is_complete(self) -> bool:
        """Whether the provider sent a finish reason; a stream that ends without one was cut."""
        return bool(self._finish_reason)

    def end_by_filter(self) -> None:
        """Ends the answer where the provider's content filter stopped it."""
        self._finish_reason = "content_filter"

    def _add_call(self, part: object) -> None:
        given, function = field(part, "index"), field(part, "function")
        index = given if isinstance(given, int) else None
        slot = self._slots.get(index)
        if slot is None or self._calls[slot].is_followed_by(part):
            slot = self._slots[index] = len(self._calls)
            self._calls.append(_PartialCall(text_field(part, "id") or None))
        call = self._calls[slot]
        call.id = call.id or text_field(part, "id") or None
        call.extra_content = call.extra_content or field(part, "extra_content")
        call.name += text_field(function, "name")
        call.arguments += text_field(function, "arguments")

    def result(self) -> Completion:
        """Returns what the chunks add up to."""
        calls = [
            ToolCall(call.id or "", call.name, call.arguments, call.extra_content)
            for call in self._calls
        ]
        return _completion("".join(self._text), calls, self.model, self._finish_reason, self.usage)


CompletionStream = AsyncGenerator[str | Completion, None]
"""Pieces of text as they come, and the complete answer as the last item."""


def _read_usage(usage: object) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    return Usage(
        prompt_tokens=reported_count(usage.get("prompt_tokens")),
        completion_tokens=reported_count(usage.get("completion_tokens")),
        total_tokens=reported_count(usage.get("total_tokens")),
        cached_tokens=reported_count(field(usage.get("prompt_tokens_details"), "cached_tokens")),
        reasoning_tokens=reported_count(
            field(usage.get("completion_tokens_details"), "reasoning_tokens")
        ),
    )


def _with_distinct_ids(calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    # Some compatible providers give no id, or the same one twice; results have to find their calls.
    distinct: dict[str, ToolCall] = {}
    for call in calls:
        is_fine = call.id and call.id not in distinct
        call_id = call.id if is_fine else f"call_{uuid4().hex}"
        distinct[call_id] = replace(call, id=call_id)
    return tuple(distinct.values())
