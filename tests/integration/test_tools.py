import asyncio
import json
import re
from typing import Any

import httpx2
import pytest

from shared.settings import SETTING_NAMES
from tests.conftest import TOOLS, MakeClient, StandIn

USAGE = {"prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"}
SERVER_TIME = r"\[MCP Server Time\] \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d \(UTC\)"


async def call(client: httpx2.AsyncClient, name: str, **arguments: Any) -> dict[str, Any]:
    response = await client.post(f"/tools/{name}", json=arguments)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    return result


async def test_list_describes_every_tool(client: httpx2.AsyncClient) -> None:
    body = (await client.get("/tools")).json()
    assert body["count"] == len(TOOLS)
    assert [tool["name"] for tool in body["tools"]] == TOOLS
    for tool in body["tools"]:
        assert set(tool) == {
            "name",
            "title",
            "description",
            "inputSchema",
            "outputSchema",
            "annotations",
            "paid",
        }
        assert tool["description"]
        assert tool["outputSchema"]["type"] == "object"
        assert all("description" in each for each in tool["inputSchema"]["properties"].values())
        assert set(tool["annotations"]) == {
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        }


async def test_tools_that_cost_money_are_not_read_only(client: httpx2.AsyncClient) -> None:
    tools = (await client.get("/tools")).json()["tools"]
    assert any(tool["paid"] for tool in tools)
    assert {
        tool["name"] for tool in tools if tool["paid"] and tool["annotations"]["readOnlyHint"]
    } == set()


async def test_openapi_documents_every_tool(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = document["paths"]
    assert {path for path in paths if path.startswith("/tools/")} == {
        *(f"/tools/{name}" for name in TOOLS),
        "/tools/{name}",
    }
    operation = paths["/tools/generate"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/GenerateArguments"}
    assert {"200", "401", "422", "429", "502", "503", "504"} <= set(operation["responses"])


async def test_openapi_documents_both_ways_in_which_a_medium_comes(
    client: httpx2.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/media/{media_id}"]["get"]["responses"]
    assert {"200", "206", "302", "416"} <= set(responses)
    file = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    assert responses["200"]["content"] == responses["206"]["content"] == file
    assert set(responses["206"]["headers"]) == {"Content-Range"}
    assert set(responses["302"]["headers"]) == {"Location"}
    error = {"schema": {"$ref": "#/components/schemas/ErrorBody"}}
    assert responses["416"]["content"] == {"application/json": error}


async def test_openapi_says_how_to_authenticate(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "apiKey"}
    operations = {
        operation["operationId"]: operation["security"]
        for path in document["paths"].values()
        for operation in path.values()
    }
    assert {name for name, security in operations.items() if not security} == {
        "health",
        "mcp_oauth_callback",
    }
    assert operations["chat"] == [{"bearer": []}, {"apiKey": []}]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/server_time"), ("POST", "/tools/server_time")]
)
async def test_server_time_proves_where_it_comes_from(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path)
    assert response.status_code == 200
    assert set(response.json()) == {"server_time"}
    assert re.fullmatch(SERVER_TIME, response.json()["server_time"])


async def test_chat_completion_answers_a_prompt(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    result = await call(client, "chat_completion", prompt="Say hello", system_prompt="Be brief")
    assert set(result) == {"text", "parsed", "model", "finish_reason", "usage"}
    assert "Say hello" in result["text"]
    assert (result["parsed"], result["model"], result["finish_reason"]) == (
        None,
        "gpt-6-luna",
        "stop",
    )
    assert set(result["usage"]) == USAGE
    (body,) = stand_in.bodies()
    assert body == {
        "model": "gpt-6-luna",
        "messages": [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Say hello"},
        ],
    }


async def test_chat_completion_passes_every_parameter_on(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    await call(
        client,
        "chat_completion",
        messages=messages,
        model="gpt-other",
        json_mode=True,
        temperature=0.5,
        top_p=0.9,
        max_tokens=50,
        stop=["END"],
        seed=7,
        reasoning_effort="low",
        metadata={"k": "v"},
    )
    (body,) = stand_in.bodies()
    assert body == {
        "model": "gpt-other",
        "messages": messages,
        "response_format": {"type": "json_object"},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 50,
        "stop": ["END"],
        "seed": 7,
        "reasoning_effort": "low",
        "metadata": {"k": "v"},
    }


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (SCHEMA, {"name": "answer", "schema": SCHEMA}),
        (
            {"name": "person", "schema": SCHEMA, "strict": True},
            {"name": "person", "schema": SCHEMA, "strict": True},
        ),
    ],
)
async def test_answer_by_schema_is_parsed(
    client: httpx2.AsyncClient, stand_in: StandIn, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    result = await call(client, "chat_completion", prompt="Who?", json_schema=given)
    assert result["parsed"] == json.loads(result["text"])
    assert set(result["parsed"]) == {"name"}
    (body,) = stand_in.bodies()
    assert body["response_format"] == {"type": "json_schema", "json_schema": sent}


async def test_answer_that_is_cut_has_nothing_parsed(client: httpx2.AsyncClient) -> None:
    result = await call(client, "chat_completion", prompt="a b c", json_mode=True, max_tokens=2)
    assert (result["finish_reason"], result["parsed"]) == ("length", None)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
        ({"prompt": "a", "temperature": True}, "temperature"),
        ({"prompt": "a", "temperature": "1"}, "temperature"),
        ({"prompt": "a", "seed": 1.5}, "seed"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "colour": "red"}, "colour"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "b"}]}, "messages"),
    ],
)
async def test_bad_argument_answers_422_and_names_the_field(
    client: httpx2.AsyncClient, stand_in: StandIn, arguments: dict[str, Any], field: str
) -> None:
    response = await client.post("/tools/chat_completion", json=arguments)
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    assert response.json()["errors"][0]["loc"][:2] == ["body", field]
    assert stand_in.requests() == []


async def test_generate_passes_extra_on(client: httpx2.AsyncClient, stand_in: StandIn) -> None:
    result = await call(client, "generate", prompt="Hi", extra={"top_k": 3, "temperature": 0.1})
    assert set(result) == {"text", "model", "finish_reason"}
    (body,) = stand_in.bodies()
    assert body == {
        "model": "gpt-6-luna",
        "messages": [{"role": "user", "content": "Hi"}],
        "top_k": 3,
        "temperature": 0.1,
    }


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
async def test_number_that_json_does_not_have_is_refused(
    client: httpx2.AsyncClient, stand_in: StandIn, number: str
) -> None:
    content = f'{{"prompt": "Hi", "extra": {{"x": [{number}]}}}}'
    headers = {"Content-Type": "application/json"}
    response = await client.post("/tools/generate", content=content, headers=headers)
    assert response.status_code in (400, 422), response.text
    assert response.json()["code"] == "invalid_request"
    assert stand_in.requests() == []


@pytest.mark.parametrize("taken", ["messages", "model", "stream"])
async def test_extra_cannot_take_over_the_request(client: httpx2.AsyncClient, taken: str) -> None:
    response = await client.post("/tools/generate", json={"prompt": "Hi", "extra": {taken: 1}})
    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"type": "value_error", "loc": ["body", "extra"], "msg": f"must not contain {taken}"}
    ]


async def test_configured_temperature_is_sent_where_the_caller_gives_none(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | {"OPENAI_TEMPERATURE": "0.2"})
    await call(client, "generate", prompt="Hi")
    await call(client, "chat_completion", prompt="Hi", temperature=0)
    await client.post("/chat", json={"message": "Hi", "tools": "none"})
    assert [body["temperature"] for body in stand_in.bodies()] == [0.2, 0, 0.2]


def model_row(model: str, shutdown_date: str | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "configured": True,
        "provider": "compatible",
        "model": model,
        "deployment": None,
        "available": True,
        "shutdown_date": shutdown_date,
        "days_left": None,
        "warning": None,
    } | changes


async def test_models_are_listed_with_their_end(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | {"OPENAI_TRANSCRIPTION_MODEL": "gone-1"})
    result, again = await asyncio.gather(
        call(client, "list_supported_models"), call(client, "list_supported_models")
    )
    assert isinstance(result["audio"].pop("days_left"), int)
    audio = model_row("gpt-4o-mini-tts", "2027-01-06")
    del audio["days_left"]
    # There is one from 60 days before on.
    del audio["warning"], result["audio"]["warning"]
    assert result == {
        "chat": model_row("gpt-6-luna"),
        "image": model_row("gpt-image-2.5-flare"),
        "audio": audio,
        "transcription": model_row("gone-1", available=False),
        "video": model_row("stand-in-video"),
    }
    assert again["chat"] == result["chat"]
    assert [request["path"] for request in stand_in.requests()] == ["/v1/models"]


async def test_models_of_a_failing_provider_are_unknown_not_unavailable(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    stand_in.fault(status=500, times=9)
    result = await call(client, "list_supported_models")
    assert result["chat"] == model_row("gpt-6-luna", available=None)


async def test_provider_without_shutdown_dates_gives_null(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    row = {"id": "gpt-6-luna", "object": "model", "created": 0, "owned_by": "x"}
    stand_in.fault(body=json.dumps({"object": "list", "data": [row]}))
    result = await call(client, "list_supported_models")
    assert result["chat"] == model_row("gpt-6-luna")


async def test_google_lists_its_models_under_a_prefix(
    client: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    row = {"id": "models/gpt-6-luna", "object": "model", "owned_by": "google"}
    stand_in.fault(body=json.dumps({"object": "list", "data": [row]}))
    result = await call(client, "list_supported_models")
    assert result["chat"]["available"] is True


@pytest.mark.parametrize("path", ["/tools/chat_completion", "/tools/generate", "/chat"])
async def test_without_a_provider_the_settings_are_named(
    make_client: MakeClient, path: str
) -> None:
    client = make_client({"MCP_API_KEY": "k"}, {"X-Api-Key": "k"})
    body = {"message": "hi"} if path == "/chat" else {"prompt": "hi"}
    response = await client.post(path, json=body)
    assert response.status_code == 503
    assert response.json()["code"] == "not_configured"
    for setting in ("OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "GEMINI_API_KEY"):
        assert setting in response.json()["detail"]
    assert setting in SETTING_NAMES


@pytest.mark.parametrize("tool", ["chat_completion", "generate"])
async def test_half_of_a_character_is_replaced(
    client: httpx2.AsyncClient, stand_in: StandIn, tool: str
) -> None:
    message = '{"role": "assistant", "content": "half: \\ud83d"}'
    choice = f'{{"index": 0, "finish_reason": "stop", "message": {message}}}'
    stand_in.fault(body=f'{{"object": "chat.completion", "model": "m", "choices": [{choice}]}}')
    assert (await call(client, tool, prompt="Hi"))["text"] == "half: \ufffd"
