"""One key, one payment: repeats, races, mistakes, and results that are shown again."""

import asyncio
import json
from base64 import b64encode
from typing import Any

import httpx2
import pytest
from pytest_mock import MockerFixture

from shared.errors import StorageUnavailable
from shared.storage import FolderStore, ObjectInfo
from shared.timing import Timing
from tests.conftest import MakeClient, StandIn, digest
from tests.media.conftest import Api
from tests.media.support import png, without_links
from tests.waiting import until

CALLS: dict[str, dict[str, Any]] = {
    "/tools/chat_completion": {"prompt": "hi"},
    "/tools/generate": {"prompt": "hi"},
    "/tools/generate_image": {"prompt": "A hill", "size": "32x32", "n": 2},
    "/tools/synthesize_speech": {"text": "Hello", "response_format": "wav"},
    "/tools/generate_video": {"prompt": "A hill"},
    "/chat": {"message": "Hello"},
}


@pytest.mark.parametrize("path", CALLS)
async def test_repeat_returns_the_first_result_and_is_not_paid(
    api: Api, stand_in: StandIn, path: str
) -> None:
    headers = {"Idempotency-Key": "order 66"}
    first = await api.http.post(path, json=CALLS[path], headers=headers)
    paid = len(stand_in.requests())
    again = await api.http.post(path, json=CALLS[path], headers=headers)
    assert first.status_code == again.status_code in (200, 202)
    assert without_links(again.json()) == without_links(first.json())
    assert len(stand_in.requests()) == paid


@pytest.mark.parametrize("path", CALLS)
async def test_key_with_another_request_is_a_mistake(
    local_api: Api, stand_in: StandIn, path: str
) -> None:
    headers = {"Idempotency-Key": "k"}
    await local_api.http.post(path, json=CALLS[path], headers=headers)
    paid = len(stand_in.requests())
    other_body = {**CALLS[path], "model": "other"}
    other_tool = ("/tools/generate", {"prompt": "something else"})
    for other_path, body in ((path, other_body), other_tool):
        response = await local_api.http.post(other_path, json=body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (409, "idempotency_mismatch")
        assert "retry-after" not in response.headers
    assert len(stand_in.requests()) == paid


async def test_of_many_at_once_one_pays_and_all_get_its_result(api: Api, stand_in: StandIn) -> None:
    headers = {"Idempotency-Key": "k"}
    stand_in.fault(delay=0.3)
    results = await asyncio.gather(
        *(api.call("generate_image", headers, prompt="A hill") for _ in range(20))
    )
    assert len({json.dumps(without_links(each), sort_keys=True) for each in results}) == 1
    assert len(stand_in.requests()) == 1
    assert await api.ids() == [results[0]["media"][0]["id"]]


async def test_repeat_that_cannot_wait_gets_409_with_retry_after(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    browser: httpx2.AsyncClient,
) -> None:
    headers = {"Idempotency-Key": "k"}
    patient = Api(make_client(environment), browser)
    hurried = make_client(environment | {"REQUEST_DEADLINE_SECONDS": "1.5"})
    stand_in.fault(delay=4)
    first = asyncio.create_task(patient.call("generate_image", headers, prompt="A hill"))
    await until(stand_in.requests)
    second = await hurried.post("/tools/generate_image", json={"prompt": "A hill"}, headers=headers)
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    assert int(second.headers["retry-after"]) > 0
    result = await first
    third = await hurried.post("/tools/generate_image", json={"prompt": "A hill"}, headers=headers)
    assert without_links(third.json()) == without_links(result)
    assert len(stand_in.requests()) == 1


@pytest.mark.parametrize("path", CALLS)
async def test_failure_is_not_kept(local_api: Api, stand_in: StandIn, path: str) -> None:
    headers = {"Idempotency-Key": "k"}
    stand_in.fault(status=400, message="No")
    refused = await local_api.http.post(path, json=CALLS[path], headers=headers)
    assert refused.status_code == 400
    again = await local_api.http.post(path, json=CALLS[path], headers=headers)
    assert again.status_code in (200, 202)


async def test_keys_of_two_principals_are_two_keys(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    keys = {"API_KEYS": json.dumps({"a": digest("a-key"), "b": digest("b-key")})}
    client = make_client(environment | keys, {})
    for key in ("a-key", "b-key"):
        headers = {"Idempotency-Key": "k", "X-Api-Key": key}
        response = await client.post("/tools/generate", json={"prompt": key}, headers=headers)
        assert response.status_code == 200
    assert len(stand_in.requests()) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "t\tab"])
async def test_malformed_key_is_named(local_api: Api, stand_in: StandIn, key: str) -> None:
    response = await local_api.http.post(
        "/tools/generate", json={"prompt": "hi"}, headers={"Idempotency-Key": key}
    )
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert "idempotency key" in response.json()["detail"]
    assert stand_in.requests() == []


async def test_caller_who_leaves_finds_the_picture_later(api: Api, stand_in: StandIn) -> None:
    stand_in.fault(delay=2)
    # The client of these tests runs the app in its own task, so that cancelling cancels the app's work.
    caller = asyncio.create_task(api.http.post("/tools/generate_image", json={"prompt": "A hill"}))
    await until(stand_in.requests)
    caller.cancel()
    await asyncio.wait({caller})
    assert caller.cancelled()
    await until(api.ids)
    assert len(stand_in.requests()) == 1


async def test_remembered_result_has_fresh_links(
    make_client: MakeClient, stored_environment: dict[str, str], browser: httpx2.AsyncClient
) -> None:
    api = Api(make_client(stored_environment | {"MEDIA_URL_TTL_SECONDS": "1"}), browser)
    headers = {"Idempotency-Key": "k"}
    body = {"message": "Draw a picture of a hill", "tools": ["generate_image"]}
    first = (await api.http.post("/chat", json=body, headers=headers)).json()
    url = first["tool_calls"][0]["result"]["media"][0]["url"]
    await until(lambda: api.open(url), lambda answer: answer.status_code != 200)
    again = (await api.http.post("/chat", json=body, headers=headers)).json()
    fresh = again["tool_calls"][0]["result"]["media"][0]["url"]
    assert fresh != url
    assert url in first["answer"]
    assert again["answer"] == first["answer"].replace(url, fresh)
    assert (await api.open(fresh)).status_code == 200


@pytest.mark.parametrize(
    "urls",
    [["a", "e", "i"], ["http://a"], [5], [["a"]], [None]],
    ids=["texts", "other", "number", "list", "null"],
)
async def test_answer_that_names_texts_as_links_is_repeated_as_it_was(
    local_api: Api, stand_in: StandIn, urls: list[Any]
) -> None:
    media = (await local_api.http.post("/media", content=png())).json()
    named = [{**media, "url": url} for url in urls]
    stand_in.fault(text=json.dumps({"media": named, "text": "aei http://a" * 100}))
    body = {"prompt": "hi", "json_mode": True}
    headers = {"Idempotency-Key": "k"}
    first = await local_api.http.post("/tools/chat_completion", json=body, headers=headers)
    again = await local_api.http.post("/tools/chat_completion", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()


async def test_links_that_replace_links_are_not_replaced_again(
    local_api: Api, stand_in: StandIn
) -> None:
    media = (await local_api.http.post("/media", content=png())).json()
    short = [f"://{media['id']}{end}" for end in ("", ".p", ".png")]
    named = [{**media, "url": url} for url in short]
    stand_in.fault(text=json.dumps({"media": named, "text": " ".join(short * 20)}))
    body = {"prompt": "hi", "json_mode": True}
    headers = {"Idempotency-Key": "k"}
    await local_api.http.post("/tools/chat_completion", json=body, headers=headers)
    again = await local_api.http.post("/tools/chat_completion", json=body, headers=headers)
    shown = json.loads(again.json()["text"]) if "text" in again.json() else again.json()
    fresh = shown["media"][0]["url"]
    assert shown["text"] == " ".join([fresh] * 60)


async def test_answer_that_names_many_media_costs_a_bounded_number_of_reads(
    local_api: Api, stand_in: StandIn, mocker: MockerFixture
) -> None:
    media = (await local_api.http.post("/media", content=png())).json()
    ids = [f"{number:044x}" for number in range(1000)]
    named = [{**media, "id": id_, "url": f"https://other.example/{id_}"} for id_ in ids]
    stand_in.fault(text=json.dumps({"media": [*named, media]}))
    body = {"prompt": "hi", "json_mode": True}
    headers = {"Idempotency-Key": "k"}
    first = await local_api.http.post("/tools/chat_completion", json=body, headers=headers)
    reads = mocker.spy(FolderStore, "read")
    again = await local_api.http.post("/tools/chat_completion", json=body, headers=headers)
    assert without_links(again.json()["parsed"]) == without_links(first.json()["parsed"])
    assert reads.call_count <= 110


async def test_slow_work_keeps_its_lease(
    make_client: MakeClient,
    stored_environment: dict[str, str],
    browser: httpx2.AsyncClient,
    stand_in: StandIn,
) -> None:
    # Blob Storage tells the age of what it stores in whole seconds.
    short = Timing(lease=2, renewal=0.1)
    api = Api(make_client(stored_environment, own_timing=short), browser)
    stand_in.fault(delay=4)
    headers = {"Idempotency-Key": "k"}
    results = await asyncio.gather(
        *(api.call("generate_image", headers, prompt="A hill") for _ in range(3))
    )
    assert len({each["media"][0]["id"] for each in results}) == 1
    assert len(stand_in.requests()) == 1


async def test_repeat_finds_what_came_in_another_format_than_asked_for(
    make_client: MakeClient,
    environment: dict[str, str],
    browser: httpx2.AsyncClient,
    stand_in: StandIn,
    mocker: MockerFixture,
) -> None:
    local_api = Api(make_client(environment, own_timing=Timing(lease=0)), browser)
    stand_in.fault(body=f'{{"data": [{{"b64_json": "{b64encode(png()).decode()}"}}]}}')
    arguments = {"prompt": "A hill", "output_format": "webp"}
    headers = {"Idempotency-Key": "k"}
    replace = FolderStore.replace

    async def lose(self: FolderStore, *_: Any) -> ObjectInfo:
        raise StorageUnavailable("It is away.")

    mocker.patch.object(FolderStore, "replace", lose)
    first = await local_api.call("generate_image", headers, **arguments)
    mocker.patch.object(FolderStore, "replace", replace)
    again = await local_api.call("generate_image", headers, **arguments)
    assert without_links(again)["media"] == without_links(first)["media"]
    assert len(stand_in.requests()) == 1
