"""OpenAI's own client, unchanged, against the gateway before the stand-in."""

from base64 import b64decode

import openai
import pytest
from openai.types.chat import ChatCompletionFunctionToolParam

MODEL = "gpt-6-luna"
WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def test_chat_completion(api: openai.AsyncOpenAI) -> None:
    completion = await api.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}]
    )
    assert "You said: Hello" in (completion.choices[0].message.content or "")
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == 1


async def test_streamed_chat_completion_with_a_tool_call(api: openai.AsyncOpenAI) -> None:
    stream = await api.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "get_weather in Paris"}],
        tools=[WEATHER],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    calls = [
        call
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert calls[0].function is not None
    assert calls[0].function.name == "get_weather"
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


async def test_json_schema(api: openai.AsyncOpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
    }
    completion = await api.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Hello"}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": schema},
        },
    )
    assert '"a"' in (completion.choices[0].message.content or "")


async def test_response_streamed_and_whole(api: openai.AsyncOpenAI) -> None:
    whole = await api.responses.create(model=MODEL, input="Hello")
    assert "You said: Hello" in whole.output_text
    assert whole.to_dict()["store"] is False
    async with api.responses.stream(model=MODEL, input="Hello") as stream:
        kinds = [event.type async for event in stream]
        assert kinds[-1] == "response.completed"
        assert (await stream.get_final_response()).output_text == whole.output_text


async def test_images(api: openai.AsyncOpenAI) -> None:
    made = await api.images.generate(model="gpt-image-2.5-flare", prompt="A lighthouse")
    assert made.data
    picture = b64decode(made.data[0].b64_json or "")
    assert picture.startswith(b"\x89PNG")
    edited = await api.images.edit(
        model="gpt-image-2.5-flare",
        image=[("a.png", picture), ("b.png", picture)],
        prompt="In red",
    )
    assert edited.data


async def test_speech_and_its_transcription(api: openai.AsyncOpenAI) -> None:
    speech = await api.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="Hello")
    assert speech.response.headers["content-type"] == "audio/mpeg"
    heard = await api.audio.transcriptions.create(
        model="gpt-transcribe", file=("a.mp3", speech.content)
    )
    assert f"{len(speech.content)} bytes" in heard.text


async def test_embeddings_in_both_encodings(api: openai.AsyncOpenAI) -> None:
    floats = await api.embeddings.create(
        model="text-embedding-3-small", input=["a", "b"], encoding_format="float"
    )
    packed = await api.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert [row.embedding for row in packed.data] == [
        pytest.approx(row.embedding) for row in floats.data
    ]


async def test_moderation(api: openai.AsyncOpenAI) -> None:
    moderation = await api.moderations.create(model="omni-moderation-latest", input="Hello")
    assert moderation.results[0].flagged is False


async def test_models(api: openai.AsyncOpenAI) -> None:
    listed = [model.id async for model in api.models.list()]
    assert MODEL in listed
    assert (await api.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await api.models.retrieve("no/such/model")
