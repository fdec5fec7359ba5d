"""What can go wrong at the provider and in storage, through every media tool."""

import errno
import os
import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.timing import Timing
from tests.conftest import MakeClient, StandIn
from tests.integration.faults import FAULTS, DroppingProxy
from tests.media.conftest import Api
from tests.media.support import WAV, png, without_links
from tests.storage.azurite import blob_settings
from tests.storage.proxy import BUSY, Fault, StorageRequest, proxy_before

PAID: dict[str, dict[str, Any]] = {
    "generate_image": {"prompt": "A hill"},
    "edit_image": {"prompt": "A hill", "images": ["PICTURE"]},
    "synthesize_speech": {"text": "Hello"},
    "transcribe_audio": {"media_id": "CLIP"},
    "generate_video": {"prompt": "A hill"},
}


async def arguments_of(tool: str, client: httpx2.AsyncClient) -> dict[str, Any]:
    """Returns arguments of a tool, after storing what it takes."""
    ids: dict[str, str] = {}
    for name, content in (("PICTURE", png()), ("CLIP", WAV)):
        ids[name] = (await client.post("/media", content=content)).json()["id"]
    arguments = dict(PAID[tool])
    if "images" in arguments:
        arguments["images"] = [ids["PICTURE"]]
    if "media_id" in arguments:
        arguments["media_id"] = ids["CLIP"]
    return arguments


@pytest.fixture
def timing() -> Timing:
    return Timing(provider_backoff=0.001)


@pytest.mark.parametrize("tool", PAID)
@pytest.mark.parametrize(("fault", "status", "code", "text"), FAULTS)
async def test_fault_has_its_status_and_code_and_is_not_paid_twice(
    local_api: Api,
    stand_in: StandIn,
    tool: str,
    fault: dict[str, Any],
    status: int,
    code: str,
    text: str,
) -> None:
    arguments = await arguments_of(tool, local_api.http)
    if tool == "synthesize_speech" and fault == {"cut": "connection"}:
        arguments |= {"text": "All work and no play. " * 90, "response_format": "wav"}
    stand_in.fault(**fault)
    found_status, found_code, detail = await local_api.refuse(tool, **arguments)
    assert (found_status, found_code) == (status, code), detail
    assert text in detail
    assert "sk-leak" not in detail
    assert len(stand_in.requests()) == 1
    assert len(await local_api.ids()) == 2


@pytest.mark.parametrize("tool", PAID)
async def test_refusal_for_the_rate_is_tried_again(
    local_api: Api, stand_in: StandIn, tool: str
) -> None:
    arguments = await arguments_of(tool, local_api.http)
    stand_in.fault(status=429, headers={"Retry-After": "0"})
    await local_api.call(tool, **arguments)
    assert len(stand_in.requests()) == 2


@pytest.mark.parametrize("tool", PAID)
async def test_request_that_may_have_arrived_is_not_sent_again(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, tool: str
) -> None:
    proxy = DroppingProxy(stand_in.base_url, 99)
    async with proxy.listening() as port:
        client = make_client(environment | {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"})
        arguments = await arguments_of(tool, client)
        response = await client.post(f"/tools/{tool}", json=arguments)
    assert (response.status_code, response.json()["code"]) == (502, "provider_unavailable")
    assert proxy.connections == 1


@pytest.mark.parametrize("tool", PAID)
async def test_slow_provider_ends_with_the_deadline(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, tool: str
) -> None:
    client = make_client(environment | {"REQUEST_DEADLINE_SECONDS": "4"})
    arguments = await arguments_of(tool, make_client(environment))
    stand_in.fault(delay=20)
    response = await client.post(f"/tools/{tool}", json=arguments)
    assert (response.status_code, response.json()["code"]) == (504, "deadline_exceeded")
    assert len(stand_in.requests()) == 1


STORING = {name: PAID[name] for name in ("generate_image", "synthesize_speech", "generate_video")}


async def refused(client: httpx2.AsyncClient, stand_in: StandIn, setting: str) -> None:
    """Makes sure that storage that does not work is said so before anything is paid for."""
    for tool, arguments in STORING.items():
        for headers in ({}, {"Idempotency-Key": "k"}):
            response = await client.post(f"/tools/{tool}", json=arguments, headers=headers)
            assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
            assert setting in response.json()["detail"]
            assert "AccountKey" not in response.text
    response = await client.get("/media")
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert (await client.get("/health?deep=true")).json()["deep"]["storage"] == (
        "storage_unavailable"
    )
    paid = [request for request in stand_in.requests() if not request["path"].endswith("/models")]
    assert paid == []


async def test_storage_that_is_down_is_named(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    azurite: str,
    unused_port: int,
) -> None:
    endpoint = azurite.rsplit("BlobEndpoint=", 1)[1]
    down = azurite.replace(endpoint, f"http://127.0.0.1:{unused_port}/devstoreaccount1;")
    settings = {"LOCAL_STORAGE_PATH": "", "AZURE_STORAGE_CONNECTION_STRING": down}
    client = make_client(environment | settings, own_timing=Timing(storage_attempts=1))
    await refused(client, stand_in, "AZURE_STORAGE_CONNECTION_STRING")


async def test_storage_that_refuses_our_key_is_named(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, azurite: str
) -> None:
    key = azurite.split("AccountKey=", 1)[1].split(";", 1)[0]
    wrong = azurite.replace(key, f"{key[1:-2]}A==")
    settings = {"LOCAL_STORAGE_PATH": "", "AZURE_STORAGE_CONNECTION_STRING": wrong}
    client = make_client(environment | settings)
    await refused(client, stand_in, "AZURE_STORAGE_CONNECTION_STRING")


async def test_storage_that_never_answers_is_named(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    azurite: str,
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        endpoint = azurite.rsplit("BlobEndpoint=", 1)[1]
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}/devstoreaccount1;"
        settings = {
            "LOCAL_STORAGE_PATH": "",
            "AZURE_STORAGE_CONNECTION_STRING": azurite.replace(endpoint, slow),
        }
        hasty = Timing(storage_attempts=1, storage_timeout=0.2)
        client = make_client(environment | settings, own_timing=hasty)
        await refused(client, stand_in, "AZURE_STORAGE_CONNECTION_STRING")


async def test_folder_that_is_none_is_named(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    client = make_client(environment | {"LOCAL_STORAGE_PATH": str(file)})
    response = await client.post("/tools/generate_image", json={"prompt": "A hill"})
    assert (response.status_code, response.json()["code"]) == (503, "storage_unavailable")
    assert "LOCAL_STORAGE_PATH" in response.json()["detail"]


@pytest.mark.parametrize("tool", ["generate_image", "synthesize_speech"])
async def test_full_disk_leaves_nothing_half_written(
    local_api: Api, stand_in: StandIn, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        status, code, detail = await local_api.refuse(tool, **PAID[tool])
    assert (status, code) == (503, "storage_unavailable")
    assert "LOCAL_STORAGE_PATH" in detail
    assert "No space left" in detail
    assert await local_api.ids() == []
    assert [path for path in (tmp_path / "storage/media").rglob("*") if path.is_file()] == []
    await local_api.call(tool, **PAID[tool])
    assert len(await local_api.ids()) == 1


@pytest.mark.parametrize("tool", STORING)
async def test_storage_that_fails_for_a_moment_loses_nothing(
    make_client: MakeClient,
    environment: dict[str, str],
    azurite: str,
    stand_in: StandIn,
    browser: httpx2.AsyncClient,
    tool: str,
) -> None:
    with proxy_before(azurite) as (proxy, connection_string):
        api = Api(make_client(environment | blob_settings(connection_string)), browser)
        await api.call(tool, **STORING[tool])
        failed: set[StorageRequest] = set()

        def fail_each_write_once(request: StorageRequest) -> Fault | None:
            if not request.is_write or request in failed:
                return None
            failed.add(request)
            return BUSY

        proxy.decide = fail_each_write_once
        headers = {"Idempotency-Key": "one"}
        first = await api.call(tool, headers, **STORING[tool])
        assert len(failed) >= 2
        paid = len(stand_in.requests())
        again = await api.call(tool, headers, **STORING[tool])
    assert without_links(again) == without_links(first)
    assert len(stand_in.requests()) == paid
