"""An app whose settings have one key with the scope admin."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, digest

ADMIN = "the-key-of-the-administrator"
AS_ADMIN = {"X-Api-Key": ADMIN}
ADMIN_ENTRY = {"boss": {"sha256": digest(ADMIN), "scopes": ["tools", "chat", "admin"]}}


def admin_settings(**entries: Any) -> dict[str, str]:
    """Returns settings with the key of the administrator, and with further entries."""
    return {"MCP_API_KEY": "", "API_KEYS": json.dumps({**ADMIN_ENTRY, **entries})}


@pytest.fixture
def admin(make_client: MakeClient, stored_environment: dict[str, str]) -> httpx2.AsyncClient:
    """A client of the app over each kind of storage, with the administrator's key."""
    return make_client(stored_environment | admin_settings(), AS_ADMIN)


Create = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def create(admin: httpx2.AsyncClient) -> Create:
    """Makes a stored key and returns the answer."""

    async def make(name: str, **grant: Any) -> dict[str, Any]:
        response = await admin.post("/keys", json={"name": name, **grant})
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return make


async def status(client: httpx2.AsyncClient, key: str, path: str = "/server_time") -> int:
    """Returns the status that a key is answered with."""
    response = await client.get(path, headers={"X-Api-Key": key})
    return response.status_code
