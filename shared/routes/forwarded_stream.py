"""An answer under `/v1` on its way to the caller: as it comes, with pings in its silence."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from time import monotonic
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from shared.disconnect import cancel_on_disconnect
from shared.errors import GatewayError, ShuttingDown
from shared.routes.errors import error_body, internal_error_body
from shared.routes.guarded_route import request_deadline
from shared.routes.openai_errors import error_event, response_error_event

logger = logging.getLogger(__name__)

_PING = b": ping\n\n"


class BrokenAnswer(ClientDisconnect):
    """Raised to cut the connection of an answer that cannot be completed, where no event can tell."""


class ForwardedStream(Response):
    """Sends an answer as it comes, and ends what makes it when the client disconnects.

    Args:
        request: What is answered.
        content: The body, piece by piece.
        headers: Headers to send.
        status: The HTTP status.
        held: Closed at the end; what goes wrong passes it.
        ping_seconds: Of silence, after which a comment keeps proxies from giving up; None where the body
            is no stream of events.
        is_response: Whether it is a stream of the Responses API, whose events have names and numbers.
    """

    def __init__(
        self,
        request: Request,
        content: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str],
        status: int = 200,
        held: AsyncExitStack | None = None,
        ping_seconds: float | None = None,
        is_response: bool = False,
    ) -> None:
        self.status_code = status
        self.background = None
        self.init_headers(headers)
        self._request = request
        self._content = content
        self._held = AsyncExitStack() if held is None else held
        self._ping_seconds = ping_seconds
        self._is_response = is_response
        self._last = b""
        self._sent_at = monotonic()
        self._is_sending = False

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Takes headers without adding a length, which is not known."""
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        try:
            async with cancel_on_disconnect(receive):
                await self._send(send)
        except ClientDisconnect:
            if not self._request.state.is_shutting_down or self._ping_seconds is None:
                raise
            await self._send_error(send, ShuttingDown())
        finally:
            await self._held.aclose()

    async def _send(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        pinging = None
        if self._ping_seconds is not None:
            pinging = asyncio.create_task(self._ping(send, self._ping_seconds))
        try:
            # What goes wrong passes what is held, which logs it.
            async with request_deadline(self._request).scope(), self._held:
                await self._forward(send)
        except OSError as error:
            # Servers report a disconnect so while we are sending.
            raise ClientDisconnect from error
        except GatewayError as error:
            await self._send_error(send, error)
        except ClientDisconnect:
            raise
        except Exception:
            request_id = self._request.state.request_id
            logger.exception("Unhandled error in the stream of request %s", request_id)
            await self._end(send, internal_error_body(self._request))
        finally:
            if pinging is not None:
                pinging.cancel()
                await asyncio.gather(pinging, return_exceptions=True)

    async def _forward(self, send: Send) -> None:
        async with aclosing(self._content) as content:
            async for data in content:
                self._last = data
                await self._send_bytes(send, data)
        await self._send_bytes(send, b"", more=False)

    async def _send_bytes(self, send: Send, data: bytes, *, more: bool = True) -> None:
        self._is_sending = True
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._is_sending = False
        self._sent_at = monotonic()

    async def _ping(self, send: Send, seconds: float) -> None:
        # Beside the stream and not between its events, each of which would then need a task.
        while True:
            silent = monotonic() - self._sent_at
            await asyncio.sleep(max(0.0, seconds - silent) or seconds)
            if not self._is_sending and monotonic() - self._sent_at >= seconds:
                await self._send_bytes(send, _PING)

    async def _send_error(self, send: Send, error: GatewayError) -> None:
        await self._end(send, error_body(self._request, error))

    async def _end(self, send: Send, body: Mapping[str, Any]) -> None:
        if self._ping_seconds is None:
            raise BrokenAnswer
        event = response_error_event(body, self._last) if self._is_response else error_event(body)
        await self._send_bytes(send, event, more=False)
