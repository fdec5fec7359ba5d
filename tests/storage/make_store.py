"""Writes a store with everything that the app stores, for tests that later versions still read it.

``python -m tests.storage.make_store`` writes ``tests/storage/stores/v1`` anew. Its ``store`` is a folder
store as the app of today leaves it; ``expected.json`` says what reading it answers. Once a version is
released its store is never written again: a new format gets a new folder beside it.
"""

import asyncio
import hashlib
import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from local.stand_in import VIDEO_MODEL, create_stand_in
from shared.app import create_app
from shared.settings import Settings, load_settings
from shared.storage import SharedKey, Storage
from shared.storage.links import KEY_OBJECT, LinkSigner
from shared.storage.media.objects import MediaSeals
from shared.timing import Timing
from shared.usage.rollups import RollUps
from tests.conftest import KEY, StandIn, ThreadServer, digest
from tests.connections.world import Gate, make_server
from tests.media.support import without_links

_LINK = re.compile(r"/(?:media|m)/([0-9a-f]{44})\?[\w=&%.~-]+")
STORES = Path(__file__).parent / "stores"
PRINCIPAL = "default"
BEARER = "token-of-the-mcp-server"  # pragma: allowlist secret
REPEATED = ("generate_image", {"prompt": "A red fox", "size": "32x32"}, "key-of-the-fixture")
"""A tool, its arguments and an idempotency key: a repeat of the call returns what is stored."""

ADMIN = "key-of-the-administrator"
AS_ADMIN = {"Authorization": "", "X-Api-Key": ADMIN}
GRANT = {
    "name": "ann",
    "scopes": ["tools"],
    "expires": "9998-12-31",
    "models": ["gpt-*"],
    "limits": {"requests_per_day": 1000, "usd_per_month": 100},
}

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)

FOREVER_MS = 10**12
"""The provider asks to be left alone for so long: the second video job stays as it is."""


def settings_of(folder: Path, provider: str) -> Settings:
    """Returns the settings of an app over a store."""
    return load_settings(
        {
            "MCP_API_KEY": KEY,
            "API_KEYS": json.dumps(
                {"boss": {"sha256": digest(ADMIN), "scopes": ["tools", "admin"]}}
            ),
            "OPENAI_BASE_URL": provider,
            "OPENAI_API_KEY": "sk-test",
            "OPENAI_VIDEO_MODEL": VIDEO_MODEL,
            "LOCAL_STORAGE_PATH": str(folder),
            "CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true",
        }
    )


@asynccontextmanager
async def serving(settings: Settings, timing: Timing | None = None) -> AsyncIterator[Any]:
    """An app over a store, and a client that calls it."""
    app = create_app(settings, timing)
    headers = {"Authorization": f"Bearer {KEY}"}
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://app", headers=headers) as client,
    ):
        yield app, client


async def ask(client: httpx2.AsyncClient, method: str, path: str, **options: Any) -> Any:
    """Returns the answer to a request that has to succeed."""
    response = await client.request(method, path, **options)
    if not response.is_success:
        raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
    return response.json()


async def tool(
    client: httpx2.AsyncClient, name: str, key: str | None = None, **arguments: Any
) -> Any:
    """Calls a tool."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return await ask(client, "POST", f"/tools/{name}", json=arguments, headers=headers)


async def fill_books(client: httpx2.AsyncClient) -> dict[str, Any]:
    """Stores keys, what admin changed, and usage of several principals, and says what shows them."""
    await ask(client, "POST", "/keys", json=GRANT, headers=AS_ADMIN)
    body = {"overlap_seconds": 3600}
    rotated = await ask(client, "POST", "/keys/ann/rotate", json=body, headers=AS_ADMIN)
    as_ann = {"Authorization": "", "X-Api-Key": rotated["key"]}
    prompt = {"prompt": "Hello", "max_tokens": 20}
    for _ in range(2):
        await ask(client, "POST", "/tools/generate", json=prompt, headers=as_ann)
    gone = {"name": "bob", "scopes": ["tools"]}
    bob = (await ask(client, "POST", "/keys", json=gone, headers=AS_ADMIN))["key"]
    as_bob = {"Authorization": "", "X-Api-Key": bob}
    await ask(client, "POST", "/tools/generate", json=prompt, headers=as_bob)
    for path in ("/keys/bob", "/principals/bob"):
        response = await client.delete(path, headers=AS_ADMIN)
        if response.status_code != 204:
            raise RuntimeError(f"DELETE {path}: {response.status_code} {response.text}")
    today = datetime.now(UTC).date().isoformat()
    period = f"from={today}&to={today}"
    groups = ("day", "model", "door", "tool", "principal")
    paths = [
        "/keys",
        "/changes",
        f"/usage/records?limit=1000&{period}",
        *(f"/usage?{period}&group_by={each}" for each in groups),
    ]
    return {"key": rotated["key"], "paths": paths}


async def roll_up(folder: Path) -> None:
    """Writes the roll-up of today, which housekeeping writes tomorrow."""
    storage = Storage(settings_of(folder, "http://provider"))
    tomorrow = datetime.now(UTC) + timedelta(days=1, hours=2)
    await RollUps(storage.state, lambda: tomorrow).roll_up(1)
    await storage.aclose()


async def fill(client: httpx2.AsyncClient, stand_in: StandIn, mcp_url: str) -> list[str]:
    """Stores something of each kind, and returns the paths that show it."""
    await tool(client, "add_task", title="Water the plants", description="The fern too")
    done = await tool(client, "add_task", title="Buy milk")
    await tool(client, "complete_task", task_id=done["task_id"])
    name, arguments, key = REPEATED
    image = (await tool(client, name, key, **arguments))["media"][0]["id"]
    clip = (await tool(client, "synthesize_speech", text="Hello", response_format="mp3"))["media"]
    uploaded = await ask(client, "POST", "/media?name=Fox.png", content=b"\x89PNG\r\n\x1a\n")
    video = await tool(client, "generate_video", prompt="A hill", seconds=1, size="64x48")
    while (await ask(client, "GET", f"/videos/{video['id']}"))["status"] != "completed":
        await asyncio.sleep(0.1)
    stand_in.fault(headers={"openai-poll-after-ms": str(FOREVER_MS)})
    pending = await tool(client, "generate_video", prompt="A sea", seconds=1, size="64x48")
    message = {"message": "Draw a picture of a hill", "tools": ["generate_image"]}
    chat = (await ask(client, "POST", "/chat", json=message))["conversation_id"]
    again = {"message": "Thank you", "conversation_id": chat, "tools": []}
    await ask(client, "POST", "/chat", json=again)
    connect = {"mcp_url": mcp_url, "auth_type": "bearer", "bearer_token": BEARER, "name": "notes"}
    connection = (await ask(client, "POST", "/mcp/connect", json=connect))["client_id"]
    return [
        "/conversations",
        f"/conversations/{chat}",
        "/media?limit=100",
        *(f"/media/{each}/info" for each in (image, clip["id"], uploaded["id"])),
        "/videos",
        f"/videos/{video['id']}",
        f"/videos/{pending['id']}",
        "/mcp/clients",
        f"/mcp/client/{connection}",
    ]


def stable(document: Any) -> Any:
    """Returns an answer without what each reading of it has anew: links, also those in its texts."""
    return json.loads(_LINK.sub(r"/\1", json.dumps(without_links(document))))


async def describe(client: httpx2.AsyncClient, paths: list[str], folder: Path) -> dict[str, Any]:
    """Returns what reading a store answers."""
    name, arguments, key = REPEATED
    storage = Storage(settings_of(folder, "http://provider"))
    media = (await ask(client, "GET", "/media?limit=100"))["media"]
    objects = {Path(each.name).name: each for each in (await storage.media.list("")).objects}
    files = {}
    for each in media:
        content = (await client.get(f"/media/{each['id']}")).content
        files[each["id"]] = hashlib.sha256(content).hexdigest()
    [first] = [each for each in objects if each.startswith(media[-1]["id"])]
    sealed = (await storage.media.describe(objects[first].name)).metadata["owner"]
    opened = await MediaSeals(storage).open(sealed, media[-1]["id"])
    key_signer = LinkSigner(SharedKey(storage.state, KEY_OBJECT).load, "http://app")
    assert storage.signer is not None
    assert opened is not None
    expected = {
        "answers": {path: stable(await ask(client, "GET", path)) for path in paths},
        "tasks": await tool(client, "list_tasks"),
        "repeated": stable(await tool(client, name, key, **arguments)),
        "files": files,
        "connection": paths[-1].rpartition("/")[2],
        "link": await storage.signer.sign(objects[first].name, FOREVER),
        "proxied_link": await key_signer.sign("images/a.png", FOREVER),
        "sealed": [objects[first].name, opened.model_dump(mode="json")],
    }
    await storage.aclose()
    return expected


async def make(target: Path) -> None:
    """Writes a store and what reading it answers."""
    shutil.rmtree(target, ignore_errors=True)
    folder = target / "store"
    gate = Gate(make_server("notes").streamable_http_app())
    gate.token = BEARER
    timing = Timing(longest_video_poll=FOREVER_MS / 1000)
    with ThreadServer(create_stand_in()) as provider, ThreadServer(gate) as mcp:
        stand_in = StandIn(provider.origin)
        settings = settings_of(folder, stand_in.base_url)
        async with serving(settings, timing) as (app, client):
            paths = await fill(client, stand_in, f"{mcp.origin}/mcp")
            books = await fill_books(client)
            await app.state.housekeeping.run()
            expected = await describe(client, paths, folder)
            expected["stored_key"] = books["key"]
            expected["books"] = {
                path: await ask(client, "GET", path, headers=AS_ADMIN) for path in books["paths"]
            }
        await roll_up(folder)
        stand_in.close()
    shutil.rmtree(folder / ".locks", ignore_errors=True)
    shutil.rmtree(folder / ".uploads", ignore_errors=True)
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (target / "expected.json").write_text(f"{text}\n", encoding="utf-8")


def contains(answer: Any, expected: Any) -> bool:
    """Returns whether an answer has all that is expected; later versions may say more."""
    if isinstance(expected, Mapping):
        return isinstance(answer, Mapping) and all(
            key in answer and contains(answer[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return len(answer) == len(expected) and all(map(contains, answer, expected))
    return bool(answer == expected)


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1]) if len(sys.argv) > 1 else STORES / "v1"))
