"""The page in a real browser: one browser for each process of the tests, a tab for each test."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial

import pytest
from playwright.async_api import Browser, async_playwright, expect

from local.server import LOOPBACK
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import KEY, ThreadServer, digest
from tests.pages.chromium import find_chromium
from tests.pages.visitor import TIMEOUT_SECONDS, Visitor, visiting
from tests.ports import free_port

Visit = Callable[..., AbstractAsyncContextManager[Visitor]]

SCOPES = ["chat", "tools", "connections", "openai", "act-as", "admin"]
PLAIN_KEY = "a-key-without-rights-for-tests"


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    path, environment = find_chromium()
    expect.set_options(timeout=TIMEOUT_SECONDS * 1000)
    async with async_playwright() as playwright:
        # In containers Chromium's own sandbox is not to be had.
        browser = await playwright.chromium.launch(
            executable_path=path, env={**environment}, args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@pytest.fixture
def page_environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings of an app with an administrator's key and one that may only chat."""
    keys = {
        "admin": {"sha256": digest(KEY), "scopes": SCOPES},
        "plain": {"sha256": digest(PLAIN_KEY), "scopes": ["chat"]},
    }
    own = {name: value for name, value in environment.items() if name != "MCP_API_KEY"}
    return own | {"API_KEYS": json.dumps(keys), "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}


@pytest.fixture
def site(page_environment: dict[str, str]) -> Iterator[str]:
    """Origin of a working app behind a real HTTP server."""
    with serve(page_environment) as origin:
        yield origin


@contextmanager
def serve(environment: dict[str, str]) -> Iterator[str]:
    """Serves an app that knows its own address, to which links to media lead."""
    port = free_port()
    own = {"PUBLIC_BASE_URL": f"http://{LOOPBACK}:{port}"}
    with ThreadServer(create_app(load_settings(environment | own)), port=port) as server:
        yield server.origin


@pytest.fixture
def visit(browser: Browser, site: str) -> Visit:
    """Opens tabs of the working app."""
    return partial(visiting, browser, site)


@pytest.fixture
async def visitor(visit: Visit) -> AsyncIterator[Visitor]:
    """A tab that is signed in with the administrator's key."""
    async with visit() as visitor:
        await visitor.sign_in(KEY)
        yield visitor
