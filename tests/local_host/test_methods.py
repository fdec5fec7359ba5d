"""Methods that a path does not have, in the local host."""

import re
from collections.abc import Iterator
from itertools import product

import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, KEY
from tests.local_host.process import App
from tests.ports import free_port


@pytest.fixture
def origin() -> Iterator[str]:
    port = free_port()
    app = App(port, {"MCP_API_KEY": KEY})
    yield f"http://127.0.0.1:{port}"
    app.stop()


async def test_local_host_refuses_methods_as_the_application_does(origin: str) -> None:
    api = create_app(load_settings({"MCP_API_KEY": KEY}))
    templates = {each.path or "" for each in iter_route_contexts(api.routes)}
    paths = {re.sub("{[^}]*}", "unknown", each) for each in templates}
    transport = httpx2.ASGITransport(api)
    served, expected = {}, {}
    async with (
        httpx2.AsyncClient(base_url=origin, headers=AUTH) as host,
        httpx2.AsyncClient(transport=transport, base_url=origin, headers=AUTH) as direct,
    ):
        for key in product(("OPTIONS", "PROPFIND", "PUT"), sorted(paths)):
            served[key] = described(await host.request(*key))
            expected[key] = described(await direct.request(*key))
    assert {key: value for key, value in served.items() if value != expected[key]} == {}
    assert served["PUT", "/mcp"] == (405, "POST", "method_not_allowed")
    assert served["PUT", "/media"] == (405, "GET, HEAD, POST", "method_not_allowed")
    assert served["OPTIONS", "/keys"] == (405, "GET, HEAD, POST", "method_not_allowed")


def described(response: httpx2.Response) -> tuple[int, str | None, str | None]:
    is_json = "json" in response.headers["content-type"]
    code = response.json().get("code") if is_json else None
    return response.status_code, response.headers.get("allow"), code
