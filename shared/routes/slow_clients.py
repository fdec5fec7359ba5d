"""How bodies come from clients and answers reach them: in small pieces, and not for ever."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

from shared.asgi import wait_for_ever
from shared.deadline import Deadline
from shared.errors import RequestTimeout

T = TypeVar("T")

PIECE_BYTES = 64 * 1024
"""Sent at once: a server takes pieces of any size, and holds them until its client has read them."""

GRACE_SECONDS = 10.0
"""Seconds after the deadline, for an answer that tells of it, and for the rest of a large one."""

STALL_SECONDS = 60.0
"""Seconds in which a client that downloads a file has to take its next piece."""


class SlowClient(ClientDisconnect):
    """Raised when a client does not read its answer in time; handled as when it disconnects."""


class BoundedReceive:
    """A ``receive`` that gives a client a limited time to send the next bytes of its body.

    Args:
        receive: The server's.
        seconds: How long the client may send nothing.
    """

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._is_limited = True
        self._ahead: Message | None = None

    def end_limit(self) -> None:
        """Waits for messages as long as it takes: an answer that has begun cannot tell of the limit.

        What streams an answer waits here for the client's disconnect, also where nothing has read
        the body that the request declares.
        """
        self._is_limited = False

    async def __call__(self) -> Message:
        """Receives one message; when the body has come, waits for the next one as long as it takes.

        Raises:
            RequestTimeout: The body stopped coming, before an answer began.
        """
        if self._ahead is not None:
            message, self._ahead = self._ahead, None
            self._is_limited = self._is_limited and message.get("more_body", False)
            return message
        while self._is_limited:
            try:
                message = await _within(self._seconds, self._receive())
            except _TooSlow as error:
                # The answer may have begun meanwhile.
                if self._is_limited:
                    raise RequestTimeout(self._seconds) from error
            else:
                if not message.get("more_body", False):
                    self._is_limited = False
                return message
        return await self._receive()

    async def receive_ahead(self) -> Message:
        """Receives for who waits for the client's disconnect before the request begins.

        It takes one message of the body, which the first call gets then. If more of the body follows, it
        never returns: the body is not buffered before the request is admitted.
        """
        if self._ahead is None:
            self._ahead = await self._receive()
            return self._ahead
        if self._ahead.get("more_body", False):
            return await wait_for_ever()
        return await self._receive()


class BoundedSend:
    """A ``send`` that gives a client a limited time to read the answer.

    Args:
        send: The server's.
        deadline: The budget of the request.
        grace_seconds: How much longer than the deadline the client may take.

    Attributes:
        bytes_sent: Bytes of the body that the server has taken.
        gave_up: Whether the client did not read in time.
    """

    def __init__(
        self, send: Send, deadline: Deadline, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._send = send
        self._deadline = deadline
        self._grace_seconds = grace_seconds
        self._until = deadline
        self._is_download = False
        self.bytes_sent = 0
        self.gave_up = False

    def allow_download(self) -> None:
        """Lets the answer take as long as its client goes on to read it."""
        self._is_download = True

    async def __call__(self, message: Message) -> None:
        """Sends one message, a large one in pieces.

        Raises:
            SlowClient: The client has not read what was sent before.
        """
        if message["type"] == "http.response.start":
            self._until = Deadline.after(self._deadline.remaining() + self._grace_seconds)
        body = message.get("body", b"")
        if len(body) <= PIECE_BYTES:
            await self._send_in_time(message)
            return
        for start in range(0, len(body), PIECE_BYTES):
            end = start + PIECE_BYTES
            more = end < len(body) or message.get("more_body", False)
            await self._send_in_time({**message, "body": body[start:end], "more_body": more})

    async def _send_in_time(self, message: Message) -> None:
        if self.gave_up:
            raise SlowClient
        seconds = STALL_SECONDS if self._is_download else self._until.remaining()
        try:
            await _within(seconds, self._send(message))
        except _TooSlow as error:
            self.gave_up = True
            raise SlowClient from error
        self.bytes_sent += len(message.get("body", b""))


class _TooSlow(Exception):
    """Raised when a client does not send or read in time."""


async def _within(seconds: float, awaitable: Awaitable[T]) -> T:
    """Returns what is awaited, or raises `_TooSlow` where it takes longer than ``seconds``."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            # The timer starts only when the server has to wait for the client. Mostly it does not, and
            # a timer would take longer than sending.
            starting = loop.call_soon(limit.reschedule, loop.time() + seconds)
            try:
                return await awaitable
            finally:
                starting.cancel()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise _TooSlow from error
