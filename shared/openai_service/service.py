"""The providers: one API for each capability, and the models that they list."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING

from shared.openai_service.audio import Audio
from shared.openai_service.chat import Chat
from shared.openai_service.client import Clients, ProviderCall
from shared.openai_service.forwarding import Forwarder
from shared.openai_service.images import Images
from shared.openai_service.metering import Meter
from shared.openai_service.provider_config import ProviderConfig
from shared.openai_service.routing import route
from shared.openai_service.shutdowns import announced_shutdown, shutdown_warning
from shared.openai_service.videos import Videos
from shared.settings import Capability, Settings
from shared.timing import Timing

if TYPE_CHECKING:
    from openai import AsyncOpenAI

MODEL_LIST_TTL_SECONDS = 600

ModelList = Mapping[str, str | None]
"""The provider's models by id, each with its shutdown date where the provider announces one."""


class OpenAIService:
    """Calls the configured providers.

    A call has no deadline of its own: the scope that it runs in cancels it.

    Nothing is imported, opened or sent before the first call.

    Args:
        settings: Where the endpoints come from.
        timing: How long the first pause before a retry is.
        meter: Lets paid calls through and counts them; None where nothing is counted.

    Attributes:
        endpoints: Which provider and model serve each capability.
        chat: Chat completions.
        images: Images.
        audio: Speech and transcriptions.
        videos: Video jobs.
        forwarder: Sends requests on as they are.
        charge: Reserves a paid call that is forwarded, as `Clients.charge` says.
    """

    def __init__(
        self, settings: Settings, timing: Timing | None = None, meter: Meter | None = None
    ) -> None:
        self._clients = Clients(settings, timing or Timing(), meter)
        self.endpoints = self._clients.endpoints
        self.charge = self._clients.charge
        self.chat = Chat(self._clients)
        self.images = Images(self._clients)
        self.forwarder = Forwarder(settings)
        self.audio = Audio(self._clients, self.forwarder)
        self.videos = Videos(self._clients)
        self._model_lists: dict[ProviderConfig, tuple[float, ModelList]] = {}
        self._listing: defaultdict[ProviderConfig, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def is_configured(self) -> bool:
        """Whether there is a provider for chat."""
        return self.endpoints.find(Capability.CHAT) is not None

    def choose_model(self, capability: Capability, model: str | None) -> str:
        """Returns the model or deployment that a provider is asked for first.

        Args:
            capability: What it is asked for.
            model: As the caller names it; None for the configured one.

        Raises:
            NotConfigured: No provider for it.
            ModelNotAllowed: The caller may not use it.
        """
        return route(self.endpoints, capability, model)[0].model or ""

    async def list_models(self, capability: Capability, *, fresh: bool = False) -> ModelList:
        """Returns the models that the capability's provider lists, from a cache of ten minutes.

        Args:
            capability: The capability whose provider to ask.
            fresh: Whether to ask in any case.

        Raises:
            NotConfigured: No provider for the capability.
            ProviderError: The provider failed or refused.
        """
        return await self.list_models_of(self.endpoints.get(capability).config, fresh=fresh)

    async def list_models_of(self, config: ProviderConfig, *, fresh: bool = False) -> ModelList:
        """Returns the models that a provider lists, from a cache of ten minutes.

        Args:
            config: How to reach the provider.
            fresh: Whether to ask in any case.

        Raises:
            ProviderError: The provider failed or refused.
        """
        # Several capabilities of one provider are asked about together: the first asks for all.
        async with self._listing[config]:
            if not fresh and (known := self._model_lists.get(config)):
                known_at, models = known
                if monotonic() - known_at < MODEL_LIST_TTL_SECONDS:
                    return models
            call = ProviderCall(Capability.CHAT, config)
            models = await self._clients.call(call, _list_models, None)
            self._model_lists[config] = (monotonic(), models)
            return models

    def shutdown_warnings(self) -> list[str]:
        """Returns a sentence for each configured model that ends soon, as far as is known unasked."""
        warnings = []
        for capability in Capability:
            endpoint = self.endpoints.find(capability)
            if endpoint is None:
                continue
            _, listed = self._model_lists.get(endpoint.config, (0.0, {}))
            day = listed.get(endpoint.model or "") or announced_shutdown(
                endpoint.config, endpoint.model
            )
            warnings.append(shutdown_warning(capability, endpoint.model, day))
        return [warning for warning in warnings if warning]

    async def aclose(self) -> None:
        """Closes all clients."""
        await self._clients.aclose()
        await self.forwarder.aclose()


async def _list_models(api: "AsyncOpenAI") -> ModelList:
    rows = getattr(await api.models.list(), "data", None)
    return {row.id: getattr(row, "shutdown_date", None) for row in rows or ()}
