# mypy: ignore-errors
# openai-agents is installed in .venv-clients only.
"""A program for openai-agents; its address and key are those of the environment."""

import asyncio
import base64
import json
import os
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
from openai import AsyncOpenAI
from pydantic import BaseModel

MODELS = os.environ["MODELS"].split()


class City(BaseModel):
    """A city."""

    name: str
    people: int


@function_tool
def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"rain in {city}"


async def streamed(agent: Agent, message: str) -> tuple[str, str]:
    """Returns the text as it came in pieces, and as the run has it at its end."""
    running = Runner.run_streamed(agent, message)
    pieces = []
    async for event in running.stream_events():
        is_raw = event.type == "raw_response_event"
        if is_raw and event.data.type == "response.output_text.delta":
            pieces.append(event.data.delta)
    return "".join(pieces), running.final_output


async def results_of(model: object, picture: bytes) -> dict[str, object]:
    plain = Agent(name="plain", model=model)
    said = await Runner.run(plain, "Hello")
    pieces, whole = await streamed(plain, "Hello")
    assert pieces == whole
    asked = await Runner.run(plain, "server_time please")
    history = [*asked.to_input_list(), {"role": "user", "content": "Hello"}]
    with_tool = Agent(name="weather", model=model, tools=[get_weather])
    structured = Agent(name="city", model=model, output_type=City)
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    parts = [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]
    return {
        "chat": said.final_output,
        "conversation": (await Runner.run(plain, history)).final_output,
        "has_usage": said.context_wrapper.usage.input_tokens > 0,
        "stream": whole,
        "tool": (await Runner.run(with_tool, "get_weather in Paris")).final_output,
        "streamed_tool": (await streamed(with_tool, "get_weather in Paris"))[1],
        "schema": sorted((await Runner.run(structured, "Where?")).final_output.model_dump()),
        "picture": (await Runner.run(plain, [{"role": "user", "content": parts}])).final_output,
    }


async def main() -> None:
    picture = base64.b64decode(os.environ["PICTURE"])
    results = {}
    for model in MODELS:
        completions = OpenAIChatCompletionsModel(model=model, openai_client=AsyncOpenAI())
        results[model] = {
            "completions": await results_of(completions, picture),
            # The name of a model alone has it use the Responses API.
            "responses": await results_of(model, picture),
        }
    json.dump(results, sys.stdout)


asyncio.run(main())
