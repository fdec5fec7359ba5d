"""The lines of a stored conversation: the one place that says what they look like.

A conversation is a log of lines, each a JSON object in UTF-8 with a line feed at its end:

    conversation   the first line
    user           begins a run: one message with its answer
    assistant      an answer of the model, perhaps with tool calls
    tool           the result of one tool call
    heartbeat      keeps the lease of a run under way
    end            ends a run
    next           the last line of a part of the log that can take no more

A run that is repeated is written again, with a higher ``attempt``; readers use the last one.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict

from shared.media_parts import StoredPart
from shared.openai_service import ToolCall, Usage, sum_usage

MAX_TITLE_CHARS = 80
_MAX_SCANNED_CHARS = 1000
_JOINERS = "\u200c\u200d"


class Summary(TypedDict):
    """The facts about a conversation that its listing shows.

    Attributes:
        title: The beginning of the first message.
        model: The model that answered last; null where none has.
        usage: Tokens of all answers; null where no provider reported any.
    """

    title: str
    model: str | None
    usage: Usage | None


@dataclass(frozen=True, kw_only=True)
class _Line:
    """The fields of every line; those after ``v`` are set when it is written.

    Attributes:
        v: The version of what is stored.
        run: Id of the run; empty in a `NextPartLine`.
        attempt: Counts the attempts at the run, from 1.
        append: Counts the appends to the part of the log, from 1.
        at: When the line was written, by the clock of the instance, in ISO 8601.
    """

    v: Literal[1] = 1
    run: str = ""
    attempt: int = 1
    append: int = 0
    at: str = ""


@dataclass(frozen=True, kw_only=True)
class ConversationLine(_Line):
    """The first line of a conversation, stored together with the first message."""

    type: Literal["conversation"] = "conversation"
    title: str


@dataclass(frozen=True, kw_only=True)
class UserLine(_Line):
    """A message of the user.

    Attributes:
        content: Its text; of a message with files only their names.
        parts: Its parts; empty where it is a text.
    """

    type: Literal["user"] = "user"
    content: str
    parts: tuple[StoredPart, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AssistantLine(_Line):
    """An answer of the model; model and usage are null where it was broken off."""

    type: Literal["assistant"] = "assistant"
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    model: str | None = None
    usage: Usage | None = None


@dataclass(frozen=True, kw_only=True)
class ToolLine(_Line):
    """The result of a tool call.

    Attributes:
        call_id: Id of the call in the assistant's line.
        result: A JSON value, or text.
        is_own: Whether the tool is one of ours: only these return media that are stored here.
    """

    type: Literal["tool"] = "tool"
    call_id: str
    name: str
    result: Any
    is_own: bool
    is_error: bool
    duration_ms: int


@dataclass(frozen=True, kw_only=True)
class HeartbeatLine(_Line):
    """Keeps the lease of a run in which nothing else happens."""

    type: Literal["heartbeat"] = "heartbeat"


@dataclass(frozen=True, kw_only=True)
class EndLine(_Line):
    """The end of a run.

    Attributes:
        status: Whether the answer is complete.
        error: Code of the error that broke the run off; null for none, or for a client who disconnected.
        model: The model that answered; null where none did.
        finish_reason: Why it stopped.
        usage: Tokens of the run's model calls.
        turns: Number of model calls.
        cost_usd: US dollars of the run with its tools; null where nobody knows.
        summary: The conversation's summary at this line.
    """

    type: Literal["end"] = "end"
    status: Literal["complete", "incomplete"]
    error: str | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    turns: int = 0
    cost_usd: float | None = None
    summary: Summary


@dataclass(frozen=True, kw_only=True)
class NextPartLine(_Line):
    """Says that the log goes on in the next part."""

    type: Literal["next"] = "next"


Line = (
    ConversationLine | UserLine | AssistantLine | ToolLine | HeartbeatLine | EndLine | NextPartLine
)
Message = UserLine | AssistantLine | ToolLine
LineT = TypeVar("LineT", bound=Line)


def encode(line: Line) -> bytes:
    """Returns a line as it is stored."""
    text = json.dumps(vars(line), default=asdict, ensure_ascii=False, separators=(",", ":"))
    # Halves of surrogate pairs could be stored, but never be shown.
    return text.encode(errors="replace") + b"\n"


def decode(data: bytes) -> Line:
    """Returns the line that was stored.

    Raises:
        ValueError: It is none.
    """
    return _adapter().validate_json(data)


def body_of(line: Line) -> Any:
    """Returns what people, models and tools have said in a line, as a JSON value."""
    match line:
        case UserLine():
            return [line.content, [part.text for part in line.parts]]
        case AssistantLine():
            return [line.content, [call.arguments for call in line.tool_calls]]
        case ToolLine():
            return line.result
        case _:
            return None


def with_body(line: LineT, body: Any) -> LineT:
    """Returns a line with another body of the form that `body_of` returns."""
    match line:
        case UserLine():
            content, texts = body
            parts = zip(line.parts, texts, strict=True)
            return replace(
                line,
                content=content,
                parts=tuple(replace(part, text=text) for part, text in parts),
            )
        case AssistantLine():
            content, arguments = body
            calls = zip(line.tool_calls, arguments, strict=True)
            return replace(
                line,
                content=content,
                tool_calls=tuple(replace(call, arguments=text) for call, text in calls),
            )
        case ToolLine():
            return replace(line, result=body)
        case _:
            return line


def title_of(message: str) -> str:
    """Returns the beginning of a message in one line of visible characters, up to 80."""
    visible = (
        character if character.isprintable() or character in _JOINERS else " " * character.isspace()
        for character in message[:_MAX_SCANNED_CHARS]
    )
    return " ".join("".join(visible).split())[:MAX_TITLE_CHARS].rstrip()


def find_summary(newest_first: Iterable[Line]) -> Summary | None:
    """Returns the summary of a conversation from its last lines.

    Args:
        newest_first: Its lines; not read further back than to the last end of a run.

    Returns:
        The summary, with what runs that never ended have used; None where the lines do not reach back
        far enough.
    """
    used: list[AssistantLine] = []
    for line in newest_first:
        match line:
            case AssistantLine():
                used.append(line)
            case EndLine():
                return _extend(line.summary, used)
            case ConversationLine():
                return _extend(Summary(title=line.title, model=None, usage=None), used)
    return None


def extend_summary(summary: Summary, model: str | None, usage: Usage | None) -> Summary:
    """Returns a summary with the model and the usage of one more run."""
    return Summary(
        title=summary["title"],
        model=model or summary["model"],
        usage=sum_usage([summary["usage"], usage]),
    )


def _extend(summary: Summary, newest_first: Iterable[AssistantLine]) -> Summary:
    for line in reversed([*newest_first]):
        summary = extend_summary(summary, line.model, line.usage)
    return summary


@cache
def _adapter() -> TypeAdapter[Line]:
    # On first use, because building it takes longer than an answer.
    return TypeAdapter(Annotated[Line, Field(discriminator="type")])
