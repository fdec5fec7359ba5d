"""Official MCP clients sign in from a bare 401, against an OAuth server in the role of Entra ID."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.app import create_app
from shared.settings import load_settings
from tests.auth.issuer import CLIENT, OWNER, TENANT
from tests.conftest import AUTH, ThreadServer
from tests.mcp.support import PROJECT, TIMEOUT, connected
from tests.node import NODE, installed
from tests.ports import free_port

pytestmark = pytest.mark.any_python

CLIENTS = Path(__file__).parent / "clients"
PUBLIC_CLIENT = "cccccccc-bbbb-cccc-dddd-eeeeeeeeeeee"
REDIRECT = "http://localhost/callback"
SDK_1 = PROJECT / ".venv-mcp1"


@dataclass
class Served:
    """The app, which has to know its address before it is made."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is not None:
            await self.app(scope, receive, send)


@pytest.fixture
def origin(environment: dict[str, str]) -> Iterator[str]:
    """Origin of an app whose tenant is an OAuth server of its own."""
    installed("oidc-provider")
    port = free_port()
    served = Served()
    with ThreadServer(served) as server:
        settings = environment | {
            "ENTRA_TENANT_ID": TENANT,
            "ENTRA_CLIENT_ID": CLIENT,
            "ENTRA_AUTHORITY": f"http://127.0.0.1:{port}",
            "PUBLIC_BASE_URL": server.origin,
        }
        served.app = create_app(load_settings(settings))
        arguments = [str(port), TENANT, CLIENT, PUBLIC_CLIENT, server.origin]
        process = subprocess.Popen(
            [NODE, str(CLIENTS / "entra.mjs"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == "listening"
            yield server.origin
        finally:
            process.terminate()
            process.communicate()


async def run(*command: str | Path) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(2 * TIMEOUT):
        output, complaints = await process.communicate()
    return process.returncode, output.decode(), complaints.decode()


@pytest.mark.parametrize(
    "program",
    [
        pytest.param([sys.executable, CLIENTS / "client.py"], id="Python SDK 2"),
        pytest.param([SDK_1 / "bin/python", CLIENTS / "client.py"], id="Python SDK 1"),
        pytest.param([NODE, CLIENTS / "client.mjs"], id="TypeScript SDK"),
    ],
)
async def test_official_client_signs_in_from_a_bare_401_and_calls_a_tool(
    origin: str, program: list[str | Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "shared")
    if not (SDK_1 / ".ready").exists():
        pytest.fail("The client of SDK 1 is not installed. Run: make .venv-mcp1/.ready")
    status, output, complaints = await run(*program, f"{origin}/mcp", PUBLIC_CLIENT, REDIRECT)
    assert status == 0, complaints
    assert json.loads(output)["server_time"].startswith("[MCP Server Time]")
    assert f'"principal": "entra:{OWNER}"' in caplog.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_client_with_a_key_is_not_asked_to_sign_in(
    origin: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "shared")
    async with connected(f"{origin}/mcp", mode, AUTH) as client:
        result = await client.call_tool("server_time", {})
    assert not result.is_error
    assert '"status": 401' not in caplog.text
    assert "oauth-protected-resource" not in caplog.text


async def test_tenant_refuses_scopes_of_another_uri_than_the_resource(origin: str) -> None:
    async with httpx2.AsyncClient(timeout=60) as client:
        path = "/.well-known/oauth-protected-resource/mcp"
        metadata = (await client.get(f"{origin}{path}")).json()
        [issuer] = metadata["authorization_servers"]
        query = {
            "client_id": PUBLIC_CLIENT,
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "resource": metadata["resource"],
            "code_challenge": "x" * 43,
            "code_challenge_method": "S256",
        }
        answers = {}
        for scope in ("tools", f"api://{CLIENT}/tools", metadata["scopes_supported"][0]):
            answer = await client.get(f"{issuer}/auth", params={**query, "scope": scope})
            answers[scope] = "AADSTS9010010" in answer.text
    assert [*answers.values()] == [True, True, False]
