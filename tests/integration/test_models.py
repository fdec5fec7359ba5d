"""Which models callers may use, at every door."""

import json
from typing import Any

import httpx2
import pytest

from shared.errors import ModelNotAllowed
from shared.model_access import check_model
from tests.conftest import KEY, MakeClient, StandIn, digest

HEADERS = {"X-Api-Key": "web-key"}


def with_models(models: list[str] | None, **settings: str) -> dict[str, str]:
    entry: dict[str, Any] = {"sha256": digest("web-key"), "scopes": ["chat", "tools", "act-as"]}
    if models is not None:
        entry["models"] = models
    return {"API_KEYS": json.dumps({"web": entry}), "OPENAI_CHAT_MODEL": "gpt-6-luna", **settings}


async def generate(client: httpx2.AsyncClient, **arguments: Any) -> httpx2.Response:
    return await client.post("/tools/generate", json={"prompt": "hi", **arguments})


def call_by_mcp(client: httpx2.AsyncClient, arguments: dict[str, Any]) -> Any:
    params = {"name": "generate", "arguments": {"prompt": "hi", **arguments}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "Accept": "application/json, text/event-stream",
        "Mcp-Protocol-Version": "2025-06-18",
    }
    return client.post("/mcp", json=message, headers=headers)


@pytest.mark.parametrize(
    ("models", "setting", "model", "is_allowed"),
    [
        (None, "", "any", True),
        (["gpt-6-*"], "", "gpt-6-sol", True),
        (["gpt-6-*"], "", None, True),
        (["gpt-6-*"], "", "gpt-5", False),
        (["o*"], "", None, False),
        ([], "", None, False),
        (None, "o9, gpt-6-*", "o9", True),
        (None, "o9", None, False),
        (["gpt-*"], "*-luna", "gpt-6-luna", True),
        (["gpt-*"], "*-luna", "gpt-6-sol", False),
        (["gpt-*"], "*-luna", "o9-luna", False),
    ],
)
async def test_model_has_to_match_the_key_and_the_setting(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    models: list[str] | None,
    setting: str,
    model: str | None,
    is_allowed: bool,
) -> None:
    client = make_client(environment | with_models(models, ALLOWED_MODELS=setting), HEADERS)
    arguments = {} if model is None else {"model": model}
    response = await generate(client, **arguments)
    assert response.status_code == (200 if is_allowed else 403)
    if not is_allowed:
        assert response.json()["code"] == "model_not_allowed"
    assert len(stand_in.requests()) == is_allowed


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tools/chat_completion", {"prompt": "hi"}),
        ("/tools/generate", {"prompt": "hi"}),
        ("/tools/generate_image", {"prompt": "hi"}),
        ("/tools/synthesize_speech", {"text": "hi"}),
        ("/tools/generate_video", {"prompt": "hi"}),
        ("/chat", {"message": "hi"}),
        ("/chat", {"message": "hi", "stream": True}),
        ("/api/ada/chat", {"message": "hi"}),
    ],
)
@pytest.mark.parametrize("is_named", [False, True])
async def test_model_that_is_not_allowed_is_refused_before_anything_is_sent_or_stored(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    path: str,
    body: dict[str, Any],
    is_named: bool,
) -> None:
    client = make_client(environment | with_models(["none-of-them"]), HEADERS)
    if is_named and path != "/api/ada/chat":
        body = body | {"model": "another"}
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["code"]) == (403, "model_not_allowed")
    assert stand_in.requests() == []
    assert (await client.get("/conversations")).json()["conversations"] == []


async def test_model_that_is_not_allowed_is_refused_over_mcp(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | with_models(["gpt-6-*"]), HEADERS)
    refused = await call_by_mcp(client, {"model": "o9"})
    assert "may not be used here" in refused.text
    assert '"isError":true' in refused.text.replace(" ", "")
    assert stand_in.requests() == []
    await call_by_mcp(client, {"model": "gpt-6-sol"})
    assert [request["body"]["model"] for request in stand_in.requests()] == ["gpt-6-sol"]


async def test_tool_that_a_chat_calls_obeys_the_models_of_its_caller(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | with_models(["gpt-6-*"]), HEADERS)
    response = await client.post("/chat", json={"message": "Draw an image of a hill"})
    calls = response.json()["tool_calls"]
    assert [(call["name"], call["is_error"]) for call in calls] == [("generate_image", True)]
    assert "may not be used here" in str(calls[0]["result"])
    assert {request["path"] for request in stand_in.requests()} == {"/v1/chat/completions"}


async def test_user_may_use_what_both_the_front_end_and_the_user_may(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    keys = json.loads(with_models(["gpt-*"])["API_KEYS"])
    keys["ada"] = {"sha256": digest("ada-key"), "models": ["*-luna"]}
    client = make_client(environment | {"API_KEYS": json.dumps(keys)}, HEADERS)
    statuses = {}
    for model in ("gpt-6-luna", "gpt-6-sol", "o9-luna"):
        for user in ("ada", "bob"):
            client.headers["X-User-Id"] = user
            statuses[user, model] = (await generate(client, model=model)).status_code
    assert {named for named, status in statuses.items() if status == 200} == {
        ("ada", "gpt-6-luna"),
        ("bob", "gpt-6-luna"),
        ("bob", "gpt-6-sol"),
    }


async def test_shared_key_obeys_the_setting(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | {"ALLOWED_MODELS": "gpt-6-*"}, {"X-Api-Key": KEY})
    assert (await generate(client, model="o9")).status_code == 403


V1 = [
    ("chat/completions", {"messages": []}),
    ("responses", {"input": "hi"}),
    ("embeddings", {"input": "hi"}),
    ("images/generations", {"prompt": "hi"}),
    ("audio/speech", {"input": "hi", "voice": "alloy"}),
]


def for_openai(models: list[str], **settings: str) -> dict[str, str]:
    entry = {"sha256": digest("web-key"), "models": models}
    return {"API_KEYS": json.dumps({"web": entry}), "OPENAI_CHAT_MODEL": "gpt-6-luna", **settings}


@pytest.mark.parametrize(("path", "body"), V1)
@pytest.mark.parametrize("named", [{}, {"model": "o9"}])
async def test_model_that_is_not_allowed_is_refused_under_v1(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    path: str,
    body: dict[str, Any],
    named: dict[str, str],
) -> None:
    client = make_client(environment | for_openai(["none-of-them"]), HEADERS)
    response = await client.post(f"/v1/{path}", json=body | named)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "model_not_allowed")
    assert stand_in.requests() == []


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, None),
        ({"models": ["o9"]}, 400),
        ({"fallbacks": ["o9"]}, 400),
        ({"route": "fallback"}, 400),
        ({"tools": [{"type": "image_generation", "model": "o9"}]}, 403),
        ({"tools": [{"type": "image_generation"}]}, 400),
        ({"tools": [{"type": "image_generation", "model": "gpt-6-image"}]}, None),
        ({"tools": [{"type": "namespace", "tools": [{"type": "image_generation"}]}]}, 400),
        ({"tools": [{"type": "openrouter:advisor", "parameters": {"model": "o9"}}]}, 400),
        ({"tools": [{"type": "web_search"}, {"type": "mcp", "server_label": "a"}]}, None),
        ({"tools": [{"type": "function", "function": {"name": "model", "models": 1}}]}, None),
        ({"input": [{"type": "tool_search_output", "tools": [{"type": "image_generation"}]}]}, 400),
        ({"preset": "mine"}, 400),
        ({"plugins": [{"id": "fusion"}]}, 400),
        ({"context_window_fallbacks": [{"gpt-6-luna": ["o9"]}]}, 400),
        ({"extra_body": {"models": ["o9"]}}, 400),
        ({"providerOptions": {"gateway": {"models": ["o9"]}}}, 400),
        ({"provider": {"order": ["a"], "allow_fallbacks": False}}, None),
        ({"prompt": {"id": "pmpt_1"}}, 400),
        ({"model": "gpt-6-luna@preset/mine"}, 403),
        ({"data_sources": [{"parameters": {"embedding": {"deployment_name": "o9"}}}]}, 403),
        ({"metadata": {"model": "o9", "models": "any"}}, None),
    ],
)
async def test_fields_of_providers_name_no_other_model_under_v1(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    more: dict[str, Any],
    status: int | None,
) -> None:
    client = make_client(environment | for_openai(["gpt-6-*"]), HEADERS)
    # It refuses before it looks at the tools.
    stand_in.fault(status=418)
    message = {"role": "user", "content": "hi"}
    body = {"model": "gpt-6-luna", "messages": [message], **more}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == (status or 418), response.text
    assert len(stand_in.requests()) == (status is None)


async def test_setting_holds_for_tools_that_the_provider_runs(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    settings = environment | for_openai(["*"], ALLOWED_MODELS="gpt-6-*")
    client = make_client(settings, HEADERS)
    tool = {"type": "image_generation", "model": "o9"}
    body = {"model": "gpt-6-luna", "input": "hi", "tools": [tool]}
    response = await client.post("/v1/responses", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "model_not_allowed")
    assert stand_in.requests() == []


async def test_form_has_no_field_by_which_gateways_choose_other_models(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | for_openai(["gpt-6-*"]), HEADERS)
    files = [("file", ("a.wav", b"RIFF", "audio/wav"))]
    data = {"model": "gpt-6-luna", "fallbacks[]": "o9"}
    response = await client.post("/v1/audio/transcriptions", data=data, files=files)
    assert response.status_code == 400, response.text
    assert "'model' only" in response.text
    assert stand_in.requests() == []


@pytest.mark.parametrize("extra", [{"preset": "mine"}, {"extra_body": {"models": ["o9"]}}])
async def test_further_parameters_choose_no_other_model_for_a_limited_key(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn, extra: dict[str, Any]
) -> None:
    client = make_client(environment | with_models(["gpt-6-*"]), HEADERS)
    response = await generate(client, extra=extra)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert stand_in.requests() == []


@pytest.fixture
def two_providers(environment: dict[str, str], unused_port: int) -> dict[str, str]:
    """Settings with two named providers, of which the first cannot be reached and has a fallback."""
    providers = {
        "first": {
            "base_url": f"http://127.0.0.1:{unused_port}/v1",
            "models": ["gpt-*"],
            "fallbacks": ["second"],
        },
        "second": {"base_url": environment["OPENAI_BASE_URL"], "models": ["o9"]},
    }
    return environment | {"PROVIDERS": json.dumps(providers)}


@pytest.mark.parametrize(
    ("patterns", "model", "status"),
    [
        (["gpt-*"], "gpt-x", 200),
        (["gpt-*"], "second/gpt-x", 200),
        (["o9"], "second/o9", 200),
        (["o9"], "first/o9", 403),
        (["second/*"], "second/o9", 200),
        (["second/*"], "o9", 200),
        (["second/*"], "first/o9", 403),
        (["first/*"], "gpt-x", 502),
        (["first/*", "second/*"], "gpt-x", 200),
        (["*"], "first/o9", 200),
    ],
)
async def test_pattern_without_a_provider_allows_only_where_the_name_alone_leads(
    make_client: MakeClient,
    two_providers: dict[str, str],
    patterns: list[str],
    model: str,
    status: int,
) -> None:
    client = make_client(two_providers | for_openai(patterns), HEADERS)
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == status, response.text


async def test_model_that_a_body_names_twice_is_sent_on_as_the_one_that_was_checked(
    make_client: MakeClient, environment: dict[str, str], stand_in: StandIn
) -> None:
    client = make_client(environment | for_openai(["gpt-6-*"]), HEADERS)
    body = '{"model": "o9", "messages": [{"role": "user", "content": "hi"}], "model": "gpt-6-luna"}'
    headers = {"Content-Type": "application/json"}
    response = await client.post("/v1/chat/completions", content=body, headers=headers)
    assert response.status_code == 200, response.text
    (sent,) = stand_in.requests()
    assert sent["body"]["model"] == "gpt-6-luna"
    # The stand-in reads the last one as we do: that the first one is gone shows in the length.
    assert int(sent["headers"]["content-length"]) < len(body) - len('"model": "o9"')


@pytest.mark.parametrize(
    ("models", "status"),
    [([], 400), (["gpt-6-luna", "o9"], 400), (["o9"], 403), (["gpt-6-luna"], 200)],
)
async def test_form_names_one_model_that_the_caller_may_use(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    models: list[str],
    status: int,
) -> None:
    client = make_client(environment | for_openai(["gpt-6-*"]), HEADERS)
    files = [("file", ("a.wav", b"RIFF", "audio/wav"))]
    response = await client.post("/v1/audio/transcriptions", data={"model": models}, files=files)
    assert response.status_code == status, response.text
    assert len(stand_in.requests()) == (status == 200)


async def test_list_of_models_has_those_that_the_caller_may_use(
    make_client: MakeClient, environment: dict[str, str]
) -> None:
    client = make_client(environment | for_openai(["*-luna"]), HEADERS)
    rows = (await client.get("/v1/models")).json()["data"]
    assert [row["id"] for row in rows] == ["agent", "gpt-6-luna"]


@pytest.mark.parametrize("field", ["model", "models", "fallbacks", "route"])
async def test_further_parameters_name_no_other_model(
    client: httpx2.AsyncClient, stand_in: StandIn, field: str
) -> None:
    response = await generate(client, extra={field: ["o9"]})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    assert stand_in.requests() == []


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "", True),
        ("*", "any", True),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("a**c", "abc", True),
        ("a*b*b", "ab", False),
        ("a*bc*c", "abcc", True),
        ("gpt-6.1", "gpt-6x1", False),
        ("[ab]", "a", False),
        ("?", "a", False),
        ("a", "A", False),
        ("a" + "*a" * 90 + "b", "a" * 500_000, False),
    ],
)
def test_star_is_any_part_of_a_name_and_nothing_else_is_special(
    pattern: str, name: str, fits: bool
) -> None:
    if fits:
        check_model(name, lists=[[pattern]])
    else:
        with pytest.raises(ModelNotAllowed):
            check_model(name, lists=[[pattern]])
