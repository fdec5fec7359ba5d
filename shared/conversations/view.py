"""Conversations as their principals see them: summaries and messages."""

from contextlib import aclosing
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from shared.conversations.lines import (
    AssistantLine,
    ConversationLine,
    EndLine,
    Line,
    Message,
    Summary,
    ToolLine,
    UserLine,
    find_summary,
)
from shared.conversations.log import ConversationLog, Tail
from shared.media_parts import StoredPart
from shared.openai_service import Usage
from shared.storage import (
    ObjectInfo,
    ObjectMissing,
    ReadObjects,
    iso_utc,
    made_at,
)

LAST_LINE_BYTES = 2048
"""Bytes at the end of a log that hold its last line whole, where this ends a run."""

SUMMARY_BYTES = 2048
"""About what a summary takes in memory."""


class ConversationSummary(TypedDict):
    """A conversation in a listing.

    Attributes:
        title: The beginning of the first message.
        updated_at: When something was last added, in ISO 8601.
        model: The model that answered last; null where none has.
        usage: Tokens of all answers; null where no provider reported any.
    """

    id: str
    title: str
    created_at: str
    updated_at: str
    model: str | None
    usage: Usage | None


class CalledTool(TypedDict):
    """A tool call of the model.

    Attributes:
        arguments: As the model wrote them: a JSON object as text, unless the model made a mistake.
    """

    id: str
    name: str
    arguments: str


class ShownPart(TypedDict):
    """A part of a message of the user.

    Attributes:
        text: Its text, where it is one.
        media_id: The stored medium, where it is a picture or a file; `/media/{media_id}` has it.
        name: A name of the file.
    """

    type: Literal["text", "image", "file"]
    text: NotRequired[str]
    media_id: NotRequired[str | None]
    name: NotRequired[str]
    content_type: NotRequired[str | None]
    size_bytes: NotRequired[int]


class ConversationMessage(TypedDict):
    """One message; its role decides which fields there are.

    Attributes:
        turn_id: The same for a message of the user and all that answers it.
        at: When it was stored, in ISO 8601.
        incomplete: Whether the answer was broken off after this message.
        content: The text of the user or the model.
        parts: The parts of a message of the user that is not only a text.
        tool_calls: The tool calls of the model.
        tool_call_id: In a tool's message, the id of the call.
        result: A JSON value, or text.
    """

    role: Literal["user", "assistant", "tool"]
    turn_id: str
    at: str
    incomplete: bool
    content: NotRequired[str]
    parts: NotRequired[list[ShownPart]]
    tool_calls: NotRequired[list[CalledTool]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    result: NotRequired[Any]
    is_error: NotRequired[bool]
    duration_ms: NotRequired[int]


class Conversation(ConversationSummary):
    """A conversation, or a part of it.

    Attributes:
        messages: In the order of their writing.
        cursor: Returns the messages before them; null at the beginning.
    """

    messages: list[ConversationMessage]
    cursor: str | None


class ConversationList(TypedDict):
    """A part of a principal's conversations, newest first.

    Attributes:
        cursor: Returns the next part; null at the end.
    """

    conversations: list[ConversationSummary]
    cursor: str | None


async def summarize(log: ConversationLog, tail: Tail) -> Summary:
    """Returns the summary of a conversation, from its end alone where this ends a run.

    Raises:
        ObjectMissing: The log is not there.
    """
    if summary := find_summary(each.line for each in tail.newest):
        return summary
    # A run that never ended is longer than what was read.
    lines: list[Line] = []
    async with aclosing(log.backwards(tail)) as placed:
        async for each in placed:
            if isinstance(each.line, AssistantLine | EndLine | ConversationLine):
                lines.append(each.line)
            if isinstance(each.line, EndLine):
                break
    if summary := find_summary(lines):
        return summary
    raise ObjectMissing(log.name(1))


async def summarize_listed(
    log: ConversationLog,
    conversation_id: str,
    info: ObjectInfo,
    ended: ReadObjects[ConversationSummary],
) -> ConversationSummary | None:
    """Returns a conversation as a listing shows it; None where there is none any more.

    It takes one read of storage where the log ends with the end of a run, none where this instance has
    read it before, and up to three more where a run is under way or never ended. Each further part of a
    log takes two more.

    Args:
        log: The conversation.
        conversation_id: Its id.
        info: Its first part, as the listing found it.
        ended: The summaries of conversations whose logs end with the end of a run.
    """
    if not info.size:
        # The instance that made the log died before it wrote the first line.
        return None
    if known := ended.get(info):
        return known
    try:
        lines = await log.last_lines(info.size, LAST_LINE_BYTES)
        if lines and isinstance(lines[0], EndLine):
            found = present_summary(conversation_id, lines[0].summary, lines[0].at)
            ended.set(info, found, SUMMARY_BYTES)
            return found
        tail = await log.tail()
        summary = find_summary(each.line for each in tail.newest)
        if summary is None:
            # Not known without reading more of a run that never ended.
            first = await log.first_line()
            summary = Summary(title=first.title, model=None, usage=None)
    except ObjectMissing:
        return None
    return present_summary(conversation_id, summary, last_change(conversation_id, tail))


def present_summary(conversation_id: str, summary: Summary, updated_at: str) -> ConversationSummary:
    """Returns a summary as callers see it."""
    return ConversationSummary(
        id=conversation_id,
        title=summary["title"],
        created_at=iso_utc(made_at(conversation_id)),
        updated_at=updated_at,
        model=summary["model"],
        usage=summary["usage"],
    )


def last_change(conversation_id: str, tail: Tail) -> str:
    """Returns when a conversation was last added to."""
    return tail.newest[0].line.at if tail.newest else iso_utc(made_at(conversation_id))


def present_message(line: Message, *, incomplete: bool) -> ConversationMessage:
    """Returns a message as callers see it."""
    message = ConversationMessage(
        role=line.type, turn_id=line.run, at=line.at, incomplete=incomplete
    )
    match line:
        case UserLine():
            message["content"] = line.content
            if line.parts:
                message["parts"] = [_present_part(part) for part in line.parts]
        case AssistantLine():
            message["content"] = line.content
            message["tool_calls"] = [
                CalledTool(id=call.id, name=call.name, arguments=call.arguments)
                for call in line.tool_calls
            ]
        case ToolLine():
            message["tool_call_id"] = line.call_id
            message["name"] = line.name
            message["result"] = line.result
            message["is_error"] = line.is_error
            message["duration_ms"] = line.duration_ms
    return message


def _present_part(part: StoredPart) -> ShownPart:
    if part.text is not None:
        return ShownPart(type=part.type, text=part.text)
    return ShownPart(
        type=part.type,
        media_id=part.media_id,
        name=part.name,
        content_type=part.content_type,
        size_bytes=part.size_bytes,
    )
