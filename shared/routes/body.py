"""Request bodies: their limits, and their JSON, which is decoded once."""

from collections.abc import Callable
from typing import Any

from fastapi import Request

from shared.asgi import replay
from shared.errors import GatewayError, TooLarge
from shared.strict_json import read_json

MAX_BODY_BYTES = 512 * 1024
"""Maximum bytes of most bodies: the longest prompt of a tool for media takes 384 kB with its escapes."""

MAX_LONG_BODY_BYTES = 4 * 1024 * 1024
"""Maximum bytes of chats, long texts and other servers' arguments, which may hold pictures."""


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """Returns the body.

    Args:
        request: Whose body has not been read yet.
        limit: Most bytes to take.

    Raises:
        TooLarge: The body is larger.
    """

    def too_large() -> TooLarge:
        return TooLarge(f"The request body may have at most {limit} bytes. Send less.")

    check_declared_length(request, limit, too_large)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large()
    return bytes(body)


def check_declared_length(
    request: Request, limit: int, too_large: Callable[[], GatewayError]
) -> None:
    """Refuses a body that says itself that it is too large, before any of it is read.

    Args:
        request: Whose body it is.
        limit: Most bytes to take.
        too_large: Makes the error.

    Raises:
        GatewayError: The body is larger.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large()


class CheckedRequest(Request):
    """A request whose body has been read, and whose JSON has been checked."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, replay(body))
        # Content types compare without case (RFC 9110, section 8.3.1).
        if body and "json" in request.headers.get("content-type", "").lower():
            self._checked = read_json(body)

    async def json(self) -> Any:
        """Returns the body, which FastAPI would decode again, and less strictly."""
        return self._checked
