"""Speech over the realtime API: a model reads a text aloud, in samples over a WebSocket.

OpenAI's speech models end on 2027-01-06, and their successors are served by this API only.

Source: https://platform.openai.com/docs/api-reference/realtime-server-events
"""

import asyncio
import binascii
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic_core import from_json, to_json

from shared.deadline import check_deadline
from shared.errors import ProviderTruncated, ProviderUnavailable
from shared.openai_service.charge import Charge
from shared.openai_service.client import ProviderCall, observed
from shared.openai_service.metering import Consumption
from shared.openai_service.provider_config import CONNECT_TIMEOUT_SECONDS, ProviderConfig
from shared.openai_service.realtime.clip import RealtimeAnswer, as_wav
from shared.openai_service.realtime.text import RealtimeText

if TYPE_CHECKING:
    from aiohttp import ClientWebSocketResponse

MAX_EVENT_BYTES = 16 * 1024 * 1024


@asynccontextmanager
async def open_speech(
    call: ProviderCall, text: RealtimeText, authorization: Mapping[str, str], charge: Charge | None
) -> AsyncIterator[RealtimeAnswer]:
    """Has a model speak a text; closing the block ends the connection, which stops the model.

    Args:
        call: Which provider to call, for which model.
        text: What to say.
        authorization: The headers that authenticate this app.
        charge: What the call is charged to; None where it costs nothing.

    Raises:
        ProviderError: The provider failed or refused.
    """
    await asyncio.to_thread(_load)
    import aiohttp

    from shared.openai_service.realtime.errors import network_errors

    attempt = nullcontext() if charge is None else charge.attempt()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_SECONDS)
    with observed(call), attempt, network_errors(call.config):
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.ws_connect(
                _url(call), headers=authorization, max_msg_size=MAX_EVENT_BYTES
            ) as socket,
        ):
            await _await_session(socket, text, call.config)
            await socket.send_str(to_json(text.response_event()).decode())
            chunks = _samples(socket, call.config, charge)
            if text.response_format == "wav":
                yield RealtimeAnswer(as_wav(chunks), "wav")
            else:
                yield RealtimeAnswer(chunks, "pcm")


async def _await_session(
    socket: "ClientWebSocketResponse", text: RealtimeText, config: ProviderConfig
) -> None:
    """Sets the session up, and waits until that is accepted: nothing has to be paid for before."""
    from shared.openai_service.realtime.errors import error_of_event

    await socket.send_str(to_json(text.session_event()).decode())
    async for event in _events(socket):
        if event["type"] == "error":
            error = error_of_event(event.get("error"), config)
            error.is_before_output = True
            raise error
        if event["type"] == "session.updated":
            return
    raise _truncated()


async def _samples(
    socket: "ClientWebSocketResponse", config: ProviderConfig, charge: Charge | None
) -> AsyncIterator[bytes]:
    from shared.openai_service.realtime.errors import (
        error_of_event,
        error_of_response,
        network_errors,
    )

    with network_errors(config):
        async for event in _events(socket):
            check_deadline()
            match event["type"]:
                case "response.output_audio.delta":
                    if charge is not None:
                        charge.note_output()
                    yield _decode(event.get("delta"))
                case "response.done":
                    response = event.get("response")
                    response = response if isinstance(response, Mapping) else {}
                    if charge is not None:
                        charge.report(_consumption(response.get("usage")))
                    if response.get("status") != "completed":
                        raise error_of_response(response, config)
                    return
                case "error":
                    raise error_of_event(event.get("error"), config)
    raise _truncated()


async def _events(socket: "ClientWebSocketResponse") -> AsyncIterator[dict[str, Any]]:
    import aiohttp

    async for message in socket:
        if message.type is aiohttp.WSMsgType.ERROR:
            raise socket.exception() or _truncated()
        if message.type is not aiohttp.WSMsgType.TEXT:
            continue
        try:
            event = from_json(message.data)
        except ValueError as error:
            raise _no_event() from error
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise _no_event()
        yield event


def _decode(delta: object) -> bytes:
    try:
        return binascii.a2b_base64(delta) if isinstance(delta, str) else b""
    except binascii.Error as error:
        raise _no_event() from error


def _consumption(usage: object) -> Consumption | None:
    if not isinstance(usage, Mapping):
        return None
    given, made = (_part(usage, f"{side}_token_details") for side in ("input", "output"))
    return Consumption(
        input_tokens=_count(usage, "input_tokens"),
        cached_tokens=_count(given, "cached_tokens"),
        input_audio_tokens=_count(given, "audio_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        output_audio_tokens=_count(made, "audio_tokens"),
    )


def _part(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = usage.get(name)
    return part if isinstance(part, Mapping) else {}


def _count(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) else None


def _url(call: ProviderCall) -> str:
    config = call.config
    base = f"ws{config.base_url.removeprefix('http')}"
    model = quote(call.model or "", safe="")
    if config.api_version is None:
        return f"{base}/realtime?model={model}"
    return f"{base}/openai/realtime?api-version={config.api_version}&deployment={model}"


def _load() -> None:
    import aiohttp  # noqa: F401  # Loading it takes longer than an answer of this app.


def _truncated() -> ProviderTruncated:
    return ProviderTruncated("The provider's clip ended before it was complete. Try again.")


def _no_event() -> ProviderUnavailable:
    return ProviderUnavailable(
        "The provider sent something that is no event of the realtime API. Check its base URL."
    )
