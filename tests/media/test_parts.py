"""Pictures, PDFs and texts in messages of `chat_completion`, and ``media://`` in OpenAI's parts."""

from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Response

from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.errors import NotFound
from shared.media_parts import MediaParts, files
from shared.services import Services
from shared.settings import load_settings
from shared.storage import formats, new_id
from tests.conftest import MakeClient, StandIn, ThreadServer
from tests.media.conftest import Api
from tests.media.support import WAV, png

PDF = b"%PDF-1.7\n%%EOF\n"
TEXT = "Grüße aus dem Süden".encode()
PNG_URL = f"data:image/png;base64,{b64encode(png()).decode()}"
PDF_URL = f"data:application/pdf;base64,{b64encode(PDF).decode()}"


async def store(api: Api, content: bytes, content_type: str = "", name: str = "") -> str:
    headers = {"Content-Type": content_type or "application/octet-stream"}
    response = await api.http.post(
        "/media", content=content, headers=headers, params={"name": name}
    )
    assert response.status_code == 201, response.text
    media_id: str = response.json()["id"]
    return media_id


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


def sent(stand_in: StandIn) -> Any:
    """Returns the parts that the provider was sent."""
    return stand_in.bodies()[-1]["messages"][-1]["content"]


@pytest.fixture
def files_server() -> Iterator[str]:
    """A server of files; its origin."""
    app = FastAPI()

    @app.get("/fox.png")
    def picture() -> Response:
        return Response(png(), media_type="image/png")

    @app.get("/notes")
    def notes() -> Response:
        return Response(TEXT, media_type="text/markdown")

    @app.get("/page")
    def page() -> Response:
        return Response(b"\x00\x01", media_type="text/html")

    with ThreadServer(app) as server:
        yield server.origin


@pytest.fixture
def fetching(
    make_client: MakeClient, environment: dict[str, str], browser: httpx2.AsyncClient
) -> Api:
    """An app that may fetch from this machine."""
    settings = environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}
    return Api(make_client(settings), browser)


async def test_stored_files_are_sent_as_the_provider_takes_them(
    api: Api, stand_in: StandIn
) -> None:
    picture = await store(api, png())
    report = await store(api, PDF, name="report.pdf")
    notes = await store(api, TEXT, "text/plain", "notes.md")
    messages = user(
        {"type": "text", "text": "Look"},
        {"type": "image", "media_id": picture},
        {"type": "file", "media_id": report},
        {"type": "file", "media_id": notes},
        {"type": "file", "media_id": picture},
    )
    await api.call("chat_completion", messages=messages)
    shown = {"type": "image_url", "image_url": {"url": PNG_URL}}
    assert sent(stand_in) == [
        {"type": "text", "text": "Look"},
        shown,
        {"type": "file", "file": {"filename": "report.pdf", "file_data": PDF_URL}},
        {"type": "text", "text": f"File notes.txt:\n\n{TEXT.decode()}"},
        shown,
    ]


async def test_references_in_parts_of_openai_are_replaced_and_their_other_fields_stay(
    local_api: Api, stand_in: StandIn
) -> None:
    link = f"media://{await store(local_api, png())}"
    report = f"media://{await store(local_api, PDF, name='report.pdf')}"
    elsewhere = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = user(
        {"type": "image_url", "image_url": {"url": link, "detail": "low"}},
        {"type": "file", "file": {"file_data": report}},
        {"type": "file", "file": {"file_id": link}},
        elsewhere,
    )
    await local_api.call("chat_completion", messages=messages)
    assert sent(stand_in) == [
        {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}},
        {"type": "file", "file": {"filename": "report.pdf", "file_data": PDF_URL}},
        {"type": "image_url", "image_url": {"url": PNG_URL}},
        elsewhere,
    ]


async def test_urls_are_fetched_and_data_urls_are_read(
    fetching: Api, files_server: str, stand_in: StandIn
) -> None:
    messages = user(
        {"type": "image", "url": f"{files_server}/fox.png"},
        {"type": "file", "url": f"{files_server}/notes"},
        {"type": "image", "url": PNG_URL},
        {"type": "file", "url": "data:text/csv,a%2Cb"},
    )
    await fetching.call("chat_completion", messages=messages)
    assert sent(stand_in) == [
        {"type": "image_url", "image_url": {"url": PNG_URL}},
        {"type": "text", "text": f"File notes.txt:\n\n{TEXT.decode()}"},
        {"type": "image_url", "image_url": {"url": PNG_URL}},
        {"type": "text", "text": "File file.txt:\n\na,b"},
    ]
    assert await fetching.ids() == []


@pytest.mark.parametrize(
    ("part", "field", "complaint"),
    [
        ({"type": "image"}, "", "Give media_id or url, and not both"),
        ({"type": "image", "media_id": "a", "url": "b"}, "", "Give media_id or url, and not both"),
        ({"type": "image", "media_id": 1}, ".media_id", "Must be a string"),
        ({"type": "image", "id": "a"}, ".id", "There is no field of this name"),
        ({"type": "image", "url": "https://127.0.0.1/a"}, ".url", "127.0.0.1"),
        ({"type": "image", "url": "http://example.com/a"}, ".url", "https://"),
        ({"type": "image", "url": "data:image/png;base64,?"}, ".url", "malformed"),
        ({"type": "image", "url": PDF_URL}, ".url", "this is application/pdf; give a PNG, JPEG"),
        ({"type": "file", "url": "data:,%00"}, ".url", "called text/plain, but its bytes are not"),
        (
            {"type": "file", "url": "data:audio/wav;base64," + b64encode(WAV).decode()},
            ".url",
            "this is audio/wav; give a picture, a PDF or a text",
        ),
    ],
)
async def test_part_that_cannot_be_sent_is_named(
    local_api: Api, stand_in: StandIn, part: dict[str, Any], field: str, complaint: str
) -> None:
    status, code, errors = await local_api.refuse("chat_completion", messages=user(part))
    assert (status, code) == (422, "invalid_request")
    [error] = errors
    assert error["loc"] == ["body", f"messages.0.content.0{field}"]
    assert complaint in error["msg"]
    assert stand_in.requests() == []


async def test_url_whose_server_fails_or_lies_is_named(fetching: Api, files_server: str) -> None:
    for path, complaint in (("none", "status 404"), ("page", "this is text/html")):
        part = {"type": "file", "url": f"{files_server}/{path}"}
        status, _, [error] = await fetching.refuse("chat_completion", messages=user(part))
        assert (status, error["loc"][1]) == (422, "messages.0.content.0.url")
        assert complaint in error["msg"]


@pytest.mark.parametrize("media_id", ["0" * 44, "nonsense"])
@pytest.mark.parametrize("form", ["media_id", "media://"])
async def test_unknown_medium_is_not_found(local_api: Api, media_id: str, form: str) -> None:
    part: dict[str, Any] = {"type": "image", "media_id": media_id}
    if form == "media://":
        part = {"type": "image_url", "image_url": {"url": f"media://{media_id}"}}
    status, code, detail = await local_api.refuse("chat_completion", messages=user(part))
    assert (status, code) == (404, "not_found")
    assert detail.startswith("messages.0.content.0.")


async def test_files_that_are_too_large_are_named(local_api: Api, stand_in: StandIn) -> None:
    text = await store(local_api, b"a" * (files.MAX_TEXT_BYTES + 1), "text/plain")
    messages = user({"type": "file", "media_id": text})
    status, _, [error] = await local_api.refuse("chat_completion", messages=messages)
    assert (status, error["loc"][1]) == (422, "messages.0.content.0.media_id")
    assert f"at most {files.MAX_TEXT_BYTES} are taken" in error["msg"]
    pdf = await store(local_api, PDF + bytes(files.MAX_TOTAL_BYTES // 2))
    messages = user(*[{"type": "file", "media_id": pdf}] * 2)
    status, _, [error] = await local_api.refuse("chat_completion", messages=messages)
    assert status == 422
    assert "together" in error["msg"]
    assert stand_in.requests() == []


@pytest.fixture
async def parts(environment: dict[str, str]) -> AsyncIterator[tuple[MediaParts, str]]:
    """The files of messages, and the id of a stored picture of ann's."""
    services = Services.make(load_settings(environment))
    media_id = new_id()
    await services.media.save("ann", media_id, png(), formats.PNG)
    context = CallContext(Principal("ann", frozenset()), Deadline.after(20))
    async with context.scope():
        yield services.media_parts, media_id
    await services.aclose()


async def test_references_in_inputs_of_responses_are_replaced(
    parts: tuple[MediaParts, str],
) -> None:
    media_parts, media_id = parts
    link = f"media://{media_id}"
    fields = {
        "model": "m",
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": link, "detail": "low"}],
            },
            {"type": "function_call_output", "output": [{"type": "input_file", "file_url": link}]},
            {"role": "user", "content": "plain"},
        ],
    }
    assert await media_parts.replace_references("ann", fields) == {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": PNG_URL, "detail": "low"}],
            },
            {
                "type": "function_call_output",
                "output": [{"type": "input_image", "image_url": PNG_URL}],
            },
            {"role": "user", "content": "plain"},
        ]
    }


@pytest.mark.parametrize("fields", [{}, {"messages": "x"}, {"input": [1, {"content": [None, {}]}]}])
async def test_fields_without_references_do_not_change(
    parts: tuple[MediaParts, str], fields: dict[str, Any]
) -> None:
    assert await parts[0].replace_references("ann", fields) == {}


async def test_medium_of_another_principal_is_not_found(parts: tuple[MediaParts, str]) -> None:
    media_parts, media_id = parts
    content = [{"type": "image_url", "image_url": {"url": f"media://{media_id}"}}]
    with pytest.raises(NotFound, match=r"messages\.0\.content\.0\.image_url"):
        await media_parts.replace_references("bob", {"messages": [{"content": content}]})
