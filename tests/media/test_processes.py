"""What holds when processes race, and when one is killed between any two writes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from shared.storage.blob import BlobAccount, BlobStore
from tests.conftest import AUTH, StandIn
from tests.media.app_process import running
from tests.media.kills import LEASE_PAUSE, kill_after_every_write
from tests.media.support import without_links
from tests.waiting import until

pytestmark = pytest.mark.any_python

KEY_HEADERS = {**AUTH, "Idempotency-Key": "the-only-one"}
LONG_TEXT = "All work and no play makes Jack a dull boy. " * 30

Drive = Callable[[httpx2.AsyncClient], Awaitable[list[dict[str, Any]]]]
"""Does everything that a caller does until the media are there, and returns them."""


async def post(client: httpx2.AsyncClient, tool: str, arguments: dict[str, Any]) -> Any:
    response = await until(
        lambda: client.post(f"/tools/{tool}", json=arguments),
        lambda response: response.status_code != 409,
        pause=LEASE_PAUSE,
    )
    assert response.status_code in (200, 202), response.text
    return response.json()


async def draw(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    arguments = {"prompt": "A hill", "size": "32x32", "n": 2}
    result = await post(client, "generate_image", arguments)
    media: list[dict[str, Any]] = result["media"]
    return media


async def speak(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    arguments = {"text": LONG_TEXT, "response_format": "wav"}
    return [(await post(client, "synthesize_speech", arguments))["media"]]


async def film(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    job = await post(client, "generate_video", {"prompt": "A hill", "seconds": 1})

    async def look() -> Any:
        response = await client.get(f"/videos/{job['id']}")
        assert response.status_code == 200, response.text
        return response.json()

    done = await until(look, lambda job: job["status"] == "completed", pause=LEASE_PAUSE)
    return [done["media"]]


@pytest.mark.parametrize(("drive", "objects"), [(draw, 2), (speak, 1), (film, 2)])
@pytest.mark.timeout(900)  # Some twenty rounds, each with an app of its own.
async def test_app_killed_after_any_write_leaves_one_object_and_no_broken_link(
    azurite: str, environment: dict[str, str], stand_in: StandIn, drive: Drive, objects: int
) -> None:
    run = uuid4().hex
    settings = environment | {
        "AZURE_BLOB_CONTAINER": f"media-{run}",
        "AZURE_BLOB_STATE_CONTAINER": f"state-{run}",
    }
    number = await kill_after_every_write(
        azurite, settings, KEY_HEADERS, drive, lambda client: check(client, drive)
    )
    assert number > 4
    account = BlobAccount.from_connection_string(azurite)
    stored = await BlobStore(account, settings["AZURE_BLOB_CONTAINER"]).list("", 1000)
    await account.aclose()
    assert len(stored.objects) == objects * number


async def check(client: httpx2.AsyncClient, drive: Drive) -> None:
    """Drives again and looks at what is listed and linked."""
    media = await drive(client)
    assert without_links(await drive(client)) == without_links(media)
    listed = (await client.get("/media")).json()["media"]
    assert sorted(each["id"] for each in listed) == sorted(each["id"] for each in media)
    for each in media:
        shown = await client.get(each["url"], follow_redirects=True)
        assert (shown.status_code, len(shown.content)) == (200, each["size_bytes"])
        if "thumbnail_url" in each:
            still = await client.get(each["thumbnail_url"], follow_redirects=True)
            assert still.status_code == 200


async def test_two_processes_with_one_key_pay_once(
    environment: dict[str, str], stand_in: StandIn
) -> None:
    stand_in.fault(delay=0.5)
    with ExitStack() as stack:
        origins = [stack.enter_context(running(environment)).origin for _ in range(2)]
        async with httpx2.AsyncClient(timeout=60) as client:

            async def call(number: int) -> str:
                response = await client.post(
                    f"{origins[number % 2]}/tools/generate_image",
                    json={"prompt": "A hill", "size": "32x32"},
                    headers=KEY_HEADERS,
                )
                assert response.status_code == 200, response.text
                return json.dumps(without_links(response.json()), sort_keys=True)

            results = await asyncio.gather(*(call(number) for number in range(50)))
    assert len(set(results)) == 1
    assert len(stand_in.requests()) == 1
