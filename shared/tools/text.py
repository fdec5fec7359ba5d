"""Text tools: one call of a chat model each, without conversation and without tools."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from shared.context import CallContext
from shared.errors import InvalidRequest
from shared.media_parts import MediaParts
from shared.openai_service import (
    Completion,
    CompletionRequest,
    Message,
    OpenAIService,
    Usage,
    json_schema_format,
)
from shared.tools.inputs import NotBlank
from shared.tools.tool import tool

MAX_PROMPT_CHARS = 1_000_000
MAX_MESSAGES = 500

Prompt = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARS), NotBlank]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
MaxTokens = Annotated[int, Field(ge=1)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatMessage(TypedDict):
    """A message as the Chat Completions API takes it.

    Its parts may also be ``{"type": "image"|"file", "media_id"|"url"}``, and a URL or a file in one of
    OpenAI's own parts may be ``media://ID``: the file is put in their place.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[dict[str, JsonValue]], Field(fail_fast=True)]


class ChatCompletionResult(TypedDict):
    """Result of `TextTools.chat_completion`."""

    text: str
    parsed: Any
    model: str
    finish_reason: str | None
    usage: Usage | None


class GenerateResult(TypedDict):
    """Result of `TextTools.generate`."""

    text: str
    model: str
    finish_reason: str | None


class TextTools:
    """Tools that write text.

    Args:
        openai: The providers.
        media_parts: Has the files in messages.
        temperature: Default sampling temperature; None leaves it to the model.
    """

    def __init__(
        self, openai: OpenAIService, media_parts: MediaParts, temperature: float | None = None
    ) -> None:
        self._openai = openai
        self._media_parts = media_parts
        self._temperature = temperature

    @tool(
        title="Chat completion",
        idempotent_by_key=True,
        paid=True,
        only_named=True,
        long_text=True,
        icon="text.png",
    )
    async def chat_completion(
        self,
        context: CallContext,
        prompt: Prompt | None = None,
        messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
        | None = None,
        system_prompt: str | None = None,
        model: str | None = None,
        json_mode: bool = False,
        json_schema: dict[str, JsonValue] | None = None,
        temperature: Temperature | None = None,
        top_p: TopP | None = None,
        max_tokens: MaxTokens | None = None,
        stop: str | Annotated[list[str], Field(min_length=1, max_length=4)] | None = None,
        seed: int | None = None,
        reasoning_effort: ReasoningEffort | None = None,
        metadata: dict[str, str] | None = None,
    ) -> ChatCompletionResult:
        """Asks a chat model once and returns its answer, as text or as JSON.

        Args:
            prompt: What to ask; else give messages.
            messages: A conversation in place of prompt, oldest first. A content may be a list of parts:
                OpenAI's, or {"type": "image" or "file", "media_id" or "url"}.
            system_prompt: Instructions for the model.
            model: Default: the configured one.
            json_mode: Answer with a JSON object, returned in parsed.
            json_schema: JSON Schema of the answer, returned in parsed.
            temperature: Reasoning models refuse it.
            top_p: Reasoning models refuse it.
            max_tokens: Maximum tokens, reasoning included.
            stop: Up to four texts that end the answer.
            seed: For repeatable answers.
            reasoning_effort: How much a reasoning model thinks.
            metadata: What the provider keeps with the completion.
        """
        if (prompt is None) == (messages is None):
            raise InvalidRequest.for_field("prompt", "give prompt or messages, and not both")
        conversation: list[Message] = [_user_message(prompt)]
        if messages:
            owner = context.principal.name
            conversation = [*await self._media_parts.expand(owner, messages, "messages")]
        if system_prompt:
            conversation.insert(0, {"role": "system", "content": system_prompt})
        options = {
            "temperature": self._temperature if temperature is None else temperature,
            "top_p": top_p,
            "max_completion_tokens": max_tokens,
            "stop": stop,
            "seed": seed,
            "reasoning_effort": reasoning_effort,
            "metadata": metadata,
            "response_format": _response_format(json_mode, json_schema),
        }
        request = CompletionRequest(messages=conversation, model=model, options=options)
        answer = await self._ask(request, context)
        wants_json = json_mode or json_schema is not None
        return {
            "text": answer.text,
            "parsed": _parse(answer.text) if wants_json else None,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
            "usage": answer.usage,
        }

    @tool(
        title="Generate text",
        idempotent_by_key=True,
        paid=True,
        only_named=True,
        long_text=True,
        icon="text.png",
    )
    async def generate(
        self,
        context: CallContext,
        prompt: Prompt,
        model: str | None = None,
        temperature: Temperature | None = None,
        max_tokens: MaxTokens | None = None,
        extra: dict[str, JsonValue] | None = None,
    ) -> GenerateResult:
        """Sends a prompt to a chat model and returns what it writes.

        Args:
            prompt: What to send.
            model: Default: the configured one.
            temperature: Reasoning models refuse it.
            max_tokens: Maximum tokens, reasoning included.
            extra: Further parameters of the provider's API.
        """
        # The last three name further models to providers that fall back to them.
        reserved = {"messages", "model", "stream", "models", "fallbacks", "route"}
        if taken := sorted(reserved & (extra or {}).keys()):
            raise InvalidRequest.for_field("extra", f"must not contain {', '.join(taken)}")
        options = {
            "temperature": self._temperature if temperature is None else temperature,
            "max_completion_tokens": max_tokens,
        }
        request = CompletionRequest(
            messages=[_user_message(prompt)], model=model, options=options, extra=extra or {}
        )
        answer = await self._ask(request, context)
        return {
            "text": answer.text,
            "model": answer.model,
            "finish_reason": answer.finish_reason,
        }

    async def _ask(self, request: CompletionRequest, context: CallContext) -> Completion:
        await context.report_progress(0, 1, "Waiting for the model")
        answer = await self._openai.chat.complete(request)
        await context.report_progress(1, 1, "The model has answered")
        return answer


def _user_message(text: str | None) -> Message:
    return {"role": "user", "content": text}


def _response_format(
    json_mode: bool, json_schema: dict[str, JsonValue] | None
) -> dict[str, Any] | None:
    if json_schema is not None:
        return json_schema_format(json_schema)
    return {"type": "json_object"} if json_mode else None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # finish_reason tells why: the answer was cut at max_tokens, or the model refused in prose.
        return None
