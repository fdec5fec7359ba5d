# mypy: ignore-errors
# pydantic-ai is installed in .venv-clients only.
"""A program for pydantic-ai; its address and key are those of the environment."""

import asyncio
import base64
import json
import os
import sys

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, Embedder, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

MODELS = os.environ["MODELS"].split()


class City(BaseModel):
    """A city."""

    name: str
    people: int


def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"rain in {city}"


async def results_of(model: object, picture: bytes) -> dict[str, object]:
    plain = Agent(model)
    said = await plain.run("Hello")
    async with plain.run_stream("Hello") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    with_tool = Agent(model, tools=[get_weather])
    async with with_tool.run_stream("get_weather in Paris") as stream:
        streamed = await stream.get_output()
    native = Agent(model, output_type=NativeOutput(City))
    looked = await plain.run(["Look", BinaryContent(picture, media_type="image/png")])
    return {
        "chat": said.output,
        "has_usage": said.usage.input_tokens > 0,
        "stream": "".join(pieces),
        "tool": (await with_tool.run("get_weather in Paris")).output,
        "streamed_tool": streamed,
        "schema": sorted((await native.run("Where?")).output.model_dump()),
        "picture": looked.output,
    }


async def main() -> None:
    picture = base64.b64decode(os.environ["PICTURE"])
    results = {}
    for model in MODELS:
        vectors = await Embedder("openai:text-embedding-3-small").embed_documents(["a", "b"])
        results[model] = {
            "completions": await results_of(OpenAIChatModel(model), picture),
            "responses": await results_of(OpenAIResponsesModel(model), picture),
            "embeddings": len(vectors.embeddings),
        }
    json.dump(results, sys.stdout)


asyncio.run(main())
