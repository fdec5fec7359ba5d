"""Conversations as their owners look at them: page by page, from the newest message back."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from typing_extensions import TypedDict

from shared.storage.conversation_log import ConversationLog, Line, Place, PlacedLine
from shared.storage.ids import iso_utc, made_at
from shared.storage.objects import ObjectMissing

_CURSOR = re.compile(r"(\d{1,9})-(\d{1,18})((?:-[0-9a-f]{44}:\d{1,9})*)")
_MESSAGES = ("user", "assistant", "tool")


class ConversationSummary(TypedDict):
    """A conversation in a listing.

    Attributes:
        title: The beginning of its first message.
    """

    id: str
    title: str
    created_at: str


@dataclass(frozen=True, slots=True)
class ConversationPage:
    """The newest messages of a conversation, or those before a later page.

    Attributes:
        messages: In the order in which they were said; ``incomplete`` stands in the last one of a turn
            that was broken off.
        cursor: Leads to those before them; None at the beginning.
    """

    summary: ConversationSummary
    messages: tuple[Line, ...]
    cursor: str | None


@dataclass
class PageCursor:
    """Where a page ends, and what has been seen behind it that matters before it.

    Attributes:
        before: The place before which the next page ends; None for the end of the log.
        attempts: The last attempt of each turn that lines before ``before`` may still belong to.
    """

    before: Place | None = None
    attempts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> "PageCursor":
        """Reads a cursor.

        Raises:
            ValueError: It is none.
        """
        if text is None:
            return cls()
        match = _CURSOR.fullmatch(text)
        if match is None or int(match[1]) == 0:
            raise ValueError("This cursor is not one that a page gave.")
        pairs = (pair.split(":") for pair in match[3].split("-")[1:])
        place = Place(int(match[1]), int(match[2]))
        return cls(place, {turn: int(attempt) for turn, attempt in pairs})

    def move_to(self, place: Place, turn: str) -> str:
        """Returns the cursor that goes on before a message of a turn."""
        pairs = [
            f"-{each}:{attempt}"
            for each, attempt in self.attempts.items()
            # A first attempt has nothing to hide: its turn matters only while we are in it.
            if each == turn or attempt > 1
        ]
        return f"{place.part}-{place.offset}{''.join(pairs)}"


async def read_page(
    log: ConversationLog,
    summary: ConversationSummary,
    limit: int,
    cursor: PageCursor,
    lease_seconds: float,
) -> ConversationPage:
    """Reads a page.

    Args:
        log: The conversation.
        summary: What is known of it.
        limit: Most messages to return.
        cursor: Where to begin.
        lease_seconds: How long a turn counts as under way after its last append.

    Raises:
        ObjectMissing: The log is not there, or not where the cursor says.
    """
    tail = await log.tail() if cursor.before is None else None
    # Only the newest turn can be under way: the next one begins when it is over.
    active = None
    if tail is not None and tail.is_under_way(lease_seconds):
        active = tail.newest[0].line["turn"]
    found: list[Line] = []
    following = None
    lines = log.backwards(tail, cursor.before)
    async with aclosing(_messages(lines, cursor, active)) as messages:
        async for placed in messages:
            if len(found) == limit:
                return ConversationPage(summary, tuple(found[::-1]), following)
            found.append(placed.line)
            following = cursor.move_to(placed.place, placed.line["turn"])
    return ConversationPage(summary, tuple(found[::-1]), None)


async def summarize(log: ConversationLog, conversation_id: str) -> ConversationSummary | None:
    """Returns what a listing shows of a conversation; None where there is none."""
    try:
        first = await log.first_line()
    except ObjectMissing:
        return None
    created_at = iso_utc(made_at(conversation_id))
    return ConversationSummary(id=conversation_id, title=first["title"], created_at=created_at)


async def _messages(
    lines: AsyncGenerator[PlacedLine, None], cursor: PageCursor, active: str | None
) -> AsyncGenerator[PlacedLine, None]:
    """Yields messages, newest first, without those of attempts that another one replaced."""
    broken_off = False
    async with aclosing(lines):
        async for placed in lines:
            line = placed.line
            if (turn := line["turn"]) not in cursor.attempts:
                cursor.attempts[turn] = line["attempt"]
                # Read from the end: the first line of a turn says how the turn ended.
                is_end = line["type"] == "end"
                broken_off = line["status"] != "complete" if is_end else turn != active
            if line["attempt"] == cursor.attempts[turn] and line["type"] in _MESSAGES:
                yield PlacedLine(placed.place, {**line, "incomplete": broken_off})
                broken_off = False
