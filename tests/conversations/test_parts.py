"""Messages with pictures, PDFs and texts: sent to the model, stored by reference, sent again later."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Response

from shared.media_parts import ImagePart, MediaParts, files
from shared.services import Services
from shared.settings import load_settings
from shared.storage import Operation
from tests.conftest import KEY, MakeClient, StandIn, ThreadServer
from tests.media.support import png

PDF = b"%PDF-1.7\n%%EOF\n"
SHOWN = {
    "type": "image_url",
    "image_url": {"url": f"data:image/png;base64,{b64encode(png()).decode()}"},
}


@pytest.fixture
def api(make_client: MakeClient, stored_environment: dict[str, str]) -> httpx2.AsyncClient:
    return make_client(stored_environment)


async def store(api: httpx2.AsyncClient, content: bytes, name: str = "") -> str:
    response = await api.post("/media", content=content, params={"name": name})
    media_id: str = response.json()["id"]
    return media_id


def shown(media_id: str) -> list[dict[str, Any]]:
    """Returns what the model is sent of the picture: its id, for tools, and itself."""
    return [{"type": "text", "text": f"[media_id: {media_id}]"}, SHOWN]


async def ask(api: httpx2.AsyncClient, message: Any, **fields: Any) -> dict[str, Any]:
    response = await api.post("/chat", json={"message": message, "tools": "none", **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def contents(stand_in: StandIn) -> list[Any]:
    """Returns what the users' messages of the last request hold."""
    messages = stand_in.bodies()[-1]["messages"]
    return [message["content"] for message in messages if message["role"] == "user"]


async def test_picture_is_sent_shown_in_the_conversation_and_sent_again_with_the_next_message(
    api: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    picture = await store(api, png(), "fox.png")
    text = {"type": "text", "text": "What is this?"}
    answer = await ask(api, [text, {"type": "image", "media_id": picture}])
    assert contents(stand_in) == [[text, *shown(picture)]]
    conversation = (await api.get(f"/conversations/{answer['conversation_id']}")).json()
    assert conversation["title"] == "What is this?"
    said = conversation["messages"][0]
    assert said["content"] == "What is this?"
    assert said["parts"] == [
        text,
        {
            "type": "image",
            "media_id": picture,
            "name": "fox.png",
            "content_type": "image/png",
            "size_bytes": len(png()),
        },
    ]
    await ask(api, "And now?", conversation_id=answer["conversation_id"])
    assert contents(stand_in) == [[text, *shown(picture)], "And now?"]


async def test_model_is_told_of_a_medium_that_was_deleted_meanwhile(
    api: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    picture = await store(api, png(), "fox.png")
    answer = await ask(api, [{"type": "image", "media_id": picture}])
    assert answer["conversation_id"]
    await api.delete(f"/media/{picture}")
    await ask(api, "And now?", conversation_id=answer["conversation_id"])
    gone = "[The picture fox.png that was here has been deleted.]"
    assert contents(stand_in) == [[{"type": "text", "text": gone}], "And now?"]


@pytest.fixture
def fetching(make_client: MakeClient, environment: dict[str, str]) -> httpx2.AsyncClient:
    """An app that may fetch from this machine."""
    return make_client(environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"})


@pytest.fixture
def file_url() -> Iterator[str]:
    """The URL of a picture that its server gives out once."""
    app, asked = FastAPI(), []

    @app.get("/red fox.png")
    def picture() -> Response:
        asked.append(1)
        return Response(png(), 200 if len(asked) == 1 else 410, media_type="image/png")

    with ThreadServer(app) as server:
        yield f"{server.origin}/red%20fox.png"


async def test_what_a_url_leads_to_is_stored_so_that_later_messages_can_be_answered(
    fetching: httpx2.AsyncClient, stand_in: StandIn, file_url: str
) -> None:
    answer = await ask(fetching, [{"type": "image", "url": file_url}])
    [stored] = (await fetching.get("/media")).json()["media"]
    assert (stored["name"], stored["content_type"]) == ("red-fox", "image/png")
    conversation = (await fetching.get(f"/conversations/{answer['conversation_id']}")).json()
    [part] = conversation["messages"][0]["parts"]
    assert (part["media_id"], conversation["title"]) == (stored["id"], "red-fox.png")
    await ask(fetching, "And now?", conversation_id=answer["conversation_id"])
    assert contents(stand_in) == [shown(stored["id"]), "And now?"]


async def test_without_storage_a_medium_cannot_be_named(make_client: MakeClient) -> None:
    settings = {
        "MCP_API_KEY": KEY,
        "WEBSITE_SITE_NAME": "app",
        "WEBSITE_HOSTNAME": "app.example",
        "OPENAI_BASE_URL": "https://provider.example",
    }
    client = make_client(settings)
    response = await client.post(
        "/chat", json={"message": [{"type": "image", "media_id": "0" * 44}], "tools": "none"}
    )
    assert (response.status_code, response.json()["code"]) == (503, "not_configured")
    assert "AZURE_STORAGE_ACCOUNT_URL" in response.json()["detail"]


async def test_without_storage_what_a_url_leads_to_is_sent_and_not_kept(
    environment: dict[str, str],
) -> None:
    services = Services.make(load_settings(environment))
    parts = MediaParts(services.media, services.downloads, is_storing=False)
    message = [ImagePart(type="image", url=SHOWN["image_url"]["url"])]  # type: ignore[index]
    [prepared] = await parts.prepare("ann", message, Operation.begin(), "message")
    assert (prepared.content, prepared.stored.media_id) == ([SHOWN], None)
    await parts.keep("ann", [prepared])
    assert (await services.media.list("ann", None, 10, None)).records == ()
    await services.aclose()


async def test_run_whose_picture_does_not_fit_the_history_is_left_out(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    api = make_client(environment | {"CHAT_MAX_HISTORY_TOKENS": "1400"})
    picture = await store(api, png())
    answer = await ask(api, [{"type": "image", "media_id": picture}])
    await ask(api, "And now?", conversation_id=answer["conversation_id"])
    assert contents(stand_in) == ["And now?"]


async def test_older_files_are_left_out_where_all_together_are_too_large(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    api = make_client(environment)
    half = files.MAX_TOTAL_BYTES // 2
    first = await store(api, PDF + bytes(half), "first.pdf")
    second = await store(api, PDF + bytes(half), "second.pdf")
    answer = await ask(api, [{"type": "file", "media_id": first}])
    await ask(
        api, [{"type": "file", "media_id": second}], conversation_id=answer["conversation_id"]
    )
    [[older], [_, newer]] = contents(stand_in)
    left_out = "[The file first.pdf that was here is left out: the files are too large together.]"
    assert older == {"type": "text", "text": left_out}
    assert newer["file"]["filename"] == "second.pdf"


async def test_repeat_with_a_key_stores_a_fetched_picture_once(
    fetching: httpx2.AsyncClient, file_url: str
) -> None:
    body = {"message": [{"type": "image", "url": file_url}], "tools": "none"}
    answers = [
        (await fetching.post("/chat", json=body, headers={"Idempotency-Key": "k"})).json()
        for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len((await fetching.get("/media")).json()["media"]) == 1


async def test_user_s_chat_takes_parts_too(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    api = make_client(environment)
    picture = await store(api, png())
    body = {"message": [{"type": "image", "media_id": picture}]}
    response = await api.post("/api/default/chat", json=body)
    assert response.status_code == 200, response.text
    assert contents(stand_in) == [shown(picture)]


@pytest.mark.parametrize(
    ("message", "field", "complaint"),
    [
        ("", "message", "Must not be empty"),
        ("  ", "message", "Must not be blank"),
        (1, "message", "Give a text, or a list of parts"),
        ([], "message", "Must not be empty"),
        ([{"type": "text", "text": "a"}] * 51, "message", "at most 50 items"),
        ([{"type": "audio"}], "message.0", "'text', 'image' or 'file'"),
        (["a"], "message.0", "'text', 'image' or 'file'"),
        ([{"type": "text", "text": ""}], "message.0.text", "Must not be empty"),
        ([{"type": "text", "text": "a"}, {"type": "image"}], "message.1", "media_id or url"),
        ([{"type": "image", "url": "https://10.0.0.1/"}], "message.0.url", "10.0.0.1"),
    ],
)
@pytest.mark.parametrize("path", ["/chat", "/api/default/chat"])
async def test_wrong_message_is_named(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    path: str,
    message: Any,
    field: str,
    complaint: str,
) -> None:
    response = await make_client(environment).post(path, json={"message": message})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    [error] = response.json()["errors"]
    assert ".".join(map(str, error["loc"])) == f"body.{field}"
    assert complaint in error["msg"]
    assert stand_in.requests() == []


async def test_medium_of_another_caller_is_not_found_and_nothing_is_begun(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    api = make_client(environment)
    response = await api.post(
        "/chat", json={"message": [{"type": "image", "media_id": "0" * 44}], "tools": "none"}
    )
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert response.json()["detail"].startswith("message.0.media_id: ")
    assert (await api.get("/conversations")).json()["conversations"] == []
    assert stand_in.requests() == []


async def test_sampling_and_format_reach_the_provider_in_every_turn(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    fields = {
        "temperature": 0.5,
        "max_output_tokens": 1000,
        "reasoning_effort": "low",
        "json_schema": schema,
    }
    client = make_client(environment)
    response = await client.post("/chat", json={"message": "server_time please", **fields})
    assert response.status_code == 200, response.text
    first, second = stand_in.bodies()
    for body in (first, second):
        assert body["temperature"] == 0.5
        assert body["max_completion_tokens"] == 1000
        assert body["reasoning_effort"] == "low"
        assert body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema},
        }


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"json_schema": "x"}, "json_schema"),
    ],
)
async def test_wrong_options_are_named(
    make_client: MakeClient, environment: dict[str, str], fields: dict[str, Any], field: str
) -> None:
    response = await make_client(environment).post("/chat", json={"message": "a", **fields})
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == ["body", field]
