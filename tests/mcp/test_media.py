"""Media for MCP clients: progress, links, resources, and keys against paying twice."""

import asyncio
import json
from typing import Any

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from shared.mcp_server.resources import MAX_MEDIA_BYTES
from tests.conftest import AUTH, StandIn
from tests.media.support import without_links


async def progress_of(client: Client, tool: str, arguments: dict[str, Any]) -> list[str | None]:
    messages: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        # A slow machine's app tells a step again.
        if message not in messages[-1:]:
            messages.append(message)

    result = await client.call_tool(tool, arguments, progress_callback=note)
    assert not result.is_error
    return messages


async def test_every_media_tool_reports_its_steps(mcp_client: Client) -> None:
    assert await progress_of(
        mcp_client, "generate_image", {"prompt": "A hill", "size": "32x32", "n": 2}
    ) == [
        "Waiting for the model",
        "Storing 2 of 2 images",
        "Stored image 1 of 2",
        "Stored image 2 of 2",
    ]
    assert await progress_of(
        mcp_client, "synthesize_speech", {"text": "Hello", "response_format": "wav"}
    ) == ["Waiting for the model", "Storing the clip as it comes", "Stored the clip"]
    assert await progress_of(mcp_client, "generate_video", {"prompt": "A hill"}) == [
        "Ordering the video",
        "Ordered; ask get_video how far it is",
    ]


async def test_tools_that_take_what_is_stored_report_their_steps(mcp_client: Client) -> None:
    drawn = await mcp_client.call_tool("generate_image", {"prompt": "A hill", "size": "32x32"})
    said = await mcp_client.call_tool("synthesize_speech", {"text": "Hi", "response_format": "wav"})
    filmed = await mcp_client.call_tool("generate_video", {"prompt": "A hill", "seconds": 1})
    assert drawn.structured_content
    assert said.structured_content
    assert filmed.structured_content
    images = [drawn.structured_content["media"][0]["id"]]
    assert await progress_of(mcp_client, "edit_image", {"prompt": "Night", "images": images}) == [
        "Waiting for the model",
        "Storing 1 of 1 images",
        "Stored image 1 of 1",
    ]
    clip = {"media_id": said.structured_content["media"]["id"]}
    assert await progress_of(mcp_client, "transcribe_audio", clip) == [
        "Reading the clip",
        "Waiting for the model",
        "Written down",
    ]
    job = {"job_id": filmed.structured_content["id"]}
    steps: list[str | None] = []
    while not steps:
        # Too soon for another question, the job is told as it is stored.
        steps = await progress_of(mcp_client, "get_video", job)
    assert steps[0] == "Asking the provider"


@pytest.mark.parametrize("tool", ["chat_completion", "generate"])
async def test_tools_that_ask_a_chat_model_report_that_they_wait_and_that_it_answered(
    mcp_client: Client, tool: str
) -> None:
    steps = ["Waiting for the model", "The model has answered"]
    assert await progress_of(mcp_client, tool, {"prompt": "Hello"}) == steps


async def test_picture_is_a_resource_of_its_bytes(mcp_client: Client, origin: str) -> None:
    result = await mcp_client.call_tool("generate_image", {"prompt": "A hill", "size": "32x32"})
    assert result.structured_content is not None
    [media] = result.structured_content["media"]
    [contents] = (await mcp_client.read_resource(f"media://{media['id']}")).contents
    assert isinstance(contents, types.BlobResourceContents)
    assert (contents.mime_type, contents.uri) == ("image/png", f"media://{media['id']}")
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as https:
        shown = await https.get(f"/media/{media['id']}")
    assert contents.blob.startswith("iVBOR")
    assert len(shown.content) == media["size_bytes"]


async def test_large_medium_is_a_resource_with_its_link(mcp_client: Client, origin: str) -> None:
    samples = bytes(MAX_MEDIA_BYTES + 2)
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as https:
        headers = {"Content-Type": "audio/pcm"}
        response = await https.post("/media", content=samples, headers=headers)
    assert response.status_code == 201
    media = response.json()
    [contents] = (await mcp_client.read_resource(f"media://{media['id']}")).contents
    assert isinstance(contents, types.TextResourceContents)
    assert without_links(json.loads(contents.text)) == without_links(media)


@pytest.mark.parametrize("media_id", ["x", "0" * 44])
async def test_unknown_medium_is_no_resource(mcp_client: Client, media_id: str) -> None:
    with pytest.raises(MCPError, match="There is no resource"):
        await mcp_client.read_resource(f"media://{media_id}")


async def test_key_in_the_meta_makes_a_repeat_free(mcp_client: Client, stand_in: StandIn) -> None:
    key: Any = {"idempotency-key": f"key of {id(mcp_client)}"}
    arguments = {"prompt": "A hill", "size": "32x32"}
    results = await asyncio.gather(
        *(mcp_client.call_tool("generate_image", arguments, meta=key) for _ in range(5))
    )
    assert len({json.dumps(without_links(each.structured_content)) for each in results}) == 1
    assert len(stand_in.requests()) == 1
    other = await mcp_client.call_tool("generate_image", {"prompt": "A lake"}, meta=key)
    assert other.is_error
    assert "another request" in str(other.content)


async def test_key_that_is_none_is_an_error(mcp_client: Client, stand_in: StandIn) -> None:
    key: Any = {"idempotency-key": 7}
    result = await mcp_client.call_tool("generate", {"prompt": "hi"}, meta=key)
    assert result.is_error
    assert stand_in.requests() == []
