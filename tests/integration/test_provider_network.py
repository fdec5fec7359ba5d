"""What the app says where certificates, proxies or a provider's answer keep a call from working."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from local.server import LOOPBACK
from shared.outbound import pool
from shared.timing import Timing
from tests.conftest import MakeClient

DOORS = {
    "/tools/generate": {"prompt": "hi"},
    "/chat": {"message": "hi"},
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}
REFUSAL = b"HTTP/1.1 403 Sorry sk-leak\r\ncontent-length: 0\r\n\r\n"


@pytest.fixture
def timing() -> Timing:
    return Timing(provider_backoff=0.001)


@pytest.fixture
def fresh_certificates() -> Iterator[None]:
    pool._ssl_context.cache_clear()
    yield
    pool._ssl_context.cache_clear()


@asynccontextmanager
async def server_of(answer: bytes) -> AsyncIterator[int]:
    """A server that reads a little and answers each connection with the same; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _detail(
    client: MakeClient, environment: dict[str, str], door: str
) -> tuple[int, str, str]:
    response = await client(environment).post(door, json=DOORS[door])
    assert "sk-leak" not in response.text
    body = response.json()
    if "error" in body:
        return response.status_code, body["error"]["code"], body["error"]["message"]
    return response.status_code, body["code"], body["detail"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("content", [None, "", "no certificate"])
@pytest.mark.usefixtures("fresh_certificates")
async def test_certificates_that_cannot_be_loaded_are_named(
    make_client: MakeClient,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    door: str,
    content: str | None,
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    status, code, detail = await _detail(make_client, environment, door)
    assert (status, code) == (503, "not_configured")
    assert "SSL_CERT_FILE" in detail
    assert str(path) not in detail
    health = await make_client(environment).get("/health?deep=true")
    assert health.status_code == 503
    assert "SSL_CERT_FILE" in health.text


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("proxy", ["socks5://u:sk-leak@h:1", "ftp://sk-leak", "http://sk-leak:x"])
async def test_proxy_that_cannot_be_used_is_named(
    make_client: MakeClient,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    door: str,
    proxy: str,
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    status, code, detail = await _detail(make_client, environment, door)
    assert (status, code) == (503, "not_configured")
    assert "ALL_PROXY" in detail
    health = await make_client(environment).get("/health?deep=true")
    assert health.status_code == 503
    assert "ALL_PROXY" in health.text
    assert "sk-leak" not in health.text


@pytest.mark.parametrize("door", DOORS)
async def test_refusal_of_a_proxy_is_told(
    make_client: MakeClient,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    door: str,
) -> None:
    async with server_of(REFUSAL) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOOPBACK}:{port}")
        environment |= {"OPENAI_BASE_URL": "https://provider.example/v1"}
        status, code, detail = await _detail(make_client, environment, door)
    assert (status, code) == (502, "provider_unavailable")
    assert "the proxy refused with status 403. Check HTTPS_PROXY and NO_PROXY" in detail
    assert '"reason": "the proxy refused with status 403"' in caplog.text


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "answer",
    [
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"disconnected\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
    ],
    ids=["TLS", "words", "header", "length", "digits"],
)
async def test_malformed_answer_is_called_so(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    door: str,
    answer: bytes,
) -> None:
    async with server_of(answer) as port:
        environment |= {"OPENAI_BASE_URL": f"http://{LOOPBACK}:{port}/v1"}
        status, code, detail = await _detail(make_client, environment, door)
    assert (status, code) == (502, "provider_unavailable")
    assert "The provider's answer is malformed." in detail
    assert '"reason": "malformed answer"' in caplog.text


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-ty"], ids=["none", "head"])
async def test_end_of_a_connection_before_the_answer_is_called_so(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    door: str,
    answer: bytes,
) -> None:
    async with server_of(answer) as port:
        environment |= {"OPENAI_BASE_URL": f"http://{LOOPBACK}:{port}/v1"}
        status, code, _ = await _detail(make_client, environment, door)
    assert (status, code) == (502, "provider_unavailable")
    assert '"reason": "connection closed before the answer was complete"' in caplog.text


@pytest.mark.parametrize("door", DOORS)
async def test_server_without_tls_is_told_in_the_log(
    make_client: MakeClient,
    environment: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    door: str,
) -> None:
    async with server_of(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as port:
        environment |= {"OPENAI_BASE_URL": f"https://{LOOPBACK}:{port}/v1"}
        status, code, detail = await _detail(make_client, environment, door)
    assert (status, code) == (502, "provider_unavailable")
    assert "cannot be reached" in detail
    assert '"reason": "TLS failed' in caplog.text
