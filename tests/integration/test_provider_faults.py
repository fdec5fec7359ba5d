"""Every way in which a provider can fail, through every door that calls it."""

import json
import logging
from typing import Any

import httpx2
import pytest

from shared.openai_service.client import MAX_ATTEMPTS
from shared.timing import Timing
from tests.conftest import MakeClient, StandIn
from tests.integration.faults import FAULTS, DroppingProxy

DOORS = {
    "/tools/chat_completion": {"prompt": "hi"},
    "/tools/generate": {"prompt": "hi"},
    "/chat": {"message": "hi"},
}


@pytest.fixture
def timing() -> Timing:
    return Timing(provider_backoff=0.001)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("fault", "status", "code", "text"), FAULTS)
async def test_fault_has_its_status_and_code_and_is_not_retried(
    client: httpx2.AsyncClient,
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
    door: str,
    fault: dict[str, Any],
    status: int,
    code: str,
    text: str,
) -> None:
    caplog.set_level(logging.DEBUG, "shared")
    if door == "/chat" and "body" in fault:
        # Where a stream is wanted, a document without any event in it is a stream that was cut.
        code = "provider_truncated"
    stand_in.fault(**fault)
    response = await client.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert text in response.json()["detail"]
    assert "sk-leak" not in response.text
    assert "sk-leak" not in caplog.text
    assert len(stand_in.requests()) == 1


async def test_stream_that_ends_without_a_finish_reason_is_truncated(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(cut="clean")
    response = await client.post("/chat", json={"message": "hi"})
    assert (response.status_code, response.json()["code"]) == (502, "provider_truncated")


@pytest.mark.parametrize("door", DOORS)
async def test_answer_after_429_is_an_answer(
    client: httpx2.AsyncClient, stand_in: StandIn, door: str
) -> None:
    stand_in.fault(status=429, headers={"Retry-After": "0"})
    stand_in.fault(status=429)
    response = await client.post(door, json=DOORS[door])
    assert response.status_code == 200
    assert len(stand_in.requests()) == 3


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("headers", "retry_after"),
    [
        ({}, "5"),
        ({"Retry-After": "0.1"}, "1"),
        ({"retry-after-ms": "20"}, "1"),
        ({"Retry-After": "soon"}, "5"),
    ],
)
async def test_lasting_429_is_passed_on_with_retry_after(
    client: httpx2.AsyncClient,
    stand_in: StandIn,
    door: str,
    headers: dict[str, str],
    retry_after: str,
) -> None:
    stand_in.fault(status=429, headers=headers, times=10)
    response = await client.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
    assert response.headers["retry-after"] == retry_after
    assert len(stand_in.requests()) == MAX_ATTEMPTS


@pytest.mark.parametrize("wait", ["3600", "Fri, 31 Dec 2099 23:59:59 GMT"])
async def test_wait_that_does_not_fit_the_deadline_is_the_callers(
    client: httpx2.AsyncClient, stand_in: StandIn, wait: str
) -> None:
    stand_in.fault(status=429, headers={"Retry-After": wait})
    response = await client.post("/tools/generate", json={"prompt": "hi"})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 3600
    assert len(stand_in.requests()) == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("drops", "status"), [(1, 200), (2, 200), (99, 502)])
async def test_connection_that_breaks_before_the_answer_is_tried_again(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    door: str,
    drops: int,
    status: int,
) -> None:
    proxy = DroppingProxy(stand_in.base_url, drops)
    async with proxy.listening() as port:
        environment |= {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
        response = await make_client(environment).post(door, json=DOORS[door])
    assert response.status_code == status, response.text
    assert proxy.connections == min(drops + 1, MAX_ATTEMPTS)
    if status == 502:
        assert response.json()["code"] == "provider_unavailable"
        assert "dropped the connection" in response.json()["detail"]


@pytest.mark.parametrize("door", DOORS)
async def test_provider_that_refuses_connections_is_unavailable(
    make_client: MakeClient, environment: dict[str, str], unused_port: int, door: str
) -> None:
    client = make_client(environment | {"OPENAI_BASE_URL": f"http://127.0.0.1:{unused_port}/v1"})
    response = await client.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert "cannot be reached" in response.json()["detail"]


@pytest.mark.parametrize("door", DOORS)
async def test_slow_provider_ends_with_the_deadline(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, door: str
) -> None:
    stand_in.fault(delay=30)
    client = make_client(environment | {"REQUEST_DEADLINE_SECONDS": "0.5"})
    response = await client.post(door, json=DOORS[door])
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert "REQUEST_DEADLINE_SECONDS" in response.json()["detail"]


async def test_slow_stream_ends_with_the_deadline(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    stand_in.fault(chunk_delay=0.2)
    client = make_client(environment | {"REQUEST_DEADLINE_SECONDS": "0.5"})
    response = await client.post("/chat", json={"message": "one two three four five six"})
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("name", ["chat_completion", "generate"])
async def test_answer_withheld_by_the_filter_is_an_error(
    client: httpx2.AsyncClient, stand_in: StandIn, name: str
) -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None},
        "finish_reason": "content_filter",
    }
    document = {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice]}
    stand_in.fault(body=json.dumps(document))
    response = await client.post(f"/tools/{name}", json={"prompt": "hi"})
    assert (response.status_code, response.json()["code"]) == (400, "content_filtered")


async def test_error_in_the_middle_of_a_stream_is_the_providers(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    event = {"error": {"message": "boom", "type": "server_error", "code": None}}
    stand_in.fault(body=f"data: {json.dumps(event)}\n\n")
    response = await client.post("/chat", json={"message": "hi"})
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert "boom" not in response.text
