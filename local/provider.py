"""Starts the stand-in for OpenAI where no provider is configured."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from local.server import LOOPBACK, LoopbackServer
from local.stand_in import VIDEO_MODEL, create_stand_in
from shared.openai_service import OpenAIService
from shared.routes.pages import STAND_IN
from shared.settings import load_settings


@asynccontextmanager
async def stand_in_if_needed() -> AsyncIterator[bool]:
    """Runs the stand-in while the block runs and points the settings to it, if there is no provider.

    Yields:
        Whether the stand-in runs.
    """
    settings = load_settings()
    if settings.problems or OpenAIService(settings).is_configured:
        yield False
        return
    server = LoopbackServer(create_stand_in(), grace_seconds=0)
    os.environ["OPENAI_BASE_URL"] = f"http://{LOOPBACK}:{server.port}/v1"
    # By this key the page knows that no model answers.
    os.environ.setdefault("OPENAI_API_KEY", STAND_IN)
    if settings.video.model is None:
        os.environ["OPENAI_VIDEO_MODEL"] = VIDEO_MODEL
    async with server.running():
        yield True
