"""Models of the list of ``genai-prices``, whose rates are asked of the library once.

The library takes 150 microseconds for each cost. Of one tier its prices are so much a unit, so that the
rates are the differences of a few costs; a test compares both.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.context import USD_PLACES
from shared.openai_service import Consumption

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

Counts = dict[str, int | float]
"""Counts by the library's names of units, parts after the whole that they are a part of."""

MAX_RATES = 64
_STEP = 1000
"""By how many units costs differ whose difference is a rate."""

_PARTS_OF_INPUT = ("cache_read_tokens", "input_audio_tokens", "input_image_tokens")


class ListedModel:
    """A model of the list.

    Args:
        model: The library's model.
    """

    def __init__(self, model: "ModelInfo") -> None:
        self._model = model
        self._rates: dict[tuple[int, int, tuple[str, ...]], dict[str, float]] = {}

    def cost(self, used: Consumption) -> float | None:
        """Returns US dollars; None where the model is priced by a unit that was not reported."""
        price = self._model.get_prices(datetime.now(UTC))
        counts = _counts(price, used)
        if counts is None:
            return None
        if sum(bool(counts.get(name)) for name in _PARTS_OF_INPUT) > 1:
            # Parts may overlap, which the library knows how to tell apart.
            return round(_ask(price, counts), USD_PLACES)
        tier = max(
            (start for start in _tiers(price) if counts.get("input_tokens", 0) > start), default=0
        )
        key = (id(price), tier, tuple(counts))
        rates = self._rates.get(key)
        if rates is None:
            if len(self._rates) >= MAX_RATES:
                self._rates.clear()
            rates = self._rates[key] = _rates(price, tier, counts)
        return round(sum(rates[name] * count for name, count in counts.items()), USD_PLACES)


def _counts(price: "ModelPrice", used: Consumption) -> Counts | None:
    # A price of a unit that was not reported would make nothing of it.
    if price.audio_hours is not None:
        seconds = used.seconds
        return (
            None if seconds is None else {"audio_seconds": seconds, "input_audio_seconds": seconds}
        )
    if price.input_mchars is not None:
        return None if used.characters is None else {"input_characters": used.characters}
    if (price.input_mtok, price.output_mtok) == (None, None):
        return None
    if (used.input_tokens, used.output_tokens) == (None, None):
        return None
    counts = {
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        # Providers count oddly at times, and the library refuses a part that is larger than the whole.
        "cache_read_tokens": _at_most(used.cached_tokens, used.input_tokens),
        "input_audio_tokens": _at_most(used.input_audio_tokens, used.input_tokens),
        "input_image_tokens": _at_most(used.input_image_tokens, used.input_tokens),
        "output_image_tokens": _at_most(used.output_image_tokens, used.output_tokens),
        "output_audio_tokens": _at_most(used.output_audio_tokens, used.output_tokens),
    }
    return {name: count for name, count in counts.items() if count is not None}


def _at_most(part: int | None, whole: int | None) -> int | None:
    return part if part is None else min(part, whole or 0)


def _tiers(price: "ModelPrice") -> set[int]:
    """Returns the numbers of input tokens above which other rates hold."""
    found = [getattr(each, "tiers", ()) for each in vars(price).values()]
    return {tier.start for tiers in found for tier in tiers}


def _rates(price: "ModelPrice", tier: int, counts: Counts) -> dict[str, float]:
    """Returns what one more of each unit costs."""
    if "input_tokens" not in counts and "output_tokens" not in counts:
        # The parts of these are the whole.
        whole = _ask(price, dict.fromkeys(counts, _STEP)) / _STEP
        return {name: whole if index == 0 else 0.0 for index, name in enumerate(counts)}
    rates: dict[str, float] = {}
    least = tier + _STEP
    base: Counts = {}
    if "input_tokens" in counts:
        base["input_tokens"] = least
        rates["input_tokens"] = _ask(price, base) / least
    if "output_tokens" in counts:
        before = _ask(price, base) if base else 0.0
        base["output_tokens"] = _STEP
        rates["output_tokens"] = (_ask(price, base) - before) / _STEP
    whole = _ask(price, base)
    for name in counts.keys() - base.keys():
        rates[name] = (_ask(price, base | {name: _STEP}) - whole) / _STEP
    return rates


def _ask(price: "ModelPrice", counts: Counts) -> float:
    from genai_prices import Usage

    return float(price.calc_price(Usage(**counts))["total_price"])
