"""What calls cost in US dollars: by the operator's PRICES, else by the list of ``genai-prices``.

The list is bundled with the library, which is loaded by the first call of a process and asks nobody
for updates. What nobody knows the price of costs None, never 0: a model may be unknown, or be priced by
a unit that its provider does not report.
"""

import asyncio
import importlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shared.context import USD_PLACES
from shared.openai_service import Consumption, MeteredCall, Provider
from shared.settings import ModelPrice
from shared.usage.listed import ListedModel

MILLION = 1_000_000
MAX_REMEMBERED_MODELS = 1024

_PROVIDERS: Mapping[Provider, str] = {
    Provider.OPENAI: "openai",
    Provider.AZURE: "azure",
    Provider.GEMINI: "google",
}


class Prices:
    """The prices of models.

    Args:
        own: The operator's prices by model or deployment.
    """

    def __init__(self, own: Mapping[str, ModelPrice]) -> None:
        self._own = own
        self._find = lru_cache(MAX_REMEMBERED_MODELS)(_find_model)
        self._loading: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Loads the list, in a thread, where that has not been done yet."""
        if self._loading is None:
            self._loading = asyncio.create_task(asyncio.to_thread(_load))
        if not self._loading.done():
            await asyncio.shield(self._loading)

    def estimate(self, call: MeteredCall) -> float | None:
        """Returns the US dollars that a call costs at most, None where nobody knows."""
        costs = [self.cost(each, each.estimate) for each in (call, call.picture) if each]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def cost(
        self, call: MeteredCall, consumption: Consumption, answered_by: str | None = None
    ) -> float | None:
        """Returns the US dollars that a call costs, None where nobody knows; `load` comes first.

        Args:
            call: The call.
            consumption: What it used, or may use.
            answered_by: The model that answered; None for the one that was asked.
        """
        names = [name for name in (answered_by, call.model, call.known_model) if name]
        for name in names:
            if price := self._own.get(name):
                return _own_cost(price, consumption)
        for name in names:
            if model := self._find(call.provider, call.base_url, name.lower()):
                return model.cost(consumption)
        return None


def _own_cost(price: ModelPrice, used: Consumption) -> float | None:
    """Returns what the operator's price makes; None where it lacks the unit that was used."""
    whole_units = [
        (price.image, used.images),
        (price.second, used.seconds),
    ]
    cost = sum(each * count for each, count in whole_units if each is not None and count)
    has_whole_price = any(each is not None and count for each, count in whole_units)
    cached = min(used.cached_tokens or 0, used.input_tokens or 0) if price.cached is not None else 0
    for each, count in (
        (price.input, (used.input_tokens or 0) - cached),
        (price.cached, cached),
        (price.output, used.output_tokens or 0),
    ):
        if each is not None:
            cost += each * count / MILLION
        elif count and not has_whole_price:
            return None
    has_tokens = used.input_tokens is not None or used.output_tokens is not None
    if not has_whole_price and not has_tokens:
        return None
    return round(cost, USD_PLACES)


def _load() -> None:
    importlib.import_module("genai_prices.data")


def _find_model(provider: Provider, base_url: str, name: str) -> ListedModel | None:
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    providers: list[dict[str, Any]] = [{"provider_id": _PROVIDERS.get(provider)}]
    if provider is Provider.COMPATIBLE:
        # Gateways pass OpenAI's models on under their names.
        providers = [{"provider_api_url": base_url}, {"provider_id": "openai"}]
    for where in providers:
        try:
            found = snapshot.find_provider(
                None, where.get("provider_id"), where.get("provider_api_url")
            )
        except LookupError:
            continue
        if model := found.find_model(name, all_providers=snapshot.providers):
            return ListedModel(model)
    return None
