"""Streams under /v1 while they last: pings, clients that disconnect, and what the log says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace

import httpx2
import openai
import pytest

from shared.app import create_app
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import AUTH, KEY, ThreadServer
from tests.integration.log_lines import request_lines
from tests.v1.conftest import Provider
from tests.v1.test_bytes import CHAT, CREATED, DELTA, DONE, FINISH, TEXT, USAGE
from tests.v1.upstream import EVENT_STREAM, Answer
from tests.waiting import until

BODY = {"model": "m", "stream": True, "messages": []}


@pytest.fixture
def timing() -> Timing:
    return replace(Timing(), ping=0.02)


@pytest.fixture
def gateway_origin(gateway_environment: dict[str, str], timing: Timing) -> Iterator[str]:
    """Origin of the app behind a real HTTP server."""
    with ThreadServer(create_app(load_settings(gateway_environment), timing)) as server:
        yield server.origin


async def test_silence_is_filled_with_pings_that_openai_s_client_takes(
    gateway_origin: str, provider: Provider
) -> None:
    provider.upstream.answer = Answer([TEXT, FINISH, DONE], EVENT_STREAM, pause=0.2)
    async with httpx2.AsyncClient(base_url=gateway_origin, headers=AUTH, timeout=60) as http:
        response = await http.post(CHAT, json=BODY)
    assert response.content.replace(b": ping\n\n", b"") == TEXT + FINISH + DONE
    assert response.content.startswith(b": ping\n\n")
    async with openai.AsyncOpenAI(base_url=f"{gateway_origin}/v1", api_key=KEY) as api:
        stream = await api.chat.completions.create(model="m", messages=[], stream=True)
        chunks = [chunk async for chunk in stream]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, "stop"]


async def chat(api: openai.AsyncOpenAI) -> AsyncIterator[object]:
    async for chunk in await api.chat.completions.create(model="m", messages=[], stream=True):
        yield chunk


async def respond(api: openai.AsyncOpenAI) -> AsyncIterator[object]:
    async for event in await api.responses.create(model="m", input="x", stream=True):
        yield event


@pytest.mark.parametrize(
    ("ask", "pieces"), [(chat, [TEXT, b""]), (respond, [CREATED, DELTA])], ids=["chat", "responses"]
)
async def test_openai_s_client_raises_for_a_stream_that_is_cut(
    gateway_origin: str,
    provider: Provider,
    ask: Callable[[openai.AsyncOpenAI], AsyncIterator[object]],
    pieces: list[bytes],
) -> None:
    provider.upstream.answer = Answer(pieces, EVENT_STREAM)
    seen = []

    async def read(api: openai.AsyncOpenAI) -> None:
        async for each in ask(api):
            seen.append(each)

    async with openai.AsyncOpenAI(base_url=f"{gateway_origin}/v1", api_key=KEY) as api:
        with pytest.raises(openai.APIError) as cut:
            await read(api)
    assert (cut.value.code, cut.value.type) == ("provider_truncated", "server_error")
    assert len(seen) == len([piece for piece in pieces if piece])


async def test_client_that_disconnects_ends_the_provider_s_stream(
    gateway_origin: str, provider: Provider
) -> None:
    provider.upstream.answer = Answer([TEXT] * 1000, EVENT_STREAM, pause=0.05)
    async with (
        httpx2.AsyncClient(base_url=gateway_origin, headers=AUTH, timeout=60) as http,
        http.stream("POST", CHAT, json=BODY) as response,
    ):
        async for piece in response.aiter_bytes():
            if TEXT in piece:
                break
    await until(lambda: provider.upstream.disconnected)


async def test_client_that_disconnects_before_the_first_byte_ends_the_provider_s_work(
    gateway_origin: str, provider: Provider
) -> None:
    provider.upstream.answer = Answer([TEXT, DONE], EVENT_STREAM, pause=600)
    async with httpx2.AsyncClient(base_url=gateway_origin, headers=AUTH, timeout=60) as http:
        asking = asyncio.create_task(http.post(CHAT, json=BODY))
        await until(lambda: provider.upstream.seen)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: provider.upstream.disconnected)


async def test_deadline_that_is_over_ends_a_stream_with_an_error(
    gateway_environment: dict[str, str], provider: Provider
) -> None:
    settings = load_settings(gateway_environment | {"REQUEST_DEADLINE_SECONDS": "5"})
    provider.upstream.answer = Answer([TEXT] * 1000, EVENT_STREAM, pause=0.05)
    with ThreadServer(create_app(settings)) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as http:
            response = await http.post(CHAT, json=BODY)
    last = response.content.rpartition(b"data: ")[2]
    assert b'"code":"deadline_exceeded"' in last
    assert b"[DONE]" not in response.content
    await until(lambda: provider.upstream.disconnected)


async def test_line_of_a_stream_has_model_tokens_and_outcome(
    gateway: httpx2.AsyncClient, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    provider.upstream.answer = Answer([TEXT, FINISH, USAGE, DONE], EVENT_STREAM)
    await gateway.post(CHAT, json=BODY)
    provider.upstream.answer = Answer([TEXT], EVENT_STREAM)
    await gateway.post(CHAT, json=BODY)
    whole, cut = request_lines(caplog)
    assert {key: whole[key] for key in ("route", "model", "input_tokens", "output_tokens")} == {
        "route": CHAT,
        "model": "m",
        "input_tokens": 3,
        "output_tokens": 4,
    }
    assert (whole["outcome"], cut["outcome"]) == ("ok", "provider_error")
    assert any(record.getMessage().startswith("provider_failed") for record in caplog.records)
