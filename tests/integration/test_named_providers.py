"""Several providers side by side, for the tools and the chat."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from local.stand_in import VIDEO_MODEL, create_stand_in
from shared.timing import Timing
from tests.conftest import MakeClient, StandIn, ThreadServer
from tests.integration.log_lines import request_lines
from tests.media.support import WAV
from tests.waiting import until


@pytest.fixture
def other() -> Iterator[StandIn]:
    """A second provider."""
    with ThreadServer(create_stand_in()) as server:
        stand_in = StandIn(server.origin)
        yield stand_in
        stand_in.close()


@pytest.fixture
def timing() -> Timing:
    return Timing(longest_video_poll=0)


@pytest.fixture
def providers(environment: dict[str, str], stand_in: StandIn, other: StandIn) -> dict[str, str]:
    """Settings with two named providers beside the general one, which is the first of them."""
    named = {
        "first": {
            "base_url": stand_in.base_url,
            "models": ["main-*"],
            "fallbacks": ["second"],
        },
        "second": {"base_url": other.base_url, "models": ["spare-*"]},
    }
    return environment | {"PROVIDERS": json.dumps(named)}


@pytest.fixture
def api(make_client: MakeClient, providers: dict[str, str]) -> httpx2.AsyncClient:
    return make_client(providers)


async def call(api: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await api.post(path, json=body)
    assert response.status_code in (200, 202), response.text
    answer: dict[str, Any] = response.json()
    return answer


def models(stand_in: StandIn) -> list[str]:
    """Returns the models that a provider was asked for."""
    return [request["body"]["model"] for request in stand_in.requests() if request["body"]]


def path_line(caplog: pytest.LogCaptureFixture, path: str) -> dict[str, object]:
    """Returns the line of the only request to a route."""
    [line] = [line for line in request_lines(caplog) if line["route"] == path]
    return line


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/chat", {"message": "hi", "tools": "none"}),
    ("/tools/chat_completion", {"prompt": "hi"}),
    ("/tools/generate", {"prompt": "hi"}),
    ("/tools/generate_image", {"prompt": "hi", "size": "32x32"}),
    ("/tools/synthesize_speech", {"text": "hi", "response_format": "wav"}),
]
names = pytest.mark.parametrize(("path", "body"), CALLS, ids=[path for path, _ in CALLS])


@names
@pytest.mark.parametrize("model", ["spare-1", "second/main-1"])
async def test_model_is_asked_for_at_its_provider_which_record_and_log_name(
    api: httpx2.AsyncClient,
    stand_in: StandIn,
    other: StandIn,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: dict[str, Any],
    model: str,
) -> None:
    name = model.rpartition("/")[2]
    answer = await call(api, path, body | {"model": model})
    assert answer["model"] == name
    assert (models(stand_in), models(other)) == ([], [name])
    line = path_line(caplog, path)
    assert (line["provider"], line["model"]) == ("second", name)
    [record] = (await api.get("/usage/records")).json()["records"]
    assert (record["provider"], record["model"]) == ("second", name)


@names
async def test_model_of_no_provider_goes_to_the_general_one(
    api: httpx2.AsyncClient, stand_in: StandIn, other: StandIn, path: str, body: dict[str, Any]
) -> None:
    await call(api, path, body | {"model": "else/1"})
    assert (models(stand_in), models(other)) == (["else/1"], [])


@names
@pytest.mark.parametrize("status", [401, 429])
async def test_provider_that_refuses_is_followed_by_the_next_one_at_once(
    api: httpx2.AsyncClient,
    stand_in: StandIn,
    other: StandIn,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: dict[str, Any],
    status: int,
) -> None:
    stand_in.fault(status=status, headers={"Retry-After": "100"}, times=10)
    await call(api, path, body | {"model": "main-1"})
    assert (models(stand_in), models(other)) == (["main-1"], ["main-1"])
    assert path_line(caplog, path)["provider"] == "second"
    records = (await api.get("/usage/records")).json()["records"]
    assert [record["provider"] for record in records] == ["second", "first"]


@pytest.mark.parametrize("fault", [{"status": 500}, {"cut": "connection"}], ids=["500", "cut"])
@names
async def test_failure_that_may_be_billed_leads_to_another_provider_for_text_only(
    api: httpx2.AsyncClient,
    stand_in: StandIn,
    other: StandIn,
    path: str,
    body: dict[str, Any],
    fault: dict[str, Any],
) -> None:
    stand_in.fault(**fault, times=10)
    response = await api.post(path, json=body | {"model": "main-1"})
    is_text = path in ("/chat", "/tools/chat_completion", "/tools/generate")
    if path == "/chat" and "cut" in fault:
        # Some of the text has been sent on.
        is_text = False
    assert response.status_code == (200 if is_text else 502), response.text
    assert models(other) == (["main-1"] if is_text else [])


async def test_provider_that_cannot_be_reached_is_followed_by_the_next_one_for_pictures_too(
    make_client: MakeClient, environment: dict[str, str], other: StandIn
) -> None:
    named = {
        "first": {
            "base_url": "http://127.0.0.1:1/v1",
            "models": ["main-*"],
            "fallbacks": ["second"],
        },
        "second": {"base_url": other.base_url},
    }
    api = make_client(environment | {"PROVIDERS": json.dumps(named)})
    body = {"prompt": "hi", "size": "32x32", "model": "main-1"}
    assert (await call(api, "/tools/generate_image", body))["media"]
    assert models(other) == ["main-1"]


@names
async def test_request_that_a_provider_rejects_goes_to_no_other(
    api: httpx2.AsyncClient, stand_in: StandIn, other: StandIn, path: str, body: dict[str, Any]
) -> None:
    stand_in.fault(status=400)
    response = await api.post(path, json=body | {"model": "main-1"})
    assert (response.status_code, models(other)) == (400, [])


async def test_stream_falls_back_before_its_first_text(
    api: httpx2.AsyncClient, stand_in: StandIn, other: StandIn
) -> None:
    stand_in.fault(status=503)
    body = {"message": "hi", "tools": "none", "model": "main-1", "stream": True}
    response = await api.post("/chat", json=body)
    assert "chat.completed" in response.text
    assert models(other) == ["main-1"]


async def test_transcription_goes_to_the_provider_of_its_model(
    api: httpx2.AsyncClient, stand_in: StandIn, other: StandIn
) -> None:
    clip = (await api.post("/media", content=WAV)).json()["id"]
    await call(api, "/tools/transcribe_audio", {"media_id": clip, "model": "spare-1"})
    assert (len(stand_in.requests()), len(other.requests())) == (0, 1)


async def test_video_is_asked_about_and_copied_where_it_was_ordered(
    api: httpx2.AsyncClient, stand_in: StandIn, other: StandIn
) -> None:
    order = {"prompt": "hi", "seconds": 1, "size": "64x48", "model": f"second/{VIDEO_MODEL}"}
    job = await call(api, "/tools/generate_video", order)

    async def look() -> dict[str, Any]:
        found: dict[str, Any] = (await api.get(f"/videos/{job['id']}")).json()
        return found

    done = await until(look, lambda seen: seen["status"] == "completed")
    assert done["media"]["content_type"] == "video/webm"
    assert stand_in.requests() == []
    paths = {request["path"].rpartition("/")[2] for request in other.requests()}
    assert "content" in paths


async def test_configured_model_is_asked_for_at_its_provider(
    make_client: MakeClient, providers: dict[str, str], stand_in: StandIn, other: StandIn
) -> None:
    api = make_client(providers | {"OPENAI_CHAT_MODEL": "spare-1", "OPENAI_IMAGE_MODEL": "main-1"})
    await call(api, "/chat", {"message": "hi", "tools": "none"})
    assert (models(stand_in), models(other)) == ([], ["spare-1"])
    listed = await call(api, "/tools/list_supported_models", {})
    shown = [listed[each]["provider"] for each in ("chat", "image", "audio")]
    assert shown == ["second", "first", "compatible"]


@names
async def test_models_of_a_key_and_of_the_app_hold_at_every_provider(
    make_client: MakeClient,
    providers: dict[str, str],
    stand_in: StandIn,
    other: StandIn,
    path: str,
    body: dict[str, Any],
) -> None:
    api = make_client(providers | {"ALLOWED_MODELS": "main-1,first/main-*"})
    response = await api.post(path, json=body | {"model": "spare-1"})
    assert (response.status_code, response.json()["code"]) == (403, "model_not_allowed")
    # The fallback of a model that is allowed at its first provider only is left out.
    stand_in.fault(status=401)
    response = await api.post(path, json=body | {"model": "first/main-2"})
    assert response.status_code == 502
    assert models(other) == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "any", "messages": [{"role": "user", "content": "hi"}]}),
        ("/tools/chat_completion", {"prompt": "hi"}),
    ],
)
async def test_user_name_and_password_of_a_base_url_authenticate_in_place_of_the_key(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    path: str,
    body: dict[str, Any],
) -> None:
    base_url = stand_in.base_url.replace("://", "://ada:p%40ss@")
    api = make_client(environment | {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "k"})
    await call(api, path, body)
    [sent] = stand_in.requests()
    assert sent["headers"]["authorization"] == "Basic YWRhOnBAc3M="
