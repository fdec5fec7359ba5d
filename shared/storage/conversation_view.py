"""Conversations as callers see them, over HTTPS and MCP."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from shared.parallel import gather_limited
from shared.storage.conversation_log import Line
from shared.storage.conversation_pages import ConversationPage
from shared.storage.media import MediaStore

_PARALLEL_REFRESHES = 8


class CalledTool(TypedDict):
    """A call that the model made.

    Attributes:
        arguments: As the model wrote them, which should be a JSON object.
    """

    id: str
    name: str
    arguments: str


class ConversationMessage(TypedDict):
    """One message; which fields there are depends on its role.

    Attributes:
        turn_id: The same for all messages from what the user said to the end of the answer.
        incomplete: The turn was broken off after this message.
        content: What the user or the model said.
        tool_calls: What the model called.
        tool_call_id: Of a tool's message: the call that it answers.
        result: A JSON value, or text.
    """

    role: Literal["user", "assistant", "tool"]
    turn_id: str
    at: str
    incomplete: bool
    content: NotRequired[str]
    tool_calls: NotRequired[list[CalledTool]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    result: NotRequired[Any]
    is_error: NotRequired[bool]
    duration_ms: NotRequired[int]


class Conversation(TypedDict):
    """A conversation, or a part of it.

    Attributes:
        messages: In the order in which they were said.
        cursor: Leads to those before them; null at the beginning.
    """

    id: str
    title: str
    created_at: str
    messages: list[ConversationMessage]
    cursor: str | None


async def present_conversation(
    page: ConversationPage, media: MediaStore, principal: str
) -> Conversation:
    """Returns a page as callers see it, with links that have not expired."""
    messages = await gather_limited(
        _PARALLEL_REFRESHES, (_present(line, media, principal) for line in page.messages)
    )
    return Conversation(**page.summary, messages=messages, cursor=page.cursor)


async def _present(line: Line, media: MediaStore, principal: str) -> ConversationMessage:
    message = ConversationMessage(
        role=line["type"], turn_id=line["turn"], at=line["at"], incomplete=line["incomplete"]
    )
    if line["type"] == "tool":
        return {
            **message,
            "tool_call_id": line["id"],
            "name": line["name"],
            "result": await media.refresh(principal, line["result"]),
            "is_error": line["is_error"],
            "duration_ms": line["duration_ms"],
        }
    message["content"] = line["content"]
    if line["type"] == "assistant":
        message["tool_calls"] = [
            CalledTool(
                id=call["id"],
                name=call["function"]["name"],
                arguments=call["function"]["arguments"],
            )
            for call in line["tool_calls"]
        ]
    return message
