"""Pictures and clips under /v1: stored as the tools' are, once for each idempotency key."""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from shared.app import create_app
from shared.auth import Guard, KeyAuthenticator
from shared.openai_service import OpenAIService
from shared.routes.errors import install_error_handlers
from shared.routes.middleware import RequestMiddleware
from shared.routes.v1 import openai_router
from shared.services import Services
from shared.settings import load_settings
from tests.agents import make_agent
from tests.conftest import AUTH, MakeClient, ThreadServer, digest
from tests.media.support import WAV, png
from tests.v1.conftest import Provider
from tests.v1.test_errors import error_of
from tests.v1.upstream import EVENT_STREAM, Answer
from tests.waiting import until

IMAGES, EDITS, SPEECH = "/v1/images/generations", "/v1/images/edits", "/v1/audio/speech"
PROMPT = {"model": "m", "prompt": "A hill at night"}
SAY = {"model": "m", "voice": "alloy", "input": "Hello hill", "response_format": "wav"}
KEY = {"Idempotency-Key": "order 66"}
PICTURES = [png(8, 4), png(16, 4)]
MP3 = b"ID3\x04" + bytes(range(256)) * 300


def answer(*pictures: bytes, **fields: Any) -> bytes:
    rows = [{"b64_json": b64encode(each).decode()} for each in pictures]
    return json.dumps({"created": 7, "data": rows, **fields}).encode()


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


async def media_of(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """Returns the caller's media, newest first."""
    listed = (await client.get("/media")).json()["media"]
    return [(await client.get(f"/media/{each['id']}/info")).json() for each in listed]


async def bytes_of(client: httpx2.AsyncClient, media_id: str) -> bytes:
    found = await client.get(f"/media/{media_id}")
    if found.status_code != 302:
        assert found.status_code == 200
        return found.content
    return await shown_at(client, found.headers["location"])


async def shown_at(client: httpx2.AsyncClient, link: str) -> bytes:
    """Returns what a browser gets at a link, which has no key."""
    own = "http://localhost:7071"
    if link.startswith(own):
        found = await client.get(link.removeprefix(own), headers={"Authorization": ""})
        if found.status_code == 302:
            return await shown_at(client, found.headers["location"])
    else:
        async with httpx2.AsyncClient(timeout=60) as browser:
            found = await browser.get(link)
    assert found.status_code == 200
    return found.content


@pytest.fixture
def gateway(
    make_client: MakeClient, stored_environment: dict[str, str], provider: Provider
) -> httpx2.AsyncClient:
    """A client of the app before the provider of given bytes, over each kind of storage."""
    return make_client(stored_environment | {"OPENAI_BASE_URL": provider.base_url})


@pytest.fixture
def local_gateway(
    make_client: MakeClient, gateway_environment: dict[str, str]
) -> httpx2.AsyncClient:
    """The same over a folder, where the storage makes no difference."""
    return make_client(gateway_environment)


@pytest.fixture
def gateway_origin(gateway_environment: dict[str, str]) -> Iterator[str]:
    with ThreadServer(create_app(load_settings(gateway_environment))) as server:
        yield server.origin


async def edit(client: httpx2.AsyncClient, **fields: str) -> httpx2.Response:
    """Sends a form; its boundary is another one each time."""
    headers = {"Idempotency-Key": fields.pop("key")} if "key" in fields else {}
    picture = ("image[]", ("a.png", png(), "image/png"))
    return await client.post(EDITS, data=fields, files=[picture], headers=headers)


async def test_pictures_come_as_the_provider_sends_them_and_are_stored(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    usage = {"input_tokens": 5, "output_tokens": 1000}
    body = answer(*PICTURES, usage=usage, x_new=[1.0])
    provider.upstream.answer = Answer([body])
    response = await gateway.post(IMAGES, json={**PROMPT, "model": "gpt-image-2.5-flare", "n": 2})
    assert (response.status_code, response.content) == (200, body)
    ids = response.headers["x-media-id"].split(",")
    stored = {each["id"]: each for each in await media_of(gateway)}
    assert set(ids) == set(stored)
    first = stored[ids[0]]
    assert (first["kind"], first["width"], first["content_type"]) == ("image", 8, "image/png")
    assert (first["prompt"], first["model"]) == (PROMPT["prompt"], "gpt-image-2.5-flare")
    assert first["tool"] == IMAGES
    cost = float(response.headers["x-cost-usd"])
    assert first["cost_usd"] == pytest.approx(cost / 2)
    assert [await bytes_of(gateway, each) for each in ids] == PICTURES


async def test_pictures_of_a_form_are_stored_too(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    body = answer(PICTURES[0])
    provider.upstream.answer = Answer([body])
    response = await edit(local_gateway, model="m", prompt="In red")
    assert response.content == body
    (stored,) = await media_of(local_gateway)
    assert (stored["id"], stored["prompt"], stored["tool"]) == (
        response.headers["x-media-id"],
        "In red",
        EDITS,
    )


@pytest.mark.parametrize("path", [IMAGES, EDITS])
async def test_links_are_those_of_the_store(
    gateway: httpx2.AsyncClient, provider: Provider, path: str
) -> None:
    provider.upstream.answer = Answer([answer(*PICTURES, usage={"input_tokens": 1})])
    asked = {"model": "m", "prompt": "A hill", "response_format": "url"}
    response = await (edit(gateway, **asked) if path == EDITS else gateway.post(IMAGES, json=asked))
    assert response.status_code == 200, response.text
    # Models of today refuse the parameter.
    assert b"response_format" not in provider.upstream.seen[0].body
    assert b"A hill" in provider.upstream.seen[0].body
    document = response.json()
    assert (document["created"], document["usage"]) == (7, {"input_tokens": 1})
    assert [list(row) for row in document["data"]] == [["url"], ["url"]]
    ids = response.headers["x-media-id"].split(",")
    for row, media_id, picture in zip(document["data"], ids, PICTURES, strict=True):
        assert media_id in row["url"]
        assert await shown_at(gateway, row["url"]) == picture


async def test_base64_with_escaped_slashes_is_stored(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    picture = png() + b"\xff\xff\xff" * 100
    body = answer(picture).replace(b"/", b"\\/")
    provider.upstream.answer = Answer([body])
    response = await local_gateway.post(IMAGES, json=PROMPT)
    assert response.content == body
    assert await bytes_of(local_gateway, response.headers["x-media-id"]) == picture


async def test_text_that_looks_like_a_picture_is_none(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    trap = f'"b64_json":"{b64encode(png()).decode()}"'
    body = answer(PICTURES[0], revised_prompt=trap)
    provider.upstream.answer = Answer([body])
    response = await local_gateway.post(IMAGES, json=PROMPT)
    assert response.content == body
    assert len(await media_of(local_gateway)) == 1


async def test_picture_that_cannot_be_stored_comes_all_the_same(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    body = answer(b"no picture", PICTURES[0])
    provider.upstream.answer = Answer([body])
    response = await local_gateway.post(IMAGES, json=PROMPT)
    assert response.content == body
    (stored,) = await media_of(local_gateway)
    assert response.headers["x-media-id"] == stored["id"]


PARTIAL = event("image_generation.partial_image", b64_json=b64encode(png(4, 4)).decode())
COMPLETED = event(
    "image_generation.completed",
    b64_json=b64encode(PICTURES[0]).decode(),
    usage={"input_tokens": 3, "output_tokens": 5},
)


async def test_streamed_picture_is_stored_when_it_is_complete(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([PARTIAL, COMPLETED], EVENT_STREAM)
    asked = {**PROMPT, "stream": True}
    response = await local_gateway.post(IMAGES, json=asked, headers=KEY)
    assert response.content == PARTIAL + COMPLETED
    media_id = response.headers["x-media-id"]
    assert await bytes_of(local_gateway, media_id) == PICTURES[0]
    again = await local_gateway.post(IMAGES, json=asked, headers=KEY)
    assert again.content == COMPLETED
    assert again.headers["x-media-id"] == media_id
    assert again.headers["content-type"].startswith(EVENT_STREAM)
    assert len(provider.upstream.seen) == 1


async def test_pictures_are_not_streamed_as_links(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    asked = {**PROMPT, "stream": True, "response_format": "url"}
    response = await local_gateway.post(IMAGES, json=asked)
    assert (response.status_code, error_of(response)["param"]) == (400, "response_format")
    assert provider.upstream.seen == []


async def test_clip_comes_as_the_provider_sends_it_and_is_stored(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([MP3[:100], MP3[100:5000], MP3[5000:]], "audio/mpeg")
    response = await gateway.post(SPEECH, json={**SAY, "model": "gpt-4o-mini-tts"})
    assert (response.content, response.headers["content-type"]) == (MP3, "audio/mpeg")
    (stored,) = await media_of(gateway)
    assert stored["id"] == response.headers["x-media-id"]
    assert (stored["kind"], stored["content_type"]) == ("audio", "audio/mpeg")
    assert (stored["prompt"], stored["model"], stored["tool"]) == (
        SAY["input"],
        "gpt-4o-mini-tts",
        SPEECH,
    )
    assert stored["cost_usd"] > 0
    assert await bytes_of(gateway, stored["id"]) == MP3


async def test_streamed_clip_is_put_together(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    pieces = [WAV[:10], WAV[10:] + bytes(1000)]
    deltas = [event("speech.audio.delta", audio=b64encode(each).decode()) for each in pieces]
    done = event("speech.audio.done", usage={"input_tokens": 1, "output_tokens": 2})
    provider.upstream.answer = Answer([*deltas, done], EVENT_STREAM)
    asked = {**SAY, "stream_format": "sse"}
    response = await local_gateway.post(SPEECH, json=asked, headers=KEY)
    assert response.content == b"".join([*deltas, done])
    assert await bytes_of(local_gateway, response.headers["x-media-id"]) == b"".join(pieces)
    again = await local_gateway.post(SPEECH, json=asked, headers=KEY)
    (delta, last) = again.content.split(b"\n\n", 1)
    audio = json.loads(delta.partition(b"data: ")[2])["audio"]
    assert b64decode(audio) == b"".join(pieces)
    assert last == done


@pytest.mark.parametrize("content_type", ["audio/mpeg", "application/json"])
async def test_answer_that_is_no_audio_is_not_stored(
    local_gateway: httpx2.AsyncClient, provider: Provider, content_type: str
) -> None:
    provider.upstream.answer = Answer([b'{"what": "else"}'], content_type)
    response = await local_gateway.post(SPEECH, json=SAY)
    assert (response.status_code, response.content) == (200, b'{"what": "else"}')
    assert "x-media-id" not in response.headers
    assert await media_of(local_gateway) == []


@pytest.mark.parametrize("path", [IMAGES, SPEECH])
async def test_media_are_stored_though_the_caller_disconnects(
    gateway_origin: str, provider: Provider, path: str
) -> None:
    body = {IMAGES: PROMPT, SPEECH: SAY}[path]
    pieces = {IMAGES: [answer(*PICTURES)], SPEECH: [MP3[:1000], MP3[1000:]]}[path]
    kind = {IMAGES: "application/json", SPEECH: "audio/mpeg"}[path]
    provider.upstream.answer = Answer(pieces, kind, pause=0.3)
    async with httpx2.AsyncClient(base_url=gateway_origin, headers=AUTH, timeout=60) as http:
        asking = asyncio.create_task(http.post(path, json=body))
        await until(lambda: provider.upstream.seen)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        async def is_stored() -> bool:
            return len(await media_of(http)) == (2 if path == IMAGES else 1)

        async with asyncio.timeout(20):
            while not await is_stored():
                await asyncio.sleep(0.05)
        (clip, *_) = await media_of(http)
        assert await bytes_of(http, clip["id"]) in (MP3, *PICTURES)
    assert not provider.upstream.disconnected


async def test_slow_reader_of_a_clip_holds_no_more_than_a_megabyte_and_gets_all_of_it(
    gateway_origin: str, provider: Provider
) -> None:
    clip = MP3 * 60
    provider.upstream.answer = Answer([clip[at : at + 65536] for at in range(0, len(clip), 65536)])
    provider.upstream.answer.content_type = "audio/mpeg"
    read = bytearray()
    async with (
        httpx2.AsyncClient(base_url=gateway_origin, headers=AUTH, timeout=60) as http,
        http.stream("POST", SPEECH, json=SAY) as response,
    ):
        async for piece in response.aiter_bytes(65536):
            await asyncio.sleep(0)
            read += piece
    assert bytes(read) == clip


CALLS: dict[str, tuple[dict[str, Any], Answer]] = {
    IMAGES: (PROMPT, Answer([answer(*PICTURES)])),
    SPEECH: (SAY, Answer([WAV, bytes(5000)], "audio/wav")),
    "/v1/chat/completions": ({"model": "m", "messages": []}, Answer([b'{ "id" : "h\xc3\xa9" }'])),
    "/v1/responses": ({"model": "m", "input": "x"}, Answer([b'{"id": "r"}'])),
}


@pytest.mark.parametrize("path", CALLS)
async def test_repeat_gets_the_first_answer_and_asks_no_provider(
    gateway: httpx2.AsyncClient, provider: Provider, path: str
) -> None:
    body, provider.upstream.answer = CALLS[path]
    first = await gateway.post(path, json=body, headers=KEY)
    again = await gateway.post(path, json=body, headers=KEY)
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    for name in ("content-type", "x-media-id", "x-provider"):
        assert again.headers.get(name) == first.headers.get(name)
    assert len(provider.upstream.seen) == 1
    assert "x-cost-usd" not in again.headers


@pytest.mark.parametrize("path", CALLS)
async def test_key_with_another_body_is_a_conflict(
    local_gateway: httpx2.AsyncClient, provider: Provider, path: str
) -> None:
    body, provider.upstream.answer = CALLS[path]
    await local_gateway.post(path, json=body, headers=KEY)
    other = await local_gateway.post(path, json={**body, "user": "x"}, headers=KEY)
    assert (other.status_code, error_of(other)["code"]) == (409, "idempotency_mismatch")
    assert error_of(other)["type"] == "invalid_request_error"
    assert len(provider.upstream.seen) == 1


async def test_form_is_the_same_with_another_boundary(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([answer(PICTURES[0])])
    first = await edit(local_gateway, key="k", model="m", prompt="In red")
    again = await edit(local_gateway, key="k", model="m", prompt="In red")
    assert again.content == first.content
    other = await edit(local_gateway, key="k", model="m", prompt="In blue")
    assert other.status_code == 409
    assert len(provider.upstream.seen) == 1


async def test_links_of_a_repeat_are_fresh(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([answer(PICTURES[0])])
    asked = {**PROMPT, "response_format": "url"}
    first = await local_gateway.post(IMAGES, json=asked, headers=KEY)
    again = await local_gateway.post(IMAGES, json=asked, headers=KEY)
    media_id = first.headers["x-media-id"]
    assert again.headers["x-media-id"] == media_id
    assert media_id in again.json()["data"][0]["url"]
    assert len(provider.upstream.seen) == 1


async def test_repeat_of_a_deleted_picture_is_not_found(
    local_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([answer(PICTURES[0])])
    first = await local_gateway.post(IMAGES, json=PROMPT, headers=KEY)
    await local_gateway.delete(f"/media/{first.headers['x-media-id']}")
    again = await local_gateway.post(IMAGES, json=PROMPT, headers=KEY)
    assert (again.status_code, error_of(again)["code"]) == (404, "not_found")


async def test_of_many_at_once_with_one_key_one_is_paid(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    provider.upstream.answer = Answer([answer(*PICTURES)], pause=0.3)
    answers = await asyncio.gather(
        *(gateway.post(IMAGES, json=PROMPT, headers=KEY) for _ in range(8))
    )
    assert {each.content for each in answers} == {answer(*PICTURES)}
    assert len(provider.upstream.seen) == 1


async def test_repeat_that_cannot_wait_is_told_when_to_come_back(
    make_client: MakeClient, gateway_environment: dict[str, str], provider: Provider
) -> None:
    provider.upstream.answer = Answer([answer(*PICTURES)], pause=3)
    patient = make_client(gateway_environment)
    hurried = make_client(gateway_environment | {"REQUEST_DEADLINE_SECONDS": "1.5"})
    first = asyncio.create_task(patient.post(IMAGES, json=PROMPT, headers=KEY))
    await until(lambda: provider.upstream.seen)
    second = await hurried.post(IMAGES, json=PROMPT, headers=KEY)
    assert (second.status_code, error_of(second)["code"]) == (409, "conflict")
    assert int(second.headers["retry-after"]) > 0
    assert (await first).status_code == 200
    assert len(provider.upstream.seen) == 1


@pytest.mark.parametrize("path", CALLS)
async def test_failure_is_not_kept(
    local_gateway: httpx2.AsyncClient, provider: Provider, path: str
) -> None:
    body, good = CALLS[path]
    provider.upstream.answer = Answer([b'{"error": {"message": "no"}}'], status=503)
    failed = await local_gateway.post(path, json=body, headers=KEY)
    assert (failed.status_code, error_of_provider(failed)) == (503, "no")
    provider.upstream.answer = good
    again = await local_gateway.post(path, json=body, headers=KEY)
    assert again.status_code == 200


def error_of_provider(response: httpx2.Response) -> str:
    message: str = response.json()["error"]["message"]
    return message


async def test_keys_of_two_principals_are_two_keys(
    make_client: MakeClient, gateway_environment: dict[str, str], provider: Provider
) -> None:
    provider.upstream.answer = Answer([answer(PICTURES[0])])
    keys = {"API_KEYS": json.dumps({"a": digest("a-key"), "b": digest("b-key")})}
    client = make_client(gateway_environment | keys, {})
    for key in ("a-key", "b-key"):
        response = await client.post(IMAGES, json=PROMPT, headers={**KEY, "X-Api-Key": key})
        assert response.status_code == 200
    assert len(provider.upstream.seen) == 2


@pytest.fixture
async def unstored_gateway(
    gateway_environment: dict[str, str],
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of /v1 where no storage is configured, as can be in Azure only."""
    settings = load_settings(gateway_environment)
    services = Services.make(load_settings({"WEBSITE_SITE_NAME": "app"}))
    openai = OpenAIService(settings)
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(
        openai_router(
            openai,
            Guard([KeyAuthenticator(settings, None, [])]),
            ping_seconds=15,
            claims=services.claims,
            media=services.media,
            downloads=services.downloads,
            agent=make_agent(settings, services),
            media_parts=services.media_parts,
        )
    )
    app.add_middleware(RequestMiddleware, deadline_seconds=20)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://app", headers=AUTH
    ) as client:
        yield client
    await openai.aclose()
    await services.aclose()


async def test_without_a_storage_the_answer_comes_as_it_is(
    unstored_gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    for path in (IMAGES, SPEECH):
        body, provider.upstream.answer = CALLS[path]
        response = await unstored_gateway.post(path, json=body)
        assert response.content == b"".join(provider.upstream.answer.pieces)
        assert "x-media-id" not in response.headers
    body, provider.upstream.answer = CALLS[IMAGES]
    asked = len(provider.upstream.seen)
    for fields, headers in (({"response_format": "url"}, {}), ({}, KEY)):
        refused = await unstored_gateway.post(IMAGES, json=body | fields, headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (503, "not_configured")
    assert len(provider.upstream.seen) == asked


async def test_clip_that_breaks_off_is_not_stored(gateway_origin: str, provider: Provider) -> None:
    provider.upstream.answer = Answer([MP3[:2000], MP3[2000:]], "audio/mpeg", breaks=True)
    async with httpx2.AsyncClient(base_url=gateway_origin, headers=AUTH, timeout=60) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.post(SPEECH, json=SAY)
        assert await media_of(http) == []


def forget_the_answer(storage: Path) -> None:
    """Leaves the only idempotency key as a run does that dies once it has stored its media."""
    (record,) = storage.rglob("idempotency/*/*.json")
    unfinished = json.loads(record.read_bytes()) | {"is_done": False, "result": None}
    record.write_text(json.dumps(unfinished))


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize("path", [IMAGES, SPEECH])
async def test_run_after_one_that_died_finds_what_that_has_stored(
    local_gateway: httpx2.AsyncClient,
    gateway_environment: dict[str, str],
    provider: Provider,
    path: str,
    links: bool,
) -> None:
    body, provider.upstream.answer = CALLS[path]
    if path == IMAGES:
        body = {**body, "n": 2} | ({"response_format": "url"} if links else {})
    elif links:
        body = {**body, "stream_format": "sse"}
    first = await local_gateway.post(path, json=body, headers=KEY)
    forget_the_answer(Path(gateway_environment["LOCAL_STORAGE_PATH"]))
    again = await local_gateway.post(path, json=body, headers=KEY)
    assert (again.status_code, len(provider.upstream.seen)) == (200, 1)
    assert again.headers["x-media-id"] == first.headers["x-media-id"]
    if path == IMAGES:
        pictures = [each.get("b64_json") or each["url"] for each in again.json()["data"]]
        ids = first.headers["x-media-id"].split(",")
        expected = ids if links else [b64encode(each).decode() for each in PICTURES]
        assert all(part in shown for part, shown in zip(expected, pictures, strict=True))
    elif links:
        assert b64encode(WAV + bytes(5000)) in again.content
        assert b"speech.audio.done" in again.content
    else:
        assert again.content == first.content
