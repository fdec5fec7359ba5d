"""The page at `/`: its files, their headers, and what its modules say of each other."""

import asyncio
import gzip
import re
from pathlib import Path

import httpx2
import pytest

from local.config import PROJECT
from shared.settings import load_settings
from shared.storage import media_origin
from tests.conftest import MakeClient

PAGES = PROJECT / "shared" / "pages"
IMPORTS = re.compile(r"""(?:from|import\()\s*"\./([\w-]+\.js)\"""")
FORBIDDEN = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://(?!www\.w3\.org|html\.spec|www\.rfc-editor\.org|openid\.net)"
)
MAX_LINES = {".js": 300, ".css": 480, ".html": 80, ".svg": 1}
MAX_GZIPPED_BYTES = 66_000


def own_files() -> list[Path]:
    """The files of the page; /docs, /redoc and MCP clients have theirs beside them."""
    others = {"docs.html", "docs.js", "redoc.html", "redoc.js"}
    return sorted(
        path for path in PAGES.iterdir() if path.name not in others and path.suffix != ".png"
    )


async def test_page_and_its_files_need_no_key(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment, {})
    page = await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in own_files():
        if path.suffix == ".html":
            continue
        response = await client.get(f"/pages/{path.name}")
        assert (response.status_code, response.content) == (200, path.read_bytes())
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-cache"
        again = await client.get(
            f"/pages/{path.name}", headers={"If-None-Match": response.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")


async def test_browsers_keep_the_files_of_a_page_until_one_of_them_changes(
    client: httpx2.AsyncClient,
) -> None:
    html = (await client.get("/")).text
    paths = re.findall(r'(?:src|href)="(/pages/[^"]+)"', html)
    assert len({path.rpartition("/")[0] for path in paths}) == 1
    for path in paths:
        kept = await client.get(path)
        assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert kept.content == (PAGES / path.rpartition("/")[2]).read_bytes()
    other = await client.get("/pages/of-another-deployment/app.js")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


async def test_file_that_was_sent_before_needs_no_thread(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = re.findall(r'src="(/pages/[^"]+)"', (await client.get("/")).text)[0]
    first = await client.get(path)
    # It raises where it is called.
    monkeypatch.setattr(asyncio, "to_thread", None)
    again = await client.get(path)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["cache-control"] == first.headers["cache-control"]


def test_modules_of_the_first_view_are_asked_for_at_once() -> None:
    def with_imports(name: str, found: set[str]) -> set[str]:
        if name not in found:
            found.add(name)
            lines = (PAGES / name).read_text().splitlines()
            for line in lines:
                # Not those that are imported when they are needed.
                if line.startswith(("import ", "export ", "} from")):
                    for each in IMPORTS.findall(line):
                        with_imports(each, found)
        return found

    first = with_imports("view-chat.js", with_imports("app.js", set()))
    html = (PAGES / "index.html").read_text()
    preloaded = re.findall(r'<link rel="modulepreload" href="/pages/([^"]+)">', html)
    assert sorted(preloaded) == sorted(first - {"app.js"})


async def test_unknown_file_is_not_found(client: httpx2.AsyncClient) -> None:
    for name in ("nothing.js", "..%2fapp.py", "index.html", "a/b/app.js"):
        assert (await client.get(f"/pages/{name}")).status_code == 404


async def test_policy_lets_in_the_app_itself_and_its_storage_only(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(
        environment | {"AZURE_STORAGE_ACCOUNT_URL": "https://acct.blob.example"}, {}
    )
    policy = (await client.get("/")).headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'self'",
        "img-src": "'self' blob: https://acct.blob.example",
        "media-src": "'self' blob: https://acct.blob.example",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }


@pytest.mark.parametrize(
    ("storage", "origin"),
    [
        ({}, None),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            "http://127.0.0.1:10000",
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=a2V5"},
            "https://acct.blob.core.windows.net",
        ),
        (
            {
                "AZURE_STORAGE_CONNECTION_STRING": "AccountName=acct;AccountKey=a2V5;"
                "BlobEndpoint=http://127.0.0.1:4000/acct"
            },
            "http://127.0.0.1:4000",
        ),
        (
            {
                "AZURE_STORAGE_ACCOUNT_URL": "https://acct.blob.core.windows.net",
                "AZURE_BLOB_PUBLIC_BASE_URL": "https://cdn.example/media",
            },
            "https://cdn.example",
        ),
        (
            {
                "AZURE_STORAGE_ACCOUNT_URL": "https://acct.blob.core.windows.net",
                "MEDIA_PROXY_DOWNLOADS": "true",
            },
            None,
        ),
    ],
)
def test_origin_of_media_is_that_of_their_links(
    storage: dict[str, str], origin: str | None
) -> None:
    assert media_origin(load_settings(storage)) == origin


async def test_config_tells_the_provider_and_nothing_secret(client: httpx2.AsyncClient) -> None:
    config = (await client.get("/pages/config.json")).json()
    assert set(config) == {"version", "build", "provider", "entra"}
    assert (config["provider"], config["entra"]) == ("compatible", None)


async def test_page_is_there_while_a_setting_is_malformed(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"CHAT_MAX_TURNS": "many"}, {})
    assert (await client.get("/")).status_code == 200
    assert (await client.get("/pages/app.js")).status_code == 200


def test_every_import_and_icon_is_there() -> None:
    names = {path.name for path in own_files()}
    html = (PAGES / "index.html").read_text()
    for path in own_files():
        if path.suffix == ".js":
            assert set(IMPORTS.findall(path.read_text())) <= names, path.name
    assert {
        name.rpartition("/")[2] for name in re.findall(r'(?:src|href)="(/pages/[^"]+)"', html)
    } <= names
    symbols = set(re.findall(r'<symbol id="(\w+)"', html))
    used = {
        name
        for path in own_files()
        for name in re.findall(r'icon(?:\(|: )"(\w+)"', path.read_text())
    }
    assert used <= symbols


@pytest.mark.parametrize("path", own_files(), ids=lambda path: path.name)
def test_no_file_parses_html_runs_text_or_names_another_host(path: Path) -> None:
    text = path.read_text()
    found = [
        line
        for line in text.splitlines()
        if FORBIDDEN.search(line) and "placeholder:" not in line and "startsWith(" not in line
    ]
    assert found == []
    assert "onclick=" not in text
    assert len(text.splitlines()) <= MAX_LINES[path.suffix]


def test_page_weighs_little() -> None:
    assert sum(len(gzip.compress(path.read_bytes())) for path in own_files()) <= MAX_GZIPPED_BYTES
