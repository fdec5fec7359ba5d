"""Every door is in the ledger: requests at the provider, records, `GET /usage` and log lines agree."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from local.stand_in import VIDEO_MODEL
from shared.app import create_app
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import AUTH, KEY, StandIn, ThreadServer, digest
from tests.integration.log_lines import request_lines
from tests.mcp.support import connected
from tests.waiting import until

PRICES = {
    "gpt-6-luna": {"input": 1, "cached": 0.5, "output": 2},
    "gpt-image-2.5-flare": {"input": 5, "output": 30},
    "gpt-4o-mini-tts": {"input": 1, "output": 10},
    "gpt-transcribe": {"second": 0.0001},
    VIDEO_MODEL: {"second": 0.1},
}
PAID = ("chat/completions", "responses", "embeddings", "images/", "audio/", "/videos")
IMAGE = {"prompt": "A hill", "size": "32x32"}


def paid_requests(stand_in: StandIn) -> list[dict[str, Any]]:
    """What reached the provider and is paid for."""
    return [
        each
        for each in stand_in.requests()
        if each["method"] == "POST" and any(part in each["path"] for part in PAID)
    ]


@pytest.fixture
def settings(stored_environment: dict[str, str]) -> dict[str, str]:
    keys = {"team": {"sha256": digest(KEY), "scopes": ["chat", "tools", "openai", "act-as"]}}
    return stored_environment | {
        "MCP_API_KEY": "",
        "API_KEYS": json.dumps(keys),
        "PRICES": json.dumps(PRICES),
    }


@pytest.fixture
def origin(settings: dict[str, str]) -> Iterator[str]:
    timing = Timing(default_video_poll=0, longest_video_poll=0, provider_backoff=0.01)
    with ThreadServer(create_app(load_settings(settings), timing)) as server:
        yield server.origin


@pytest.fixture
async def api(origin: str) -> Any:
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as client:
        yield client


async def post(api: httpx2.AsyncClient, path: str, body: Any, **headers: str) -> httpx2.Response:
    response = await api.post(path, json=body, headers=headers)
    assert response.is_success, response.text
    return response


async def usage_of(api: httpx2.AsyncClient, **query: str) -> dict[str, Any]:
    response = await api.get("/usage", params=query)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def records_of(api: httpx2.AsyncClient) -> list[dict[str, Any]]:
    response = await api.get("/usage/records")
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["records"]
    return found


async def leave_stream(api: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> None:
    """Leaves a stream when its first text has come."""
    async with api.stream("POST", path, json=body) as response:
        async for line in response.aiter_lines():
            if "delta" in line and "stand-in" in line:
                return


async def use_every_door(api: httpx2.AsyncClient, origin: str, stand_in: StandIn) -> None:
    """Makes paid calls at all doors, some of which fail, stream, are left, or are repeated."""
    await post(api, "/tools/chat_completion", {"prompt": "Hello"})
    await post(api, "/tools/generate_image", IMAGE, **{"Idempotency-Key": "one"})
    await post(api, "/tools/generate_image", IMAGE, **{"Idempotency-Key": "one"})
    spoken = await post(
        api, "/tools/synthesize_speech", {"text": "Hello", "response_format": "wav"}
    )
    await post(api, "/tools/transcribe_audio", {"media_id": spoken.json()["media"]["id"]})
    stand_in.fault(match={"path": "chat/"}, status=500)
    assert (await api.post("/tools/generate", json={"prompt": "x"})).status_code == 502
    for mode in ("auto", "legacy"):
        async with connected(f"{origin}/mcp", mode) as client:
            await client.call_tool("chat_completion", {"prompt": "Hello"})
    stand_in.fault(match={"path": "chat/", "body": "hill", "round": 0}, call_tools=["server_time"])
    stand_in.fault(match={"path": "chat/", "body": "hill", "round": 1}, call_tools=["generate"])
    tools = ["server_time", "generate"]
    await post(api, "/chat", {"message": "Of the hill", "tools": tools})
    await post(api, "/chat", {"message": "Hello", "stream": True})
    stand_in.fault(match={"path": "chat/", "body": "Slowly"}, chunk_delay=0.2)
    await leave_stream(api, "/chat", {"message": "Slowly, please", "stream": True})
    await post(api, "/api/alice/chat", {"message": "Hello"})
    job = (await post(api, "/tools/generate_video", {"prompt": "A hill", "seconds": 2})).json()
    await until(
        lambda: api.get(f"/videos/{job['id']}"), lambda found: found.json()["status"] == "completed"
    )
    messages = [{"role": "user", "content": "Hello"}]
    v1 = {"model": "gpt-6-luna", "messages": messages}
    await post(api, "/v1/chat/completions", v1)
    await post(api, "/v1/chat/completions", {**v1, "stream": True})
    stand_in.fault(match={"path": "chat/", "body": "Hello"}, chunk_delay=0.2)
    await leave_stream(api, "/v1/chat/completions", {**v1, "stream": True})
    await post(api, "/v1/responses", {"model": "gpt-6-luna", "input": "Hello"})
    await post(api, "/v1/images/generations", {"prompt": "A hill", "size": "32x32"})
    await post(
        api, "/v1/audio/speech", {"model": "gpt-4o-mini-tts", "input": "Hi", "voice": "coral"}
    )
    form: Any = {"model": (None, "gpt-transcribe"), "file": ("clip.wav", b"RIFF" + bytes(64))}
    assert (await api.post("/v1/audio/transcriptions", files=form)).status_code == 200
    await post(api, "/v1/moderations", {"input": "Hello"})


async def test_provider_records_usage_and_log_count_the_same_at_every_door(
    api: httpx2.AsyncClient, origin: str, stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await use_every_door(api, origin, stand_in)

    async def open_calls() -> list[str]:
        return [each["id"] for each in await records_of(api) if each["status"] == "in_progress"]

    await until(open_calls, lambda found: not found)
    asked = paid_requests(stand_in)
    own, alice = await records_of(api), await alices(api)
    records = [*own, *alice["records"]]
    total = (await usage_of(api))["total"]
    lines = request_lines(caplog)
    assert len(records) == len(asked)
    assert total["provider_calls"] == len(own)
    assert total["provider_calls"] + alice["total"]["provider_calls"] == len(asked)
    assert sum(int(str(line.get("provider_calls", 0))) for line in lines) == len(asked)
    assert Counter(each["door"] for each in records) == {
        "tools": 6,
        "mcp": 2,
        "chat": 7,
        "openai": 7,
    }
    assert Counter(each["status"] for each in records) == {
        "ok": 19,
        "cancelled": 2,
        "provider_unavailable": 1,
    }
    known = [each for each in records if each["cost_usd"] is not None]
    assert len(known) == len(records)
    costs = total["cost_usd"] + alice["total"]["cost_usd"]
    assert costs == pytest.approx(sum(each["cost_usd"] for each in known))
    logged = sum(float(str(line.get("cost_usd", 0))) for line in lines)
    assert logged == pytest.approx(costs)
    # A chat with its tools is one request, whatever it asks of providers.
    assert total["requests"] + alice["total"]["requests"] == 19
    assert [each["status"] for each in records if each["cost_usd"] == 0] == ["provider_unavailable"]


async def alices(api: httpx2.AsyncClient) -> dict[str, Any]:
    """What alice used, as told to whoever speaks for her."""
    headers = {"X-User-Id": "alice"}
    records = (await api.get("/usage/records", headers=headers)).json()["records"]
    assert {each["spoken_for_by"] for each in records} <= {"team"}
    return {
        "records": records,
        "total": (await api.get("/usage", headers=headers)).json()["total"],
    }


async def test_log_line_and_answer_of_a_call_tell_its_cost(
    api: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    response = await post(api, "/tools/chat_completion", {"prompt": "Hello"})
    usage = response.json()["usage"]
    cost = (usage["prompt_tokens"] + 2 * usage["completion_tokens"]) / 1_000_000
    assert float(response.headers["x-cost-usd"]) == pytest.approx(cost)
    [line] = await until(lambda: request_lines(caplog))
    assert line["cost_usd"] == pytest.approx(cost)
    assert (line["provider"], line["model"]) == ("compatible", "gpt-6-luna")
    assert line["input_tokens"] == usage["prompt_tokens"]


async def test_call_of_a_provider_that_cannot_be_reached_is_no_call(
    settings: dict[str, str], unused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings | {"OPENAI_BASE_URL": f"http://127.0.0.1:{unused_port}/v1"}
    timing = Timing(provider_backoff=0.001)
    with ThreadServer(create_app(load_settings(settings), timing)) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as api:
            response = await api.post("/tools/generate", json={"prompt": "x"})
            assert response.status_code == 502
            (record,) = await records_of(api)
            total = (await usage_of(api))["total"]
    assert (record["cost_usd"], record["status"]) == (0, "provider_unavailable")
    assert (total["requests"], total["provider_calls"]) == (0, 0)


async def test_our_retries_are_one_record(api: httpx2.AsyncClient, stand_in: StandIn) -> None:
    stand_in.fault(status=429, headers={"Retry-After": "0"}, times=2)
    await post(api, "/tools/generate", {"prompt": "x"})
    (record,) = await records_of(api)
    assert (record["attempts"], record["status"]) == (3, "ok")
    assert (await usage_of(api))["total"]["provider_calls"] == 1


@pytest.mark.parametrize("number", ["NaN", "-1e999", "1e999", "-5", "1" + "0" * 22, "true", '"7"'])
async def test_usage_that_is_no_number_of_tokens_is_no_report_and_the_call_is_settled(
    api: httpx2.AsyncClient, stand_in: StandIn, number: str
) -> None:
    message = '"message": {"role": "assistant", "content": "hello"}'
    usage = f'"prompt_tokens": {number}, "completion_tokens": {number}, "total_tokens": {number}'
    body = f'{{"choices": [{{"finish_reason": "stop", {message}}}], "usage": {{{usage}}}}}'
    stand_in.fault(body=body, times=2)
    answer = (await post(api, "/tools/chat_completion", {"prompt": "x"})).json()
    assert (answer["text"], answer["usage"]["prompt_tokens"]) == ("hello", None)
    await post(api, "/v1/chat/completions", {"model": "gpt-6-luna", "messages": []})
    total = (await usage_of(api))["total"]
    assert (total["requests"], total["provider_calls"]) == (2, 2)
    for record in await records_of(api):
        assert (record["status"], record["input_tokens"]) == ("ok", None)
        assert record["cost_usd"] > 0, "the estimate stands"


async def test_failed_video_costs_nothing(api: httpx2.AsyncClient, stand_in: StandIn) -> None:
    stand_in.fault(match={"path": "videos"}, video_error="It is dark.")
    job = (await post(api, "/tools/generate_video", {"prompt": "A hill", "seconds": 2})).json()
    assert (await usage_of(api))["total"]["cost_usd"] == pytest.approx(0.2)
    await until(
        lambda: api.get(f"/videos/{job['id']}"), lambda found: found.json()["status"] == "failed"
    )
    (record,) = await records_of(api)
    assert (record["status"], record["cost_usd"], record["seconds"]) == ("failed", 0, None)
    assert (await usage_of(api))["total"]["cost_usd"] == 0


async def test_usage_in_a_group_of_each_kind_adds_up(api: httpx2.AsyncClient) -> None:
    await post(api, "/tools/generate", {"prompt": "x"})
    await post(api, "/tools/generate_image", IMAGE)
    await post(api, "/chat", {"message": "Hello"})
    totals = []
    for group_by, keys in {
        "model": ["gpt-6-luna", "gpt-image-2.5-flare"],
        "door": ["chat", "tools"],
        "tool": ["generate", "generate_image", "none"],
        "principal": ["team"],
    }.items():
        report = await usage_of(api, group_by=group_by)
        assert [row["key"] for row in report["rows"]] == keys
        totals.append(report["total"])
    assert all(total == totals[0] for total in totals)
    assert totals[0]["requests"] == 3
    assert totals[0]["images"] == 1
    by_day = await usage_of(api)
    assert (by_day["group_by"], len(by_day["rows"])) == ("day", 1)
    assert by_day["from"].endswith("-01")
    text = (await api.get("/usage", params={"group_by": "door", "format": "csv"})).text
    assert text.splitlines()[0].startswith("door,requests,provider_calls,input_tokens")
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == ["chat", "tools"]


async def test_records_come_in_pages_newest_first(api: httpx2.AsyncClient) -> None:
    for _ in range(5):
        await post(api, "/tools/generate", {"prompt": "x"})
    whole = [each["id"] for each in await records_of(api)]
    paged: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = (await api.get("/usage/records", params=query)).json()
        paged += [each["id"] for each in page["records"]]
        if page["cursor"] is None:
            break
        query["cursor"] = page["cursor"]
    assert paged == whole
    assert len(set(whole)) == 5
    for cursor in ("x", "nan-1", "1e400-2", "-5"):
        response = await api.get("/usage/records", params={"cursor": cursor})
        assert response.status_code == 422, cursor


@pytest.mark.parametrize("path", ["/usage", "/usage/records"])
async def test_somebody_elses_usage_needs_admin(api: httpx2.AsyncClient, path: str) -> None:
    refused = await api.get(path, params={"principal": "alice"})
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert (await api.get(path, params={"principal": "team"})).status_code == 200
    wrong = await api.get(path, params={"from": "2026-11-30", "to": "2026-11-01"})
    assert (wrong.status_code, wrong.json()["errors"][0]["loc"]) == (422, ["query", "from"])
    assert (await api.get(path, params={"from": "2020-01-01"})).status_code == 422
    assert (await api.get(path, headers={"Authorization": ""})).status_code == 401


async def test_chat_tells_what_it_cost_with_its_tools(
    api: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    for headers in ({}, {"Idempotency-Key": "once"}, {"Idempotency-Key": "once"}):
        stand_in.fault(match={"path": "chat/", "round": 0}, call_tools=["generate_image"])
        answer = (await post(api, "/chat", {"message": "Of the hill"}, **headers)).json()
        stand_in.reset()
    [first, second, *_] = records = await records_of(api)
    assert len(records) == 6
    last = sum(each["cost_usd"] for each in records[:3])
    assert answer["usage"]["cost_usd"] == pytest.approx(last)
    assert {each["tool"] for each in records} == {None, "generate_image"}
    assert (first["door"], second["door"]) == ("chat", "chat")
    streamed = await post(api, "/chat", {"message": "Hello", "stream": True})
    completed = json.loads(streamed.text.split("event: chat.completed\ndata: ")[1])
    assert completed["usage"]["cost_usd"] > 0


async def test_media_tell_what_their_calls_cost(
    api: httpx2.AsyncClient, origin: str, stand_in: StandIn
) -> None:
    await post(api, "/tools/generate_image", {**IMAGE, "n": 2})
    await post(api, "/tools/synthesize_speech", {"text": "Hello", "response_format": "wav"})
    job = (await post(api, "/tools/generate_video", {"prompt": "A hill", "seconds": 2})).json()
    await until(
        lambda: api.get(f"/videos/{job['id']}"), lambda found: found.json()["status"] == "completed"
    )
    rows = (await usage_of(api, group_by="tool"))["rows"]
    booked = {row["key"]: row["cost_usd"] for row in rows}
    assert booked.keys() == {"generate_image", "synthesize_speech", "generate_video"}
    assert all(booked.values())
    media = (await api.get("/media")).json()["media"]
    assert len(media) == 4
    told = Counter[str]()
    for each in media:
        told[each["tool"]] += each["cost_usd"]
        info = (await api.get(f"/media/{each['id']}/info")).json()
        assert info["cost_usd"] == each["cost_usd"]
    assert told == pytest.approx(booked)


async def test_answers_of_every_door_tell_what_is_left_and_what_they_cost(
    stored_environment: dict[str, str], stand_in: StandIn
) -> None:
    limits = {"requests_per_day": 100, "tokens_per_day": 1_000_000}
    scopes = ["chat", "tools", "openai", "act-as"]
    keys = {"team": {"sha256": digest(KEY), "scopes": scopes, "limits": limits}}
    settings = stored_environment | {
        "MCP_API_KEY": "",
        "API_KEYS": json.dumps(keys),
        "PRICES": json.dumps(PRICES),
    }
    chat = {"messages": [{"role": "user", "content": "Hello"}], "model": "gpt-6-luna"}
    call = {"name": "generate", "arguments": {"prompt": "Hello"}}
    doors: list[tuple[str, Any, bool]] = [
        ("/tools/generate", {"prompt": "Hello"}, True),
        ("/tools/generate_image", IMAGE, True),
        ("/chat", {"message": "Hello"}, True),
        ("/chat", {"message": "Hello", "stream": True}, False),
        ("/api/ann/chat", {"message": "Hello"}, True),
        ("/v1/chat/completions", chat, True),
        ("/v1/chat/completions", {**chat, "stream": True}, False),
        ("/v1/responses", {"input": "Hello"}, True),
        ("/v1/images/generations", {"prompt": "A hill", "size": "32x32"}, True),
        ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}, True),
    ]
    accept = {"Accept": "application/json, text/event-stream"}
    with ThreadServer(create_app(load_settings(settings))) as server:
        async with httpx2.AsyncClient(base_url=server.origin, headers=AUTH, timeout=60) as api:
            left = 100
            for path, body, is_whole in doors:
                headers = accept if path == "/mcp" else {}
                answer = await post(api, path, body, **headers)
                left -= 1
                assert answer.headers.get("x-ratelimit-limit-requests") == "100", path
                assert answer.headers["x-ratelimit-remaining-requests"] == str(left), path
                assert answer.headers["x-ratelimit-reset-requests"].endswith("s"), path
                assert answer.headers["x-ratelimit-limit-tokens"] == "1000000", path
                assert ("x-cost-usd" in answer.headers) == is_whole, path
                if is_whole:
                    assert float(answer.headers["x-cost-usd"]) > 0, path
