"""The pool of connections to providers: which are used again, and what it takes from the environment."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import httpx2
import pytest

from local.server import LOOPBACK
from shared.outbound.pool import PoolTransport, operator_transport
from tests.outbound.conftest import Authority, TlsServer
from tests.outbound.connections import wait_for_arrival

LIMITS = httpx2.Limits(max_connections=10, max_keepalive_connections=5, keepalive_expiry=60)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Keeping:
    """A server in threads that answers each request and keeps its connections.

    Attributes:
        origin: Its address.
        requests: How many requests came over each connection, in the order of the connections.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server((LOOPBACK, 0))
        self.origin = f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"
        self.requests: list[int] = []
        self._connections: list[socket.socket] = []

    def serve(self) -> None:
        """Takes connections until the server is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            self.requests.append(0)
            arguments = (connection, len(self.requests) - 1)
            threading.Thread(target=self._answer, args=arguments, daemon=True).start()

    def _answer(self, connection: socket.socket, number: int) -> None:
        with connection:
            while received := connection.recv(65536):
                if b" HTTP/1.1\r\n" in received:
                    self.requests[number] += 1
                    connection.sendall(ANSWER)

    def say(self, words: bytes) -> None:
        """Sends something unasked for on all connections."""
        for connection in self._connections:
            connection.sendall(words)

    def hang_up(self) -> None:
        """Ends all connections, as a server does that keeps idle ones for a while only."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the server."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.hang_up()


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    server = Keeping()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=operator_transport(), timeout=10) as client:
        yield client


async def test_connection_is_used_again(client: httpx2.AsyncClient, keeping: Keeping) -> None:
    for _ in range(3):
        assert (await client.get(keeping.origin)).text == "ok"
    assert keeping.requests == [3]


async def test_connection_that_the_server_has_closed_is_not_used_again(
    client: httpx2.AsyncClient, keeping: Keeping
) -> None:
    response = await client.get(keeping.origin)
    keeping.hang_up()
    # Nothing is awaited: asyncio has no occasion to see it.
    wait_for_arrival(response.extensions["network_stream"])
    assert (await client.post(keeping.origin, content=b"paid")).text == "ok"
    assert keeping.requests == [1, 1]


async def test_connection_whose_end_asyncio_has_seen_is_not_used_again(
    client: httpx2.AsyncClient, keeping: Keeping
) -> None:
    response = await client.get(keeping.origin)
    keeping.hang_up()
    wait_for_arrival(response.extensions["network_stream"])
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await client.post(keeping.origin, content=b"paid")).text == "ok"
    assert keeping.requests == [1, 1]


async def test_connection_on_which_the_server_speaks_unasked_is_not_used_again(
    client: httpx2.AsyncClient, keeping: Keeping
) -> None:
    response = await client.get(keeping.origin)
    keeping.say(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    wait_for_arrival(response.extensions["network_stream"])
    for _ in range(3):
        await asyncio.sleep(0)
    assert (await client.get(keeping.origin)).status_code == 200
    assert keeping.requests == [1, 1]


async def test_operators_certificates_are_trusted(
    trusted_authority: Authority, client: httpx2.AsyncClient
) -> None:
    with TlsServer(trusted_authority.issue(LOOPBACK)).running() as server:
        assert (await client.get(f"https://{LOOPBACK}:{server.port}/")).text == "ok"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_proxies_of_the_environment_are_left_to_the_library(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert isinstance(operator_transport(), PoolTransport)
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert not isinstance(operator_transport(), PoolTransport)
