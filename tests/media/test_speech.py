"""`synthesize_speech` and `transcribe_audio`."""

import io
import json
import wave
from typing import Any

import pytest

from shared.tools import inputs, speech
from tests.conftest import StandIn
from tests.media.conftest import Api

CONTENT_TYPES = {
    "mp3": ("audio/mpeg", (b"ID3", b"\xff\xfb", b"\xff\xf3")),
    "flac": ("audio/flac", (b"fLaC",)),
    "wav": ("audio/wav", (b"RIFF",)),
}


@pytest.mark.parametrize("name", CONTENT_TYPES)
async def test_clip_opens_as_what_it_says(api: Api, name: str) -> None:
    content_type, beginnings = CONTENT_TYPES[name]
    result = await api.call("synthesize_speech", text="Good morning", response_format=name)
    media = result["media"]
    assert result == {"media": media, "model": "gpt-4o-mini-tts", "voice": "alloy"}
    assert media["content_type"] == content_type
    shown = await api.open(media["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, content_type)
    assert shown.content.startswith(beginnings)
    assert len(shown.content) == media["size_bytes"]


async def test_clip_is_mp3_unless_asked_otherwise(local_api: Api, stand_in: StandIn) -> None:
    result = await local_api.call("synthesize_speech", text="Good morning")
    assert result["media"]["content_type"] == "audio/mpeg"
    assert stand_in.bodies() == [
        {
            "input": "Good morning",
            "model": "gpt-4o-mini-tts",
            "voice": "alloy",
            "response_format": "mp3",
        }
    ]


async def test_what_the_caller_gives_is_sent(local_api: Api, stand_in: StandIn) -> None:
    result = await local_api.call(
        "synthesize_speech",
        text="Good morning",
        voice="sage",
        model="other",
        response_format="pcm",
        speed=1.5,
        instructions="Cheerfully",
    )
    assert (result["model"], result["voice"]) == ("other", "sage")
    assert result["media"]["content_type"] == "audio/pcm"
    assert stand_in.bodies() == [
        {
            "input": "Good morning",
            "model": "other",
            "voice": "sage",
            "response_format": "pcm",
            "speed": 1.5,
            "instructions": "Cheerfully",
        }
    ]


async def test_long_clip_plays_whole(api: Api, stand_in: StandIn) -> None:
    stand_in.fault(bytes=1_200_000)
    media = (await api.call("synthesize_speech", text="Hello", response_format="wav"))["media"]
    shown = await api.open(media["url"])
    with wave.open(io.BytesIO(shown.content)) as clip:
        frames = clip.readframes(clip.getnframes())
    assert len(frames) == 1_200_000
    assert len(frames) <= media["size_bytes"] == len(shown.content)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"text": ""}, "text"),
        ({"text": "x" * 4097}, "text"),
        ({"speed": 0.1}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"voice": ""}, "voice"),
    ],
)
async def test_wrong_argument_is_named_before_anything_is_paid(
    local_api: Api, stand_in: StandIn, arguments: dict[str, Any], field: str
) -> None:
    status, code, complaints = await local_api.refuse(
        "synthesize_speech", **{"text": "Hello", **arguments}
    )
    assert (status, code) == (422, "invalid_request")
    assert [complaint["loc"] for complaint in complaints] == [["body", field]]
    assert stand_in.requests() == []


async def test_clip_that_is_cut_is_not_stored(api: Api, stand_in: StandIn) -> None:
    stand_in.fault(cut="connection")
    text = "All work and no play makes Jack a dull boy. " * 90
    status, code, _ = await api.refuse("synthesize_speech", text=text, response_format="wav")
    assert (status, code) == (502, "provider_truncated")
    assert await api.ids() == []


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        ({"body": '{"error": "none"}'}, "provider_unavailable", "not audio"),
        ({"body": "<html>Gateway</html>"}, "provider_unavailable", "not audio"),
        ({"body": ""}, "provider_unavailable", "not audio"),
    ],
)
async def test_answer_that_is_no_audio_is_not_stored(
    local_api: Api, stand_in: StandIn, fault: dict[str, Any], code: str, text: str
) -> None:
    stand_in.fault(**fault)
    status, found, detail = await local_api.refuse("synthesize_speech", text="Hello")
    assert (status, found) == (502, code)
    assert text in detail
    assert await local_api.ids() == []


async def test_clip_over_the_limit_is_refused(
    local_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "MAX_CLIP_BYTES", 1000)
    status, code, _ = await local_api.refuse(
        "synthesize_speech", text="Hello", response_format="wav"
    )
    assert (status, code) == (502, "provider_unavailable")
    assert await local_api.ids() == []


async def test_clip_is_written_down(api: Api, stand_in: StandIn) -> None:
    stand_in.fault(match={"path": "transcriptions"}, text="Good morning")
    clip = await api.call("synthesize_speech", text="Good morning", response_format="wav")
    media_id = clip["media"]["id"]
    result = await api.call(
        "transcribe_audio", media_id=media_id, language="en", prompt="Morning", model="other"
    )
    assert result == {"text": "Good morning", "model": "other"}
    sent = stand_in.bodies()[-1]
    assert (sent["language"], sent["prompt"], sent["model"]) == ("en", "Morning", "other")
    assert sent["file"] == {
        "filename": f"{media_id}.wav",
        "content_type": "audio/wav",
        "size": clip["media"]["size_bytes"],
    }


async def test_only_clips_of_the_caller_are_written_down(
    local_api: Api, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = await local_api.call("generate_image", prompt="A hill", size="32x32")
    clip = await local_api.call("synthesize_speech", text="Hello", response_format="wav")
    asked = len(stand_in.requests())
    monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 1000)
    for media_id, text in (
        (picture["media"][0]["id"], "image/png"),
        (clip["media"]["id"], "at most 1000"),
        ("no-id", "There is no media"),
    ):
        status, code, [complaint] = await local_api.refuse("transcribe_audio", media_id=media_id)
        assert (status, code, complaint["loc"]) == (422, "invalid_request", ["body", "media_id"])
        assert text in complaint["msg"]
    assert len(stand_in.requests()) == asked


async def test_answer_that_is_no_transcription_is_the_providers_fault(
    local_api: Api, stand_in: StandIn
) -> None:
    clip = await local_api.call("synthesize_speech", text="Hello", response_format="wav")
    stand_in.fault(body=json.dumps({"words": []}))
    status, code, _ = await local_api.refuse("transcribe_audio", media_id=clip["media"]["id"])
    assert (status, code) == (502, "provider_unavailable")
