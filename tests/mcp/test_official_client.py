"""The official client of SDK 2, in both eras of the protocol, against the app over HTTP."""

import json
import re
from io import BytesIO
from typing import Any

import httpx2
import jsonschema  # type: ignore[import-untyped]
import mcp_types as types
import pytest
from mcp import Client, MCPError
from PIL import Image

from shared import __version__
from tests.conftest import AUTH, TOOLS, StandIn
from tests.mcp.support import MODES, SERVER_TIME, connected
from tests.mcp.task_client import EXTENSION

ICONS = "http://localhost:7071/pages"
"""Where clients find icons: at the app's own URL, here the default."""

TRAITS = {
    "chat_completion": ("Chat completion", False, False, False, True),
    "generate": ("Generate text", False, False, False, True),
    "generate_image": ("Generate image", False, False, False, True),
    "edit_image": ("Edit image", False, False, False, True),
    "synthesize_speech": ("Synthesize speech", False, False, False, True),
    "transcribe_audio": ("Transcribe audio", False, False, False, True),
    "generate_video": ("Generate video", False, False, False, True),
    "get_video": ("Get video", False, False, True, True),
    "add_task": ("Add task", False, False, False, False),
    "list_tasks": ("List tasks", True, False, True, False),
    "complete_task": ("Complete task", False, False, True, False),
    "update_task": ("Update task", False, False, True, False),
    "delete_task": ("Delete task", False, True, True, False),
    "list_supported_models": ("List supported models", True, False, True, True),
    "server_time": ("Server time", True, False, True, False),
}
"""Every tool: title, and the hints readOnly, destructive, idempotent and openWorld."""


@pytest.fixture
async def arguments(origin: str, stand_in: StandIn) -> dict[str, dict[str, Any]]:
    """Arguments with which each tool that needs some succeeds; some take what others have stored."""
    async with httpx2.AsyncClient(base_url=f"{origin}/tools/", headers=AUTH, timeout=60) as https:
        image = await https.post("generate_image", json={"prompt": "A hill", "size": "64x64"})
        clip = await https.post(
            "synthesize_speech", json={"text": "Hello", "response_format": "wav"}
        )
        tasks = [
            (await https.post("add_task", json={"title": "Milk"})).json()["task_id"]
            for _ in range(3)
        ]
        job = await https.post("generate_video", json={"prompt": "A hill", "seconds": 1})
    return {
        "chat_completion": {"prompt": "Say hello.", "max_tokens": 10},
        "generate": {"prompt": "Say hello."},
        "generate_image": {"prompt": "A lake", "size": "64x64", "n": 2},
        "edit_image": {"prompt": "A lake", "images": [image.json()["media"][0]["id"]]},
        "synthesize_speech": {"text": "Hello."},
        "transcribe_audio": {"media_id": clip.json()["media"]["id"]},
        "generate_video": {"prompt": "A lake", "seconds": 1},
        "get_video": {"job_id": job.json()["id"]},
        "add_task": {"title": "Milk"},
        "list_tasks": {"status": "pending"},
        "complete_task": {"task_id": tasks[0]},
        "update_task": {"task_id": tasks[1], "title": "Bread"},
        "delete_task": {"task_id": tasks[2]},
    }


def text_of(result: types.CallToolResult) -> str:
    """The text of a result; links and pictures may follow."""
    content, *_ = result.content
    assert isinstance(content, types.TextContent)
    return content.text


async def test_client_ends_up_with_the_newest_revision_of_its_era(
    mcp_client: Client, mode: str
) -> None:
    assert mcp_client.protocol_version == MODES[mode]


async def test_server_says_what_it_is_and_can(mcp_client: Client, mode: str) -> None:
    assert mcp_client.server_info == types.Implementation(
        name="openai-mcp-functions",
        title="OpenAI MCP Functions",
        version=__version__,
        icons=[types.Icon(src=f"{ICONS}/icon.png")],
    )
    assert mcp_client.server_capabilities == types.ServerCapabilities(
        tools=types.ToolsCapability(list_changed=False),
        resources=types.ResourcesCapability(list_changed=False, subscribe=False),
        prompts=types.PromptsCapability(list_changed=False),
        completions=types.CompletionsCapability(),
        extensions={EXTENSION: {}} if mode == "auto" else None,
    )
    assert "list_supported_models" in (mcp_client.instructions or "")


async def test_tools_have_titles_and_all_hints(mcp_client: Client) -> None:
    tools = (await mcp_client.list_tools()).tools
    assert {tool.name: (tool.title, tool.annotations) for tool in tools} == {
        name: (
            title,
            types.ToolAnnotations(
                read_only_hint=read_only,
                destructive_hint=destructive,
                idempotent_hint=idempotent,
                open_world_hint=open_world,
            ),
        )
        for name, (title, read_only, destructive, idempotent, open_world) in TRAITS.items()
    }


async def test_list_of_tools_is_small_and_holds_no_docstring(mcp_client: Client) -> None:
    result = await mcp_client.list_tools()
    text = result.model_dump_json(by_alias=True, exclude_none=True)
    assert len(text.encode()) < 16_000
    for tool in result.tools:
        assert '"description": "' not in json.dumps(tool.output_schema), tool.name
        assert "$ref" not in json.dumps(tool.input_schema), tool.name
        assert "Attributes:" not in json.dumps(tool.input_schema), tool.name


async def test_server_and_tools_that_ask_models_have_icons_that_open_without_a_key(
    mcp_client: Client, origin: str
) -> None:
    tools = (await mcp_client.list_tools()).tools
    shown = {tool.name: [icon.src for icon in tool.icons] for tool in tools if tool.icons}
    assert shown == {
        "chat_completion": [f"{ICONS}/text.png"],
        "generate": [f"{ICONS}/text.png"],
        "generate_image": [f"{ICONS}/image.png"],
        "edit_image": [f"{ICONS}/image.png"],
        "synthesize_speech": [f"{ICONS}/audio.png"],
        "transcribe_audio": [f"{ICONS}/audio.png"],
        "generate_video": [f"{ICONS}/video.png"],
        "get_video": [f"{ICONS}/video.png"],
    }
    async with httpx2.AsyncClient(base_url=origin, timeout=60) as https:
        for name in ("icon", "text", "image", "audio", "video"):
            response = await https.get(f"/pages/{name}.png")
            assert response.status_code == 200, name
            assert response.headers["content-type"] == "image/png"
            assert response.headers["cache-control"] == "public, max-age=86400"
            with Image.open(BytesIO(response.content)) as icon:
                assert (icon.format, icon.size) == ("PNG", (48, 48))


async def test_tools_and_all_their_parameters_are_described(mcp_client: Client) -> None:
    for tool in (await mcp_client.list_tools()).tools:
        assert tool.description, tool.name
        for name, parameter in tool.input_schema.get("properties", {}).items():
            assert parameter.get("description"), f"{tool.name}: {name}"


async def test_tools_have_valid_schemas_of_objects_for_arguments_and_result(
    mcp_client: Client,
) -> None:
    for tool in (await mcp_client.list_tools()).tools:
        for schema in (tool.input_schema, tool.output_schema):
            assert schema is not None, tool.name
            assert schema["type"] == "object", tool.name
            jsonschema.Draft202012Validator.check_schema(schema)


async def test_tools_are_the_same_as_over_https(mcp_client: Client, origin: str) -> None:
    tools = (await mcp_client.list_tools()).tools
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as https:
        over_https = (await https.get("/tools")).json()["tools"]
    # MCP has no field for what a call costs.
    for tool_over_https in over_https:
        del tool_over_https["paid"]
    # Icons are for lists that people see.
    shown = [
        tool.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"icons"})
        for tool in tools
    ]
    assert shown == over_https


@pytest.mark.parametrize("name", TOOLS)
async def test_tool_returns_what_its_output_schema_promises(
    mcp_client: Client, arguments: dict[str, dict[str, Any]], name: str
) -> None:
    [tool] = [tool for tool in (await mcp_client.list_tools()).tools if tool.name == name]
    result = await mcp_client.call_tool(name, arguments.get(name))
    assert not result.is_error, text_of(result)
    jsonschema.validate(result.structured_content, tool.output_schema)


@pytest.mark.parametrize("name", TOOLS)
async def test_text_of_a_result_is_its_structured_content(
    mcp_client: Client, arguments: dict[str, dict[str, Any]], name: str
) -> None:
    result = await mcp_client.call_tool(name, arguments.get(name))
    assert json.loads(text_of(result)) == result.structured_content


async def test_chat_completion_answers(mcp_client: Client, stand_in: StandIn) -> None:
    stand_in.fault(text="Good day.")
    result = await mcp_client.call_tool(
        "chat_completion", {"prompt": "Say hello.", "temperature": 0.5}
    )
    assert result.structured_content == {
        "text": "Good day.",
        "parsed": None,
        "model": "gpt-6-luna",
        "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 2,
            "completion_tokens": 2,
            "total_tokens": 4,
            "cached_tokens": 0,
            "reasoning_tokens": 0,
        },
    }
    assert stand_in.bodies() == [
        {
            "model": "gpt-6-luna",
            "messages": [{"role": "user", "content": "Say hello."}],
            "temperature": 0.5,
        }
    ]


async def test_generate_answers(mcp_client: Client, stand_in: StandIn) -> None:
    stand_in.fault(text="Good day.")
    result = await mcp_client.call_tool("generate", {"prompt": "Say hello."})
    assert result.structured_content == {
        "text": "Good day.",
        "model": "gpt-6-luna",
        "finish_reason": "stop",
    }


async def test_list_supported_models_answers_for_every_capability(mcp_client: Client) -> None:
    result = await mcp_client.call_tool("list_supported_models")
    assert result.structured_content is not None
    rows = {
        capability: (row["configured"], row["provider"], row["model"], row["available"])
        for capability, row in result.structured_content.items()
    }
    assert rows == {
        "chat": (True, "compatible", "gpt-6-luna", True),
        "image": (True, "compatible", "gpt-image-2.5-flare", True),
        "audio": (True, "compatible", "gpt-4o-mini-tts", True),
        "transcription": (True, "compatible", "gpt-transcribe", True),
        "video": (True, "compatible", "stand-in-video", True),
    }


async def test_server_time_bears_the_mark_of_the_server(mcp_client: Client) -> None:
    result = await mcp_client.call_tool("server_time")
    assert result.structured_content is not None
    assert [*result.structured_content] == ["server_time"]
    assert re.fullmatch(SERVER_TIME, result.structured_content["server_time"])


@pytest.mark.parametrize(
    ("name", "arguments", "field"),
    [
        ("chat_completion", {"prompt": "Hello", "temperature": 5}, "temperature"),
        ("chat_completion", {"messages": [{"role": "nobody", "content": ""}]}, "messages.0.role"),
        ("chat_completion", {}, "prompt"),
        ("generate", {}, "prompt"),
        ("generate", {"prompt": "Hello", "max_tokens": "many"}, "max_tokens"),
        ("generate", {"prompt": "Hello", "extra": {"stream": True}}, "extra"),
        ("list_supported_models", {"capability": "chat"}, "capability"),
        ("server_time", {"timezone": "CET"}, "timezone"),
    ],
)
async def test_bad_argument_is_an_error_that_names_the_field(
    mcp_client: Client, name: str, arguments: dict[str, Any], field: str
) -> None:
    result = await mcp_client.call_tool(name, arguments)
    assert (result.is_error, result.structured_content) == (True, None)
    assert f"{field}: " in text_of(result)


async def test_unknown_tool_is_an_error_that_names_the_tools(mcp_client: Client) -> None:
    result = await mcp_client.call_tool("paint")
    assert (result.is_error, text_of(result)) == (
        True,
        f"There is no tool named 'paint'. The tools are: {', '.join(TOOLS)}.",
    )


async def test_failing_provider_is_an_error_without_the_providers_text(
    mcp_client: Client, stand_in: StandIn
) -> None:
    stand_in.fault(status=401, message="Incorrect API key provided: sk-secret", times=10)
    result = await mcp_client.call_tool("generate", {"prompt": "Hello"})
    assert result.is_error
    assert "sk-secret" not in text_of(result)


async def test_resources_are_listed(mcp_client: Client) -> None:
    templates = (await mcp_client.list_resource_templates()).resource_templates
    assert [template.uri_template for template in templates] == [
        "media://{id}",
        "conversation://{id}",
    ]
    assert (await mcp_client.list_resources()).resources[:1] == [
        types.Resource(
            name="supported_models",
            title="Supported models",
            uri="models://supported",
            description=(
                "The configured model of each capability, as list_supported_models tells it."
            ),
            mime_type="application/json",
        )
    ]


async def test_resource_of_models_says_what_the_tool_says(mcp_client: Client) -> None:
    [contents] = (await mcp_client.read_resource("models://supported")).contents
    assert isinstance(contents, types.TextResourceContents)
    assert (contents.uri, contents.mime_type) == ("models://supported", "application/json")
    told = await mcp_client.call_tool("list_supported_models")
    assert json.loads(contents.text) == told.structured_content


async def test_unknown_resource_is_an_error_that_names_the_resources(mcp_client: Client) -> None:
    with pytest.raises(MCPError) as caught:
        await mcp_client.read_resource("models://imagined")
    assert caught.value.error == types.ErrorData(
        code=types.INVALID_PARAMS,
        message="There is no resource 'models://imagined'. The resources are: models://supported, "
        "media://ID, conversation://ID.",
        data={"uri": "models://imagined"},
    )


@pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")
async def test_method_that_the_server_lacks_is_not_found(mcp_client: Client) -> None:
    with pytest.raises(MCPError) as caught:
        await mcp_client.subscribe_resource("models://supported")
    assert caught.value.code == types.METHOD_NOT_FOUND


async def test_client_with_a_wrong_key_does_not_connect(origin: str, mode: str) -> None:
    with pytest.RaisesGroup(MCPError, flatten_subgroups=True):
        async with connected(f"{origin}/mcp", mode, {"Authorization": "Bearer wrong"}):
            pass
