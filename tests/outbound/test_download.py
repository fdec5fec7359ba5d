"""Downloads: redirects hop by hop, sizes, and what becomes of failures; against real servers."""

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from local.server import LOOPBACK
from shared.errors import ForbiddenAddress, TooLarge
from shared.outbound import AnswerTooLarge, DownloadFailed, download, open_client
from tests.conftest import ThreadServer
from tests.outbound.conftest import Listener, Names
from tests.waiting import LIMIT_SECONDS

VIDEO = bytes(range(256)) * 400


class Files:
    """A file server that notes the headers it gets."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.app = Starlette(
            routes=[
                Route("/video", self._video),
                Route("/undeclared", self._undeclared),
                Route("/to", self._redirect),
                Route("/count/{left:int}", self._count),
                Route("/status/{status:int}", self._status),
                Route("/gzip", self._gzip),
                Route("/plain", self._plain),
            ]
        )

    def headers(self, path: str) -> dict[str, str]:
        return next(headers for seen, headers in self.seen if seen == path)

    def _note(self, request: Request) -> None:
        self.seen.append((request.url.path, dict(request.headers)))

    async def _video(self, request: Request) -> Response:
        self._note(request)
        return Response(VIDEO, media_type="Video/MP4; codecs=avc1")

    async def _undeclared(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(VIDEO), 1000):
                yield VIDEO[start : start + 1000]

        return StreamingResponse(pieces(), media_type="video/mp4")

    async def _redirect(self, request: Request) -> Response:
        self._note(request)
        response = RedirectResponse(
            request.query_params["url"], int(request.query_params.get("status", 302))
        )
        response.set_cookie("session", "secret")
        return response

    async def _count(self, request: Request) -> Response:
        left = request.path_params["left"]
        return RedirectResponse(f"/count/{left - 1}" if left else "/video", 307)

    async def _status(self, request: Request) -> Response:
        return Response(b"internal details", status_code=request.path_params["status"])

    async def _gzip(self, request: Request) -> Response:
        return Response(b"\x1f\x8b...", headers={"Content-Encoding": "gzip"})

    async def _plain(self, request: Request) -> Response:
        return Response(b"x")


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def origin(files: Files) -> Iterator[str]:
    with ThreadServer(files.app) as server:
        yield server.origin


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with open_client(
        allow_private=True, read_timeout=5, headers={"Authorization": "Bearer s3cret", "X-Key": "k"}
    ) as client:
        yield client


async def fetch(client: httpx2.AsyncClient, url: str, max_bytes: int = 10**6) -> bytes:
    async with download(client, url, max_bytes=max_bytes) as file:
        return b"".join([chunk async for chunk in file.chunks])


async def test_file_comes_with_its_type_and_size(client: httpx2.AsyncClient, origin: str) -> None:
    async with download(client, f"{origin}/video", max_bytes=len(VIDEO)) as file:
        assert (file.content_type, file.size) == ("video/mp4", len(VIDEO))
        assert b"".join([chunk async for chunk in file.chunks]) == VIDEO


async def test_file_without_type_and_size(client: httpx2.AsyncClient, origin: str) -> None:
    async with download(client, f"{origin}/undeclared", max_bytes=len(VIDEO)) as file:
        assert file.size is None
        assert b"".join([chunk async for chunk in file.chunks]) == VIDEO
    async with download(client, f"{origin}/plain", max_bytes=1) as file:
        assert file.content_type == "application/octet-stream"


async def test_file_need_not_be_read_to_its_end(client: httpx2.AsyncClient, origin: str) -> None:
    async with download(client, f"{origin}/undeclared", max_bytes=len(VIDEO)) as file:
        async for chunk in file.chunks:
            assert chunk
            break
    assert await fetch(client, f"{origin}/video") == VIDEO


@pytest.mark.parametrize("path", ["video", "undeclared"])
async def test_file_over_the_limit_is_too_large(
    client: httpx2.AsyncClient, origin: str, path: str
) -> None:
    with pytest.raises(TooLarge, match=f"{len(VIDEO) - 1} bytes"):
        await fetch(client, f"{origin}/{path}", len(VIDEO) - 1)


async def test_declared_size_over_the_limit_is_refused_unread(
    client: httpx2.AsyncClient, origin: str
) -> None:
    with pytest.raises(TooLarge):
        async with download(client, f"{origin}/video", max_bytes=len(VIDEO) - 1):
            pytest.fail("The block must not run.")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(client: httpx2.AsyncClient, origin: str, status: int) -> None:
    assert await fetch(client, f"{origin}/to?url=/video&status={status}") == VIDEO


async def test_redirects_are_counted(client: httpx2.AsyncClient, origin: str) -> None:
    assert await fetch(client, f"{origin}/count/4") == VIDEO
    with pytest.raises(DownloadFailed, match="redirects too often"):
        await fetch(client, f"{origin}/count/5")


async def test_same_origin_keeps_credentials(
    client: httpx2.AsyncClient, files: Files, origin: str
) -> None:
    await fetch(client, f"{origin}/to?url=/video")
    headers = files.headers("/video")
    assert (headers["authorization"], headers["x-key"]) == ("Bearer s3cret", "k")
    assert headers["cookie"] == "session=secret"


async def test_other_origin_gets_no_credentials_nor_does_the_first_one_again(
    client: httpx2.AsyncClient, files: Files, origin: str
) -> None:
    others = Files()
    with ThreadServer(others.app) as other:
        await fetch(client, f"{origin}/to?url={other.origin}/to?url={origin}/video")
    for headers in (others.headers("/to"), files.headers("/video")):
        assert {"authorization", "cookie", "x-key"}.isdisjoint(headers)


async def test_other_origin_gets_no_credentials_when_it_redirects_to_itself(
    client: httpx2.AsyncClient, origin: str
) -> None:
    others = Files()
    with ThreadServer(others.app) as other:
        await fetch(client, f"{origin}/to?url={other.origin}/to?url={other.origin}/video")
    for _, headers in others.seen:
        assert {"authorization", "cookie", "x-key"}.isdisjoint(headers)
    assert [path for path, _ in others.seen] == ["/to", "/video"]


async def test_other_origin_gets_no_signature(files: Files, origin: str) -> None:
    others = Files()
    auth = httpx2.BasicAuth("user", "password")
    with ThreadServer(others.app) as other:
        async with open_client(allow_private=True, auth=auth) as client:
            await fetch(client, f"{origin}/to?url={other.origin}/video")
    assert "authorization" in files.headers("/to")
    assert "authorization" not in others.headers("/video")


async def test_client_by_itself_follows_no_redirect(
    client: httpx2.AsyncClient, files: Files, origin: str
) -> None:
    assert (await client.get(f"{origin}/to?url=/video")).status_code == 302
    assert [path for path, _ in files.seen] == ["/to"]


FORBIDDEN_TARGETS = [
    "http://169.254.169.254/metadata/instance",
    "http://168.63.129.16/machine",
    "http://[fd00:ec2::254]/latest/meta-data",
    "http://[::ffff:169.254.169.254]/",
    "http://0.0.0.0:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("target", FORBIDDEN_TARGETS)
async def test_redirect_to_a_forbidden_address_is_refused(
    client: httpx2.AsyncClient, origin: str, listener: Listener, dialled: list[Any], target: str
) -> None:
    with pytest.raises(ForbiddenAddress):
        await fetch(client, f"{origin}/to?url={target.format(port=listener.port)}")
    assert not listener.was_reached
    assert [f"http://{host}:{port}" for host, port, *_ in dialled] == [origin]


async def test_redirect_to_a_name_with_a_forbidden_address_is_refused(
    client: httpx2.AsyncClient, origin: str, names: Names, dialled: list[Any]
) -> None:
    names.define("innocent.example", ["169.254.169.254"])
    with pytest.raises(ForbiddenAddress, match=r"innocent\.example"):
        await fetch(client, f"{origin}/to?url=http://innocent.example/")
    assert len(dialled) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "https://2130706433:{port}/"]
)
async def test_forbidden_first_address_is_refused(listener: Listener, url: str) -> None:
    async with open_client(allow_private=False) as client:
        with pytest.raises(ForbiddenAddress):
            await fetch(client, url.format(port=listener.port))
    assert not listener.was_reached


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 404, 500, 503])
async def test_other_status_fails_without_passing_the_answer_on(
    client: httpx2.AsyncClient, origin: str, status: int
) -> None:
    with pytest.raises(DownloadFailed, match=f"status {status}") as raised:
        await fetch(client, f"{origin}/status/{status}")
    assert (raised.value.status, raised.value.code) == (502, "provider_unavailable")
    assert "internal details" not in raised.value.detail


async def test_compressed_file_is_refused(client: httpx2.AsyncClient, origin: str) -> None:
    with pytest.raises(DownloadFailed, match="compressed"):
        await fetch(client, f"{origin}/gzip")


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://127.0.0.1:x/", "", "/video", "file:///etc/passwd", "data:,x"]
)
async def test_url_that_is_none_is_refused(client: httpx2.AsyncClient, url: str) -> None:
    with pytest.raises(ForbiddenAddress, match="URL"):
        await fetch(client, url)


@pytest.mark.parametrize("path", ["video", "undeclared"])
async def test_client_with_a_limit_reads_no_longer_answer(origin: str, path: str) -> None:
    async with open_client(allow_private=True, max_body_bytes=len(VIDEO)) as client:
        assert (await client.get(f"{origin}/{path}")).content == VIDEO
    async with open_client(allow_private=True, max_body_bytes=len(VIDEO) - 1) as client:
        with pytest.raises(AnswerTooLarge, match=f"{len(VIDEO) - 1} bytes"):
            await client.get(f"{origin}/{path}")
        with pytest.raises(httpx2.DecodingError):
            await client.get(f"{origin}/gzip")


async def test_unreachable_server_fails(client: httpx2.AsyncClient, unused_port: int) -> None:
    with pytest.raises(DownloadFailed, match="cannot be reached"):
        await fetch(client, f"http://{LOOPBACK}:{unused_port}/")


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answers one request with whatever bytes the function sends."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def run() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                answer(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://{LOOPBACK}:{server.getsockname()[1]}/"
        thread.join(LIMIT_SECONDS)
        assert not thread.is_alive()


def sender(data: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(data)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", "broke"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "broke"),
        (b"", "broke"),
    ],
)
async def test_broken_answer_fails(client: httpx2.AsyncClient, data: bytes, complaint: str) -> None:
    with raw_server(sender(data)) as url, pytest.raises(DownloadFailed, match=complaint):
        await fetch(client, url)


@pytest.mark.parametrize(
    "location", [b"http://[::1", b"/" + b"x" * 9000, b"https:///x", b"mailto:a@b"]
)
async def test_redirect_to_no_url_is_refused(client: httpx2.AsyncClient, location: bytes) -> None:
    answer = sender(
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"
    )
    with raw_server(answer) as url, pytest.raises(ForbiddenAddress, match="no URL of a host"):
        await fetch(client, url)


async def test_server_that_stops_in_the_middle_fails() -> None:
    finished = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        finished.wait()

    with raw_server(answer) as url:
        async with open_client(allow_private=True, read_timeout=0.05) as client:
            with pytest.raises(DownloadFailed, match="too slow"):
                await fetch(client, url)
        finished.set()
