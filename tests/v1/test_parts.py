"""Parts and items that name something stored: by this app, or at the provider."""

import json
from base64 import b64encode
from typing import Any

import httpx2
import pytest

from tests.conftest import MakeClient, digest
from tests.media.support import png
from tests.v1.conftest import Provider
from tests.v1.test_errors import error_of

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
DATA = f"data:image/png;base64,{b64encode(png()).decode()}"


async def store(client: httpx2.AsyncClient) -> str:
    stored = await client.post("/media", content=png(), headers={"Content-Type": "image/png"})
    media_id: str = stored.json()["id"]
    return media_id


def body_with(path: str, *parts: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "user", "content": list(parts)}
    return {"model": "m", "messages" if path == CHAT else "input": [message], "x_new": [1]}


def picture(path: str, url: str) -> dict[str, Any]:
    if path == CHAT:
        return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    return {"type": "input_image", "image_url": url, "detail": "low"}


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_stored_picture_is_put_in_place_of_its_reference(
    gateway: httpx2.AsyncClient, provider: Provider, path: str
) -> None:
    url = f"media://{await store(gateway)}"
    text = {"type": "text", "text": "media://x"}
    response = await gateway.post(path, json=body_with(path, text, picture(path, url)))
    assert response.status_code == 200, response.text
    sent = json.loads(provider.upstream.seen[0].body)
    expected = body_with(path, text, picture(path, DATA))
    assert sent == (expected if path == CHAT else {**expected, "store": False})


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_somebody_else_s_picture_is_not_found(
    make_client: MakeClient, gateway_environment: dict[str, str], provider: Provider, path: str
) -> None:
    keys = {"API_KEYS": json.dumps({"a": digest("a-key"), "b": digest("b-key")})}
    alice, bob = (
        make_client(gateway_environment | keys, {"X-Api-Key": key}) for key in ("a-key", "b-key")
    )
    for media_id in (await store(alice), "f" * 44, "x"):
        response = await bob.post(path, json=body_with(path, picture(path, f"media://{media_id}")))
        assert (response.status_code, error_of(response)["code"]) == (404, "not_found")
    assert provider.upstream.seen == []


SKILL = {"type": "skill_reference", "skill_id": "skill_1"}
SCREENSHOT = {"type": "computer_screenshot", "file_id": "file-1"}
NAMESPACE = {
    "type": "namespace",
    "name": "docs",
    "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}],
}
CODE = {"type": "code_interpreter_call", "id": "ci_1", "code": "1 + 1", "status": "completed"}
PICTURE_CALL = {"type": "image_generation_call", "id": "ig_1", "status": "completed"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        CHAT,
        body_with(CHAT, {"type": "file", "file": {"file_id": "file-1"}}),
        "messages.0.content.0.file_id",
    ),
    (
        RESPONSES,
        body_with(RESPONSES, {"type": "input_file", "file_id": "file-1"}),
        "input.0.content.0.file_id",
    ),
    (
        RESPONSES,
        body_with(RESPONSES, {"type": "input_image", "file_id": "file-1"}),
        "input.0.content.0.file_id",
    ),
    (RESPONSES, {"model": "m", "input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
    (
        RESPONSES,
        {"model": "m", "tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        "tools.0.vector_store_ids",
    ),
    (
        RESPONSES,
        {"model": "m", "tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
        "tools.0.container",
    ),
    (
        RESPONSES,
        {"model": "m", "tools": [{"type": "shell", "environment": {"container_id": "cntr_1"}}]},
        "tools.0.environment",
    ),
    (
        RESPONSES,
        {"model": "m", "tools": [{"type": "shell", "environment": {"skills": [SKILL]}}]},
        "tools.0.environment.skills.0.skill_id",
    ),
    (
        RESPONSES,
        {
            "model": "m",
            "tools": [{"type": "image_generation", "input_image_mask": {"file_id": "file-1"}}],
        },
        "tools.0.input_image_mask.file_id",
    ),
    (
        RESPONSES,
        {"model": "m", "input": [{"type": "additional_tools", "tools": [NAMESPACE]}]},
        "input.0.tools.0.tools.0.vector_store_ids",
    ),
    (
        RESPONSES,
        {"model": "m", "input": [{"type": "computer_call_output", "output": SCREENSHOT}]},
        "input.0.output.file_id",
    ),
    (
        RESPONSES,
        {"model": "m", "input": [{"type": "shell_call", "environment": {"container_id": "c"}}]},
        "input.0.environment.container_id",
    ),
    (RESPONSES, {"model": "m", "input": [{"id": "msg_1"}]}, "input.0"),
    (RESPONSES, {"model": "m", "input": [{**PICTURE_CALL, "result": None}]}, "input.0"),
    (
        CHAT,
        {"model": "m", "messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        "messages.0.audio.id",
    ),
    (RESPONSES, {"model": "m", "prompt": {"id": "pmpt_1"}}, "prompt"),
]


@pytest.mark.parametrize(("path", "body", "param"), REFUSED)
async def test_ids_of_the_provider_are_refused(
    gateway: httpx2.AsyncClient, provider: Provider, path: str, body: dict[str, Any], param: str
) -> None:
    response = await gateway.post(path, json=body)
    error = error_of(response)
    assert (response.status_code, error["param"]) == (400, param)
    assert provider.upstream.seen == []


async def test_chat_completions_are_not_stored_at_the_provider(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    await gateway.post(CHAT, json={"model": "m", "messages": [], "store": True})
    assert json.loads(provider.upstream.seen[0].body)["store"] is False


async def test_whole_items_of_the_provider_are_let_through(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    items = [
        {"id": "msg_1", "role": "assistant", "content": "Hello"},
        {**PICTURE_CALL, "result": "iVBORw0KGgo="},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {"role": "user", "content": "Again"},
    ]
    response = await gateway.post(RESPONSES, json={"model": "m", "input": items})
    assert response.status_code == 200
    assert json.loads(provider.upstream.seen[0].body)["input"] == items


async def test_past_code_goes_on_without_its_container(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    logs = [
        {"type": "logs", "logs": "2"},
        {"type": "image", "url": "u"},
        {"type": "logs", "logs": "3"},
    ]
    items = [
        {"role": "user", "content": "Count"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {**CODE, "container_id": "cntr_1", "outputs": logs},
        {**CODE, "container_id": "cntr_1", "outputs": None},
        {**CODE, "container_id": "cntr_1", "outputs": logs[1:2]},
        {"role": "assistant", "content": "Two"},
    ]
    response = await gateway.post(RESPONSES, json={"model": "m", "input": items})
    assert response.status_code == 200
    sent = json.loads(provider.upstream.seen[0].body)["input"]
    assert "cntr_1" not in str(sent)
    assert sent[:2] + sent[-1:] == items[:2] + items[-1:]
    call, output, second, unknown, third, picture = sent[2:-1]
    code = {"type": "function_call", "name": "code_interpreter", "arguments": '{"code": "1 + 1"}'}
    for each in (call, second, third):
        assert {**code, "call_id": each["call_id"]} == each
    results = [
        (output, call, "2\n3"),
        (unknown, second, "The output was not sent back."),
        (picture, third, "The output was a picture that is no longer there."),
    ]
    for each, called, text in results:
        expected = {"type": "function_call_output", "call_id": called["call_id"], "output": text}
        assert each == expected
    assert len({each["call_id"] for each in (call, second, third)}) == 3


async def test_containers_of_one_call_are_let_through(
    gateway: httpx2.AsyncClient, provider: Provider
) -> None:
    tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
    response = await gateway.post(RESPONSES, json={"model": "m", "input": "x", "tools": tools})
    assert response.status_code == 200
    assert json.loads(provider.upstream.seen[0].body)["tools"] == tools
