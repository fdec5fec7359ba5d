"""What MCP clients see of results: links to media, and pictures that are small enough for them."""

import io
import json
import random
from base64 import b64decode, b64encode
from typing import Any
from uuid import uuid4

import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from PIL import Image

from shared.mcp_server import pictures
from shared.mcp_server.pictures import MAX_BASE64_CHARS, reduce_picture
from tests.conftest import AUTH, StandIn
from tests.mcp.support import answers, connected, request

FOR_THE_USER = types.Annotations(audience=["user"])


def noise(width: int, height: int, mode: str = "RGB", kind: str = "PNG") -> bytes:
    """A picture that compresses badly."""
    data = random.Random(1).randbytes(  # noqa: S311
        width * height * len(mode)
    )
    buffer = io.BytesIO()
    Image.frombytes(mode, (width, height), data).save(buffer, kind)
    return buffer.getvalue()


def drawn(pictures: list[bytes]) -> str:
    """A provider's answer with these pictures."""
    return json.dumps({"data": [{"b64_json": b64encode(each).decode()} for each in pictures]})


async def test_picture_comes_as_text_link_and_image(mcp_client: Client, stand_in: StandIn) -> None:
    result = await mcp_client.call_tool("generate_image", {"prompt": "A hill", "size": "32x32"})
    assert result.structured_content is not None
    [media] = result.structured_content["media"]
    text, link, image = result.content
    assert isinstance(text, types.TextContent)
    assert json.loads(text.text) == result.structured_content
    assert link == types.ResourceLink(
        name=f"{media['id']}.png",
        title="a-hill",
        uri=f"media://{media['id']}",
        description="Made by generate_image.",
        mime_type="image/png",
        size=media["size_bytes"],
        annotations=types.Annotations(last_modified=media["created_at"]),
    )
    listed = (await mcp_client.list_resources()).resources[1]
    assert link.model_dump(exclude={"type"}) == listed.model_dump()
    assert isinstance(image, types.ImageContent)
    assert (image.mime_type, image.annotations) == ("image/png", FOR_THE_USER)
    assert len(b64decode(image.data)) == media["size_bytes"]
    [contents] = (await mcp_client.read_resource(link.uri)).contents
    assert isinstance(contents, types.BlobResourceContents)
    assert contents.blob == image.data


async def test_repeat_by_key_shows_the_picture_again(mcp_client: Client, stand_in: StandIn) -> None:
    key: Any = {"idempotency-key": f"shown {uuid4()}"}
    arguments = {"prompt": "A hill", "size": "32x32"}
    first, second = [
        await mcp_client.call_tool("generate_image", arguments, meta=key) for _ in range(2)
    ]
    assert len(stand_in.requests()) == 1
    assert first.content[1:] == second.content[1:]
    assert [block.type for block in second.content] == ["text", "resource_link", "image"]


async def test_repeat_links_what_was_deleted_since_as_far_as_it_knows_it(
    mcp_client: Client, wire: httpx2.AsyncClient
) -> None:
    key: Any = {"idempotency-key": f"deleted since {uuid4()}"}
    arguments = {"prompt": "A hill", "size": "32x32"}
    first = await mcp_client.call_tool("generate_image", arguments, meta=key)
    assert first.structured_content is not None
    [media] = first.structured_content["media"]
    assert (await wire.delete(f"/media/{media['id']}")).status_code == 204
    second = await mcp_client.call_tool("generate_image", arguments, meta=key)
    assert [block.type for block in second.content] == ["text", "resource_link"]
    assert second.content[1] == types.ResourceLink(
        name=f"{media['id']}.png",
        uri=f"media://{media['id']}",
        mime_type="image/png",
        size=media["size_bytes"],
        annotations=types.Annotations(last_modified=media["created_at"]),
    )


@pytest.mark.parametrize(
    ("named", "kinds"),
    [
        ("text", ["text"]),
        ("image", ["text", "image"]),
        ("text,image", ["text", "image"]),
        ("text,%20resource_link", ["text", "resource_link"]),
        ("image&content=resource_link", ["text", "resource_link", "image"]),
        ("audio,resource", ["text"]),
    ],
)
async def test_results_have_the_kinds_of_content_that_the_address_names(
    origin: str, mode: str, named: str, kinds: list[str]
) -> None:
    async with connected(f"{origin}/mcp?content={named}", mode) as client:
        drawn = await client.call_tool("generate_image", {"prompt": "A hill", "size": "32x32"})
    assert [block.type for block in drawn.content] == kinds
    assert isinstance(drawn.content[0], types.TextContent)
    assert json.loads(drawn.content[0].text) == drawn.structured_content


@pytest.mark.parametrize("named", ["links", "text,IMAGE", ""])
async def test_kinds_of_content_that_do_not_exist_are_told_in_a_sentence(
    origin: str, mode: str, named: str
) -> None:
    wrong = named.rpartition(",")[2]
    sentence = (
        f"content: '{wrong}' is no kind of content. Name those that results may have, comma-separated: "
        "text, image, audio, resource, resource_link."
    )
    async with connected(f"{origin}/mcp", mode) as client:
        await client.list_tools()  # One that could be sent again.
    async with connected(f"{origin}/mcp?content={named}", mode) as client:
        with pytest.raises(MCPError) as raised:
            await client.list_tools()
        assert raised.value.message == sentence
        result = await client.call_tool("server_time", {})
    assert (result.is_error, result.content) == (True, [types.TextContent(text=sentence)])


async def test_clip_and_video_come_as_links_only(mcp_client: Client) -> None:
    spoken = await mcp_client.call_tool("synthesize_speech", {"text": "Hello"})
    assert [block.type for block in spoken.content] == ["text", "resource_link"]
    ordered = await mcp_client.call_tool("generate_video", {"prompt": "A hill", "seconds": 1})
    assert ordered.structured_content is not None
    job = {"job_id": ordered.structured_content["id"]}
    seen = await mcp_client.call_tool("get_video", job)
    while seen.structured_content and seen.structured_content["status"] != "completed":
        seen = await mcp_client.call_tool("get_video", job)
    link = seen.content[1]
    assert isinstance(link, types.ResourceLink)
    assert link.mime_type == "video/webm"


async def test_client_of_2025_03_26_gets_no_link(
    wire: httpx2.AsyncClient, stand_in: StandIn
) -> None:
    arguments = {"prompt": "A hill", "size": "32x32"}
    call = request(1, "tools/call", {"name": "generate_image", "arguments": arguments})
    for body in (call, [call]):
        response = await wire.post("/mcp", json=body)
        [answer] = answers(response)
        assert [each["type"] for each in answer["result"]["content"]] == ["text", "image"]
    headers = {"MCP-Protocol-Version": "2025-06-18"}
    [answer] = answers(await wire.post("/mcp", json=call, headers=headers))
    kinds = [each["type"] for each in answer["result"]["content"]]
    assert kinds == ["text", "resource_link", "image"]


async def test_pictures_of_a_result_are_reduced_until_all_of_them_fit(
    mcp_client: Client, stand_in: StandIn
) -> None:
    large, small = noise(900, 700), noise(64, 64)
    stand_in.fault(body=drawn([large, small, large]))
    result = await mcp_client.call_tool("generate_image", {"prompt": "A hill", "n": 3})
    shown = [block for block in result.content if isinstance(block, types.ImageContent)]
    kinds = [block.mime_type for block in shown]
    assert kinds == ["image/jpeg", "image/png", "image/jpeg"]
    assert b64decode(shown[1].data) == small
    assert sum(len(block.data) for block in shown) <= MAX_BASE64_CHARS
    for block in (shown[0], shown[2]):
        with Image.open(io.BytesIO(b64decode(block.data))) as opened:
            assert opened.format == "JPEG"
            assert opened.width / opened.height == pytest.approx(9 / 7, rel=0.01)


async def test_picture_of_too_many_pixels_is_linked_and_not_decoded(
    mcp_client: Client, stand_in: StandIn
) -> None:
    buffer = io.BytesIO()
    # A bomb: few bytes, many pixels. The rest is there so that it would have to be reduced.
    Image.new("1", (8000, 8000)).save(buffer, "PNG")
    bomb = buffer.getvalue() + bytes(600_000)
    stand_in.fault(body=drawn([bomb]))
    result = await mcp_client.call_tool("generate_image", {"prompt": "A hill"})
    assert [block.type for block in result.content] == ["text", "resource_link"]


async def test_drawing_is_linked_and_not_shown(mcp_client: Client, stand_in: StandIn) -> None:
    stand_in.fault(body=drawn([b'<svg xmlns="http://www.w3.org/2000/svg"/>']))
    result = await mcp_client.call_tool("generate_image", {"prompt": "A hill"})
    assert [block.type for block in result.content] == ["text", "resource_link"]


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "JPEG"])
def test_transparent_parts_become_white_in_what_is_reduced(kind: str) -> None:
    mode = "RGB" if kind == "JPEG" else "RGBA"
    buffer = io.BytesIO()
    Image.new(mode, (300, 200), "white" if mode == "RGB" else (0, 0, 0, 0)).save(buffer, kind)
    reduced = reduce_picture(buffer.getvalue(), 50_000)
    assert reduced is not None
    with Image.open(io.BytesIO(reduced)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (300, 200))
        corner: Any = opened.convert("RGB").getpixel((0, 0))
    assert min(corner) > 250


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", noise(64, 64)[:2000], b"BM" + bytes(99)]
)
def test_picture_that_cannot_be_decoded_is_none(data: bytes) -> None:
    assert reduce_picture(data, 1000) is None


def test_picture_that_cannot_be_made_small_enough_is_none() -> None:
    assert reduce_picture(noise(600, 600), 100) is None


def test_limit_of_pixels_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 99)
    assert reduce_picture(noise(10, 10), 100_000) is None


async def test_media_are_listed_as_resources_newest_first_in_pages(
    mcp_client: Client, origin: str
) -> None:
    key = {"Authorization": AUTH["Authorization"]}
    async with httpx2.AsyncClient(base_url=origin, headers=key, timeout=60) as https:
        for index in range(52):
            upload = await https.post(f"/media?name=Picture-{index}.png", content=noise(2, 2))
            assert upload.status_code == 201
        newest = upload.json()
    first = await mcp_client.list_resources()
    assert first.resources[0].uri == "models://supported"
    assert first.resources[1] == types.Resource(
        name=f"{newest['id']}.png",
        title="picture-51",
        uri=f"media://{newest['id']}",
        description="Uploaded.",
        mime_type="image/png",
        size=newest["size_bytes"],
        annotations=types.Annotations(last_modified=newest["created_at"]),
    )
    assert len(first.resources) == 51
    assert first.next_cursor
    second = await mcp_client.list_resources(cursor=first.next_cursor)
    assert [each.title for each in second.resources[:2]] == ["picture-1", "picture-0"]


async def test_ids_of_media_and_conversations_are_completed(
    mcp_client: Client, origin: str, stand_in: StandIn
) -> None:
    async with httpx2.AsyncClient(base_url=origin, headers=AUTH, timeout=60) as https:
        media_id = (await https.post("/media", content=noise(2, 2))).json()["id"]
        chat = await https.post("/chat", json={"message": "Hello", "tools": "none"})
        conversation_id = chat.json()["conversation_id"]
    for scheme, wanted in (("media", media_id), ("conversation", conversation_id)):
        reference = types.ResourceTemplateReference(uri=f"{scheme}://{{id}}")
        for begin, expected in (
            (wanted[:30], [wanted]),
            ("", wanted),
            (f"{wanted}0", []),
            ("../", []),
        ):
            argument = {"name": "id", "value": begin}
            values = (await mcp_client.complete(reference, argument)).completion.values
            assert values[: len(expected)] == expected if begin else values[0] == expected
