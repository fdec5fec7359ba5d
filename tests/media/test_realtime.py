"""Speech over the realtime API, by the tool and under /v1."""

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, MakeClient, ThreadServer
from tests.media.conftest import Api
from tests.media.realtime_server import SAMPLES, RealtimeServer, realtime_server
from tests.waiting import until

MODEL = "gpt-realtime-2.1-mini"
WHOLE = b"".join(SAMPLES)


@pytest.fixture
async def server() -> AsyncIterator[RealtimeServer]:
    async with realtime_server() as server:
        yield server


@pytest.fixture
def settings(environment: dict[str, str], server: RealtimeServer) -> dict[str, str]:
    prices = {MODEL: {"input": 1, "output": 10}}
    return environment | {
        "OPENAI_AUDIO_BASE_URL": server.base_url,
        "OPENAI_AUDIO_API_KEY": "sk-audio",
        "OPENAI_AUDIO_MODEL": MODEL,
        "PRICES": json.dumps(prices),
    }


@pytest.fixture
def spoken(make_client: MakeClient, settings: dict[str, str], browser: httpx2.AsyncClient) -> Api:
    """An app whose speech comes over the realtime API."""
    return Api(make_client(settings), browser)


def samples_of(clip: bytes) -> bytes:
    with wave.open(io.BytesIO(clip)) as read:
        assert (read.getframerate(), read.getsampwidth(), read.getnchannels()) == (24_000, 2, 1)
        samples: bytes = read.readframes(read.getnframes())
        return samples


async def test_tool_stores_a_wav_clip_of_what_the_model_says(
    spoken: Api, server: RealtimeServer
) -> None:
    result = await spoken.call(
        "synthesize_speech", text="Hello there", voice="marin", instructions="Cheerful", speed=1.2
    )
    assert (result["model"], result["voice"]) == (MODEL, "marin")
    assert result["media"]["content_type"] == "audio/wav"
    assert samples_of((await spoken.open(result["media"]["url"])).content) == WHOLE
    assert server.paths == [(f"/v1/realtime?model={MODEL}", "Bearer sk-audio")]
    session, response = server.events
    assert session["session"]["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "marin",
        "speed": 1.2,
    }
    assert session["session"]["output_modalities"] == ["audio"]
    assert session["session"]["instructions"].endswith("Manner of speaking: Cheerful")
    [item] = response["response"]["input"]
    assert item["content"] == [{"type": "input_text", "text": "Hello there"}]
    assert response["response"]["conversation"] == "none"


async def test_wav_clip_comes_as_it_is_spoken(
    settings: dict[str, str], server: RealtimeServer
) -> None:
    server.waits_after = 1
    body = {"model": MODEL, "input": "Hello", "voice": "marin"}
    heard = bytearray()
    with ThreadServer(create_app(load_settings(settings))) as app:
        async with (
            httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60) as http,
            http.stream("POST", "/v1/audio/speech", json=body) as clip,
        ):
            async for piece in clip.aiter_raw():
                heard += piece
                if heard.endswith(SAMPLES[0]):
                    server.go_on.set()
    assert samples_of(bytes(heard)) == WHOLE


async def test_tool_stores_bare_samples_where_asked(spoken: Api) -> None:
    result = await spoken.call("synthesize_speech", text="Hello", response_format="pcm")
    assert result["media"]["content_type"] == "audio/pcm"
    assert (await spoken.open(result["media"]["url"])).content == WHOLE


async def test_usage_is_settled_as_the_model_reports_it(spoken: Api) -> None:
    await spoken.call("synthesize_speech", text="Hello")
    [record] = (await spoken.http.get("/usage/records")).json()["records"]
    assert (record["model"], record["input_tokens"], record["output_tokens"]) == (MODEL, 50, 100)
    assert record["cost_usd"] == pytest.approx((50 * 1 + 100 * 10) / 1e6)
    assert record["status"] == "ok"


@pytest.mark.parametrize("response_format", ["wav", "pcm", None])
async def test_speech_route_speaks_over_the_realtime_api(
    spoken: Api, response_format: str | None
) -> None:
    body = {"model": MODEL, "input": "Hello", "voice": "marin"}
    if response_format:
        body["response_format"] = response_format
    response = await spoken.http.post("/v1/audio/speech", json=body)
    assert response.status_code == 200, response.text
    is_pcm = response_format == "pcm"
    assert response.headers["content-type"] == ("audio/pcm" if is_pcm else "audio/wav")
    assert (response.content if is_pcm else samples_of(response.content)) == WHOLE


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"response_format": "mp3"}, "response_format"),
        ({"response_format": "opus"}, "response_format"),
        ({"speed": 2}, "speed"),
    ],
)
async def test_what_the_realtime_api_cannot_do_is_named(
    spoken: Api, server: RealtimeServer, fields: dict[str, Any], field: str
) -> None:
    status, code, [error] = await spoken.refuse("synthesize_speech", text="Hello", **fields)
    assert (status, code, error["loc"]) == (422, "invalid_request", ["body", field])
    body = {"model": MODEL, "input": "Hello", "voice": "marin", **fields}
    response = await spoken.http.post("/v1/audio/speech", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert server.paths == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "provider_credentials"),
        (404, "provider_rejected"),
        (429, "rate_limited"),
        (500, "provider_unavailable"),
    ],
)
async def test_refused_connection_is_an_error_that_costs_nothing(
    spoken: Api, server: RealtimeServer, status: int, code: str
) -> None:
    server.status = status
    _, found, detail = await spoken.refuse("synthesize_speech", text="Hello")
    assert found == code, detail
    records = (await spoken.http.get("/usage/records")).json()["records"]
    assert {record["cost_usd"] for record in records} == {0}


async def test_refused_session_is_the_provider_s_word(spoken: Api, server: RealtimeServer) -> None:
    server.refuses = {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "No voice",
    }
    status, code, detail = await spoken.refuse("synthesize_speech", text="Hello", voice="nobody")
    assert (status, code) == (400, "provider_rejected")
    assert "No voice" in detail
    assert [event["type"] for event in server.events] == ["session.update"]


FAILED = {"status": "failed", "status_details": {"error": {"type": "server_error", "code": "x"}}}
CUT = {"status": "incomplete", "status_details": {"reason": "max_output_tokens"}}
FILTERED = {"status": "incomplete", "status_details": {"reason": "content_filter"}}


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ({}, "provider_truncated"),
        ({"response": FAILED}, "provider_unavailable"),
        ({"response": CUT}, "provider_truncated"),
        ({"response": FILTERED}, "content_filtered"),
        ({"error": {"type": "tokens", "code": "rate_limit_exceeded"}}, "rate_limited"),
    ],
)
async def test_clip_that_breaks_off_is_an_error_and_is_not_stored(
    spoken: Api, server: RealtimeServer, ends: dict[str, Any], code: str
) -> None:
    server.fails_after, server.ends = 2, ends
    _, found, _ = await spoken.refuse("synthesize_speech", text="Hello")
    assert found == code
    assert await spoken.ids() == []
    [record] = (await spoken.http.get("/usage/records")).json()["records"]
    # It has begun to speak: the estimate stands.
    assert record["cost_usd"] > 0


async def test_clip_that_hangs_ends_with_the_deadline_and_the_connection(
    make_client: MakeClient,
    settings: dict[str, str],
    browser: httpx2.AsyncClient,
    server: RealtimeServer,
) -> None:
    server.hangs = True
    api = Api(make_client(settings | {"REQUEST_DEADLINE_SECONDS": "2"}), browser)
    status, code, _ = await api.refuse("synthesize_speech", text="Hello")
    assert (status, code) == (504, "deadline_exceeded")
    async with asyncio.timeout(10):
        await server.left.wait()


async def test_caller_who_leaves_does_not_end_a_clip_that_is_paid_for(
    spoken: Api, server: RealtimeServer
) -> None:
    asking = asyncio.create_task(spoken.call("synthesize_speech", text="Hello"))
    await until(lambda: asyncio.sleep(0, server.paths), bool)
    asking.cancel()
    assert len(await until(spoken.ids, bool)) == 1


async def test_unreachable_provider_is_followed_by_the_next_one(
    make_client: MakeClient, settings: dict[str, str], server: RealtimeServer
) -> None:
    named = {
        "first": {
            "base_url": "http://127.0.0.1:1/v1",
            "models": ["gpt-realtime*"],
            "fallbacks": ["second"],
        },
        "second": {"base_url": server.base_url},
    }
    client = make_client(settings | {"PROVIDERS": json.dumps(named)})
    response = await client.post("/tools/synthesize_speech", json={"text": "Hello"})
    assert response.status_code == 200, response.text
    assert len(server.paths) == 1
