"""What a server sends behind an answer is never taken for the answer to another request."""

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpcore2
import httpx2
import pytest

from local.server import LOOPBACK
from shared.outbound.client import open_client
from shared.outbound.pool import ResponseStream, operator_transport
from tests.outbound.conftest import Authority
from tests.outbound.connections import connected


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n/01\r\n0\r\n\r\n"
TRAILING = {
    "a second answer": answer(b"/01") + answer(b"evil"),
    "a second answer behind chunks": CHUNKED + answer(b"evil"),
    "an empty line": answer(b"/01") + b"\r\n",
    "a body that may not be": b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil",
    "a byte more than said": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n/01}",
    "more than is read at once": answer(b"/01") + answer(b"evil") * 3000,
}


class Misbehaving:
    """A server that answers with the path, but to ``/01`` with something else; also as a proxy.

    Attributes:
        origin: Its address.
        requests: The path of each request, in the order of arrival, by connection.
    """

    def __init__(self, certificate: Path | None) -> None:
        self.said = b""
        self.requests: list[list[str]] = []
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self.origin = f"{'https' if certificate else 'http'}://{LOOPBACK}:{self.port}"

    def serve(self) -> None:
        """Takes connections until the server is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError):
            connection.settimeout(10)
            received = b""
            if self._context and connection.recv(7, socket.MSG_PEEK) == b"CONNECT":
                _read_request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            paths: list[str] = []
            self.requests.append(paths)
            with connection:
                while received := _read_request(connection):
                    path = received.split()[1].decode()
                    path = path[path.rindex("/") :]
                    paths.append(path)
                    connection.sendall(self.said if path == "/01" else answer(path.encode()))

    def close(self) -> None:
        """Ends the server."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        data = connection.recv(65536)
        if not data:
            return b""
        received += data
    return received


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, trusted_authority: Authority) -> Iterator[Misbehaving]:
    is_encrypted = request.param == "https"
    server = Misbehaving(trusted_authority.issue(LOOPBACK) if is_encrypted else None)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


def provider_client(_: Misbehaving, __: pytest.MonkeyPatch) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=operator_transport(), timeout=10)


def guarded_client(_: Misbehaving, __: pytest.MonkeyPatch) -> httpx2.AsyncClient:
    return open_client(allow_private=True, max_body_bytes=1000)


def proxied_client(server: Misbehaving, environment: pytest.MonkeyPatch) -> httpx2.AsyncClient:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        environment.setenv(name, f"http://{LOOPBACK}:{server.port}")
    return provider_client(server, environment)


MakeClient = Callable[[Misbehaving, pytest.MonkeyPatch], httpx2.AsyncClient]


@pytest.mark.parametrize("said", TRAILING.values(), ids=TRAILING.keys())
@pytest.mark.parametrize("make", [provider_client, guarded_client, proxied_client])
async def test_each_request_has_its_own_answer_and_is_sent_once(
    server: Misbehaving, monkeypatch: pytest.MonkeyPatch, make: MakeClient, said: bytes
) -> None:
    server.said = said
    async with make(server, monkeypatch) as client:
        for path in ("/00", "/01", "/02", "/03"):
            response = await client.get(server.origin + path)
            expected = "" if response.status_code == 204 else path
            assert response.text == expected
    if make is proxied_client:
        assert server.requests == [["/00"], ["/01"], ["/02"], ["/03"]]
    else:
        assert server.requests == [["/00", "/01"], ["/02", "/03"]]


async def test_answer_that_is_closed_again_leaves_the_next_request_alone(
    server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with provider_client(server, monkeypatch) as client:
        first = await client.get(server.origin + "/00")
        async with client.stream("GET", server.origin + "/02") as second:
            # Its body has arrived with its head and waits in the parser.
            assert isinstance(first.stream, httpx2.AsyncByteStream)
            await first.stream.aclose()
            assert await second.aread() == b"/02"
        await client.get(server.origin + "/03")
    assert server.requests == [["/00", "/02", "/03"]]


async def test_connection_whose_parser_is_not_found_is_closed() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"ok"

    async with connected() as (network_stream, _):
        response = httpcore2.Response(
            200, content=body(), extensions={"network_stream": network_stream}
        )
        await ResponseStream(response).aclose()
        with pytest.raises(httpcore2.WriteError):
            await network_stream.write(b"request")
