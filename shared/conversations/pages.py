"""Pages of a conversation, from the newest message back, and the cursors between them."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from shared.conversations.lines import EndLine, Message
from shared.conversations.log import ConversationLog, Place, PlacedLine, Tail
from shared.storage import decode_cursor, encode_cursor

WRONG_CURSOR = "This cursor is not one that a page returned."
_CURSOR = re.compile(r"(\d{1,9})-(\d{1,18})((?:-[0-9a-f]{44}:\d{1,9})*)")


@dataclass
class PageCursor:
    """The place where a page ends, and what later lines say about those before it.

    Attributes:
        before: The page ends before this place; None for the end of the log.
        attempts: The last attempt of each run that lines before ``before`` may still belong to.
    """

    before: Place | None = None
    attempts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, cursor: str | None) -> "PageCursor":
        """Reads a cursor.

        Raises:
            ValueError: It is none.
        """
        if cursor is None:
            return cls()
        match = _CURSOR.fullmatch(decode_cursor(cursor))
        if match is None or int(match[1]) == 0:
            raise ValueError(WRONG_CURSOR)
        pairs = (pair.split(":") for pair in match[3].split("-")[1:])
        place = Place(int(match[1]), int(match[2]))
        return cls(place, {run: int(attempt) for run, attempt in pairs})

    def move_to(self, place: Place, run: str) -> str:
        """Returns the cursor of the page before a message of a run."""
        pairs = [
            f"-{each}:{attempt}"
            for each, attempt in self.attempts.items()
            # A first attempt replaces no other: it matters only while the place is in its run.
            if each == run or attempt > 1
        ]
        return encode_cursor(f"{place.part}-{place.offset}{''.join(pairs)}")


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a conversation.

    Attributes:
        messages: In the order of their writing, and of each whether the run was broken off after it.
        cursor: Returns the messages before them; None at the beginning.
    """

    messages: Sequence[tuple[Message, bool]]
    cursor: str | None


async def read_page(
    log: ConversationLog, tail: Tail, limit: int, cursor: PageCursor, lease_seconds: float
) -> Page:
    """Reads a page.

    Args:
        log: The conversation.
        tail: Its end.
        limit: Maximum messages to return.
        cursor: The end of the page.
        lease_seconds: Seconds after its last append for which a run counts as under way.

    Raises:
        ObjectMissing: The log is not there, or not where the cursor says.
    """
    # Only the newest run can be under way: the next one begins when it is over.
    is_under_way = cursor.before is None and tail.is_under_way(lease_seconds)
    active = tail.newest[0].line.run if is_under_way else None
    found: list[tuple[Message, bool]] = []
    following = None
    lines = log.backwards(tail if cursor.before is None else None, cursor.before)
    async with aclosing(_messages(lines, cursor, active)) as messages:
        async for place, message, is_broken_off in messages:
            if len(found) == limit:
                return Page(found[::-1], following)
            found.append((message, is_broken_off))
            following = cursor.move_to(place, message.run)
    return Page(found[::-1], None)


async def _messages(
    lines: AsyncGenerator[PlacedLine, None], cursor: PageCursor, active: str | None
) -> AsyncGenerator[tuple[Place, Message, bool], None]:
    """Yields messages, newest first, without those of attempts that another one replaced."""
    is_broken_off = False
    async with aclosing(lines):
        async for placed in lines:
            line = placed.line
            if line.run not in cursor.attempts:
                cursor.attempts[line.run] = line.attempt
                # Read from the end: the first line of a run says how the run ended.
                if isinstance(line, EndLine):
                    is_broken_off = line.status != "complete"
                else:
                    is_broken_off = line.run != active
            if line.attempt == cursor.attempts[line.run] and isinstance(line, Message):
                yield placed.place, line, is_broken_off
                is_broken_off = False
