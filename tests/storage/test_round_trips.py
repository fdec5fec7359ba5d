"""How many requests to Blob Storage the app makes: each costs time and money.

The numbers stand in docs/performance.md. The app is warm: the containers and its own keys exist.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from shared.timing import Timing
from tests.conftest import MakeClient, StandIn
from tests.connections.conftest import McpWorld, server
from tests.storage.azurite import blob_settings
from tests.storage.proxy import StorageProxy, StorageRequest, proxy_before

__all__ = ["server"]

PATIENT = Timing(lease=600, renewal=300, storage_timeout=300)
"""No heartbeats and no repeats, however slow the machine is."""

LEDGER = "usage"
"""Written beside a call, in batches: see `test_paid_call_writes_to_the_ledger_twice_at_most`."""

BEGIN, APPEND = "PUT conversations", "PUT conversations appendblock"
READ, LIST = "GET conversations", "GET list"
MCP = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
TOOLS_LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


class Counted:
    """An app in front of whose storage every request is counted."""

    def __init__(self, http: httpx2.AsyncClient, proxy: StorageProxy) -> None:
        self.http = http
        self._proxy = proxy

    @contextmanager
    def requests(self) -> Iterator[list[str]]:
        """Yields a list that holds the block's requests afterwards, sorted, without the ledger's."""
        before = len(self._proxy.seen)
        seen: list[str] = []
        yield seen
        kinds = map(_kind, self._proxy.seen[before:])
        seen += sorted(kind for kind in kinds if f" {LEDGER}" not in kind)

    @property
    def ledger_writes(self) -> int:
        """How often the ledger was written to so far."""
        return sum(_kind(request) == "PUT usage appendblock" for request in self._proxy.seen)

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Returns the answer to a request that must succeed."""
        response = await self.http.post(path, json=body, headers=headers)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer

    async def get(self, path: str) -> dict[str, Any]:
        """Returns the answer to a request that must succeed."""
        response = await self.http.get(path)
        assert response.is_success, response.text
        answer: dict[str, Any] = response.json()
        return answer


def _kind(request: StorageRequest) -> str:
    """Returns what a request does: the method, the first part of the name, and the operation."""
    match = re.fullmatch(r"/[^/]+/[^/?]+/?([^/?]*)[^?]*(?:\?(.*))?", request.target)
    assert match is not None, request.target
    folder, query = match[1], match[2] or ""
    operation = re.search(r"comp=(\w+)", query)
    return " ".join(filter(None, [request.method, folder, operation and operation[1]]))


@pytest.fixture
async def app(
    make_client: MakeClient, environment: dict[str, str], azurite: str, stand_in: StandIn
) -> AsyncIterator[Counted]:
    allowed = {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}
    with proxy_before(azurite) as (proxy, connection_string):
        settings = environment | blob_settings(connection_string) | allowed
        counted = Counted(make_client(settings, own_timing=PATIENT), proxy)
        await counted.post("/tools/generate_image", {"prompt": "a cat"})
        yield counted


async def test_chat_without_tools_makes_a_conversation_in_three_requests(app: Counted) -> None:
    with app.requests() as seen:
        await app.post("/chat", {"message": "Hello", "tools": "none"})
    assert seen == [BEGIN, APPEND, APPEND]


async def test_next_message_takes_one_read_and_two_writes(app: Counted) -> None:
    begun = await app.post("/chat", {"message": "Hello"})
    body = {"message": "And now?", "conversation_id": begun["conversation_id"]}
    with app.requests() as seen:
        await app.post("/chat", body)
    # The listing is that of connections, and runs beside the read.
    assert seen == [READ, LIST, APPEND, APPEND]
    with app.requests() as seen:
        await app.post("/chat", {**body, "tools": "none"})
    assert seen == [READ, APPEND, APPEND]


async def test_end_of_a_long_conversation_is_one_read_too(app: Counted) -> None:
    begun = await app.post("/chat", {"message": "Hello", "tools": "none"})
    path = f"/conversations/{begun['conversation_id']}"
    body = {"message": "x" * 30_000, "conversation_id": begun["conversation_id"], "tools": "none"}
    for _ in range(4):
        await app.post("/chat", body)
    with app.requests() as seen:
        await app.get(f"{path}?limit=1")
    assert seen == [READ]


async def test_tool_call_of_a_chat_takes_two_writes_more(app: Counted) -> None:
    begun = await app.post("/chat", {"message": "Hello", "tools": "none"})
    body = {"message": "server_time", "conversation_id": begun["conversation_id"]}
    with app.requests() as seen:
        answer = await app.post("/chat", {**body, "tools": ["server_time"]})
    assert [call["name"] for call in answer["tool_calls"]] == ["server_time"]
    assert seen == [READ, APPEND, APPEND, APPEND, APPEND]


async def test_key_takes_two_writes_and_its_repeat_two_requests(app: Counted) -> None:
    body, key = {"message": "Hello", "tools": "none"}, {"Idempotency-Key": "k"}
    with app.requests() as seen:
        await app.post("/chat", body, **key)
    assert seen == [BEGIN, APPEND, APPEND, "PUT idempotency", "PUT idempotency"]
    with app.requests() as seen:
        await app.post("/chat", body, **key)
    assert seen == ["GET idempotency", "PUT idempotency"]


async def test_picture_takes_one_check_and_two_writes(app: Counted) -> None:
    with app.requests() as seen:
        await app.post("/tools/generate_image", {"prompt": "a dog"})
    assert seen == ["HEAD is-reachable", "PUT images", "PUT media"]


async def test_listing_of_media_reads_each_record_once(app: Counted) -> None:
    await app.post("/tools/generate_image", {"prompt": "a dog"})
    with app.requests() as seen:
        assert len((await app.get("/media"))["media"]) == 2
    assert seen == [LIST, "GET media", "GET media"]
    with app.requests() as seen:
        assert len((await app.get("/media"))["media"]) == 2
    assert seen == [LIST]


async def test_medium_takes_one_read_and_a_signed_link_none(app: Counted) -> None:
    (medium,) = (await app.get("/media"))["media"]
    with app.requests() as seen:
        await app.get(f"/media/{medium['id']}/info")
    assert seen == ["GET media"]
    with app.requests() as seen:
        response = await app.http.get("/m/" + medium["url"].partition("/m/")[2])
    assert (response.status_code, seen) == (302, [])


async def test_listing_of_conversations_reads_only_what_has_changed(app: Counted) -> None:
    begun = [await app.post("/chat", {"message": "Hello", "tools": "none"}) for _ in range(3)]
    with app.requests() as seen:
        first = await app.get("/conversations")
    assert seen == [READ, READ, READ, LIST]
    with app.requests() as seen:
        assert await app.get("/conversations") == first
    assert seen == [LIST]
    changed = begun[0]["conversation_id"]
    await app.post("/chat", {"message": "Go on", "conversation_id": changed, "tools": "none"})
    with app.requests() as seen:
        page = await app.get("/conversations")
    assert seen == [READ, LIST]
    usage = {each["id"]: each["usage"]["total_tokens"] for each in page["conversations"]}
    assert usage[changed] > usage[begun[1]["conversation_id"]]


async def test_page_of_a_conversation_is_one_read(app: Counted) -> None:
    begun = await app.post("/chat", {"message": "Hello", "tools": "none"})
    with app.requests() as seen:
        await app.get(f"/conversations/{begun['conversation_id']}")
    assert seen == [READ]


async def test_list_of_tools_takes_one_listing_however_many_connections_there_are(
    app: Counted, server: McpWorld
) -> None:
    for name in ("one", "two"):
        await app.post("/mcp/connect", {"mcp_url": server.url, "name": name})
    for _ in range(2):
        with app.requests() as seen:
            response = await app.http.post("/mcp", json=TOOLS_LIST, headers=MCP)
            assert response.is_success, response.text
            assert {"one__add", "two__add"} <= {*re.findall(r"\w+__add", response.text)}
    assert set(seen) == {LIST}
    assert len(seen) <= 1


async def test_stored_keys_are_not_read_for_each_request(app: Counted) -> None:
    await app.get("/me")
    with app.requests() as seen:
        for _ in range(5):
            await app.get("/me")
    assert len(seen) <= 1


async def test_paid_call_writes_to_the_ledger_twice_at_most(app: Counted) -> None:
    await app.get("/usage")
    before = app.ledger_writes
    for _ in range(3):
        await app.post("/tools/chat_completion", {"prompt": "Hello"})
    # Waits until everything is written.
    await app.get("/usage")
    assert app.ledger_writes - before <= 6
