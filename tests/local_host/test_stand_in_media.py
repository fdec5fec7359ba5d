"""The stand-in's pictures, speech, transcripts and videos, over HTTP as clients meet them."""

import base64
import io
import re
import time
import wave
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from tests.conftest import StandIn

SPEECH = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "Good morning to all of you"}
VIDEO = {"model": "stand-in-video", "prompt": "A kite", "seconds": "2"}
BROKEN_OFF = httpx2.RemoteProtocolError


@pytest.fixture
def http(stand_in: StandIn) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stand_in.base_url, timeout=60) as client:
        yield client


@pytest.fixture
def sdk(stand_in: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stand_in.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


def generate(http: httpx2.Client, **parameters: Any) -> httpx2.Response:
    body = {"model": "gpt-image-2.5-flare", "prompt": "A kite", **parameters}
    return http.post("/images/generations", json=body)


def files(response: httpx2.Response) -> list[bytes]:
    response.raise_for_status()
    return [base64.b64decode(row["b64_json"]) for row in response.json()["data"]]


def opened(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return image


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def error(response: httpx2.Response, status: int = 400) -> str:
    assert response.status_code == status
    message: str = response.json()["error"]["message"]
    return message


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg", "gif"])
@pytest.mark.parametrize("size", ["auto", "16x16", "640x360"])
def test_pictures_have_the_format_and_size_asked_for(
    http: httpx2.Client, output_format: str, size: str
) -> None:
    (content,) = files(generate(http, output_format=output_format, size=size))
    image = opened(content)
    wanted = "1024x1024" if size == "auto" else size
    assert (image.format, f"{image.width}x{image.height}") == (output_format.upper(), wanted)
    assert len(content) < 100_000


def test_pictures_come_as_gpt_image_models_give_them(http: httpx2.Client) -> None:
    answer = generate(http, prompt="two words", n=2, size="64x32", quality="high").json()
    pictures = [row.pop("b64_json") for row in answer["data"]]
    assert len(set(pictures)) == 2
    assert abs(answer.pop("created") - time.time()) < 3600
    assert answer == {
        "data": [{}, {}],
        "background": "opaque",
        "output_format": "png",
        "quality": "high",
        "size": "64x32",
        "usage": {
            "input_tokens": 2,
            "input_tokens_details": {"text_tokens": 2, "image_tokens": 0},
            "output_tokens": 4,
            "total_tokens": 6,
        },
    }


def test_svg_says_what_it_is_and_holds_no_markup_of_the_prompt(http: httpx2.Client) -> None:
    prompt = "<script>alert(1)</script> & \x00 more"
    (content,) = files(generate(http, prompt=prompt, output_format="svg", size="900x300"))
    svg = content.decode()
    assert svg.startswith("<svg ")
    assert 'width="900" height="300"' in svg
    assert "stand-in" in svg
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in svg
    assert "&amp;" in svg
    assert "\x00" not in svg
    assert "<script" not in svg


def test_long_prompt_is_cut_to_what_fits(http: httpx2.Client) -> None:
    for prompt in ("word " * 6000, "W" * 30_000):
        (content,) = files(generate(http, prompt=prompt, output_format="svg", size="200x100"))
        lines = re.findall(r"<tspan[^>]*>([^<]*)", content.decode())
        assert (lines[0], lines[-1]) == ("stand-in", "picture 1 of 1")
        assert lines[-2].endswith("\N{HORIZONTAL ELLIPSIS}")
        assert len(lines) < 16


def test_transparent_background_is_transparent(http: httpx2.Client) -> None:
    (content,) = files(generate(http, background="transparent", size="64x64"))
    assert opened(content).convert("RGBA").getpixel((63, 63))[3] == 0  # type: ignore[index]
    refused = generate(http, background="transparent", output_format="jpeg")
    assert "Transparent background" in error(refused)


@pytest.mark.parametrize("size", ["huge", "15x64", "64x4097", "64 x 64", ""])
def test_bad_size_is_refused(http: httpx2.Client, size: str) -> None:
    assert "'size'" in error(generate(http, size=size))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": None}, "You must provide a model parameter."),
        ({"prompt": ""}, "Invalid 'prompt'"),
        ({"n": 11}, "Invalid 'n'"),
        ({"output_format": "bmp"}, "Invalid 'output_format'"),
        ({"stream": True}, "Invalid 'stream'"),
    ],
)
def test_bad_parameters_are_refused(
    http: httpx2.Client, parameters: dict[str, Any], message: str
) -> None:
    assert error(generate(http, **parameters)).startswith(message)


def test_missing_prompt_is_refused(http: httpx2.Client) -> None:
    response = http.post("/images/generations", json={"model": "m"})
    assert error(response) == "Missing required parameter: 'prompt'."
    assert response.json()["error"]["param"] == "prompt"


def test_edit_shows_what_it_got_and_records_no_bytes(
    http: httpx2.Client, stand_in: StandIn
) -> None:
    first, second, mask = png((20, 10)), png((30, 10)), png((40, 50))
    response = http.post(
        "/images/edits",
        data={"model": "m", "prompt": "Bluer", "output_format": "svg", "size": "1024x512"},
        files=[
            ("image[]", ("a.png", first, "image/png")),
            ("image[]", ("b.png", second, "image/png")),
            ("mask", ("m.png", mask, "image/png")),
        ],
    )
    (content,) = files(response)
    shown = " ".join(re.findall(r"<tspan[^>]*>([^<]*)", content.decode()))
    assert shown == "stand-in Bluer picture 1 of 1 edit of 2 images, mask 40x50"
    assert response.json()["usage"]["input_tokens_details"]["image_tokens"] == 512
    assert stand_in.bodies() == [
        {
            "model": "m",
            "prompt": "Bluer",
            "output_format": "svg",
            "size": "1024x512",
            "image[]": [
                {"filename": "a.png", "content_type": "image/png", "size": len(first)},
                {"filename": "b.png", "content_type": "image/png", "size": len(second)},
            ],
            "mask": {"filename": "m.png", "content_type": "image/png", "size": len(mask)},
        }
    ]


@pytest.mark.parametrize(
    ("uploads", "message"),
    [
        ({"image": b"no picture"}, "Invalid image file or mode for image 1"),
        ({"image": png((9, 9))[:-30]}, "Invalid image file or mode for image 1"),
        ({"image": png((9, 9)), "mask": b"no picture"}, "Invalid image file or mode for the mask"),
        ({"image": b""}, "Invalid 'image': the file is empty."),
        ({"other": png((9, 9))}, "Missing required parameter: 'image'."),
    ],
)
def test_edit_refuses_what_is_no_picture(
    http: httpx2.Client, uploads: dict[str, bytes], message: str
) -> None:
    parts = {name: ("a.png", content, "image/png") for name, content in uploads.items()}
    response = http.post("/images/edits", data={"model": "m", "prompt": "p"}, files=parts)
    assert error(response).startswith(message)


def test_official_client_makes_edits_speaks_and_transcribes(sdk: openai.OpenAI) -> None:
    made = sdk.images.generate(model="m", prompt="A kite", n=2, size="1024x1024")
    assert made.usage is not None
    assert made.data is not None
    pictures = [base64.b64decode(row.b64_json or "") for row in made.data]
    edited = sdk.images.edit(model="m", prompt="Bluer", image=pictures, mask=pictures[0])
    assert edited.size == "1024x1024"
    with sdk.audio.speech.with_streaming_response.create(
        model="m", voice="alloy", input="Good morning", response_format="wav"
    ) as answer:
        speech = b"".join(answer.iter_bytes())
    heard = sdk.audio.transcriptions.create(model="m", file=("speech.wav", speech, "audio/wav"))
    assert heard.text.startswith("[stand-in] ")
    assert heard.text.endswith(f"I got {len(speech)} bytes of audio/wav.")


def test_deployment_in_the_path_is_served_too(stand_in: StandIn) -> None:
    origin = stand_in.base_url.removesuffix("/v1")
    url = f"{origin}/openai/deployments/pictures/images/generations"
    response = httpx2.post(
        url, json={"model": "pictures", "prompt": "A kite", "size": "32x32"}, timeout=60
    )
    assert len(files(response)) == 1


def speak(http: httpx2.Client, **parameters: Any) -> httpx2.Response:
    return http.post("/audio/speech", json={**SPEECH, **parameters})


@pytest.mark.parametrize(
    ("response_format", "media_type", "begins"),
    [
        (None, "audio/mpeg", b"ID3"),
        ("mp3", "audio/mpeg", b"ID3"),
        ("opus", "audio/ogg", b"OggS"),
        ("aac", "audio/aac", b"\xff\xf1"),
        ("flac", "audio/flac", b"fLaC"),
        ("wav", "audio/wav", b"RIFF"),
    ],
)
def test_speech_comes_in_the_format_asked_for(
    http: httpx2.Client, response_format: str | None, media_type: str, begins: bytes
) -> None:
    wanted = {} if response_format is None else {"response_format": response_format}
    response = speak(http, **wanted)
    assert response.headers["content-type"] == media_type
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.content.startswith(begins)


def test_pcm_is_what_wav_holds(http: httpx2.Client) -> None:
    pcm = speak(http, response_format="pcm")
    assert pcm.headers["content-type"] == "audio/pcm"
    with wave.open(io.BytesIO(speak(http, response_format="wav").content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        assert file.readframes(file.getnframes()) == pcm.content


@pytest.mark.parametrize(
    "parameters",
    [
        {"input": ""},
        {"voice": None},
        {"speed": 5},
        {"response_format": "x"},
        {"stream_format": "sse"},
    ],
)
def test_bad_speech_is_refused(http: httpx2.Client, parameters: dict[str, Any]) -> None:
    (name,) = parameters
    assert f"'{name}'" in error(speak(http, **parameters))


def transcribe(http: httpx2.Client, content: bytes, media_type: str, **fields: str) -> Any:
    parts = {"file": ("sound", content, media_type)}
    return http.post("/audio/transcriptions", data={"model": "m", **fields}, files=parts)


def test_sound_gets_an_honest_sentence(http: httpx2.Client) -> None:
    content = b"abc"
    text = transcribe(http, content, "audio/ogg").json()["text"]
    assert text.startswith("[stand-in] I am not a model")
    assert f"{len(content)} bytes of audio/ogg" in text
    plain = transcribe(http, content, "audio/ogg", response_format="text")
    assert plain.text == f"{text}\n"


def test_transcription_without_sound_is_refused(http: httpx2.Client) -> None:
    assert "empty" in error(transcribe(http, b"", "audio/wav"))
    missing = http.post("/audio/transcriptions", data={"model": "m"})
    assert error(missing) == "Missing required parameter: 'file'."


def test_heard_text_can_be_told(http: httpx2.Client, stand_in: StandIn) -> None:
    stand_in.fault(text="What was said.")
    assert transcribe(http, b"abc", "audio/ogg").json() == {"text": "What was said."}


def create(http: httpx2.Client, headers: dict[str, str] | None = None, **fields: str) -> Any:
    response = http.post("/videos", files=multipart({**VIDEO, **fields}), headers=headers)
    response.raise_for_status()
    return response.json()


def multipart(fields: dict[str, str]) -> list[tuple[str, tuple[None, bytes]]]:
    return [(name, (None, value.encode())) for name, value in fields.items()]


def finished(http: httpx2.Client, **fields: str) -> str:
    name: str = create(http, None, **fields)["id"]
    for _ in range(2):
        http.get(f"/videos/{name}")
    return name


def test_video_is_done_after_two_looks(http: httpx2.Client) -> None:
    job = create(http, size="64x48")
    looks = [http.get(f"/videos/{job['id']}") for _ in range(3)]
    assert [(look.json()["status"], look.json()["progress"]) for look in looks] == [
        ("in_progress", 50),
        ("completed", 100),
        ("completed", 100),
    ]
    assert {look.headers["openai-poll-after-ms"] for look in looks} == {"100"}
    assert re.fullmatch(r"video_[0-9a-f]{32}", job.pop("id"))
    assert abs(job.pop("created_at") - time.time()) < 3600
    assert job == {
        "object": "video",
        "model": "stand-in-video",
        "prompt": "A kite",
        "seconds": "2",
        "size": "64x48",
        "status": "queued",
        "progress": 0,
        "error": None,
    }


def test_same_idempotency_key_gets_the_same_video(http: httpx2.Client) -> None:
    jobs = [create(http, {"Idempotency-Key": key})["id"] for key in ("a", "a", "b")]
    assert jobs[0] == jobs[1] != jobs[2]
    assert create(http)["id"] != create(http)["id"]


def test_video_and_its_thumbnail_are_real_files(http: httpx2.Client) -> None:
    name = finished(http)
    response = http.get(f"/videos/{name}/content")
    assert response.headers["content-type"] == "video/webm"
    assert response.content.startswith(b"\x1aE\xdf\xa3")
    assert b"V_VP8" in response.content
    thumbnail = http.get(f"/videos/{name}/content", params={"variant": "thumbnail"})
    assert thumbnail.headers["content-type"] == "image/webp"
    assert opened(thumbnail.content).size == (320, 180)


def test_video_that_is_not_done_or_unknown_has_no_content(http: httpx2.Client) -> None:
    name = create(http)["id"]
    assert "not ready" in error(http.get(f"/videos/{name}/content"), 404)
    for path in ("/videos/video_x", "/videos/video_x/content"):
        assert error(http.get(path), 404) == "Video with id 'video_x' not found."
    content = f"/videos/{finished(http)}/content"
    assert "not found" in error(http.get(content, params={"variant": "spritesheet"}), 404)


@pytest.mark.parametrize(
    "fields", [{"seconds": "0"}, {"seconds": "long"}, {"size": "big"}, {"prompt": ""}]
)
def test_bad_video_is_refused(http: httpx2.Client, fields: dict[str, str]) -> None:
    (name,) = fields
    response = http.post("/videos", files=multipart({**VIDEO, **fields}))
    assert error(response).startswith(f"Invalid '{name}'")


def test_reference_is_recorded_by_its_size(http: httpx2.Client, stand_in: StandIn) -> None:
    reference = {"input_reference": ("r.png", png((9, 9)), "image/png")}
    name = http.post("/videos", data=VIDEO, files=reference).json()["id"]
    http.get(f"/videos/{name}")
    made, looked = stand_in.requests()
    assert made["body"] == {
        **VIDEO,
        "input_reference": {
            "filename": "r.png",
            "content_type": "image/png",
            "size": len(png((9, 9))),
        },
    }
    assert (looked["method"], looked["path"], looked["body"]) == (
        "GET",
        f"/v1/videos/{name}",
        None,
    )


def test_video_model_is_listed(http: httpx2.Client) -> None:
    assert "stand-in-video" in [row["id"] for row in http.get("/models").json()["data"]]


def test_reset_forgets_videos(http: httpx2.Client, stand_in: StandIn) -> None:
    name = create(http)["id"]
    stand_in.reset()
    error(http.get(f"/videos/{name}"), 404)


REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "generation": ("POST", "/images/generations", {"json": {"model": "m", "prompt": "p"}}),
    "edit": (
        "POST",
        "/images/edits",
        {"data": {"model": "m", "prompt": "p"}, "files": {"image": png((9, 9))}},
    ),
    "speech": ("POST", "/audio/speech", {"json": {**SPEECH, "response_format": "wav"}}),
    "transcription": (
        "POST",
        "/audio/transcriptions",
        {"data": {"model": "m"}, "files": {"file": b"abc"}},
    ),
    "transcript": (
        "POST",
        "/audio/transcriptions",
        {"data": {"model": "m", "response_format": "text"}, "files": {"file": b"abc"}},
    ),
    "new video": ("POST", "/videos", {"files": multipart(VIDEO)}),
    "video": ("GET", "/videos/{id}", {}),
    "film": ("GET", "/videos/{id}/content", {}),
    "thumbnail": ("GET", "/videos/{id}/content?variant=thumbnail", {}),
}


@pytest.fixture(params=REQUESTS)
def request_of(request: pytest.FixtureRequest, http: httpx2.Client) -> tuple[str, str, Any]:
    """Each request that the stand-in answers, ready to be sent."""
    method, path, content = REQUESTS[request.param]
    if "{id}" in path:
        path = path.replace("{id}", finished(http, size="64x48"))
    return method, path, content


def test_every_route_answers_the_error_it_is_told(
    http: httpx2.Client, stand_in: StandIn, request_of: tuple[str, str, Any]
) -> None:
    method, path, content = request_of
    stand_in.fault(status=429, code="slow_down", message="No.", headers={"Retry-After": "7"})
    response = http.request(method, path, **content)
    assert (error(response, 429), response.headers["retry-after"]) == ("No.", "7")
    assert response.json()["error"]["code"] == "slow_down"
    stand_in.fault(body="not JSON")
    assert http.request(method, path, **content).text == "not JSON"
    assert http.request(method, path, **content).status_code == 200


def test_every_answer_can_be_cut(
    http: httpx2.Client, stand_in: StandIn, request_of: tuple[str, str, Any]
) -> None:
    method, path, content = request_of
    whole = http.request(method, path, **content)
    stand_in.fault(cut="connection")
    with pytest.raises(BROKEN_OFF):
        http.request(method, path, **content)
    stand_in.fault(cut="clean")
    cut = http.request(method, path, **content)
    assert cut.status_code == 200
    assert 0 < len(cut.content) < len(whole.content)


@pytest.mark.parametrize("switch", ["delay", "chunk_delay"])
def test_answer_can_be_slow(http: httpx2.Client, stand_in: StandIn, switch: str) -> None:
    stand_in.fault(**{switch: 1})
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/audio/speech", json=SPEECH, timeout=0.2)


def test_pictures_can_be_addresses(http: httpx2.Client, stand_in: StandIn) -> None:
    stand_in.fault(as_url="https://pictures.example/1")
    data = generate(http, n=2).json()["data"]
    assert data == [{"url": "https://pictures.example/1"}] * 2


@pytest.mark.parametrize("at_creation", [True, False])
def test_video_can_be_an_address(http: httpx2.Client, stand_in: StandIn, at_creation: bool) -> None:
    if at_creation:
        stand_in.fault(as_url="https://videos.example/1")
    name = create(http)["id"]
    if not at_creation:
        stand_in.fault(as_url="https://videos.example/1")
    first, last = (http.get(f"/videos/{name}").json() for _ in range(2))
    assert "url" not in first
    assert (last["status"], last["url"]) == ("completed", "https://videos.example/1")
    error(http.get(f"/videos/{name}/content"), 404)


@pytest.mark.parametrize("at_creation", [True, False])
def test_video_can_fail(http: httpx2.Client, stand_in: StandIn, at_creation: bool) -> None:
    if at_creation:
        stand_in.fault(video_error="Not that.")
    name = create(http)["id"]
    if not at_creation:
        stand_in.fault(video_error="Not that.")
    for _ in range(2):
        job = http.get(f"/videos/{name}").json()
        assert job["status"] == "failed"
        assert job["error"] == {"code": "stand_in_error", "message": "Not that."}
    error(http.get(f"/videos/{name}/content"), 404)


def test_video_can_be_held(http: httpx2.Client, stand_in: StandIn) -> None:
    name = create(http)["id"]
    stand_in.fault(hold_video=True, times=2)
    looks = [http.get(f"/videos/{name}").json()["status"] for _ in range(4)]
    assert looks == ["queued", "queued", "in_progress", "completed"]


@pytest.mark.parametrize("size", [0, 20, 1000, 65_536, 3_000_001])
def test_video_can_have_any_length(http: httpx2.Client, stand_in: StandIn, size: int) -> None:
    name = finished(http)
    stand_in.fault(bytes=size)
    content = http.get(f"/videos/{name}/content").content
    assert len(content) == size
    assert content[:4] == b"\x1aE\xdf\xa3"[:size]


def test_long_video_can_be_cut(http: httpx2.Client, stand_in: StandIn) -> None:
    name = finished(http)
    stand_in.fault(bytes=1_000_000, cut="clean")
    assert 400_000 < len(http.get(f"/videos/{name}/content").content) < 600_000


def test_video_can_lack_a_thumbnail(http: httpx2.Client, stand_in: StandIn) -> None:
    stand_in.fault(no_thumbnail=True)
    name = finished(http)
    error(http.get(f"/videos/{name}/content?variant=thumbnail"), 404)
    assert http.get(f"/videos/{name}/content").status_code == 200


def test_broken_bodies_are_refused(http: httpx2.Client) -> None:
    broken_json = http.post("/images/generations", content=b"{")
    assert "JSON" in error(broken_json)
    headers = {"Content-Type": "multipart/form-data"}
    assert "form" in error(http.post("/images/edits", content=b"--x", headers=headers))


def test_text_that_is_no_unicode_is_refused_and_recorded(
    http: httpx2.Client, stand_in: StandIn
) -> None:
    body = b'{"model": "m", "prompt": "\\ud800"}'
    assert "'prompt'" in error(http.post("/images/generations", content=body))
    assert stand_in.bodies() == [{"model": "m", "prompt": "\ud800"}]
