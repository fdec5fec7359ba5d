"""A provider's answer on its way to the caller: as it comes, with pings in its silence."""

import asyncio
import logging
from contextlib import AsyncExitStack
from time import monotonic

from fastapi import Request, Response
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from shared.disconnect import cancel_on_disconnect
from shared.errors import GatewayError, ShuttingDown
from shared.openai_service.charge import Charge
from shared.openai_service.estimates import reported_usage
from shared.openai_service.event_streams import StreamReader
from shared.openai_service.failures import truncated
from shared.openai_service.forwarding import ForwardedAnswer
from shared.routes.errors import error_body, internal_error_body
from shared.routes.guard import request_deadline

logger = logging.getLogger(__name__)

_PING = b": ping\n\n"


class BrokenAnswer(ClientDisconnect):
    """Raised to cut the connection of an answer that cannot be completed, where no event can tell."""


class ForwardedStream(Response):
    """Sends a provider's answer as it comes, and ends the provider's work when the client disconnects.

    Args:
        request: What is answered.
        answer: The provider's answer.
        held: Closes the answer.
        headers: Headers to send.
        reader: Reads the events of the answer; None where it is no stream of events.
        charge: What the answer is charged to; None where it costs nothing.
        ping_seconds: Of silence, after which a comment keeps proxies from giving up.
    """

    def __init__(
        self,
        request: Request,
        answer: ForwardedAnswer,
        held: AsyncExitStack,
        headers: dict[str, str],
        reader: StreamReader | None,
        charge: Charge | None,
        ping_seconds: float,
    ) -> None:
        self.status_code = answer.status
        self.background = None
        self.init_headers(headers)
        self._request = request
        self._answer = answer
        self._held = held
        self._reader = reader
        self._charge = charge
        self._ping_seconds = ping_seconds
        self._sent_at = monotonic()
        self._is_sending = False

    def init_headers(self, headers: object = None) -> None:
        """Takes headers without adding a length, which is not known."""
        given = headers if isinstance(headers, dict) else {}
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in given.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        try:
            async with cancel_on_disconnect(receive):
                await self._send(send)
        except ClientDisconnect:
            if not self._request.state.is_shutting_down or self._reader is None:
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
        if self._reader is not None:
            pinging = asyncio.create_task(self._ping(send))
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
        reader = self._reader
        async for chunk in self._answer.chunks():
            if self._charge is not None:
                self._charge.has_output = True
            data = chunk if reader is None else reader.feed(chunk)
            self._report()
            if data:
                await self._send_bytes(send, data)
        if reader is not None:
            rest = reader.rest()
            self._report()
            if rest:
                await self._send_bytes(send, rest)
            if not reader.is_complete:
                raise truncated()
        await self._send_bytes(send, b"", more=False)

    def _report(self) -> None:
        # As it comes: the caller may disconnect before the end.
        if self._charge is not None and self._reader is not None and self._reader.usage:
            self._charge.report(reported_usage(self._reader.usage), self._reader.model)

    async def _send_bytes(self, send: Send, data: bytes, *, more: bool = True) -> None:
        self._is_sending = True
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._is_sending = False
        self._sent_at = monotonic()

    async def _ping(self, send: Send) -> None:
        # Beside the stream and not between its events, each of which would then need a task.
        while True:
            silent = monotonic() - self._sent_at
            await asyncio.sleep(max(0.0, self._ping_seconds - silent) or self._ping_seconds)
            if not self._is_sending and monotonic() - self._sent_at >= self._ping_seconds:
                await self._send_bytes(send, _PING)

    async def _send_error(self, send: Send, error: GatewayError) -> None:
        await self._end(send, error_body(self._request, error))

    async def _end(self, send: Send, body: dict[str, object]) -> None:
        if self._reader is None:
            raise BrokenAnswer
        # Clients of OpenAI take data with an `error` for the end, and wait for no `[DONE]`.
        event = b"data: " + to_json(body) + b"\n\n"
        await self._send_bytes(send, event, more=False)
