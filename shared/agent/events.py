"""The agent's input, its answer, and the events on the way: a JSON answer is the last of these."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from typing_extensions import TypedDict

from shared.media_parts import MessageContent
from shared.openai_service import Usage
from shared.strict_json import as_integer
from shared.tools import MaxTokens, ReasoningEffort, Temperature

MAX_NAMES = 128

Names = Annotated[list[str], Field(max_length=MAX_NAMES)]

_MESSAGE_DESCRIPTION = (
    "Message of the user: a text, or parts: texts, pictures, and files (PDFs and texts), these by the "
    "id of a stored medium or by URL. What is fetched from a URL is stored."
)


_CONFIG = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class ChatMessage(BaseModel):
    """A message of a user, and the conversation that it belongs to."""

    model_config = _CONFIG

    message: MessageContent = Field(description=_MESSAGE_DESCRIPTION)
    conversation_id: str | None = Field(
        None, description="Conversation to continue; a new one when left out."
    )


class ChatOptions(BaseModel):
    """How the agent answers."""

    model_config = _CONFIG

    model: str | None = Field(
        None, description="Model to use, in Azure the deployment; the configured one when left out."
    )
    system_prompt: str | None = Field(
        None, description="Instructions in place of the configured ones."
    )
    tools: Names | Literal["none"] | None = Field(
        None, description="Names of the tools that the model may call; all when left out."
    )
    connections: Names | Literal["none"] | None = Field(
        None, description="Connections whose tools the model may call; all when left out."
    )
    max_turns: Annotated[int, BeforeValidator(as_integer), Field(ge=1, le=50)] | None = Field(
        None,
        description="Maximum model calls with tools, up to CHAT_MAX_TURNS; then one more without any.",
    )
    temperature: Temperature | None = Field(
        None, description="Sampling temperature from 0 to 2; reasoning models refuse it."
    )
    max_output_tokens: Annotated[MaxTokens, BeforeValidator(as_integer)] | None = Field(
        None, description="Maximum tokens of each answer of the model, reasoning included."
    )
    reasoning_effort: ReasoningEffort | None = Field(
        None, description="How much a reasoning model thinks."
    )
    json_schema: dict[str, JsonValue] | None = Field(
        None, description="JSON Schema that the answer must follow."
    )


class ChatInput(ChatOptions, ChatMessage):
    """A message to the agent, stored with its answer in a conversation.

    The fields of the last base come first: in /docs, and in complaints about several fields.
    """

    def fingerprint(self) -> bytes:
        """Returns what tells this request apart from another one with the same idempotency key."""
        given = self.model_dump_json(include=set(ChatInput.model_fields), exclude_unset=True)
        return f"chat {given}".encode()


class HistoryInput(ChatOptions):
    """A whole conversation to the agent, of which nothing is stored.

    Its own system or developer messages take the place of the configured instructions.

    Attributes:
        messages: The messages, oldest first, as the Chat Completions API takes them.
        client_tools: Functions that the caller runs itself, as the Chat Completions API takes them. A
            call of one ends the answer.
        tool_choice: What the model has to call of them. Where it has to call one, it is offered no
            other tools.
        parallel_tool_calls: Whether it may call several of them at once.
    """

    messages: Annotated[list[dict[str, JsonValue]], Field(min_length=1, fail_fast=True)]
    client_tools: list[dict[str, JsonValue]] = []
    tool_choice: JsonValue = None
    parallel_tool_calls: bool | None = None

    def fingerprint(self) -> bytes:
        """Returns what tells this request apart from another one with the same idempotency key."""
        return f"history {self.model_dump_json(exclude_unset=True)}".encode()

    @property
    def has_instructions(self) -> bool:
        """Whether there is a system or a developer message."""
        return any(each.get("role") in ("system", "developer") for each in self.messages)

    @property
    def client_tool_names(self) -> set[str]:
        """Names of the tools that the caller runs itself."""
        return {function_name(tool) for tool in self.client_tools}


class ToolCallRecord(TypedDict):
    """One tool call in an answer.

    Attributes:
        arguments: The arguments as a JSON object, or as the model wrote them where they are none.
        result: The result as a JSON object, or as text where the tool failed or returns text.
    """

    name: str
    arguments: dict[str, Any] | str
    result: Any
    is_error: bool
    duration_ms: int


class ChatUsage(Usage):
    """Tokens of all model calls of a chat, and the US dollars that it cost with its tools.

    Attributes:
        cost_usd: US dollars; null where nobody knows the price of a call.
    """

    cost_usd: float | None


class ChatAnswer(TypedDict):
    """The whole answer to one message.

    Attributes:
        conversation_id: The stored conversation; null where none is stored.
        turns: Number of model calls.
        usage: Tokens of all model calls and the cost; null where the provider reported no tokens.
        connection_problems: Connections whose tools are missing; absent where there is none.
    """

    answer: str
    conversation_id: str | None
    model: str
    finish_reason: str | None
    tool_calls: list[ToolCallRecord]
    usage: ChatUsage | None
    turns: int
    connection_problems: NotRequired[list[dict[str, str]]]


class AgentAnswer(ChatAnswer):
    """An answer that may ask the caller to call tools of its own.

    Attributes:
        client_calls: The calls as the Chat Completions API has them; absent where there is none.
    """

    client_calls: NotRequired[list[dict[str, Any]]]


def function_name(tool: Mapping[str, Any]) -> str:
    """Returns the name of a function tool of the Chat Completions API."""
    name: str = tool["function"]["name"]
    return name


def with_cost(usage: Usage | None, cost_usd: float | None) -> ChatUsage | None:
    """Returns the tokens of a chat with its cost; None where no provider reported tokens."""
    return None if usage is None else ChatUsage(**usage, cost_usd=cost_usd)


@dataclass(frozen=True, slots=True)
class ChatCreated:
    """The run has begun."""

    conversation_id: str | None
    model: str


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """The next piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model called a tool."""

    id: str
    name: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True, slots=True)
class ToolProgressed:
    """A tool reported progress."""

    id: str
    progress: float
    total: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool returned, or failed.

    Attributes:
        text: The result as the model reads it.
        is_own: Whether the tool is one of ours: only these return media that are stored here.
    """

    id: str
    record: ToolCallRecord
    text: str
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class ChatCompleted:
    """The answer is complete; always the last event of an answer that did not fail."""

    answer: AgentAnswer


ChatEvent = (
    ChatCreated | ChatDelta | ToolCallStarted | ToolProgressed | ToolFinished | ChatCompleted
)


async def fold(events: AsyncGenerator[ChatEvent, None]) -> AgentAnswer:
    """Returns the complete answer that events end with, and closes them.

    Raises:
        GatewayError: As the events do.
    """
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ChatCompleted):
                return event.answer
    raise AssertionError("unreachable: the events end with ChatCompleted or raise")
