"""Sends requests under `/v1` to the providers that `bodies.py` found, and their answers back."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic_core import from_json

from shared.errors import ProviderUnavailable
from shared.openai_service import OpenAIService
from shared.openai_service.charge import Charge
from shared.openai_service.client import ProviderCall
from shared.openai_service.estimates import reported_usage
from shared.openai_service.event_streams import StreamReader
from shared.openai_service.forwarded_answer import MAX_ANSWER_BYTES, ForwardedAnswer
from shared.openai_service.realtime import RealtimeAnswer
from shared.openai_service.routing import falling_back
from shared.outbound import EVENT_STREAM
from shared.routes.forwarded_stream import ForwardedStream
from shared.routes.v1.bodies import JSON, RESPONSES, Outgoing

_PASSED_HEADERS = ("content-type", "content-disposition", "openai-processing-ms", "openai-version")
_PASSED_PREFIX = "x-ratelimit-"


@dataclass(frozen=True, slots=True)
class OpenAnswer:
    """A provider's answer whose body has not been read yet.

    Attributes:
        answer: The answer.
        call: The call that it answers.
        charge: What it is charged to; None where it costs nothing.
        headers: Headers for the caller.
    """

    answer: ForwardedAnswer | RealtimeAnswer
    call: ProviderCall
    charge: Charge | None
    headers: dict[str, str]

    @property
    def media_type(self) -> str:
        """The media type, without parameters."""
        return self.answer.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """Returns the whole body."""
        return await self.answer.read(MAX_ANSWER_BYTES)

    async def events(self, *, hides_usage: bool = False) -> AsyncGenerator[bytes, None]:
        """Yields whole events, as many at a time as have come, and reports their usage.

        Args:
            hides_usage: Whether the event that tells only the usage is left out.

        Raises:
            ProviderTruncated: They end before the answer does.
        """
        from shared.openai_service.failures import truncated

        reader = StreamReader(hides_usage=hides_usage)
        async for chunk in self.answer.chunks():
            if self.charge is not None:
                self.charge.note_output()
            data = reader.feed(chunk)
            self._report_stream(reader)
            if data:
                yield data
        rest = reader.rest()
        self._report_stream(reader)
        if rest:
            yield rest
        if not reader.is_complete:
            raise truncated()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yields the bytes as they come."""
        async for chunk in self.answer.chunks():
            if self.charge is not None:
                self.charge.note_output()
            yield chunk

    def report(self, document: Mapping[str, Any]) -> None:
        """Notes the model and the usage of a JSON answer."""
        if self.charge is None:
            return
        model, rows = document.get("model"), document.get("data")
        made = [row for row in rows if _is_image(row)] if isinstance(rows, list) else []
        consumption = reported_usage(document.get("usage"), len(made) or None)
        self.charge.report(consumption, model if isinstance(model, str) else None)

    def _report_stream(self, reader: StreamReader) -> None:
        # As it comes: the caller may disconnect before the end.
        if self.charge is not None and reader.usage:
            self.charge.report(reported_usage(reader.usage), reader.model)


class Forwarding:
    """Sends requests of callers on to the providers of their models.

    Args:
        openai: The providers.
        ping_seconds: Of silence in a stream, after which a comment keeps proxies from giving up.
    """

    def __init__(self, openai: OpenAIService, ping_seconds: float) -> None:
        self.ping_seconds = ping_seconds
        self._openai = openai

    async def respond(self, request: Request, outgoing: Outgoing) -> Response:
        """Sends a request on and returns the answer as it comes."""
        async with AsyncExitStack() as held:
            if outgoing.estimate is not None:
                # The call lasts as long as the stream.
                held.enter_context(request.state.call.usage.part())
            opened = await self.open(held, outgoing)
            if opened.media_type == JSON:
                body = await opened.read()
                if opened.charge is not None:
                    opened.report(decode(body))
                return Response(body, opened.answer.status, opened.headers)
            is_events = opened.media_type == EVENT_STREAM
            content = opened.chunks()
            if is_events:
                content = opened.events(hides_usage=outgoing.hides_usage)
            return ForwardedStream(
                request,
                content,
                headers=opened.headers,
                status=opened.answer.status,
                held=held.pop_all(),
                ping_seconds=self.ping_seconds if is_events else None,
                is_response=outgoing.path == RESPONSES,
            )

    async def open(self, held: AsyncExitStack, outgoing: Outgoing) -> OpenAnswer:
        """Returns the first answer that is no failure of its provider.

        Args:
            held: Closes the answer and settles its charge.
            outgoing: The request.
        """
        for call in outgoing.calls:
            with falling_back(call):
                async with AsyncExitStack() as trying:
                    charge = None
                    if outgoing.estimate is not None:
                        charging = self._openai.charge(call, outgoing.estimate, outgoing.drawing)
                        charge = await trying.enter_async_context(charging)
                    sending = self._openai.forwarder.send(call, outgoing.build(call), charge)
                    answer = await trying.enter_async_context(sending)
                    held.push_async_exit(trying.pop_all())
                return OpenAnswer(answer, call, charge, _headers(answer, call))
        raise AssertionError("unreachable: the last call returns or raises")


def decode(body: bytes) -> Mapping[str, Any]:
    """Returns the JSON object of an answer, an empty one for other JSON.

    Raises:
        ProviderUnavailable: It is no JSON.
    """
    try:
        value = from_json(body)
    except ValueError as error:
        raise ProviderUnavailable("The provider's answer is not valid JSON. Try again.") from error
    return value if isinstance(value, Mapping) else {}


def _is_image(row: object) -> bool:
    return isinstance(row, Mapping) and bool(row.get("b64_json") or row.get("url"))


def _headers(answer: ForwardedAnswer | RealtimeAnswer, call: ProviderCall) -> dict[str, str]:
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name in _PASSED_HEADERS or name.startswith(_PASSED_PREFIX)
    }
    return headers | {
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "x-provider": call.config.label,
    }
