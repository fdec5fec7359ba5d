"""OAuth against a real authorization server, oidc-provider, which the protected server asks too."""

import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.conftest import MakeClient, ThreadServer
from tests.connections.world import make_server
from tests.node import NODE, installed
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.any_python

SCRIPT = Path(__file__).parent / "servers/authorization.mjs"
RESOURCE_SERVER = ("resource-server", "secret-of-the-resource-server")


@dataclass
class Protected:
    """An MCP server that lets in whom the authorization server vouches for.

    Attributes:
        seen: Every access token that came.
    """

    app: ASGIApp
    issuer: str = ""
    url: str = ""
    seen: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith("/.well-known/oauth-protected-resource"):
            metadata = {
                "resource": self.url,
                "authorization_servers": [self.issuer],
                "scopes_supported": ["mcp"],
            }
            await JSONResponse(metadata)(scope, receive, send)
            return
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        self.seen.append(token)
        if not await self._is_good(token):
            origin = self.url.removesuffix("/mcp")
            where = f"{origin}/.well-known/oauth-protected-resource/mcp"
            challenge = {"WWW-Authenticate": f'Bearer resource_metadata="{where}"'}
            await JSONResponse({}, 401, challenge)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _is_good(self, token: str) -> bool:
        if not token:
            return False
        async with httpx2.AsyncClient(auth=RESOURCE_SERVER, timeout=60) as client:
            answer = await client.post(f"{self.issuer}/token/introspection", data={"token": token})
        return bool(answer.json()["active"])

    def revoke(self, token: str) -> None:
        """Lets the authorization server forget a token."""
        httpx2.post(
            f"{self.issuer}/token/revocation",
            data={"token": token},
            auth=RESOURCE_SERVER,
            timeout=60,
        ).raise_for_status()


@contextmanager
def running(lifetime: int) -> Iterator[Protected]:
    """Runs a protected server and its authorization server."""
    installed("oidc-provider")
    protected = Protected(make_server().streamable_http_app())
    port = free_port()
    protected.issuer = f"http://127.0.0.1:{port}"
    with ThreadServer(protected) as server:
        protected.url = f"{server.origin}/mcp"
        process = subprocess.Popen(
            [NODE, str(SCRIPT), str(port), protected.url, str(lifetime)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == "listening"
            yield protected
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture(scope="module")
def server() -> Iterator[Protected]:
    with running(lifetime=3600) as protected:
        yield protected


@pytest.fixture
async def app(make_client: MakeClient, environment: dict[str, str]) -> httpx2.AsyncClient:
    """An app that may reach this machine's servers."""
    return make_client(environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"})


@pytest.fixture
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=60) as client:
        yield client


async def begin(app: httpx2.AsyncClient, server: Protected) -> tuple[str, str]:
    """Connects, and returns the connection's id and where its user has to go."""
    body = {"mcp_url": server.url, "auth_type": "oauth", "name": "real"}
    response = await app.post("/mcp/connect", json=body)
    assert response.status_code == 202, response.text
    return response.json()["client_id"], response.json()["authorization_url"]


async def agree(browser: httpx2.AsyncClient, url: str) -> str:
    """Follows the authorization server's pages, and returns the way back to the app."""
    for _ in range(20):
        if url.startswith("http://localhost:7071/"):
            return url.removeprefix("http://localhost:7071")
        answer = await browser.get(url)
        assert answer.status_code in (302, 303), answer.text
        url = str(answer.url.join(answer.headers["location"]))
    raise AssertionError(f"The way back to the app was not among 20 pages; the last was {url}")


async def add(app: httpx2.AsyncClient, client_id: str) -> httpx2.Response:
    body = {"client_id": client_id, "tool_name": "add", "arguments": {"a": 1, "b": 2}}
    return await app.post("/mcp/call_tool", json=body)


async def finish(app: httpx2.AsyncClient, client_id: str, back: str) -> httpx2.Response:
    """Lets the browser come back without a key, and confirms what its page shows."""
    page = await app.get(back, headers={"Authorization": ""})
    assert page.status_code == 200, page.text
    (code,) = re.findall(r"<code>(\w{8})</code>", page.text)
    return await app.post("/mcp/oauth/confirm", json={"client_id": client_id, "code": code})


async def authorize(app: httpx2.AsyncClient, browser: httpx2.AsyncClient, server: Protected) -> str:
    client_id, url = await begin(app, server)
    confirmed = await finish(app, client_id, await agree(browser, url))
    assert confirmed.status_code == 200, confirmed.text
    return client_id


async def test_user_agrees_and_the_tools_are_there(
    app: httpx2.AsyncClient, browser: httpx2.AsyncClient, server: Protected
) -> None:
    client_id, url = await begin(app, server)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert asked["code_challenge_method"] == "S256"
    assert asked["resource"] == server.url
    assert (await add(app, client_id)).status_code == 502
    back = await agree(browser, url)
    assert (await add(app, client_id)).status_code == 502
    confirmed = await finish(app, client_id, back)
    assert confirmed.json()["metadata"]["status"] == "connected"
    answer = await add(app, client_id)
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == {"result": 3}
    assert server.seen[-1] not in confirmed.text


async def test_client_credentials_need_no_user(app: httpx2.AsyncClient, server: Protected) -> None:
    response = await app.post(
        "/mcp/connect",
        json={
            "mcp_url": server.url,
            "auth_type": "oauth",
            "oauth_grant_type": "client_credentials",
            "oauth_client_id": "machine",
            "oauth_client_secret": "secret-of-the-machine",
        },
    )
    assert response.status_code == 201, response.text
    assert "secret-of-the-machine" not in response.text
    assert (await add(app, response.json()["client_id"])).json()["result"] == {"result": 3}


async def test_short_lived_token_is_refreshed(
    app: httpx2.AsyncClient, browser: httpx2.AsyncClient
) -> None:
    with running(lifetime=3) as server:
        client_id = await authorize(app, browser, server)

        async def is_refreshed() -> bool:
            assert (await add(app, client_id)).status_code == 200
            return len(set(server.seen) - {""}) == 2

        await until(is_refreshed)


async def test_revoked_token_is_replaced(
    app: httpx2.AsyncClient, browser: httpx2.AsyncClient, server: Protected
) -> None:
    client_id = await authorize(app, browser, server)
    assert (await add(app, client_id)).status_code == 200
    revoked = server.seen[-1]
    server.revoke(revoked)
    answer = await add(app, client_id)
    if answer.status_code != 200:
        # The authorization server took the refresh token back with it.
        assert answer.json()["code"] == "provider_credentials"
        assert "onnect again" in answer.json()["detail"]
        client_id = await authorize(app, browser, server)
        answer = await add(app, client_id)
    assert answer.status_code == 200
    assert server.seen[-1] != revoked


@pytest.mark.parametrize(
    ("name", "value"),
    [("state", "another"), ("iss", "https://evil.example"), ("code", "")],
)
async def test_way_back_that_was_changed_ends_nothing(
    app: httpx2.AsyncClient, browser: httpx2.AsyncClient, server: Protected, name: str, value: str
) -> None:
    client_id, url = await begin(app, server)
    path, _, query = (await agree(browser, url)).partition("?")
    fields = {key: values[0] for key, values in parse_qs(query).items()}
    assert fields["iss"] == server.issuer
    changed = urlencode({**fields, name: value})
    page = await app.get(f"{path}?{changed}", headers={"Authorization": ""})
    assert page.status_code in (400, 404)
    assert re.search("<h1>Not connected</h1>", page.text)
    assert (await add(app, client_id)).status_code == 502


async def test_code_of_another_authorization_gives_no_token(
    app: httpx2.AsyncClient, browser: httpx2.AsyncClient, server: Protected
) -> None:
    other = (await agree(browser, (await begin(app, server))[1])).partition("?")[2]
    client_id, url = await begin(app, server)
    path, _, query = (await agree(browser, url)).partition("?")
    code = parse_qs(other)["code"][0]
    changed = urlencode(
        {**{key: values[0] for key, values in parse_qs(query).items()}, "code": code}
    )
    refused = await finish(app, client_id, f"{path}?{changed}")
    assert (refused.status_code, refused.json()["code"]) == (502, "provider_credentials")
    assert (await add(app, client_id)).status_code == 502


async def test_way_back_is_good_once(
    app: httpx2.AsyncClient, browser: httpx2.AsyncClient, server: Protected
) -> None:
    client_id, url = await begin(app, server)
    back = await agree(browser, url)
    first = await finish(app, client_id, back)
    again = await app.get(back, headers={"Authorization": ""})
    assert (first.status_code, again.status_code // 100) == (200, 4)
    assert (await add(app, client_id)).status_code == 200
