# mypy: ignore-errors
# LangChain is installed in .venv-clients only.
"""A program for LangChain's OpenAI package; its address and key are those of the environment."""

import asyncio
import base64
import json
import os
import sys

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

MODELS = os.environ["MODELS"].split()


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def get_weather(city: str) -> str:
    """Tells the weather."""
    return f"rain in {city}"


def uses_a_tool(chat: ChatOpenAI) -> str:
    bound = chat.bind_tools([get_weather])
    messages = [HumanMessage("get_weather in Paris")]
    messages.append(bound.invoke(messages))
    messages += [get_weather.invoke(call) for call in messages[-1].tool_calls]
    return bound.invoke(messages).text


async def streams_a_tool_call(chat: ChatOpenAI) -> list[str]:
    whole = None
    async for chunk in chat.bind_tools([get_weather]).astream("get_weather in Paris"):
        whole = chunk if whole is None else whole + chunk
    return [call["name"] for call in whole.tool_calls]


def looks_at(chat: ChatOpenAI, picture: bytes) -> str:
    image = {
        "type": "image",
        "base64": base64.b64encode(picture).decode(),
        "mime_type": "image/png",
    }
    return chat.invoke([HumanMessage([{"type": "text", "text": "Look"}, image])]).text


async def results_of(chat: ChatOpenAI, picture: bytes) -> dict[str, object]:
    said = chat.invoke("Hello")
    city = chat.with_structured_output(City).invoke("Where?")
    return {
        "chat": said.text,
        "has_usage": said.usage_metadata["input_tokens"] > 0,
        "async_chat": (await chat.ainvoke("Hello")).text,
        "stream": "".join(chunk.text for chunk in chat.stream("Hello")),
        "tool": uses_a_tool(chat),
        "streamed_tool": await streams_a_tool_call(chat),
        "schema": sorted(city.model_dump()),
        "picture": looks_at(chat, picture),
    }


async def main() -> None:
    picture = base64.b64decode(os.environ["PICTURE"])
    vectors = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False)
    results = {}
    for model in MODELS:
        responses = ChatOpenAI(model=model, use_responses_api=True)
        results[model] = {
            "completions": await results_of(ChatOpenAI(model=model), picture),
            "responses": await results_of(responses, picture),
            "embeddings": len(vectors.embed_documents(["a", "b"])),
        }
    json.dump(results, sys.stdout)


asyncio.run(main())
