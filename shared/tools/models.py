"""The configured models, and when the provider shuts them down."""

import asyncio
import logging
from collections.abc import Mapping

from typing_extensions import TypedDict

from shared.context import CallContext
from shared.deadline import time_limit
from shared.errors import GatewayError
from shared.openai_service import (
    Capability,
    OpenAIService,
    announced_shutdown,
    days_until,
    shutdown_warning,
)
from shared.tools.tool import ToolResource, tool

logger = logging.getLogger(__name__)

MODEL_LIST_DEADLINE_SECONDS = 10


class CapabilityModel(TypedDict):
    """The model of one capability.

    Attributes:
        configured: Whether a model is configured.
        provider: Its name in PROVIDERS, else ``openai``, ``azure``, ``gemini`` or ``compatible``.
        model: The model; null in Azure where only the deployment is configured.
        deployment: The deployment in Azure.
        available: Whether the provider lists the model; null where it is unknown.
        shutdown_date: The day on which the provider shuts the model down; null where none is announced.
        days_left: Days until then, negative afterwards.
        warning: A sentence on what to do, from 60 days before; null until then.
    """

    configured: bool
    provider: str | None
    model: str | None
    deployment: str | None
    available: bool | None
    shutdown_date: str | None
    days_left: int | None
    warning: str | None


class SupportedModels(TypedDict):
    """Result of `ModelTools.list_supported_models`."""

    chat: CapabilityModel
    image: CapabilityModel
    audio: CapabilityModel
    transcription: CapabilityModel
    video: CapabilityModel


class ModelTools:
    """Tools about models.

    Args:
        openai: The providers.
    """

    def __init__(self, openai: OpenAIService) -> None:
        self._openai = openai

    @tool(
        title="List supported models",
        read_only=True,
        idempotent=True,
        resource=ToolResource(
            uri="models://supported",
            name="supported_models",
            title="Supported models",
            description="The configured model of each capability, as list_supported_models tells it.",
        ),
        instructions="list_supported_models says which of their capabilities are configured here.",
    )
    async def list_supported_models(self, context: CallContext) -> SupportedModels:
        """Lists the configured models for chat, image, audio, transcription and video.

        Says whether the provider still offers each, and when it shuts it down.
        """
        rows = await asyncio.gather(*(self._describe(each) for each in Capability))
        chat, image, audio, transcription, video = rows
        return {
            "chat": chat,
            "image": image,
            "audio": audio,
            "transcription": transcription,
            "video": video,
        }

    async def _describe(self, capability: Capability) -> CapabilityModel:
        endpoint = self._openai.endpoints.find(capability)
        if endpoint is None:
            return _row(capability, configured=False)
        listed: Mapping[str, str | None] | None
        try:
            async with time_limit(MODEL_LIST_DEADLINE_SECONDS):
                listed = await self._openai.list_models(capability)
        except GatewayError as error:
            logger.warning("The provider's models for %s are unknown: %s", capability, error.code)
            listed = None
        # Google lists its models as models/NAME and takes both forms.
        names = (endpoint.model, f"models/{endpoint.model}")
        found = next((name for name in names if listed and name in listed), None)
        day = listed[found] if listed and found else None
        return _row(
            capability,
            configured=True,
            provider=endpoint.config.label,
            model=endpoint.model,
            deployment=endpoint.deployment,
            available=None if listed is None or endpoint.model is None else found is not None,
            shutdown_date=day or announced_shutdown(endpoint.config, endpoint.model),
        )


def _row(
    capability: Capability,
    *,
    configured: bool,
    provider: str | None = None,
    model: str | None = None,
    deployment: str | None = None,
    available: bool | None = None,
    shutdown_date: str | None = None,
) -> CapabilityModel:
    return {
        "configured": configured,
        "provider": provider,
        "model": model,
        "deployment": deployment,
        "available": available,
        "shutdown_date": shutdown_date,
        "days_left": days_until(shutdown_date),
        "warning": shutdown_warning(capability, model, shutdown_date),
    }
