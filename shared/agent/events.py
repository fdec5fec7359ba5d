"""What happens while the agent answers; JSON answers are the last event, streams all of them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NotRequired

from typing_extensions import TypedDict

from shared.openai_service import Usage


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


class ChatAnswer(TypedDict):
    """The whole answer to one message.

    Attributes:
        conversation_id: The stored conversation; null where none is stored.
        turns: How often the model was called.
        usage: Tokens of all turns; null where the provider reported none.
        connection_problems: Connections whose tools were missing; absent where there was none.
    """

    answer: str
    conversation_id: str | None
    model: str
    finish_reason: str | None
    tool_calls: list[ToolCallRecord]
    usage: Usage | None
    turns: int
    connection_problems: NotRequired[list[dict[str, str]]]


@dataclass(frozen=True, slots=True)
class ChatCreated:
    """The agent began to work."""

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
    """A tool reported how far it has come."""

    id: str
    progress: float
    total: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class ToolFinished:
    """A tool returned, or failed.

    Attributes:
        text: The result as the model is told of it.
        is_own: Whether the tool is one of ours: only these return media that are stored here.
    """

    id: str
    record: ToolCallRecord
    text: str
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class ChatCompleted:
    """The answer is complete; always the last event of an answer that did not fail."""

    answer: ChatAnswer


ChatEvent = (
    ChatCreated | ChatDelta | ToolCallStarted | ToolProgressed | ToolFinished | ChatCompleted
)


async def fold(events: AsyncGenerator[ChatEvent, None]) -> ChatAnswer:
    """Returns the complete answer that events end with, and closes them.

    Raises:
        GatewayError: As the events do.
    """
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ChatCompleted):
                return event.answer
    raise AssertionError("unreachable: the events end with ChatCompleted or raise")
