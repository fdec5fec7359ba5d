"""`generate_image` and `edit_image`, from the call to the bytes that a browser gets."""

import asyncio
import io
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from shared.openai_service.images import DECODE_IN_THREAD_CHARS
from tests.conftest import MakeClient, StandIn, ThreadServer
from tests.media.conftest import Api, kept_for
from tests.media.support import png

FORMATS = {
    "png": ("image/png", "PNG"),
    "webp": ("image/webp", "WEBP"),
    "jpeg": ("image/jpeg", "JPEG"),
    "gif": ("image/gif", "GIF"),
}


@pytest.mark.parametrize("name", FORMATS)
async def test_image_opens_as_what_it_says(api: Api, name: str) -> None:
    content_type, pillow_format = FORMATS[name]
    result = await api.call("generate_image", prompt="A hill", size="96x64", output_format=name)
    assert (result["model"], result["revised_prompt"]) == ("gpt-image-2.5-flare", None)
    assert set(result["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
    [media] = result["media"]
    assert media["content_type"] == content_type
    assert (media["width"], media["height"]) == (96, 64)
    shown = await api.open(media["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, content_type)
    assert 0 < kept_for(shown) <= 3600
    assert shown.headers["content-disposition"].startswith("inline")
    assert len(shown.content) == media["size_bytes"]
    with Image.open(io.BytesIO(shown.content)) as image:
        assert (image.format, image.size) == (pillow_format, (96, 64))


async def test_drawing_is_never_shown_inline_without_a_policy(api: Api) -> None:
    [media] = (await api.call("generate_image", prompt="A <hill>", output_format="svg"))["media"]
    shown = await api.open(media["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/svg+xml")
    assert b"<svg" in shown.content
    assert (media["width"], media["height"]) == (1024, 1024)
    policy = shown.headers.get("content-security-policy", "")
    assert policy.startswith("default-src 'none'") or shown.headers[
        "content-disposition"
    ].startswith("attachment")


async def test_several_images_are_several(api: Api) -> None:
    result = await api.call("generate_image", prompt="A hill", n=10, size="32x32")
    ids = [media["id"] for media in result["media"]]
    assert len(set(ids)) == 10
    bodies = await asyncio.gather(*(api.open(media["url"]) for media in result["media"]))
    assert len({body.content for body in bodies}) == 10
    assert sorted(await api.ids()) == sorted(ids)


async def test_only_what_the_caller_gave_is_sent(local_api: Api, stand_in: StandIn) -> None:
    await local_api.call("generate_image", prompt="A hill")
    await local_api.call(
        "generate_image",
        prompt="A hill",
        model="other",
        size="64x64",
        quality="low",
        background="transparent",
        output_format="webp",
        n=2,
    )
    first, second = stand_in.bodies()
    assert first == {"prompt": "A hill", "model": "gpt-image-2.5-flare"}
    assert second == {
        "prompt": "A hill",
        "model": "other",
        "size": "64x64",
        "quality": "low",
        "background": "transparent",
        "output_format": "webp",
        "n": 2,
    }


async def test_edit_sends_the_stored_images_and_the_mask(api: Api, stand_in: StandIn) -> None:
    made = await api.call("generate_image", prompt="A hill", n=2, size="32x32")
    ids = [media["id"] for media in made["media"]]
    mask = (await api.http.post("/media", content=png())).json()["id"]
    result = await api.call("edit_image", prompt="Snow", images=ids, mask=mask, size="48x32")
    [media] = result["media"]
    assert (media["width"], media["height"]) == (48, 32)
    sent = stand_in.bodies()[-1]
    assert sent["prompt"] == "Snow"
    files = [*sent["image[]"], sent["mask"]]
    assert [file["filename"] for file in files] == [f"{each}.png" for each in (*ids, mask)]
    assert {file["content_type"] for file in files} == {"image/png"}
    assert len(await api.ids()) == 4


async def test_edit_needs_images_of_the_caller(local_api: Api) -> None:
    spoken = await local_api.call("synthesize_speech", text="Hello", response_format="wav")
    clip = spoken["media"]["id"]
    status, code, [complaint] = await local_api.refuse("edit_image", prompt="x", images=[clip])
    assert (status, code, complaint["loc"]) == (422, "invalid_request", ["body", "images.0"])
    assert "audio/wav" in complaint["msg"]
    status, _, [complaint] = await local_api.refuse("edit_image", prompt="x", images=["no-id"])
    assert (status, complaint["msg"]) == (422, "There is no media 'no-id'.")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"size": "big"}, "size"),
        ({"size": "0x0"}, "size"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"quality": "best"}, "quality"),
        ({"output_format": "bmp"}, "output_format"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"background": "transparent", "output_format": "jpeg"}, "background"),
    ],
)
async def test_wrong_argument_is_named_before_anything_is_paid(
    local_api: Api, stand_in: StandIn, arguments: dict[str, Any], field: str
) -> None:
    status, code, complaints = await local_api.refuse(
        "generate_image", **{"prompt": "A hill", **arguments}
    )
    assert (status, code) == (422, "invalid_request")
    assert [complaint["loc"] for complaint in complaints] == [["body", field]]
    assert stand_in.requests() == []


async def test_size_that_the_model_lacks_is_the_providers_complaint(local_api: Api) -> None:
    status, code, detail = await local_api.refuse("generate_image", prompt="x", size="9999x9999")
    assert (status, code) == (400, "provider_rejected")
    assert "size" in detail


async def test_large_images_are_decoded_whole(local_api: Api, stand_in: StandIn) -> None:
    image = png() + bytes(DECODE_IN_THREAD_CHARS)
    stand_in.fault(body=json.dumps({"data": [{"b64_json": b64encode(image).decode()}]}))
    [media] = (await local_api.call("generate_image", prompt="A hill"))["media"]
    assert (await local_api.open(media["url"])).content == image


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"data": []}, "no images"),
        ({"data": [{}]}, "without bytes or URL"),
        ({"data": [{"b64_json": "x"}]}, "base64"),
        ({"data": [{"b64_json": b64encode(b"not a picture").decode()}]}, "no known format"),
        ({"data": [{"b64_json": b64encode(b"RIFF0000WAVE").decode()}]}, "no known format"),
    ],
)
async def test_answer_without_a_picture_is_the_providers_fault(
    local_api: Api, stand_in: StandIn, answer: dict[str, Any], text: str
) -> None:
    stand_in.fault(body=json.dumps({"created": 0, **answer}))
    status, code, detail = await local_api.refuse("generate_image", prompt="x")
    assert (status, code) == (502, "provider_unavailable")
    assert text in detail
    assert await local_api.ids() == []


async def test_format_is_what_the_bytes_are_not_what_was_asked(
    local_api: Api, stand_in: StandIn
) -> None:
    answer = {"created": 0, "data": [{"b64_json": b64encode(png()).decode()}]}
    stand_in.fault(body=json.dumps(answer))
    [media] = (await local_api.call("generate_image", prompt="x", output_format="webp"))["media"]
    assert (media["content_type"], media["width"], media["height"]) == ("image/png", 8, 4)


def serve(answer: Callable[[], Response]) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", lambda _: answer())])


async def test_picture_that_comes_as_a_url_is_fetched(
    make_client: MakeClient, environment: dict[str, str], local_api: Api, stand_in: StandIn
) -> None:
    with (
        ThreadServer(serve(lambda: Response(png(), media_type="image/png"))) as files,
        ThreadServer(serve(lambda: RedirectResponse(f"{files.origin}/a.png"))) as elsewhere,
    ):
        settings = environment | {"CONNECTIONS_ALLOW_PRIVATE_NETWORKS": "true"}
        client = make_client(settings)
        stand_in.fault(as_url=f"{elsewhere.origin}/a.png")
        response = await client.post("/tools/generate_image", json={"prompt": "x"})
        assert response.status_code == 200, response.text
        [media] = response.json()["media"]
        assert (media["content_type"], media["size_bytes"]) == ("image/png", len(png()))
        stand_in.fault(as_url=f"{files.origin}/a.png")
        status, code, detail = await local_api.refuse("generate_image", prompt="x")
        assert (status, code) == (502, "provider_unavailable")
        assert "https" in detail
