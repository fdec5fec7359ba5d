"""OpenAI's API in the real worker."""

from base64 import b64decode

import openai
import pytest

from tests.conftest import KEY, StandIn
from tests.v1.programs import EXPECTED, PROGRAMS, TIMEOUT, run_program
from tests.worker.process import WorkerProcess

MODEL = "gpt-6-luna"


async def test_openai_s_client_chats_streams_and_lists(
    worker: WorkerProcess, stand_in: StandIn
) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{worker.origin}/v1", api_key=KEY, max_retries=0
    ) as api:
        stream = await api.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert "Hello" in (await api.responses.create(model=MODEL, input="Hello")).output_text
        assert (await api.models.retrieve(MODEL)).id == MODEL
        speech = await api.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input="Hello"
        )
        heard = await api.audio.transcriptions.create(
            model="gpt-transcribe", file=("a.mp3", speech.content)
        )
        assert f"{len(speech.content)} bytes" in heard.text
        with pytest.raises(openai.NotFoundError) as refused:
            await api.get("/nothing", cast_to=object)
        assert refused.value.type == "invalid_request_error"


async def test_plain_chats_pictures_forms_and_embeddings(
    worker: WorkerProcess, stand_in: StandIn
) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{worker.origin}/v1", api_key=KEY, max_retries=0
    ) as api:
        chat = await api.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello"}]
        )
        assert "Hello" in (chat.choices[0].message.content or "")
        made = await api.images.generate(model="gpt-image-2.5-flare", prompt="A hill")
        picture = b64decode((made.data or [])[0].b64_json or "")
        assert picture.startswith(b"\x89PNG")
        edited = await api.images.edit(
            model="gpt-image-2.5-flare",
            image=[("a.png", picture), ("b.png", picture)],
            prompt="In red",
        )
        assert b64decode((edited.data or [])[0].b64_json or "").startswith(b"\x89PNG")
        packed = await api.embeddings.create(model="text-embedding-3-small", input=["a", "b"])
        floats = await api.embeddings.create(
            model="text-embedding-3-small", input=["a", "b"], encoding_format="float"
        )
        assert [row.embedding for row in packed.data] == [
            pytest.approx(row.embedding) for row in floats.data
        ]


@pytest.mark.timeout(TIMEOUT + 120)
@pytest.mark.parametrize("name", PROGRAMS)
async def test_programs_of_other_clients_run_unchanged(
    worker: WorkerProcess, stand_in: StandIn, name: str
) -> None:
    printed = await run_program(name, worker.origin, KEY, MODEL)
    assert printed == {MODEL: EXPECTED[name]}
