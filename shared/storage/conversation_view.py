"""Conversations as callers see them, over HTTPS and MCP."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from shared.storage.conversation_log import Line
from shared.storage.conversation_pages import ConversationPage


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


def present_conversation(page: ConversationPage) -> Conversation:
    """Returns a page as callers see it."""
    messages = [_present(line) for line in page.messages]
    return Conversation(**page.summary, messages=messages, cursor=page.cursor)


def _present(line: Line) -> ConversationMessage:
    message = ConversationMessage(
        role=line["type"], turn_id=line["turn"], at=line["at"], incomplete=line["incomplete"]
    )
    if line["type"] == "tool":
        return {
            **message,
            "tool_call_id": line["id"],
            "name": line["name"],
            "result": line["result"],
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
