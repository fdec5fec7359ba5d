"""Request bodies: their limits, and their JSON, which is decoded once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Request

from shared.asgi import replay
from shared.errors import GatewayError, Overloaded, TooLarge
from shared.strict_json import read_json

MAX_BODY_BYTES = 512 * 1024
"""Maximum bytes of most bodies: the longest prompt of a tool for media takes 384 kB with its escapes."""

MAX_LONG_BODY_BYTES = 4 * 1024 * 1024
"""Maximum bytes of chats, long texts and other servers' arguments, which may hold pictures."""


MIN_HELD_BYTES = 96 * 1024 * 1024
MAX_HELD_BYTES = 256 * 1024 * 1024
_HELD_SHARE = 8
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def held_limit(memory: int | None) -> int:
    """Returns how many bytes of bodies a process may hold in all.

    On its way a body may take four times its size: as it came, parsed, and in the buffers of what sends
    it on. The largest body has room in any case.

    Args:
        memory: Bytes of memory of the instance; None where that is not known.
    """
    if memory is None:
        return MAX_HELD_BYTES
    return min(max(memory // _HELD_SHARE, MIN_HELD_BYTES), MAX_HELD_BYTES)


def memory_of_instance() -> int | None:
    """Returns the bytes of memory of the machine, or of the container where that has less."""
    if not hasattr(os, "sysconf"):
        return None
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        # No container, or one without a limit, which says "max".
        return machine


class HeldBytes:
    """Counts the bytes of the bodies that a process holds.

    Args:
        limit: Maximum bytes at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def check(self, size: int) -> None:
        """Checks that there is room for so many more bytes.

        Raises:
            Overloaded: There is not.
        """
        if self._held + size > self._limit:
            raise Overloaded

    def take(self, size: int) -> None:
        """Counts bytes that have come.

        Raises:
            Overloaded: There is no room for them.
        """
        self.check(size)
        self._held += size

    def release(self, size: int) -> None:
        """Counts bytes no longer."""
        self._held -= size


_held = HeldBytes(held_limit(memory_of_instance()))


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Returns the body, which counts as held until the request has ended.

    Args:
        request: Whose body has not been read yet.
        limit: Most bytes to take.

    Raises:
        TooLarge: The body is larger.
        Overloaded: Other requests hold so many bytes that there is no room for it.
    """

    def too_large() -> TooLarge:
        return TooLarge(f"The request body may have at most {limit} bytes. Send less.")

    _held.check(check_declared_length(request, limit, too_large))
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large()
        _held.take(len(chunk))
        request.state.at_end.callback(_held.release, len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def check_declared_length(
    request: Request, limit: int, too_large: Callable[[], GatewayError]
) -> int:
    """Refuses a body that says itself that it is too large, before any of it is read.

    Returns:
        The length that it says; 0 where it says none.

    Args:
        request: Whose body it is.
        limit: Most bytes to take.
        too_large: Makes the error.

    Raises:
        GatewayError: The body is larger.
    """
    text = request.headers.get("content-length", "")
    declared = int(text) if text.isdecimal() else 0
    if declared > limit:
        raise too_large()
    return declared


class CheckedRequest(Request):
    """A request whose body has been read, and whose JSON has been checked."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, replay(body))
        self._checked: Any = None
        # Content types compare without case (RFC 9110, section 8.3.1).
        if body and "json" in request.headers.get("content-type", "").lower():
            self._checked = read_json(body)

    @property
    def json_object(self) -> dict[str, Any] | None:
        """The body, where it is a JSON object that is declared as such."""
        is_declared = self.headers.get("content-type", "").startswith("application/json")
        return self._checked if is_declared and isinstance(self._checked, dict) else None

    async def json(self) -> Any:
        """Returns the body, which FastAPI would decode again, and less strictly."""
        return self._checked
