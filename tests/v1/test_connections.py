"""Connections to providers: kept, many at once, through a proxy, and without a memory of their own."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from tests.conftest import MakeClient, ThreadServer
from tests.v1.test_bytes import CHAT
from tests.v1.upstream import Answer, Upstream

BODY = {"model": "m", "messages": []}
ANSWER = b"""{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]}"""
AT_ONCE = 64


class Watched(Upstream):
    """A provider that keeps the ports that its clients come from, and how many are there at once.

    Attributes:
        ports: The ports.
        at_once: The most at a time.
        waits_for: It answers nobody before so many are there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[int] = []
        self.at_once = 0
        self.waits_for = 0
        self._here = 0
        self._enough = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        self.ports.append(scope["client"][1])
        self._here += 1
        self.at_once = max(self.at_once, self._here)
        if self._here >= self.waits_for:
            self._enough.set()
        await self._enough.wait()
        await super().__call__(scope, receive, send)
        self._here -= 1


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def origin(watched: Watched) -> Iterator[str]:
    with ThreadServer(watched) as server:
        yield server.origin


@pytest.fixture
def gateway(
    make_client: MakeClient, environment: dict[str, str], origin: str
) -> httpx2.AsyncClient:
    return make_client(environment | {"OPENAI_BASE_URL": f"{origin}/v1"})


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [([b"{}"], "application/json"), ([b"data: [DONE]\n\n", b""], "text/event-stream")],
)
async def test_connection_is_kept_for_the_next_request(
    gateway: httpx2.AsyncClient, watched: Watched, pieces: list[bytes], kind: str
) -> None:
    watched.answer = Answer(pieces, kind)
    for _ in range(3):
        assert (await gateway.post(CHAT, json=BODY)).status_code == 200
    assert len(set(watched.ports)) == 1


async def test_connection_of_an_error_is_not_in_the_way_of_the_next_request(
    gateway: httpx2.AsyncClient, watched: Watched
) -> None:
    watched.answer = Answer([b"x" * 100_000] * 3, status=500)
    assert (await gateway.post(CHAT, json=BODY)).status_code == 500
    watched.answer = Answer([b"{}"])
    assert (await gateway.post(CHAT, json=BODY)).status_code == 200


async def test_many_requests_reach_the_provider_at_once(
    gateway: httpx2.AsyncClient, watched: Watched
) -> None:
    watched.waits_for = AT_ONCE
    asking = [gateway.post(CHAT, json=BODY) for _ in range(AT_ONCE)]
    answers = await asyncio.gather(*asking)
    assert {each.status_code for each in answers} == {200}
    assert watched.at_once == AT_ONCE


async def test_cookie_of_the_provider_is_not_sent_back(
    gateway: httpx2.AsyncClient, watched: Watched
) -> None:
    watched.answer = Answer([b"{}"], headers={"set-cookie": "caller=one; Path=/"})
    for _ in range(2):
        await gateway.post(CHAT, json=BODY)
    assert ["cookie" in seen.headers for seen in watched.seen] == [False, False]


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, BODY), ("/tools/chat_completion", {"prompt": "Say hello"})]
)
@pytest.mark.parametrize(
    ("exceptions", "is_used"), [("", True), ("provider.example", False), ("other.example", True)]
)
async def test_proxy_of_the_environment_is_used(
    make_client: MakeClient,
    environment: dict[str, str],
    watched: Watched,
    origin: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    exceptions: str,
    is_used: bool,
) -> None:
    watched.answer = Answer([ANSWER])
    for name, value in (("HTTP_PROXY", origin), ("NO_PROXY", exceptions)):
        monkeypatch.setenv(name, value)
        monkeypatch.delenv(name.lower(), raising=False)
    client = make_client(environment | {"OPENAI_BASE_URL": "http://provider.example:9/v1"})
    response = await client.post(path, json=body)
    assert response.status_code == (200 if is_used else 502)
    hosts: list[Any] = [seen.headers["host"] for seen in watched.seen]
    assert hosts == (["provider.example:9"] if is_used else [])
