"""The description of the API and the pages that show it."""

import gzip
import json
import re
import sys

import httpx2
import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import MakeClient

POLICY = {
    "default-src": "'self'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "worker-src": "blob:",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
PAGES = ["/docs", "/redoc"]


@pytest.mark.parametrize("path", PAGES)
async def test_page_asks_no_other_host_and_runs_no_inline_script(
    client: httpx2.AsyncClient, path: str
) -> None:
    response = await client.get(path)
    assert (response.status_code, response.headers["content-type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    policy = dict(
        each.strip().split(" ", 1)
        for each in response.headers["content-security-policy"].split(";")
    )
    assert policy == POLICY
    loaded = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert [each for each in loaded if "//" in each] == []
    assert re.findall(r"<script(?![^>]*\bsrc=)", response.text) == []


@pytest.mark.parametrize("path", PAGES)
async def test_every_file_that_a_page_names_is_served(
    client: httpx2.AsyncClient, path: str
) -> None:
    page = (await client.get(path)).text
    files = re.findall(r'"(docs/[^"]+)"', page)
    assert len(files) >= 2
    for file in files:
        response = await client.get(f"/{file}")
        assert response.status_code == 200, file
        kind = "text/css" if file.endswith(".css") else "text/javascript"
        assert response.headers["content-type"] == f"{kind}; charset=utf-8"
        assert response.headers["cache-control"] == "public, max-age=3600"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json", "/docs/swagger-ui.css"])
async def test_what_a_browser_has_already_is_not_sent_again(
    client: httpx2.AsyncClient, path: str
) -> None:
    first = await client.get(path)
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    changed = await client.get(path, headers={"If-None-Match": '"another"'})
    assert (changed.status_code, changed.content) == (200, first.content)


async def test_large_files_are_compressed_for_clients_that_accept_it(
    client: httpx2.AsyncClient,
) -> None:
    plain = await client.get("/docs/swagger-ui.css", headers={"Accept-Encoding": "identity"})
    async with client.stream(
        "GET", "/docs/swagger-ui.css", headers={"Accept-Encoding": "gzip"}
    ) as zipped:
        raw = b"".join([piece async for piece in zipped.aiter_raw()])
    assert (plain.headers.get("content-encoding"), zipped.headers["content-encoding"]) == (
        None,
        "gzip",
    )
    assert gzip.decompress(raw) == plain.content
    assert len(raw) < len(plain.content) / 4


async def test_redoc_has_no_remote_logo(client: httpx2.AsyncClient) -> None:
    script = (await client.get("/docs/redoc.standalone.js")).text
    assert "data:image/gif" in script
    assert re.findall(r'src:"https?:', script) == []


async def test_unknown_file_of_the_pages_is_not_found(client: httpx2.AsyncClient) -> None:
    response = await client.get("/docs/..%2Fapp.py")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_pages_work_while_a_setting_is_malformed(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"CHAT_MAX_TURNS": "many"})
    for path in (*PAGES, "/docs/docs.js", "/openapi.json"):
        assert (await client.get(path)).status_code == 200
    assert (await client.get("/tools")).status_code == 503


async def test_document_is_made_on_first_use_and_once(environment: dict[str, str]) -> None:
    sys.modules.pop("fastapi_offline", None)
    api = create_app(load_settings(environment))
    assert "fastapi_offline" not in sys.modules
    transport = httpx2.ASGITransport(api)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app.example") as client:
        first = await client.get("/openapi.json")
        api.openapi_schema = {"openapi": "made again"}
        second = await client.get("/openapi.json")
    assert second.content == first.content
    assert json.loads(first.content)["info"]["title"] == "OpenAI MCP Functions"
