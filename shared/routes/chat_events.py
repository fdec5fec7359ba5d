"""The events of `POST /chat` with ``stream``, as the OpenAPI document describes them.

`shared.routes.sse` sends them; a test compares the two.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from shared.agent.events import ChatUsage, ToolCallRecord

EVENT_UNION = "ChatEvent"


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChatCreatedEvent(_Event):
    """The first event: the agent began to work."""

    type: Literal["chat.created"]
    conversation_id: str | None = Field(
        description="The stored conversation; null without storage."
    )
    model: str


class ChatDeltaEvent(_Event):
    """The next piece of the answer's text."""

    type: Literal["chat.delta"]
    text: str


class ChatToolCallEvent(_Event):
    """The model called a tool."""

    type: Literal["chat.tool_call"]
    id: str = Field(description="The call's id, which its progress and result carry too.")
    name: str
    arguments: dict[str, Any] | str = Field(
        description="A JSON object, or the text of the model where it wrote none."
    )


class ChatToolProgressEvent(_Event):
    """A tool reported progress."""

    type: Literal["chat.tool_progress"]
    id: str
    progress: float
    total: float | None
    message: str | None


class ChatToolResultEvent(_Event):
    """A tool returned or failed."""

    type: Literal["chat.tool_result"]
    id: str
    name: str
    result: Any
    is_error: bool
    duration_ms: int


class ChatCompletedEvent(_Event):
    """The last event of an answer that did not fail: the whole answer, as without ``stream``."""

    type: Literal["chat.completed"]
    answer: str
    conversation_id: str | None
    model: str
    finish_reason: str | None
    tool_calls: list[ToolCallRecord]
    usage: ChatUsage | None
    turns: int
    connection_problems: list[dict[str, str]] | None = None


class ChatErrorEvent(_Event):
    """The last event of an answer that failed: the body of the error."""

    type: Literal["chat.error"]
    detail: str
    code: str
    request_id: str
    errors: list[dict[str, Any]] | None = None


ChatStreamEvent = Annotated[
    ChatCreatedEvent
    | ChatDeltaEvent
    | ChatToolCallEvent
    | ChatToolProgressEvent
    | ChatToolResultEvent
    | ChatCompletedEvent
    | ChatErrorEvent,
    Field(discriminator="type"),
]

events: TypeAdapter[Any] = TypeAdapter(ChatStreamEvent)


def chat_event_schemas() -> dict[str, Any]:
    """Returns the schemas of the events, and that of their union, for the components of the document."""
    union = events.json_schema(ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = union.pop("$defs")
    described = {
        "description": "One event of the stream: `event: TYPE` and `data: JSON`, whose `type` says "
        "which. `chat.completed` or `chat.error` is the last one. Comments (`: ping`) fill silences.",
    }
    return {EVENT_UNION: {**described, **union}, **schemas}
