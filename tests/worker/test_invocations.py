"""Each request meets its invocation in the worker's library, and leaves nothing in it."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import cast
from urllib.parse import quote

import httpx2
import pytest
from azure_functions_runtime import http_v2
from starlette.requests import Request
from starlette.responses import Response

from shared.functions_worker import Pairs, WorkerServer
from tests.worker.process import TIMEOUT_SECONDS, WorkerProcess

NOTHING_LEFT = {"invocations": 0, "references": 0}
MANY_REQUESTS = 1000
AT_A_TIME = 10
LIST_TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream"}
LONG = 8000
"""Characters of a path: the host takes 8 KB with the method and the version."""


def odd_segments() -> list[str]:
    """Segments of paths, encoded, that the host takes and patterns may miss."""
    bytes_ = [f"%{code:02X}" for code in range(256)]
    return [
        *bytes_,
        *(f"a{code}b" for code in bytes_),
        *(f"a{quote(separator)}b" for separator in "\u0085\u2028\u2029\u202e\ufeff\U0001f600"),
        *("%0A%0A%0A", "a%0D%0Ab", "%C3%28", "%F0%9F", "%ED%A0%80", "%25%30%41", "%2e%2e%2fetc"),
        *("%2F", "a%2fb", "%2F%0A%2F", "a%5Cb", "a;b=c", "a:b", "*", "~", "{job_id}", "[x]", "'\""),
        "a" * LONG,
        "%0A" * (LONG // 3),
    ]


async def settled(worker: WorkerProcess) -> dict[str, int]:
    """Returns the worker's state when nothing more changes in it, at the latest after a minute."""
    state = await worker.state()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while state != NOTHING_LEFT:
                state = await worker.state()
    except TimeoutError:
        pass
    return state


async def test_every_path_meets_its_invocation(worker: WorkerProcess) -> None:
    paths = [f"/videos/{segment}" for segment in odd_segments()]
    paths += ["//videos//a", "/videos/a/", "/videos/a?x=%0A", "/docs", "/redoc", "/openapi.json"]
    async with worker.client(headers={}) as client:
        answers = [await client.get(httpx2.URL(worker.origin + path)) for path in paths]
    missed = [
        (path, answer.status_code, answer.text)
        for path, answer in zip(paths, answers, strict=True)
        # Where the host has no function, it answers without a body.
        if "x-request-id" not in answer.headers and answer.content
    ]
    assert missed == []
    assert Counter(answer.status_code for answer in answers)[401] > len(odd_segments()) - 10
    assert await settled(worker) == NOTHING_LEFT


async def test_requests_of_every_kind_leave_nothing_behind(worker: WorkerProcess) -> None:
    path = "/media/a%0Ab"
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    async with worker.client(headers={}) as client:
        for method in ("GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "TRACE", "PROPFIND"):
            await client.request(method, path)
        await client.get(path, headers=upgrade)
        await client.get(path, headers=[(b"X-Odd", b"\xe9\xff")])
        await client.post("/chat", content=b"{", headers={"Content-Encoding": "gzip"})
        await client.get(path, headers={"X-Long": "x" * 30_000})
    assert await settled(worker) == NOTHING_LEFT


async def test_a_thousand_requests_leave_nothing_in_the_library(worker: WorkerProcess) -> None:
    places = asyncio.Semaphore(AT_A_TIME)
    async with worker.client() as client:

        async def ask(number: int) -> int:
            async with places:
                if number % 10 == 0:
                    body = {"message": "Hello", "stream": True}
                    return (await client.post("/chat", json=body)).status_code
                if number % 10 == 1:
                    return (await client.post("/mcp", json=LIST_TOOLS, headers=ACCEPT)).status_code
                return (await client.get("/health")).status_code

        statuses = await asyncio.gather(*map(ask, range(MANY_REQUESTS)))
    assert Counter(statuses) == {200: MANY_REQUESTS}
    assert await settled(worker) == NOTHING_LEFT


@pytest.fixture(params=["azure_functions_runtime", "azure_functions_worker"])
def coordinator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> http_v2.HttpCoordinator:
    """The library's coordinator, under its name of either generation."""
    monkeypatch.delitem(sys.modules, "azure_functions_runtime.http_v2")
    monkeypatch.setitem(sys.modules, f"{request.param}.http_v2", http_v2)
    return http_v2.http_coordinator


async def test_invocation_whose_request_never_comes_is_ended(
    coordinator: http_v2.HttpCoordinator,
) -> None:
    pairs = Pairs(patience_seconds=0)
    waiting = asyncio.create_task(coordinator.get_http_request_async("lost"))
    await until(lambda: "lost" in coordinator._context_references)
    pairs.end_unpaired()
    with pytest.raises(ValueError, match="No http request found"):
        await waiting
    pairs.end_unpaired()
    assert coordinator._context_references == {}


async def test_invocation_whose_request_was_answered_without_it_is_ended_at_once(
    coordinator: http_v2.HttpCoordinator,
) -> None:
    pairs = Pairs()
    transport = httpx2.ASGITransport(WorkerServer(pairs=pairs))
    waiting = asyncio.create_task(coordinator.get_http_request_async("lost"))
    await until(lambda: "lost" in coordinator._context_references)
    async with httpx2.AsyncClient(transport=transport, base_url="http://worker") as client:
        answer = await client.get("/nowhere", headers={"x-ms-invocation-id": "lost"})
    assert answer.status_code == 404
    with pytest.raises(ValueError, match="No http request found"):
        await waiting
    pairs.end_unpaired()
    assert coordinator._context_references == {}


async def test_request_whose_invocation_never_comes_is_answered(
    coordinator: http_v2.HttpCoordinator,
) -> None:
    pairs = Pairs(patience_seconds=0)
    server = WorkerServer(pairs=pairs)

    @server.api_route("/{path:path}")
    async def catch_all(request: Request) -> Response:
        coordinator.set_http_request("lost", request)
        answer = await coordinator.await_http_response_async("lost")
        raise answer

    transport = httpx2.ASGITransport(server, raise_app_exceptions=False)
    headers = {"x-ms-invocation-id": "lost"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://worker") as client:
        asking = asyncio.create_task(client.get("/", headers=headers))
        await until(lambda: "lost" in coordinator._context_references)
        pairs.end_unpaired()
        assert (await asking).status_code == 500
    assert coordinator._context_references == {}


async def test_pairs_and_those_that_wait_for_a_moment_are_left_alone(
    coordinator: http_v2.HttpCoordinator,
) -> None:
    patient, impatient = Pairs(), Pairs(patience_seconds=0)
    coordinator.set_http_request("met", "the request")
    assert await coordinator.get_http_request_async("met") == "the request"
    waiting = asyncio.create_task(coordinator.get_http_request_async("young"))
    await until(lambda: "young" in coordinator._context_references)
    patient.end_unpaired()
    patient.end_unpaired()
    coordinator.set_http_request("young", "its request")
    assert await waiting == "its request"
    impatient.end_unpaired()
    impatient.end_unpaired()
    assert set(coordinator._context_references) == {"met", "young"}
    for invocation_id in ("met", "young", "unknown"):
        patient.close(invocation_id)
    assert coordinator._context_references == {}


@pytest.mark.parametrize(
    "changed",
    [
        SimpleNamespace(),
        SimpleNamespace(http_coordinator=None),
        SimpleNamespace(http_coordinator=SimpleNamespace(_context_references=[1])),
        SimpleNamespace(http_coordinator=SimpleNamespace(_context_references={"a": object()})),
    ],
)
async def test_changed_library_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, changed: SimpleNamespace
) -> None:
    before = repr(changed)
    monkeypatch.setitem(sys.modules, "azure_functions_runtime.http_v2", cast(ModuleType, changed))
    pairs = Pairs(patience_seconds=0)
    pairs.end_unpaired()
    pairs.end_unpaired()
    pairs.close("b")
    assert repr(changed) == before


async def test_route_that_is_no_catch_all_stays_as_the_library_wants_it() -> None:
    server = WorkerServer()

    @server.api_route("/fixed", methods=["POST"])
    async def fixed() -> dict[str, str]:
        return {"served": "fixed"}

    transport = httpx2.ASGITransport(server)
    async with httpx2.AsyncClient(transport=transport, base_url="http://worker") as client:
        assert (await client.post("/fixed")).json() == {"served": "fixed"}
        assert (await client.get("/fixed")).status_code == 405
        assert (await client.get("/other")).status_code == 404


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not condition():
            await asyncio.sleep(0)
