"""Programs for OpenAI's API, each with a client library of its own, and what they should print.

They know nothing of the gateway: address and key come from the environment, as for OpenAI itself.
"""

import asyncio
import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.media.support import png
from tests.node import NODE, installed

PROJECT = Path(__file__).parent.parent.parent
PYTHON = PROJECT / ".venv-clients/bin/python"
INSTALLED = PROJECT / ".venv-clients/.ready"
TIMEOUT = 240
"""Seconds for a program with all of its models. Tests have longer limits, as its message says more."""

_NODE_PACKAGES = {"openai": "openai", "vercel_ai": "@ai-sdk/openai"}
PROGRAMS = ("openai", "vercel_ai", "langchain", "pydantic_ai", "agents")

_SAID = (
    "[stand-in] I am not a model, only a stand-in for one, so I can call tools but not think. "
    "You said: "
)
_TOOL = "[stand-in] The tool answered: rain in get_weather in Paris"
_CHAT = {
    "chat": f"{_SAID}Hello",
    "has_usage": True,
    "stream": f"{_SAID}Hello",
    "tool": _TOOL,
    "streamed_tool": _TOOL,
    "schema": ["name", "people"],
    "picture": f"{_SAID}Look",
}
_MEDIA = {"pictures": ["iVBORw"] * 2, "speech": "audio/mpeg", "heard": True, "embeddings": 2}
_CONVERSATION = {"conversation": _CHAT["chat"]}
_CALL = {"streamed_tool": ["get_weather"]}


def _both(**more: object) -> dict[str, Any]:
    return {"completions": _CHAT | more, "responses": _CHAT | more}


EXPECTED: dict[str, dict[str, Any]] = {
    "openai": {
        **_both(**_CALL),
        "media": _MEDIA | {"models": True},
        "refused": ["BadRequestError", 400, "stand_in_error"],
    },
    "vercel_ai": {**_both(**_CONVERSATION), "media": _MEDIA},
    "langchain": {**_both(async_chat=_CHAT["chat"], **_CALL), "embeddings": 2},
    "pydantic_ai": {**_both(), "embeddings": 2},
    "agents": _both(**_CONVERSATION),
}


async def run_program(name: str, origin: str, key: str, *models: str) -> Any:
    """Runs a program and returns what it prints for each model, by the model's name.

    Args:
        name: One of `PROGRAMS`.
        origin: Where the gateway is.
        key: A key of the gateway.
        models: The models that it chats with, one after the other: its start is what takes long.
    """
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{origin}/v1",
        "OPENAI_API_KEY": key,
        "MODELS": " ".join(models),
        "PICTURE": b64encode(png()).decode(),
        # These would send what they trace to their makers.
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "LANGSMITH_TRACING": "false",
    }
    process = await asyncio.create_subprocess_exec(
        *_command(name),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return json.loads(output)


def _command(name: str) -> list[str | Path]:
    if name in _NODE_PACKAGES:
        installed(_NODE_PACKAGES[name])
        return [NODE, PROJECT / f"tests/node/with_{name}.mjs"]
    if not INSTALLED.exists():
        pytest.fail("The Python clients are not installed. Run: make .venv-clients/.ready")
    return [PYTHON, PROJECT / f"tests/v1/clients/with_{name}.py"]
